"""`check_transforms`: a rule that is right alone, under every transform that a user may put on it.

Each row asks whether the gradient under the transform equals what the rule gives alone; the rows
of second order are in `orders`, those on a mesh of devices in `meshes`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax.gradcheck import meshes, orders
from ffnn_jax.gradcheck.primal import Traced
from ffnn_jax.gradcheck.report import TransformReport
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
    pull,
    random_like,
    said,
    settle,
)

MAPPED = 4  # how many leaves are mapped by themselves
SINGLE = 8  # how many arguments and outputs are taken by themselves
SHRUNK = 1 - 2.0**-6  # a second copy of a leaf: positive stays positive, a tie a tie

TRANSFORMS: tuple[str, ...] = (
    "jit",
    "vmap",
    "scan",
    "checkpoint",
    "jvp",
    "grad of grad",
    "forward over reverse",
    "one argument at a time",
    "one output at a time",
    "float32 with x64 on",
    "integer arguments",
    "shard_map",
    "Explicit mesh",
)


def check_transforms(
    rule: Function,
    plain: Traced,
    leaves: list[jax.Array],
    cotangent: list[jax.Array],
    *,
    names: Sequence[str] = TRANSFORMS,
    whole: tuple[Callable[[list, list], list], list] | None = None,
    paths: Sequence[str] | None = None,
) -> tuple[TransformReport, ...]:
    """Whether a rule that is right alone is right under each transform.

    Args:
      rule: from a list of floating arrays to one of floating arrays, custom rules running.
      plain: the same function, its custom rules taken away.
      leaves: the floating arrays at which it was found right.
      cotangent: one array for each output, of its shape and dtype.
      names: which rows, of `TRANSFORMS`.
      whole: None, or (function, others): function(leaves, others) is rule(leaves), and others are
        the arrays that rule holds fixed, integers among them.
      paths: what to call each leaf; None: "leaf 0", "leaf 1", …

    Returns:
      One `TransformReport` a row. A row that has no meaning here is left out: one argument at a
      time where there is one, a mesh where there is one device.

    Raises:
      ValueError: a name that is no row.
    """
    unknown = [name for name in names if name not in TRANSFORMS]
    if unknown:
        raise ValueError(f"transforms: expected names of {TRANSFORMS}, got {unknown}")
    paths = [f"leaf {i}" for i in range(len(leaves))] if paths is None else paths
    subject = Subject(rule, plain, list(leaves), list(cotangent), whole, paths)
    reports = []
    for name in names:
        try:
            verdict = ROWS[name](subject)
        except Exception as error:  # whatever the rule raises under a transform is a verdict
            verdict = Verdict("not supported", said(error))
        if verdict is not None:
            reports.append(TransformReport(name, *verdict))
    return tuple(reports)


# Rows that hold the rule against itself alone -----------------------------------------------------


class Point(NamedTuple):
    """Where to pull back, and what."""

    leaves: list[jax.Array]
    cotangent: list[jax.Array]


def _held_against_alone(
    subject: Subject,
    transformed: Callable[[Function, list[Point]], Gradients],
    points: list[Point],
    names: Sequence[str] = (),
) -> Verdict:
    """Whether transformed(rule, points) gives at each point what the rule's pullback gives there.

    `names` says what each point stands for.
    """
    labels = [f"{path}{extra}" for extra in (names or [""] * len(points)) for path in subject.paths]

    alone = subject.alone
    expected = [alone(*point) for point in points]
    once = Once(partial(transformed, subject.rule), points)  # raises: not supported
    found = once(points)

    def plain() -> tuple[Gradients, Gradients]:
        found = jax.jit(partial(transformed, subject.plain))(points)
        return found, [subject.alone_plain(*point) for point in points]

    def wide() -> tuple[Gradients, Gradients]:
        return once.wide(points), [alone.wide(*point) for point in points]

    asked = [
        label
        for label, t in zip(labels, (t for point in found for t in point), strict=True)
        if t is not None
    ]
    return settle(found, expected, asked, subject.rounding, Doubt(plain, wide))


def _copies(subject: Subject) -> list[Point]:
    """The point itself, and one a little off it with another cotangent."""
    shrunk = [_shrunk(leaf) for leaf in subject.leaves]
    other = random_like(subject.cotangent, 1)
    return [Point(subject.leaves, subject.cotangent), Point(shrunk, other)]


def _shrunk(leaf: jax.Array) -> jax.Array:
    return leaf * jnp.asarray(SHRUNK, leaf.dtype)


def _stacked(points: list[Point]) -> Point:
    return jax.tree.map(lambda *copies: jnp.stack(copies), *points)


def _unstacked(gradient: list[jax.Array], count: int) -> Gradients:
    return [[leaf[k] for leaf in gradient] for k in range(count)]


def _vmap(subject: Subject) -> Verdict:
    """All leaves mapped, the pullback or the function itself; then each leaf alone."""
    copies, leaves = _copies(subject), subject.leaves
    alone = [
        Point([*leaves[:i], _shrunk(leaves[i]), *leaves[i + 1 :]], subject.cotangent)
        for i in range(min(MAPPED, len(leaves)) if len(leaves) > 1 else 0)
    ]

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        both = _stacked(points[:2])
        found = [*_unstacked(jax.vmap(pull(fn))(*both), 2)]
        found += _unstacked(pull(jax.vmap(fn))(*both), 2)
        base = points[0]
        for i, point in enumerate(points[4:]):
            mapped = [*base.leaves]
            mapped[i] = jnp.stack([base.leaves[i], point.leaves[i]])
            axes = [0 if j == i else None for j in range(len(mapped))]
            gradient = jax.vmap(pull(fn), (axes, None))(mapped, base.cotangent)
            found.append(_unstacked(gradient, 2)[1])
        return found

    names = [*[", all leaves mapped"] * 4, *(f", {p} alone mapped" for p in subject.paths)]
    points = [*copies, *copies, *alone]
    return _held_against_alone(subject, transformed, points, names[: len(points)])


def _scan(subject: Subject) -> Verdict:
    """The gradient through a `lax.scan` over two copies."""

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        def scanned(leaves: list[jax.Array]) -> list[jax.Array]:
            return jax.lax.scan(lambda carry, leaves: (carry, fn(leaves)), None, leaves)[1]

        return _unstacked(pull(scanned)(*_stacked(points)), 2)

    return _held_against_alone(subject, transformed, _copies(subject), ["", ", second step"])


def _checkpoint(subject: Subject) -> Verdict:
    def transformed(fn: Function, points: list[Point]) -> Gradients:
        return [pull(jax.checkpoint(fn))(*points[0])]

    return _held_against_alone(subject, transformed, _copies(subject)[:1])


def _one_argument(subject: Subject) -> Verdict | None:
    """The pullback to one leaf, the others constants."""
    count = min(SINGLE, len(subject.leaves))
    if len(subject.leaves) == 1:
        return None

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        found = []
        for i, (leaves, cotangent) in enumerate(points):

            def of_one(leaf: list[jax.Array], i: int = i, leaves: list = leaves) -> list:
                return fn([*leaves[:i], *leaf, *leaves[i + 1 :]])

            gradient: list[Any] = [None] * len(leaves)
            gradient[i] = pull(of_one)([leaves[i]], cotangent)[0]
            found.append(gradient)
        return found

    points = [Point(subject.leaves, subject.cotangent)] * count
    return _held_against_alone(subject, transformed, points)


def _one_output(subject: Subject) -> Verdict | None:
    """The pullback from one output, the others not used."""
    outputs = len(subject.cotangent)
    if outputs == 1:
        return None

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        return [
            pull(lambda leaves, j=j: [fn(leaves)[j]])(leaves, [cotangent[j]])
            for j, (leaves, cotangent) in enumerate(points)
        ]

    zeros = [jnp.zeros_like(c) for c in subject.cotangent]
    points = [
        Point(subject.leaves, [*zeros[:j], subject.cotangent[j], *zeros[j + 1 :]])
        for j in range(min(SINGLE, outputs))
    ]
    names = [f", output {j} alone" for j in range(len(points))]
    return _held_against_alone(subject, transformed, points, names)


def _jit(subject: Subject) -> Verdict:
    """Run operation by operation, against compiled."""
    point = (subject.leaves, subject.cotangent)

    def plain() -> tuple[Gradients, Gradients]:
        return [pull(subject.plain)(*point)], [subject.alone_plain(*point)]

    def wide() -> tuple[Gradients, Gradients] | None:
        with jax.enable_x64(True):
            run = pull(subject.rule)
            pair = [run(*doubled(point))], [jax.jit(run)(*doubled(point))]
            agree = all(gap.error <= 1e-9 * gap.size for gap in gaps(*pair, subject.paths))
        return pair if agree else None  # it may be a cast to a lower dtype that stays

    expected, found = [subject.alone(*point)], [pull(subject.rule)(*point)]
    return settle(found, expected, subject.paths, subject.rounding, Doubt(plain, wide))


def _x64(subject: Subject) -> Verdict | None:
    """float32 leaves while 64-bit types are on."""
    leaves, point = subject.leaves, (subject.leaves, subject.cotangent)
    if any(leaf.dtype != jnp.float32 for leaf in leaves):
        return None
    expected = subject.alone(*point)
    with jax.enable_x64(True):
        jax.eval_shape(subject.rule, leaves)  # raises: it is not the rule that is not supported
        once, reason = _or_reason(lambda: Once(pull(subject.rule), *point))
        if reason:
            return Verdict("wrong", reason)
        found = once(*point)
    for path, leaf, gradient in zip(subject.paths, leaves, found, strict=True):
        if gradient.dtype != leaf.dtype:
            return Verdict("wrong", f"{path}: a gradient of {gradient.dtype}, not {leaf.dtype}")
    here = _held_to(subject, once, found, expected, subject.alone)
    return here if here == RIGHT else _x64_function(subject, once, found, here)


def _held_to(subject: Subject, once: Once, found: list, expected: list, other: Once) -> Verdict:
    """Whether found, which is once at the point, is expected, which is the other there."""
    point = (subject.leaves, subject.cotangent)

    def plain() -> tuple[Gradients, Gradients]:
        return [subject.alone(*point)], [subject.alone_plain(*point)]

    def wide() -> tuple[Gradients, Gradients]:
        return [once.wide(*point)], [other.wide(*point)]

    return settle([found], [expected], subject.paths, subject.rounding, Doubt(plain, wide))


def _x64_function(subject: Subject, once: Once, found: list, verdict: Verdict) -> Verdict:
    """The verdict, unless it is the function itself that is another with 64-bit types on.

    Random numbers may be others there.
    """
    point = (subject.leaves, subject.cotangent)
    with jax.enable_x64(True):
        there = Once(pull(Traced.of(subject.rule, subject.leaves)), *point)
        expected = there(*point)
    off = gaps([expected], [subject.alone_plain(*point)], subject.paths)
    if all(gap.error <= ROUNDINGS * subject.rounding * gap.size for gap in off):
        return verdict
    return _held_to(subject, once, found, expected, there)


def _integers(subject: Subject) -> Verdict | None:
    """Differentiated by every array, integers among them: their cotangents are float0."""
    function, others = subject.whole or (None, [])
    fixed = [jnp.issubdtype(t.dtype, jnp.floating) for t in others]
    if function is None or all(fixed):
        return None

    def of_all(leaves: list, integers: list) -> list:
        rest = iter(integers)
        filled = [t if f else next(rest) for t, f in zip(others, fixed, strict=True)]
        return function(leaves, filled)

    def gradient(leaves: list, cotangent: list, integers: list) -> list:
        outputs, pullback = jax.vjp(of_all, leaves, integers)
        return pullback([c.astype(o.dtype) for c, o in zip(cotangent, outputs, strict=True)])[0]

    integers = [t for t, f in zip(others, fixed, strict=True) if not f]
    point = (subject.leaves, subject.cotangent)
    expected = [subject.alone(*point)]
    jax.eval_shape(of_all, subject.leaves, integers)  # raises: they have to be known beforehand
    once, reason = _or_reason(lambda: Once(gradient, *point, integers))
    if reason:
        return Verdict("wrong", reason)
    found = once(*point, integers)

    def wide() -> tuple[Gradients, Gradients]:
        return [once.wide(*point, integers)], [subject.alone.wide(*point)]

    doubt = Doubt(lambda: (expected, expected), wide)
    return settle([found], expected, subject.paths, subject.rounding, doubt)


def _or_reason(run: Callable[[], Any]) -> tuple[Any, str]:
    """(what run gives, ""), or (None, what it raised), if not that a tracer has no value."""
    try:
        return run(), ""
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        raise
    except Exception as error:
        return None, said(error)


ROWS: dict[str, Callable[[Subject], Verdict | None]] = {
    "jit": _jit,
    "vmap": _vmap,
    "scan": _scan,
    "checkpoint": _checkpoint,
    "jvp": orders.forward,
    "grad of grad": orders.reverse_over_reverse,
    "forward over reverse": orders.forward_over_reverse,
    "one argument at a time": _one_argument,
    "one output at a time": _one_output,
    "float32 with x64 on": _x64,
    "integer arguments": _integers,
    "shard_map": meshes.sharded,
    "Explicit mesh": meshes.explicit,
}
