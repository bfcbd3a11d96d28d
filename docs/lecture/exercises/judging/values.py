"""The judge of a function whose value is known: losses, softmax, steps.

A mistake is a function too: the value that somebody gets who makes it. It is named only if it gives
what the learner's function gave in every trial, or in all the ordinary ones, and if two of them do,
both are named.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from judging.attempt import attempt, in_place, numbers, show
from judging.verdict import Finding

TOLERANCE = 1e-11  # of the norm: NumPy in float64, a few operations


class Mistake(NamedTuple):
    """One mistake.

    Attributes:
      said: the hint.
      value: what it gives, a function of the learner's arguments.
    """

    said: str
    value: Callable[..., Any]


def judge_values(
    function: Callable[..., Any],
    right: Callable[..., Any],
    trials: Sequence[tuple[Any, ...]],
    mistakes: Sequence[Mistake],
    *,
    ordinary: int | None = None,
    form: Callable[[Any], np.ndarray | str] = numbers,
) -> Finding:
    """The verdict on a function.

    Args:
      function: the learner's.
      right: the same, right.
      trials: arguments.
      mistakes: those that are known.
      ordinary: how many of the trials, the first, have no extreme numbers; None: all.
      form: makes an array of what the learner's function gave, or says what is wrong with it.
    """
    name, found, worst, changed = function.__name__, [], 0.0, ()
    for args in trials:
        one = attempt(function, args)
        value = form(one.value) if not one.trouble else one.trouble
        if isinstance(value, str):
            if _wrong(found, right, trials):
                break
            return Finding(name, False, value)
        changed = changed or one.changed
        found.append(value)
    wrong = _wrong(found, right, trials)
    if wrong:
        said = _named(mistakes, found, trials, ordinary) or _unnamed(found, right, trials, wrong[0])
        said += f". Also, {in_place(changed)}" if changed else ""
        args, got = trials[wrong[0]], found[wrong[0]]
        shown = (f"expected {show(_value(right, args))}", f"got      {show(got)}")
        return Finding(name, False, said, (*_arguments(args), *shown))
    if changed:
        return Finding(name, False, f"the value is right, but {in_place(changed)}")
    for value, args in zip(found, trials, strict=True):
        worst = max(worst, _error(value, _value(right, args)))
    figures = f"{len(trials)} trials; the largest error is {worst:.1e}, allowed {TOLERANCE:.0e}"
    return Finding(name, True, figures)


def _wrong(
    found: list[np.ndarray], right: Callable[..., Any], trials: Sequence[tuple[Any, ...]]
) -> list[int]:
    """Which trials are wrong."""
    pairs = zip(found, trials, strict=False)
    return [i for i, (f, args) in enumerate(pairs) if not close(f, _value(right, args))]


def _named(
    mistakes: Sequence[Mistake],
    found: list[np.ndarray],
    trials: Sequence[tuple[Any, ...]],
    ordinary: int | None,
) -> str:
    """The mistakes that explain what was found, or ""."""
    for count in (len(found), ordinary or len(found)):
        fitting = [m.said for m in mistakes if _fits(m, found[:count], trials)]
        if fitting:
            return "; or: ".join(dict.fromkeys(fitting))
    return ""


def _unnamed(
    found: list[np.ndarray],
    right: Callable[..., Any],
    trials: Sequence[tuple[Any, ...]],
    first: int,
) -> str:
    expected = _value(right, trials[first])
    if found[first].shape != expected.shape:
        return f"expected the shape {expected.shape}, got {found[first].shape}"
    but = "; it is right for other numbers, but not for these" if first > 0 else ""
    return f"no mistake that is known explains it{but}: compare with the formula"


def _fits(mistake: Mistake, found: list[np.ndarray], trials: Sequence[tuple[Any, ...]]) -> bool:
    for value, args in zip(found, trials, strict=False):
        try:
            wrong = _value(mistake.value, args)
        except (ValueError, IndexError):
            return False  # the mistake raises here, and the learner's function did not
        if not close(value, wrong):
            return False
    return True


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two arrays are the same but for rounding; NaN and ∞ at the same places."""
    if found.shape != expected.shape:
        return False
    there = np.isfinite(expected)
    if not np.array_equal(found[~there], expected[~there], equal_nan=True):
        return False
    return bool(np.all(np.isfinite(found[there]))) and _error(found, expected) <= TOLERANCE


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    there = np.isfinite(expected)
    size = np.linalg.norm(expected[there])
    return float(np.linalg.norm(found[there] - expected[there]) / (size or 1.0))


def _value(function: Callable[..., Any], args: tuple[Any, ...]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(function(*args), np.float64)


def _arguments(args: tuple[Any, ...]) -> tuple[str, ...]:
    told = [numbers(one) for one in args if not callable(one)]
    small = [show(one) for one in told if isinstance(one, np.ndarray) and one.size <= 12]
    return (f"of       {', '.join(small)}",) if len(small) == len(args) else ()
