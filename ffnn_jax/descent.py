"""The lecture's gradient descent: the gradient of all the data, time and again.

θ_{t+1} = θ_t − η ∇θ_t
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.network import Network, Params
from ffnn_jax.recipe import Objective, check_objective, objective_value


class Descent(NamedTuple):
    """The result of `gradient_descent`.

    Attributes:
      params: θ after the last iteration.
      losses: (max_iterations,); entry t is ℒ(θ_t), before the t-th change of θ.
    """

    params: Params
    losses: jax.Array


def gradient_descent(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    learning_rate: float,
    max_iterations: int = 1000,
    weights: ArrayLike | None = None,
    dropout_key: jax.Array | None = None,
    objective: Objective = loss,
) -> Descent:
    """The lecture's algorithm: θ_{t+1} = θ_t − η ∇θ_t on all the data, max_iterations times.

    Args:
      net: the network.
      params: θ_0.
      x: (*batch, n_0).
      y: as for `loss`.
      learning_rate: η > 0.
      max_iterations: how many times θ changes, at least 1.
      weights: (*batch,), as for `loss`.
      dropout_key: a PRNG key for a network with dropout, whose masks are others in each iteration.
      objective: as for `train_step`.

    Returns:
      `Descent`: θ at the end, and every loss on the way.

    Raises:
      TypeError, ValueError: as `loss`; a learning rate that is not above 0; max_iterations < 1;
        a network with dropout without a dropout_key.
    """
    max_iterations = checks.check_positive_int("max_iterations", max_iterations)
    network.check_network(net)
    check_objective(objective, dropout=any(net.dropouts))
    network.check_dropout_key(net, dropout_key)
    if any(net.dropouts) and dropout_key is None:
        raise ValueError("dropout_key: expected a key for a network with dropout, got None")
    dtype = checks.check_params(net.sizes, params)
    checks.check_positive_float("learning_rate", learning_rate, dtype)
    params, x, y, weights = network.as_examples(net, params, x, y, weights)
    eta = jnp.asarray(learning_rate, dtype)
    keys = None if dropout_key is None else jax.random.split(dropout_key, max_iterations)
    return _descend(net, params, x, y, weights, keys, eta, max_iterations, objective)


@partial(jax.jit, static_argnames=("max_iterations", "objective"))
def _descend(net, params, x, y, weights, keys, eta, max_iterations, objective):
    def body(theta, key):
        value_of = partial(objective_value, net, objective, key, x, y, weights)
        value, grads = jax.value_and_grad(value_of)(theta)
        return jax.tree.map(lambda t, g: t - eta * g, theta, grads), value  # θ ← θ − η ∇θ

    return Descent(*jax.lax.scan(body, params, keys, length=max_iterations))
