"""Memory of a gradient: XLA's figure for temporary bytes, and the most that the device held.

The most that a device held counts from the start of a process and never goes back, so each
variant has a process of its own; they run side by side, for no time is taken.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
from throughput import CASES

import ffnn_jax as ffnn
from gpu_parts.part import Point, Time, attempt
from gpu_parts.programs import examples, planned

VARIANTS: dict[str, tuple[str, Any]] = {
    "xla": ("xla", ffnn.loss),
    "pallas": ("pallas", ffnn.loss),
    "autodiff": ("xla", ffnn.loss_autodiff),
}
NETWORKS = {  # sizes, rows, arithmetic
    "narrow 64": ((64,) * 9 + (10,), 2**20, "bfloat16"),
    "deep 256": ((256,) * 33, 2**14, "tf32"),
    "H": (CASES["H"].sizes, CASES["H"].batch, "tf32"),
    "dry": ((16, 16, 10), 64, "tf32"),
}


def one(network: str, variant: str) -> Point:
    """The bytes of one gradient, in this process."""
    sizes, rows, arithmetic = NETWORKS[network]
    implementation, loss = VARIANTS[variant]
    params, x, y = point = jax.block_until_ready(examples(sizes, rows, arithmetic))
    net = planned(sizes, implementation)
    gradient = jax.jit(lambda params, x, y: jax.value_and_grad(loss, argnums=1)(net, params, x, y))
    try:
        run = gradient.lower(*point).compile()
    except NotImplementedError as reason:
        return {"refused": str(reason)}
    jax.block_until_ready(run(*point))
    device = jax.devices()[0]
    after = device.memory_stats() or {}  # of a CPU there are none
    held = sum(t.nbytes for t in jax.tree.leaves((params, x, y)))
    return {
        "temp_bytes": run.memory_analysis().temp_size_in_bytes,
        "inputs_bytes": held,
        "peak_bytes": after.get("peak_bytes_in_use"),
    }


def in_a_process(network: str, variant: str, seconds: float) -> Point:
    command = [sys.executable, "-m", "gpu_parts.memory", network, variant]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds, env=os.environ
    )
    return json.loads(done.stdout.splitlines()[-1])


def points(allowed: Time) -> Iterator[Point]:
    networks = ["dry"] if allowed.dry else [name for name in NETWORKS if name != "dry"]
    whats = [{"what": "memory", "network": n, "variant": v} for n in networks for v in VARIANTS]
    if allowed.dry:
        whats = whats[1:2]
    with concurrent.futures.ThreadPoolExecutor(len(whats)) as pool:
        measured = [
            pool.submit(attempt, w, in_a_process, w["network"], w["variant"], allowed.left())
            for w in whats
        ]
        for future in concurrent.futures.as_completed(measured):
            yield future.result()


if __name__ == "__main__":
    print(json.dumps(one(*sys.argv[1:])))
