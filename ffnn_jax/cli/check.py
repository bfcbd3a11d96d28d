"""`check`: the gradient rule of a function of yours, or every rule that it meets."""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import pathlib
import sys
from typing import Any

from ffnn_jax.gradcheck import check_gradients, check_rules

COLOURS = {  # of the words of a verdict
    r"right|exact|equal": "green",
    r"WRONG|wrong": "bold red",
    r"unsure|follows|not supported|unchecked|undecided": "yellow",
}


def add(commands: Any) -> None:
    """The command and its words."""
    check = commands.add_parser(
        "check",
        help="is the gradient rule of a function of yours right, leaf by leaf",
        description="Exit status: 0 right, 1 wrong, 2 could not run or could not decide.",
    )
    check.add_argument("function", help="package.module:function, or file.py:function")
    check.add_argument(
        "--args",
        required=True,
        metavar="EXAMPLE",
        help="package.module:name (or file.py:name) of its arguments, a tuple, or of a function "
        "that returns one",
    )
    check.add_argument(
        "--rules", action="store_true", help="check every custom rule that the function meets"
    )
    check.add_argument("--hard", action="store_true", help="with --rules: at hard inputs as well")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=_check, failed=2)


def _check(arguments: argparse.Namespace) -> int:
    """Runs `check_gradients` or `check_rules`, and prints what it found."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the function prints is no report
            report = _report(arguments)
    except Exception as error:  # whatever stands in the user's files
        lines = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, _UsageError) else f"{type(error).__name__}: "
        print(f"ffnn_jax check: {kind}{lines[0]}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _print_report(str(report))
    if report.ok is None:
        print("ffnn_jax check: undecided; the table says where", file=sys.stderr)
    return {True: 0, False: 1, None: 2}[report.ok]


class _UsageError(Exception):
    """What was written on the command line is not so."""


def _report(arguments: argparse.Namespace) -> Any:
    if arguments.hard and not arguments.rules:
        raise _UsageError("--hard goes with --rules")
    function = _found("FUNCTION", arguments.function)
    example = _found("--args", arguments.args)
    if callable(example):
        example = example()
    if not isinstance(example, tuple):
        raise _UsageError(
            f"--args: expected {arguments.args} to be a tuple of arguments, or a function that "
            f"returns one; got {type(example).__name__}"
        )
    if arguments.rules:
        return check_rules(function, example, hard=arguments.hard)
    return check_gradients(function, example)


def _found(argument: str, place: str) -> Any:
    """The object at `package.module:name` or `file.py:name`."""
    module_name, colon, name = place.rpartition(":")
    if not (colon and module_name and name):
        raise _UsageError(f"{argument}: expected package.module:name, got {place!r}")
    thing: Any = _module(argument, module_name)
    for part in name.split("."):
        if not hasattr(thing, part):
            raise _UsageError(f"{argument}: {module_name} has no {name!r}")
        thing = getattr(thing, part)
    return thing


def _module(argument: str, name: str) -> Any:
    """A module by its name, from the current folder too, or by its file."""
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            raise _UsageError(f"{argument}: there is no file {name}")
        folder, name = str(path.parent.resolve()), path.stem
    else:
        folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise _UsageError(f"{argument}: there is no module {name}") from None


def _print_report(text: str) -> None:
    """The text, its verdicts in colour on a terminal where rich is there."""
    if sys.stdout.isatty():
        with contextlib.suppress(ModuleNotFoundError):
            from rich.console import Console
            from rich.text import Text

            coloured = Text(text)
            for words, colour in COLOURS.items():
                coloured.highlight_regex(rf"(?m)(?<=  )({words})(?=  | *$)", colour)
            coloured.highlight_regex(r"(?m)^all right$", "green")
            coloured.highlight_regex(r"(?m)^\d+ of \d+ wrong", "bold red")
            Console(soft_wrap=True).print(coloured)
            return
    print(text)
