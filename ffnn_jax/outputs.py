"""The table of outputs ŷ = O(a_L), and ∇a_L of each output with each loss.

Three outputs, each with any row of `losses` or a loss of the user's own. The gradient of one
example's loss reaches a_L in one of two ways:

  in general                    ∇a_L = J_Oᵀ ∇ŷ
  softmax  + cross-entropy      ∇a_L = ŷ − y, with the smoothed y if that is the loss
  logistic + binary c.-e.       ∇a_L = ŷ − y
  (and three more rows of PAIRS)

The second way never forms 1/ŷ, so it stays finite for logits of ±1e30 and probabilities of 0.
Every function here is per example: the mean over the batch is taken in `backprop`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax.losses import (
    SMOOTHED,
    Bound,
    Loss,
    as_numbers,
    is_class,
    is_inside,
    one_hot,
    parts_of,
    smoothed,
)


class Output(NamedTuple):
    """One output function.

    Attributes:
      value: O: a_L -> ŷ, both (*batch, n_L).
      pullback: (ŷ, ∇ŷ) -> J_Oᵀ ∇ŷ, all (*batch, n_L).
    """

    value: Callable[[jax.Array], jax.Array]
    pullback: Callable[[jax.Array, jax.Array], jax.Array]


class Pair(NamedTuple):
    """The loss of one output and one loss together, as a function of a_L.

    Of a loss with a parameter both functions take that as well.

    Attributes:
      value: (a_L, y) -> ℓ, (*batch,).
      gradient: (a_L, y) -> ∇a_L, (*batch, n_L).
    """

    value: Callable[..., jax.Array]
    gradient: Callable[..., jax.Array]


# Outputs -----------------------------------------------------------------------------------------


def _linear(a: jax.Array) -> jax.Array:
    """ŷ = a."""
    return a


def _linear_pullback(yhat: jax.Array, grad_yhat: jax.Array) -> jax.Array:
    """J_O = I."""
    del yhat
    return grad_yhat


def _softmax(a: jax.Array) -> jax.Array:
    """ŷ_j = e^{a_j} / Σ_i e^{a_i}."""
    return jax.nn.softmax(a, axis=-1)


def _softmax_pullback(yhat: jax.Array, grad_yhat: jax.Array) -> jax.Array:
    """J_O = diag(ŷ) − ŷŷᵀ, so J_Oᵀ∇ŷ = ŷ ⊙ (∇ŷ − ⟨ŷ, ∇ŷ⟩)."""
    return yhat * (grad_yhat - jnp.sum(yhat * grad_yhat, axis=-1, keepdims=True))


def _logistic_pullback(yhat: jax.Array, grad_yhat: jax.Array) -> jax.Array:
    """J_O = diag(ŷ (1 − ŷ))."""
    return yhat * (1 - yhat) * grad_yhat


OUTPUTS: dict[str, Output] = {
    "linear": Output(_linear, _linear_pullback),
    "softmax": Output(_softmax, _softmax_pullback),
    "logistic": Output(jax.nn.sigmoid, _logistic_pullback),
}


OWN_LOSS = {
    "linear": "squared_error",
    "softmax": "cross_entropy",
    "logistic": "binary_cross_entropy",
}


# Pairs as functions of a_L -----------------------------------------------------------------------


def _expected(y: jax.Array, t: jax.Array) -> jax.Array:
    """Σ_c y_c t_c, (*batch,); t_ℓ for a class ℓ."""
    if is_class(y):
        return jnp.sum(jnp.where(one_hot(y, t), t, 0), axis=-1)
    return jnp.sum(y * t, axis=-1)


def _softmax_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_c y_c log ŷ_c with log ŷ = a − log Σ_i e^{a_i}."""
    return -_expected(y, jax.nn.log_softmax(a, axis=-1))


def _softmax_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_L = ŷ Σ_c y_c − y, which is ŷ − y for a class or a distribution, and 0 for no class."""
    yhat = _softmax(a)
    if is_class(y):
        return jnp.where(is_inside(y, a), yhat, 0) - as_numbers(y, yhat)
    return yhat * jnp.sum(y, axis=-1, keepdims=True) - y


def _softmax_smoothed(a: jax.Array, y: jax.Array, smoothing: float) -> jax.Array:
    """ℓ = −Σ_c s_c log ŷ_c."""
    return _softmax_cross_entropy(a, smoothed(y, a, smoothing))


def _softmax_smoothed_gradient(a: jax.Array, y: jax.Array, smoothing: float) -> jax.Array:
    """∇a_L = ŷ Σ_c s_c − s; the sum is 1 for a class or a distribution, and 0 for no class."""
    yhat, s = _softmax(a), smoothed(y, a, smoothing)
    if is_class(y):
        return jnp.where(is_inside(y, a), yhat, 0) - s
    return yhat * jnp.sum(s, axis=-1, keepdims=True) - s


def _logistic_binary_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = Σ_j y_j log(1 + e^{−a_j}) + (1 − y_j) log(1 + e^{a_j})."""
    y = as_numbers(y, a)
    return jnp.sum(y * jax.nn.softplus(-a) + (1 - y) * jax.nn.softplus(a), axis=-1)


