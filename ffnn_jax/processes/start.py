"""`start_processes`: one program, run by several processes, becomes one set of devices.

  1. each finds the coordinator (process 0), how many there are, and which one it is
  2. roll call: process 0 waits for all, and compares what has to be the same; who does not come,
     or comes with another version, is named in one line in every process
  3. `jax.distributed.initialize`, which joins the devices (CPU: gloo, GPU: NCCL)
  4. a thread watches the connections
  5. at exit all wait for each other, unless one has failed

Step 2 stands before step 3 since JAX aborts a process whose coordinator, or peer, does not come.
"""

import atexit
import contextlib
import math
import os
import sys
from typing import Any

import jax

from ffnn_jax import checks
from ffnn_jax.processes import engine
from ffnn_jax.processes.door import Door
from ffnn_jax.processes.link import ProcessError
from ffnn_jax.processes.roll import call_roll, check_timeout, split_address
from ffnn_jax.processes.star import END, Star
from ffnn_jax.processes.watch import hurry, watch

HEARTBEAT = 20  # s without a sign of life after which JAX takes a process for dead
TIMEOUT = 300.0  # s, JAX's own

_stars: list[Star] = []  # of this process: empty, or one; as there is one jax.distributed


def start_processes(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """Joins this process with the others that run the same program.

    Call it first in the program, before anything that looks for devices. Afterwards
    `jax.devices()` are those of all processes, and `jax.process_index()` says which one this is.
    What is not given comes from where `jax.distributed.initialize` finds it: the environment of
    Slurm, Open MPI, Kubernetes or a TPU pod, and JAX_COORDINATOR_ADDRESS.

    A process that dies is an error in the others: `fit` raises `ProcessError`, and the program
    ends as it does with any error, with no wait for the dead. Where it does not get that far since
    what it waits for never ends, or does something else meanwhile, it is ended after 5 s, with the
    error on stderr and exit status 1: JAX would abort it some seconds later. A host that falls
    silent, with its connections open, is noticed by JAX itself, which ends the other processes
    after 20 s.

    Args:
      coordinator: "host:port" of process 0; the port has to be free there.
      num_processes: how many there are; with 1 nothing is started.
      process_id: which one this is, from 0.
      timeout: seconds to wait for the others, at most 1 000 000.

    Raises:
      TypeError, ValueError: an argument is of another kind, or is neither given nor found.
      ProcessError: in every process: the coordinator does not answer, a process does not come, two
        have the same number, or they differ in num_processes or in the versions of JAX or this
        package; here: devices were looked for before, or there are processes already.

    Example:
      >>> from ffnn_jax.processes import start_processes
      >>> start_processes(num_processes=1)  # two: coordinator="10.0.0.1:1234", process_id=0 and 1
    """
    check_timeout(timeout)
    if num_processes is not None and checks.check_positive_int("num_processes", num_processes) == 1:
        return
    if _stars or jax.distributed.is_initialized():
        raise ProcessError("start_processes: the processes are joined already")
    if engine.has_begun():
        raise ProcessError("start_processes: call it before anything that looks for devices")
    coordinator, number, process = _who_is_who(coordinator, num_processes, process_id, timeout)
    if number == 1:
        return
    host, port = split_address(coordinator)
    star = call_roll(host, port, number, process, timeout)
    address = coordinator if process == 0 else Door(host, port, timeout).address
    jax.distributed.initialize(
        address,
        number,
        process,
        initialization_timeout=math.ceil(timeout),
        heartbeat_timeout_seconds=HEARTBEAT,
    )
    engine.keep()
    _stars.append(star)
    atexit.register(_end)
    watch(star)


def star() -> Star | None:
    """The connections of this process, where `start_processes` made them."""
    return _stars[0] if _stars else None


def leave(reason: str) -> None:
    """Before an exit with an error: this process waits for nobody, and nobody for it.

    Args:
      reason: what the others are told, one line.
    """
    if _stars:
        _stars[0].leave(f"process {_stars[0].process_id} has ended: {reason}")


# 1. Who is who -----------------------------------------------------------------------------------


def _who_is_who(
    coordinator: Any, num_processes: Any, process_id: Any, timeout: float
) -> tuple[str, int, int]:
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if None in (coordinator, num_processes, process_id):
        found = engine.find_cluster(coordinator, num_processes, process_id, timeout)
        coordinator, num_processes, process_id = found
    for name, value in (
        ("coordinator", coordinator),
        ("num_processes", num_processes),
        ("process_id", process_id),
    ):
        if value is None:
            raise ValueError(
                f"{name}: not given, and no job of Slurm, Open MPI, Kubernetes or TPU to take it "
                "from"
            )
    number = checks.check_positive_int("num_processes", num_processes)
    process = checks.check_int_from(0, "process_id", process_id)
    if process >= number:
        raise ValueError(f"process_id: expected 0 to {number - 1}, got {process}")
    split_address(coordinator)
    return str(coordinator), number, process


# 5. The end --------------------------------------------------------------------------------------


def _end() -> None:
    """At exit, before JAX's own: waits for the others, unless this process or another has failed.

    JAX would wait for the dead, and abort.
    """
    star = _stars[0]
    star.ending = True
    if getattr(sys, "last_value", None) is not None:
        leave(type(sys.last_value).__name__)
    with contextlib.suppress(ProcessError):
        star.exchange(END, None, TIMEOUT)
        return
    engine.forget()
    hurry()
