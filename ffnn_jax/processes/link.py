"""A connection between two processes: lines of JSON over TCP, and what is said when it breaks."""

import json
import select
import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 2**26  # bytes of one message
STRANGERS = 2**16  # bytes of a message of somebody who has not yet said who it is
SECONDS = 60.0  # in which a message is taken off our hands
CLOSED = getattr(select, "POLLRDHUP", 0)  # POLLHUP and POLLERR are always looked for
SILENCE = (5, 5, 3)  # s until a silent host is asked, s between questions, how many go unanswered


class ProcessError(RuntimeError):
    """Something is wrong between the processes of one training; the text is one line.

    One of them has ended or cannot be reached, did not come, or has not what the others have.
    """


class Link:
    """One end of a connection.

    Attributes:
      socket: the connection. A host that has lost its power is found by the questions of TCP.
      longest: bytes that a message may have: few, until the roll call knows the other end.
    """

    def __init__(self, connection: socket.socket):
        connection.settimeout(SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in zip(
            ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), SILENCE, strict=True
        ):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.socket, self.longest = connection, STRANGERS
        self._received = bytearray()
        self._searched = 0  # bytes of it that hold no end of a message

    def fileno(self) -> int:
        """For selectors."""
        return self.socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Sends one message.

        Raises:
          OSError: the other end is gone.
        """
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """What has come: a whole message, or None where there is only a part of one.

        Raises:
          EOFError: the other end has closed.
          OSError: it cannot be reached.
          ValueError: what comes are no messages of ours.
        """
        end = self._received.find(b"\n", self._searched)
        if end < 0:  # none came with the message before
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._searched = len(self._received)
            self._received += data
            end = self._received.find(b"\n", self._searched)
        if (len(self._received) if end < 0 else end) > self.longest:
            raise ValueError("a message that is too long")
        if end < 0:
            self._searched = len(self._received)
            return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._searched = 0
        return _parsed(line)

    def close(self) -> None:
        """Closes it."""
        self.socket.close()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("lists and dicts that are too deep in each other") from None
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message


def ready(connections: Iterable[Any], deadline: float) -> list[Any]:
    """Those of the connections that have something to read, as soon as one has; [] after the time.

    Args:
      connections: links and listening sockets.
      deadline: by `time.monotonic`.
    """
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        events = selector.select(max(0.0, deadline - time.monotonic()))
    return [key.fileobj for key, _ in events]


def closed(links: Mapping[int, Link], seconds: float) -> int | None:
    """The process whose end of its connection has closed, as soon as one has; None after the time.

    What has come is left to be received: another thread may be about to.

    Args:
      links: by the numbers of the processes they lead to.
      seconds: to wait.
    """
    poll = select.poll()
    numbers = {link.fileno(): process for process, link in links.items()}
    for number in numbers:
        poll.register(number, CLOSED)
    events = poll.poll(1000 * seconds)
    return numbers[events[0][0]] if events else None
