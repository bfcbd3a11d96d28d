"""Times of compiled programs that take turns, and the interval of a median or of a ratio.

The interval of a median of n values runs from the k-th smallest to the k-th largest, k the largest
number for which it holds the true median at least 95 times in 100, whatever the distribution:
P(Bin(n, ½) < k) ≤ 2.5 %. With fewer than six values there is none, and the extremes are given.
"""

import concurrent.futures
import math
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median."""
    ordered, n = sorted(values), len(values)
    tail, k = 0.0, 0
    while k < n // 2 and tail + math.comb(n, k) / 2**n <= 0.025:
        tail += math.comb(n, k) / 2**n
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def compile_all(lowered: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Every program compiled, several at a time, and the seconds of each."""

    def compiled(program: Any) -> tuple[Any, float]:
        start = time.perf_counter()
        done = program.compile()
        return done, time.perf_counter() - start

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = dict(zip(lowered, pool.map(compiled, lowered.values()), strict=True))
    return {n: run for n, (run, _) in done.items()}, {n: s for n, (_, s) in done.items()}


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
