"""The rows that differentiate forward, and those that differentiate the rule's own gradient.

With g = ∇⟨c, f + κf²/2⟩ for a fixed c (the square makes the cotangent that reaches the rule depend
on the leaves, as a loss does), H = ∇g is symmetric, so that reverse over reverse, which
is ∇⟨g, v⟩, and forward over reverse, the derivative of g along v, are both H v. The truth is H v of
the function without its rules in float64. Where the rule's own H v is another, differences of the
rule's own g decide between the two: ⟨u, H v⟩ is the slope of ⟨g, v⟩ along u.
"""

import dataclasses
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.differences import Slope, sizes, slope
from ffnn_jax.gradcheck.primal import Traced, quick_jit
from ffnn_jax.gradcheck.rows import (
    FACTOR,
    OPAQUE,
    RIGHT,
    ROUNDINGS,
    WIDE,
    Doubt,
    Function,
    Gap,
    Gradients,
    Once,
    Subject,
    Verdict,
    doubled,
    gaps,
    moved,
    pull,
    settle,
    twice,
    worst,
)

GROUPS = 8  # along how many leaves by themselves a rule is differentiated forward
COARSE = 1e-4  # a rounding above this hides a wrong second order: then float64 alone is asked
LOOKED_INTO = 4  # how many leaves are settled by differences

Second = Callable[[list, list, list], list]  # (leaves, cotangent, v) → H v


def forward(subject: Subject) -> Verdict:
    """⟨c, J v⟩ by forward mode equals ⟨Jᵀ c, v⟩ by reverse mode, v in one leaf after another."""
    leaves, point = subject.leaves, (subject.leaves, subject.cotangent)
    direction, count = subject.draw(2), min(GROUPS, len(subject.leaves))
    groups = [[i] for i in range(count - 1)] + [list(range(count - 1, len(leaves)))]

    def inner(fn: Function, leaves: list, cotangent: list, direction: list) -> list:
        def along(group: list[int]) -> jax.Array:
            v = [t if i in group else jnp.zeros_like(t) for i, t in enumerate(direction)]
            return _dot(cotangent, jax.jvp(fn, (leaves,), (v,))[1])

        return list(map(along, groups))

    def expected(gradient: list) -> Gradients:
        pairs = [_host_dot(g, v) for g, v in zip(gradient, direction, strict=True)]
        return [[np.asarray(sum(pairs[i] for i in group)) for group in groups]]

    once = Once(partial(inner, subject.rule), *point, direction)  # raises: not supported

    def plain() -> tuple[Gradients, Gradients]:
        found = quick_jit(partial(inner, subject.plain))(*point, direction)
        return [found], expected(subject.alone_plain(*point))

    def wide() -> tuple[Gradients, Gradients]:
        return [once.wide(*point, direction)], expected(subject.alone.wide(*point))

    labels = [f"along {subject.paths[group[0]]}" for group in groups]
    found, wanted = once(*point, direction), expected(subject.alone(*point))
    verdict = settle([found], wanted, labels, subject.rounding, Doubt(plain, wide))
    return verdict._replace(reason=verdict.reason.replace("its norm", "what reverse mode gives"))


def _dot(a: list[jax.Array], b: list[jax.Array]) -> jax.Array:
    """⟨a, b⟩, summed in float32 at least."""
    dtype = reduce(jnp.promote_types, [t.dtype for t in b], jnp.dtype(jnp.float32))
    return jnp.asarray(
        sum(jnp.vdot(x.astype(dtype), y.astype(dtype)) for x, y in zip(a, b, strict=True))
    )


def _host_dot(a: Any, b: Any) -> float:
    return float(np.vdot(np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64)))


# Second order ------------------------------------------------------------------------------------


def reverse_over_reverse(subject: Subject) -> Verdict:
    """∇⟨g, v⟩ by the rule's own backward rule, differentiated in reverse."""
    return _second_order(subject, twice)


def forward_over_reverse(subject: Subject) -> Verdict:
    """The derivative of g along v."""

    def second(fn: Function, leaves: list, cotangent: list, v: list) -> list:
        return jax.jvp(lambda leaves: pull(fn)(leaves, cotangent), (leaves,), (v,))[1]

    return _second_order(subject, second)


