"""The file: an npz whose first entry is a manifest, and whose last bytes are a digest of the rest.

  manifest.json      format, version, libraries, fields of the writer, a row for each array
  NAME.npy           each array, as NumPy writes it, not compressed
  zip comment        "sha256:" and the SHA-256 of every byte before it, in hexadecimal

`np.load` reads it. So a flipped bit anywhere, a cut and a torn write are seen before anything is
interpreted. Whoever makes such a file on purpose can make the digest fit, and therefore what is
declared is held against the length of the file before memory is set aside; entries that are
compressed, or more than the file is long, are refused; nothing is unpickled.
"""

import hashlib
import json
import math
import os
import platform
import stat
import struct
import zipfile
from importlib import metadata
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ffnn_jax import checks
from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.checkpoint.leaves import DTYPES, LONGEST_NAME, Leaf, decode
from ffnn_jax.idx import CHUNK, fill

FORMAT = "ffnn_jax archive"
VERSION = 1  # every version from 1 on is read
MANIFEST = "manifest.json"
MANIFEST_BYTES = 1 << 22  # of JSON, which takes up to 26 times as much memory
MOST_AXES = 32
SEAL = b"sha256:"
SEALED = len(SEAL) + 64  # bytes of the comment
DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file
DAMAGED = (  # what json, zipfile and NumPy raise at bytes that are none of ours
    *(ValueError, TypeError, KeyError, OverflowError, MemoryError, RecursionError),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, struct.error),
)


class CheckpointError(Exception):
    """A file that is no intact checkpoint, or not the one that was asked for.

    Attributes:
      path: the file or folder.
      reason: what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str):
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{os.fspath(self.path)}: {self.reason}"


class Archive(NamedTuple):
    """What a file holds: the manifest, and the arrays by their names."""

    manifest: dict[str, Any]
    arrays: dict[str, Any]


# Writing -----------------------------------------------------------------------------------------


def write_archive(
    path: str | os.PathLike[str], kind: str, fields: dict[str, Any], leaves: list[Leaf]
) -> None:
    """Writes a file, whole or not at all.

    Args:
      path: the file.
      kind: what it is, "model" or "tree".
      fields: of the manifest, JSON-able.
      leaves: the arrays.

    Raises:
      TypeError, ValueError: the fields are not JSON-able or too long.
      OSError: it cannot be written.
    """
    head = {"format": FORMAT, "version": VERSION, "kind": kind, "libraries": libraries()}
    manifest = _as_json({**head, **fields, "leaves": [leaf.row for leaf in leaves]})
    if len(manifest) > MANIFEST_BYTES:
        raise ValueError(
            f"metadata: expected a manifest of at most {MANIFEST_BYTES} bytes, got {len(manifest)}"
        )

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry(MANIFEST), manifest)
            for row, values in leaves:
                with archive.open(_entry(f"{row['name']}.npy"), "w", force_zip64=True) as entry:
                    entry.write(npy_header(row))
                    entry.write(values.reshape(-1).view(np.uint8).data)
            archive.comment = SEAL.ljust(SEALED, b"0")
        length = file.tell() - 64
        file.seek(length)
        file.write(_digest(file, length))

    replace_file(path, write)


def libraries() -> dict[str, str]:
    """The versions of what writes a file."""
    from ffnn_jax import __version__

    others = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy", "optax")}
    return {"ffnn_jax": __version__, "python": platform.python_version(), **others}


def npy_header(row: dict[str, Any]) -> bytes:
    """What comes before the values in version 1.0 of the npy format, a multiple of 64 bytes."""
    descr = np.dtype(row["dtype"]).newbyteorder("<").str
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(row['shape'])}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{text:{length - 1}}\n".encode()


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, DATE)


def _digest(file: Any, length: int) -> bytes:
    """SHA-256 of the first bytes of a file, in hexadecimal; the file is left behind them."""
    file.seek(0)
    digest, buffer = hashlib.sha256(), np.empty(CHUNK, np.uint8)
    while length > 0:
        held = fill(file, buffer[: min(length, CHUNK)])
        if held == 0:
            break
        digest.update(buffer[:held].data)
        length -= held
    return digest.hexdigest().encode()


# Reading -----------------------------------------------------------------------------------------


def read_archive(path: str | os.PathLike[str], kind: str) -> Archive:
    """Everything in a file, verified.

    Raises:
      OSError: it is not there or cannot be read.
      CheckpointError: it is not intact, none of ours, of another kind, or of a later version.
    """
    return _read(path, kind, arrays=True)


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest alone, of a file of any kind; the digest of the whole file is looked at.

    Raises as `read_archive`.
    """
    return _read(path, None, arrays=False).manifest


def _read(path: str | os.PathLike[str], kind: str | None, *, arrays: bool) -> Archive:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would be waited for without end
        raise CheckpointError(path, "no checkpoint: it is no file")
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        try:
            _check_seal(file, length)
            with zipfile.ZipFile(file) as archive:
                manifest = _manifest(archive, kind)
                _check_entries(archive, manifest["leaves"], length)
                if not arrays:
                    return Archive(manifest, {})
                rows = manifest["leaves"]
                return Archive(manifest, {row["name"]: _array(archive, row) for row in rows})
        except DAMAGED as error:
            raise CheckpointError(path, _words(error)) from error


