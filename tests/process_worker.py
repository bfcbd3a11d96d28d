"""One of two processes of tests/test_processes.py: `python process_worker.py PORT ID FOLDER`.

It does what every process can do before one of them is killed, and writes down what it saw.
"""

import json
import pathlib
import sys

import numpy as np

ROWS = (90, 60)  # of each process: not alike


def main(port: str, process: int, folder: pathlib.Path) -> None:
    from ffnn_jax.processes import start_processes

    start_processes(coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=process)
    import jax
    import optax

    import ffnn_jax as ffnn
    from ffnn_jax.processes import ProcessError, agree, from_first

    x, y = (np.array(array) for array in ffnn.load_iris())
    own = slice(sum(ROWS[:process]), sum(ROWS[: process + 1]))
    x, y = x[own], y[own]
    net = ffnn.Network((4, 8, 3), activation="tanh", output="softmax")
    mesh, optimizer = jax.make_mesh((2,), ("data",)), optax.sgd(0.05, momentum=0.9)

    def fit(x, epochs, seed=0, optimizer=optimizer, **options):
        return ffnn.fit(
            net,
            (x, y),
            key=jax.random.key(seed),
            optimizer=optimizer,
            batch_size=32,
            epochs=epochs,
            mesh=mesh,
            **{"validation": (x, y), **options},
        )

    def said(call, *arguments, **options):
        try:
            call(*arguments, **options)
        except (ProcessError, TypeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    P = jax.P
    split = tuple(ffnn.Layer(P(None, "data"), P()) for _ in net.sizes[1:])  # ZeRO
    state = ffnn.init_state(net, optimizer, jax.random.key(0), mesh=mesh, placement=split)
    keys = jax.make_array_from_callback(
        (2,), jax.NamedSharding(mesh, P("data")), lambda i: jax.random.split(jax.random.key(1))[i]
    )

    def save(name, params):
        ffnn.save(folder / f"{name}-{process}.npz", net, params)

    bad = np.where(process * (np.arange(len(x))[:, None] == 3), np.nan, x)
    result = fit(x, 5)
    seen = {
        "loss": result.history.loss.tolist(),
        "accuracy": result.history.validation_accuracy.tolist(),
        "params": [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(result.params)],
        "agree": said(agree, "setup", {"same": 1, "width": [4, 5][process]}),
        "first": from_first(f"process {process}"),
        "values": said(fit, bad, 5),
        "validation": said(fit, x, 5, validation=[(x, y), None][process]),
        "weights": said(fit, x, 5, weights=[None, np.ones(len(x), np.float32)][process]),
        "key": said(fit, x, 5, seed=process),
        "rate": said(fit, x, 5, optimizer=optax.sgd(0.05 * (1 + process), momentum=0.9)),
        "l2": said(fit, x, 5, objective=ffnn.penalized(l2=0.1 * (1 + process))),
    }
    save("fit", result.params)
    seen["split"] = said(save, "split", state.params)
    save("gathered", ffnn.gathered(state.params))
    seen["keys"] = jax.random.key_data(ffnn.gathered(keys)).tolist()
    (folder / f"seen-{process}").write_text(json.dumps(seen))
    fit(x, 10**6, on_epochs=lambda records, _: print(records[-1]["epoch"], flush=True))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
