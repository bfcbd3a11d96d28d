"""The network: its record, its starting parameters, and the forward pass in the notation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import NETWORKS, assert_close, examples, name_of

import ffnn_jax as ffnn


def test_network_is_frozen_hashable_and_static():
    net = ffnn.Network([3, 4, 2], activation=["tanh"], output="softmax")
    assert net == ffnn.Network((3, 4, 2), activation=("tanh",), output="softmax")
    assert len({net, ffnn.Network((3, 4, 2), ("tanh",), "softmax", "cross_entropy")}) == 1
    assert jax.tree.leaves(net) == []
    with pytest.raises(AttributeError):
        net.sizes = (1, 2)


def test_a_loss_left_out_is_that_of_the_output():
    for output, loss in [
        ("linear", "squared_error"),
        ("softmax", "cross_entropy"),
        ("logistic", "binary_cross_entropy"),
    ]:
        assert ffnn.Network((2, 2), output=output).loss == loss


def test_sizes_may_be_numpy_integers():
    net = ffnn.Network(tuple(np.array([3, 4, 2])))
    assert net.sizes == (3, 4, 2)
    assert all(type(n) is int for n in net.sizes)


@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_forward_is_the_lecture(net):
    """a_k = W_k h_{k−1} + b_k, h_k = g(a_k), ŷ = O(a_L), example by example in NumPy."""
    point = examples(net, batch=(2,))
    tape = jax.jit(ffnn.forward)(net, point.params, point.x)
    assert [a.shape for a in tape.a] == [(2, n) for n in net.sizes[1:]]
    assert [h.shape for h in tape.h] == [(2, n) for n in net.sizes[:-1]]
    for i in range(2):
        h = np.asarray(point.x[i], np.float64)
        np.testing.assert_array_equal(tape.h[0][i], point.x[i])
        for k, layer in enumerate(point.params, start=1):
            W, b = np.asarray(layer.W, np.float64), np.asarray(layer.b, np.float64)
            np.testing.assert_allclose(tape.a[k - 1][i], W @ h + b, rtol=1e-4, atol=1e-5)
            h = np.asarray(tape.h[k][i], np.float64) if k < net.depth else h
    for apply in (ffnn.apply, ffnn.apply_autodiff):
        np.testing.assert_allclose(
            jax.jit(apply)(net, point.params, point.x), tape.yhat, rtol=1e-5, atol=1e-6
        )


def test_any_leading_batch_shape():
    net = NETWORKS[1]
    point = examples(net, batch=(2, 3))
    flat = ffnn.apply(net, point.params, point.x.reshape(6, -1))
    assert ffnn.apply(net, point.params, point.x).shape == (2, 3, 4)
    np.testing.assert_allclose(
        ffnn.apply(net, point.params, point.x).reshape(6, -1), flat, rtol=1e-6
    )
    np.testing.assert_allclose(ffnn.apply(net, point.params, point.x[0, 0]), flat[0], rtol=1e-6)


def test_affine_output_is_a_linear_layer_after_an_identity_one():
    net = ffnn.Network((3, 4, 2, 2), activation=("tanh", "identity"))
    point = examples(net)
    tape = ffnn.forward(net, point.params, point.x)
    W_O, b_O = point.params[-1]
    expected = np.asarray(tape.a[1]) @ np.asarray(W_O).T + np.asarray(b_O)
    np.testing.assert_allclose(tape.yhat, expected, rtol=1e-5)


def test_x_is_cast_to_the_dtype_of_the_parameters():
    net = NETWORKS[0]
    point = examples(net, dtype="bfloat16")
    assert ffnn.apply(net, point.params, np.ones((2, 5))).dtype == jnp.bfloat16
    grad = jax.grad(lambda x: ffnn.apply(net, point.params, x).astype(jnp.float32).sum())
    assert grad(jnp.ones((2, 5), jnp.float32)).dtype == jnp.float32


def test_numpy_parameters_of_float64_are_float32_without_64_bit_types():
    params = (ffnn.Layer(np.ones((2, 3)), np.zeros(2)),)
    assert ffnn.apply(ffnn.Network((3, 2)), params, np.ones((4, 3))).dtype == jnp.float32


# init --------------------------------------------------------------------------------------------


def test_init_is_seeded():
    net = ffnn.Network((5, 6, 3))
    one, same, other = (ffnn.init(net, jax.random.key(seed)) for seed in (0, 0, 1))
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(same)))
    assert not np.array_equal(one[0].W, other[0].W)
    assert not np.array_equal(one[0].W[:3, :3], one[1].W[:3, :3])
    old = ffnn.init(net, jax.random.PRNGKey(0))
    assert np.array_equal(old[0].W, one[0].W)


def test_he_for_the_relu_family_and_glorot_for_the_rest():
    for g, variance in [
        ("relu", 2 / 400),
        ("gelu", 2 / 400),
        ("tanh", 2 / 700),
        ("softplus", 2 / 700),
    ]:
        params = ffnn.init(ffnn.Network((400, 300, 500), g), jax.random.key(0))
        assert np.var(params[0].W) == pytest.approx(variance, rel=0.02)
        assert np.var(params[1].W) == pytest.approx(2 / 800, rel=0.02)  # the output: Glorot
        assert not np.any(params[0].b)
        assert not np.any(params[1].b)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("he_normal", 2 / 400),
        ("he_uniform", 2 / 400),
        ("glorot_normal", 2 / 700),
        ("glorot_uniform", 2 / 700),
        ("lecun_normal", 1 / 400),
        ("lecun_uniform", 1 / 400),
        ("orthogonal", 1 / 400),
    ],
)
def test_initializers_by_name(name, variance):
    params = ffnn.init(ffnn.Network((400, 300, 2), "tanh"), jax.random.key(1), initializer=name)
    assert params[0].W.shape == (300, 400)
    assert np.var(params[0].W) == pytest.approx(variance, rel=0.03)
    if name.endswith("uniform"):
        assert np.max(np.abs(params[0].W)) <= (3 * variance) ** 0.5
    if name == "orthogonal":
        np.testing.assert_allclose(params[0].W @ params[0].W.T, np.eye(300), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_dtypes_are_rounded_float32(dtype):
    net = ffnn.Network((5, 6, 3))
    short = ffnn.init(net, jax.random.key(0), dtype=dtype, initializer="orthogonal")
    full = ffnn.init(net, jax.random.key(0), initializer="orthogonal")
    assert short[0].W.dtype == dtype
    np.testing.assert_array_equal(short[0].W, full[0].W.astype(dtype))


def test_float64(x64):
    assert (
        ffnn.init(ffnn.Network((2, 2)), jax.random.key(0), dtype="float64")[0].W.dtype == "float64"
    )


def test_init_under_vmap_is_many_networks():
    net = ffnn.Network((3, 4, 2))
    many = jax.vmap(lambda key: ffnn.init(net, key))(jax.random.split(jax.random.key(0), 5))
    assert many[0].W.shape == (5, 4, 3)
    yhat = jax.vmap(ffnn.apply, (None, 0, None))(net, many, jnp.ones((7, 3)))
    assert yhat.shape == (5, 7, 2)


def test_works_with_plain_optax():
    net = ffnn.Network((3, 8, 2), output="softmax")
    point = examples(net)
    optimizer = optax.adam(0.1)
    params, opt_state = point.params, optimizer.init(point.params)
    step = jax.jit(jax.value_and_grad(ffnn.loss, argnums=1))
    first, _ = step(net, params, point.x, point.y)
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        for _ in range(20):
            value, grads = step(net, params, point.x, point.y)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
    assert value < first


def test_params_may_be_of_any_class_with_w_and_b():
    """Their gradient is of that class: the fields are taken by name."""

    class Turned(NamedTuple):
        b: jax.Array
        W: jax.Array
        name: None = None

    net = ffnn.Network((3, 4, 2), output="softmax")
    params, x, y, _ = examples(net)
    turned = [Turned(layer.b, layer.W) for layer in params]
    found = jax.grad(ffnn.loss, 1)(net, turned, x, y)
    expected = jax.grad(ffnn.loss, 1)(net, params, x, y)
    assert isinstance(found[0], Turned)
    assert_close([ffnn.Layer(t.W, t.b) for t in found], list(expected), 1e-6)
