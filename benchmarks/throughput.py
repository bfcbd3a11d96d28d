"""Is backprop by hand as fast as autodiff of the same network, in a step and in a whole epoch?

    python benchmarks/throughput.py [--quick] [--only A,C] [--rounds 15] [--json FILE]

Regime: one device, float32, SGD, networks A to H from 16 units to 8,192, data on the device.
Variants: (by hand, autodiff of the same primal) × (a jitted step for each batch, called from
Python; an epoch as one compiled scan). All variants start from the same state and take turns,
round by round in changing order; every call is waited for; a warm-up round comes first. Compile
time is taken apart. The ratios are taken within a round, and their median and quartiles printed.
What each column means stands in benchmarks/README.md. The last line of stdout is one JSON object.
"""

import argparse
import itertools
import json
import math
import os
import platform
import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ffnn_jax as ffnn


class Case(NamedTuple):
    """A network, its batch size, and how many steps a round takes."""

    sizes: tuple[int, ...]
    batch: int
    steps: int


CASES = {
    "A": Case((4, 16, 3), 16, 4000),
    "B": Case((64, 64, 64, 10), 32, 500),
    "C": Case((64, 128, 128, 10), 128, 200),
    "D": Case((784, 128, 10), 64, 200),
    "E": Case((784, 512, 512, 10), 128, 24),
    "F": Case((784, 1000, 500, 10), 1024, 3),
    "G": Case((1024, 1024, 1024, 1024, 10), 512, 3),
    "H": Case((2048, 2048, 2048, 2048, 2048, 1000), 1024, 1),
}
OBJECTIVES = {"by hand": ffnn.loss, "autodiff": ffnn.loss_autodiff}
OPTIMIZER = optax.sgd(0.01)


def machine() -> dict[str, object]:
    """What this was measured on."""
    device = jax.devices()[0]
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
        model = names[0] if names else model
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def data(case: Case):
    """x (steps · B, n_0) and classes."""
    draw = np.random.default_rng(0)
    rows = case.steps * case.batch
    x = draw.standard_normal((rows, case.sizes[0])).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(draw.integers(0, case.sizes[-1], rows), jnp.int32)


def flops(case: Case) -> int:
    """Floating-point operations of a step: 2 B n m for each product; ∇x is not taken."""
    products = [m * n for m, n in itertools.pairwise(case.sizes)]
    return 2 * case.batch * (3 * sum(products) - products[0])


def make_step(net, objective):
    def step(state, x, y):
        return ffnn.train_step(net, OPTIMIZER, state, x, y, objective=objective)

    return jax.jit(step, donate_argnames="state")


def make_epoch(net, case, objective):
    def epoch(state, x, y):
        return ffnn.train_epoch(
            net, OPTIMIZER, state, x, y, batch_size=case.batch, objective=objective
        )

    return jax.jit(epoch, donate_argnames="state")


class Variant:
    """One of the four: compiled, and ready to be timed for one round of steps."""

    def __init__(self, net, case, rule, loop, x, y):
        self.steps, self.loop = case.steps, loop
        state = ffnn.init_state(net, OPTIMIZER, jax.random.key(0))
        if loop == "scan":
            self.run, self.batches = make_epoch(net, case, OBJECTIVES[rule]), [(x, y)]
        else:
            self.run = make_step(net, OBJECTIVES[rule])
            self.batches = [
                (x[i : i + case.batch], y[i : i + case.batch])
                for i in range(0, case.steps * case.batch, case.batch)
            ]
        start = time.perf_counter()
        compiled = self.run.lower(state, *self.batches[0]).compile()
        self.compile_s = time.perf_counter() - start
        self.temp_bytes = compiled.memory_analysis().temp_size_in_bytes
        self.state = state

    def microseconds(self) -> float:
        """Time of a step, over one round from the same starting state."""
        state = jax.block_until_ready(jax.tree.map(jnp.copy, self.state))
        start = time.perf_counter()
        for x, y in self.batches:
            state, value = self.run(state, x, y)
        jax.block_until_ready((state, value))
        return (time.perf_counter() - start) / self.steps * 1e6


