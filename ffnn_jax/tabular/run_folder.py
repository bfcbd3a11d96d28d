"""A run folder: everything that one training leaves behind.

config.toml      the settings, enough to run it again
metrics.jsonl    one record a line, append only
checkpoints/     to go on from after a crash; fit-all/ beside it for the fit on all rows
model.npz        the trained network and how rows are prepared for it
report.html      what it learned, as a page
"""

import os
import pathlib
from typing import NamedTuple

from ffnn_jax.checkpoint import Checkpoints, ShardedCheckpoints

RUNS = pathlib.Path("runs")  # where folders go that were not given a place


class RunFolder(NamedTuple):
    """The places in a run folder."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """The settings."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> pathlib.Path:
        """The records of the epochs."""
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> pathlib.Path:
        """The trained network."""
        return self.path / "model.npz"

    @property
    def report(self) -> pathlib.Path:
        """The page."""
        return self.path / "report.html"

    def checkpoints(
        self, stage: str = "checkpoints", *, every: int, joint: bool = False
    ) -> Checkpoints | ShardedCheckpoints:
        """Those of one of the two fits: "checkpoints", or "fit-all"; one every so many epochs.

        What several processes wrote, one may go on from, and the other way round not.
        """
        folder = self.path / stage
        if joint or any(path.is_dir() for path in folder.glob("step-*")):
            return ShardedCheckpoints(folder, every=every)
        return Checkpoints(folder, every=every)


def new_run(path: str | os.PathLike[str] | None, name: str) -> RunFolder:
    """A new folder: the one given, or the first free of runs/NAME, runs/NAME-2, …

    Raises:
      FileExistsError: the one given holds something already.
      OSError: it cannot be made.
    """
    if path is not None:
        folder = pathlib.Path(path)
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"{folder}: it is a file, and no folder")
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder}: it is not empty; --resume goes on with a run in it")
        return RunFolder(folder)
    RUNS.mkdir(exist_ok=True)
    number = 1
    while True:
        folder = RUNS / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return RunFolder(folder)


def open_run(path: str | os.PathLike[str]) -> RunFolder:
    """The folder of a run that was begun.

    Raises:
      FileNotFoundError: there is none.
    """
    folder = RunFolder(pathlib.Path(path))
    if not folder.config.is_file():
        raise FileNotFoundError(f"{folder.path}: no run was begun there: it has no config.toml")
    return folder
