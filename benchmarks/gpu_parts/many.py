"""Many networks: `fit_many` with the kernel `population` and by vmap, 1 to 16,384 of them.

Whole calls of `ffnn.fit_many`, as a user makes them. Each is timed with few epochs and with many:
the time of a step is that of the difference, without what a call costs however short it is; the
speed-up that is recorded is that of the whole longer call, the smaller of the two.
"""

import functools
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from throughput import interval

import ffnn_jax as ffnn
from gpu_parts.ceiling import parameters, products
from gpu_parts.part import Point, Time, attempt
from gpu_parts.programs import PRECISION, examples, planned
from gpu_parts.timing import speedup, take_turns

SHORT, LONG, STEPS = 2, 42, 64  # epochs, and steps of one
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
}
TINY, SMALL = ((4, 16, 3), 16), ((64, 64, 64, 10), 32)  # sizes and batch
CASES = [  # arithmetic, sizes and batch, optimizer, networks
    *(("tf32", TINY, "sgd", 4**k) for k in (5, 7, 3, 6, 4, 0, 2, 1)),
    *(("tf32", SMALL, "sgd", 4**k) for k in (5, 3, 6, 0)),
    *(("float32", TINY, "sgd", 4**k) for k in (5, 7, 3)),
    *(("tf32", TINY, "adam", 4**k) for k in (5, 7, 3)),
    *(("tf32", TINY, "momentum", 4**k) for k in (5,)),
]
DRY = [("tf32", TINY, "sgd", 2)]


def call(net: ffnn.Network, batch: int, steps: int, optimizer: str, networks: int) -> Any:
    """A function of the number of epochs, each of so many steps."""
    _, x, y = examples(net.sizes, batch * steps, "float32")
    keys = jax.random.split(jax.random.key(1), networks)
    rates = jnp.full((networks,), 0.01, jnp.float32)

    def fit(epochs: int) -> Any:
        result = ffnn.fit_many(
            net,
            (x, y),
            keys=keys,
            optimizer=OPTIMIZERS[optimizer],
            learning_rates=rates,
            batch_size=batch,
            epochs=epochs,
            progress=False,
        )
        return result.params, result.state

    return fit


def measure(
    arithmetic: str, sizes: tuple[int, ...], batch: int, optimizer: str, networks: int, dry: bool
) -> Point:
    short, long, steps = (1, 2, 2) if dry else (SHORT, LONG, STEPS)
    calls: dict[str, Callable[[], Any]] = {}
    refused = {}
    with jax.default_matmul_precision(PRECISION[arithmetic]):
        for name in ("xla", "pallas"):
            fit = call(planned(sizes, name), batch, steps, optimizer, networks)
            try:
                jax.block_until_ready(fit(short))  # compiles
            except NotImplementedError as reason:
                refused[name] = str(reason)
                continue
            calls[name] = functools.partial(fit, long)
            calls[f"{name} short"] = functools.partial(fit, short)
        times = take_turns(calls, 2 if dry else 7)
    variants = {}
    for name in calls:
        if name in ("xla", "pallas"):
            pairs = zip(times[name], times[f"{name} short"], strict=True)
            each = [(a - b) / ((long - short) * steps) * 1e6 for a, b in pairs]
            variants[name] = {"call_s": statistics.median(times[name])}
            if statistics.median(each) > 0:  # else the longer call is too short to say anything
                variants[name] |= {"us": statistics.median(each), "us_interval": interval(each)}
    return {
        "optimizer": optimizer,
        "epochs": long,
        "steps": steps,
        "variants": variants,
        "refused": refused,
        "speedups": {
            name: speedup(times["xla"], times[name]) for name in ("pallas",) if name in times
        },
        "work": work(arithmetic, sizes, batch, networks),
    }


def work(arithmetic: str, sizes: tuple[int, ...], batch: int, networks: int) -> dict[str, Any]:
    """Of one step of all networks: parameters read and written, own rows and classes read."""
    moved = 4 * networks * (2 * parameters(sizes) + batch * (sizes[0] + 1))
    flops = 2 * networks * batch * (3 * products(sizes) - sizes[0] * sizes[1])
    return {"bytes": moved, "flops": flops, "arithmetic": arithmetic}


def points(allowed: Time) -> Iterator[Point]:
    for arithmetic, (sizes, batch), optimizer, networks in DRY if allowed.dry else CASES:
        what = {"kernel": "population", "arithmetic": arithmetic, "activation": "relu"}
        what |= {"inputs": sizes[0], "width": sizes[1], "outputs": sizes[-1]}
        what |= {"depth": len(sizes) - 1, "batch": batch, "rows": networks}
        what["optimizer"] = optimizer
        arguments = (arithmetic, sizes, batch, optimizer, networks, allowed.dry)
        yield attempt(what, measure, *arguments)
