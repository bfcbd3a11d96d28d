"""The judge of gradients: `compare_gradients`, at several points of a network.

A hint is given only if it is the same at every point where the learner's gradients are wrong: what
fits by chance fits once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax import Comparison, compare_gradients
from judging.attempt import attempt, beside, in_place, name_of
from judging.points import Point
from judging.values import FLOAT32, IN_FLOAT32, UNKNOWN
from judging.verdict import Finding

ROUNDING = 1e-9  # no mistake in a formula is as small in float64, whatever is allowed


class Answer(NamedTuple):
    """What the learner's function gave at a point.

    Attributes:
      grads: gradients by name, as `compare_gradients` takes them.
      trouble: why one of them is missing, or all, or "".
      changed: the arguments that it changed.
    """

    grads: Any
    trouble: str = ""
    changed: tuple[str, ...] = ()


def asked(
    function: Callable[..., Any], questions: dict[str, tuple[Any, ...]], given: dict[str, Any]
) -> Answer:
    """Answers to {name of a gradient: arguments}, beside the right gradients that were given.

    A wrong layer often raises at the first or at the last: the others still tell what is wrong.
    """
    tried = {name: attempt(function, args) for name, args in questions.items()}
    trouble = next((one.trouble for one in tried.values() if one.trouble), "")
    mine = {name: one.value for name, one in tried.items() if not one.trouble}
    changed = next((one.changed for one in tried.values() if one.changed), ())
    return Answer({**given, **mine} if mine else None, trouble, changed)


def judge_gradients(
    function: Callable[..., Any],
    groups: Sequence[Sequence[Point]],
    answer: Callable[[Callable[..., Any], Point], Answer],
    *,
    renamed: dict[str, str] | None = None,
    elsewhere: Callable[[list[Point], list[Any]], str] | None = None,
) -> Finding:
    """The verdict on a function.

    Args:
      function: the learner's.
      groups: points, those of one network together.
      answer: asks the function for its gradients at a point.
      renamed: what is called otherwise in the hint, {"a_1": "a_L"}.
      elsewhere: where nothing explains the first wrong gradient: what else may, of the points and
        the learner's gradients; or "".
    """
    name, rows = name_of(function), []
    for i, group in enumerate(groups):
        answers = [answer(function, at) for at in group]
        trouble = next((one.trouble for one in answers if one.trouble), "")
        if any(one.grads is None for one in answers):
            return Finding(name, False, trouble)
        try:
            found = [compared(at, one.grads) for at, one in zip(group, answers, strict=True)]
        except (TypeError, ValueError) as error:
            return Finding(name, False, str(error))
        changed = next((one.changed for one in answers if one.changed), ())
        wrong = [n for n, one in enumerate(found) if is_wrong(one)]
        if wrong:
            n = wrong[0]
            said = _hint(*([of[m] for m in wrong] for of in (group, answers, found)), elsewhere)
            if trouble:
                said = trouble if UNKNOWN in said else f"{said}. Besides, {trouble}"
            said += _only_here(groups[0][0], group[0]) if i > 0 else ""
            said += f". Also, {in_place(changed)}" if changed else ""
            for old, new in (renamed or {}).items():
                said = said.replace(old, new)
            return Finding(name, False, said, _numbers(group[n], answers[n].grads, found[n]))
        if trouble:
            return Finding(name, False, trouble)
        if changed:
            return Finding(name, False, f"the value is right, but {in_place(changed)}")
        rows += [row for one in found for row in one.rows]
    worst = max(rows, key=lambda row: row.error)
    figures = f"{sum(map(len, groups))} networks, {len(rows)} gradients; the worst is off by "
    return Finding(
        name, True, f"{figures}{worst.error:.1e} of its norm, {worst.allowed:.1e} allowed"
    )


def _hint(
    group: list[Point],
    answers: list[Answer],
    found: list[Comparison],
    elsewhere: Callable[[list[Point], list[Any]], str] | None,
) -> str:
    """What explains the gradients at points where they are wrong."""
    said = _whole_numbers(group[0], answers[0].grads, found[0]) or agreed(found)
    if UNKNOWN in said and elsewhere:
        said = elsewhere(group, [one.grads for one in answers]) or said
    return said


def compared(at: Point, grads: Any) -> Comparison:
    """The comparison at a point, in float64."""
    with jax.enable_x64(True):
        return compare_gradients(at.net, at.params, at.x, at.y, grads, weights=at.weights)


def is_wrong(found: Comparison) -> bool:
    """Whether a gradient is wrong by more than rounding."""
    return found.ok is False and any(row.error > ROUNDING for row in found.rows)


def agreed(found: Sequence[Comparison]) -> str:
    """The hint on which all comparisons agree."""
    first = [one.first_wrong for one in found]
    row = first[0]
    if row is None:
        return ""
    if all(_at_most(FLOAT32, one) for one in found):
        return f"{row.symbol}: {IN_FLOAT32}"
    if any(one is None or one.name != row.name for one in first):
        return f"{UNKNOWN}: compare each line with its formula"
    said = [one.diagnosis.message.split("; or: ") for one in first if one and one.diagnosis]
    everywhere = [hint for hint in said[0] if all(hint in others for others in said)]
    hint = "; or: ".join(everywhere) or UNKNOWN
    return f"{row.symbol}: {hint}. The formula is {found[0].rule}"


def _at_most(error: float, found: Comparison) -> bool:
    return all(row.error <= error for row in found.rows)


def _only_here(first: Point, here: Point) -> str:
    """The sentence on what is right in the first group of points and wrong in this one."""
    if first.net.sizes == here.net.sizes:
        return ". Without weights of the examples it is right, with them not"
    return (
        f". In a network of sizes {first.net.sizes} it is right, in one of {here.net.sizes} not: "
        "is a size, or a layer's number, written in?"
    )


def _whole_numbers(at: Point, grads: Any, found: Comparison) -> str:
    """The hint where the first wrong gradient is right but for what an int cuts off, or ""."""
    row = found.first_wrong
    got = np.asarray(grads[row.name] if row and row.name in grads else 0.0)
    if row is None or got.dtype.kind not in "iu":
        return ""
    right = at.grads[row.name]
    if got.shape != right.shape or not np.array_equal(got, np.trunc(right)):
        return ""
    return (
        f"{row.symbol}: the array is of dtype {got.dtype}, whole numbers, which cut off what is "
        "after the point; np.zeros(shape) without a dtype is in float64"
    )


def _numbers(at: Point, grads: Any, found: Comparison) -> tuple[str, ...]:
    """The first wrong gradient in numbers."""
    row = found.first_wrong
    if row is None or row.name not in grads:
        return ()
    return beside(at.grads[row.name], np.asarray(grads[row.name], np.float64))
