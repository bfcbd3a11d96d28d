"""What keeps weights small: penalties added to the loss, and a bound on each unit's weights.

  ℒ + λ₁ Σ_k Σ_ij |W_kij| + λ₂ Σ_k Σ_ij W_kij²,     ∇W_k = sweep + λ₁ sign(W_k) + 2 λ₂ W_k
  ‖W_k[i, :]‖₂ ≤ c                                   after each step, by projection

Biases are left out of both: they move a unit's threshold and make no function steeper.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ffnn_jax import checks
from ffnn_jax.backprop import loss
from ffnn_jax.network import Layer, Network, Params, at_least_float32
from ffnn_jax.recipe import Objective, check_objective


@dataclasses.dataclass(frozen=True)
class Penalized:
    """An objective with penalties, from `penalized`; equal where its three fields are equal.

    Attributes:
      objective: what they are added to.
      l1: λ₁.
      l2: λ₂.
    """

    objective: Objective
    l1: float
    l2: float

    def __call__(
        self, net: Network, params: Params, x: Any, y: Any, *, weights: Any = None, **options: Any
    ) -> jax.Array:
        """The objective's value with the penalties added; options go to the objective."""
        value = self.objective(net, params, x, y, weights=weights, **options)
        wide = at_least_float32(value.dtype)
        total = value.astype(wide)
        if self.l1:
            total += self.l1 * sum(_sum_of_sizes(layer.W.astype(wide)) for layer in params)
        if self.l2:
            total += self.l2 * sum(jnp.sum(layer.W.astype(wide) ** 2) for layer in params)
        return total.astype(value.dtype)


def penalized(objective: Objective = loss, *, l1: float = 0.0, l2: float = 0.0) -> Penalized:
    """An objective for `fit`, `train_step` and the rest: ℒ + λ₁ Σ |W| + λ₂ Σ W².

    λ₂ draws every weight towards 0 in proportion to its size (ridge, "weight decay" where the
    optimizer is plain gradient descent), λ₁ each by the same amount (lasso). There is no ½ in
    either, and no division by the number of examples or of weights. Validation in `fit` stays
    without them. For decay that is not part of the gradient there is `optax.adamw`.

    Args:
      objective: a function with the arguments of `loss`.
      l1: λ₁ ≥ 0; its derivative at a weight of 0 is 0.
      l2: λ₂ ≥ 0.

    Returns:
      The objective; two with equal arguments are equal, so nothing is compiled again.

    Raises:
      TypeError: an objective of another kind, λ₁ or λ₂ no number.
      ValueError: λ₁ or λ₂ below 0 or not finite.

    Example:
      >>> import jax, optax
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.penalties import penalized
      >>> net = ffnn.Network((4, 16, 3), output="softmax")
      >>> result = ffnn.fit(net, ffnn.load_iris(), key=jax.random.key(0), batch_size=50, epochs=2,
      ...                   optimizer=optax.adam(0.01), objective=penalized(l2=1e-3))
      >>> len(result.history.loss)
      2
    """
    check_objective(objective)
    checks.check_not_negative_float("l1", l1)
    checks.check_not_negative_float("l2", l2)
    return Penalized(objective, float(l1), float(l2))


def max_norm(limit: float) -> optax.GradientTransformation:
    """Holds the weights that come into each unit to ‖W_k[i, :]‖₂ ≤ c: the last of a chain.

    The update u becomes P(W + u) − W, where P scales each row that is too long down to c. After
    `optax.apply_updates` the bound holds up to the rounding of u beside W, in the dtype of W.
    Srebro and Shraibman 2005, "Rank, trace-norm and max-norm"; with dropout, Hinton et al. 2012.

    Args:
      limit: c > 0; 3 or 4 are usual.

    Returns:
      An optax transformation for parameters of a network: `optax.chain(optax.adam(1e-3),
      max_norm(3.0))`. Like every optimizer object, a new one is a new compilation.

    Raises:
      TypeError: limit is no number.
      ValueError: limit is not above 0 or not finite; at its update, no parameters.
      TypeError: at its update, parameters that are no layers.
    """
    checks.check_positive_float("limit", limit)
    c = float(limit)

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("params: expected the parameters, as update(updates, state, params)")

        if not all(map(_is_layer, jax.tree.leaves(params, is_leaf=_is_layer))):
            raise TypeError("params: expected a tuple of Layer, the parameters of a network")

        def held(step: Layer, layer: Layer) -> Layer:
            return Layer(_onto_rows_within(layer.W + step.W, c) - layer.W, step.b)

        return jax.tree.map(held, updates, params, is_leaf=_is_layer), state

    return optax.GradientTransformation(init, update)


def _onto_rows_within(W: jax.Array, c: float) -> jax.Array:
    """W[i, :] · min(1, c / ‖W[i, :]‖), the norm in float32 at least."""
    wide = W.astype(at_least_float32(W.dtype))
    largest = jnp.maximum(jnp.max(jnp.abs(wide), axis=-1, keepdims=True), c)  # no square overflows
    length = largest * jnp.sqrt(jnp.sum((wide / largest) ** 2, axis=-1, keepdims=True))
    return (wide * (c / jnp.maximum(length, c))).astype(W.dtype)


def _sum_of_sizes(W: jax.Array) -> jax.Array:
    """Σ |W| as Σ max(W, −W): JAX's derivative of `abs` at 0 would be 1."""
    return jnp.sum(jnp.maximum(W, -W))


def _is_layer(tree: Any) -> bool:
    return isinstance(tree, Layer)