def measure(name: str, case: Case, rounds: int) -> dict[str, object]:
    """All four variants of one network, and the two ratios."""
    net = ffnn.Network(case.sizes, activation="relu", output="softmax")
    x, y = data(case)
    variants = {
        (rule, loop): Variant(net, case, rule, loop, x, y)
        for loop in ("step", "scan")
        for rule in OBJECTIVES
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in variants}
    for repeat in range(rounds + 1):
        keys = list(variants)
        for key in keys if repeat % 2 else keys[::-1]:
            elapsed = variants[key].microseconds()
            if repeat:
                times[key].append(elapsed)
    record = {"network": name, "sizes": case.sizes, "batch": case.batch, "rounds": rounds}
    for (rule, loop), variant in variants.items():
        median = statistics.median(times[rule, loop])
        record[f"{rule} {loop}"] = {
            "us": median,
            "us_quartiles": quartiles(times[rule, loop]),
            "examples_per_s": case.batch / median * 1e6,
            "gflops": flops(case) / median / 1e3,
            "compile_s": variant.compile_s,
            "temp_bytes": variant.temp_bytes,
        }
    for loop in ("step", "scan"):
        pairs = zip(times["by hand", loop], times["autodiff", loop], strict=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        record[f"ratio {loop}"] = statistics.median(ratios)
        record[f"ratio {loop} quartiles"] = quartiles(ratios)
    return record


def quartiles(values: list[float]) -> tuple[float, float]:
    """Between the values that there are, never beyond them; of one value twice that."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(low), float(high)


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median by order statistics, whatever the distribution.

    From the k-th smallest value to the k-th largest, k the largest with P(Bin(n, ½) < k) ≤ 2.5 %.
    Fewer than six values have none, and the extremes are given.
    """
    ordered, n = sorted(values), len(values)
    tail, k = 0.0, 0
    while k < n // 2 and tail + math.comb(n, k) / 2**n <= 0.025:
        tail += math.comb(n, k) / 2**n
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def show(record: dict) -> None:
    sizes = "-".join(map(str, record["sizes"]))
    print(f"{record['network']}  {sizes}, batch {record['batch']}, {record['rounds']} rounds")
    for loop in ("step", "scan"):
        for rule in OBJECTIVES:
            r = record[f"{rule} {loop}"]
            low, high = r["us_quartiles"]
            print(
                f"   {loop:5} {rule:9}{r['us']:12.1f} µs ({low:.1f} to {high:.1f})"
                f"{r['examples_per_s']:13,.0f} examples/s{r['gflops']:8.1f} GF/s"
                f"   compile {r['compile_s']:5.2f} s   temp {r['temp_bytes'] / 2**20:8.2f} MiB"
            )
        low, high = record[f"ratio {loop} quartiles"]
        ratio = record[f"ratio {loop}"]
        print(f"   {loop:5} by hand ÷ autodiff {ratio:.3f} ({low:.3f} to {high:.3f})", flush=True)


def begin(path: str | None) -> dict[str, object]:
    """The machine, printed; and the file for the result opened now, not after the measurement."""
    if path:
        open(path, "a").close()
    card = machine()
    print("   ".join(f"{key} {value}" for key, value in card.items()))
    return card


def put_out(result: dict[str, object], path: str | None) -> None:
    """One JSON object, as the last line of stdout and, if there is a path, in a file."""
    line = json.dumps(result)
    if path:
        with open(path, "w") as file:
            file.write(line + "\n")
    print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="A to E, five rounds: under a minute")
    parser.add_argument("--only", help="networks, such as A,C")
    parser.add_argument("--rounds", type=int, help="15 unless told; fewer for F, G and H")
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else "ABCDE" if arguments.quick else CASES
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"--only: {unknown[0]!r} is not one of {', '.join(CASES)}")
    if arguments.rounds is not None and arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    card = begin(arguments.json)
    records = []
    for name in names:
        rounds = arguments.rounds or (5 if arguments.quick else 7 if name in "FGH" else 15)
        records.append(measure(name, CASES[name], rounds))
        show(records[-1])
    ratios = [record["ratio scan"] for record in records]
    median, worst = statistics.median(ratios), max(ratios)
    print(f"epoch by hand ÷ epoch of autodiff: median {median:.3f}, worst {worst:.3f}")
    result = {"machine": card, "median_ratio": median, "worst_ratio": worst, "networks": records}
    put_out(result, arguments.json)


if __name__ == "__main__":
    main()
