"""What ends a program that cannot end by itself after another process was lost.

A collective whose peer has died does not always fail. With two devices a process on CPU (jax
0.10.2) the part of one device may raise and that of the other wait for ever: the main thread waits
with it, inside the call, where no exception can reach it, or at exit, where JAX destroys what it
waits for. JAX aborts such a process 10 to 20 s after the death (exit status 134, pages of text), as
any whose peer is dead, so nothing is lost by ending it before, in one line:

  in the program  a connection closes -> GRACE seconds, in which it can raise and end by itself
                                      -> the `ProcessError` on stderr, exit status 1
  at exit         GRACE seconds       -> exit status 1

A program that knows, by a `ProcessError` or by an error of its own, is left alone until its exit.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
import traceback

from ffnn_jax.processes.link import ProcessError, closed
from ffnn_jax.processes.star import Star, lost

GRACE = 5.0  # s; twice, as the others may hear of a death only from process 0
LOOK = 1.0  # s between two looks whether there is still something to watch


def watch(star: Star) -> None:
    """Watches the connections until the program ends, in a thread of its own."""
    threading.Thread(target=_watch, args=(star,), daemon=True, name="ffnn_jax watch").start()


def hurry() -> None:
    """The exit, from here on, takes at most GRACE seconds.

    What is destroyed may hold Python's lock while it waits; faulthandler's timer needs none.
    """
    _flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    faulthandler.dump_traceback_later(GRACE, exit=True, file=nowhere)


def _watch(star: Star) -> None:
    process = None
    while process is None:
        if star.broken or star.ending:
            return
        try:
            process = closed(star.links, LOOK)
        except ValueError:  # closed by this process meanwhile
            return
    time.sleep(GRACE)
    if star.broken or star.ending:
        return
    text = star.told(star.doing) or lost(star.doing, process)
    star.leave(text)
    print(*traceback.format_exception_only(ProcessError(text)), end="", file=sys.stderr)
    _flush()
    os._exit(1)


def _flush() -> None:
    """What was printed gets out before an exit that does not care for it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
