"""`start_processes`: one program, run by several processes, becomes one set of devices.

  1. each finds the coordinator (process 0), how many there are, and which one it is
  2. roll call: process 0 waits for all, and compares what has to be the same; who does not come,
     or comes with another version, is named in one line in every process
  3. `jax.distributed.initialize`, which joins the devices (CPU: gloo, GPU: NCCL)
  4. at exit all wait for each other, unless one has failed

Step 2 stands before step 3 since JAX aborts a process whose coordinator, or peer, does not come.
"""

import atexit
import contextlib
import os
import socket
import sys
import time
from typing import Any, NoReturn

import jax

from ffnn_jax import checks
from ffnn_jax.processes import engine
from ffnn_jax.processes.door import Door
from ffnn_jax.processes.link import Link, ProcessError, ready
from ffnn_jax.processes.star import Star

HEARTBEAT = 20  # s without a sign of life after which JAX takes a process for dead
TIMEOUT = 300.0  # s, JAX's own
RETRY = 0.1  # s

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
    ends as it does with any error, with no wait for the dead. A host that falls silent, with its
    connections open, is noticed by JAX itself, which ends the other processes after 20 s.

    Args:
      coordinator: "host:port" of process 0; the port has to be free there.
      num_processes: how many there are; with 1 nothing is started.
      process_id: which one this is, from 0.
      timeout: seconds to wait for the others.

    Raises:
      TypeError, ValueError: an argument is of another kind, or is neither given nor found.
      ProcessError: in every process: the coordinator does not answer, a process does not come, two
        have the same number, or they differ in num_processes or in the versions of JAX or this
        package; here: devices were looked for before, or there are processes already.

    Example:
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.processes import start_processes
      >>> start_processes(num_processes=1)  # two: coordinator="10.0.0.1:1234", process_id=0 and 1
    """
    checks.check_positive_float("timeout", timeout)
    if num_processes is not None and checks.check_positive_int("num_processes", num_processes) == 1:
        return
    if _stars or jax.distributed.is_initialized():
        raise ProcessError("start_processes: the processes are joined already")
    if engine.has_begun():
        raise ProcessError("start_processes: call it before anything that looks for devices")
    coordinator, number, process = _who_is_who(coordinator, num_processes, process_id, timeout)
    if number == 1:
        return
    host, port = _split(coordinator)
    star = _call_roll(host, port, number, process, timeout)
    address = coordinator if process == 0 else Door(host, port, timeout).address
    jax.distributed.initialize(
        address,
        number,
        process,
        initialization_timeout=int(timeout),
        heartbeat_timeout_seconds=HEARTBEAT,
    )
    engine.keep()
    _stars.append(star)
    atexit.register(_end)


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
    _split(coordinator)
    return str(coordinator), number, process


def _split(coordinator: Any) -> tuple[str, int]:
    """Host and port."""
    if not isinstance(coordinator, str):
        raise TypeError(f"coordinator: expected 'host:port', got {coordinator!r}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"coordinator: expected 'host:port', got {coordinator!r}")
    return host.strip("[]"), int(port)


# 2. Roll call ------------------------------------------------------------------------------------


def _call_roll(host: str, port: int, number: int, process: int, timeout: float) -> Star:
    """The connections, once all are there and agree."""
    from ffnn_jax import __version__

    deadline = time.monotonic() + timeout
    versions = {"jax": jax.__version__, "ffnn_jax": __version__}
    about = {"num_processes": number, **versions, "process_id": process}
    if process == 0:
        return _Caller(about, number, timeout).wait(_listen(host, port), deadline)
    return Star(process, {0: _answer(host, port, about, timeout, deadline)})


def _listen(host: str, port: int) -> socket.socket:
    """A listener on all addresses of this host, as that of JAX's coordinator."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        raise ProcessError(
            f"start_processes: process 0 cannot listen at {host}:{port}: {error.strerror}"
        ) from None


class _Caller:
    """Process 0, while the others come."""

    def __init__(self, about: dict[str, Any], number: int, timeout: float):
        self.about, self.number, self.timeout = about, number, timeout
        self.unknown: list[Link] = []
        self.links: dict[int, Link] = {}

    def wait(self, listener: socket.socket, deadline: float) -> Star:
        """Hears all who come, and lets them go together; the port is JAX's from then on."""
        with listener:
            while len(self.links) < self.number - 1:
                there = ready([listener, *self.unknown, *self.links.values()], deadline)
                if not there:
                    missing = sorted({*range(1, self.number)} - {*self.links})
                    words = ", ".join(map(str, missing[:20]))
                    self._fail(f"process {words} did not come in {self.timeout:g} s")
                for connection in there:
                    if connection is listener:
                        self.unknown.append(Link(listener.accept()[0]))
                    else:
                        self._hear(connection)
        for link in self.unknown:
            link.close()
        for link in self.links.values():
            link.send({"values": []})
        return Star(0, self.links)

    def _hear(self, link: Link) -> None:
        """Who it is; one that has gone may come again, and strangers are not heard."""
        try:
            said = link.receive()
            if said is None:
                return
            process = checks.check_int_from(0, "process_id", said.get("process_id"))
        except (OSError, EOFError, ValueError, TypeError):
            link.close()
            self.unknown = [other for other in self.unknown if other is not link]
            self.links = {p: other for p, other in self.links.items() if other is not link}
            return
        self._compare(process, said)
        self.unknown = [other for other in self.unknown if other is not link]
        self.links[process] = link

    def _compare(self, process: int, said: dict[str, Any]) -> None:
        for name, value in self.about.items():
            if name != "process_id" and said.get(name) != value:
                self._fail(
                    f"process {process} has {name} {said.get(name)}, and process 0 has {value}"
                )
        if process in self.links or process == 0:
            self._fail(f"there are two processes with process_id {process}")

    def _fail(self, text: str) -> NoReturn:
        everyone = dict(enumerate([*self.unknown, *self.links.values()], start=1))
        Star(0, everyone).leave(f"start_processes: {text}")
        raise ProcessError(f"start_processes: {text}")


def _answer(host: str, port: int, about: dict[str, Any], timeout: float, deadline: float) -> Link:
    """The connection to process 0, once it has said that all are there."""
    reason = "no time was left"
    while (left := deadline - time.monotonic()) > 0:
        try:
            link = Link(socket.create_connection((host, port), left))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            try:
                if _is_called(link, about, deadline):
                    return link
                reason = "it is silent"
            except (OSError, EOFError):
                reason = "it closed the connection"
            except ValueError:
                reason = "what answers is no process of this training"
            link.close()
        time.sleep(RETRY)
    raise ProcessError(
        f"start_processes: process 0 did not answer at {host}:{port} in {timeout:g} s: {reason}"
    )


def _is_called(link: Link, about: dict[str, Any], deadline: float) -> bool:
    """Says who this is; whether process 0 answers that all are there.

    Raises:
      ProcessError: it answers with an error.
    """
    link.send(about)
    while ready([link], deadline):
        said = link.receive()
        if said and "error" in said:
            link.close()
            raise ProcessError(said["error"])
        if said:
            return True
    return False


# 4. The end --------------------------------------------------------------------------------------


def _end() -> None:
    """At exit, before JAX's own: waits for the others, unless this process or another has failed.

    JAX would wait for the dead, and abort.
    """
    star = _stars[0]
    if getattr(sys, "last_value", None) is not None:
        leave(type(sys.last_value).__name__)
    with contextlib.suppress(ProcessError):
        star.exchange("end", None, TIMEOUT)
        return
    engine.forget()
