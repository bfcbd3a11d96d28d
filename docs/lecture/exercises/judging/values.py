"""The judge of a function whose value is known: losses, softmax, steps.

A mistake is a function too: the value that somebody gets who makes it. It is named only if it gives
what the learner's function gave in every trial, or, if it is wrong there, in all the ordinary ones,
and if two of them do, both are named.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from judging.attempt import attempt, beside, in_place, name_of, numbers, show
from judging.verdict import Finding

TOLERANCE = 1e-11  # of the norm: NumPy in float64, a few operations
UNKNOWN = "no mistake that is known explains it"
FLOAT32 = 1e-5  # the same in float32
IN_FLOAT32 = (
    "the formula may be right: the error is no more than rounding costs in float32. Is something "
    "in it float32, or jnp, or rounded, or a small number added? NumPy computes in float64"
)


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
    name, found, worst, changed = name_of(function), [], 0.0, ()
    for args in trials:
        one = attempt(function, args)
        value = form(one.value) if not one.trouble else one.trouble
        if isinstance(value, str):
            if wrong_trials(found, right, trials):
                break
            return Finding(name, False, value)
        changed = changed or one.changed
        found.append(value)
    wrong = wrong_trials(found, right, trials)
    if wrong:
        said = explained(mistakes, found, right, trials, ordinary)
        said += f". Also, {in_place(changed)}" if changed else ""
        worst_one = max(wrong, key=lambda i: _distance(found[i], _value(right, trials[i])))
        args = trials[worst_one]
        shown = beside(_value(right, args), found[worst_one])
        return Finding(name, False, said, (*_arguments(args), *shown))
    if changed:
        return Finding(name, False, f"the value is right, but {in_place(changed)}")
    for value, args in zip(found, trials, strict=True):
        worst = max(worst, _error(value, _value(right, args)))
    figures = f"{len(trials)} trials; the largest error is {worst:.1e}, allowed {TOLERANCE:.0e}"
    return Finding(name, True, figures)


def wrong_trials(
    found: list[np.ndarray], right: Callable[..., Any], trials: Sequence[tuple[Any, ...]]
) -> list[int]:
    """Which trials are wrong."""
    pairs = zip(found, trials, strict=False)
    return [i for i, (f, args) in enumerate(pairs) if not close(f, _value(right, args))]


def explained(
    mistakes: Sequence[Mistake],
    found: list[np.ndarray],
    right: Callable[..., Any],
    trials: Sequence[tuple[Any, ...]],
    ordinary: int | None = None,
) -> str:
    """The mistakes that explain what was found, or a sentence on how far it is off."""
    wrong = wrong_trials(found, right, trials)
    counts = [len(found)]
    if ordinary and wrong[0] < ordinary:  # where it is right, whatever is right there would fit
        counts.append(ordinary)
    for count in counts:
        fitting = [m.said for m in mistakes if _fits(m, found[:count], trials)]
        if fitting:
            return "; or: ".join(dict.fromkeys(fitting))
    return _unnamed(found, right, trials, wrong[0])


def _unnamed(
    found: list[np.ndarray],
    right: Callable[..., Any],
    trials: Sequence[tuple[Any, ...]],
    first: int,
) -> str:
    expected = _value(right, trials[first])
    if found[first].shape != expected.shape:
        return f"expected the shape {expected.shape}, got {found[first].shape}"
    pairs = [(value, _value(right, args)) for value, args in zip(found, trials, strict=False)]
    if all(_distance(value, expected) <= FLOAT32 for value, expected in pairs):
        return IN_FLOAT32
    but = "; it is right for other numbers, but not for these" if first > 0 else ""
    return f"{UNKNOWN}{but}: compare with the formula"


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


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The error, ∞ where the shape differs or NaN and ∞ are at other places."""
    if found.shape != expected.shape or np.any(np.isfinite(found) != np.isfinite(expected)):
        return np.inf
    return _error(found, expected)


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
