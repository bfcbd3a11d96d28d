"""Runs a learner's function: on copies, and whatever it does is told in a sentence."""

import copy
import linecache
import pathlib
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Attempt(NamedTuple):
    """What came of a call.

    Attributes:
      value: what was returned.
      trouble: why there is nothing to judge, or "".
      changed: the arguments that the function changed in place.
    """

    value: Any
    trouble: str = ""
    changed: tuple[str, ...] = ()


def attempt(function: Callable[..., Any], args: tuple[Any, ...]) -> Attempt:
    """Calls the function with copies of its arguments."""
    mine, name = copy.deepcopy(args), name_of(function)
    code = getattr(function, "__code__", None)  # a function of NumPy itself has none
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = function(*mine)
    except NotImplementedError:
        return Attempt(None, f"nothing here yet: fill in the body of {name}")
    except (Exception, SystemExit) as error:
        return Attempt(None, described(error, code.co_filename if code else ""))
    if value is None:
        said = f"{name} gave None: fill it in; or has it no `return`, or did it read place 0 of a "
        return Attempt(None, f"{said}list, which is None?")
    names = code.co_varnames if code else ()
    pairs = zip(names, mine, args, strict=False)
    return Attempt(value, "", tuple(n for n, now, then in pairs if not _same(now, then)))


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called; a `functools.partial` has no name."""
    return getattr(function, "__name__", type(function).__name__)


def in_place(changed: tuple[str, ...]) -> str:
    """The sentence on arguments that were changed."""
    name = changed[0]
    return (
        f"it changes its argument {', '.join(changed)} in place, and who called it may still need "
        f"the old value: copy it first, {name} = {name}.copy(), and of a list each array that is "
        "changed"
    )


def described(error: BaseException, file: str) -> str:
    """An exception in one sentence, with the line of the learner's file where it arose."""
    words = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"Python cannot read it: {said}, in line {error.lineno}"
    if "'NoneType'" in said:
        said += " (place 0 of a list is None)"
    if isinstance(error, SystemExit):
        said = "SystemExit: it ends the program, and nothing is judged"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    if not frames:
        return f"your code raised {said}"
    number = frames[-1].lineno or 0
    line = linecache.getline(file, number).strip()
    return f"your code raised {said}, in line {number} of {pathlib.Path(file).name}: {line}"


def numbers(value: Any) -> np.ndarray | str:
    """A value as an array in float64, or what is wrong with it."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        return f"expected numbers, and this is no array: {error}"
    if array.dtype.kind not in "fiub":
        return f"expected real numbers, got {type(value).__name__} of dtype {array.dtype}"
    return array.astype(np.float64)


def show(array: np.ndarray, digits: int = 4) -> str:
    """An array in one line."""
    if array.ndim == 0:
        return f"{array:.{digits + 2}g}"
    text = np.array2string(
        array, precision=digits, threshold=12, edgeitems=2, max_line_width=10_000
    )
    return " ".join(text.split())


def beside(expected: np.ndarray, got: np.ndarray) -> tuple[str, str]:
    """Two lines, with as many digits as it takes to see that they differ."""
    digits = 4 if show(expected) != show(got) else 15
    return f"expected {show(expected, digits)}", f"got      {show(got, digits)}"


def _same(now: Any, then: Any) -> bool:
    if isinstance(then, list | tuple):
        return len(now) == len(then) and all(map(_same, now, then))
    if isinstance(then, np.ndarray):
        return now.shape == then.shape and np.array_equal(now, then, equal_nan=True)
    return True
