"""The judge of the exercises: runs what you filled in, and says "right", or what the mistake is.

Each exercise calls it when it is run. It can be pointed at any file of that name, a solution too:

    python docs/lecture/exercises/judge.py docs/lecture/solutions/07_gradient_of_a_L.py

Exit code 0: all is right; 1: something is not, or not there yet; 2: no such exercise or file.
"""

import pathlib
import sys
from typing import Any

import numpy as np
from judging.attempt import described
from judging.exercises import EXERCISES
from judging.verdict import Verdict


def main(namespace: dict[str, Any]) -> None:
    """Judges the functions of a file that is being run; `judge.main(globals())` is its last line.

    Raises:
      SystemExit: with 0 where all is right, else 1.
    """
    verdict = judge(namespace, namespace["__file__"])
    print(verdict)
    raise SystemExit(0 if verdict.ok else 1)


def judge_file(path: str | pathlib.Path, *, seed: int | None = None) -> Verdict:
    """Judges a file.

    Args:
      path: the file; its name begins with the number of the exercise.
      seed: of the random networks; None: others each time.

    Raises:
      OSError: the file cannot be read.
      ValueError: no exercise has that number, or the file is not UTF-8.
    """
    path = pathlib.Path(path)
    exercise = EXERCISES[number_of(path)]
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8; {error}") from None
    try:
        exec(compile(text, str(path), "exec"), namespace)
    except (Exception, SystemExit) as error:
        return Verdict(exercise.title, (), described(error, str(path)))
    return judge(namespace, path, seed=seed)


def judge(
    namespace: dict[str, Any], path: str | pathlib.Path, *, seed: int | None = None
) -> Verdict:
    """Judges the functions in the namespace of a file; arguments and errors as `judge_file`."""
    exercise = EXERCISES[number_of(pathlib.Path(path))]
    missing = [name for name in exercise.functions if not callable(namespace.get(name))]
    if missing:
        return Verdict(exercise.title, (), f"the file has no function {', '.join(missing)}")
    functions = [namespace[name] for name in exercise.functions]
    findings = exercise.judge(*functions, np.random.default_rng(seed))
    return Verdict(exercise.title, tuple(findings))


def number_of(path: pathlib.Path) -> int:
    """The number of the exercise that a file is of."""
    digits = path.name[:2]
    if not digits.isdigit() or int(digits) not in EXERCISES:
        raise ValueError(
            f"{path.name}: the name of an exercise begins with its number, 01 to {len(EXERCISES)}"
        )
    return int(digits)


def _command_line(paths: list[str]) -> int:
    if not paths:
        print("usage: python judge.py FILE …", file=sys.stderr)
        return 2
    try:
        verdicts = [judge_file(path) for path in paths]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n\n".join(map(str, verdicts)))
    return 0 if all(verdict.ok for verdict in verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(_command_line(sys.argv[1:]))