def _logistic_binary_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_L = ŷ − y, as (1 − y) ŷ − y (1 − ŷ): no cancellation where ŷ is almost y."""
    y = as_numbers(y, a)
    return (1 - y) * jax.nn.sigmoid(a) - y * jax.nn.sigmoid(-a)


def _logistic_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_c y_c log ŷ_c = Σ_c y_c log(1 + e^{−a_c})."""
    return _expected(y, jax.nn.softplus(-a))


def _logistic_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_L = −y (1 − ŷ)."""
    return -as_numbers(y, a) * jax.nn.sigmoid(-a)


def _logistic_smoothed(a: jax.Array, y: jax.Array, smoothing: float) -> jax.Array:
    """ℓ = −Σ_c s_c log ŷ_c."""
    return _logistic_cross_entropy(a, smoothed(y, a, smoothing))


def _logistic_smoothed_gradient(a: jax.Array, y: jax.Array, smoothing: float) -> jax.Array:
    """∇a_L = −s (1 − ŷ)."""
    return _logistic_cross_entropy_gradient(a, smoothed(y, a, smoothing))


def _is_largest(a: jax.Array) -> jax.Array:
    """1(j = argmax a), booleans, (*batch, n_L)."""
    return one_hot(jnp.argmax(a, axis=-1), a)


def _log_complement(a: jax.Array) -> jax.Array:
    """log(1 − ŷ_j) for softmax: 1 − ŷ_j ≥ ½ but for the largest, where the others are summed."""
    log_yhat = jax.nn.log_softmax(a, axis=-1)
    largest = _is_largest(a)
    others = jax.nn.logsumexp(log_yhat, axis=-1, keepdims=True, where=~largest)
    return jnp.where(largest, others, jnp.log1p(-jnp.where(largest, 0, jnp.exp(log_yhat))))


def _softmax_of_others(a: jax.Array, largest: jax.Array) -> jax.Array:
    """ŷ_j / (1 − ŷ_ℓ) = e^{a_j} / Σ_{i≠ℓ} e^{a_i} for j ≠ ℓ, the largest; 0 for ℓ itself."""
    second = jnp.max(jnp.where(largest, -jnp.inf, a), axis=-1, keepdims=True)
    others = jnp.exp(jnp.where(largest, -jnp.inf, a - jnp.where(largest, a, second)))
    return others / jnp.maximum(jnp.sum(others, axis=-1, keepdims=True), 1)


def _softmax_binary_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_j (y_j log ŷ_j + (1 − y_j) log(1 − ŷ_j))."""
    y = as_numbers(y, a)
    log_complement = _log_complement(a)
    nothing = (y == 1) & jnp.isinf(log_complement)  # 0 log 0 = 0
    no = (1 - y) * jnp.where(nothing, 0, log_complement)
    return -jnp.sum(y * jax.nn.log_softmax(a, axis=-1) + no, axis=-1)


def _softmax_binary_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_j = ŷ_j (1 + Σ_{i≠j} t_i) − y_j,  t_i = (y_i − ŷ_i) / (1 − ŷ_i).

    From ∂ log(1 − ŷ_i)/∂a_j = 1(i≠j) ŷ_j / (1 − ŷ_i) − ŷ_j. For the largest ŷ_i, whose 1 − ŷ_i may
    round to 0, ŷ_j t_i = ŷ_j − (1 − y_i) r_j, the ratio r_j = ŷ_j / (1 − ŷ_i) being the softmax of
    the others alone.
    """
    y = as_numbers(y, a)
    yhat = _softmax(a)
    largest = _is_largest(a)

    def of_largest(t: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(largest, t, 0), axis=-1, keepdims=True)

    t = jnp.where(largest, 0, (y - yhat) / (1 - jnp.where(largest, 0, yhat)))
    from_smaller = yhat * (1 + jnp.sum(t, axis=-1, keepdims=True) - t)
    from_largest = jnp.where(
        largest, 0, yhat - (1 - of_largest(y)) * _softmax_of_others(a, largest)
    )
    return from_smaller + from_largest - y


PAIRS: dict[tuple[str, str], Pair] = {
    ("softmax", "cross_entropy"): Pair(_softmax_cross_entropy, _softmax_cross_entropy_gradient),
    ("logistic", "binary_cross_entropy"): Pair(
        _logistic_binary_cross_entropy, _logistic_binary_cross_entropy_gradient
    ),
    ("logistic", "cross_entropy"): Pair(_logistic_cross_entropy, _logistic_cross_entropy_gradient),
    ("softmax", SMOOTHED): Pair(_softmax_smoothed, _softmax_smoothed_gradient),
    ("logistic", SMOOTHED): Pair(_logistic_smoothed, _logistic_smoothed_gradient),
    ("softmax", "binary_cross_entropy"): Pair(
        _softmax_binary_cross_entropy, _softmax_binary_cross_entropy_gradient
    ),
}


# What the sweep calls ----------------------------------------------------------------------------


def _pair(output: str, loss: Loss) -> Pair | None:
    """The closed form of a pair, where the loss is the library's own and there is one."""
    name, parameter = parts_of(loss) or (None, None)
    pair = PAIRS.get((output, name or ""))
    if pair is None or parameter is None:
        return pair
    return Pair(Bound(pair.value, parameter), Bound(pair.gradient, parameter))


