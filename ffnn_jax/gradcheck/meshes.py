"""The rows on two devices: inside `jax.shard_map`, and on a mesh of Explicit axes.

Which arrays are to be split is found by trying: all of one leading size, those of it that come
last or first, each array alone. The first layout under which the function without its rules can
itself be differentiated is the one in which the rule is held to it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ffnn_jax.gradcheck.primal import Traced
from ffnn_jax.gradcheck.rows import (
    Doubt,
    Function,
    Gradients,
    Subject,
    Verdict,
    doubled,
    gaps,
    pull,
    random_like,
    said,
    settle,
    widened,
)

DEVICES = 2
TRIES = 32  # how many layouts are tried

Layout = tuple[bool, ...]  # for each array whether it is split along its first axis


def sharded(subject: Subject) -> Verdict | None:
    """∇ of Σ_devices ⟨weights, f(local arrays)⟩, f inside `jax.shard_map`, from outside of it."""
    if len(jax.devices()) < DEVICES:
        return None
    mesh = _mesh(AxisType.Auto)
    layout, reason = _first(partial(_try_sharded, subject, mesh), _arrays(subject))
    if layout is None:
        return Verdict("not supported", f"the function itself cannot be split: {reason}")
    weights = _weights(subject, layout)
    arrays = _arrays(subject)
    leaves, others = arrays[: len(subject.leaves)], arrays[len(subject.leaves) :]
    value = partial(_total, mesh, layout)
    run = jax.grad(lambda fn_of, leaves: fn_of(leaves, others, weights), 1)

    def of(fn: Function) -> Callable[[list], list]:
        return lambda leaves: run(partial(value, fn), leaves)

    found = jax.jit(of(_function(subject)))(leaves)  # raises: not supported
    expected = [_by_parts(subject, layout, arrays, weights)]

    def plain() -> tuple[Gradients, Gradients]:
        return [jax.jit(of(_local_plain(subject)))(leaves)], expected

    def wide() -> tuple[Gradients, Gradients] | None:
        run = widened(of(_function(subject)), leaves)
        return ([run(leaves)], expected) if run else None

    return settle([found], expected, subject.paths, subject.rounding, Doubt(plain, wide))


def explicit(subject: Subject) -> Verdict | None:
    """The rule's gradient of arrays that carry their placement on two devices in their type."""
    if len(jax.devices()) < DEVICES:
        return None
    mesh = _mesh(AxisType.Explicit)
    arrays, count = _arrays(subject), len(subject.leaves)
    with jax.set_mesh(mesh):
        layout, reason = _first(partial(_try_explicit, subject, mesh), arrays)
        if layout is None:
            return Verdict("not supported", f"the function itself cannot be split: {reason}")
        placed = _placed(mesh, layout, arrays)
        run = partial(_explicit_pull, subject)
        found = jax.jit(partial(run, _function(subject)))(placed)  # raises: not supported
        found = [np.asarray(t) for t in found]
    with jax.enable_x64(True):
        truth = jax.jit(pull(subject.plain.wide))(*doubled((arrays[:count], subject.cotangent)))
        expected = [[np.asarray(t) for t in truth]]

    def plain() -> tuple[Gradients, Gradients]:
        return [subject.alone_plain(subject.leaves, subject.cotangent)], expected

    def wide() -> tuple[Gradients, Gradients] | None:
        with jax.set_mesh(mesh), jax.enable_x64(True):
            placed = _placed(mesh, layout, doubled(arrays))
            found = [np.asarray(t) for t in jax.jit(partial(run, _function(subject)))(placed)]
        agree = all(g.error <= 1e-8 * g.size for g in gaps([found], expected, subject.paths))
        return ([found], expected) if agree else None

    return settle([found], expected, subject.paths, subject.rounding, Doubt(plain, wide))


# Layouts -----------------------------------------------------------------------------------------


def _layouts(arrays: list[jax.Array]) -> Iterator[Layout]:
    """What to try, in order."""
    sizes = [t.shape[0] if t.ndim else 0 for t in arrays]
    fit = [i for i, size in enumerate(sizes) if size and size % DEVICES == 0]
    alike = [[i for i in fit if sizes[i] == size] for size in dict.fromkeys(sizes[i] for i in fit)]
    tries = [
        *alike,
        *(group[k:] for group in alike for k in range(1, len(group) - 1)),
        *(group[:k] for group in alike for k in range(len(group) - 1, 1, -1)),
        *([i] for i in reversed(fit)),
    ]
    for chosen in tries[:TRIES]:
        yield tuple(i in chosen for i in range(len(arrays)))


def _first(attempt: Callable[[Layout], None], arrays: list[jax.Array]) -> tuple[Any, str]:
    """(The first layout with which attempt does not raise, ""), or (None, what the first raised)."""
    reason = ""
    for layout in _layouts(arrays):
        try:
            attempt(layout)
        except Exception as error:
            reason = reason or said(error)
        else:
            return layout, ""
    return None, reason or "no array has a first axis that is even"


