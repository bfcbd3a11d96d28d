"""Told to end: SIGTERM, as a cluster sends it some seconds before it takes the machine, and Ctrl-C.

A signal comes to one process, or to all at different moments. It is only noted, and before each
call of a compiled loop, of some whole epochs, all tell each other what they have noted, so that all
stop after the same one.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ffnn_jax.processes.agreement import exchange


class Preempted(SystemExit):
    """SIGTERM came, and everything is saved: ends the program with exit status 0.

    What comes after `fit` is not run, for there is no result. To do something else, catch it::

        try:
            result = ffnn.fit(..., checkpoints=checkpoints, resume=True)
        except ffnn.Preempted:
            sys.exit(75)  # one of yours, for "start me again"

    Like `KeyboardInterrupt` it is no `Exception`, and passes through `except Exception`.
    """

    def __init__(self):
        super().__init__(0)


class Heard:
    """The signals of this process, and what is made of them with the others.

    Attributes:
      joint: whether the other processes do the same as this one.
      signal: the one that was noted, 0 where there was none.
    """

    def __init__(self, joint: bool):
        self.joint, self.signal = joint, 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler. A second Ctrl-C is heard at once."""
        if number == signal.SIGINT and self.signal:
            raise KeyboardInterrupt
        self.signal = max(self.signal, number)

    def agreed(self, count: int) -> int:
        """How many epochs come next, in every process as many as in the first.

        A signal that comes meanwhile, which the others have not been told of, is for the next call.

        Raises:
          KeyboardInterrupt: in every process, where one has been told to end.
          ProcessError: as `exchange`.
        """
        everyone = (
            exchange("epochs", [count, self.signal]) if self.joint else [[count, self.signal]]
        )
        told = max(number for _, number in everyone)
        if told:
            self.signal = told
            raise KeyboardInterrupt
        return everyone[0][0]

    def end(self) -> None:
        """After the last save: all processes are here.

        Raises:
          Preempted: one was told to end by SIGTERM; if after it had told the others, in that alone.
          ProcessError: as `exchange`.
        """
        if self.joint:
            self.signal = max(*exchange("end of fit", self.signal), self.signal)
        if self.signal == signal.SIGTERM:
            raise Preempted


@contextlib.contextmanager
def hearing(*, joint: bool, saves: bool) -> Iterator[Heard]:
    """Notes signals while it lasts: Ctrl-C where several processes stop together, and SIGTERM where
    something is saved. Handlers of the user's own, and threads other than the main, are left alone.

    Args:
      joint: whether the other processes do the same as this one.
      saves: whether what is done is saved when it ends.
    """
    heard, before = Heard(joint), {}
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    wanted = [signal.SIGINT] * joint + [signal.SIGTERM] * saves
    if threading.current_thread() is threading.main_thread():
        for number in wanted:
            if signal.getsignal(number) is usual[number]:
                before[number] = signal.signal(number, heard.note)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
