"""One array a layer: the compiled temporary memory of value and gradient."""

import jax
import jax.numpy as jnp
import pytest
from cases import ACTIVATIONS

import ffnn_jax as ffnn

LAYERS, WIDTH, BATCH = 32, 256, 4096
ONE_ARRAY_A_LAYER = LAYERS * WIDTH * BATCH * 4


def temporary_bytes(fn, activation):
    net = ffnn.Network((WIDTH,) * (LAYERS + 1), activation=activation, output="softmax")
    layer = ffnn.Layer(
        jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32),
        jax.ShapeDtypeStruct((WIDTH,), jnp.float32),
    )
    x = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32)
    y = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    lowered = jax.jit(fn).lower(net, (layer,) * LAYERS, x, y)
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_array_a_layer(activation):
    used = temporary_bytes(jax.value_and_grad(ffnn.loss, argnums=1), activation)
    assert used <= 1.15 * ONE_ARRAY_A_LAYER


def test_gradients_of_the_parameters_alone_cost_the_same():
    def parameters(net, params, x, y):
        value, grads = ffnn.gradients(net, params, x, y)
        return value, grads.params

    assert temporary_bytes(parameters, "relu") <= 1.15 * ONE_ARRAY_A_LAYER


def test_autodiff_keeps_more():
    """The measurement can tell: autodiff of relu keeps two arrays a layer."""
    used = temporary_bytes(jax.value_and_grad(ffnn.loss_autodiff, argnums=1), "relu")
    assert used > 1.5 * ONE_ARRAY_A_LAYER


def hidden_arrays(sizes, batch, **plan):
    """The temporary memory of the gradient by hand ÷ that of one array a hidden layer."""
    net = ffnn.Network(sizes, output="softmax", plan=ffnn.Plan(**plan))
    params = jax.eval_shape(ffnn.init, net, jax.random.key(0))
    x = jax.ShapeDtypeStruct((batch, sizes[0]), jnp.float32)
    y = jax.ShapeDtypeStruct((batch,), jnp.int32)
    lowered = jax.jit(jax.grad(ffnn.loss, argnums=1)).lower(net, params, x, y)
    used = lowered.compile().memory_analysis().temp_size_in_bytes
    return used / (sum(sizes[1:-1]) * batch * 4)


def test_both_arrays_of_a_layer_are_kept_where_they_are_small():
    """h of 16 layers is here twice the weights, and then four times."""
    sizes = (64,) * 17 + (10,)
    assert hidden_arrays(sizes, 128) > 1.5
    assert hidden_arrays(sizes, 256) < 1.5
    assert hidden_arrays(sizes, 128, keep_every=4) < 0.75
