"""Dropout: which units of a hidden layer are left out, and how the sweep comes to know it.

  m_k ~ Bernoulli(1 − p_k), entry by entry
  h_k = m_k ⊙ g(a_k) / (1 − p_k)          ∇a_k = ∇h_k ⊙ m_k / (1 − p_k) ⊙ g′(a_k)

With the factor 1 / (1 − p_k) the mean of h_k over all masks is g(a_k), and a trained network is
used as it is, without masks (Srivastava et al. 2014, "Dropout", section 10).

The mask takes no memory of its own and is drawn once: in the one array that is kept of a layer,
an entry that was left out is ∞.
"""

import jax
import jax.numpy as jnp

from ffnn_jax.dense import placed_like

LEFT_OUT = jnp.inf  # no entry that was not left out has it, unless ℒ is no number anyway
RATE_BITS = 16  # p_k is drawn to so many bits


def mask(key: jax.Array, k: int, rate: float, a: jax.Array) -> jax.Array:
    """m_k, booleans of the shape and placement of a_k: true with the probability 1 − p_k.

    A random word of 32 bits is cut into 32/b numbers of b bits, b the fewest that hold p_k: drawing
    words is what a mask costs, and p_k = ½ needs one bit an entry.
    """
    bits = next(b for b in (1, 2, 4, 8, RATE_BITS) if b == RATE_BITS or rate * 2**b % 1 == 0)
    *batch, n = a.shape
    shape = (*batch, -(-n * bits // 32), 32 // bits)
    words = jax.random.bits(jax.random.fold_in(key, k), shape[:-1], jnp.uint32)
    shifts = jax.lax.broadcasted_iota(jnp.uint32, shape, len(batch) + 1) * bits
    numbers = jnp.broadcast_to(words[..., None], shape) >> shifts & (2**bits - 1)
    numbers = numbers.reshape(*batch, shape[-2] * shape[-1])[..., :n]
    return placed_like(a, numbers >= round(rate * 2**bits))


def drop(t: jax.Array, m: jax.Array | None, rate: float) -> jax.Array:
    """m_k ⊙ t / (1 − p_k); t where there is no mask."""
    return t if m is None else jnp.where(m, t / (1 - rate), 0)


def marked(t: jax.Array, m: jax.Array | None) -> jax.Array:
    """t, of which nothing is wanted where m_k is 0, with that written into it."""
    return t if m is None else jnp.where(m, t, LEFT_OUT)


def unmarked(t: jax.Array, rate: float) -> tuple[jax.Array, jax.Array | None]:
    """(t, m_k) from what `marked` made of them; t is 0 where m_k is."""
    if not rate:
        return t, None
    m = t != LEFT_OUT
    return jnp.where(m, t, 0), m