def example_losses(output: str, loss: Loss, a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ_i of each example from a_L (*batch, n_L); the result is (*batch,)."""
    pair = _pair(output, loss)
    if pair:
        return pair.value(a, y)
    losses = _call(loss, loss.value, OUTPUTS[output].value(a), y)
    return _result_of(loss, "one loss for each example", losses, a.shape[:-1], a.dtype)


def grad_yhat(loss: Loss, yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ_i/∂ŷ_i of each example, (*batch, n_L)."""
    if loss.gradient is not None:
        gradient = _call(loss, loss.gradient, yhat, y)
        return _result_of(loss, "a gradient for each output", gradient, yhat.shape, yhat.dtype)
    losses, pullback = jax.vjp(lambda yhat: _call(loss, loss.value, yhat, y), yhat)
    return pullback(jnp.ones_like(losses))[0]


def _call(loss: Loss, function: Callable[..., jax.Array], yhat: jax.Array, y: Any) -> jax.Array:
    """function(ŷ, y), with no silent (N, 1) − (N,) = (N, N), whose sums look like losses."""
    batch = yhat.shape[:-1]
    if yhat.shape[-1] > 1 or not any(t.shape == batch for t in jax.tree.leaves(y)):
        return function(yhat, y)
    try:
        with jax.numpy_rank_promotion("raise"):
            return function(yhat, y)
    except ValueError as error:
        if "rank_promotion" not in str(error):
            raise
        raise ValueError(
            f"Loss {loss.name!r}: ŷ is {yhat.shape} and y is {batch}, which broadcast to every "
            f"pair of examples; take yhat[..., 0], or pass y as {yhat.shape}"
        ) from error


def _result_of(loss: Loss, what: str, result: jax.Array, shape: tuple, dtype) -> jax.Array:
    """What a user's function returned, in the dtype of the network, its shape being right."""
    if jnp.shape(result) != shape:
        raise ValueError(
            f"Loss {loss.name!r}: expected {what}, shape {shape}; got {jnp.shape(result)}"
        )
    result = jnp.asarray(result)
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise TypeError(f"Loss {loss.name!r}: expected {what}, floating; got {result.dtype}")
    return result.astype(dtype)


def grad_a(output: str, loss: Loss, a: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ_i/∂a_L of each example, (*batch, n_L): the pair's own form, or J_Oᵀ ∇ŷ."""
    pair = _pair(output, loss)
    if pair:
        return pair.gradient(a, y)
    yhat = OUTPUTS[output].value(a)
    return OUTPUTS[output].pullback(yhat, grad_yhat(loss, yhat, y))


def example_hits(output: str, yhat: jax.Array, y: jax.Array) -> jax.Array | None:
    """How right each example is, in [0, 1], (*batch,); None where the outputs are no classes.

    A class is right when its ŷ is the largest. Of logistic outputs with targets of their own each
    counts by itself: right when it is on the same side of ½ as its target.
    """
    if isinstance(y, jax.Array) and yhat.shape[-1] == 1 and y.shape == yhat.shape[:-1]:
        y = jnp.expand_dims(y, -1).astype(yhat.dtype)  # one output: yes or no, or a quantity
    if not isinstance(y, jax.Array):
        return None
    if is_class(y) and y.shape == yhat.shape[:-1]:
        return (jnp.argmax(yhat, axis=-1) == y).astype(yhat.dtype)
    if y.shape != yhat.shape:
        return None
    if output == "softmax":
        return (jnp.argmax(yhat, axis=-1) == jnp.argmax(y, axis=-1)).astype(yhat.dtype)
    if output == "logistic":
        return jnp.mean((yhat > 0.5) == (y > 0.5), axis=-1, dtype=yhat.dtype)
    return None
