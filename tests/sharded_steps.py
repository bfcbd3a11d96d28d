"""A hundred steps of networks A to E on 1 to 8 devices, in a process of its own, which has 8.

    PYTHONPATH=.:tests:benchmarks python tests/sharded_steps.py [--all | --two]

Prints one JSON object: {"A data=8 Auto": [error of parameters, error of losses], …}, relative to
one device without a mesh, and under "shares" what one of eight devices holds. `test_sharding` runs
it without --all: every network, every mesh and both kinds of axes, but not each with each, and ten
steps of D and E. With --two it is two processes of four devices each, and every network on four
meshes over all eight; each process gives its half of the rows.

In float64: a unit of relu that comes so near 0 that rounding decides its sign makes two right
trainings differ, in float32 by 0.6 % of C's parameters, on some draws, after a hundred steps.
"""

import itertools
import json
import math
import socket
import subprocess
import sys

import jax
import numpy as np
import optax
from cases import relative_error
from throughput import CASES

import ffnn_jax as ffnn
from ffnn_jax.sharding.placement import placement

MESHES = [
    *({"data": n} for n in (1, 2, 4, 8)),
    *({"model": n} for n in (2, 4, 8)),
    *({"data": n, "model": 8 // n} for n in (2, 4)),
]
KINDS = (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit)
OPTIMIZER = optax.sgd(0.05, momentum=0.9)


def trained(name, steps, axes=None, kind=KINDS[0]):
    """(parameters, losses) of some steps, as NumPy arrays; every layer that divides is split."""
    case = CASES[name]
    draw = np.random.default_rng(1)
    rows = case.batch * steps - case.batch // 2  # the last batch is short
    x = draw.standard_normal((rows, case.sizes[0]))
    y = draw.integers(0, case.sizes[-1], rows).astype(np.int32)
    net = ffnn.Network(case.sizes, activation="relu", output="softmax")
    on = {}
    if axes:
        devices = jax.devices()[: math.prod(axes.values())]
        mesh = jax.make_mesh(
            tuple(axes.values()), tuple(axes), axis_types=(kind,) * len(axes), devices=devices
        )
        on = {"mesh": mesh, "placement": placement(net, mesh, wide=1)}
        x, y = (np.array_split(t, jax.process_count())[jax.process_index()] for t in (x, y))
    params = ffnn.init(net, jax.random.key(0), dtype="float64")
    state = ffnn.init_state(net, OPTIMIZER, jax.random.key(1), params=params, **on)
    state, losses = ffnn.train_epoch(net, OPTIMIZER, state, x, y, batch_size=case.batch, **on)
    return ffnn.gathered((state.params, losses))


def held(compiled):
    """Bytes that a device holds while the compiled function runs."""
    memory = compiled.memory_analysis()
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def shares():
    """What one of eight devices holds of what one alone would: of the state, and in an epoch."""
    net = ffnn.Network((64, 1024, 1024, 1024, 1024, 64), output="softmax")
    adam, mesh = optax.adam(1e-3), jax.make_mesh((8,), ("model",))
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((64, 64)), draw.integers(0, 64, 64).astype(np.int32)
    train = jax.jit(
        ffnn.train_epoch,
        static_argnames=("optimizer", "batch_size", "mesh"),
        donate_argnames="state",
    )
    states = [ffnn.init_state(net, adam, jax.random.key(0), mesh=on) for on in (None, mesh)]
    epochs = [
        held(train.lower(net, adam, state, x, y, batch_size=16, mesh=on).compile())
        for state, on in zip(states, (None, mesh), strict=True)
    ]
    whole, one = (
        sum(leaf.addressable_shards[-1].data.nbytes for leaf in jax.tree.leaves(state[:2]))
        for state in states
    )
    return {"state": one / whole, "epoch": epochs[1] / epochs[0]}


def compared(name, steps, layouts):
    """{layout: [error of parameters, error of losses]}."""
    found = {}
    params, losses = trained(name, steps)
    for axes, kind in layouts:
        ours, ours_losses = trained(name, steps, axes, kind)
        of_params = max(map(relative_error, jax.tree.leaves(ours), jax.tree.leaves(params)))
        words = " ".join(f"{axis}={n}" for axis, n in axes.items())
        found[f"{name} {words} {kind.name}"] = [of_params, relative_error(ours_losses, losses)]
    return found


def one_of_two(process, port):
    """One of two processes; the first prints what was found."""
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_enable_x64", True)
    ffnn.start_processes(
        coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=int(process), timeout=60
    )
    found = {}
    for name in "ABCDE":
        over_all = [(axes, KINDS[0]) for axes in MESHES if math.prod(axes.values()) == 8]
        found |= compared(name, 100, over_all)
    if process == "0":
        print(json.dumps(found))


def two():
    """Both processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, __file__, "--process"]
    both = [subprocess.Popen([*words, str(i), str(port)]) for i in range(2)]
    sys.exit(max(abs(one.wait()) for one in both))


def main():
    if "--process" in sys.argv:
        one_of_two(*sys.argv[2:])
        return
    if "--two" in sys.argv:
        two()
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    found = {"shares": shares()}
    jax.config.update("jax_enable_x64", True)
    everything = "--all" in sys.argv
    for i, name in enumerate("ABCDE"):
        steps = 100 if everything or name in "ABC" else 10
        layouts = list(itertools.product(MESHES, KINDS))
        if not everything:
            layouts = [(axes, KINDS[j % 2]) for j, axes in enumerate(MESHES)][i :: len("ABCDE")]
        found |= compared(name, steps, layouts)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
