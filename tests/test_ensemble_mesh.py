"""`fit_many` with its members split over the devices of a mesh: what it is without one."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import many_in_processes
import numpy as np
import optax
import pytest
from cases import assert_close
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from test_ensemble import KEYS, RATES, STOPPING, M, fit, fit_many
from test_training import NET, SGD, _standard_promotion, data  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax.ensemble import devices, inputs, many, members
from ffnn_jax.sharding import hlo
from ffnn_jax.sharding.placement import on
from ffnn_jax.training import Recipe

DEVICES = 4
# The same sums over the same examples, and vmap of two in place of five may order them otherwise.
ROUNDING = 1e-5


def mesh_of(kind=AxisType.Auto, devices=DEVICES, name="member"):
    return jax.make_mesh((devices,), (name,), axis_types=(kind,), devices=jax.devices()[:devices])


def on_host(tree):
    return jax.tree.map(np.asarray, tree)


def assert_as_without(found, expected):
    """Two results, but for the time they took and where they are."""
    for name in ("epochs", "best_epoch", "bad_step"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    for one, other in zip(found.history[:3], expected.history[:3], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=ROUNDING)  # NaN where there was no epoch
    for one, other in ((found.params, expected.params), (found.state[:2], expected.state[:2])):
        assert_close(on_host(one), on_host(other), ROUNDING)
    np.testing.assert_array_equal(
        *(jax.random.key_data(result.state.key) for result in (found, expected))
    )
    np.testing.assert_array_equal(found.state.step, expected.state.step)


# It has a `lax.cond` with constants in one branch.
PLATEAU = optax.chain(SGD, optax.contrib.reduce_on_plateau(patience=1))
UNLIKE = {"optimizer": optax.sgd, "learning_rates": np.append(RATES[:-1], 1e38), **STOPPING}


@pytest.fixture(scope="module")
def unlike():
    """Members that stop apart, the last of them at a loss that is no number."""
    with jax.numpy_dtype_promotion("standard"):
        result = fit_many(**UNLIKE)
    assert len(set(result.epochs.tolist())) > 2
    assert (result.bad_step >= 0).tolist() == [False] * (M - 1) + [True]
    return result


def test_more_slots_than_members(unlike):
    """5 networks on 4 devices: two, two, one, and one with none; compiled once for all axes."""
    traced = []

    def objective(*args, **options):
        traced.append(args)
        return ffnn.loss(*args, **options)

    fit_many(mesh=mesh_of(), objective=objective, **UNLIKE | {"epochs": 2, "keys": KEYS[::-1]})
    before = len(traced)
    for kind in (AxisType.Auto, AxisType.Explicit):
        found = fit_many(mesh=mesh_of(kind), objective=objective, **UNLIKE)
        assert_as_without(found, unlike)
        assert found.params[0].W.shape == (M, 8, 4)
        alone = found.member(1)
        assert alone.history.loss.shape == (found.epochs[1],)
        assert len(alone.params[0].W.sharding.device_set) == 1
        more = {"optimizer": optax.sgd(float(RATES[1])), "key": None, "epochs": 1}
        assert np.isfinite(fit(1, state=alone.state, **more).history.loss)
    assert len(traced) == before > 0


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_each_has_its_own_data_on_its_own_device(kind):
    x, y = (np.stack(t) for t in zip(*(data(48, seed=i) for i in range(8)), strict=True))
    weights = np.random.default_rng(0).uniform(0.5, 2, (8, 48))
    keys = jax.random.split(jax.random.key(3), 8)
    options = {"data": (x, y), "keys": keys, "weights": weights, "accumulate": 2, "epochs": 2}
    options["validation"] = data(20, seed=9)
    options["optimizer"] = PLATEAU
    options["net"] = ffnn.Network((4, 8, 3), activation="relu", output="softmax", dropout=0.3)
    found = fit_many(mesh=mesh_of(kind), **options)
    assert_as_without(found, fit_many(**options))
    for leaf in jax.tree.leaves(found.state.params):
        assert leaf.sharding.spec[0] == "member"
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {2}


def test_members_and_rows():
    """3 networks on 2 × 2 devices; no batch, and no set of data, divides."""
    kinds = (AxisType.Explicit, AxisType.Auto)
    mesh = jax.make_mesh((2, 2), ("member", "data"), axis_types=kinds)
    options = {"keys": KEYS[:3], "epochs": 4, "batch_size": 15, "patience": 1}
    options |= {"optimizer": optax.sgd, "learning_rates": [0.1, 1.0, 1e38]}
    options["data"] = tuple(np.stack([t, t[::-1], t]) for t in data(49))
    options["weights"] = np.random.default_rng(0).uniform(0.5, 2, (3, 49))
    options["validation"] = data(21, seed=1)
    assert_as_without(fit_many(mesh=mesh, **options), fit_many(**options))


def test_data_are_sent_to_the_devices_of_their_members():
    x, y = np.arange(120.0).reshape(5, 6, 4), np.zeros((5, 6, 3))
    mesh, params = mesh_of(), ffnn.init(NET, jax.random.key(0))
    placed = inputs.arrays(NET, params, (x, y), np.ones(6), mesh)
    assert [t.dtype for t in placed] == [np.float32] * 3
    assert [t.sharding.spec for t in placed] == [P("member"), P("member"), P()]
    for device, shard in enumerate(placed[0].addressable_shards):
        rows = np.minimum([2 * device, 2 * device + 1], 4)
        np.testing.assert_array_equal(shard.data, x[rows])
    np.testing.assert_array_equal(devices.filling(mesh, 5), [False] * 5 + [True] * 3)


def compiled_for(mesh):
    """The program of the loop, as `fit_many` compiles it."""
    layout, (x, y) = devices.layout_of(NET, mesh), data()
    recipe = devices.on_rows(layout, Recipe(SGD, 16), len(x))
    with on(layout):
        runs = members.start_many(NET, SGD, devices.split(mesh, KEYS), None, True, mesh)
        arrays = many._data_of(NET, runs, (x, y, None), (x, y, None), mesh)
        own, shared = inputs.own_and_shared(arrays)
        arguments = (NET, recipe, (runs, None, own), shared, many.check_stopping(2, 0.0), 1)
        lowered = members.compiled_many.lower(*arguments, group_size=2, mesh=mesh)
        return arrays, lowered.compile().as_text()


def test_nothing_goes_from_one_member_to_another():
    """Over `member` alone nothing is moved; with `data`, rows and sums within each place."""
    _, text = compiled_for(mesh_of())
    assert "while" in text
    assert list(hlo.instructions(text)) == []
    mesh = jax.make_mesh((2, 2), ("member", "data"), axis_types=(AxisType.Auto,) * 2)
    arrays, text = compiled_for(mesh)
    assert {shard.data.shape[0] for shard in arrays.x.addressable_shards} == {len(arrays.x) // 2}
    assert {each.groups for each in hlo.instructions(text)} == {((0, 1), (2, 3))}


@pytest.mark.parametrize(
    ("mesh", "error", "message"),
    [
        (4, TypeError, r"mesh: expected a mesh of devices, .*; got .*int"),
        (mesh_of().abstract_mesh, TypeError, "mesh: expected a mesh of devices, .*AbstractMesh"),
        (mesh_of(name="data"), ValueError, r"mesh: expected an axis 'member', got \('data',\)"),
        (mesh_of(name="model"), ValueError, r"mesh: expected axes named member .*; got 'model'"),
    ],
)
def test_bad_mesh(mesh, error, message):
    with pytest.raises(error, match=message):
        fit_many(mesh=mesh)


def test_a_batch_smaller_than_the_axis():
    mesh = jax.make_mesh((1, 4), ("member", "data"))
    with pytest.raises(ValueError, match="batch_size: expected at least 4"):
        fit_many(mesh=mesh, batch_size=3)


# Several processes -------------------------------------------------------------------------------


def in_two_processes(*seeds):
    """(return code, stdout, stderr) of two processes of `many_in_processes` with these seeds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = pathlib.Path(many_in_processes.__file__)
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(ffnn.__file__).parents[1])}
    both = [
        subprocess.Popen(
            [sys.executable, str(program), str(port), str(number), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number, seed in enumerate(seeds)
    ]
    try:
        texts = [process.communicate(timeout=180) for process in both]
    finally:
        for process in both:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(both, texts, strict=True)]


def test_two_processes():
    """Four devices of two processes: in each process what there is without a mesh."""
    expected = many_in_processes.trained(None)
    assert len(set(expected["epochs"])) == 2
    for code, out, err in in_two_processes(0, 0):
        assert code == 0, err
        found = json.loads(out.splitlines()[-1])
        for name in ("epochs", "bad_step"):
            assert found[name] == expected[name]
        for name in ("loss", "W"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
        assert "fit_many: the processes differ in the optimizer, the" in found["momentum"]


def test_processes_with_other_data():
    for code, _, err in in_two_processes(0, 1):
        assert code != 0
        assert "ProcessError: fit_many: the processes differ in values of data" in err
