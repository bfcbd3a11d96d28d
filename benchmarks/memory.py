"""How much memory does a gradient need, beside other ways, and what does needing less cost?

    python benchmarks/memory.py [--layers 32] [--width 256] [--batch 4096] [--rounds 5]
                                [--json FILE]

Regime: one device, float32. First value and gradient of the loss are compiled for each activation,
and XLA's own figure for the temporary memory is printed as a multiple of one array a layer,
Σ_k n_k × batch × 4 bytes; nothing is run, the figure is exact and the same every time. `checkpoint`
is autodiff with jax.checkpoint around every layer. Exit status 1 if the hand-written gradient needs
more than 1.15; that bar is for the sizes above, for two or three arrays of work space weigh more in
a shallow network.

Then twice as many layers of tanh with `Plan(keep_every=8)` against `keep_every=1`: memory, again
exact, and time of value and gradient. The two take turns, round by round in changing order; every
call is waited for; a first round does not count; compile time is apart; ratios are taken within a
round. The last line of stdout is one JSON object.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
from throughput import begin, put_out, quartiles

import ffnn_jax as ffnn
from ffnn_jax import network
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.dense import dense

BAR = 1.15
KEEP = (1, 8)
KEEP_MEMORY, KEEP_TIME = 0.35, 1.35  # the bars of keep_every=8 beside 1


def checkpointed_loss(net, params, x, y):
    """`loss_autodiff` with jax.checkpoint around each hidden layer."""
    h = x
    for name, (W, b) in zip(net.activations, params[:-1], strict=True):

        def layer(W, b, h, name=name):
            return ACTIVATIONS[name].value(dense(W, b, h, None))

        h = jax.checkpoint(layer)(W, b, h)
    return network.batch_loss(net, dense(*params[-1], h, None), y, None)


LOSSES = {"by hand": ffnn.loss, "autodiff": ffnn.loss_autodiff, "checkpoint": checkpointed_loss}


def compiled(loss, net, batch):
    params = jax.eval_shape(lambda: ffnn.init(net, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((batch, net.sizes[0]), jnp.float32)
    y = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return jax.jit(jax.value_and_grad(loss, argnums=1)).lower(net, params, x, y).compile()


def temporary_bytes(run) -> int:
    return run.memory_analysis().temp_size_in_bytes


def of_activations(layers: int, width: int, batch: int) -> dict[str, dict[str, float]]:
    """For each activation the memory of each gradient, in arrays a layer; printed row by row."""
    print(f"{layers} layers of {width}, batch {batch}; temporary memory ÷ one array a layer")
    print(f"{'activation':12}" + "".join(f"{name:>12}" for name in LOSSES))
    table, unit = {}, layers * width * batch * 4
    for activation in ACTIVATIONS:
        net = ffnn.Network((width,) * (layers + 1), activation=activation, output="softmax")
        table[activation] = row = {
            name: temporary_bytes(compiled(loss, net, batch)) / unit
            for name, loss in LOSSES.items()
        }
        print(f"{activation:12}" + "".join(f"{ratio:12.2f}" for ratio in row.values()), flush=True)
    return table


def of_keep_every(layers: int, width: int, batch: int, rounds: int) -> dict[str, object]:
    """Memory and time of both plans, and their ratios."""
    sizes = (width,) * (layers + 1)
    nets = [
        ffnn.Network(sizes, activation="tanh", output="softmax", plan=ffnn.Plan(keep_every=s))
        for s in KEEP
    ]
    runs, compile_s = [], []
    for net in nets:
        start = time.perf_counter()
        runs.append(compiled(ffnn.loss, net, batch))
        compile_s.append(time.perf_counter() - start)
    draw_x, draw_y = jax.random.split(jax.random.key(1))
    x = jax.random.normal(draw_x, (batch, width))
    y = jax.random.randint(draw_y, (batch,), 0, width)
    params = ffnn.init(nets[0], jax.random.key(0))
    times: list[list[float]] = [[] for _ in KEEP]
    for repeat in range(rounds + 1):
        for i in range(len(KEEP))[:: 1 if repeat % 2 else -1]:
            start = time.perf_counter()
            jax.block_until_ready(runs[i](nets[i], params, x, y))
            if repeat:
                times[i].append(time.perf_counter() - start)
    ratios = [less / all_ for all_, less in zip(*times, strict=True)]
    temp = [temporary_bytes(run) for run in runs]
    return {
        "layers": layers,
        "keep_every": KEEP,
        "temp_bytes": temp,
        "compile_s": compile_s,
        "s": [statistics.median(seconds) for seconds in times],
        "memory_ratio": temp[1] / temp[0],
        "time_ratio": statistics.median(ratios),
        "time_ratio_quartiles": quartiles(ratios),
    }


def show(keep: dict) -> None:
    for i, s in enumerate(KEEP):
        print(
            f"   keep_every {s}: {keep['temp_bytes'][i] / 2**20:8.1f} MiB {keep['s'][i]:8.3f} s"
            f"   compile {keep['compile_s'][i]:5.2f} s"
        )
    low, high = keep["time_ratio_quartiles"]
    print(
        f"   memory {keep['memory_ratio']:.3f}, allowed {KEEP_MEMORY};"
        f" time {keep['time_ratio']:.3f} ({low:.3f} to {high:.3f}), allowed {KEEP_TIME}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    shape = arguments.layers, arguments.width, arguments.batch
    if min(shape) < 1 or arguments.rounds < 2:
        parser.error("--layers, --width, --batch: at least 1; --rounds: at least 2")
    card = begin(arguments.json)
    table = of_activations(*shape)
    worst = max(row["by hand"] for row in table.values())
    print(f"worst by hand {worst:.3f}, allowed {BAR}")
    layers, width, batch = 2 * arguments.layers, arguments.width, arguments.batch
    print(f"tanh, {layers} layers of {width}, batch {batch}; every 8th layer kept, or every one")
    keep = of_keep_every(layers, width, batch, arguments.rounds)
    show(keep)
    record = dict(zip(("layers", "width", "batch"), shape, strict=True))
    record |= {"worst": worst, "ok": worst <= BAR, "table": table, "keep_every": keep}
    put_out({"machine": card, **record}, arguments.json)
    raise SystemExit(worst > BAR)


if __name__ == "__main__":
    main()
