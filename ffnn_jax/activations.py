"""The table of activations: h = g(a), its derivative g′, and which of a or h to keep for it.

One array a layer is enough for backprop. Where g′ is a function of h alone (tanh: 1 − h²) the
forward pass keeps h; where h is cheap to compute again, or g′ needs a, it keeps a. The column
`keep` says which, and `derivative` takes that array.

At a kink g′ is what JAX's own functions give: relu′(0) = 0, leaky_relu′(0) = 1, elu′(0) = 1,
selu′(0) = λα ≈ 1.758.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

LEAKY_SLOPE = 0.01
SELU_SCALE = 1.0507009873554804934193349852946  # λ, Klambauer et al. 2017
SELU_ALPHA = 1.6732632423543772848170429916717  # α, ibidem
GELU_LINEAR = 2 * math.sqrt(2 / math.pi)  # 2u = GELU_LINEAR a + GELU_CUBIC a³,
GELU_CUBIC = GELU_LINEAR * 0.044715  # Hendrycks and Gimpel 2016, section 2
GELU_SATURATED = 16.0


class Activation(NamedTuple):
    """One row of the table.

    Attributes:
      value: g, elementwise: a -> h, same shape and dtype.
      keep: which array `derivative` takes: `"a"` or `"h"`.
      derivative: g′ as a function of the array kept, elementwise, same shape and dtype.
    """

    value: Callable[[jax.Array], jax.Array]
    keep: Literal["a", "h"]
    derivative: Callable[[jax.Array], jax.Array]


def _identity(a: jax.Array) -> jax.Array:
    """g(a) = a."""
    return a


def _sigmoid_derivative(h: jax.Array) -> jax.Array:
    """g(a) = 1 / (1 + e^{−a}),  g′ = h (1 − h)."""
    return h * (1 - h)


def _tanh_derivative(h: jax.Array) -> jax.Array:
    """g(a) = tanh a,  g′ = 1 − h², written (1 + h)(1 − h): no cancellation near |h| = 1."""
    return (1 + h) * (1 - h)


def _relu_derivative(a: jax.Array) -> jax.Array:
    """g(a) = max(a, 0),  g′ = 1 where a > 0, else 0."""
    return (a > 0).astype(a.dtype)


def _leaky_relu_derivative(a: jax.Array) -> jax.Array:
    """g(a) = a where a ≥ 0, else a / 100,  g′ = 1 where a ≥ 0, else 1 / 100."""
    return jnp.where(a >= 0, 1.0, LEAKY_SLOPE).astype(a.dtype)


def _elu_derivative(h: jax.Array) -> jax.Array:
    """g(a) = a where a > 0, else e^a − 1,  g′ = 1 where h > 0, else h + 1."""
    return jnp.where(h > 0, 1, h + 1)


def _selu(a: jax.Array) -> jax.Array:
    """g(a) = λ a where a > 0, else λα (e^a − 1).

    λ stands inside the choice: outside it, XLA keeps both branches for the sweep.
    """
    positive = a > 0
    below = SELU_SCALE * SELU_ALPHA * jnp.expm1(jnp.where(positive, 0, a))
    return jnp.where(positive, SELU_SCALE * a, below)


def _selu_derivative(h: jax.Array) -> jax.Array:
    """g′ = λ where h > 0, else h + λα."""
    return jnp.where(h > 0, SELU_SCALE, h + SELU_SCALE * SELU_ALPHA)


def _softplus_derivative(h: jax.Array) -> jax.Array:
    """g(a) = log(1 + e^a),  g′ = 1 − e^{−h}."""
    return -jnp.expm1(-h)


def _gelu(a: jax.Array) -> jax.Array:
    """g(a) = ½ a (1 + tanh u) = a s,  u = √(2/π) (a + c a³),  s = 1 / (1 + e^{−2u}).

    The form with s keeps its digits where 1 + tanh u cancels, and has fewer constants, each of
    which XLA on CPU may store as an array of the size of a.
    """
    return a * jax.nn.sigmoid(a * (GELU_LINEAR + GELU_CUBIC * a * a))


def _gelu_derivative(a: jax.Array) -> jax.Array:
    """g′ = s (1 + a (1 − s) 2u′),  2u′ = 2√(2/π) (1 + 3 c a²).

    1 − s is 0 to the last bit, or s is, from |a| = 16 on, so a is held there: a² of a huge a
    would be ∞, and 0 · ∞ is not 0.
    """
    a = jnp.clip(a, -GELU_SATURATED, GELU_SATURATED)
    s = jax.nn.sigmoid(a * (GELU_LINEAR + GELU_CUBIC * a * a))
    return s * (1 + a * (1 - s) * (GELU_LINEAR + 3 * GELU_CUBIC * a * a))


def _silu_derivative(a: jax.Array) -> jax.Array:
    """g(a) = a s,  s = 1 / (1 + e^{−a}),  g′ = s (1 + a (1 − s))."""
    s = jax.nn.sigmoid(a)
    return s * (1 + a * (1 - s))


# The values are JAX's own functions where nothing is won by another form: automatic
# differentiation of the same forward pass is what a user compares with.
ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(_identity, "h", jnp.ones_like),
    "sigmoid": Activation(jax.nn.sigmoid, "h", _sigmoid_derivative),
    "tanh": Activation(jnp.tanh, "h", _tanh_derivative),
    "relu": Activation(jax.nn.relu, "a", _relu_derivative),
    "leaky_relu": Activation(jax.nn.leaky_relu, "a", _leaky_relu_derivative),
    "elu": Activation(jax.nn.elu, "h", _elu_derivative),
    "selu": Activation(_selu, "h", _selu_derivative),
    "softplus": Activation(jax.nn.softplus, "h", _softplus_derivative),
    "gelu": Activation(_gelu, "a", _gelu_derivative),
    "silu": Activation(jax.nn.silu, "a", _silu_derivative),
}

RELU_FAMILY = frozenset({"relu", "leaky_relu", "elu", "selu", "gelu", "silu"})
