"""A way to JAX's coordinator that does not break when the coordinator does.

JAX's client aborts its process at once when its connection to the coordinator closes (measured,
jax 0.10.2 and 0.12: 0.1 s, "Terminating process because the JAX distributed service detected fatal
errors"), often before the error of the collective has reached Python. So the client of a process
other than 0 connects to a port of its own process, from where its bytes go on to the coordinator
and back. Where the coordinator closes, that port stays open and silent: JAX gives up only after
its heartbeats have gone unanswered for HEARTBEAT seconds, and until then an error can be raised,
something saved, and the program ended.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

RETRY = 0.1  # s
CHUNK = 65536  # bytes


class Door:
    """Listens on this machine and hands what comes on to the coordinator; ends with the process.

    Attributes:
      address: "127.0.0.1:port", for JAX's client.
    """

    def __init__(self, host: str, port: int, timeout: float):
        """Leads to host and port, which have to listen within so many seconds."""
        self._there, self._timeout = (host, port), timeout
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        _in_background(self._listen)

    def _listen(self) -> None:
        while True:
            inside, _ = self._listener.accept()
            _in_background(self._join, inside)

    def _join(self, inside: socket.socket) -> None:
        """Bytes both ways, until JAX's client closes; when only the coordinator does, silence."""
        outside = self._connect()
        if outside is None:
            return  # the client waits in vain, and says so
        with inside, outside:
            back = _in_background(_pump, outside, inside)
            _pump(inside, outside)
            with contextlib.suppress(OSError):
                outside.shutdown(socket.SHUT_RDWR)
            back.join()

    def _connect(self) -> socket.socket | None:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                outside = socket.create_connection(self._there, timeout=self._timeout)
                outside.settimeout(None)
                return outside
            time.sleep(RETRY)
        return None


def _pump(source: socket.socket, target: socket.socket) -> None:
    """From one to the other until the source closes; what the target does not take is dropped."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            with contextlib.suppress(OSError):
                target.sendall(data)


def _in_background(work: Callable[..., None], *given: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=given, daemon=True, name="ffnn_jax coordinator")
    thread.start()
    return thread
