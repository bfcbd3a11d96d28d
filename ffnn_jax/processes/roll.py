"""The roll call: process 0 waits for all; who does not come or differs is named in all."""

import socket
import time
from typing import Any, NoReturn

import jax

from ffnn_jax import checks
from ffnn_jax.processes.link import Link, ProcessError, ready
from ffnn_jax.processes.star import Star

RETRY = 0.1  # s


def split_address(coordinator: Any) -> tuple[str, int]:
    """Host and port."""
    if not isinstance(coordinator, str):
        raise TypeError(f"coordinator: expected 'host:port', got {coordinator!r}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"coordinator: expected 'host:port', got {coordinator!r}")
    return host.strip("[]"), int(port)


def call_roll(host: str, port: int, number: int, process: int, timeout: float) -> Star:
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
