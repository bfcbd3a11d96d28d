"""The judge of gradients: `compare_gradients`, at several points of a network.

A hint is given only if it is the same at every point where the learner's gradients are wrong: what
fits by chance fits once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax import Comparison, compare_gradients
from judging.attempt import attempt, in_place, show
from judging.points import Point
from judging.verdict import Finding

ROUNDING = 1e-9  # no mistake in a formula is as small in float64, whatever is allowed


class Answer(NamedTuple):
    """What the learner's function gave at a point.

    Attributes:
      grads: gradients by name, as `compare_gradients` takes them.
      trouble: why there are none, or "".
      changed: the arguments that it changed.
    """

    grads: Any
    trouble: str = ""
    changed: tuple[str, ...] = ()


def asked(
    function: Callable[..., Any], questions: dict[str, tuple[Any, ...]], given: dict[str, Any]
) -> Answer:
    """Answers to {name of a gradient: arguments}, beside the right gradients that were given."""
    grads, changed = dict(given), ()
    for name, args in questions.items():
        one = attempt(function, args)
        if one.trouble:
            return Answer(None, one.trouble)
        grads[name] = one.value
        changed = changed or one.changed
    return Answer(grads, "", changed)


def judge_gradients(
    function: Callable[..., Any],
    groups: Sequence[Sequence[Point]],
    answer: Callable[[Callable[..., Any], Point], Answer],
    *,
    symbols: dict[str, str] | None = None,
) -> Finding:
    """The verdict on a function.

    Args:
      function: the learner's.
      groups: points, those of one network together.
      answer: asks the function for its gradients at a point.
      symbols: what a gradient is called in the hint; None: as in the comparison.
    """
    name, rows = function.__name__, []
    for i, group in enumerate(groups):
        answers = [answer(function, at) for at in group]
        trouble = next((one.trouble for one in answers if one.trouble), "")
        if trouble:
            return Finding(name, False, trouble)
        try:
            found = [compared(at, one.grads) for at, one in zip(group, answers, strict=True)]
        except (TypeError, ValueError) as error:
            return Finding(name, False, str(error))
        changed = next((one.changed for one in answers if one.changed), ())
        wrong = [n for n, one in enumerate(found) if is_wrong(one)]
        if wrong:
            said = agreed([found[n] for n in wrong], symbols or {})
            if i > 0:
                said += f". In a network of sizes {groups[0][0].net.sizes} it is right, in one of "
                said += f"{group[0].net.sizes} not: is a size, or a layer's number, written in?"
            said += f". Also, {in_place(changed)}" if changed else ""
            n = wrong[0]
            return Finding(name, False, said, _numbers(group[n], answers[n].grads, found[n]))
        if changed:
            return Finding(name, False, f"the value is right, but {in_place(changed)}")
        rows += [row for one in found for row in one.rows]
    worst = max(rows, key=lambda row: row.error)
    figures = f"{sum(map(len, groups))} networks, {len(rows)} gradients; the worst is off by "
    return Finding(
        name, True, f"{figures}{worst.error:.1e} of its norm, {worst.allowed:.1e} allowed"
    )


def compared(at: Point, grads: Any) -> Comparison:
    """The comparison at a point, in float64."""
    with jax.enable_x64(True):
        return compare_gradients(at.net, at.params, at.x, at.y, grads, weights=at.weights)


def is_wrong(found: Comparison) -> bool:
    """Whether a gradient is wrong by more than rounding."""
    return found.ok is False and any(row.error > ROUNDING for row in found.rows)


def agreed(found: Sequence[Comparison], symbols: dict[str, str]) -> str:
    """The hint on which all comparisons agree."""
    first = [one.first_wrong for one in found]
    row = first[0]
    if row is None:
        return ""
    what = symbols.get(row.name, row.symbol)
    if any(one is None or one.name != row.name for one in first):
        return "no mistake that is known explains it: compare each line with its formula"
    said = [one.diagnosis.message.split("; or: ") for one in first if one and one.diagnosis]
    everywhere = [hint for hint in said[0] if all(hint in others for others in said)]
    hint = "; or: ".join(everywhere) or "no mistake that is known explains it"
    return f"{what}: {hint}. The formula is {found[0].rule}"


def _numbers(at: Point, grads: Any, found: Comparison) -> tuple[str, ...]:
    """The first wrong gradient in numbers."""
    row = found.first_wrong
    if row is None or row.name not in grads:
        return ()
    got = np.asarray(grads[row.name], np.float64)
    return (f"expected {show(at.grads[row.name])}", f"got      {show(got)}")
