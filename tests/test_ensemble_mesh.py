"""`fit_many` with its members split over the devices of a mesh: what it is without one."""

import re

import jax
import numpy as np
import optax
import pytest
from cases import assert_close
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from test_ensemble import KEYS, RATES, STOPPING, M, fit, fit_many
from test_training import NET, SGD, _standard_promotion, data  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax.ensemble import inputs, many, members
from ffnn_jax.epochs import Data
from ffnn_jax.training import Recipe

DEVICES = 4
COLLECTIVE = r"(all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(-start)?\("
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


UNLIKE = {"optimizer": optax.sgd, "learning_rates": np.append(RATES[:-1], 1e38), **STOPPING}


@pytest.fixture(scope="module")
def unlike():
    """Members that stop apart, the last of them at a loss that is no number."""
    with jax.numpy_dtype_promotion("standard"):
        result = fit_many(**UNLIKE)
    assert len(set(result.epochs.tolist())) > 2
    assert (result.bad_step >= 0).tolist() == [False] * (M - 1) + [True]
    return result


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_more_slots_than_members(kind, unlike):
    """5 networks on 4 devices: two, two, one, and a device with none."""
    many = fit_many(mesh=mesh_of(kind), **UNLIKE)
    assert_as_without(many, unlike)
    assert many.params[0].W.shape == (M, 8, 4)
    alone = many.member(1)
    assert len(alone.params[0].W.sharding.device_set) == 1
    assert alone.history.loss.shape == (many.epochs[1],)
    more = {"optimizer": optax.sgd(float(RATES[1])), "key": None, "epochs": 1}
    assert np.isfinite(fit(1, state=alone.state, **more).history.loss)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_each_has_its_own_data_on_its_own_device(kind):
    x, y = (np.stack(t) for t in zip(*(data(48, seed=i) for i in range(8)), strict=True))
    weights = np.random.default_rng(0).uniform(0.5, 2, (8, 48))
    keys = jax.random.split(jax.random.key(3), 8)
    options = {"data": (x, y), "keys": keys, "weights": weights, "accumulate": 2, "epochs": 2}
    options["validation"] = data(20, seed=9)
    options["net"] = ffnn.Network((4, 8, 3), activation="relu", output="softmax", dropout=0.3)
    found = fit_many(mesh=mesh_of(kind), **options)
    assert_as_without(found, fit_many(**options))
    for leaf in jax.tree.leaves(found.state.params):
        assert leaf.sharding.spec[0] == "member"
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {2}


def test_data_are_sent_to_the_devices_of_their_members():
    x, y = np.arange(120.0).reshape(5, 6, 4), np.zeros((5, 6, 3))
    mesh, params = mesh_of(), ffnn.init(NET, jax.random.key(0))
    placed = inputs.arrays(NET, params, (x, y), np.ones(6), mesh)
    assert [t.dtype for t in placed] == [np.float32] * 3
    assert [t.sharding.spec for t in placed] == [P("member"), P("member"), P()]
    for device, shard in enumerate(placed[0].addressable_shards):
        rows = np.minimum([2 * device, 2 * device + 1], 4)
        np.testing.assert_array_equal(shard.data, x[rows])


def compiled_for(mesh, optimizer):
    """The program of the loop, as `fit_many` compiles it for 8 members, of which 3 fill up."""
    keys = inputs.split(mesh, KEYS)
    runs = members.start_many(NET, optimizer, keys, None, True, mesh)
    arrays = inputs.arrays(NET, ffnn.init(NET, keys[0]), data(), None, mesh)
    own, shared = inputs.own_and_shared(Data(*arrays, *arrays))
    stopping = many.check_stopping(2, 0.0)
    arguments = (NET, Recipe(optimizer, 16), (runs, None, own), shared, stopping, 1)
    return members.compiled_many.lower(*arguments, group_size=2, mesh=mesh).compile()


def test_nothing_goes_from_one_device_to_another():
    text = compiled_for(mesh_of(), SGD).as_text()
    assert "while" in text
    assert re.findall(COLLECTIVE, text) == []
    total = jax.shard_map(  # the words are the ones that are looked for
        lambda t: jax.lax.psum(t, "member"), mesh=mesh_of(), in_specs=P("member"), out_specs=P()
    )
    assert re.findall(COLLECTIVE, jax.jit(total).lower(np.ones(4)).compile().as_text())


def test_an_optimizer_that_branches():
    """A `lax.cond` of which one branch gives constants."""
    plateau = optax.contrib.reduce_on_plateau(patience=1)
    options = {"optimizer": optax.chain(SGD, plateau), "epochs": 2}
    found, expected = fit_many(mesh=mesh_of(devices=2), **options), fit_many(**options)
    assert_as_without(found, expected)


def test_compiled_once():
    mesh, optimizer = mesh_of(), optax.sgd(0.3)
    fit_many(mesh=mesh, optimizer=optimizer, epochs=3)
    before = members.compiled_many._cache_size()
    fit_many(mesh=mesh, optimizer=optimizer, epochs=5, keys=jax.random.split(KEYS[0], M))
    assert members.compiled_many._cache_size() == before


@pytest.mark.parametrize(
    ("mesh", "error", "message"),
    [
        (4, TypeError, r"mesh: expected a mesh of devices, .*; got .*int"),
        (mesh_of().abstract_mesh, TypeError, "mesh: expected a mesh of devices, .*AbstractMesh"),
        (mesh_of(name="data"), ValueError, r"mesh: expected axes named member .*; got 'data'"),
    ],
)
def test_bad_mesh(mesh, error, message):
    with pytest.raises(error, match=message):
        fit_many(mesh=mesh)
