"""A folder of checkpoints: the last few and the best, and the newest that verifies.

What is one file (archives.py) or a folder of many that several processes wrote (sharded.py) is
called in the same way, and kept by the same rules; how it is written and read is theirs.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeVar

from ffnn_jax import checks
from ffnn_jax.checkpoint.archive import CheckpointError
from ffnn_jax.checkpoint.atomic import hold, sync_folder
from ffnn_jax.checkpoint.model import check_metadata, metadata_of

LARGEST_STEP = 10**18 - 1
NAMES = {  # of the checkpoints of each class
    "Checkpoints": re.compile(r"step-(\d{10,18})(-best)?\.npz", re.ASCII),
    "ShardedCheckpoints": re.compile(r"step-(\d{10,18})(-best)?(?:\.(\d{1,9}))?", re.ASCII),
}
LISTINGS = 20  # how often a folder is looked at again, whose files were replaced meanwhile
T = TypeVar("T")


class Restored(NamedTuple):
    """What `latest` and `best` found.

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


class Found(NamedTuple):
    """A checkpoint that verifies.

    Attributes:
      manifest: what it says of itself: step, metadata, and leaves, a row for each with its name.
      restore: gives its values in the structure of a tree, as `latest`; ValueError where it holds
        another, OSError where they cannot be read.
      skipped: as that of `Restored`.
    """

    manifest: dict[str, Any]
    restore: Callable[[Any], Any]
    skipped: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Folder:
    """What every kind of folder has: see `Checkpoints` and `ShardedCheckpoints`."""

    kind: ClassVar[str]  # a name of NAMES

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
          Where it is.

        Raises:
          TypeError, ValueError: step is no such number; a leaf is no array of such a dtype, is
            being traced or cannot be reached from here; two leaves have the same name; metadata
            is no dict, or none for JSON.
          OSError: it cannot be written; nothing is left behind, and nothing was removed.
        """
        step = checks.check_int_from(0, "step", step)
        if step > LARGEST_STEP:
            raise ValueError(f"step: expected at most {LARGEST_STEP}, got {step}")
        leaves = self._encode(tree)
        fields = {"step": step, "metadata": check_metadata(metadata)}
        self._first(functools.partial(self._prepare, step))
        saved = File(step, best, self._write(step, best, leaves, fields))
        self._first(functools.partial(self._prune, saved))
        return saved.path

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
        """The checkpoints that are there by their names, the newest first.

        Raises:
          CheckpointError: there are some of the other kind.
          OSError: the folder cannot be read.
        """
        names = self._first(self._names)
        for kind, pattern in NAMES.items():
            if kind != self.kind and any(map(pattern.fullmatch, names)):
                raise CheckpointError(
                    self.folder, f"it holds {kind}; read them as such, or take another folder"
                )
        return self._parsed(names)

    def newest(self, files: list[File]) -> Found | None:
        """The first of the files that verifies, and a line for each before it.

        Raises:
          CheckpointError: none does.
        """
        first = self._newest(files, _itself)
        return None if first is None else first[0]._replace(skipped=first[1])

    def restored(self, files: list[File], like: Callable[[Found], Any]) -> Restored | None:
        """The first of the files that verifies and can be read.

        Args:
          files: the newest first.
          like: gives the tree into which a checkpoint is to be restored, as that of `latest`.

        Raises:
          ValueError: it does not fit that tree, or what `like` raises.
          CheckpointError: none verifies.
        """
        first = self._newest(files, functools.partial(self._taken, like))
        return None if first is None else first[0]._replace(skipped=first[1])

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other trainings out of the folder; the lock goes with the process, however it ends.

        `fit` holds it. Around a loop of your own: `with checkpoints.lock():`.

        Raises:
          CheckpointError: another training holds it.
          OSError: the folder cannot be written to.
        """
        with contextlib.ExitStack() as held:
            self._first(functools.partial(held.enter_context, self._locked()))
            yield

    # What a kind of folder does in its own way ---------------------------------------------------

    def _encode(self, tree: Any) -> Any:
        """The leaves as `_write` takes them."""
        raise NotImplementedError

    def _write(self, step: int, best: bool, leaves: Any, fields: dict[str, Any]) -> pathlib.Path:
        """A checkpoint with these fields in its manifest, whole or not at all."""
        raise NotImplementedError

    def _read(self, file: File) -> Found:
        """A checkpoint, verified by this process alone; CheckpointError where it does not."""
        raise NotImplementedError

    def _read_together(self, file: File) -> Found:
        """As `_read`, where every process reads the same one."""
        return self._read(file)

    def _parsed(self, names: list[str]) -> list[File]:
        """Those of the names that are of checkpoints, the newest first."""
        raise NotImplementedError

    def _remove(self, file: File) -> None:
        """Takes a checkpoint away."""
        raise NotImplementedError

    def _first(self, work: Callable[[], T]) -> T:
        """The outcome of work that one process does for all."""
        return work()

    # What all of them do -------------------------------------------------------------------------

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
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

    def _prepare(self, step: int) -> None:
        """A folder in which no checkpoint that verifies is of a later step.

        `latest` would go on finding that one.
        """
        self._made()
        for file in self._parsed(self._names()):
            if file.step <= step:
                return
            with contextlib.suppress(CheckpointError):
                self._read(file)
                raise ValueError(
                    f"step: {os.fspath(self.folder)} holds step {file.step}; expected at least "
                    f"that, got {step}"
                )

    def _prune(self, saved: File) -> None:
        """Removes all but the newest up to the one just saved, and the last best of them."""
        files = self._parsed(self._names())
        old = [file for file in files if file.step < saved.step]
        kept = old[: self.keep - 1]
        if not saved.best:
            kept += [file for file in old if file.best][:1]
        same = [f for f in files if f.step == saved.step and f.path != saved.path]
        for file in [*same, *(file for file in old if file not in kept)]:
            self._remove(file)

    def _newest(
        self, files: list[File], use: Callable[[Found], T]
    ) -> tuple[T, tuple[str, ...]] | None:
        """What is made of the first that verifies and can be read; a line for each before it."""
        skipped: list[str] = []
        for file in files:
            try:
                found = self._read_together(file)
                step = found.manifest.get("step")
                if type(step) is not int or step != file.step:
                    raise CheckpointError(file.path, "its manifest has another step than its name")
                return use(found), tuple(skipped)
            except (CheckpointError, OSError) as error:
                skipped.append(f"{file.path.name}: {getattr(error, 'reason', error)}")
        if skipped:
            raise CheckpointError(self.folder, f"no checkpoint verifies: {'; '.join(skipped)}")
        return None

    def _taken(self, like: Callable[[Found], Any], found: Found) -> Restored:
        metadata, wanted = metadata_of(self.folder, found.manifest), like(found)
        step = found.manifest["step"]
        try:
            return Restored(step, found.restore(wanted), metadata, ())
        except ValueError as error:
            raise ValueError(f"step {step}: {error}") from error

    def _restored(self, listed: Callable[[], list[File]], like: Any) -> Restored | None:
        for _ in range(LISTINGS):
            files = listed()
            try:
                return self.restored(files, lambda _: like)
            except ValueError as error:
                raise CheckpointError(self.folder, str(error)) from error
            except CheckpointError:  # was all of it replaced between the listing and the reading?
                if self._first(functools.partial(_any_is_there, files)):
                    raise
        return None


def _itself(found: Found) -> Found:
    return found


def _any_is_there(files: list[File]) -> bool:
    return any(file.path.exists() for file in files)
