"""The rows that differentiate forward, and those that differentiate the rule's own gradient.

With g = ∇⟨c, f⟩ for a fixed cotangent c, H = ∇g is symmetric, so that reverse over reverse, ∇⟨g, v⟩,
and forward over reverse, the derivative of g along v, are both H v. The truth is H v of the
function without its rules in float64. Where the rule's own H v is another, central differences of
the rule's own g decide between the two:

  ⟨u, H v⟩ = lim (⟨g(θ + h u), v⟩ − ⟨g(θ − h u), v⟩) / 2h
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.rows import (
    FACTOR,
    RIGHT,
    ROUNDINGS,
    WIDE,
    Doubt,
    Function,
    Gap,
    Gradients,
    Subject,
    Verdict,
    doubled,
    gaps,
    pull,
    settle,
    widened,
)

GROUPS = 8  # along how many leaves by themselves a rule is differentiated forward
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # of central differences, relative to the size of a leaf
LOOKED_INTO = 4  # how many leaves are settled by differences

Second = Callable[[list, list, list], list]  # (leaves, cotangent, v) → H v


def forward(subject: Subject) -> Verdict:
    """⟨c, J v⟩ by forward mode equals ⟨Jᵀ c, v⟩ by reverse mode, for v in one leaf after another."""
    leaves, point = subject.leaves, (subject.leaves, subject.cotangent)
    direction, count = subject.draw(2), min(GROUPS, len(subject.leaves))
    groups = [[i] for i in range(count - 1)] + [list(range(count - 1, len(leaves)))]

    def inner(fn: Function, leaves: list, cotangent: list, direction: list) -> list:
        found = []
        for group in groups:
            v = [t if i in group else jnp.zeros_like(t) for i, t in enumerate(direction)]
            slopes = jax.jvp(fn, (leaves,), (v,))[1]
            found.append(sum(map(_dot, cotangent, slopes)))
        return found

    def expected(alone: Callable[..., Any] | None) -> Gradients:
        gradient = alone(*point) if alone else []
        pairs = [_host_dot(g, v) for g, v in zip(gradient, direction, strict=True)]
        return [[np.asarray(sum(pairs[i] for i in group)) for group in groups]]

    def plain() -> tuple[Gradients, Gradients]:
        found = jax.jit(partial(inner, subject.plain))(*point, direction)
        return [found], expected(subject.alone_plain)

    def wide() -> tuple[Gradients, Gradients] | None:
        run = widened(partial(inner, subject.rule), *point, direction)
        return ([run(*point, direction)], expected(subject.alone_wide)) if run else None

    found = jax.jit(partial(inner, subject.rule))(*point, direction)
    labels = [f"along {subject.paths[group[0]]}" for group in groups]
    doubt = Doubt(plain, wide)
    verdict = settle([found], expected(subject.alone), labels, subject.rounding, doubt)
    return verdict._replace(reason=verdict.reason.replace("its norm", "what reverse mode gives"))


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """⟨a, b⟩, summed in float32 at least."""
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.vdot(a.astype(dtype), b.astype(dtype))


def _host_dot(a: Any, b: Any) -> float:
    return float(np.vdot(np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64)))


# Second order ------------------------------------------------------------------------------------


def reverse_over_reverse(subject: Subject) -> Verdict:
    """∇⟨g, v⟩ by the rule's own backward rule, differentiated in reverse."""

    def second(fn: Function, leaves: list, cotangent: list, v: list) -> list:
        return pull(lambda leaves: pull(fn)(leaves, cotangent))(leaves, v)

    return _second_order(subject, second)


def forward_over_reverse(subject: Subject) -> Verdict:
    """The derivative of g along v."""

    def second(fn: Function, leaves: list, cotangent: list, v: list) -> list:
        return jax.jvp(lambda leaves: pull(fn)(leaves, cotangent), (leaves,), (v,))[1]

    return _second_order(subject, second)