def _words(error: Exception) -> str:
    words = str(error).partition("\n")[0][:300]
    return words if type(error) is ValueError else f"{type(error).__name__}: {words}"


def _check_seal(file: BinaryIO, length: int) -> None:
    """The last bytes are the digest of all others."""
    if length < SEALED:
        raise ValueError(f"no checkpoint: {length} bytes")
    file.seek(length - SEALED)
    seal = file.read(SEALED)
    if seal[: len(SEAL)] != SEAL:
        raise ValueError("cut off, damaged, or no checkpoint: it does not end with a digest")
    if _digest(file, length - 64) != seal[len(SEAL) :]:
        raise ValueError("damaged: its SHA-256 is not the one that it ends with")


def _as_json(fields: dict[str, Any]) -> bytes:
    try:
        return json.dumps(fields).encode()
    except RecursionError:
        raise ValueError("metadata: lists and dicts are too deep in each other") from None


def _manifest(archive: zipfile.ZipFile, kind: str | None) -> dict[str, Any]:
    entries = archive.infolist()
    if not entries or entries[0].filename != MANIFEST or entries[0].file_size > MANIFEST_BYTES:
        raise ValueError(f"no checkpoint: its first entry is no {MANIFEST}")
    _check_stored(entries[0])
    manifest = json.loads(archive.read(entries[0]))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"no checkpoint: its manifest is not of the format {FORMAT!r}")
    version = manifest.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"expected a version from 1 on, it declares {version!r}")
    if version > VERSION:
        raise ValueError(
            f"it is of version {version}, and this ffnn_jax reads up to {VERSION}: update it"
        )
    if kind is not None and manifest.get("kind") != kind:
        raise ValueError(f"expected a file that holds a {kind}, it holds a {manifest.get('kind')}")
    if not isinstance(manifest.get("leaves"), list):
        raise ValueError("its manifest has no list of leaves")
    for row in manifest["leaves"]:
        _check_row(row)
    return manifest


def _check_row(row: Any) -> None:
    """A row of the manifest has what `leaves.encode` gives it."""
    name, shape = row["name"], row["shape"]
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError("a leaf has no printable name")
    if row["dtype"] not in map(str, DTYPES):
        raise ValueError(f"{name}: unknown dtype {str(row['dtype'])[:50]!r}")
    if not isinstance(shape, list) or len(shape) > MOST_AXES:
        raise ValueError(f"{name}: expected a shape of at most {MOST_AXES} sizes")
    if not all(type(n) is int and 0 <= n <= checks.LARGEST_SIZE for n in shape):
        raise ValueError(f"{name}: expected sizes from 0 to {checks.LARGEST_SIZE}")


def _check_entries(archive: zipfile.ZipFile, rows: list[dict[str, Any]], length: int) -> None:
    """Each row has its entry, of the length that it declares; all of them fit in the file."""
    entries = archive.infolist()[1:]
    if [entry.filename for entry in entries] != [f"{row['name']}.npy" for row in rows]:
        raise ValueError("its entries are not those of its manifest")
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("two of its entries have the same name")
    for row, entry in zip(rows, entries, strict=True):
        _check_stored(entry)
        declared = _bytes(row) + len(npy_header(row))
        if entry.file_size != declared:
            raise ValueError(
                f"{row['name']}: declares {declared} bytes, its entry has {entry.file_size}"
            )
    total = sum(entry.file_size for entry in archive.infolist())
    if total > length:
        raise ValueError(f"declares {total} bytes in a file of {length}")


def _check_stored(entry: zipfile.ZipInfo) -> None:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"{entry.filename[:100]}: is compressed; checkpoints are not")


def _bytes(row: dict[str, Any]) -> int:
    return math.prod(row["shape"]) * np.dtype(row["dtype"]).itemsize


def _array(archive: zipfile.ZipFile, row: dict[str, Any]) -> Any:
    """The values of one row, their digest verified."""
    name, header = row["name"], npy_header(row)
    with archive.open(f"{name}.npy") as opened:
        entry: Any = opened  # a BufferedIOBase, as zipfile gives it
        if entry.read(len(header)) != header:
            raise ValueError(f"{name}: its npy header does not say what the manifest says")
        values = np.empty(_bytes(row), np.uint8)
        held = fill(entry, values)
    if held < values.size or hashlib.sha256(values.data).hexdigest() != row["sha256"]:
        raise ValueError(f"{name}: its values are not those of its SHA-256")
    if row["dtype"] == "bool" and values.max(initial=0) > 1:
        raise ValueError(f"{name}: expected bools, got other bytes")
    dtype = np.dtype(row["dtype"]).newbyteorder("<")
    return decode(Leaf(row, values.view(dtype).reshape(row["shape"])))
