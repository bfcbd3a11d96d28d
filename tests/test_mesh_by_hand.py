"""A mesh of the user's own around `train_step` and `loss`: `jax.set_mesh`, and `jax.shard_map`."""

import jax
import numpy as np
import optax
import pytest
from cases import assert_close
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_training import _standard_promotion  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax.sharding.placement import placement

NET = ffnn.Network((4, 8, 6, 3), activation=("relu", "tanh"), output="softmax")
OPTIMIZER = optax.adam(1e-2)
KEY, STEPS = jax.random.key(0), 20
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((16, 4)).astype(np.float32)
Y = DRAW.integers(0, 3, 16).astype(np.int32)
KINDS = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)

step = jax.jit(ffnn.train_step, static_argnames="optimizer")


def trained(step, state, x, y):
    losses = []
    for _ in range(STEPS):
        state, value = step(NET, OPTIMIZER, state, x, y)
        losses.append(float(value))
    return jax.tree.map(np.asarray, state.params), np.asarray(losses)


@pytest.fixture(scope="module")
def expected():
    with jax.numpy_dtype_promotion("standard"):
        return trained(step, ffnn.init_state(NET, OPTIMIZER, KEY), X, Y)


def assert_as(found, expected):
    assert_close(found, expected, 1e-4)  # Adam divides by the root of small sums
    assert expected[1][-1] < 0.9 * expected[1][0]


@KINDS
def test_set_mesh_around_train_step(kind, expected):
    """The batch over `data`: what is placed says what is split."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        state = jax.device_put(ffnn.init_state(NET, OPTIMIZER, KEY), NamedSharding(mesh, P()))
        x, y = jax.device_put((X, Y), NamedSharding(mesh, P("data")))
        found = trained(step, state, x, y)
    assert_as(found, expected)


def test_set_mesh_with_the_rule_of_placement(expected):
    """Layers over `model` by `placement`, in pairs, and the batch over `data`."""
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    specs = placement(NET, mesh, wide=6)
    assert P("model", None) == specs[0].W
    assert P(None, "model") == specs[1].W
    with jax.set_mesh(mesh):
        x, y = jax.device_put((X, Y), NamedSharding(mesh, P("data")))
        params = ffnn.init(NET, jax.random.split(KEY)[0])
        homes = jax.tree.map(
            lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda leaf: isinstance(leaf, P)
        )
        state = ffnn.init_state(NET, OPTIMIZER, KEY, params=jax.device_put(params, homes))
        after, _ = step(NET, OPTIMIZER, state, x, y)
        assert after.params[0].W.sharding.spec[0] == "model"
        found = trained(step, state, x, y)
    assert_as(found, expected)


def mean_over_devices(net, params, x, y, *, weights=None):
    """ℒ of the whole batch, of which each device has an equal part."""
    return jax.lax.pmean(ffnn.loss(net, params, x, y, weights=weights), "data")


@KINDS
def test_shard_map_around_train_step(kind, expected):
    """The sweep sums the gradients over the devices; nothing else has to be said."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))

    def local(state, x, y):
        return ffnn.train_step(NET, OPTIMIZER, state, x, y, objective=mean_over_devices)

    specs = {"in_specs": (P(), P("data"), P("data")), "out_specs": P()}
    split = jax.jit(jax.shard_map(local, mesh=mesh, **specs))
    state = jax.device_put(ffnn.init_state(NET, OPTIMIZER, KEY), NamedSharding(mesh, P()))
    x, y = jax.device_put((X, Y), NamedSharding(mesh, P("data")))
    assert_as(trained(lambda _net, _optimizer, *rest: split(*rest), state, x, y), expected)


def test_shard_map_inside_value_and_grad():
    """The other way round: autodiff outside, the loss of each device's rows inside."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    value = jax.shard_map(
        lambda params, x, y: mean_over_devices(NET, params, x, y),
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),
    )
    params = ffnn.init(NET, KEY)
    found = jax.jit(jax.value_and_grad(value, (0, 1)))(params, X, Y)
    plain = jax.value_and_grad(lambda p, x, y: ffnn.loss_autodiff(NET, p, x, y), (0, 1))
    assert_close(jax.tree.map(np.asarray, found), plain(params, X, Y), 5e-6)
