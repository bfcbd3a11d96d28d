"""What has to be the same in every process: compared, or taken from the first."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ffnn_jax.processes.link import ProcessError
from ffnn_jax.processes.star import AGAIN, TIMEOUT
from ffnn_jax.processes.start import star

PEERS = ("gloo", "nccl", "peer", "coordination")  # in the text of an error that is about others


def exchange(name: str, value: Any, *, timeout: float = TIMEOUT) -> list[Any]:
    """The values of all processes in their order; [value] where there is one.

    All call this in the same order. Where the processes were joined by `jax.distributed.initialize`
    and not by `start_processes`, the words go through a collective.

    Args:
      name: what it is about; the same in all.
      value: anything that JSON can hold.
      timeout: seconds to wait for the slowest.

    Raises:
      ProcessError: in every process, if one has ended, does not come, or is elsewhere.
    """
    ours = star()
    if ours is not None:
        return ours.exchange(name, value, timeout)
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return [value]
    with peers(name):
        return _through_a_collective(value)


def agree(name: str, fields: Mapping[str, Any]) -> None:
    """Compares what has to be equal in all processes.

    Args:
      name: what it is for, such as "fit".
      fields: values by their names; anything that JSON can hold.

    Raises:
      ProcessError: in every process: a field differs; it names the field and who has what.
    """
    everyone = exchange(name, dict(fields))
    names = list(dict.fromkeys(field for one in everyone for field in one))
    for field in names:
        values = [json.dumps(one.get(field), sort_keys=True) for one in everyone]
        other = next((p for p, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            raise ProcessError(
                f"{name}: the processes differ in {field}: process 0 has {values[0]}, process "
                f"{other} has {values[other]}"
            )


def from_first(value: Any) -> Any:
    """The value of process 0, in every process: for what a clock, a signal or a file decides.

    Args:
      value: anything that JSON can hold; that of the other processes is not looked at.

    Raises:
      ProcessError: as `exchange`.
    """
    return exchange("from_first", value)[0]


@contextlib.contextmanager
def peers(name: str) -> Iterator[None]:
    """Makes a `ProcessError` of what JAX raises inside where another process has died.

    Raises:
      ProcessError: a collective failed since a process has ended or cannot be reached.
    """
    ours = star()
    try:
        with contextlib.nullcontext() if ours is None else ours.at(name):
            yield
    except jax.errors.JaxRuntimeError as error:
        if ours is None and not jax.distributed.is_initialized():
            raise
        reason = None if ours is None else ours.reason()
        if reason is None and not any(word in str(error).lower() for word in PEERS):
            raise
        reason = reason or "a process has ended or cannot be reached"
        text = reason if reason.startswith(f"{name}:") else f"{name}: {reason}"
        text = text if AGAIN in text else f"{text}; {AGAIN}"
        if ours is not None:
            ours.leave(text)
        raise ProcessError(text) from error


def _through_a_collective(value: Any) -> list[Any]:
    """`exchange`, by the collectives of JAX: lengths first, then bytes."""
    from jax.experimental import multihost_utils

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(max(lengths), np.uint8)
    padded[: len(data)] = data
    everyone = multihost_utils.process_allgather(padded)
    return [json.loads(row[:n].tobytes()) for row, n in zip(everyone, lengths, strict=True)]
