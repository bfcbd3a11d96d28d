"""Checkpoints that all processes write together, by orbax; restored on any number of devices.

step-0000000012/            after step 12
  arrays/                   what orbax wrote
  manifest.json             step, metadata, a row for each leaf, libraries
  SHA256SUMS                the digest of every file above
step-0000000020-best/       after step 20, the best when it was saved
step-0000000020-best.1/     the same step again; the one before is removed
.lock                       held by the training that saves here

A checkpoint is written in a folder of another name, which takes its own in one step once all of it
is on the disk. What is decided by looking at the folder, the first process decides for all.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, TypeVar

import jax

from ffnn_jax import checks
from ffnn_jax.checkpoint.archive import DAMAGED, CheckpointError, libraries
from ffnn_jax.checkpoint.atomic import PREFIX, SUFFIX, YOUNG, hold, sync_folder
from ffnn_jax.checkpoint.folder import NAMES, File, Folder, Found
from ffnn_jax.checkpoint.leaves import BFLOAT16, DTYPES
from ffnn_jax.checkpoint.orbax_arrays import (
    Described,
    check_rows,
    describe,
    load,
    merge,
    packages,
    store,
)
from ffnn_jax.checkpoint.sums import NAME as SUMS
from ffnn_jax.checkpoint.sums import check_sums, digests, listed, write_sums
from ffnn_jax.checkpoint.together import each, first, own

FORMAT = "ffnn_jax sharded checkpoint"
VERSION = 1  # every version from 1 on is read
MANIFEST, ARRAYS = "manifest.json", "arrays"
WRITER = re.compile(r"(?:^|/)(?:ocdbt\.)?process_(\d+)(?:/|$)", re.ASCII)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class ShardedCheckpoints(Folder):
    """Where a training on many devices or processes is saved, and how much of it is kept.

    As `Checkpoints`, with a folder for each save. Every process calls the same methods with the
    same arguments, on a folder that all of them see; each writes and reads the part of the arrays
    that its devices have, and none has all of them. What was saved may be restored on another
    number of devices or processes, split in another way: `like` says how. A process that fails
    makes the call fail in all. Needs the extra `orbax`.

    Attributes:
      folder: made if it is not there. What is in it and not named as ours is left alone.
      keep: how many of the newest stay; the last that was the best stays as well.
      every: how many epochs `fit` lets go by between two saves.

    Raises:
      TypeError: folder is no path, or keep or every no int.
      ValueError: keep or every is below 1.
      ModuleNotFoundError: orbax is not installed.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp
      >>> from ffnn_jax import checkpoint
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> split = jax.NamedSharding(mesh, jax.P("data"))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     checkpoints = checkpoint.ShardedCheckpoints(folder)
      ...     _ = checkpoints.save(4, {"w": jax.device_put(jnp.arange(3.0), split)})
      ...     like = {"w": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=split)}
      ...     restored = checkpoints.latest(like)
      >>> restored.step, restored.tree["w"].tolist()
      (4, [0.0, 1.0, 2.0])
    """

    kind = "ShardedCheckpoints"

    def __post_init__(self) -> None:
        super().__post_init__()
        packages()

    # Writing -------------------------------------------------------------------------------------

    def _encode(self, tree: Any) -> list[Described]:
        return describe(tree)

    def _write(
        self, step: int, best: bool, leaves: list[Described], fields: dict[str, Any]
    ) -> pathlib.Path:
        manifest = _manifest(fields, [leaf.row for leaf in leaves])
        with contextlib.ExitStack() as held:
            name = self._first(functools.partial(self._begin, held, manifest))
            folder = pathlib.Path(self.folder) / name
            own(self.folder, functools.partial(self._store, folder, leaves))
            self._first(functools.partial(merge, folder / ARRAYS))
            parts = each(self.folder, functools.partial(_own_digests, folder))
            sums = {name: digest for part in parts for name, digest in part.items()}
            return folder.parent / self._first(
                functools.partial(self._commit, folder, sums, step, best)
            )

    def _begin(self, held: contextlib.ExitStack, manifest: str) -> str:
        """The name of a new folder with the manifest in it, held and removed with the stack."""
        folder = pathlib.Path(self.folder) / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        _remove_leftovers(folder.parent)
        folder.mkdir()
        held.callback(_remove_if_there, folder)
        held.enter_context(_held(folder))
        (folder / ARRAYS).mkdir()
        (folder / MANIFEST).write_text(manifest, encoding="utf-8")
        return folder.name

    def _store(self, folder: pathlib.Path, leaves: list[Described]) -> None:
        if not folder.is_dir():
            raise CheckpointError(
                self.folder, "not every process sees it; take one on a file system that all share"
            )
        store(folder / ARRAYS, leaves)

    def _commit(self, folder: pathlib.Path, sums: dict[str, str], step: int, best: bool) -> str:
        """Gives the folder its name, once all of it is on the disk."""
        write_sums(folder, sums)
        name = f"step-{step:010d}{'-best' if best else ''}"
        there = [_number(file) for file in self._parsed(self._names()) if file.step == step]
        if there:
            name += f".{max(there) + 1}"
        os.rename(folder, folder.parent / name)
        sync_folder(folder.parent)
        return name

    def _remove(self, file: File) -> None:
        """Renames it before, so that what is named as a checkpoint is never a part of one."""
        gone = file.path.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        os.rename(file.path, gone)
        shutil.rmtree(gone, ignore_errors=True)

    # Reading -------------------------------------------------------------------------------------

    def _parsed(self, names: list[str]) -> list[File]:
        folder = pathlib.Path(self.folder)
        matches = [
            (match, folder / name) for name in names if (match := NAMES[self.kind].fullmatch(name))
        ]
        files = [File(int(m[1]), m[2] is not None, path) for m, path in matches]
        return sorted(files, key=lambda file: (file.step, _number(file)), reverse=True)

    def _read(self, file: File) -> Found:
        return self._verified(file, _all)

    def _read_together(self, file: File) -> Found:
        """The processes share its files out."""
        return own(self.folder, functools.partial(self._verified, file, _share))

    def _verified(self, file: File, mine: Callable[[int], bool]) -> Found:
        """A checkpoint, of whose files those that are mine were read and verify."""
        try:
            check_sums(file.path, mine)
            manifest = _parsed_manifest(file.path)
        except DAMAGED as error:
            raise CheckpointError(file.path, str(error)) from error
        return Found(manifest, functools.partial(self._restore, file.path, manifest["leaves"]))

    def _restore(self, path: pathlib.Path, rows: list[dict[str, Any]], like: Any) -> Any:
        """The values; every process raises the same, as all then take the one before, or none."""
        check_rows(rows, like)
        loaded: list[Any] = []
        work = functools.partial(_loaded, loaded, path / ARRAYS, rows, like)
        for process, failed in enumerate(each(self.folder, work)):
            if failed is not None:
                misfit, words = failed
                words = words if jax.process_count() == 1 else f"process {process}: {words}"
                raise ValueError(words) if misfit else OSError(words)
        return loaded[0]

    # Together ------------------------------------------------------------------------------------

    def _first(self, work: Callable[[], T]) -> T:
        return first(self.folder, work)


def _manifest(fields: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The text of the manifest; TypeError or ValueError where JSON cannot hold the fields."""
    versions = {**libraries(), "orbax-checkpoint": metadata.version("orbax-checkpoint")}
    head = {"format": FORMAT, "version": VERSION, "libraries": versions}
    try:
        return json.dumps({**head, **fields, "leaves": rows})
    except RecursionError:
        raise ValueError("metadata: lists and dicts are too deep in each other") from None


