"""How much memory does a gradient need, beside autodiff's and beside jax.checkpoint's?

    python scripts/memory.py [--layers 32] [--width 256] [--batch 4096]

Compiles value and gradient of the loss for each activation and prints XLA's own figure for the
temporary memory, as a multiple of one array a layer, Σ_k n_k × batch × 4 bytes. Nothing is run;
the figure is exact and the same every time. `checkpoint` is autodiff with jax.checkpoint around
every layer. Exit status 1 if the hand-written gradient needs more than 1.15; that bar is for the
sizes above, for two or three arrays of work space weigh more in a shallow network. The last line
of stdout is one JSON object.
"""

import argparse
import json

import jax
import jax.numpy as jnp

import ffnn_jax as ffnn
from ffnn_jax import network
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.dense import dense

BAR = 1.15


def checkpointed_loss(net, params, x, y):
    """`loss_autodiff` with jax.checkpoint around each hidden layer."""
    h = x
    for name, (W, b) in zip(net.activations, params[:-1], strict=True):

        def layer(W, b, h, name=name):
            return ACTIVATIONS[name].value(dense(W, b, h, None))

        h = jax.checkpoint(layer)(W, b, h)
    return network.batch_loss(net, dense(*params[-1], h, None), y, None)


def temporary_bytes(loss, net, batch):
    params = jax.eval_shape(lambda: ffnn.init(net, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((batch, net.sizes[0]), jnp.float32)
    y = jax.ShapeDtypeStruct((batch,), jnp.int32)
    gradient = jax.jit(jax.value_and_grad(loss, argnums=1))
    compiled = gradient.lower(net, params, x, y).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4096)
    arguments = parser.parse_args()
    if min(arguments.layers, arguments.width, arguments.batch) < 1:
        parser.error("--layers, --width, --batch: at least 1")
    losses = {
        "by hand": ffnn.loss,
        "autodiff": ffnn.loss_autodiff,
        "checkpoint": checkpointed_loss,
    }
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}: {arguments.layers} layers of")
    print(f"{arguments.width}, batch {arguments.batch}; temporary memory ÷ one array a layer")
    print(f"{'activation':12}" + "".join(f"{name:>12}" for name in losses))
    table = {}
    for activation in ACTIVATIONS:
        sizes = (arguments.width,) * (arguments.layers + 1)
        net = ffnn.Network(sizes, activation=activation, output="softmax")
        unit = sum(sizes[1:]) * arguments.batch * 4
        row = {name: temporary_bytes(f, net, arguments.batch) / unit for name, f in losses.items()}
        table[activation] = row
        print(f"{activation:12}" + "".join(f"{ratio:12.2f}" for ratio in row.values()), flush=True)
    worst = max(row["by hand"] for row in table.values())
    print(f"worst by hand {worst:.3f}, allowed {BAR}")
    print(json.dumps({"jax": jax.__version__, "worst": worst, "ok": worst <= BAR, "table": table}))
    raise SystemExit(worst > BAR)


if __name__ == "__main__":
    main()
