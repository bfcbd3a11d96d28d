"""What do 64 networks in one program cost, and what does early stopping cost?

    python benchmarks/many.py [--only tiny] [--networks 64] [--rounds 9] [--json FILE]

Regime: one device, float32, SGD, data on the device. `tiny` is 4-16-3 with batches of 16, `small`
64-64-64-10 with batches of 32; 100 steps an epoch. `many`: M networks by `fit_many`'s compiled
loop, a share of them on each core, against M sequential calls of a compiled scan of the same
epochs, as a ratio of times; `autodiff` are those calls on `jax.grad`. `patience`: `fit`'s compiled
loop, with validation off and a patience that is never used up, against that scan for one network,
as a ratio of speeds. They take turns, round by round in changing order; every
call is waited for; a warm-up round, which compiles, comes first and is given apart; medians and
quartiles of the ratios within a round. The last line of stdout is one JSON object.
"""

import argparse
import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from throughput import begin, put_out, quartiles

import ffnn_jax as ffnn
from ffnn_jax import epochs, training
from ffnn_jax.ensemble import cores, inputs, members
from ffnn_jax.recipe import Recipe

CASES = {"tiny": ((4, 16, 3), 16, 40), "small": ((64, 64, 64, 10), 32, 4)}  # sizes, batch, epochs
STEPS, OPTIMIZER = 100, optax.sgd(0.01)
CALLS = 8  # of one network, in a round


def take(i, t):
    return t[i]


def variants(sizes, batch, epoch_count, networks):
    """{name: function that does epoch_count epochs}, each of which compiles when first called."""
    net = ffnn.Network(sizes, activation="relu", output="softmax")
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((STEPS * batch, sizes[0])), jnp.float32)
    y = jnp.asarray(draw.integers(0, sizes[-1], STEPS * batch), jnp.int32)
    recipe, data = Recipe(OPTIMIZER, batch), epochs.Data(x, y, None)
    keys = jax.random.split(jax.random.key(0), networks)
    runs = members.start_many(net, OPTIMIZER, keys, None, True)
    states = [jax.tree.map(partial(take, i), runs.state) for i in range(networks)]
    stopping = epochs.Stopping(np.int32(2**30), np.float32(0))
    own, shared = inputs.own_and_shared(data)
    shares = cores.shares_for(net, networks, runs)
    each = cores.divided((runs, None, own), shares)
    group = members.group_size_for(net, -(-networks // shares))

    @partial(jax.jit, static_argnames="recipe")
    def scan(state, data, recipe):
        def epoch(state, _):
            return training.scan_epoch(net, recipe, state, data.x, data.y, None)[:2]

        return jax.lax.scan(epoch, state, None, length=epoch_count)

    def sequential():
        return [scan(state, data, recipe) for state in states]

    def autodiff():
        plain = recipe._replace(objective=ffnn.loss_autodiff)
        return [scan(state, data, plain) for state in states]

    def many():
        return cores.many_on_cores(net, recipe, each, shared, stopping, epoch_count, group)

    def bare():
        return [scan(states[0], data, recipe) for _ in range(CALLS)]

    one = epochs.start(states[0], True)

    def patience():
        return [
            epochs.compiled_epochs(net, recipe, one, data, stopping, epoch_count)
            for _ in range(CALLS)
        ]

    every = sequential, autodiff, many, bare, patience
    return {variant.__name__: variant for variant in every}


def measure(name: str, networks: int, rounds: int) -> dict[str, object]:
    """All of one size, and the ratios."""
    sizes, batch, epoch_count = CASES[name]
    runs = variants(sizes, batch, epoch_count, networks)
    times: dict[str, list[float]] = {variant: [] for variant in runs}
    for repeat in range(rounds + 1):
        for variant in list(runs)[:: 1 if repeat % 2 else -1]:
            start = time.perf_counter()
            jax.block_until_ready(jax.tree.leaves(runs[variant]()))
            times[variant].append(time.perf_counter() - start)
    first = {variant: seconds.pop(0) for variant, seconds in times.items()}
    ratios = [m / s for m, s in zip(times["many"], times["sequential"], strict=True)]
    to_autodiff = [m / s for m, s in zip(times["many"], times["autodiff"], strict=True)]
    speeds = [b / p for b, p in zip(times["bare"], times["patience"], strict=True)]
    return {
        "network": name,
        "sizes": sizes,
        "batch": batch,
        "networks": networks,
        "us_a_step": {
            variant: statistics.median(seconds)
            / (epoch_count * STEPS * (CALLS if variant in ("bare", "patience") else networks))
            * 1e6
            for variant, seconds in times.items()
        },
        "first_round_s": first,
        "many_ratio": statistics.median(ratios),
        "many_ratio_quartiles": quartiles(ratios),
        "many_to_autodiff": statistics.median(to_autodiff),
        "many_to_autodiff_quartiles": quartiles(to_autodiff),
        "patience_speed": statistics.median(speeds),
        "patience_speed_quartiles": quartiles(speeds),
    }


def show(record: dict) -> None:
    print(f"{record['network']}  {'-'.join(map(str, record['sizes']))}, batch {record['batch']}")
    for variant, us in record["us_a_step"].items():
        first = record["first_round_s"][variant]
        print(f"   {variant:11}{us:10.2f} µs a step of a network   first round {first:5.2f} s")
    low, high = record["many_ratio_quartiles"]
    print(
        f"   {record['networks']} at once ÷ sequential scans {record['many_ratio']:.3f}"
        f" ({low:.3f} to {high:.3f})"
    )
    low, high = record["many_to_autodiff_quartiles"]
    print(
        f"   {record['networks']} at once ÷ sequential scans on jax.grad "
        f"{record['many_to_autodiff']:.3f} ({low:.3f} to {high:.3f})"
    )
    low, high = record["patience_speed_quartiles"]
    print(
        f"   speed with patience ÷ bare scan {record['patience_speed']:.3f}"
        f" ({low:.3f} to {high:.3f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES), help="one of the two sizes")
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    if arguments.networks < 1:
        parser.error("--networks: at least 1")
    card = begin(arguments.json)
    records = []
    for name in [arguments.only] if arguments.only else CASES:
        records.append(measure(name, arguments.networks, arguments.rounds))
        show(records[-1])
    put_out({"machine": card, "networks": records}, arguments.json)


if __name__ == "__main__":
    main()
