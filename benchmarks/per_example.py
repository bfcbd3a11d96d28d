"""What do per-example norms and clipping cost, beside one plain gradient and beside vmap?

    python benchmarks/per_example.py [--only C] [--rounds 15] [--json FILE]

Regime: one device, float32, networks C and E of throughput.py at batch 512. Variants, jitted:
`gradient` (jax.grad of ffnn_jax.loss), `norms` (per_example_gradient_norms), `clipped`
(clipped_gradients) and `vmap` (jax.vmap of jax.grad without rules, clipped and averaged). They
take turns, round by round in changing order; every call is waited for; compile time is apart; the
ratios to `gradient` are taken within a round. The largest difference between `clipped` and `vmap`,
relative to the norm of a leaf, is printed as well. The last line of stdout is one JSON object.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from throughput import CASES, begin, put_out, quartiles

import ffnn_jax as ffnn

NAMES, BATCH, MAX_NORM = ("C", "E"), 512, 1.0
CALLS = {"C": 20, "E": 5}  # of each variant in a round; of vmap one


def by_vmap(net, params, x, y):
    """The same clipped mean, each example's gradient formed."""
    each = jax.vmap(jax.grad(ffnn.loss_autodiff, 1), (None, None, 0, 0))(net, params, x, y)
    squares = (jnp.sum(jnp.square(t.reshape(len(x), -1)), 1) for t in jax.tree.leaves(each))
    factors = jnp.minimum(1, MAX_NORM / jnp.sqrt(sum(squares)))
    return jax.tree.map(lambda t: jnp.tensordot(factors, t, 1) / len(x), each)


def clipped(net, params, x, y):
    return ffnn.clipped_gradients(net, params, x, y, max_norm=MAX_NORM)


VARIANTS = {
    "gradient": jax.grad(ffnn.loss, 1),
    "norms": ffnn.per_example_gradient_norms,
    "clipped": clipped,
    "vmap": by_vmap,
}


def measure(name: str, rounds: int) -> dict[str, object]:
    """All four variants of one network, and the ratios to the plain gradient."""
    sizes = CASES[name].sizes
    net = ffnn.Network(sizes, activation="relu", output="softmax")
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((BATCH, sizes[0])), jnp.float32)
    y = jnp.asarray(draw.integers(0, sizes[-1], BATCH), jnp.int32)
    args = (ffnn.init(net, jax.random.key(0)), x, y)
    runs, compile_s, temp = {}, {}, {}
    for variant, fn in VARIANTS.items():
        start = time.perf_counter()
        runs[variant] = jax.jit(fn, static_argnums=0).lower(net, *args).compile()
        compile_s[variant] = time.perf_counter() - start
        temp[variant] = runs[variant].memory_analysis().temp_size_in_bytes
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for repeat in range(rounds + 1):
        for variant in list(VARIANTS)[:: 1 if repeat % 2 else -1]:
            calls = 1 if variant == "vmap" else CALLS[name]
            start = time.perf_counter()
            for _ in range(calls):
                jax.block_until_ready(runs[variant](*args))
            if repeat:
                times[variant].append((time.perf_counter() - start) / calls * 1e6)
    record: dict[str, object] = {"network": name, "sizes": sizes, "batch": BATCH}
    for variant in VARIANTS:
        ratios = [t / g for t, g in zip(times[variant], times["gradient"], strict=True)]
        record[variant] = {
            "us": statistics.median(times[variant]),
            "ratio": statistics.median(ratios),
            "ratio_quartiles": quartiles(ratios),
            "compile_s": compile_s[variant],
            "temp_bytes": temp[variant],
        }
    ours, theirs = (jax.tree.leaves(runs[variant](*args)) for variant in ("clipped", "vmap"))
    record["difference"] = max(
        float(jnp.linalg.norm(mine - other) / jnp.linalg.norm(other))
        for mine, other in zip(ours, theirs, strict=True)
    )
    return record


def show(record: dict) -> None:
    print(f"{record['network']}  {'-'.join(map(str, record['sizes']))}, batch {record['batch']}")
    for variant in VARIANTS:
        r = record[variant]
        low, high = r["ratio_quartiles"]
        print(
            f"   {variant:9}{r['us']:12.1f} µs   ÷ gradient {r['ratio']:7.3f}"
            f" ({low:.3f} to {high:.3f})   compile {r['compile_s']:5.2f} s"
            f"   temp {r['temp_bytes'] / 2**20:8.1f} MiB"
        )
    print(f"   clipped and vmap differ by {record['difference']:.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NAMES, help="one of the two networks")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    card = begin(arguments.json)
    records = []
    for name in [arguments.only] if arguments.only else NAMES:
        records.append(measure(name, arguments.rounds))
        show(records[-1])
    put_out({"machine": card, "networks": records}, arguments.json)


if __name__ == "__main__":
    main()
