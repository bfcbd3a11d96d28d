"""A thread that ends a program which cannot end itself, once another process is lost.

A collective whose peer has died does not always fail. With two devices a process on CPU (jax
0.10.2) the part of one device raises and that of the other may wait for ever, and the main thread
with it: inside the call, where no exception can reach it. After 10 to 20 s JAX aborts such a
process (exit status 134, pages of text), as it does with any whose peer is dead. So nothing is
lost by ending it before, in one line:

  a connection closes  ->  GRACE seconds, in which the program can raise, save and end by itself
                       ->  the `ProcessError` on stderr, exit status 1

A program that was told, by a `ProcessError` or by an error of its own, is left alone; so is one
that has come to its end.
"""

import contextlib
import os
import sys
import threading
import time
import traceback

from ffnn_jax.processes.link import ProcessError, closed
from ffnn_jax.processes.star import AGAIN, Star

GRACE = 5.0  # s; JAX aborts after 10 s at the earliest, and process 0 tells the others only then
LOOK = 1.0  # s between two looks whether there is still something to watch


def watch(star: Star) -> None:
    """Watches the connections until the program ends, in a thread of its own."""
    threading.Thread(target=_watch, args=(star,), daemon=True, name="ffnn_jax watch").start()


def flush() -> None:
    """What was printed gets out before an exit that does not care for it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _watch(star: Star) -> None:
    lost = None
    while lost is None:
        if star.broken or star.ending:
            return
        try:
            lost = closed(star.links, LOOK)
        except ValueError:  # closed by this process meanwhile
            return
    time.sleep(GRACE)
    if star.broken or star.ending:
        return
    reason = star.reason(0.1) or f"process {lost} has ended or cannot be reached"
    text = f"{star.doing}: {reason.removesuffix(f'; {AGAIN}')}"
    text += f", and what waits for it has not ended in {GRACE:g} s; {AGAIN}"
    star.leave(text)
    print(*traceback.format_exception_only(ProcessError(text)), end="", file=sys.stderr)
    flush()
    os._exit(1)
