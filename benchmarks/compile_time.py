"""How long does it take to trace and to compile a training step of a deep network?

    python benchmarks/compile_time.py [--layers 8,128] [--only linen] [--rounds 3] [--cpu]
                                      [--json FILE]

Regime: one device, float32, Adam, layers of 64 units with tanh and 10 outputs, softmax and
cross-entropy, batch 64. Variants: `by hand` and `autodiff`, a `train_step` of ours with either
gradient; `epoch` and `epoch, deep`, the whole loop of `train_epoch` with its shuffle, of ten steps,
each layer by itself and `Plan(scan_layers=True)`; `linen`, flax's TrainState and module; `equinox`,
its `filter_jit` step; these two where they are installed. Each is measured in a process of its
own, which has compiled a small function before, with no compilation cache; they take turns, in
changing order. `trace` is from the call to StableHLO, `compile` is XLA alone; of the two loops
`compile` is what the first call of `train_epoch` takes more than the second: all that is traced
and compiled, the reading of the optimizer and the stacking of layers among it. With --cpu it is
CPU time of the process in place of wall time. Medians over the rounds, and the ratio of the sums
to linen's (without it to the last one's), within a round. The last line of stdout is one JSON
object.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from throughput import begin, put_out, quartiles

import ffnn_jax as ffnn

WIDTH, CLASSES, BATCH = 64, 10, 64
OPTIMIZER = optax.adam(1e-3)


def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def ours(layers: int, objective):
    net = ffnn.Network((WIDTH,) * layers + (CLASSES,), activation="tanh", output="softmax")
    state = ffnn.init_state(net, OPTIMIZER, jax.random.key(0))
    return jax.jit(partial(ffnn.train_step, net, OPTIMIZER, objective=objective)), (state,)


def linen(layers: int):
    from flax import linen as nn
    from flax.training.train_state import TrainState

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(layers - 1):
                x = nn.tanh(nn.Dense(WIDTH)(x))
            return nn.Dense(CLASSES)(x)

    @jax.jit
    def train_step(state, x, y):
        def loss_fn(params):
            return cross_entropy(state.apply_fn({"params": params}, x), y)

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        return state.apply_gradients(grads=grads), loss

    params = MLP().init(jax.random.key(0), jnp.ones((1, WIDTH)))["params"]
    return train_step, (TrainState.create(apply_fn=MLP().apply, params=params, tx=OPTIMIZER),)


def equinox(layers: int):
    import equinox as eqx

    model = eqx.nn.MLP(WIDTH, CLASSES, WIDTH, layers - 1, jnp.tanh, key=jax.random.key(0))

    @eqx.filter_jit
    def make_step(model, opt_state, x, y):
        def loss_fn(model):
            return cross_entropy(jax.vmap(model)(x), y)

        loss, grads = eqx.filter_value_and_grad(loss_fn)(model)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), opt_state, loss

    return make_step, (model, OPTIMIZER.init(eqx.filter(model, eqx.is_array)))


VARIANTS = {
    "by hand": partial(ours, objective=ffnn.loss),
    "autodiff": partial(ours, objective=ffnn.loss_autodiff),
    "linen": linen,
    "equinox": equinox,
}
EPOCHS = {"epoch": False, "epoch, deep": True}
NEEDED = {"linen": "flax", "equinox": "equinox"}


def seconds(variant: str, layers: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of tracing and of compiling, in this process."""
    jax.config.update("jax_enable_compilation_cache", False)
    if variant in EPOCHS:
        return 0.0, seconds_of_epoch(layers, EPOCHS[variant], clock)
    step, state = VARIANTS[variant](layers)
    x, y = jnp.ones((BATCH, WIDTH)), jnp.zeros((BATCH,), jnp.int32)
    jax.jit(jnp.sum)(x)
    start = clock()
    lowered = step.lower(*state, x, y)
    traced = clock()
    lowered.compile()
    return traced - start, clock() - traced


def seconds_of_epoch(layers: int, scan_layers: bool, clock: Callable[[], float]) -> float:
    """What the first call of `train_epoch` takes more than the second, in this process."""
    plan = ffnn.Plan(scan_layers=scan_layers)
    sizes = (WIDTH,) * layers + (CLASSES,)
    net = ffnn.Network(sizes, activation="tanh", output="softmax", plan=plan)
    state = ffnn.init_state(net, OPTIMIZER, jax.random.key(0))
    x, y = jnp.ones((10 * BATCH, WIDTH)), jnp.zeros((10 * BATCH,), jnp.int32)
    jax.block_until_ready(jax.jit(jnp.sum)(x))
    took = []
    for _ in range(2):
        start = clock()
        epoch = ffnn.train_epoch(net, OPTIMIZER, state, x, y, batch_size=BATCH)
        jax.block_until_ready(epoch)
        took.append(clock() - start)
    return took[0] - took[1]


def in_a_child(variant: str, layers: int, cpu: bool) -> tuple[float, float]:
    child = [sys.executable, __file__, "--child", variant, str(layers), *["--cpu"] * cpu]
    done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
    trace_s, compile_s = json.loads(done.stdout)
    return trace_s, compile_s


def measure(names: list[str], layers: int, rounds: int, cpu: bool) -> dict[str, object]:
    """All variants at one depth."""
    base = "linen" if "linen" in names else names[-1]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for repeat in range(rounds):
        for name in names[:: -1 if repeat % 2 else 1]:
            times[name].append(in_a_child(name, layers, cpu))
    clock = "CPU time" if cpu else "wall time"
    record: dict[str, object] = {"layers": layers, "base": base, "clock": clock, "variants": {}}
    print(f"{layers} layers of {WIDTH}, batch {BATCH}, {rounds} rounds, {clock}")
    for name in names:
        trace_s, compile_s = map(statistics.median, zip(*times[name], strict=True))
        pairs = zip(times[name], times[base], strict=True)
        ratios = [sum(mine) / sum(others) for mine, others in pairs]
        low, high = quartiles(ratios)
        record["variants"][name] = {
            "trace_s": trace_s,
            "compile_s": compile_s,
            "ratio": statistics.median(ratios),
            "ratio_quartiles": (low, high),
        }
        print(
            f"   {name:11} trace {trace_s:6.2f} s   compile {compile_s:6.2f} s   both ÷ {base}"
            f" {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})",
            flush=True,
        )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="8,128", help="depths, such as 8,128")
    parser.add_argument("--only", choices=[*VARIANTS, *EPOCHS], help="it and by hand")
    parser.add_argument("--cpu", action="store_true", help="CPU time in place of wall time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        clock = time.process_time if arguments.cpu else time.perf_counter
        print(json.dumps(seconds(arguments.child[0], int(arguments.child[1]), clock)))
        return
    depths = [int(depth) if depth.isdecimal() else 0 for depth in arguments.layers.split(",")]
    if min(depths) < 1 or arguments.rounds < 2:
        parser.error("--layers: numbers, at least 1; --rounds: at least 2")
    card = begin(arguments.json)
    wanted = {"by hand", arguments.only} if arguments.only else {*VARIANTS, *EPOCHS}
    there = [v for v in (*EPOCHS, *VARIANTS) if importlib.util.find_spec(NEEDED.get(v, "ffnn_jax"))]
    names = [variant for variant in there if variant in wanted]
    records = [measure(names, depth, arguments.rounds, arguments.cpu) for depth in depths]
    put_out({"machine": card, "depths": records}, arguments.json)


if __name__ == "__main__":
    main()
