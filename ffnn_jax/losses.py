"""The table of losses ℓ(ŷ, y) and their gradients ∂ℓ/∂ŷ.

  squared_error                 Σ_j r_j²,  r = ŷ − y
  absolute_error                Σ_j |r_j|
  huber(δ)                      Σ_j ½ r_j² where |r_j| ≤ δ, δ (|r_j| − ½ δ) beyond
  quantile(τ)                   Σ_j max(−τ r_j, (1 − τ) r_j)
  poisson                       Σ_j e^{ŷ_j} − y_j ŷ_j,  ŷ the logarithm of the rate
  cross_entropy                 −Σ_c y_c log ŷ_c
  smoothed_cross_entropy(ε)     −Σ_c s_c log ŷ_c,  s = (1 − ε) y + ε/K
  binary_cross_entropy          −Σ_j (y_j log ŷ_j + (1 − y_j) log(1 − ŷ_j))

Every function here is per example: the mean over the batch is taken in `backprop`. A loss with a
parameter is a function of it; as a name, "huber(0.5)", it can be written into a file.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax import checks

SMOOTHED = "smoothed_cross_entropy"


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
      >>> def log_cosh(yhat, y):
      ...     return jnp.sum(jnp.log(jnp.cosh(yhat - y)), axis=-1)
      >>> net = ffnn.Network((2, 3, 1), loss=ffnn.Loss("log_cosh", log_cosh))
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


@dataclasses.dataclass(frozen=True)
class Bound:
    """A function of (prediction, y, parameter) at one parameter; equal where both are equal."""

    function: Callable[..., jax.Array]
    parameter: float

    def __call__(self, prediction: jax.Array, y: jax.Array) -> jax.Array:
        """Each example's loss, or its gradient."""
        return self.function(prediction, y, self.parameter)


# Targets -----------------------------------------------------------------------------------------


def is_class(y: jax.Array) -> bool:
    """Whether y holds classes (integers, (*batch,)) and not numbers ((*batch, n_L))."""
    return jnp.issubdtype(y.dtype, jnp.integer)


def one_hot(y: jax.Array, like: jax.Array) -> jax.Array:
    """1(c = y_i) as booleans, (*batch, n_L)."""
    classes = jax.lax.broadcasted_iota(jnp.int32, (1,) * y.ndim + like.shape[-1:], y.ndim)
    return jnp.expand_dims(y, -1).astype(jnp.int32) == classes


def as_numbers(y: jax.Array, like: jax.Array) -> jax.Array:
    """y as a distribution in the dtype of `like`, (*batch, n_L): a class becomes one-hot."""
    return one_hot(y, like).astype(like.dtype) if is_class(y) else y


def is_inside(y: jax.Array, like: jax.Array) -> jax.Array:
    """Whether each class is one of 0 … n_L − 1, (*batch, 1)."""
    return jnp.expand_dims((y >= 0) & (y < like.shape[-1]), -1)


# Probabilities -----------------------------------------------------------------------------------


def _log_unless_both_zero(p: jax.Array, y: jax.Array) -> jax.Array:
    """log p, with 0 · log 0 = 0 in mind: at y = p = 0 it is 0 instead of −∞."""
    return jnp.log(jnp.where((y == 0) & (p == 0), 1, p))


def _ratio_unless_both_zero(y: jax.Array, p: jax.Array) -> jax.Array:
    """y / p, and 0 at y = p = 0."""
    return y / jnp.where((y == 0) & (p == 0), 1, p)


