"""Work that fails in one process fails in all of them, so that none waits for one that went on.

Every process calls the same function at the same point. With one process there is nothing to do.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import jax

from ffnn_jax.checkpoint.archive import CheckpointError
from ffnn_jax.processes import exchange

NAME = "ShardedCheckpoints"
T = TypeVar("T")


def own(folder: str | os.PathLike[str], work: Callable[[], T]) -> T:
    """What the work of this process gave, once that of all has been done.

    Raises:
      CheckpointError: that of another process failed; it says which, and why.
      ProcessError: another process has ended.
      Exception: that of this process failed.
    """
    if jax.process_count() == 1:
        return work()
    value, error = _outcome(work)
    for process, words in enumerate(exchange(NAME, None if error is None else _words(error))):
        if error is not None and process == jax.process_index():
            raise error
        if words is not None:
            raise CheckpointError(folder, f"process {process}: {words}")
    return value  # type: ignore[return-value]


def each(folder: str | os.PathLike[str], work: Callable[[], T]) -> list[T]:
    """What the work of each process gave, all of it such as JSON holds. Raises as `own`."""
    return exchange(NAME, own(folder, work))


def first(folder: str | os.PathLike[str], work: Callable[[], T]) -> T:
    """What the work gave in the first process, which alone does it. Raises as `own`."""
    return each(folder, work if jax.process_index() == 0 else _nothing)[0]


def _outcome(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _nothing() -> None:
    return None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {getattr(error, 'reason', error)}"
