"""What a compiled program moves between devices: read from the program itself.

With n bytes on each of D devices, the fewest that one of them must send (bandwidth-optimal
algorithms: Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of
workstations"):

  all-reduce          2 n (D − 1) / D        a sum, whole on every device afterwards
  reduce-scatter        n (D − 1) / D        a sum, a D-th of it on each
  all-gather            n (D − 1) / D        the parts of all, whole on every device
  all-to-all            n (D − 1) / D        a D-th to each of the others
  collective-permute    n                    all of it to one other device
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding

from ffnn_jax import checks
from ffnn_jax.sharding import hlo

WIDEST = 64  # characters of a source in a table


class Collective(NamedTuple):
    """One exchange between devices.

    Attributes:
      kind: all-reduce, all-gather, reduce-scatter, all-to-all, ragged-all-to-all,
        collective-permute or collective-broadcast.
      axes: the names of the mesh axes along which devices exchange, in the order of the mesh.
      bytes: of the array on one device while it is whole within the group: the operand of a
        reduce-scatter, the result of an all-gather, either of the others.
      devices: D, how many take part together.
      times: how often it runs in one call; None inside a loop of unknown length. Of a
        conditional, each branch counts as if it were the one that runs.
      source: where it comes from: XLA's name of the operation, or the quantity that is moved.
    """

    kind: str
    axes: tuple[str, ...]
    bytes: int
    devices: int
    times: int | None
    source: str

    @property
    def sent(self) -> float:
        """The fewest bytes that each device sends, each time that it runs."""
        if self.kind in ("collective-permute", "collective-broadcast"):
            return float(self.bytes)
        passes = 2 if self.kind == "all-reduce" else 1
        return passes * self.bytes * (self.devices - 1) / self.devices


def collectives(
    compiled: jax.stages.Compiled, *, mesh: Mesh | AbstractMesh | None = None
) -> tuple[Collective, ...]:
    """What a compiled function moves between devices.

    It is read from XLA's optimized program, so it is what runs, and not what was hoped for. What
    XLA has joined to one exchange, such as the gradients of all layers, is one.

    Args:
      compiled: a function, lowered and compiled: `jax.jit(f).lower(*args).compile()`.
      mesh: the mesh it runs on; None takes that of its arguments or results.

    Returns:
      A `Collective` for each exchange, in the order of the program.

    Raises:
      TypeError: compiled is no `jax.stages.Compiled`, or mesh no mesh.
      ValueError: the program runs on several devices and neither argument nor result says on
        which mesh; or the mesh has fewer devices than the program.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.sharding.collectives import collectives
      >>> net = ffnn.Network((4, 8, 3), output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> step = jax.jit(jax.grad(lambda p, x, y: ffnn.loss(net, p, x, y)))
      >>> collectives(step.lower(params, jnp.ones((5, 4)), jnp.zeros(5, int)).compile())
      ()
    """
    if not isinstance(compiled, jax.stages.Compiled):
        raise TypeError(
            "compiled: expected a jax.stages.Compiled, as jax.jit(f).lower(…).compile() gives; "
            f"got {checks.kind(compiled)}"
        )
    if mesh is not None and not isinstance(mesh, Mesh | AbstractMesh):
        raise TypeError(f"mesh: expected a mesh or None, got {checks.kind(mesh)}")
    found = tuple(hlo.instructions(compiled.as_text() or ""))
    if not found:
        return ()
    mesh = _mesh_of(compiled) if mesh is None else mesh
    names, shape = tuple(mesh.shape), tuple(mesh.shape.values())
    return tuple(_on_mesh(each, names, shape) for each in found if len(each.groups[0]) > 1)


def collective_totals(
    exchanges: Iterable[Collective], *, unknown: int | None = None
) -> dict[tuple[str, tuple[str, ...]], int]:
    """Bytes by (kind, axes), over all the times that each runs.

    Args:
      exchanges: as from `collectives` or `expected_collectives`.
      unknown: how often one is taken to run in a loop of unknown length.

    Returns:
      Σ times · bytes of each kind along each set of axes that is not 0.

    Raises:
      TypeError: one of them is no `Collective`; unknown is no int.
      ValueError: one is in a loop of unknown length, and unknown is None; or unknown is negative.

    Example:
      >>> import ffnn_jax as ffnn
      >>> once = ffnn.Collective("all-reduce", ("data",), 4, 2, 1, "ℒ")
      >>> ffnn.collective_totals([once, once._replace(bytes=96, source="∇W_1")])
      {('all-reduce', ('data',)): 100}
    """
    if unknown is not None:
        unknown = checks.check_int_from(0, "unknown", unknown)
    found: dict[tuple[str, tuple[str, ...]], int] = {}
    for each in exchanges:
        _check_collective(each)
        times = unknown if each.times is None else each.times
        if times is None:
            raise ValueError(
                f"exchanges: {each.source!r} is in a loop of unknown length; say with unknown= how "
                "often it is taken to run"
            )
        key = each.kind, each.axes
        found[key] = found.get(key, 0) + times * each.bytes
    return {key: n for key, n in found.items() if n}


def collectives_table(exchanges: Iterable[Collective]) -> str:
    """The exchanges as lines of text: kind, axes, bytes, devices, times, source (cut off if long).

    Args:
      exchanges: as from `collectives` or `expected_collectives`.

    Returns:
      One line each below a head; "none" where there is none.

    Raises:
      TypeError: one of them is no `Collective`.
    """
    rows = [("kind", "axes", "bytes", "devices", "times", "source")]
    for each in exchanges:
        _check_collective(each)
        times = "?" if each.times is None else str(each.times)
        axes = " × ".join(each.axes)
        source = each.source if len(each.source) <= WIDEST else f"{each.source[: WIDEST - 1]}…"
        rows.append((each.kind, axes, f"{each.bytes:,}", str(each.devices), times, source))
    if len(rows) == 1:
        return "none"
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(_line(row, widths) for row in rows)


def _check_collective(each: Any) -> None:
    if not isinstance(each, Collective):
        raise TypeError(f"exchanges: expected each a Collective, got {checks.kind(each)}")


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    kind, axes, *numbers, source = row
    figures = (number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True))
    words = kind.ljust(widths[0]), axes.ljust(widths[1]), *figures, source
    return "  ".join(words).rstrip()


def _mesh_of(compiled: jax.stages.Compiled) -> Mesh | AbstractMesh:
    """The mesh on which its arguments or results lie."""
    shardings: Any = (compiled.input_shardings, compiled.output_shardings)
    for sharding in jax.tree.leaves(shardings):
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            return sharding.mesh
    raise ValueError("mesh: no argument or result says which it is; give it as mesh=")


def _on_mesh(each: hlo.Instruction, names: tuple[str, ...], shape: tuple[int, ...]) -> Collective:
    """An instruction with the names of the axes."""
    if max(max(group) for group in each.groups) >= math.prod(shape):
        raise ValueError(f"mesh: expected one of all the devices of the program, got {shape}")
    axes = tuple(names[axis] for axis in hlo.axes_between(each.groups, shape))
    devices = len(each.groups[0])
    return Collective(each.kind, axes, each.bytes, devices, each.times, each.source)
