"""What a training showed, as a file of JSON lines that only ever grows.

One record a line. A process that is killed while it writes leaves at most a torn last line, which
the reader drops and the next writer removes.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

from ffnn_jax import checks

LONGEST_LINE = 1 << 20  # bytes, with its end


def append_metrics(path: str | os.PathLike[str], records: Sequence[dict[str, Any]]) -> None:
    """Adds records to the end of a file, in one write, and brings them to the disk.

    Args:
      path: the file; it is made if it is not there.
      records: dicts that JSON can hold, such as those that `fit` gives to on_epochs; NaN and
        infinities are written as Python's json does.

    Raises:
      TypeError: a record is no dict, or not for JSON.
      ValueError: a record is longer than a line may be, 1 MiB; or the file does not end as a
        file of records does.
      OSError: the file cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from ffnn_jax.metrics import append_metrics, read_metrics
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "metrics.jsonl")
      ...     append_metrics(path, [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}])
      ...     append_metrics(path, [{"epoch": 2, "loss": 0.25}])
      ...     read_metrics(path)
      [{'epoch': 1, 'loss': 0.5}, {'epoch': 2, 'loss': 0.25}]
    """
    lines = b"".join(_line(f"records[{i}]", record) for i, record in enumerate(records))
    try:
        with open(path, "a+b", buffering=0) as file:
            _end_last_line(path, file)
            _write(file, lines)
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a file. Of those with the same "epoch", an int, the last one counts.

    Args:
      path: a file that `append_metrics` wrote.

    Returns:
      A dict for each record that counts, in their order.

    Raises:
      OSError: the file is not there or cannot be read.
      ValueError: a line is no JSON object or longer than 1 MiB; a torn last one is dropped.
    """
    records: dict[Any, dict[str, Any]] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
            record = _parsed(line)
            if record is None:
                if not line.endswith(b"\n") and _is_torn(line) and len(line) < LONGEST_LINE:
                    break
                raise ValueError(
                    f"path: {os.fspath(path)}: line {number} is no JSON object of at most "
                    f"{LONGEST_LINE} bytes: {line[:40]!r}"
                )
            epoch = record.get("epoch")
            records[epoch if type(epoch) is int else ("line", number)] = record
    return list(records.values())


def _line(argument: str, record: Any) -> bytes:
    if not isinstance(record, dict):
        raise TypeError(f"{argument}: expected a dict, got {checks.kind(record)}")
    line = json.dumps(record).encode() + b"\n"
    if len(line) > LONGEST_LINE:
        raise ValueError(
            f"{argument}: expected at most {LONGEST_LINE} bytes of JSON, got {len(line)}"
        )
    return line


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The record in a line, or None where there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_torn(line: bytes) -> bool:
    """Whether it may be the beginning of a record; a file system may leave zeros in its place."""
    return line.startswith(b"{") or not line.strip(b"\0")


def _end_last_line(path: str | os.PathLike[str], file: BinaryIO) -> None:
    """A last line without an end gets one; a torn one is removed."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - LONGEST_LINE, 0))
    tail = file.read(LONGEST_LINE)
    line = tail[tail.rfind(b"\n") + 1 :]
    if not line:
        return
    if _parsed(line) is not None:
        _write(file, b"\n")
    elif _is_torn(line) and len(line) < LONGEST_LINE:
        file.truncate(end - len(line))
    else:
        raise ValueError(f"path: {os.fspath(path)} does not end as a file of records does")


def _write(file: BinaryIO, data: bytes) -> None:
    """All of the bytes: one write may take fewer."""
    while data:
        data = data[file.write(data) :]