def _second_order(subject: Subject, second: Callable[..., list]) -> Verdict:
    point = (subject.leaves, subject.cotangent, subject.draw(3))
    found = jax.jit(partial(second, subject.rule))(*point)  # raises: not supported
    truth = _truth(subject, second, point)
    yard = None
    if truth is not None:
        here = _beyond(found, truth, subject)
        if not here:
            return RIGHT
        yard = _or_none(lambda: jax.jit(partial(second, subject.plain))(*point))
        if yard is not None and not _beyond(found, truth, subject, yard):
            return RIGHT
        lost = [gap for gap in here if not np.isfinite(gap.error)]
        if lost and yard is not None and all(np.all(np.isfinite(np.asarray(t))) for t in yard):
            return Verdict("wrong", f"{lost[0]}, where that of autodiff is")
    wide = widened(partial(second, subject.rule), *point)
    mine = None if wide is None else _or_none(lambda: wide(*point))
    if mine is None:
        return Verdict("unsure", _unsettled(found, truth, subject.paths))
    if truth is not None:
        off = gaps([mine], [truth], subject.paths)
        if all(gap.error <= max(WIDE * gap.size, 1e-3 * WIDE * gap.whole) for gap in off):
            return RIGHT  # what differs in the dtype of the leaves is rounding
    return _by_differences(subject, mine, truth, point[2])


def _truth(subject: Subject, second: Callable[..., list], point: tuple) -> list | None:
    """H v of the function without its rules in float64, or None where autodiff cannot go."""

    def run() -> list:
        with jax.enable_x64(True):
            result = jax.jit(partial(second, subject.plain.wide))(*doubled(point))
            return [np.asarray(t) for t in result]

    return _or_none(run)


def _beyond(
    found: list, truth: list, subject: Subject, yard: list | None = None
) -> list[Gap]:
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


def _by_differences(subject: Subject, mine: list, truth: list | None, v: list) -> Verdict:
    """Which of the two it is: the rule's own H v, or that of autodiff.

    u is the direction in which they differ, so that the quotient need not be exact to decide.
    """
    if subject.alone_wide is None:
        return Verdict("unsure", "the rule's gradient cannot be had in float64")
    if truth is None:
        draw = np.random.default_rng(4)
        directions = [draw.standard_normal(np.shape(t)) for t in mine]
        chosen = range(len(mine))
    else:
        directions = [np.asarray(m) - np.asarray(t) for m, t in zip(mine, truth, strict=True)]
        off = gaps([mine], [truth], subject.paths)
        chosen = [
            i
            for i, gap in enumerate(off)
            if gap.error > max(WIDE * gap.size, 1e-3 * WIDE * gap.whole)
        ]
    verdicts = []
    for i in list(chosen)[:LOOKED_INTO]:
        u = directions[i] / max(float(np.max(np.abs(directions[i]), initial=0.0)), 1e-300)
        quotient, spread = _quotient(subject, i, u, v)
        ours = float(np.vdot(mine[i], u))
        theirs = None if truth is None else float(np.vdot(truth[i], u))
        verdicts.append(_decided(subject.paths[i], quotient, spread, ours, theirs))
    wrong = [t for t in verdicts if t.verdict == "wrong"]
    return (wrong or [t for t in verdicts if t.verdict == "unsure"] or [RIGHT])[0]


def _quotient(subject: Subject, i: int, u: np.ndarray, v: list) -> tuple[float, float]:
    """(The quotient along u in leaf i, how far it is from the one of the next step)."""
    alone = subject.alone_wide
    assert alone is not None
    with jax.enable_x64(True):
        leaves, cotangent = doubled((subject.leaves, subject.cotangent))
    size = float(np.sqrt(np.mean(np.square(np.asarray(leaves[i]))))) or 1.0
    quotients = []
    for step in STEPS:
        sides = []
        for h in (step * size, -step * size):
            with jax.enable_x64(True):
                moved = [*leaves[:i], leaves[i] + h * u, *leaves[i + 1 :]]
            sides.append(sum(map(_host_dot, alone(moved, cotangent), v)))
        quotients.append((sides[0] - sides[1]) / (2 * step * size))
    spreads = np.abs(np.diff(quotients))
    best = int(np.argmin(np.where(np.isfinite(spreads), spreads, np.inf)))
    return quotients[best + 1], float(spreads[best])


def _decided(
    path: str, quotient: float, spread: float, ours: float, theirs: float | None
) -> Verdict:
    """The verdict on one leaf, from ⟨u, H v⟩ by differences, by the rule and by autodiff."""
    numbers = f"{ours:.6g} by the rule, {quotient:.6g} by differences of its own gradient"
    off = abs(quotient - ours)
    apart = abs(ours - theirs) if theirs is not None else abs(quotient) + abs(ours)
    near = 0.1 if theirs is not None else 1e-4
    if off <= near * apart:
        return RIGHT
    if spread <= 0.1 * off and off >= 0.5 * near * apart + 0.05 * (theirs is None) * apart:
        return Verdict("wrong", f"{path}: a second derivative is {numbers}")
    return Verdict("unsure", f"{path}: a second derivative is {numbers}, which do not settle")
