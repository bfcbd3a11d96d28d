"""The card as it is found, what is installed, and its ceilings: a copy, products, a launch."""

import importlib.metadata
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from throughput import interval, machine

from ffnn_jax.kernels import measured
from gpu_parts.part import Point, Time, attempt
from gpu_parts.programs import PRECISION, dtype_of
from gpu_parts.timing import take_turns

FIELDS = (
    "name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem,clocks.max.sm,"
    "clocks.max.mem,power.draw,power.limit,temperature.gpu,mig.mode.current,utilization.gpu"
)
PACKAGES = [
    *("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "numpy", "optax", "chex"),
    *("flax", "equinox", "torch", "triton", "pytest", "hypothesis"),
]


def smi() -> dict[str, str]:
    """What nvidia-smi says of the first card; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader", "-i", "0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return {"failed": "no answer in 20 s"}
    if done.returncode or done.stdout.count(",") != FIELDS.count(","):
        return {"failed": done.stderr + done.stdout}
    return dict(zip(FIELDS.split(","), map(str.strip, done.stdout.split(",")), strict=True))


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def identity() -> Point:
    device = jax.devices()[0]
    record: Point = machine() | {"versions": versions(), "nvidia_smi": smi()}
    record["devices"] = len(jax.devices())
    record["backend"] = getattr(device.client, "platform_version", "")
    record["matmul_precision"] = getattr(jax.config, measured.PRECISION)
    return record


def seconds_of(lowered: Any, *args: Any, dry: bool) -> dict[str, Any]:
    """Median seconds of one run, several enqueued at a time, and their interval."""
    start = time.perf_counter()
    run = lowered.compile()
    compile_s = time.perf_counter() - start
    count, rounds = (2, 2) if dry else (10, 9)

    def several() -> Any:
        for _ in range(count):
            result = run(*args)
        return result

    each = [s / count for s in take_turns({"it": several}, rounds)["it"]]
    return {"s": statistics.median(each), "s_interval": interval(each), "compile_s": compile_s}


def copy(dry: bool) -> Point:
    """−x of much more than any cache holds: each byte is read and written once."""
    x = jax.random.normal(jax.random.key(0), (2**16 if dry else 2**28,))
    record = seconds_of(jax.jit(jnp.negative).lower(x), x, dry=dry)
    return record | {"bytes_per_s": 2 * x.nbytes / record["s"]}


def large_product(arithmetic: str, dry: bool) -> Point:
    """A square product of random numbers."""
    n = 64 if dry else 8192
    a, b = (
        jax.random.normal(key, (n, n), dtype_of(arithmetic))
        for key in jax.random.split(jax.random.key(1))
    )
    with jax.default_matmul_precision(PRECISION[arithmetic]):
        lowered = jax.jit(jnp.matmul).lower(a, b)
    record = seconds_of(lowered, a, b, dry=dry)
    return record | {"n": n, "flops_per_s": 2 * n**3 / record["s"]}


def launch(dry: bool) -> Point:
    """One of many small dependent operations in one program: what each of them costs at least."""
    steps = 10 if dry else 2000
    x = jax.random.normal(jax.random.key(2), (64, 64))

    def loop(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, steps, lambda _, x: jnp.roll(jnp.tanh(x), 1, axis=0), x)

    record = seconds_of(jax.jit(loop).lower(x), x, dry=dry)
    return {"us_each": record["s"] / steps * 1e6, "steps": steps}


def points(allowed: Time) -> Iterator[Point]:
    yield {"what": "card"} | identity()
    yield attempt({"what": "copy"}, copy, allowed.dry)
    for arithmetic in PRECISION:
        what = {"what": "product", "arithmetic": arithmetic}
        yield attempt(what, large_product, arithmetic, allowed.dry)
    yield attempt({"what": "launch"}, launch, allowed.dry)
    yield {"what": "card afterwards", "nvidia_smi": smi()}
