"""A training cut anywhere and resumed ends with the same bits as one that was left alone."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import examples
from compiling import as_for_a_user
from test_training import KEY, NET, _standard_promotion, data, fit  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax import epochs as epochs_module
from ffnn_jax.checkpoint import CheckpointError, Checkpoints
from ffnn_jax.checkpoint.leaves import encode, named_leaves

ADAM = optax.adam(optax.cosine_decay_schedule(0.05, 100))
RATE = optax.inject_hyperparams(optax.sgd)(learning_rate=0.05, momentum=0.9)
SHORT = jax.tree.map(lambda t: t.astype(jnp.bfloat16), examples(NET).params)
CUTS = np.random.default_rng(0)
QUICK = {"xla_backend_optimization_level": 0}


def digest(tree):
    """SHA-256 of every name, shape, dtype and bit of a tree."""
    rows = [encode(name, leaf).row for name, leaf in named_leaves(tree)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def all_of(result):
    """Everything in a `Fit` but wall time."""
    return result._replace(history=result.history._replace(seconds=np.zeros(0)))


class Cut(Exception):  # noqa: N818
    pass


def cut_after(epoch):
    def on_epochs(records, params):
        if records[-1]["epoch"] >= epoch:
            raise Cut

    return on_epochs


# fit ---------------------------------------------------------------------------------------------

FITS = {
    "adam, a schedule, a short last batch": {"optimizer": ADAM},
    "early stop": {"optimizer": optax.adam(0.3), "patience": 4, "validation": data(20, seed=1)},
    "the best so far": {"optimizer": ADAM, "patience": 99, "min_delta": 0.01},
    "a rate in the state": {
        "optimizer": RATE,
        "weights": np.linspace(0.5, 2, 50, dtype=np.float32),
    },
    "bfloat16": {
        "optimizer": ADAM,
        "key": None,
        "state": ffnn.init_state(NET, ADAM, KEY, params=SHORT),
    },
    "an old key": {"optimizer": ADAM, "key": jax.random.PRNGKey(3), "accumulate": 4},
}


@pytest.mark.parametrize("name", FITS)
def test_fit_cut_and_resumed(name, tmp_path):
    """100 steps, 25 epochs of 4, cut three times one after the other, somewhere."""
    options = {"epochs": 25, **FITS[name]}
    expected = fit(**options)
    for every in (1, 3):
        checkpoints = Checkpoints(tmp_path / str(every), every=every, keep=2)
        last = len(expected.history.loss)
        for cut in sorted(CUTS.integers(1, last + 1, 3)):
            try:
                fit(**options, checkpoints=checkpoints, resume=True, on_epochs=cut_after(cut))
            except Cut:
                continue
        result = fit(**options, checkpoints=checkpoints, resume=True)
        assert digest(all_of(result)) == digest(all_of(expected))
        assert result.history.seconds.shape == expected.history.loss.shape
        again = fit(**options, checkpoints=checkpoints, resume=True)  # with nothing left to do
        assert digest(again) == digest(result)


@pytest.mark.optimized
def test_cut_by_ctrl_c_and_by_losing_the_newest(tmp_path):
    options = {"optimizer": ADAM, "epochs": 12, "validation": data(20, seed=1)}
    expected = fit(**options)
    checkpoints = Checkpoints(tmp_path, keep=99)

    def interrupt(records, params):
        if records[-1]["epoch"] == 7:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted in epoch 8 of 12"):
        fit(**options, checkpoints=checkpoints, on_epochs=interrupt)
    assert [file.step for file in checkpoints.files()] == [*range(7, 0, -1)]
    for kept in (5, 2, 0):
        for file in checkpoints.files():
            if file.step > kept:
                file.path.unlink()
        result = fit(**options, checkpoints=checkpoints, resume=True)
        assert digest(all_of(result)) == digest(all_of(expected))


def test_a_damaged_newest_is_passed_over_with_a_word(tmp_path):
    expected = fit(optimizer=ADAM, epochs=6)
    checkpoints = Checkpoints(tmp_path)
    fit(optimizer=ADAM, epochs=5, checkpoints=checkpoints)
    checkpoints.files()[0].path.write_bytes(b"torn")
    with pytest.warns(
        UserWarning,
        match=r"verify: step-0000000005.*\.npz: no checkpoint.*; that of epoch 4 is taken",
    ) as said:
        result = fit(optimizer=ADAM, epochs=6, checkpoints=checkpoints, resume=True)
    assert pathlib.Path(said[0].filename).name == "test_training.py"  # where fit was called
    assert digest(all_of(result)) == digest(all_of(expected))


def test_calls_of_many_epochs_end_where_it_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(epochs_module, "SECONDS", 60.0)
    calls = []
    fit(
        optimizer=ADAM,
        epochs=14,
        checkpoints=Checkpoints(tmp_path, every=5, keep=9),
        on_epochs=lambda records, params: calls.append([r["epoch"] for r in records]),
    )
    assert calls == [[1], [2], [3, 4], [5], [6, 7, 8, 9, 10], [11, 12, 13, 14]]
    assert sorted(f.step for f in Checkpoints(tmp_path).files()) == [5, 10, 14]


def test_on_epochs():
    seen = []
    result = fit(
        optimizer=ADAM,
        epochs=6,
        validation=data(20, seed=1),
        on_epochs=lambda records, params: seen.append((records, params)),
    )
    records = [record for some, _ in seen for record in some]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "validation_loss", "validation_accuracy", "seconds"):
        assert [r[name] for r in records] == getattr(result.history, name).tolist()
    assert digest(seen[-1][1]) == digest(result.params)
    assert digest(seen[0][1]) == digest(fit(optimizer=ADAM, epochs=1).params)
    fit(epochs=1, on_epochs=lambda records, params: seen.append(records))
    assert seen[-1][0]["validation_loss"] is None


def test_on_epochs_has_no_epoch_that_is_not_whole():
    def rate(step):
        return jnp.where(step < 10, 0.1, jnp.inf)

    seen = []
    with pytest.raises(ffnn.NonFiniteLossError):
        fit(optimizer=optax.sgd(rate), epochs=9, on_epochs=lambda records, _: seen.extend(records))
    assert [record["epoch"] for record in seen] == [1, 2]


def test_the_best_epoch_is_marked(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    options = {"optimizer": optax.adam(0.3), "epochs": 12, "validation": data(20, seed=1)}
    result = fit(**options, checkpoints=checkpoints)
    best = int(np.argmin(result.history.validation_loss)) + 1
    assert best < 12
    assert [(file.step, file.best) for file in checkpoints.files()] == [(12, False), (best, True)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 17}, "its batch_size was 16, now it is 17"),
        ({"key": jax.random.key(9)}, "its key or state was"),
        ({"optimizer": optax.sgd(0.1, momentum=0.9)}, "its optimizer state was"),
        ({"data": data(49)}, "its number of examples was 50, now it is 49"),
        ({"data": data(50, seed=3)}, "its data was"),
        ({"validation": data(20)}, "its validation was"),
        ({"net": ffnn.Network((4, 8, 3), output="softmax")}, "its network was"),
        ({"accumulate": 2}, "its accumulate was 1, now it is 2"),
        ({"patience": 3}, "its patience was None, now it is 3"),
        ({"objective": ffnn.loss_autodiff}, "its objective was loss, now it is loss_autodiff"),
        ({"compiler_options": QUICK}, "its compiler_options was None"),
        ({"epochs": 1}, "epochs: 2 are in the checkpoints already, got 1"),
        ({"resume": False}, "holds a training up to epoch 2; pass resume=True"),
    ],
)
def test_another_fit_is_refused(options, match, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    fit(epochs=2, checkpoints=checkpoints)
    before = {file: file.path.read_bytes() for file in checkpoints.files()}
    with pytest.raises(ValueError, match=match):
        fit(**{"epochs": 4, "resume": True, "checkpoints": checkpoints, **options})
    assert {file: file.path.read_bytes() for file in checkpoints.files()} == before


def test_a_folder_of_another_loop_is_refused(tmp_path):
    Checkpoints(tmp_path).save(1, {"a": 1})
    with pytest.raises(ValueError, match="were not saved by fit"):
        fit(checkpoints=Checkpoints(tmp_path), resume=True)


def test_two_trainings_in_one_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with checkpoints.lock(), pytest.raises(CheckpointError, match="another training"):
        fit(checkpoints=checkpoints)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"resume": True}, ValueError, "resume: there are no checkpoints"),
        ({"resume": 1}, TypeError, "resume: expected True or False"),
        ({"checkpoints": "folder"}, TypeError, "checkpoints: expected Checkpoints"),
        ({"on_epochs": 3}, TypeError, "on_epochs: expected a function"),
    ],
)
def test_bad_input(options, error, match):
    with pytest.raises(error, match=match):
        fit(**options)


# A loop of one's own -----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [ADAM, RATE], ids=["adam", "a rate in the state"])
def test_a_loop_of_steps_cut_at_20_places(optimizer, tmp_path):
    """Saved after any step of 100, the state goes on to the same digest."""
    x, y = data(64)
    step = jax.jit(ffnn.train_step, static_argnames="optimizer")

    def run(state, last):
        while int(state.step) < last:
            rows = slice(int(state.step) % 4 * 16, int(state.step) % 4 * 16 + 16)
            state, _ = step(NET, optimizer, state, x[rows], y[rows])
        return state

    start = ffnn.init_state(NET, optimizer, KEY)
    expected = digest(run(start, 100))
    checkpoints, state = Checkpoints(tmp_path), start
    for cut in sorted(CUTS.choice(np.arange(1, 100), 20, replace=False)):
        checkpoints.save(cut, run(state, cut))
        state = checkpoints.latest(start).tree
        assert int(state.step) == cut
    assert digest(run(state, 100)) == expected


# One core and two --------------------------------------------------------------------------------

PROGRAM = """
import os, sys
cores, width, batch_size = map(int, sys.argv[1:])
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
import jax, numpy as np, optax
import ffnn_jax as ffnn
from ffnn_jax.checkpoint.leaves import encode, named_leaves
assert not jax.config.values["jax_compilation_cache_dir"]  # it would hold the other's programs
assert not jax.config.values["jax_disable_most_optimizations"]
net = ffnn.Network((8, width, width, 4), activation="tanh", output="softmax")
draw = np.random.default_rng(0)
x, y = draw.standard_normal((1000, 8)).astype(np.float32), draw.integers(0, 4, 1000)
result = ffnn.fit(net, (x, y), key=jax.random.key(0), optimizer=optax.adam(1e-3),
                  batch_size=batch_size, epochs=6)
for name, leaf in named_leaves(result.state):
    print(name, encode(name, leaf).row["sha256"])
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
@pytest.mark.parametrize(
    ("width", "batch_size", "more"),
    [(64, 64, {}), (256, 500, {"NPROC": "2"})],
    ids=["small", "large, as many threads"],
)
def test_one_core_and_two_give_the_same_bits(width, batch_size, more):
    """Of large matrices XLA splits sums between threads: their number is then to be the same."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core")
    environment = as_for_a_user(PYTHONPATH=str(pathlib.Path(ffnn.__file__).parents[1]), **more)
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, cores, str(width), str(batch_size)],
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
            env=environment,
        ).stdout
        for cores in "12"
    ]
    assert said[0] == said[1]
    assert "params/0/W" in said[0]
