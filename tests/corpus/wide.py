"""Right rules for whole networks: deep, wide, of one layer, of one example."""

import jax.numpy as jnp

from corpus.base import Operation
from corpus.networks import four, network, plus, rectified, sweep, three, two


def wide(width, name, batch):
    operation = network(name, 3, width, batch)
    args = lambda draw: scaled_down(operation.args(draw), (width / 8) ** -0.5)  # noqa: E731
    return Operation("networks", f"width {width}, {name}, batch {batch}", operation.value, args)


def scaled_down(args, factor):
    params, x, y = args
    return [(W * jnp.asarray(factor, W.dtype), b) for W, b in params], x, y


CASES = tuple(
    op.right("by hand", lambda d, params, x, y, name=name: sweep(name, d, params, x, y), dtypes)
    for op, name, dtypes in (
        (four, "tanh", None),
        (three, "tanh", None),
        (two, "sigmoid", None),
        (plus, "softplus", None),
        (rectified, "relu", None),
        (network("relu", 8), "relu", None),
        (network("tanh", 1), "tanh", None),
        (network("relu", 2, 4, 1), "relu", None),
        (wide(64, "relu", 16), "relu", ("float32", "bfloat16")),
        (wide(128, "relu", 32), "relu", ("float32", "float16")),
        (wide(256, "relu", 8), "relu", ("float32", "float64")),
        (wide(512, "relu", 4), "relu", ("float32",)),
        (wide(256, "tanh", 16), "tanh", ("float32",)),
    )
)
