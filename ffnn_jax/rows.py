"""Rows of arrays on the host, a block at a time, also of a file that is larger than memory.

A page of a memory-mapped file that has become shorter ends the process when it is touched (SIGBUS).
So the pages are left alone: a block is read from the file, and its bytes are counted.
"""

import dataclasses
import mmap
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ffnn_jax.idx import fill


@dataclasses.dataclass(frozen=True)
class FileRows:
    """Where the rows of a memory-mapped array lie.

    Attributes:
      argument: what the array is called in messages.
      path: the file.
      offset: how many bytes come before the first row.
      shape: of the array, (N, …).
      dtype: of the array, in the byte order of the file.
    """

    argument: str
    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """The length of one row."""
        return int(np.prod(self.shape[1:], dtype=int)) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop − 1, from the file as it is now.

        Raises:
          OSError: the file cannot be read, or is too short for the array.
        """
        values = np.empty((stop - start, *self.shape[1:]), self.dtype)
        begin = self.offset + start * self.row_bytes
        with open(self.path, "rb") as file:
            self.check_length(os.fstat(file.fileno()).st_size)
            file.seek(begin)
            held = fill(file, values.reshape(-1).view(np.uint8))
        if held < values.nbytes:
            self.check_length(begin + held)
        return values

    def check_length(self, held: int) -> None:
        """A file of so many bytes holds all rows."""
        whole = max(held - self.offset, 0) // self.row_bytes
        if whole < self.shape[0]:
            raise OSError(
                f"{self.argument}: expected {self.shape[0]} rows of {self.row_bytes} bytes in "
                f"{self.path}, found {whole}: the file has become shorter"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class MemoryRows:
    """The rows of an array in memory."""

    array: np.ndarray

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop − 1."""
        return self.array[start:stop]


def rows_in(argument: str, array: np.ndarray) -> FileRows | MemoryRows:
    """The rows of an array, to be read from its file if it is memory-mapped.

    Raises:
      ValueError: it is memory-mapped, and its file has no name, its rows do not lie there one
        after another, or changes to it are not in the file (mode "c").
    """
    mapping = _mapping(array)
    if mapping is None:
        return MemoryRows(array)
    if mapping.filename is None:
        raise ValueError(f"{argument}: expected a memmap of a file with a name")
    if mapping.mode == "c":
        raise ValueError(
            f"{argument}: expected a memmap of mode 'r', 'r+' or 'w+', got 'c', whose changes are "
            "not in the file"
        )
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{argument}: expected a memmap whose rows lie one after another in the file, got "
            f"shape {array.shape} with strides {array.strides}"
        )
    offset = int(mapping.offset) + _address(array) - _address(mapping)
    return FileRows(argument, os.fspath(mapping.filename), offset, array.shape, array.dtype)


def _mapping(array: np.ndarray) -> np.memmap | None:
    """The memmap that an array is, or is a view of; a copy of one, or a result, is in memory."""
    node: Any = array
    while isinstance(node, np.ndarray):
        if isinstance(node, np.memmap) and isinstance(node.base, mmap.mmap):
            return node
        node = node.base
    return None


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def blocks_of(N: int, most: int) -> Iterator[tuple[np.ndarray, int]]:
    """The rows of each block, all of one length, so that what works on them is compiled once.

    Args:
      N: how many rows there are.
      most: in a block.

    Yields:
      (row numbers, how many of them are new): the last block is filled up with the last row.
    """
    size = min(N, most)
    for start in range(0, N, size):
        yield np.minimum(np.arange(start, start + size), N - 1), min(size, N - start)
