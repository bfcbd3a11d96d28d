"""A minute of everything, for the oldest JAX that is supported."""

import jax
import jax.numpy as jnp
import optax
import pytest
import sweep_checks
from cases import ACTIVATIONS, ROUNDING, examples

import ffnn_jax as ffnn

NET = ffnn.Network((4, 6, 6, 3), activation=("relu", "tanh"), output="softmax")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients(dtype):
    point = examples(NET, dtype=dtype, batch=(8,))
    sweep_checks.check_loss_gradients(ffnn, NET, point, ROUNDING[dtype], weighted=True)
    sweep_checks.check_apply_gradients(ffnn, NET, point, ROUNDING[dtype])


def test_float64(x64):
    sweep_checks.check_every_gradient(ffnn, NET, examples(NET, dtype="float64"), 1e-12, True)


def test_meshes():
    sweep_checks.check_shard_map(ffnn, NET, examples(NET, batch=(8,)))
    sweep_checks.check_explicit_mesh(ffnn, NET, examples(NET, batch=(8,)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_check_gradients(activation):
    net = ffnn.Network((4, 6, 3), activation=activation, output="softmax")
    point = examples(net)
    rows = None if activation == "tanh" else ()
    report = ffnn.check_gradients(
        lambda p, x: ffnn.loss(net, p, x, point.y), point[:2], transforms=rows
    )
    assert report.ok, str(report)


def test_hessian():
    point = examples(NET)
    hessian = jax.hessian(
        lambda b: ffnn.loss(
            NET, (*point.params[:2], point.params[2]._replace(b=b)), point.x, point.y
        )
    )
    assert jnp.all(jnp.isfinite(hessian(point.params[2].b)))


def test_fit():
    x, y = ffnn.load_iris()
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        result = ffnn.fit(
            ffnn.Network((4, 16, 3), output="softmax"),
            (ffnn.standardize(x)[0], y),
            key=jax.random.key(0),
            optimizer=optax.adam(0.02),
            batch_size=32,
            epochs=20,
            validation=(ffnn.standardize(x)[0], y),
        )
    assert result.history.validation_accuracy[-1] > 0.9
