"""One of two processes that train one ensemble together; `test_ensemble_mesh` starts both.

python many_in_processes.py PORT NUMBER SEED: what it found is printed as JSON.
"""

import functools
import json
import sys

import jax
import numpy as np
import optax

import ffnn_jax as ffnn
from ffnn_jax.processes import start_processes

NET = ffnn.Network((4, 8, 3), activation="tanh", output="softmax")
MEMBERS, ROWS = 3, 30


def trained(mesh, seed=0, optimizer=optax.sgd):
    """Three networks, one of which diverges."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((ROWS, 4)).astype(np.float32)
    y = draw.integers(0, 3, ROWS).astype(np.int32)
    options = {"keys": jax.random.split(jax.random.key(0), MEMBERS), "batch_size": 8, "epochs": 6}
    options |= {"optimizer": optimizer, "learning_rates": [0.1, 1.0, 1e38]}
    many = ffnn.fit_many(NET, (x, y), mesh=mesh, **options)
    alone = many.member(1)
    return {
        "epochs": many.epochs.tolist(),
        "bad_step": many.bad_step.tolist(),
        "loss": np.nan_to_num(many.history.loss, nan=-1.0).tolist(),
        "W": np.asarray(alone.params[0].W).tolist(),
    }


def main():
    port, number, seed = (int(word) for word in sys.argv[1:])
    jax.config.update("jax_num_cpu_devices", 2)
    address = {"coordinator": f"127.0.0.1:{port}", "num_processes": 2, "process_id": number}
    start_processes(timeout=60, **address)
    mesh = jax.make_mesh((2, 2), ("member", "data"))
    found = trained(mesh, seed)
    try:
        trained(mesh, seed, functools.partial(optax.sgd, momentum=0.5 + 0.1 * number))
    except ffnn.ProcessError as error:
        found["momentum"] = str(error)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
