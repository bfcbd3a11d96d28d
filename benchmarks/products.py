"""Where does a product of two small matrices cost less as multiply + sum than as a dot?

    python benchmarks/products.py [--shapes 16,4,16:64,64,10] [--rounds 7] [--json FILE]

Regime: one device, float32, shapes batch, inputs, outputs on both sides of the bounds of
ffnn_jax/dense.py, TINY for W h and Wᵀ∇a and TINY_W for ∇a hᵀ. Each of the three products runs many
times in one compiled loop, as a `dot_general` and as multiply + sum; each result is added to an
accumulator of which the next factor takes an immeasurable part, so that nothing leaves the loop.
The time of the same loop without the product is taken off, within a round; what is left counts as
0.05 µs at least, for less cannot be told from the loop. The three loops take turns, round by round
in changing order; every call is waited for; a first round does not count; times and ratios are
medians over the rounds. `*` marks what the library takes as multiply + sum; on platforms other than
CPU both forms are the dot. The last line of stdout is one JSON object.
"""

import argparse
import math
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from throughput import begin, put_out, quartiles

from ffnn_jax.dense import TINY, TINY_W, product

SHAPES = (
    "8,8,2:16,4,16:16,16,3:16,8,16:32,8,8:32,8,10:32,8,16:64,4,16:32,16,16:64,16,10:32,64,8:"
    "32,64,10:64,64,10:32,64,64:128,64,64"
)
CONTRACT = {  # the axes of either factor that are summed over, and the bound
    "W h": (((1,), (1,)), TINY),  # h (B, n_in), W (n_out, n_in)
    "Wᵀ∇a": (((1,), (0,)), TINY),  # ∇a (B, n_out), W
    "∇a hᵀ": (((0,), (0,)), TINY_W),  # ∇a, h: summed over the batch
}
FORMS = {"none": None, "dot": 0, "sum": math.inf}  # the bound up to which a product is a sum
WORK = 3e7  # multiply-adds of a loop, about
LEAST = 0.05  # µs


def factors(name: str, shape: tuple[int, int, int]) -> tuple[jax.Array, jax.Array]:
    B, n_in, n_out = shape
    shapes = {
        "W h": ((B, n_in), (n_out, n_in)),
        "Wᵀ∇a": ((B, n_out), (n_out, n_in)),
        "∇a hᵀ": ((B, n_out), (B, n_in)),
    }
    draw = np.random.default_rng(0)
    x, y = (jnp.asarray(draw.standard_normal(s), jnp.float32) for s in shapes[name])
    return x, y


def loop(name: str, bound: float | None, x: jax.Array, y: jax.Array, steps: int):
    """Compiled: the product `steps` times, one after the other; or the loop alone."""
    contract = CONTRACT[name][0]

    def form(x, y, bound=0):
        return product(x, y, contract, jnp.float32, None, bound)

    zero = jnp.zeros(jax.eval_shape(form, x, y).shape)

    def body(carry, _):
        x, total = carry
        total = total + (1e-9 if bound is None else form(x, y, bound))
        return (x + total[0, 0] * 1e-30, total), None

    def run(x, y):
        return jax.lax.scan(body, (x, zero), None, length=steps)[0]

    return jax.jit(run).lower(x, y).compile()


def measure(name: str, shape: tuple[int, int, int], rounds: int) -> dict[str, object]:
    """Microseconds of both forms of one product, the loop taken off."""
    x, y = factors(name, shape)
    steps = max(20, min(3000, int(WORK / (math.prod(shape) + 2000))))
    runs = {form: loop(name, bound, x, y, steps) for form, bound in FORMS.items()}
    times: dict[str, list[float]] = {"dot": [], "sum": []}
    for repeat in range(rounds + 1):
        took = {}
        for form in list(FORMS)[:: 1 if repeat % 2 else -1]:
            start = time.perf_counter()
            jax.block_until_ready(runs[form](x, y))
            took[form] = (time.perf_counter() - start) / steps * 1e6
        if repeat:
            for form, found in times.items():
                found.append(max(took[form] - took["none"], LEAST))
    ratios = [sums / dot for sums, dot in zip(times["sum"], times["dot"], strict=True)]
    return {
        "dot_us": statistics.median(times["dot"]),
        "sum_us": statistics.median(times["sum"]),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": quartiles(ratios),
        "sum": math.prod(shape) <= CONTRACT[name][1],
    }


def show(record: dict) -> None:
    B, n_in, n_out = record["shape"]
    cells = [
        f"{r['dot_us']:9.2f}{r['sum_us']:8.2f}{r['ratio']:8.2f}{'*' if r['sum'] else ' '}"
        for r in record["products"].values()
    ]
    print(f"{B:5}{n_in:4}{n_out:4}{record['work']:8}" + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default=SHAPES, help="batch,inputs,outputs:…")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    words = [shape.split(",") for shape in arguments.shapes.split(":")]
    if any(len(word) != 3 or not all(n.isdecimal() and int(n) for n in word) for word in words):
        parser.error("--shapes: three numbers each, such as 16,4,16:64,64,10")
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    card = begin(arguments.json)
    print(f"µs as dot, as multiply + sum, and sum ÷ dot; bounds {TINY} and {TINY_W} multiply-adds")
    print("batch  in out    work" + "".join(f"{name:>25} " for name in CONTRACT))
    records = []
    for B, n_in, n_out in sorted((tuple(map(int, word)) for word in words), key=math.prod):
        shape = B, n_in, n_out
        row = {name: measure(name, shape, arguments.rounds) for name in CONTRACT}
        records.append({"shape": shape, "work": math.prod(shape), "products": row})
        show(records[-1])
    bounds = {"TINY": TINY, "TINY_W": TINY_W}
    put_out({"machine": card, **bounds, "shapes": records}, arguments.json)


if __name__ == "__main__":
    main()
