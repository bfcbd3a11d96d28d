"""Before all processes begin the same: each has checked its own, and all have the same."""

import contextlib
from collections.abc import Iterator

from ffnn_jax.processes.agreement import exchange
from ffnn_jax.processes.link import ProcessError


@contextlib.contextmanager
def all_or_none(name: str, *, joint: bool = True) -> Iterator[None]:
    """Checks inside that fail in one process fail in all of them.

    Args:
      name: what is checked, the same in all.
      joint: whether there are others; False: nothing is told.

    Raises:
      Exception: what was raised inside, in the process where it was.
      ProcessError: in the others, with the number of that process and what it says.
    """
    try:
        yield
    except Exception as error:
        if joint:
            with contextlib.suppress(ProcessError):
                exchange(name, f"{type(error).__name__}: {error}")
        raise
    if not joint:
        return
    for process, word in enumerate(exchange(name, None)):
        if word is not None:
            raise ProcessError(f"{name}: process {process} has a {word}")
