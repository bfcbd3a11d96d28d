"""The gradient of each example, without ever forming it: its norm, clipping, privacy, noise.

With g_i = ∇_θ ℓ_i, the gradient of one example's loss (no mean, no weight), and the ∇a_k of that
loss, one row an example, as the sweep has them:

  ∇W_k ℓ_i = ∇a_k h_{k−1}ᵀ   and   ∇b_k ℓ_i = ∇a_k,   so   ‖g_i‖² = Σ_k ‖∇a_k‖² (‖h_{k−1}‖² + 1)
  Σ_i s_i g_i:   ∇W_k = Σ_i s_i ∇a_k h_{k−1}ᵀ,   ∇b_k = Σ_i s_i ∇a_k

for any numbers s_i: one sweep for the norms, and one weighted product a layer for the sum
(Goodfellow 2015, "Efficient Per-Example Gradient Computations").
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ffnn_jax import checks, network, outputs
from ffnn_jax.dense import cotangent_like, grad_b, grad_W
from ffnn_jax.network import Layer, Network, Params, at_least_float32
from ffnn_jax.sweep import keep, sweep


class NoiseScale(NamedTuple):
    """How much the gradients of single examples scatter about their mean.

    Of each field there is one number for all parameters and, as `layers`, one a layer, (L,).

    Attributes:
      scale: tr Σ / ‖G‖², about the batch size from which on larger batches help little; ∞ where
        the scatter hides the mean gradient.
      variance: tr Σ, the trace of the covariance of g_i.
      signal: ‖G‖² of the mean gradient of all possible examples; an estimate without bias, which
        can be negative.
      layers: the same three, layer by layer; None in there.
    """

    scale: jax.Array
    variance: jax.Array
    signal: jax.Array
    layers: "NoiseScale | None"


def per_example_gradient_norms(net: Network, params: Params, x: ArrayLike, y: Any) -> jax.Array:
    """‖g_i‖ of every example, over all parameters.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      y: as for `loss`.

    Returns:
      (*batch,), float32, or float64 for float64 parameters.

    Raises:
      TypeError, ValueError: as `loss`; a network with dropout.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> net = ffnn.Network((3, 4, 2), activation="tanh", output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> ffnn.per_example_gradient_norms(net, params, jnp.ones((5, 3)), jnp.zeros(5, int)).shape
      (5,)
    """
    _, h, grads_a = _swept(net, params, x, y)
    return _length(_layer_norms(h, grads_a))


def clipped_gradients(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    max_norm: ArrayLike,
    weights: ArrayLike | None = None,
) -> Params:
    """(1/N) Σ_i w_i min(1, C / ‖g_i‖) g_i: the mean gradient, no example heavier than w_i C.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      y: as for `loss`.
      max_norm: C > 0, a number.
      weights: (*batch,), w_i from 0 to 1, or None for 1; N counts all examples. An example of
        weight 0 is not there: it fills up a batch whose size is drawn.

    Returns:
      A gradient, shaped as the parameters; that of `loss` where no norm is above C and no weight
      below 1.

    Raises:
      TypeError, ValueError: as `loss`; a network with dropout; max_norm is no finite number above
        0; a weight is outside 0 … 1.
    """
    checks.check_positive_float("max_norm", max_norm)
    checks.check_shares(weights, jnp.shape(x)[:-1])
    params, h, grads_a = _swept(net, params, x, y)
    norms = _length(_layer_norms(h, grads_a))
    factor = jnp.minimum(1, jnp.asarray(max_norm, norms.dtype) / norms)
    if weights is not None:
        factor = factor * jnp.asarray(weights, norms.dtype)
    return _weighted(net, params, h, grads_a, factor / math.prod(norms.shape))


def private_gradients(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    max_norm: ArrayLike,
    noise_multiplier: ArrayLike,
    key: jax.Array,
    weights: ArrayLike | None = None,
) -> Params:
    """(1/N) (Σ_i w_i min(1, C / ‖g_i‖) g_i + σ C z), z ~ N(0, 1) for each parameter: DP-SGD's.

    What σ, N and the number of steps promise is for an accountant to say; it needs examples drawn
    independently (Poisson sampling) and a new key for each step: scripts/private_digits.py.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      y: as for `loss`.
      max_norm: C > 0, a number.
      noise_multiplier: σ ≥ 0, a number.
      key: a PRNG key; the same key gives the same noise.
      weights: as for `clipped_gradients`.

    Returns:
      A gradient, shaped as the parameters, for any optimizer.

    Raises:
      TypeError, ValueError: as `clipped_gradients`; the key is not a key; noise_multiplier is
        negative or not finite.

    Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1.
    """
    checks.check_key(key)
    checks.check_not_negative_float("noise_multiplier", noise_multiplier)
    clipped = clipped_gradients(net, params, x, y, max_norm=max_norm, weights=weights)
    size = math.prod(jnp.shape(x)[:-1])
    leaves, tree = jax.tree.flatten(clipped)
    noisy = []
    for leaf, leaf_key in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        wide = at_least_float32(leaf.dtype)
        deviation = jnp.asarray(noise_multiplier, wide) * jnp.asarray(max_norm, wide) / size
        noise = (deviation * jax.random.normal(leaf_key, leaf.shape, wide)).astype(leaf.dtype)
        noisy.append(leaf + cotangent_like(leaf, noise))
    return jax.tree.unflatten(tree, noisy)


def gradient_noise_scale(net: Network, params: Params, x: ArrayLike, y: Any) -> NoiseScale:
    """tr Σ / ‖G‖² from the examples of one batch.

      tr Σ ≈ N/(N−1) · ((1/N) Σ_i ‖g_i‖² − ‖ḡ‖²)      ‖G‖² ≈ ‖ḡ‖² − tr Σ / N      ḡ = (1/N) Σ_i g_i

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0) with N ≥ 2 examples; it is cast to the dtype of the parameters.
      y: as for `loss`.

    Returns:
      `NoiseScale`, float32, or float64 for float64 parameters.

    Raises:
      TypeError, ValueError: as `loss`; a network with dropout; fewer than two examples.

    McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", appendix A.
    """
    params, h, grads_a = _swept(net, params, x, y)
    norms = _layer_norms(h, grads_a)
    n = math.prod(norms.shape[1:])
    if n < 2:
        raise ValueError(f"x: expected at least two examples, got shape {jnp.shape(x)}")
    mean = _weighted(net, params, h, grads_a, jnp.full(norms.shape[1:], 1 / n, norms.dtype))
    squares = jnp.mean(jnp.square(norms).reshape(len(norms), n), axis=1)
    of_mean = jnp.stack([_square(layer) for layer in mean])
    variance = jnp.maximum(squares - of_mean, 0) * (n / (n - 1))
    signal = of_mean - variance / n
    layers = _noise_scale(variance, signal, None)
    return _noise_scale(jnp.sum(variance), jnp.sum(signal), layers)


def _noise_scale(variance: jax.Array, signal: jax.Array, layers: NoiseScale | None) -> NoiseScale:
    scale = jnp.where(signal > 0, variance / jnp.where(signal > 0, signal, 1), jnp.inf)
    return NoiseScale(scale, variance, signal, layers)


def _swept(
    net: Network, params: Params, x: ArrayLike, y: Any
) -> tuple[Params, tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """(params, (h_0, …, h_{L−1}), (∇a_1, …, ∇a_L)), ∇ of the loss of each example by itself."""
    params, h_0, y, _ = network.as_examples(net, params, x, y, None)
    if any(net.dropouts):
        raise ValueError(
            f"net: expected a network without dropout, got the rates {net.dropouts}; "
            "dataclasses.replace(net, dropout=0.0) is one"
        )
    tape = network.run(net, params, h_0)
    grad_a_L = outputs.grad_a(net.output, network.loss_of(net), tape.a[-1], y)
    _, grads_a, _ = sweep(net, params, h_0, keep(net, tape), grad_a_L)
    return params, tape.h, grads_a


def _layer_norms(h: tuple[jax.Array, ...], grads_a: tuple[jax.Array, ...]) -> jax.Array:
    """‖∇a_k‖ √(‖h_{k−1}‖² + 1) of each layer and example, (L, *batch)."""
    pairs = zip(h, grads_a, strict=True)
    return jnp.stack([_row_norm(g) * jnp.hypot(_row_norm(h), 1) for h, g in pairs])


def _row_norm(t: jax.Array) -> jax.Array:
    """‖row‖, in float32 at least."""
    return jnp.sqrt(jnp.sum(jnp.square(t.astype(at_least_float32(t.dtype))), axis=-1))


def _length(norms: jax.Array) -> jax.Array:
    """√(Σ_k norm_k²) over the layers."""
    return jnp.sqrt(jnp.sum(jnp.square(norms), axis=0))


def _square(layer: Layer) -> jax.Array:
    """‖∇W‖² + ‖∇b‖², in float32 at least."""
    wide = at_least_float32(layer.W.dtype)
    return sum((jnp.sum(jnp.square(t.astype(wide))) for t in layer), start=jnp.zeros((), wide))


def _weighted(
    net: Network,
    params: Params,
    h: tuple[jax.Array, ...],
    grads_a: tuple[jax.Array, ...],
    factors: jax.Array,
) -> Params:
    """Σ_i s_i g_i, with s_i = factors of shape (*batch,)."""
    layers = []
    for (W, b), h_k, grad_a in zip(params, h, grads_a, strict=True):
        scaled = jnp.expand_dims(factors, -1).astype(grad_a.dtype) * grad_a
        layers.append(Layer(grad_W(W, h_k, scaled, net.plan.compute_dtype), grad_b(b, scaled)))
    return tuple(layers)
