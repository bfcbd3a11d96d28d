"""The table of activations: g is JAX's, g′ is its derivative, the kinks are JAX's too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES

from ffnn_jax import activations

GRID = np.concatenate([np.linspace(-12, 12, 97), [-1e-3, 1e-3, -0.0]])
JAX_NAMES = {"identity": lambda a: a, "tanh": jnp.tanh}
JAX_FUNCTIONS = {g: JAX_NAMES.get(g) or getattr(jax.nn, g) for g in ACTIVATIONS}
KINKS = {"relu": 0.0, "leaky_relu": 1.0, "elu": 1.0, "selu": 1.7580993408473766}
EPS = {dtype: float(jnp.finfo(dtype).eps) for dtype in DTYPES}


def derivative_of(name):
    """g′ as a function of a, by way of what the row says to keep."""
    row = activations.ACTIVATIONS[name]
    return lambda a: row.derivative(a if row.keep == "a" else row.value(a))


def slack(name, dtype):
    """Absolute rounding; JAX's gelu loses digits in 1 + tanh u, and ours is held against it."""
    return (256 if name == "gelu" else 8) * EPS[dtype]


def on_grid(fn, dtype, grid=GRID):
    with jax.enable_x64(dtype == "float64"):
        return np.asarray(jax.jit(fn)(jnp.asarray(grid.astype(jnp.dtype(dtype)))), np.float64)


def test_the_table_is_complete():
    assert tuple(activations.ACTIVATIONS) == ACTIVATIONS
    assert set(ACTIVATIONS) > activations.RELU_FAMILY


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_is_that_of_jax(name, dtype):
    found = on_grid(activations.ACTIVATIONS[name].value, dtype)
    expected = on_grid(JAX_FUNCTIONS[name], dtype)
    np.testing.assert_allclose(found, expected, rtol=4 * EPS[dtype], atol=slack(name, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_is_that_of_the_value(name, dtype):
    rounded = GRID.astype(jnp.dtype(dtype)).astype(np.float64)
    found = on_grid(derivative_of(name), dtype)
    expected = on_grid(jax.vmap(jax.grad(JAX_FUNCTIONS[name])), "float64", rounded)
    np.testing.assert_allclose(found, expected, rtol=8 * EPS[dtype], atol=slack(name, dtype))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_against_differences(name):
    away = GRID[np.abs(GRID) > 1e-2]
    g, step = activations.ACTIVATIONS[name].value, 1e-6
    slope = (on_grid(g, "float64", away + step) - on_grid(g, "float64", away - step)) / (2 * step)
    np.testing.assert_allclose(on_grid(derivative_of(name), "float64", away), slope, atol=1e-8)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("name", KINKS)
def test_kinks(name, zero):
    found = on_grid(derivative_of(name), "float32", np.array([zero]))[0]
    assert found == pytest.approx(KINKS[name], rel=1e-6)
    assert found == pytest.approx(float(jax.grad(JAX_FUNCTIONS[name])(jnp.float32(zero))), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_finite_far_out(name, dtype):
    far = np.array([-1e30, -1e4, 1e4, 1e30])
    ends = {"identity": (1, 1), "leaky_relu": (0.01, 1), "sigmoid": (0, 0), "tanh": (0, 0)}
    left, right = ends.get(name, (0, 1.0507009873554805 if name == "selu" else 1))
    found = on_grid(derivative_of(name), dtype, far)
    np.testing.assert_allclose(found, [left, left, right, right], rtol=1e-2, atol=1e-30)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dtype_and_shape_are_kept(name):
    for dtype in ("float32", "bfloat16", "float16"):
        a = jax.ShapeDtypeStruct((2, 3), jnp.dtype(dtype))
        for fn in (activations.ACTIVATIONS[name].value, derivative_of(name)):
            out = jax.eval_shape(fn, a)
            assert (out.shape, out.dtype) == (a.shape, a.dtype)