def _parsed_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a checkpoint that verifies; ValueError where it is none that we know."""
    more = {path.name for path in folder.iterdir()} - {MANIFEST, ARRAYS, SUMS}
    if more:
        raise ValueError(f"damaged: {min(more)} is none of ours")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"no checkpoint: its manifest is not of the format {FORMAT!r}")
    if manifest["version"] > VERSION:
        raise ValueError(
            f"it is of version {manifest['version']}, and this ffnn_jax reads up to {VERSION}: "
            "update it"
        )
    for row in manifest["leaves"]:
        _check_row(row)
    return manifest


def _check_row(row: Any) -> None:
    """A row of the manifest has what `describe` gives it."""
    if not isinstance(row, dict):
        raise ValueError("a leaf has no row")
    name, shape, dtype = (row.get(field) for field in ("name", "shape", "dtype"))
    if not isinstance(name, str) or not isinstance(shape, list):
        raise ValueError("a leaf has no name or no shape")
    if not all(type(n) is int and 0 <= n <= checks.LARGEST_SIZE for n in shape):
        raise ValueError(f"{name[:100]}: expected sizes from 0 to {checks.LARGEST_SIZE}")
    if "impl" in row:
        key = jax.eval_shape(functools.partial(jax.random.key, impl=row["impl"]), 0)
        known = [str(key.dtype)]
    else:
        known = list(map(str, (*DTYPES, BFLOAT16)))
    if dtype not in known:
        raise ValueError(f"{name[:100]}: unknown dtype {str(dtype)[:50]!r}")


def _loaded(
    loaded: list[Any], folder: pathlib.Path, rows: list[dict[str, Any]], like: Any
) -> tuple[bool, str] | None:
    """None once the values are in the list; else whether they do not fit, and the words for it."""
    try:
        loaded.append(load(folder, rows, like))
    except (ValueError, OSError) as error:
        return isinstance(error, ValueError), str(error)
    return None


def _own_digests(folder: pathlib.Path) -> dict[str, str]:
    """The digests of the files that this process wrote, the first one's with all the others."""
    mine = [name for name in listed(folder) if _writer(name) == jax.process_index()]
    return digests(folder, mine)


def _writer(name: str) -> int:
    """Which process wrote a file of a checkpoint."""
    match = WRITER.search(name)
    return int(match[1]) if match else 0


def _number(file: File) -> int:
    """How many checkpoints of the same step there were before it."""
    match = NAMES[ShardedCheckpoints.kind].fullmatch(file.path.name)
    return int(match[3] or 0) if match else 0


def _all(number: int) -> bool:
    return True


def _share(number: int) -> bool:
    return number % jax.process_count() == jax.process_index()


@contextlib.contextmanager
def _held(folder: pathlib.Path) -> Iterator[None]:
    """A folder is left alone by `_remove_leftovers` meanwhile; BlockingIOError where it is held."""
    if os.name != "posix":  # where a folder cannot be opened
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        hold(descriptor)
        yield
    finally:
        os.close(descriptor)


def _remove_if_there(folder: pathlib.Path) -> None:
    """Removes a folder that did not become a checkpoint, and what is written into it for a while.

    TensorStore raises its first error while other threads of it write on, and make the folder
    again. What comes later still goes as a leftover.
    """
    if not folder.exists():
        return
    for seconds in (0.0, 0.1, 0.3, 1.0):
        time.sleep(seconds)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(parent: pathlib.Path) -> None:
    """Removes the folders of ours whose writer lives no more: nobody holds them."""
    for leftover in parent.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError), _held(leftover):
            young = time.time() - leftover.stat().st_mtime < YOUNG
            if young and not any(leftover.iterdir()):
                continue  # its writer is about to hold it
            shutil.rmtree(leftover, ignore_errors=True)