def bend(subject: Subject) -> Subject:
    """The same with f + κf²/2 in place of f, κ = 1 / max |f|."""
    values = quick_jit(subject.plain)(subject.leaves)
    largest = [float(np.max(np.abs(np.asarray(t, np.float64)), initial=0)) for t in values]

    def bent(fn: Function) -> Function:
        def square(leaves: list) -> list:
            scales = [1 / size if 0 < size < np.inf else 1.0 for size in largest]
            return [t + t * (t * (k / 2)) for t, k in zip(fn(leaves), scales, strict=True)]

        return square

    plain = Traced.of(bent(subject.plain), subject.leaves, subject.plain.keeps_rules)
    return dataclasses.replace(subject, rule=bent(subject.rule), plain=plain)


def _second_order(subject: Subject, second: Callable[..., list]) -> Verdict:
    leaves, cotangent, v = point = (subject.leaves, subject.cotangent, subject.draw(3))
    once = Once(partial(second, subject.rule), *point)  # raises: not supported
    found = once(*point)
    truth = _truth(subject, leaves, v)
    coarse = subject.rounding > COARSE and not once.traced.holds(OPAQUE)
    if truth is not None and not coarse:
        verdict = _against_truth(subject, second, point, found, truth)
        if verdict is not None:
            return verdict
    mine = _or_none(lambda: once.wide(*point))
    if mine is None:
        return Verdict("unsure", _unsettled(found, truth, subject.paths))
    verdict = _by_differences(subject, leaves, mine, truth, v)
    if verdict.verdict != "unsure":
        return verdict
    near = moved(leaves)  # where there is a kink, its convention has no say a little off it
    mine, truth = once.wide(near, cotangent, v), _truth(subject, near, v)
    there = _by_differences(subject, near, mine, truth, v)
    return verdict if there.verdict == "unsure" else there


def _truth(subject: Subject, leaves: list, v: list) -> list | None:
    """H v of the function without its rules in float64, None where autodiff cannot go."""

    def run() -> list:
        with jax.enable_x64(True):
            point = doubled((leaves, subject.cotangent, v))
            return [np.asarray(t) for t in subject.second_order(*point)]

    return _or_none(run)


def _against_truth(
    subject: Subject, second: Callable[..., list], point: tuple, found: list, truth: list
) -> Verdict | None:
    """Right if found is as near to the truth as autodiff comes; None where that is not enough."""
    off = _beyond(found, truth, subject)
    if not off:
        return RIGHT
    yard = _or_none(lambda: quick_jit(partial(second, subject.plain))(*point))
    if yard is None:
        return None
    if not _beyond(found, truth, subject, yard):
        return RIGHT
    lost = [gap for gap in off if not np.isfinite(gap.error)]
    if lost and all(np.all(np.isfinite(np.asarray(t))) for t in yard):
        return Verdict("wrong", f"{lost[0]}, where that of autodiff is")
    return None


def _beyond(found: list, truth: list, subject: Subject, yard: list | None = None) -> list[Gap]:
    """The leaves whose error is more than a few dozen roundings, and what autodiff achieves."""
    here = gaps([found], [truth], subject.paths)
    allowed = [ROUNDINGS * subject.rounding * (gap.size or gap.whole) for gap in here]
    if yard is not None:
        achieved = [gap.error for gap in gaps([yard], [truth], subject.paths)]
        sizes = [max(gap.size, subject.rounding * gap.whole) for gap in here]
        allowed = [
            FACTOR * error + ROUNDINGS * subject.rounding * size
            for error, size in zip(achieved, sizes, strict=True)
        ]
    return [gap for gap, most in zip(here, allowed, strict=True) if gap.error > most]


