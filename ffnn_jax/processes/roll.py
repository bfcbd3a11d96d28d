"""The roll call: process 0 waits for all; who does not come or differs is named in all."""

import errno
import re
import selectors
import socket
import time
from typing import Any, NoReturn

import jax

from ffnn_jax import checks
from ffnn_jax.processes.link import LONGEST, Link, ProcessError, ready
from ffnn_jax.processes.star import Star

RETRY = 0.1  # s
LONGEST_WAIT = 1_000_000  # s, 11 days
SPARE = 64  # connections, besides those of all processes, that may be open and have said nothing
LONGEST_VERSION = 100  # characters
NONE_LEFT = (errno.EMFILE, errno.ENFILE)  # no more files may be opened


def split_address(coordinator: Any) -> tuple[str, int]:
    """Host and port."""
    if not isinstance(coordinator, str):
        raise TypeError(f"coordinator: expected 'host:port', got {coordinator!r}")
    host, _, port = coordinator.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (_is_host(host) and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError(f"coordinator: expected 'host:port', got {coordinator!r}")
    return host, int(port)


def _is_host(text: str) -> bool:
    """Whether it can be looked up: labels of 1 to 63 characters, without blanks."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return text.isprintable() and not any(map(str.isspace, text)) and text != ""


def check_timeout(timeout: Any) -> None:
    """Seconds above 0, few enough for what waits for a connection: it counts ms in 32 bits."""
    checks.check_positive_float("timeout", timeout)
    if timeout > LONGEST_WAIT:
        raise ValueError(f"timeout: expected at most {LONGEST_WAIT} s, got {timeout!r}")


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
    """Process 0, while the others come. Anybody may: what is no process of ours is a stranger."""

    def __init__(self, about: dict[str, Any], number: int, timeout: float):
        self.about, self.number, self.timeout = about, number, timeout
        self.unknown: dict[Link, None] = {}  # in the order in which they came
        self.links: dict[int, Link] = {}
        self.selector = selectors.DefaultSelector()

    def wait(self, listener: socket.socket, deadline: float) -> Star:
        """Hears all who come, and lets them go together; the port is JAX's from then on."""
        listener.setblocking(False)
        with listener, self.selector:
            self.selector.register(listener, selectors.EVENT_READ)
            while (there := self._there(deadline)) is not None:
                for connection in there:
                    if connection is not listener:
                        self._hear(connection)
                if listener in there:
                    self._accept(listener)
            for link in self.unknown:
                link.close()
        for process, link in self.links.items():
            try:
                link.send({"values": []})
            except OSError:
                self._fail(f"process {process} has ended or cannot be reached")
        return Star(0, self.links)

    def _there(self, deadline: float) -> list[Any] | None:
        """What can be read now; None once all processes have come and none has gone again."""
        full = len(self.links) == self.number - 1
        left = max(0.0, deadline - time.monotonic())
        there: list[Any] = [key.fileobj for key, _ in self.selector.select(0 if full else left)]
        if full:
            return there if set(there) & set(self.links.values()) else None
        if not left:
            missing = sorted({*range(1, self.number)} - {*self.links})
            words = ", ".join(map(str, missing[:20]))
            self._fail(f"process {words} did not come in {self.timeout:g} s")
        return there

    def _accept(self, listener: socket.socket) -> None:
        """One that comes; the stranger that has been silent longest goes where there are many."""
        if len(self.unknown) >= self.number - 1 + SPARE:
            self._drop(next(iter(self.unknown)))
        try:
            link = Link(listener.accept()[0])
        except OSError as error:  # or it has gone again
            if error.errno in NONE_LEFT and not self.unknown:
                self._fail(f"process 0 cannot take more connections: {error.strerror}")
            if error.errno in NONE_LEFT:
                self._drop(next(iter(self.unknown)))
            return
        self.unknown[link] = None
        self.selector.register(link, selectors.EVENT_READ)

    def _drop(self, link: Link) -> None:
        self.selector.unregister(link)
        link.close()
        self.unknown.pop(link, None)
        self.links = {p: other for p, other in self.links.items() if other is not link}

    def _hear(self, link: Link) -> None:
        """Who it is; one that has gone may come again, and strangers are not heard."""
        try:
            said = link.receive()
            if said is None:
                return
            process = _introduced(said)
        except (OSError, EOFError, ValueError, TypeError):
            self._drop(link)
            return
        self._compare(process, said)
        del self.unknown[link]
        self.links[process], link.longest = link, LONGEST

    def _compare(self, process: int, said: dict[str, Any]) -> None:
        for name, value in self.about.items():
            if name != "process_id" and said[name] != value:
                self._fail(f"process {process} has {name} {said[name]}, and process 0 has {value}")
        if process in self.links or process == 0:
            self._fail(f"there are two processes with process_id {process}")

    def _fail(self, text: str) -> NoReturn:
        everyone = dict(enumerate([*self.unknown, *self.links.values()], start=1))
        Star(0, everyone).leave(f"start_processes: {text}")
        raise ProcessError(f"start_processes: {text}")


def _introduced(said: dict[str, Any]) -> int:
    """The number of a process; TypeError or ValueError where no process of ours says so."""
    number = checks.check_positive_int("num_processes", said.get("num_processes"))
    process = checks.check_int_from(0, "process_id", said.get("process_id"))
    if process >= number:
        raise ValueError(f"process_id: expected 0 to {number - 1}")
    for name in ("jax", "ffnn_jax"):
        version = said.get(name)
        if not isinstance(version, str):
            raise TypeError(f"{name}: expected a version")
        if len(version) > LONGEST_VERSION or not version.isprintable():
            raise ValueError(f"{name}: expected a version")
    return process


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
    while time.monotonic() < deadline and ready([link], deadline):
        said = link.receive()
        if said is not None and isinstance(said.get("error"), str):
            link.close()
            raise ProcessError(said["error"])
        if said == {"values": []}:
            link.longest = LONGEST
            return True
        if said is not None:
            raise ValueError("what process 0 does not say")
    return False
