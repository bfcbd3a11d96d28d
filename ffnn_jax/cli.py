"""The command line: `python -m ffnn_jax COMMAND`.

  demo     real digits: gradients checked, a network trained, its speed measured
  check    the gradient rule of a function of yours, or every rule that it meets

`check` ends with 0 where all is right, 1 where something is wrong, and 2 where it could not run or
could not decide.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ffnn_jax import __version__
from ffnn_jax.demo import run_demo
from ffnn_jax.gradcheck import check_gradients, check_rules

COLOURS = {  # of the words of a verdict
    r"right|exact|equal": "green",
    r"WRONG|wrong": "bold red",
    r"unsure|follows|not supported|unchecked|undecided": "yellow",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the words after the program's name; None: those of this process.

    Returns:
      The exit status: 0, or 1 with one line on stderr; of `check` 0 right, 1 wrong, 2 neither.

    Raises:
      SystemExit: for --help, and with status 2 for words that are no command.
    """
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return arguments.failed
    except KeyboardInterrupt:
        print("ffnn_jax: interrupted", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ffnn_jax",
        description="A feedforward network in JAX with hand-written backprop.",
    )
    parser.add_argument("--version", action="version", version=f"ffnn_jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="real digits: gradients checked, a network trained, its speed measured"
    )
    demo.add_argument("--quick", action="store_true", help="fewer epochs and rounds")
    demo.add_argument("--seed", type=int, default=0, help="of parameters and shuffles (0)")
    demo.set_defaults(run=_demo, failed=1)
    _add_check(commands)
    return parser


def _add_check(commands: Any) -> None:
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


def _demo(arguments: argparse.Namespace) -> int:
    try:
        run_demo(quick=arguments.quick, seed=arguments.seed)
    except ModuleNotFoundError as error:
        print(f"ffnn_jax: {error}", file=sys.stderr)
        return 1
    return 0


# Checking ----------------------------------------------------------------------------------------


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
