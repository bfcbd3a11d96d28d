"""The command line: `python -m ffnn_jax COMMAND`."""

import argparse
import os
import sys
from collections.abc import Sequence

from ffnn_jax import __version__
from ffnn_jax.demo import run_demo


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the words after the program's name; None: those of this process.

    Returns:
      The exit status: 0, or 1 with one line on stderr.

    Raises:
      SystemExit: for --help, and with status 2 for words that are no command.
    """
    arguments = _parser().parse_args(argv)
    try:
        run_demo(quick=arguments.quick, seed=arguments.seed)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        print(f"ffnn_jax: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("ffnn_jax: interrupted", file=sys.stderr)
        return 130
    return 0


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
    return parser
