"""`bench`: an epoch of a network of yours by hand and by jax.grad, in turn, on this machine."""

import argparse
import json
import statistics
import time
from typing import Any

import jax
import numpy as np
import optax

from ffnn_jax import checks
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.backprop import loss
from ffnn_jax.demo import race
from ffnn_jax.network import Network, loss_autodiff
from ffnn_jax.training import init_state, train_epoch

STEPS = 50  # of an epoch


def add(commands: Any) -> None:
    """The command and its words."""
    parser = commands.add_parser(
        "bench",
        help="time of an epoch, by hand and by jax.grad, for a network of yours",
        description="Both are compiled once and then run in turn, on random examples.",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[784, 256, 256, 10])
    parser.add_argument("--activation", choices=list(ACTIVATIONS), default="relu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=_bench, failed=1)


def _bench(arguments: argparse.Namespace) -> int:
    net = Network(tuple(arguments.sizes), activation=arguments.activation, output="softmax")
    size = checks.check_positive_int("--batch-size", arguments.batch_size)
    rounds = checks.check_positive_int("--rounds", arguments.rounds)
    found = measure_epochs(net, size, rounds)
    if arguments.json:
        print(json.dumps(found))
        return 0
    device = jax.devices()[0]
    print(
        f"{' → '.join(map(str, net.sizes))}, {arguments.activation}, batches of {size}, adam; "
        f"jax {jax.__version__}, {device.device_kind}"
    )
    for name in ("by hand", "jax.grad"):
        low, middle, high = found["us_a_step"][name]
        print(
            f"  {name:9}{middle:12,.1f} µs a step ({low:,.1f} to {high:,.1f})   "
            f"{size / middle * 1e6:14,.0f} examples/s   compiled {found['compile_s'][name]:.2f} s"
        )
    print(f"  by hand ÷ jax.grad: {found['ratio']:.3f} (median of {rounds} pairs)")
    return 0


def measure_epochs(net: Network, size: int, rounds: int) -> dict[str, Any]:
    """µs a step (quartiles), seconds of compilation, and the median ratio of pairs."""
    key_x, key_y, key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(key_x, (STEPS * size, net.sizes[0]))
    y = jax.random.randint(key_y, (STEPS * size,), 0, net.sizes[-1])
    optimizer = optax.adam(1e-3)
    state = init_state(net, optimizer, key)
    epochs, compile_s = {}, {}
    for name, objective in (("by hand", loss), ("jax.grad", loss_autodiff)):
        began = time.perf_counter()
        epochs[name] = _compiled(net, optimizer, size, objective, state, x, y)
        compile_s[name] = time.perf_counter() - began
    seconds = race(epochs, lambda: (state, x, y), rounds)
    pairs = zip(seconds["by hand"], seconds["jax.grad"], strict=True)
    return {
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
        "us_a_step": {name: _quartiles(times) for name, times in seconds.items()},
        "compile_s": compile_s,
    }


def _compiled(net, optimizer, size, objective, state, x, y) -> Any:
    def epoch(state, x, y):
        return train_epoch(net, optimizer, state, x, y, batch_size=size, objective=objective)

    return jax.jit(epoch).lower(state, x, y).compile()


def _quartiles(times: list[float]) -> tuple[float, float, float]:
    """Of a step, in µs."""
    low, middle, high = (float(t) / STEPS * 1e6 for t in np.percentile(times, [25, 50, 75]))
    return low, middle, high
