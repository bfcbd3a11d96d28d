"""The programs that are timed: several steps in one loop, as in an epoch, and nothing left out.

Each step needs what the one before it computed, whole, so that none can be saved, moved out of the
loop, or done at the same time as another.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ffnn_jax as ffnn

RATE = 1e-4
PRECISION = {"float32": "highest", "tf32": "default", "bfloat16": "default"}
Loss = Callable[..., jax.Array]


def dtype_of(arithmetic: str) -> str:
    return "bfloat16" if arithmetic == "bfloat16" else "float32"


def planned(sizes: tuple[int, ...], implementation: str | None) -> ffnn.Network:
    """relu, softmax and cross-entropy."""
    plan = ffnn.Plan(implementation=implementation)
    return ffnn.Network(sizes, activation="relu", output="softmax", plan=plan)


def examples(
    sizes: tuple[int, ...], rows: int, arithmetic: str
) -> tuple[Any, jax.Array, jax.Array]:
    """Parameters, x (rows, n_0) and classes."""
    draw_params, draw_x, draw_y = jax.random.split(jax.random.key(0), 3)
    dtype = jnp.dtype(dtype_of(arithmetic))
    params = ffnn.init(ffnn.Network(sizes), draw_params, dtype=dtype)
    x = jax.random.normal(draw_x, (rows, sizes[0]), dtype)
    return params, x, jax.random.randint(draw_y, (rows,), 0, sizes[-1], np.int32)


def steps_of_training(net: ffnn.Network, loss: Loss, steps: int) -> Callable[..., Any]:
    """θ ← θ − η ∇ℒ(θ), so many times, with all rows each time; the losses too."""

    def run(params: Any, x: jax.Array, y: jax.Array) -> Any:
        def body(_: Any, carry: Any) -> Any:
            value, grads = jax.value_and_grad(loss, argnums=1)(net, carry[0], x, y)
            return jax.tree.map(lambda t, g: t - (RATE * g).astype(t.dtype), carry[0], grads), value

        return jax.lax.fori_loop(0, steps, body, (params, jnp.zeros((), x.dtype)))

    return run


def forward_passes(net: ffnn.Network, steps: int) -> Callable[..., Any]:
    """ŷ of all rows, so many times, b_1 a little different each time."""

    def run(params: Any, x: jax.Array) -> Any:
        def body(_: Any, carry: Any) -> Any:
            (first, *others), yhat = carry
            moved = first._replace(b=first.b + (1e-30 * yhat[0, 0]).astype(x.dtype))
            params = (moved, *others)
            return params, ffnn.apply(net, params, x)

        yhat = jnp.zeros((len(x), net.sizes[-1]), x.dtype)
        return jax.lax.fori_loop(0, steps, body, (params, yhat))

    return run
