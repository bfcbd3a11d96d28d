"""ℓ and ∇a_L of a tile of examples, as pure functions of values.

  softmax + cross-entropy    ℓ = −Σ_c y_c log ŷ_c     ∇a_L = ŷ Σ_c y_c − y
  linear + squared error     ℓ = Σ_j (ŷ_j − y_j)²     ∇a_L = 2 (ŷ − y)

The columns of a tile from n_L on are padding. As classes they count as a_c = −∞, so that ŷ_c is 0;
as quantities both ŷ_j and y_j are 0 there. Every function is per example, as in `outputs`.
"""

import jax
import jax.numpy as jnp


def one_hot(y: jax.Array, columns: jax.Array) -> jax.Array:
    """1(c = y_i) in float32, (rows, columns), of classes y (rows,) and column numbers."""
    return (y[:, None] == columns[None, :]).astype(jnp.float32)


def softmax_cross_entropy(
    a: jax.Array, y: jax.Array, n_L: int, classes: bool
) -> tuple[jax.Array, jax.Array]:
    """(ℓ, ∇a_L) with log ŷ = a − log Σ_i e^{a_i}: nothing overflows and no ŷ is divided by.

    Args:
      a: a_L, (rows, columns).
      y: distributions, shaped as a; `one_hot` of classes.
      n_L: how many of the columns are classes.
      classes: whether y was classes: 0 log ŷ_c is then 0 even where ŷ_c is.

    Returns:
      ℓ (rows,) and ∇a_L (rows, columns).
    """
    inside = jax.lax.broadcasted_iota(jnp.int32, (1, a.shape[1]), 1) < n_L
    a = jnp.where(inside, a, -jnp.inf)
    shifted = a - jnp.max(a, axis=1)[:, None]
    powers = jnp.exp(shifted)
    total = jnp.sum(powers, axis=1)
    log_yhat = shifted - jnp.log(total)[:, None]
    counts = y > 0 if classes else jnp.broadcast_to(inside, y.shape)
    losses = -jnp.sum(jnp.where(counts, y * log_yhat, 0.0), axis=1)
    yhat = powers / total[:, None]
    return losses, yhat * jnp.sum(y, axis=1)[:, None] - y


def squared_error(a: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(ℓ, ∇a_L) of ŷ = a_L and quantities y of the same shape; both are 0 in the padding."""
    r = a - y
    return jnp.sum(r * r, axis=1), 2 * r
