"""What a person sees of a training while it goes on, and at its early end."""

import sys
from collections.abc import Callable
from typing import Any

from ffnn_jax.epochs import Row, Table


class Progress:
    """One line on stderr, written over after every call; in a file, a line an epoch."""

    def __init__(
        self,
        epochs: int,
        shown: bool | None,
        words: Callable[[Any, Row], list[str]],
        *,
        done: int = 0,
    ):
        """words(run, row) says what an epoch showed; done epochs lie behind it."""
        self.epochs, self.words, self.done, self.begun = epochs, words, done, done
        self.terminal = sys.stderr is not None and sys.stderr.isatty()
        self.shown = self.terminal if shown is None else shown and sys.stderr is not None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self.shown and self.terminal:
            print(file=sys.stderr)

    def show(self, run: Any, tables: list[Table]) -> None:
        """The epochs of one call, and the time left once an epoch went by that did not compile."""
        table = tables[-1]
        new = len(table.seconds)
        for i in range(new) if self.shown else ():
            if self.terminal and i < new - 1:
                continue
            done = self.done + i + 1
            row = Row(*(None if t is None else t[i] for t in table.rows))
            parts = [f"epoch {done}/{self.epochs}", *self.words(run, row)]
            if self.begun + 1 < done < self.epochs:
                parts.append(f"{(self.epochs - done) * table.seconds[i]:.0f} s left")
            before, after = ("\r\x1b[2K", "") if self.terminal else ("", "\n")
            print(before + "  ".join(parts), end=after, file=sys.stderr, flush=True)
        self.done += new


def interruption(name: str, done: int, epochs: int) -> str:
    """What the warning after Ctrl-C says."""
    return f"{name}: interrupted in epoch {done + 1} of {epochs}; this is the state after {done}"