def _cross_entropy(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_c y_c log ŷ_c, in nats."""
    y = as_numbers(y, yhat)
    return -jnp.sum(y * _log_unless_both_zero(yhat, y), axis=-1)


def _cross_entropy_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_c = −y_c / ŷ_c; for a class ℓ that is −1(c = ℓ)/ŷ_ℓ."""
    return -_ratio_unless_both_zero(as_numbers(y, yhat), yhat)


def _binary_cross_entropy(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = −Σ_j (y_j log ŷ_j + (1 − y_j) log(1 − ŷ_j)), in nats."""
    y = as_numbers(y, yhat)
    yes = y * _log_unless_both_zero(yhat, y)
    no = (1 - y) * _log_unless_both_zero(1 - yhat, 1 - y)
    return -jnp.sum(yes + no, axis=-1)


def _binary_cross_entropy_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_j = −y_j / ŷ_j + (1 − y_j) / (1 − ŷ_j)."""
    y = as_numbers(y, yhat)
    return _ratio_unless_both_zero(1 - y, 1 - yhat) - _ratio_unless_both_zero(y, yhat)


def smoothed(y: jax.Array, like: jax.Array, smoothing: float) -> jax.Array:
    """s = (1 − ε) y + ε/K, (*batch, K); 0 for a class outside 0 … K − 1, as for cross_entropy."""
    s = (1 - smoothing) * as_numbers(y, like) + smoothing / like.shape[-1]
    return jnp.where(is_inside(y, like), s, 0) if is_class(y) else s


def _smoothed_cross_entropy(yhat: jax.Array, y: jax.Array, smoothing: float) -> jax.Array:
    """ℓ = −Σ_c s_c log ŷ_c."""
    return _cross_entropy(yhat, smoothed(y, yhat, smoothing))


def _smoothed_cross_entropy_gradient(yhat: jax.Array, y: jax.Array, smoothing: float) -> jax.Array:
    """∂ℓ/∂ŷ_c = −s_c / ŷ_c."""
    return _cross_entropy_gradient(yhat, smoothed(y, yhat, smoothing))


# Quantities --------------------------------------------------------------------------------------


def _squared_error(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = Σ_j (ŷ_j − y_j)²."""
    return jnp.sum((yhat - as_numbers(y, yhat)) ** 2, axis=-1)


def _squared_error_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_j = 2 (ŷ_j − y_j)."""
    return 2 * (yhat - as_numbers(y, yhat))


def _absolute_error(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = Σ_j |r_j| as max(r_j, −r_j): JAX's derivative of `abs` at 0 would be 1."""
    r = yhat - as_numbers(y, yhat)
    return jnp.sum(jnp.maximum(r, -r), axis=-1)


def _absolute_error_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_j = sign(ŷ_j − y_j), 0 at the kink."""
    return jnp.sign(yhat - as_numbers(y, yhat))


def _huber(yhat: jax.Array, y: jax.Array, delta: float) -> jax.Array:
    """ℓ = Σ_j ½ r_j² where |r_j| ≤ δ, δ (|r_j| − ½ δ) beyond."""
    size = jnp.abs(yhat - as_numbers(y, yhat))
    return jnp.sum(jnp.where(size <= delta, size**2 / 2, delta * (size - delta / 2)), axis=-1)


def _huber_gradient(yhat: jax.Array, y: jax.Array, delta: float) -> jax.Array:
    """∂ℓ/∂ŷ_j = r_j, held between −δ and δ."""
    return jnp.clip(yhat - as_numbers(y, yhat), -delta, delta)


def _quantile(yhat: jax.Array, y: jax.Array, level: float) -> jax.Array:
    """ℓ = Σ_j max(−τ r_j, (1 − τ) r_j)."""
    r = yhat - as_numbers(y, yhat)
    return jnp.sum(jnp.maximum(-level * r, (1 - level) * r), axis=-1)


def _quantile_gradient(yhat: jax.Array, y: jax.Array, level: float) -> jax.Array:
    """∂ℓ/∂ŷ_j = −τ below y_j, 1 − τ above it, and at the kink their mean, ½ − τ."""
    r = yhat - as_numbers(y, yhat)
    return jnp.where(r < 0, -level, jnp.where(r > 0, 1 - level, 0.5 - level)).astype(yhat.dtype)


def _poisson(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """ℓ = Σ_j e^{ŷ_j} − y_j ŷ_j, in nats but for Σ_j log y_j!, which no parameter changes."""
    return jnp.sum(jnp.exp(yhat) - as_numbers(y, yhat) * yhat, axis=-1)


def _poisson_gradient(yhat: jax.Array, y: jax.Array) -> jax.Array:
    """∂ℓ/∂ŷ_j = e^{ŷ_j} − y_j."""
    return jnp.exp(yhat) - as_numbers(y, yhat)


# Losses with a parameter -------------------------------------------------------------------------


def huber(delta: float = 1.0) -> Loss:
    """Squared near 0 and absolute far from it: ½ r² where |r| ≤ δ, δ (|r| − ½ δ) beyond.

    Huber 1964, "Robust estimation of a location parameter"; of each output, and summed over them.
    Large errors, of outliers, pull with δ and no more.

    Args:
      delta: δ > 0, in the unit of y.

    Returns:
      The loss, whose name is for instance "huber(0.5)"; equal for equal δ.

    Raises:
      TypeError: delta is no number.
      ValueError: delta is not above 0, or not finite.

    Example:
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.losses import huber
      >>> ffnn.Network((2, 3, 1), loss=huber(0.5)) == ffnn.Network((2, 3, 1), loss="huber(0.5)")
      True
    """
    checks.check_positive_float("delta", delta)
    return _with_parameter("huber", delta, _huber, _huber_gradient)


def quantile(level: float) -> Loss:
    """The pinball loss, smallest where ŷ is the quantile of y: max(τ (y − ŷ), (1 − τ) (ŷ − y)).

    Koenker and Bassett 1978, "Regression quantiles"; of each output, and summed over them. At
    ŷ = y, the kink, its gradient is ½ − τ, the mean of those on either side.

    Args:
      level: τ, between 0 and 1; ½ is the median.

    Returns:
      The loss, whose name is for instance "quantile(0.9)"; equal for equal τ.

    Raises:
      TypeError: level is no number.
      ValueError: level is not between 0 and 1.
    """
    checks.check_positive_float("level", level)
    if level >= 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level!r}")
    return _with_parameter("quantile", level, _quantile, _quantile_gradient)


def smoothed_cross_entropy(smoothing: float) -> Loss:
    """Cross-entropy with smoothed labels: s = (1 − ε) y + ε/K in place of y, for K classes.

    Szegedy et al. 2016, "Rethinking the Inception architecture", section 7. y is classes or
    distributions, as for cross_entropy, and ∇a_L of a softmax is ŷ − s.

    Args:
      smoothing: ε, at least 0 and below 1; 0 is cross_entropy itself.

    Returns:
      The loss, whose name is for instance "smoothed_cross_entropy(0.1)"; equal for equal ε.

    Raises:
      TypeError: smoothing is no number.
      ValueError: smoothing is below 0, or 1 or more.
    """
    checks.check_not_negative_float("smoothing", smoothing)
    if smoothing >= 1:
        raise ValueError(f"smoothing: expected at least 0 and below 1, got {smoothing!r}")
    return _with_parameter(
        SMOOTHED, smoothing, _smoothed_cross_entropy, _smoothed_cross_entropy_gradient
    )


def _with_parameter(name: str, parameter: Any, value: Any, gradient: Any) -> Loss:
    """The loss at a checked parameter; repr(float) can be read back without loss."""
    parameter = float(parameter)
    return Loss(f"{name}({parameter!r})", Bound(value, parameter), Bound(gradient, parameter))


# The tables --------------------------------------------------------------------------------------


class Family(NamedTuple):
    """A row of the table of losses with a parameter.

    Attributes:
      make: the function of the parameter.
      default: its value where a name has none in brackets; None: it has to be there.
    """

    make: Callable[[float], Loss]
    default: float | None = None


LOSSES: dict[str, Loss] = {
    "squared_error": Loss("squared_error", _squared_error, _squared_error_gradient),
    "cross_entropy": Loss("cross_entropy", _cross_entropy, _cross_entropy_gradient),
    "binary_cross_entropy": Loss(
        "binary_cross_entropy", _binary_cross_entropy, _binary_cross_entropy_gradient
    ),
    "absolute_error": Loss("absolute_error", _absolute_error, _absolute_error_gradient),
    "poisson": Loss("poisson", _poisson, _poisson_gradient),
}
FAMILIES: dict[str, Family] = {
    "huber": Family(huber, default=1.0),
    "quantile": Family(quantile),
    SMOOTHED: Family(smoothed_cross_entropy),
}


def find_loss(name: str) -> Loss:
    """The library's loss of that name, such as "poisson" or "huber(0.5)".

    Raises:
      TypeError: it is no string.
      ValueError: an unknown name, a parameter that is missing, out of range, or one too many.
    """
    family, given = _parts(name)
    checks.check_name("loss", family, [*LOSSES, *FAMILIES])
    if family in LOSSES:
        if given is not None:
            raise ValueError(f"loss: {family} has no parameter, got {name!r}")
        return LOSSES[family]
    make, default = FAMILIES[family]
    if given is None and default is not None:
        return make(default)
    try:
        parameter = float(given or "")
    except ValueError:
        raise ValueError(f"loss: expected {family}(number), got {name!r}") from None
    try:
        return make(parameter)
    except ValueError as error:
        raise ValueError(f"loss: {name!r}: {error}") from None


def parts_of(loss: Loss) -> tuple[str, float | None] | None:
    """(name without brackets, parameter or None) of one of the library's own; None of others."""
    try:
        if find_loss(loss.name) != loss:
            return None
    except ValueError:
        return None
    family, given = _parts(loss.name)
    return family, None if given is None else float(given)


def is_cross_entropy(loss: str | Loss | None) -> bool:
    """Whether y is classes or distributions over them: cross_entropy, smoothed or not."""
    return isinstance(loss, str) and _parts(loss)[0] in ("cross_entropy", SMOOTHED)


def _parts(name: Any) -> tuple[Any, str | None]:
    """("huber", "0.5") of "huber(0.5)"; what does not look so, and None."""
    match = re.fullmatch(r"(\w+)\((.*)\)", name) if isinstance(name, str) else None
    return match.groups() if match else (name, None)  # type: ignore[return-value]
