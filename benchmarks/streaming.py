"""What does an epoch cost whose rows are read from a file, beside one whose rows are in memory?

    python benchmarks/streaming.py [--rows 60000] [--block 16] [--rounds 15] [--json FILE]

Regime: one device, SGD, [784, 128, 10], batch 128. `on device` is train_epoch of float32 rows that
are there already; `streamed` is stream_epoch of uint8 rows in a memory-mapped file, written just
before, so that the file lies in the system's page cache. They take turns, round by round in
changing order; every epoch is waited for; the first round, which compiles, does not count; the
ratio is taken within a round. `peak` is by how much the largest resident memory grows from the
file on the disk to the end of two epochs, compilation included, in a process of its own. The last
line of stdout is one JSON object.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from throughput import begin, put_out, quartiles

import ffnn_jax as ffnn

NET, BATCH = ffnn.Network((784, 128, 10), activation="relu", output="softmax"), 128
OPTIMIZER = optax.sgd(0.01)
VARIANTS = ("on device", "streamed")


def write(path: pathlib.Path, rows: int) -> None:
    """Random bytes, a piece at a time."""
    draw = np.random.default_rng(0)
    with open(path, "wb") as file:
        for start in range(0, rows, 4096):
            file.write(draw.bytes((min(rows, start + 4096) - start) * NET.sizes[0]))


def epoch_of(variant: str, path: pathlib.Path, rows: int, block: int) -> Callable:
    """A function of a state: one epoch of one of the two."""
    x = np.memmap(path, np.uint8, "r", shape=(rows, NET.sizes[0]))
    y = np.random.default_rng(1).integers(0, NET.sizes[-1], rows).astype(np.uint8)
    if variant == "streamed":
        stream = ffnn.Stream(x, y, scale=1 / 255)
        return lambda state: ffnn.stream_epoch(
            NET, OPTIMIZER, state, stream, batch_size=BATCH, block=block
        )
    floats, classes = jnp.asarray(x, jnp.float32) / 255, jnp.asarray(y, jnp.int32)
    return lambda state: ffnn.train_epoch(NET, OPTIMIZER, state, floats, classes, batch_size=BATCH)


def start() -> ffnn.TrainState:
    return ffnn.init_state(NET, OPTIMIZER, jax.random.key(0))


def timed(epochs: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each epoch, round by round."""
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    state = start()
    for repeat in range(rounds + 1):
        for variant in VARIANTS[:: 1 if repeat % 2 else -1]:
            began = time.perf_counter()
            jax.block_until_ready(epochs[variant](state))
            if repeat:
                seconds[variant].append(time.perf_counter() - began)
    return seconds


def peak() -> float:
    """The largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(variant: str, path: pathlib.Path, rows: int, block: int) -> float:
    """MiB that two epochs need, in this process."""
    state, before = start(), peak()
    epoch = epoch_of(variant, path, rows, block)
    for _ in range(2):
        state, _ = jax.block_until_ready(epoch(state))
    return peak() - before


def measure(path: pathlib.Path, rows: int, block: int, rounds: int) -> dict[str, object]:
    """Seconds, ratio and memory of both."""
    command = [sys.executable, __file__, "--rows", str(rows), "--block", str(block)]
    grown = {}
    for variant in VARIANTS:
        child = [*command, "--child", variant, str(path)]
        done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
        grown[variant] = json.loads(done.stdout)
    seconds = timed({v: epoch_of(v, path, rows, block) for v in VARIANTS}, rounds)
    record: dict[str, object] = {"sizes": NET.sizes, "batch": BATCH, "rows": rows, "block": block}
    for variant in VARIANTS:
        ratios = [t / d for t, d in zip(seconds[variant], seconds["on device"], strict=True)]
        record[variant] = {
            "s": statistics.median(seconds[variant]),
            "ratio": statistics.median(ratios),
            "ratio_quartiles": quartiles(ratios),
            "peak_mib": grown[variant],
        }
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--block", type=int, default=16, help="batches that are read together")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.rows < BATCH:
        parser.error(f"at least 2 --rounds and {BATCH} --rows")
    if arguments.child:
        variant, path = arguments.child
        print(growth(variant, pathlib.Path(path), arguments.rows, arguments.block))
        return
    card = begin(arguments.json)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "x")
        write(path, arguments.rows)
        record = measure(path, arguments.rows, arguments.block, arguments.rounds)
    print(f"{list(NET.sizes)}, batch {BATCH}, {arguments.rows} rows, blocks of {arguments.block}")
    for variant in VARIANTS:
        r = record[variant]
        low, high = r["ratio_quartiles"]
        print(
            f"   {variant:10}{r['s']:8.3f} s   ÷ on device {r['ratio']:.3f}"
            f" ({low:.3f} to {high:.3f})   peak {r['peak_mib']:6.0f} MiB"
        )
    put_out({"machine": card, **record}, arguments.json)


if __name__ == "__main__":
    main()
