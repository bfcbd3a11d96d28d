"""The tables of outputs ŷ = O(a_L) and of losses ℓ(ŷ, y), and ∇a_L of each pair.

Three outputs and three losses, any with any, and losses of the user's own. The gradient of one
example's loss reaches a_L in one of two ways:

  in general                    ∇a_L = J_Oᵀ ∇ŷ
  softmax  + cross-entropy      ∇a_L = ŷ − y
  logistic + binary c.-e.       ∇a_L = ŷ − y
  (and two more rows of PAIRS)

The second way never forms 1/ŷ, so it stays finite for logits of ±1e30 and probabilities of 0.
Every function here is per example: the mean over the batch is taken in `backprop`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Output(NamedTuple):
    """One output function.

    Attributes:
      value: O: a_L -> ŷ, both (*batch, n_L).
      pullback: (ŷ, ∇ŷ) -> J_Oᵀ ∇ŷ, all (*batch, n_L).
    """

    value: Callable[[jax.Array], jax.Array]
    pullback: Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of one example, ℓ(ŷ, y); the library takes the weighted mean over the batch.

    Attributes:
      name: how the loss is called in messages and tables.
      value: `(yhat, y) -> losses`: ŷ is (*batch, n_L), the result (*batch,), floating. In a loss
        of your own y is what you passed, as it came. What the loss is to be differentiated by has
        to be part of y: JAX lets no rule close over it.
      gradient: `(yhat, y) -> ∇ŷ`, (*batch, n_L), of each example's own loss. Without one, `value`
        is differentiated automatically.

    Example:
      >>> import jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> def absolute(yhat, y):
      ...     return jnp.sum(jnp.abs(yhat - y), axis=-1)
      >>> net = ffnn.Network((2, 3, 1), loss=ffnn.Loss("absolute_error", absolute))
    """

    name: str
    value: Callable[[jax.Array, jax.Array], jax.Array]
    gradient: Callable[[jax.Array, jax.Array], jax.Array] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"Loss: name must be a string, got {self.name!r}")
        if not callable(self.value):
            raise TypeError(f"Loss {self.name!r}: value must be a function, got {self.value!r}")
        if self.gradient is not None and not callable(self.gradient):
            raise TypeError(
                f"Loss {self.name!r}: gradient must be a function or None, got {self.gradient!r}"
            )


class Pair(NamedTuple):
    """The loss of one output and one loss together, as a function of a_L.

    Attributes:
      value: (a_L, y) -> ℓ, (*batch,).
      gradient: (a_L, y) -> ∇a_L, (*batch, n_L).
    """

    value: Callable[[jax.Array, jax.Array], jax.Array]
    gradient: Callable[[jax.Array, jax.Array], jax.Array]


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


# Losses as functions of ŷ ------------------------------------------------------------------------


def is_class(y: jax.Array) -> bool:
    """Whether y holds classes (integers, (*batch,)) and not numbers ((*batch, n_L))."""
    return jnp.issubdtype(y.dtype, jnp.integer)


def _one_hot(y: jax.Array, like: jax.Array) -> jax.Array:
    """1(c = y_i) as booleans, (*batch, n_L)."""
    classes = jax.lax.broadcasted_iota(jnp.int32, (1,) * y.ndim + like.shape[-1:], y.ndim)
    return jnp.expand_dims(y, -1).astype(jnp.int32) == classes


def _as_numbers(y: jax.Array, like: jax.Array) -> jax.Array:
    """y as a distribution in the dtype of `like`, (*batch, n_L): a class becomes one-hot."""
    return _one_hot(y, like).astype(like.dtype) if is_class(y) else y


def _expected(y: jax.Array, t: jax.Array) -> jax.Array:
    """Σ_c y_c t_c, (*batch,); t_ℓ for a class ℓ."""
    if is_class(y):
        return jnp.sum(jnp.where(_one_hot(y, t), t, 0), axis=-1)
    return jnp.sum(y * t, axis=-1)


def _log_unless_both_zero(p: jax.Array, y: jax.Array) -> jax.Array:
    """log p, with 0 · log 0 = 0 in mind: at y = p = 0 it is 0 instead of −∞."""
    return jnp.log(jnp.where((y == 0) & (p == 0), 1, p))


def _ratio_unless_both_zero(y: jax.Array, p: jax.Array) -> jax.Array:
    """y / p, and 0 at y = p = 0."""
    return y / jnp.where((y == 0) & (p == 0), 1, p)


