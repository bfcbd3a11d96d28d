"""narrow_forward and narrow_mlp, interpreted, against XLA and a truth in float64."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from cases import ACTIVATIONS, relative_error

import ffnn_jax as ffnn

NETWORKS = [  # widths that fill a block and that do not, one to eight hidden layers
    *(((5, 17, 4), g) for g in ACTIVATIONS),
    ((16, 32, 16), "tanh"),
    ((1, 1, 1), "softplus"),
    ((3, 64, 70, 2), ("relu", "silu")),
    ((70, 100, 128, 66), ("gelu", "elu")),
    ((128, 90, 128), "sigmoid"),
    ((4, 20, 9, 33, 16, 5, 8, 40, 3, 10), ACTIVATIONS[2:]),
]
BATCHES = [(), (1,), (3, 7), (64,), (131,)]


def network(sizes, activation, implementation="pallas", **options):
    plan = ffnn.Plan(implementation=implementation, **options)
    return ffnn.Network(sizes, activation, "softmax", plan=plan)


def by_xla(net, **options):
    options = {"implementation": "xla", "compute_dtype": net.plan.compute_dtype, **options}
    return dataclasses.replace(net, plan=ffnn.Plan(**options))


@functools.partial(jax.jit, static_argnums=0)
def everything(net, params, x, y):
    """ℒ without a gradient and with; every ∇; and ∇θ, ∇x as JAX takes them."""
    gradient = jax.value_and_grad(ffnn.loss, (1, 2))
    return (
        ffnn.loss(net, params, x, y),
        ffnn.gradients(net, params, x, y),
        gradient(net, params, x, y),
    )


def wide(tree):
    """The same numbers in float64; what is no number of that kind stays."""
    return jax.tree.map(
        lambda t: np.asarray(t, np.float64) if jnp.issubdtype(t.dtype, jnp.floating) else t,
        tree,
    )


def truth(net, point):
    with jax.enable_x64(True):
        return jax.tree.map(
            np.asarray, everything(by_xla(net, compute_dtype=None), *wide(point[:3]))
        )


def errors(net, point, expected):
    found = everything(net, *point[:3])
    return jax.tree.map(relative_error, found, expected)
