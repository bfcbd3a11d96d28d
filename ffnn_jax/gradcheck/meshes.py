"""The rows on two devices: inside `jax.shard_map`, and on a mesh of Explicit axes.

Which arrays are to be split is found by trying: all of one leading size, those of it that come
last or first, each array alone. The first layout under which the function without its rules can
itself be differentiated is the one in which the rule is held to it.
"""

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ffnn_jax.gradcheck.primal import Traced, quick_jit
from ffnn_jax.gradcheck.rows import (
    RIGHT,
    ROUNDINGS,
    Doubt,
    Function,
    Gradients,
    Once,
    Subject,
    Verdict,
    doubled,
    gaps,
    moved,
    pull,
    random_like,
    said,
    settle,
)

DEVICES = 2
TRIES = 32  # how many layouts are tried

Layout = tuple[bool, ...]  # for each array whether it is split along its first axis


def sharded(subject: Subject) -> Verdict | None:
    """∇ of Σ_devices ⟨weights, f(local arrays)⟩, f inside `jax.shard_map`, from outside of it."""
    if len(jax.devices()) < DEVICES:
        return None
    mesh, arrays = _mesh(AxisType.Auto), _arrays(subject)
    layout, reason = _first(partial(_try_sharded, subject, mesh), arrays)
    if layout is None:
        return Verdict("not supported", f"the function itself cannot be split: {reason}")
    leaves, others = arrays[: len(subject.leaves)], arrays[len(subject.leaves) :]
    weights = _weights(subject, layout)

    def of(fn: Function) -> Callable[[list], list]:
        return jax.grad(lambda leaves: _total(mesh, layout, fn, leaves, others, weights))

    parts = _Parts(subject, layout, arrays, weights)
    once = Once(of(_function(subject)), leaves)  # raises: not supported
    found = once(leaves)

    def plain() -> tuple[Gradients, Gradients]:
        return [quick_jit(of(_local_plain(subject)))(leaves)], [parts.plain(leaves)]

    def wide() -> tuple[Gradients, Gradients]:
        return [once.wide(leaves)], [parts.wide(leaves)]

    here = gaps([found], [parts.plain(leaves)], subject.paths)
    if all(gap.error <= ROUNDINGS * subject.rounding * gap.size for gap in here):
        return RIGHT
    doubt = Doubt(plain, wide)
    verdict = settle([found], [parts.rule(leaves)], subject.paths, subject.rounding, doubt)
    return parts.alone() if verdict == RIGHT else verdict


def explicit(subject: Subject) -> Verdict | None:
    """The rule's gradient of arrays that carry their placement on two devices in their type."""
    if len(jax.devices()) < DEVICES:
        return None
    mesh, arrays = _mesh(AxisType.Explicit), _arrays(subject)
    with jax.set_mesh(mesh):
        layout, reason = _first(partial(_try_explicit, subject, mesh), arrays)
    if layout is None:
        return Verdict("not supported", f"the function itself cannot be split: {reason}")

    def placed(fn: Function, arrays: list) -> list[np.ndarray]:
        with jax.set_mesh(mesh):
            run = quick_jit(partial(_explicit_pull, subject, fn))
            return [np.asarray(t) for t in run(_placed(mesh, layout, arrays))]

    point = (subject.leaves, subject.cotangent)
    expected = [subject.alone(*point)]
    found = placed(_function(subject), arrays)  # raises: not supported

    def plain() -> tuple[Gradients, Gradients]:
        return [placed(_local_plain(subject), arrays)], [subject.alone_plain(*point)]

    def wide() -> tuple[Gradients, Gradients] | None:
        with jax.enable_x64(True):
            there = [placed(_function(subject), doubled(arrays))]
            pair = there, [quick_jit(pull(subject.rule))(*doubled(point))]
            agree = all(gap.error <= 1e-9 * gap.size for gap in gaps(*pair, subject.paths))
        return pair if agree else None  # it may be a cast to a lower dtype that stays

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
    """(The first layout with which attempt does not raise, ""), or (None, the first reason)."""
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
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())(
        [*leaves, *others], weights
    )


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


class _Parts:
    """The same gradient without a mesh: one device after the other, and their sum."""

    def __init__(self, subject: Subject, layout: Layout, arrays: list, weights: list):
        self.subject, self.layout, self.arrays, self.weights = subject, layout, arrays, weights
        self.fn, self.first = _function(subject), _parts(layout, arrays, 0)

    def rule(self, leaves: list) -> list[np.ndarray]:
        """By the rule, in its dtypes."""
        return self._sum(self._once, leaves)

    def wide(self, leaves: list) -> list[np.ndarray]:
        """By the rule, in float64. Raises TypeError where that cannot be had."""
        return self._sum(self._once.wide, leaves)

    def plain(self, leaves: list) -> list[np.ndarray]:
        """By autodiff of the function without its rules, in float64: the truth."""
        run = quick_jit(self._pull(Traced.of(self.fn, self.first).wide))
        with jax.enable_x64(True):
            return self._sum(lambda *args: run(*doubled(args)), leaves)

    def alone(self) -> Verdict:
        """Whether the rule is right for a part, a little off the point, for there are no ties."""
        leaves = moved(self.subject.leaves)
        try:
            pair = [self.wide(leaves)], [self.plain(leaves)]
        except Exception:
            return RIGHT  # what can be said is that the mesh changes nothing
        off = [g for g in gaps(*pair, self.subject.paths) if g.error > 1e-6 * (g.size or g.whole)]
        return Verdict("wrong", f"{off[0]} on the part of one device") if off else RIGHT

    @functools.cached_property
    def _once(self) -> Once:
        count, weights = len(self.subject.leaves), [w[0] for w in self.weights]
        return Once(self._pull(self.fn), self.first[:count], self.first[count:], weights)

    def _pull(self, fn: Function) -> Callable[[list, list, list], list]:
        def pulled(leaves: list, others: list, weights: list) -> list:
            return pull(lambda leaves: fn([*leaves, *others]))(leaves, weights)

        return pulled

    def _sum(self, run: Callable[..., list], leaves: list) -> list[np.ndarray]:
        count, gradients = len(leaves), []
        for device in range(DEVICES):
            part = _parts(self.layout, [*leaves, *self.arrays[count:]], device)
            gradient = run(part[:count], part[count:], [w[device] for w in self.weights])
            gradients.append([np.asarray(t).astype(np.float64) for t in gradient])
        return [
            np.concatenate(both) if split else np.add(*both)
            for split, *both in zip(self.layout, *gradients, strict=False)
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
    cotangent = [jax.sharding.reshard(c.astype(o.dtype), jax.typeof(o).sharding) for c, o in pairs]
    return pullback(cotangent)[0]


def _try_explicit(subject: Subject, mesh: Mesh, layout: Layout) -> None:
    placed = _placed(mesh, layout, _arrays(subject))
    jax.eval_shape(partial(_explicit_pull, subject, _local_plain(subject)), placed)