def _mesh(kind: AxisType) -> Mesh:
    devices = jax.devices()[:DEVICES]
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,), devices=devices)


def _arrays(subject: Subject) -> list[jax.Array]:
    """The leaves, then the other arrays of the function where they are known."""
    return [*subject.leaves, *(subject.whole[1] if subject.whole else [])]


def _function(subject: Subject) -> Function:
    """The rule as a function of `_arrays`."""
    if subject.whole is None:
        return subject.rule
    function, count = subject.whole[0], len(subject.leaves)
    return lambda arrays: function(arrays[:count], arrays[count:])


def _local_plain(subject: Subject) -> Function:
    """The same without its rules, traced at the arrays that come."""
    return lambda arrays: Traced.of(_function(subject), arrays)(arrays)


# Inside shard_map --------------------------------------------------------------------------------


def _specs(layout: Layout) -> list[Any]:
    return [P("data") if split else P() for split in layout]


def _total(
    mesh: Mesh, layout: Layout, fn: Function, leaves: list, others: list, weights: list
) -> jax.Array:
    """Σ_devices ⟨weights, fn(local arrays)⟩; weights have an axis of devices in front."""

    def local(arrays: list, weights: list) -> jax.Array:
        pairs = zip(weights, fn(arrays), strict=True)
        terms = (jnp.sum(w[0].astype(t.dtype) * t).astype(jnp.float32) for w, t in pairs)
        return jax.lax.psum(sum(terms), "data")

    specs = (_specs(layout), [P("data")] * len(weights))
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())([*leaves, *others], weights)


def _weights(subject: Subject, layout: Layout) -> list[jax.Array]:
    """Random cotangents for the outputs of each device."""
    parts = _parts(layout, _arrays(subject), 0)
    outputs = jax.eval_shape(_function(subject), parts)
    shapes = [jax.ShapeDtypeStruct((DEVICES, *t.shape), t.dtype) for t in outputs]
    return random_like(shapes, 5)


def _parts(layout: Layout, arrays: list, device: int) -> list:
    """The local arrays of a device."""

    def part(t: Any) -> Any:
        rows = t.shape[0] // DEVICES
        return t[device * rows : (device + 1) * rows]

    return [part(t) if split else t for t, split in zip(arrays, layout, strict=True)]


def _try_sharded(subject: Subject, mesh: Mesh, layout: Layout) -> None:
    weights, count = _weights(subject, layout), len(subject.leaves)
    arrays = _arrays(subject)
    value = partial(_total, mesh, layout, _local_plain(subject))
    jax.eval_shape(jax.grad(value), arrays[:count], arrays[count:], weights)


def _by_parts(subject: Subject, layout: Layout, arrays: list, weights: list) -> list[np.ndarray]:
    """The truth: without mesh and rules, in float64, one device after the other."""
    count, gradients = len(subject.leaves), []
    traced = Traced.of(_function(subject), _parts(layout, arrays, 0))

    @jax.jit
    def run(leaves: list, others: list, weights: list) -> list:
        return pull(lambda leaves: traced.wide([*leaves, *others]))(leaves, weights)

    with jax.enable_x64(True):
        arrays, weights = doubled((arrays, weights))
        for device in range(DEVICES):
            parts = _parts(layout, arrays, device)
            gradient = run(parts[:count], parts[count:], [w[device] for w in weights])
            gradients.append([np.asarray(t) for t in gradient])
    return [
        np.concatenate(both) if split else sum(both)
        for split, *both in zip(layout, *gradients, strict=False)
    ]


# On Explicit axes --------------------------------------------------------------------------------


def _placed(mesh: Mesh, layout: Layout, arrays: list) -> list:
    placements = [NamedSharding(mesh, spec) for spec in _specs(layout)]
    return [jax.device_put(t, place) for t, place in zip(arrays, placements, strict=True)]


def _explicit_pull(subject: Subject, fn: Function, arrays: list) -> list:
    """The gradient by the leaves, the cotangent placed as the outputs are."""
    count = len(subject.leaves)
    outputs, pullback = jax.vjp(lambda leaves: fn([*leaves, *arrays[count:]]), arrays[:count])
    pairs = zip(subject.cotangent, outputs, strict=True)
    cotangent = [
        jax.sharding.reshard(c.astype(o.dtype), jax.typeof(o).sharding) for c, o in pairs
    ]
    return pullback(cotangent)[0]


def _try_explicit(subject: Subject, mesh: Mesh, layout: Layout) -> None:
    placed = _placed(mesh, layout, _arrays(subject))
    jax.eval_shape(partial(_explicit_pull, subject, _local_plain(subject)), placed)
