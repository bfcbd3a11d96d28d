"""The command line: `ffnn COMMAND`, or `python -m ffnn_jax COMMAND`."""

from ffnn_jax.cli.commands import main

__all__ = ["main"]
