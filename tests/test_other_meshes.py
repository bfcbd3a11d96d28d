"""Training on a mesh inside `jax.set_mesh` of another one, and inside vmap and grad without jit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

import ffnn_jax as ffnn

NET = ffnn.Network((4, 3), output="softmax")
SGD = optax.sgd(0.1, momentum=0.9)
KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((9, 4)).astype(np.float32)
Y = DRAW.integers(0, 3, 9).astype(np.int32)


def mesh_of(size, name="data", kind=AxisType.Auto):
    return jax.make_mesh((size,), (name,), axis_types=(kind,), devices=jax.devices()[:size])


def trained(key, weights=None, mesh=None):
    state = ffnn.init_state(NET, SGD, key, mesh=mesh)
    state, losses = ffnn.train_epoch(
        NET, SGD, state, X, Y, batch_size=4, weights=weights, mesh=mesh
    )
    return state.params, losses


def assert_same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6)


def test_an_epoch_where_another_mesh_is_set():
    with jax.set_mesh(mesh_of(4, "rows", AxisType.Explicit)):
        found = trained(KEY, mesh=mesh_of(2))
    assert_same(found, trained(KEY))


def test_a_jit_where_another_mesh_is_set():
    with jax.set_mesh(mesh_of(2, "rows", AxisType.Explicit)):
        assert_same(jax.jit(partial(trained, mesh=mesh_of(2)))(KEY), trained(KEY))
        words = r"mesh: expected 2 devices, as has the mesh of .*\('rows',\); got 4; leave that"
        with pytest.raises(ValueError, match=words):
            jax.jit(partial(trained, mesh=mesh_of(4)))(KEY)


def test_a_fit_where_another_mesh_is_set():
    options = {"optimizer": SGD, "batch_size": 4, "epochs": 2, "patience": 2, "key": KEY}
    options |= {"validation": (X[:5], Y[:5])}
    seen = []

    def tell(_, params):
        seen.append(jax.sharding.get_abstract_mesh().axis_names)

    with jax.set_mesh(mesh_of(4, "rows", AxisType.Explicit)):
        found = ffnn.fit(
            NET, (X, Y), mesh=mesh_of(2, kind=AxisType.Explicit), on_epochs=tell, **options
        )
    expected = ffnn.fit(NET, (X, Y), **options)
    assert_same((found.params, found.state.params), (expected.params, expected.state.params))
    assert set(seen) == {("rows",)}  # the caller's own is as it was


def test_vmap_without_jit():
    keys = jax.random.split(KEY, 2)
    found = jax.vmap(partial(trained, mesh=mesh_of(2)))(keys)
    assert_same(found, jax.vmap(trained)(keys))


def test_grad_without_jit():
    def value(weights, mesh=None):
        return jnp.sum(trained(KEY, weights, mesh)[1])

    weights = jnp.linspace(0.5, 2.0, 9)
    found = jax.grad(partial(value, mesh=mesh_of(2)))(weights)
    assert_same(found, jax.grad(value)(weights))
