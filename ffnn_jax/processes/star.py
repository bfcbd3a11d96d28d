"""What the hosts tell each other: process 0 hears all of them and tells each what all have said.

  exchange(value_p) = (value_0, …, value_{P−1})   in every process p

The coordination service of JAX has the same words, but ends the whole process where a peer has
died or has not come (jaxlib's client.h: LOG(FATAL)), and so leaves nobody to say what went wrong.
A connection here is closed by the kernel when a process ends, however it ends: that is known in
every process that waits, within milliseconds.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from ffnn_jax.processes.link import Link, ProcessError, ready

TIMEOUT = 1800.0  # s, as XLA waits in a collective on CPU
END = "end"  # where a program is at its exit
AGAIN = "start all processes again; with checkpoints they go on from the last"


class Star:
    """The connections of one process: of process 0 to all others, of another to process 0.

    Attributes:
      process_id: p.
      broken: whether a process was lost; nothing can be exchanged any more.
      doing: what the program is at, in an error that it cannot raise itself.
      ending: whether the program has come to its end.
    """

    def __init__(self, process_id: int, links: dict[int, Link]):
        """links[q] leads to process q."""
        self.process_id, self.links, self.broken = process_id, links, False
        self.doing, self.ending = "the program", False

    def exchange(self, name: str, value: Any, timeout: float = TIMEOUT) -> list[Any]:
        """The values of all processes, in their order; all have to call this in the same order.

        Args:
          name: what it is about; the same in all.
          value: anything that JSON can hold.
          timeout: seconds to wait for the slowest.

        Raises:
          ProcessError: in every process, if one has ended, does not come, or is elsewhere.
        """
        if self.broken:
            raise ProcessError(f"{name}: another process was lost before; {AGAIN}")
        deadline = time.monotonic() + timeout
        if self.process_id == 0:
            values = self._hear(name, value, deadline, timeout)
            for process, link in self.links.items():
                try:
                    link.send({"values": values})
                except OSError:
                    self._fail(lost(name, process))
            return values
        try:
            self.links[0].send({"name": name, "value": value})
        except OSError:
            self._fail(self.told(name) or lost(name, 0))
        return self._answer(name, deadline, timeout)

    def reason(self, wait: float = 2.0) -> str | None:
        """Who is known to be lost, after at most so many seconds; None where nobody is.

        A collective that fails does not say whose end it was. The last word of process 0 does.
        """
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            for link in ready(self.links.values(), deadline):
                process = next(p for p, other in self.links.items() if other is link)
                try:
                    said = link.receive()
                except (OSError, EOFError, ValueError):
                    return f"process {process} has ended or cannot be reached"
                if said and "error" in said:
                    return said["error"]
        return None

    def told(self, name: str) -> str | None:
        """What is known of who is lost; the last word of process 0, where it said one."""
        reason = self.reason(0.1)
        return reason if reason is None or ":" in reason else f"{name}: {reason}; {AGAIN}"

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[None]:
        """What the program is at while this lasts."""
        before, self.doing = self.doing, name
        try:
            yield
        finally:
            self.doing = before

    def leave(self, text: str = "") -> None:
        """Tells the others why, and closes."""
        self.broken = True
        for link in self.links.values():
            try:
                if text:
                    link.send({"error": text})
            except OSError:
                pass
            link.close()

    def _hear(self, name: str, value: Any, deadline: float, timeout: float) -> list[Any]:
        """The values of all, in process 0."""
        values, waiting = {0: value}, dict(self.links)
        while waiting:
            there = ready(waiting.values(), deadline)
            if not there:
                late = ", ".join(map(str, sorted(waiting)))
                self._fail(f"{name}: process {late} did not answer in {timeout:g} s; {AGAIN}")
            for process in [p for p, link in waiting.items() if link in there]:
                try:
                    said = waiting[process].receive()
                except (OSError, EOFError, ValueError):
                    self._fail(lost(name, process))
                if said is None:
                    continue
                if "error" in said:
                    self._fail(said["error"])
                if said.get("name") != name:
                    self._fail(elsewhere(name, process, said.get("name")))
                values[process] = said.get("value")
                del waiting[process]
        return [values[process] for process in sorted(values)]

    def _answer(self, name: str, deadline: float, timeout: float) -> list[Any]:
        """What process 0 says, in another process."""
        while ready(self.links.values(), deadline):
            try:
                said = self.links[0].receive()
            except (OSError, EOFError, ValueError):
                self._fail(lost(name, 0))
            if said is not None:
                if "error" in said:
                    self._fail(said["error"])
                return said["values"]
        self._fail(f"{name}: process 0 did not answer in {timeout:g} s; {AGAIN}")

    def _fail(self, text: str) -> NoReturn:
        self.leave(text)
        raise ProcessError(text) from None


def lost(name: str, process: int) -> str:
    """What is said of a process that has gone."""
    return f"{name}: process {process} has ended or cannot be reached; {AGAIN}"


def elsewhere(name: str, process: int, other: Any) -> str:
    """What is said where process 0 is at one name, and another process at another."""
    if END in (name, other):
        there, ended = (other, 0) if name == END else (name, process)
        return f"{there}: process {ended} has come to the end of its program; {AGAIN}"
    return f"process {process} is at {other!r}, process 0 at {name!r}; {AGAIN}"
