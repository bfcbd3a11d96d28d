"""The words of the command line, and one line on stderr where something cannot be done.

Exit status: 0 done; 1 it cannot be done with these files or values; 2 the words are no command;
130 interrupted. `check` ends with 0 where all is right, 1 where something is wrong, and 2 where it
could not run or could not decide.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from ffnn_jax import __version__
from ffnn_jax.checkpoint import CheckpointError
from ffnn_jax.cli import bench, check, explain, export, info, predict, train
from ffnn_jax.demo import run_demo
from ffnn_jax.fitting import NonFiniteLossError
from ffnn_jax.processes import ProcessError, leave

EXAMPLES = """\
examples:
  ffnn train houses.csv --target price          a network, a report and a model in runs/houses
  ffnn predict runs/houses new.csv -o out.csv   what it says of new rows
  ffnn evaluate runs/houses test.csv            how right it is on rows that have the target
  ffnn explain runs/houses --example 7          who is responsible for the loss of row 7
  ffnn export runs/houses --format onnx         a file that runs elsewhere
  ffnn info runs/houses                         what is in a model or a run
  ffnn demo                                     a tour of the library on real digits
"""
REFUSALS = (OSError, ValueError, TypeError, ModuleNotFoundError, NotImplementedError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the words after the program's name; None: those of this process.

    Returns:
      The exit status: see the module.

    Raises:
      SystemExit: for --help, and with status 2 for words that are no command.
    """
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks an arrow shows a ?
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return arguments.failed
    except KeyboardInterrupt:
        leave("interrupted")
        print("ffnn: interrupted", file=sys.stderr)
        return 130
    except (*REFUSALS, CheckpointError, NonFiniteLossError, ProcessError) as error:
        leave(in_one_line(error))
        if os.environ.get("FFNN_TRACEBACK"):
            raise
        print(f"ffnn {arguments.command}: {in_one_line(error)}", file=sys.stderr)
        return 1
    return status


def in_one_line(error: Exception) -> str:
    """What the error says, without Python's numbers and quotes."""
    if isinstance(error, NonFiniteLossError):
        return str(error).partition(". The result")[0]
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ffnn",
        description="A feedforward network in JAX with hand-written backprop.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ffnn_jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, predict, explain, export, info, check, bench):
        command.add(commands)
    demo = commands.add_parser(
        "demo", help="real digits: gradients checked, a network trained, its speed measured"
    )
    demo.add_argument("--quick", action="store_true", help="fewer epochs and rounds")
    demo.add_argument("--seed", type=int, default=0, help="of parameters and shuffles (0)")
    demo.set_defaults(run=_demo, failed=1)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    run_demo(quick=arguments.quick, seed=arguments.seed)
    return 0