def _squared_error(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = Σ_j (ŷ_j − y_j)²."""
    return jnp.sum((yhat - _as_numbers(y, yhat)) ** 2, axis=-1)


def _squared_error_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_j = 2 (ŷ_j − y_j)."""
    return 2 * (yhat - _as_numbers(y, yhat))


def _cross_entropy(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_c y_c log ŷ_c, in nats."""
    y = _as_numbers(y, yhat)
    return -jnp.sum(y * _log_unless_both_zero(yhat, y), axis=-1)


def _cross_entropy_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_c = −y_c / ŷ_c; for a class ℓ that is −1(c = ℓ)/ŷ_ℓ."""
    return -_ratio_unless_both_zero(_as_numbers(y, yhat), yhat)


def _binary_cross_entropy(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_j (y_j log ŷ_j + (1 − y_j) log(1 − ŷ_j)), in nats."""
    y = _as_numbers(y, yhat)
    yes = y * _log_unless_both_zero(yhat, y)
    no = (1 - y) * _log_unless_both_zero(1 - yhat, 1 - y)
    return -jnp.sum(yes + no, axis=-1)


def _binary_cross_entropy_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_j = −y_j / ŷ_j + (1 − y_j) / (1 − ŷ_j)."""
    y = _as_numbers(y, yhat)
    return _ratio_unless_both_zero(1 - y, 1 - yhat) - _ratio_unless_both_zero(y, yhat)


LOSSES: dict[str, Loss] = {
    "squared_error": Loss("squared_error", _squared_error, _squared_error_gradient),
    "cross_entropy": Loss("cross_entropy", _cross_entropy, _cross_entropy_gradient),
    "binary_cross_entropy": Loss(
        "binary_cross_entropy", _binary_cross_entropy, _binary_cross_entropy_gradient
    ),
}

OWN_LOSS = {
    "linear": "squared_error",
    "softmax": "cross_entropy",
    "logistic": "binary_cross_entropy",
}


# Pairs as functions of a_L -----------------------------------------------------------------------


def _softmax_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_c y_c log ŷ_c with log ŷ = a − log Σ_i e^{a_i}."""
    return -_expected(y, jax.nn.log_softmax(a, axis=-1))


def _softmax_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_L = ŷ Σ_c y_c − y, which is ŷ − y for a class or a distribution, and 0 for no class."""
    yhat = _softmax(a)
    if is_class(y):
        inside = jnp.expand_dims((y >= 0) & (y < a.shape[-1]), -1)
        return jnp.where(inside, yhat, 0) - _as_numbers(y, yhat)
    return yhat * jnp.sum(y, axis=-1, keepdims=True) - y


def _logistic_binary_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = Σ_j y_j log(1 + e^{−a_j}) + (1 − y_j) log(1 + e^{a_j})."""
    y = _as_numbers(y, a)
    return jnp.sum(y * jax.nn.softplus(-a) + (1 - y) * jax.nn.softplus(a), axis=-1)


def _logistic_binary_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_L = ŷ − y, as (1 − y) ŷ − y (1 − ŷ): no cancellation where ŷ is almost y."""
    y = _as_numbers(y, a)
    return (1 - y) * jax.nn.sigmoid(a) - y * jax.nn.sigmoid(-a)


def _logistic_cross_entropy(a: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_c y_c log ŷ_c = Σ_c y_c log(1 + e^{−a_c})."""
    return _expected(y, jax.nn.softplus(-a))


def _logistic_cross_entropy_gradient(a: jax.Array, y: jax.Array) -> jax.Array:
    """∇a_L = −y (1 − ŷ)."""
    return -_as_numbers(y, a) * jax.nn.sigmoid(-a)


def _is_largest(a: jax.Array) -> jax.Array:
    """1(j = argmax a), booleans, (*batch, n_L)."""
    return _one_hot(jnp.argmax(a, axis=-1), a)


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
    y = _as_numbers(y, a)
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
    y = _as_numbers(y, a)
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
    ("softmax", "binary_cross_entropy"): Pair(
        _softmax_binary_cross_entropy, _softmax_binary_cross_entropy_gradient
    ),
}


# What the sweep calls ----------------------------------------------------------------------------


def _pair(output: str, loss: Loss) -> Pair | None:
    """The closed form of a pair, where the loss is the library's own and there is one."""
    return PAIRS.get((output, loss.name)) if LOSSES.get(loss.name) is loss else None


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
