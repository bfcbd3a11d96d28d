"""One of two processes of tests/test_alike.py: `python alike_worker.py PORT ID`.

Each call is given something else in each process; what it says is printed as JSON.
"""

import json
import sys
import tempfile


def main(port: str, process: int) -> None:
    from ffnn_jax.processes import start_processes

    start_processes(coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=process)
    import jax
    import numpy as np
    import optax

    import ffnn_jax as ffnn
    from ffnn_jax.processes import ProcessError

    devices, width = np.array(jax.devices()), 4 + process
    mesh = jax.sharding.Mesh(devices, ("data",))
    axes = ("model", "data") if process else ("data", "model")
    net, optimizer = ffnn.Network((4, 8, 3)), optax.sgd(0.1, momentum=0.9)
    x, y = np.ones((8, 4), np.float32), np.ones((8, 3), np.float32)
    key, own_key = jax.random.key(0), jax.random.key(process)
    state, own_state = (ffnn.init_state(net, optimizer, k) for k in (key, own_key))
    whole = jax.NamedSharding(mesh, jax.P())
    step = jax.make_array_from_callback((), whole, lambda _: np.int32(process))

    def fit(mesh=mesh, **options):
        given = {"optimizer": optimizer, "batch_size": 8, "epochs": 2, "key": key} | options
        return lambda: ffnn.fit(net, (x, y), mesh=mesh, **given)

    def init_state(key, mesh=mesh, **options):
        return lambda: ffnn.init_state(net, optimizer, key, mesh=mesh, **options)

    def train_epoch(net=net, state=state, x=x, batch_size=8):
        options = {"batch_size": batch_size, "mesh": mesh}
        return lambda: ffnn.train_epoch(net, optimizer, state, x, y, **options)

    def wide():
        net = ffnn.Network((width, 8, 3))
        state = ffnn.init_state(net, optimizer, key)
        return train_epoch(net, state, np.ones((8, width), np.float32))()

    def partitionable():
        with jax.threefry_partitionable(process == 0):
            return fit()()

    def saved():
        checkpoints = ffnn.ShardedCheckpoints(folder, every=1 + process)
        return fit(checkpoints=checkpoints)()

    calls = {
        "state": fit(key=None, state=own_state),
        "step": fit(key=None, state=state._replace(step=step)),
        "init_state": init_state(own_key),
        "params": init_state(key, params=own_state.params),
        "partitionable": partitionable,
        "axes": fit(jax.sharding.Mesh(devices.reshape(2, 2), axes)),
        "devices": fit(jax.sharding.Mesh(devices[:: 1 - 2 * process], ("data",))),
        "explicit": fit(jax.make_mesh((4,), ("data",), (list(jax.sharding.AxisType)[process],))),
        "part": fit(jax.sharding.Mesh(devices[:2], ("data",))),
        "part of init_state": init_state(key, jax.sharding.Mesh(devices[2:], ("data",))),
        "batch_size": train_epoch(batch_size=8 + 4 * process),
        "width": wide,
        "saved": saved,
    }
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({name: said(call, ProcessError) for name, call in calls.items()}))


def said(call, kind):
    try:
        call()
    except (kind, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
