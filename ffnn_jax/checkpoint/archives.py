"""Checkpoints that are one file each, written by one process.

step-0000000012.npz         after step 12
step-0000000020-best.npz    after step 20, the best when it was saved
.lock                       held by the training that saves here
"""

import dataclasses
import functools
import pathlib
import re
from typing import Any

from ffnn_jax.checkpoint.archive import read_archive, write_archive
from ffnn_jax.checkpoint.folder import File, Folder, Found
from ffnn_jax.checkpoint.leaves import Leaf, encode, named_leaves, restore

NAME = re.compile(r"step-(\d{10,18})(-best)?\.npz", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Checkpoints(Folder):
    """Where a training is saved, and how much of it is kept.

    Each save is one file, there whole or not at all. Reading needs no lock.

    Attributes:
      folder: made if it is not there. Files in it that are not named as ours are left alone.
      keep: how many of the newest stay; the last that was the best stays as well.
      every: how many epochs `fit` lets go by between two saves.

    Raises:
      TypeError: folder is no path, or keep or every no int.
      ValueError: keep or every is below 1.

    Example:
      >>> import tempfile, jax, numpy as np
      >>> from ffnn_jax import checkpoint
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     checkpoints = checkpoint.Checkpoints(folder, keep=2)
      ...     for step in range(5):
      ...         _ = checkpoints.save(step, {"w": np.full(3, step)})
      ...     restored = checkpoints.latest({"w": np.zeros(3, int)})
      >>> restored.step, restored.tree["w"].tolist()
      (4, [4, 4, 4])
    """

    def _encode(self, tree: Any) -> list[Leaf]:
        return [encode(name, leaf) for name, leaf in named_leaves(tree)]

    def _write(
        self, step: int, best: bool, leaves: list[Leaf], fields: dict[str, Any]
    ) -> pathlib.Path:
        path = pathlib.Path(self.folder) / f"step-{step:010d}{'-best' if best else ''}.npz"
        write_archive(path, "tree", fields, leaves)
        return path

    def _read(self, file: File) -> Found:
        manifest, arrays = read_archive(file.path, "tree")
        return Found(manifest, functools.partial(restore, values=arrays))

    def _parsed(self, names: list[str]) -> list[File]:
        folder = pathlib.Path(self.folder)
        matches = [(match, folder / name) for name in names if (match := NAME.fullmatch(name))]
        files = [File(int(m[1]), m[2] is not None, path) for m, path in matches]
        return sorted((file for file in files if not file.path.is_dir()), reverse=True)

    def _remove(self, file: File) -> None:
        file.path.unlink(missing_ok=True)
