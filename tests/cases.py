"""The table of networks that the module tests share, and data for them."""

import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

import ffnn_jax as ffnn

ACTIVATIONS = (
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "softplus",
    "gelu",
    "silu",
)
OUTPUTS = ("linear", "softmax", "logistic")
LOSSES = ("squared_error", "cross_entropy", "binary_cross_entropy")
DTYPES = ("float64", "float32", "bfloat16", "float16")

# The worst relative error of a leaf against autodiff that is still rounding.
ROUNDING = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 1e-1, "float16": 3e-2}

# Every activation, every output with every loss, no hidden layer, one unit wide, and mixed.
NETWORKS = [
    *(ffnn.Network((5, 7, 4), activation=g, output="softmax") for g in ACTIVATIONS),
    *(
        ffnn.Network((5, 6, 3), activation="tanh", output=output, loss=loss)
        for output, loss in itertools.product(OUTPUTS, LOSSES)
    ),
    ffnn.Network((5, 3), output="softmax"),
    ffnn.Network((5, 1), output="logistic"),
    ffnn.Network((1, 1, 1, 1), activation="sigmoid", output="linear"),
    ffnn.Network((3, 8, 2, 9, 4, 3), activation=("relu", "gelu", "elu", "tanh"), output="softmax"),
    ffnn.Network((4, 6, 6, 6, 6, 6, 6, 2), activation="silu", output="linear"),
]
BATCHES = ((), (1,), (6,), (2, 3))


def name_of(net):
    """A short name for a network, for the ids of parametrised tests."""
    g = net.activation if isinstance(net.activation, str) else "+".join(net.activation)
    return f"{'-'.join(map(str, net.sizes))}-{g}-{net.output}-{net.loss}"


class Examples(NamedTuple):
    """A point at which to differentiate."""

    params: tuple
    x: jax.Array
    y: jax.Array
    weights: jax.Array


def examples(net, *, seed=0, dtype="float32", batch=(6,), classes=False):
    """Parameters (b not zero), x, y in (0, 1) with rows that sum to 1 or classes, and weights.

    Drawn by NumPy: drawing by JAX would compile each operation for each shape.
    """
    draw = np.random.default_rng(seed)
    dtype = jnp.dtype(dtype)

    def normal(*shape, scale=1.0):
        return jnp.asarray((scale * draw.standard_normal(shape)).astype(dtype))

    params = tuple(
        ffnn.Layer(normal(n, m, scale=m**-0.5), normal(n, scale=0.3))
        for m, n in itertools.pairwise(net.sizes)
    )
    if net.output == "linear" and net.loss in ("cross_entropy", "binary_cross_entropy"):
        last = ffnn.Layer(0.01 * np.asarray(params[-1].W, np.float64), np.full(net.sizes[-1], 0.4))
        last = jax.tree.map(lambda t: jnp.asarray(t.astype(dtype)), last)
        params = (*params[:-1], last)  # ŷ lies in (0, 1)
    x = normal(*batch, net.sizes[0])
    if classes:
        y = jnp.asarray(draw.integers(0, net.sizes[-1], batch), jnp.int32)
    else:
        y = draw.dirichlet(np.ones(net.sizes[-1]), batch) * 0.8 + 0.2 / net.sizes[-1]
        y = jnp.asarray(y.astype(dtype))
    return Examples(params, x, y, jnp.asarray(draw.uniform(0.2, 2.0, batch).astype(dtype)))


def relative_error(found, expected):
    """‖found − expected‖ / ‖expected‖ of one leaf, in float64 arithmetic."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    size = np.linalg.norm(expected)
    return float(np.linalg.norm(found - expected) / (size if size > 0 else 1.0))


def assert_close(found, expected, tolerance):
    """Every leaf within the tolerance, relative to the leaf's norm; the structures are equal."""
    chex.assert_trees_all_equal_structs(found, expected)
    chex.assert_tree_all_finite(expected)
    paths = jax.tree_util.tree_flatten_with_path(expected)[0]
    for (path, right), leaf in zip(paths, jax.tree.leaves(found), strict=True):
        assert leaf.dtype == right.dtype, jax.tree_util.keystr(path)
        error = relative_error(leaf, right)
        assert error <= tolerance, f"{jax.tree_util.keystr(path)}: {error:.2e} > {tolerance:.0e}"
