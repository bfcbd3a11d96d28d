"""Dropout: the mask of a hidden layer, from a key.

  m_k ~ Bernoulli(1 − p_k), entry by entry
  h_k = m_k ⊙ g(a_k) / (1 − p_k)          ∇a_k = ∇h_k ⊙ m_k / (1 − p_k) ⊙ g′(a_k)

With the factor 1 / (1 − p_k) the mean of h_k over all masks is g(a_k), and a trained network is
used as it is, without masks (Srivastava et al. 2014, "Dropout", section 10). A mask is never kept:
the sweep draws it again from the same key.
"""

import jax
import jax.numpy as jnp

from ffnn_jax.dense import placed_like

RATE_BITS = 16  # p_k is drawn to so many bits


def mask(key: jax.Array | None, k: int, rate: float, t: jax.Array) -> jax.Array | None:
    """m_k, booleans that are true with the probability 1 − p_k; None where nothing is left out.

    A random word of 32 bits is cut into numbers of b bits, b the fewest that hold p_k: drawing
    words is what a mask costs, and p_k = ½ needs one bit an entry.

    Args:
      key: that of the pass, from which that of layer k comes; None for no dropout.
      k: the layer.
      rate: p_k.
      t: an array of the shape and placement of h_k, which is there before the mask is.
    """
    if key is None or not rate:
        return None
    bits = next(b for b in (1, 2, 4, 8, RATE_BITS) if b == RATE_BITS or rate * 2**b % 1 == 0)
    *batch, n = t.shape
    shape = (*batch, -(-n * bits // 32), 32 // bits)
    words = jax.random.bits(jax.random.fold_in(key, _after(t, k)), shape[:-1], jnp.uint32)
    shifts = bits * jax.lax.broadcasted_iota(jnp.uint32, shape, len(batch) + 1)
    numbers = jnp.broadcast_to(words[..., None], shape) >> shifts & (2**bits - 1)
    numbers = numbers.reshape(*batch, shape[-2] * shape[-1])[..., :n]
    return placed_like(t, numbers >= round(rate * 2**bits))


def drop(t: jax.Array, m: jax.Array | None, rate: float) -> jax.Array:
    """m_k ⊙ t / (1 − p_k); t where there is no mask."""
    return t if m is None else jnp.where(m, t / (1 - rate), 0)


def _after(t: jax.Array, k: int) -> jax.Array:
    """k, as a value that is not known before t is.

    Masks need nothing but a key: XLA would draw those of all layers at once and hold them, and
    not draw again for the sweep what it has. It cannot know that t is made of numbers.
    """
    return jnp.where(jnp.isnan(jnp.max(jax.lax.stop_gradient(t))), 0, k)
