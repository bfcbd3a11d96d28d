"""Times of compiled programs that take turns; medians, and the 95 % interval of each."""

import concurrent.futures
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from throughput import interval


class Compiled(NamedTuple):
    """Programs by name.

    Attributes:
      runs: those that compiled.
      seconds: of each of them, others being compiled beside it.
      failed: of each that did not, the error.
    """

    runs: dict[Any, Any]
    seconds: dict[Any, float]
    failed: dict[Any, str]


def compile_all(lowered: dict[Any, Any]) -> Compiled:
    """Every program compiled, several at a time: nothing is timed meanwhile."""
    result = Compiled({}, {}, {})

    def compile_one(name: Any) -> None:
        start = time.perf_counter()
        try:
            result.runs[name] = lowered[name].compile()
            result.seconds[name] = time.perf_counter() - start
        except Exception as error:  # of this program; the others go on
            result.failed[name] = f"{type(error).__name__}: {error}"[:600]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(compile_one, lowered))
    return result


def take_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each in each round, in an order drawn anew; one round before does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    draw = random.Random(0)
    for repeat in range(rounds + 1):
        for name in draw.sample(list(runs), len(runs)):
            start = time.perf_counter()
            jax.block_until_ready(runs[name]())
            if repeat:
                times[name].append(time.perf_counter() - start)
    return times


def microseconds(times: list[float], steps: int) -> dict[str, Any]:
    """Of one step, from the seconds of several."""
    each = [seconds / steps * 1e6 for seconds in times]
    return {"us": statistics.median(each), "us_interval": interval(each)}


def speedup(base: list[float], of: list[float]) -> dict[str, float]:
    """Time of the base ÷ time of the other, within a round, with its 95 % interval."""
    ratios = [b / t for b, t in zip(base, of, strict=True)]
    low, high = interval(ratios)
    return {"ratio": statistics.median(ratios), "lower": low, "upper": high}