def _or_none(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except Exception:
        return None


def _unsettled(found: list, truth: list | None, paths: Any) -> str:
    if truth is None:
        return "autodiff of the function without its rules cannot go to second order"
    worst = max(gaps([found], [truth], paths), key=lambda gap: gap.error / (gap.size or 1.0))
    return f"{worst} from autodiff, and float64 cannot settle it"


# Central differences of the rule's own gradient --------------------------------------------------


def _by_differences(
    subject: Subject, leaves: list, mine: list, truth: list | None, v: list
) -> Verdict:
    """Which of the two it is: the rule's own H v, or that of autodiff.

    u is the direction in which they differ, so that the quotient need not be exact to decide.
    """
    chosen = list(range(len(mine)))
    if truth is not None:
        off = gaps([mine], [truth], subject.paths)
        chosen = [i for i, gap in enumerate(off) if not _agree(gap)]
    verdicts = {
        i: _differences(subject, leaves, i, mine[i], None if truth is None else truth[i], v)
        for i in chosen[:LOOKED_INTO]
    }
    verdict = worst(verdicts.values())
    others = [subject.paths[i] for i, one in verdicts.items() if one.verdict == "wrong"][1:]
    also = f" (also {', '.join(others)})" if others else ""
    return verdict._replace(reason=verdict.reason + also)


def _agree(gap: Gap) -> bool:
    """Whether two numbers in float64 are the same but for rounding."""
    return gap.error <= max(WIDE * gap.size, 1e-3 * WIDE * gap.whole)


def _differences(
    subject: Subject, leaves: list, i: int, mine: np.ndarray, truth: np.ndarray | None, v: list
) -> Verdict:
    """The verdict on leaf i: ⟨u, H v⟩ is the slope of ⟨g, v⟩ along u, and of ⟨g_i, u⟩ along v.

    Where g has a kink H is not symmetric, and one of the two may be what the rule gives.
    """
    alone = subject.alone
    if alone.traced.holds(OPAQUE):
        return Verdict("unsure", "the rule's gradient cannot be had in float64")
    with jax.enable_x64(True):
        leaves, cotangent = doubled((leaves, subject.cotangent))
    along, unit = _in_steps(leaves, v)

    def gradient(leaves: list) -> list:
        return alone.wide(leaves, cotangent)

    def along_u(leaf: np.ndarray) -> float:
        there = [*leaves[:i], leaf, *leaves[i + 1 :]]
        return sum(map(_host_dot, gradient(there), v))

    def along_v(step: np.ndarray) -> float:
        there = [np.asarray(t) + step * d for t, d in zip(leaves, along, strict=True)]
        return _host_dot(gradient(there)[i], u) / unit

    leaf = np.asarray(leaves[i])
    u = mine - truth if truth is not None else np.random.default_rng(4).standard_normal(leaf.shape)
    u = u / float(np.max(np.abs(u / sizes(leaf))))  # in units of the size of each entry
    ours, theirs = float(np.vdot(mine, u)), None if truth is None else float(np.vdot(truth, u))
    apart = abs(ours) if theirs is None else abs(ours - theirs)
    verdict = _decided(subject.paths[i], slope(along_u, leaf, u, apart), ours, theirs)
    if verdict.verdict != "wrong":
        return verdict
    other = _decided(
        subject.paths[i], slope(along_v, np.zeros(()), np.ones(()), apart), ours, theirs
    )
    return verdict if other.verdict == "unsure" else other


def _in_steps(leaves: list, v: list) -> tuple[list[np.ndarray], float]:
    """(v · unit, unit): no entry goes further than its own size."""
    here, along = ([np.asarray(t).astype(np.float64) for t in tree] for tree in (leaves, v))
    pairs = zip(here, along, strict=True)
    unit = 1 / (max(float(np.max(np.abs(d) / sizes(t), initial=0)) for t, d in pairs) or 1.0)
    return [unit * d for d in along], unit


def _decided(path: str, found: Slope, ours: float, theirs: float | None) -> Verdict:
    """The verdict from ⟨u, H v⟩ by the rule and by autodiff, and the slopes of the rule's own g."""
    if not found.settled:
        return Verdict("unsure", f"{path}: differences of the rule's own gradient do not settle")
    off = abs(found.central - ours)
    near = 1e-2 * (abs(ours) + abs(found.central)) if theirs is None else 0.1 * abs(ours - theirs)
    if found.holds(ours, near + found.error):
        return RIGHT
    numbers = f"{ours:.6g} by the rule, {found.central:.6g} by differences of its own gradient"
    smooth = abs(found.above - found.below) <= 0.1 * off
    if smooth and 10 * found.error <= off and off >= 5 * near:
        return Verdict("wrong", f"{path}: a second derivative is {numbers}")
    return Verdict("unsure", f"{path}: a second derivative is {numbers}, at a kink or near it")
