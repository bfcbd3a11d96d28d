"""What `train` shows on stderr: a bar on a terminal, plain lines in a log."""

import sys
import time
from typing import Any

SECONDS = 5.0  # between two lines of a log


class Progress:
    """Lines of text, and how far training is.

    On a terminal where rich is installed a bar with the loss, the rate and the time left;
    elsewhere a line of text at most every five seconds.
    """

    def __init__(self, *, quiet: bool):
        self.quiet = quiet
        self.bar: Any = None
        self.task: Any = None
        self.said = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._end()

    def say(self, line: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self._end()
            print(line, file=sys.stderr, flush=True)

    def show(self, name: str, done: int, epochs: int, record: dict[str, Any]) -> None:
        """Epoch `done` of `epochs` of the fit of that name, and what it showed."""
        if self.quiet:
            return
        words = f"loss {record['loss']:.4f}"
        if record["validation_loss"] is not None:
            words += f"  validation {record['validation_loss']:.4f}"
        if record["validation_accuracy"] is not None:
            words += f"  accuracy {record['validation_accuracy']:.4f}"
        if sys.stderr.isatty() and self._begin(name, epochs):
            self.bar.update(self.task, completed=done, words=words)
        elif time.monotonic() - self.said > SECONDS:
            self.said = time.monotonic()
            if done > 1:  # the first epoch holds the compilation
                words += f"  at most {(epochs - done) * record['seconds']:.0f} s left"
            print(f"{name}: epoch {done}/{epochs}  {words}", file=sys.stderr, flush=True)

    def _begin(self, name: str, epochs: int) -> bool:
        """Whether there is a bar."""
        if self.bar is None:
            try:
                from rich.console import Console
                from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
            except ModuleNotFoundError:
                return False
            self.bar = Progress(
                TextColumn(f"{name}: epoch {{task.completed}}/{epochs}"),
                BarColumn(),
                TextColumn("{task.fields[words]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task(name, total=epochs, words="")
            self.bar.start()
        return True

    def _end(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
