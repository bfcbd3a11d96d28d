"""A folder of checkpoints: the last few and the best, and the newest that verifies.

step-0000000012.npz         after step 12
step-0000000020-best.npz    after step 20, the best when it was saved
.lock                       held by the training that saves here
"""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ffnn_jax import checks
from ffnn_jax.checkpoint.archive import Archive, CheckpointError, read_archive, write_archive
from ffnn_jax.checkpoint.atomic import hold, sync_folder
from ffnn_jax.checkpoint.leaves import encode, named_leaves, restore
from ffnn_jax.checkpoint.model import check_metadata, metadata_of

LARGEST_STEP = 10**18 - 1
LISTINGS = 20  # how often a folder is looked at again, whose files were replaced meanwhile
NAME = re.compile(r"step-(\d{10,18})(-best)?\.npz", re.ASCII)


class Restored(NamedTuple):
    """What `Checkpoints.latest` and `Checkpoints.best` found.

    Attributes:
      step: the step that it was saved at.
      tree: what was saved.
      metadata: what was saved with it.
      skipped: a line for each newer file that did not verify: its name, and why.
    """

    step: int
    tree: Any
    metadata: dict[str, Any]
    skipped: tuple[str, ...]


class File(NamedTuple):
    """One checkpoint of a folder, by its name."""

    step: int
    best: bool
    path: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Checkpoints:
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

    folder: str | os.PathLike[str]
    keep: int = dataclasses.field(default=3, kw_only=True)
    every: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike):
            raise TypeError(f"folder: expected a str or os.PathLike, got {self.folder!r}")
        for name in ("keep", "every"):
            object.__setattr__(self, name, checks.check_positive_int(name, getattr(self, name)))

    def save(
        self, step: int, tree: Any, *, metadata: dict[str, Any] | None = None, best: bool = False
    ) -> pathlib.Path:
        """Writes one checkpoint; when it returns, the checkpoint outlives a power cut.

        Args:
          step: a number from 0 on, not below one that is there and verifies; a checkpoint of the
            same step is replaced.
          tree: any pytree of arrays and numbers: floats of 16, 32 and 64 bits, bfloat16, ints,
            bools, PRNG keys of both kinds. Weak types are those of the tree it is restored into.
          metadata: what is to be kept with it, a dict that JSON can hold.
          best: whether it is the best up to now.

        Returns:
          The file.

        Raises:
          TypeError, ValueError: step is no such number; a leaf is no array of such a dtype, is
            being traced or not all on this machine; two leaves have the same name; metadata is
            no dict, or none for JSON.
          OSError: it cannot be written; nothing is left behind, and nothing was removed.
        """
        step = checks.check_int_from(0, "step", step)
        if step > LARGEST_STEP:
            raise ValueError(f"step: expected at most {LARGEST_STEP}, got {step}")
        leaves = [encode(name, leaf) for name, leaf in named_leaves(tree)]
        fields = {"step": step, "metadata": check_metadata(metadata)}
        folder = self._made()
        self._check_newest(step)
        path = folder / f"step-{step:010d}{'-best' if best else ''}.npz"
        write_archive(path, "tree", fields, leaves)
        self._prune(File(step, best, path))
        return path

    def latest(self, like: Any) -> Restored | None:
        """The newest checkpoint that verifies.

        Args:
          like: a tree of the structure, shapes and dtypes of what was saved; its leaves may be
            `jax.ShapeDtypeStruct`. Each leaf comes back as that of `like` is: NumPy, a number, or
            of JAX, on the devices to which it is committed.

        Returns:
          What was found, or None where there is no checkpoint at all.

        Raises:
          CheckpointError: it does not fit `like`; or there are checkpoints, and none verifies.
          OSError: the folder cannot be read.
        """
        return self._restored(self.files, like)

    def best(self, like: Any) -> Restored | None:
        """The newest checkpoint that was saved as the best and verifies.

        Args, returns and raises as `latest`.
        """
        return self._restored(lambda: [file for file in self.files() if file.best], like)

    def files(self) -> list[File]:
        """The checkpoints that are there by their names, the newest first."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        found = [(match, name) for name in names if (match := NAME.fullmatch(name))]
        folder = pathlib.Path(self.folder)
        files = [
            File(int(m[1]), m[2] is not None, folder / name)
            for m, name in found
            if not (folder / name).is_dir()
        ]
        return sorted(files, reverse=True)

    def newest(self, files: list[File]) -> tuple[Archive, tuple[str, ...]] | None:
        """The first of the files that verifies, and a line for each before it.

        Raises:
          CheckpointError: none does.
        """
        skipped: list[str] = []
        for file in files:
            try:
                archive = read_archive(file.path, "tree")
                if archive.manifest.get("step") != file.step:
                    raise CheckpointError(file.path, "its manifest has another step than its name")
                return archive, tuple(skipped)
            except (CheckpointError, OSError) as error:
                skipped.append(f"{file.path.name}: {getattr(error, 'reason', error)}")
        if skipped:
            raise CheckpointError(self.folder, f"no checkpoint verifies: {'; '.join(skipped)}")
        return None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other trainings out of the folder; the lock goes with the process, however it ends.

        `fit` holds it. Around a loop of your own: `with checkpoints.lock():`.

        Raises:
          CheckpointError: another training holds it.
          OSError: the folder cannot be written to.
        """
        with open(self._made() / ".lock", "ab") as file:
            try:
                hold(file)
            except BlockingIOError:
                raise CheckpointError(
                    self.folder, "another training saves into this folder; take another one"
                ) from None
            yield

    def _made(self) -> pathlib.Path:
        folder = pathlib.Path(self.folder)
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        return folder

    def _check_newest(self, step: int) -> None:
        """No checkpoint that verifies is of a later step: `latest` would go on finding that one."""
        for file in self.files():
            if file.step <= step:
                return
            with contextlib.suppress(CheckpointError):
                read_archive(file.path, "tree")
                raise ValueError(
                    f"step: {os.fspath(self.folder)} holds step {file.step}; expected at least "
                    f"that, got {step}"
                )

    def _prune(self, saved: File) -> None:
        """Removes all but the newest up to the one just saved, and the last best of them."""
        old = [file for file in self.files() if file.step < saved.step]
        kept = old[: self.keep - 1]
        if not saved.best:
            kept += [file for file in old if file.best][:1]
        same = [f for f in self.files() if f.step == saved.step and f.path != saved.path]
        for file in [*same, *(file for file in old if file not in kept)]:
            file.path.unlink(missing_ok=True)

    def _restored(self, listed: Callable[[], list[File]], like: Any) -> Restored | None:
        found = None
        for _ in range(LISTINGS):
            files = listed()
            try:
                found = self.newest(files)
                break
            except CheckpointError:  # was all of it replaced between the listing and the reading?
                if any(file.path.exists() for file in files):
                    raise
        if found is None:
            return None
        (manifest, arrays), skipped = found
        try:
            tree = restore(like, arrays)
        except ValueError as error:
            raise CheckpointError(self.folder, f"step {manifest['step']}: {error}") from error
        return Restored(manifest["step"], tree, metadata_of(self.folder, manifest), skipped)
