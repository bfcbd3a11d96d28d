"""The reader of IDX files, the format in which MNIST and Fashion-MNIST are published.

A file is a stranger: what its header declares is checked before anything is done with it.
"""

import contextlib
import gzip
import io
import math
import os
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ffnn_jax import checks

# 0 0 · dtype · number of sizes · each size as a big-endian uint32 · the values, big-endian
IDX_DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(np.int16),
    0x0C: np.dtype(np.int32),
    0x0D: np.dtype(np.float32),
    0x0E: np.dtype(np.float64),
}
IDX_MAX_NDIM = 8
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = 1 << 30) -> np.ndarray:
    """One array from a file in the IDX format, as MNIST and Fashion-MNIST are published.

    The file may be compressed with gzip; its first bytes tell, not its name. A size of 0 is
    allowed and gives an empty array.

    Args:
      path: the file.
      max_bytes: how long the values may be at most, 1 GiB unless told. What the header declares
        is held against it before any value is read or memory set aside, and a compressed file
        is not inflated past what the header declares, but for one read buffer.

    Returns:
      The array, of the shape and dtype declared (uint8, int8, int16, int32, float32 or float64),
      in the byte order of this machine, writable, the owner of its memory.

    Raises:
      FileNotFoundError, OSError: the file is not there or cannot be read.
      TypeError: path is no path, or max_bytes no int.
      ValueError: max_bytes is below 1; or the file is no IDX file, has no sizes or more than 8,
        declares more than max_bytes, holds fewer or more bytes than it declares, or is not
        intact as gzip.

    Example:
      >>> import pathlib, tempfile
      >>> import ffnn_jax as ffnn
      >>> header = bytes([0, 0, 0x08, 1, 0, 0, 0, 3])  # uint8, one size: 3
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
      ...     _ = path.write_bytes(header + bytes([7, 2, 9]))
      ...     ffnn.read_idx(path)
      array([7, 2, 9], dtype=uint8)
    """
    path = _check_path(path)
    max_bytes = checks.check_positive_int("max_bytes", max_bytes)
    with _opened(path) as file:
        dtype, ndim = _read_magic(path, file)
        shape = _read_sizes(path, file, ndim)
        _check_length(path, dtype, shape, max_bytes)
        return _read_values(path, file, dtype, shape)


def _check_path(path: Any) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path: expected a str or os.PathLike, got {path!r}") from None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, inflated where they begin as gzip does."""
    with open(path, "rb") as file:
        if file.peek(2)[:2] != GZIP_MAGIC:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as inflated:
                yield inflated
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _refusal(path, f"corrupt gzip: {error}") from error


def _read_magic(path: str, file: io.BufferedIOBase) -> tuple[np.dtype, int]:
    """The first four bytes: dtype of the values and number of sizes."""
    first, second, code, ndim = _read_header(path, file, 4).tolist()
    if (first, second) != (0, 0):
        raise _refusal(path, f"no IDX file: expected it to begin with 0 0, got {first} {second}")
    if code not in IDX_DTYPES:
        known = ", ".join(f"0x{known:02X} ({dtype})" for known, dtype in IDX_DTYPES.items())
        raise _refusal(path, f"no IDX file: dtype 0x{code:02X} is not one of {known}")
    if not 1 <= ndim <= IDX_MAX_NDIM:
        raise _refusal(path, f"expected 1 to {IDX_MAX_NDIM} sizes, the header declares {ndim}")
    return IDX_DTYPES[code], ndim


def _read_sizes(path: str, file: io.BufferedIOBase, ndim: int) -> tuple[int, ...]:
    """The shape, as Python ints, whose product cannot overflow."""
    return tuple(_read_header(path, file, 4 * ndim).view(">u4").tolist())


def _read_header(path: str, file: io.BufferedIOBase, length: int) -> np.ndarray:
    """The next bytes of the header, uint8 (length,)."""
    header = np.empty(length, np.uint8)
    held = fill(file, header)
    if held < length:
        raise _refusal(path, f"truncated: {held} bytes where the header takes {length}")
    return header


def _check_length(path: str, dtype: np.dtype, shape: tuple[int, ...], max_bytes: int) -> None:
    """Π sizes · itemsize ≤ max_bytes, a size of 0 counted as 1: NumPy multiplies the others too."""
    declared = math.prod(size or 1 for size in shape) * dtype.itemsize
    if declared > max_bytes:
        raise _refusal(
            path, f"declares {dtype} {shape}, {declared} bytes; max_bytes allows {max_bytes}"
        )


def _read_values(
    path: str, file: io.BufferedIOBase, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """The values and then the end of the file, neither less nor more."""
    values = np.empty(shape, dtype)
    held = fill(file, values.reshape(-1).view(np.uint8))
    if held < values.nbytes:
        raise _refusal(path, f"truncated: declares {values.nbytes} bytes, holds {held}")
    if file.read(1):
        raise _refusal(path, f"trailing bytes after the {values.nbytes} that it declares")
    if sys.byteorder == "little":
        values.byteswap(inplace=True)
    return values


def fill(file: io.BufferedIOBase, buffer: np.ndarray) -> int:
    """Reads into a uint8 vector until it is full or the file ends; how many bytes there were."""
    held = 0
    while held < buffer.size:
        count = file.readinto(buffer[held : held + CHUNK].data)
        if count == 0:
            break
        held += count
    return held


def _refusal(path: str, reason: str) -> ValueError:
    return ValueError(f"path: {path}: {reason}")
