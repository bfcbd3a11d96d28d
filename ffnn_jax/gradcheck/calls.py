"""The rows in which the same rule is called in another way: mapped, scanned, in parts, eagerly.

Each holds the gradient against what the rule's own pullback, compiled, gives at the same points.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax.gradcheck.primal import quick_jit
from ffnn_jax.gradcheck.rows import (
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
    settle,
    worst,
)

MAPPED = 4  # how many leaves are mapped by themselves
SINGLE = 8  # how many arguments and outputs are taken by themselves
SHRUNK = 1 - 2.0**-6  # a second copy of a leaf: positive stays positive, a tie a tie


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
        found = quick_jit(partial(transformed, subject.plain))(points)
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


def vmap(subject: Subject) -> Verdict:
    """All leaves mapped, the pullback or the function itself; then each leaf alone.

    One after the other, for together they would hold a gradient for each.
    """
    copies, leaves = _copies(subject), subject.leaves

    def pullback_mapped(fn: Function, points: list[Point]) -> Gradients:
        return _unstacked(jax.vmap(pull(fn))(*_stacked(points)), 2)

    def function_mapped(fn: Function, points: list[Point]) -> Gradients:
        return _unstacked(pull(jax.vmap(fn))(*_stacked(points)), 2)

    def alone_mapped(i: int, fn: Function, points: list[Point]) -> Gradients:
        (mapped, cotangent), (shrunk, _) = points
        mapped = [*mapped[:i], jnp.stack([mapped[i], shrunk[i]]), *mapped[i + 1 :]]
        axes = [0 if j == i else None for j in range(len(mapped))]
        return _unstacked(jax.vmap(pull(fn), (axes, None))(mapped, cotangent), 2)

    def verdicts() -> Iterator[Verdict]:
        for transformed in (pullback_mapped, function_mapped):
            yield _held_against_alone(subject, transformed, copies, [", all leaves mapped"] * 2)
        for i in range(min(MAPPED, len(leaves)) if len(leaves) > 1 else 0):
            shrunk = copies[0]._replace(leaves=[*leaves[:i], copies[1].leaves[i], *leaves[i + 1 :]])
            names = [f", {subject.paths[i]} alone mapped"] * 2
            yield _held_against_alone(subject, partial(alone_mapped, i), [copies[0], shrunk], names)

    return worst(verdicts())


def scan(subject: Subject) -> Verdict:
    """The gradient through a `lax.scan` over two copies."""

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        def scanned(leaves: list[jax.Array]) -> list[jax.Array]:
            return jax.lax.scan(lambda carry, leaves: (carry, fn(leaves)), None, leaves)[1]

        return _unstacked(pull(scanned)(*_stacked(points)), 2)

    return _held_against_alone(subject, transformed, _copies(subject), ["", ", second step"])


def checkpoint(subject: Subject) -> Verdict:
    """The gradient through `jax.checkpoint`, which runs the forward rule again."""

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        return [pull(jax.checkpoint(fn))(*points[0])]

    return _held_against_alone(subject, transformed, _copies(subject)[:1])


def one_argument(subject: Subject) -> Verdict | None:
    """The pullback to one leaf after another, the others constants."""
    count = len(subject.leaves)
    if count == 1:
        return None

    def transformed(fn: Function, points: list[Point]) -> Gradients:
        [(leaves, cotangent)] = points

        def gradient(i: int) -> jax.Array:
            def of_one(leaf: list[jax.Array]) -> list[jax.Array]:
                return fn([*leaves[:i], *leaf, *leaves[i + 1 :]])

            return pull(of_one)([leaves[i]], cotangent)[0]

        asked = min(SINGLE, count)
        return [[*map(gradient, range(asked)), *[None] * (count - asked)]]

    return _held_against_alone(subject, transformed, [Point(subject.leaves, subject.cotangent)])


def one_output(subject: Subject) -> Verdict | None:
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


def jit(subject: Subject) -> Verdict:
    """Run operation by operation, against compiled."""
    point = (subject.leaves, subject.cotangent)

    def plain() -> tuple[Gradients, Gradients]:
        return [pull(subject.plain)(*point)], [subject.alone_plain(*point)]

    def wide() -> tuple[Gradients, Gradients] | None:
        with jax.enable_x64(True):
            run = pull(subject.rule)
            pair = [run(*doubled(point))], [quick_jit(run)(*doubled(point))]
            agree = all(gap.error <= 1e-9 * gap.size for gap in gaps(*pair, subject.paths))
        return pair if agree else None  # it may be a cast to a lower dtype that stays

    expected, found = [subject.alone(*point)], [pull(subject.rule)(*point)]
    return settle(found, expected, subject.paths, subject.rounding, Doubt(plain, wide))
