"""Softmax and cross-entropy of very many classes, with a_L and ŷ never whole.

  ℓ = log Σ_c e^{a_c} − a_y        ∇a_c = s (ŷ_c − 1(c = y)),   ŷ_c = e^{a_c − log Σ}

for one example with its share s in the loss. The last layer is worked off in blocks of classes,
a_c = W_c h + b_c: once for log Σ, with the largest a so far taken out of it (Milakov and
Gimelshein 2018), and once more, computed again, for its gradients. The terms of 1(c = y), one class
an example, come at the end.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax.dense import product
from ffnn_jax.network import Layer

BLOCK = 2048  # classes


class LogTotal(NamedTuple):
    """log Σ_c e^{a_c} of each example in two parts: their sum would round away the second.

    Attributes:
      largest: the largest a_c, (N,).
      rest: log Σ_c e^{a_c − largest}, (N,).
    """

    largest: jax.Array
    rest: jax.Array


def losses(
    layer: Layer, h: jax.Array, y: jax.Array, compute_dtype: DTypeLike | None
) -> tuple[jax.Array, LogTotal]:
    """ℓ of each example, (N,), and its `LogTotal`.

    Args:
      layer: W (n_L, n_{L−1}) and b (n_L,) of the last layer.
      h: h_{L−1}, (N, n_{L−1}).
      y: classes, (N,); one outside 0 … n_L − 1 has the loss 0.
      compute_dtype: as for `dense`.
    """

    def add(sums, start, size):
        largest, total, a_y = sums
        a = _a(_block(layer, start, size), h, compute_dtype)
        new = jnp.maximum(largest, jnp.max(a, axis=0))
        finite = jnp.where(new == -jnp.inf, 0, new)  # −∞ − −∞ is no number
        total = total * jnp.exp(largest - finite) + jnp.sum(jnp.exp(a - finite[None]), axis=0)
        here = (y >= start) & (y < start + size)
        at_y = jnp.take_along_axis(a, jnp.where(here, y - start, 0)[None], axis=0)[0]
        return new, total, jnp.where(here, at_y, a_y)

    nothing = jnp.zeros_like(h[:, 0])
    start = (jnp.full_like(nothing, -jnp.inf), nothing, nothing)
    largest, total, a_y = _over_blocks(add, start, len(layer.b))
    log_total = LogTotal(largest, jnp.log(total))
    inside = (y >= 0) & (y < len(layer.b))
    return jnp.where(inside, log_total.rest - (a_y - largest), 0), log_total


def gradients(
    layer: Layer,
    h: jax.Array,
    y: jax.Array,
    log_total: LogTotal,
    share: jax.Array,
    compute_dtype: DTypeLike | None,
) -> tuple[Layer, jax.Array]:
    """(∇W_L, ∇b_L) and ∇h_{L−1} of Σ_i s_i ℓ_i.

    Args:
      layer, h, y, compute_dtype: as for `losses`.
      log_total: from `losses`.
      share: s, (N,).
    """
    share = jnp.where((y >= 0) & (y < len(layer.b)), share, 0)
    y = jnp.where(share == 0, 0, y)
    shared_h = share[:, None] * h

    def add(sums, start, size):
        grads, back = sums
        block = _block(layer, start, size)
        a = _a(block, h, compute_dtype)
        yhat = jnp.exp((a - log_total.largest[None]) - log_total.rest[None])
        back += product(yhat, block.W, ((0,), (0,)), h.dtype, compute_dtype)
        part = Layer(
            product(yhat, shared_h, ((1,), (0,)), h.dtype, compute_dtype),
            jnp.sum(yhat * share[None], axis=1),
        )
        put = jax.lax.dynamic_update_slice_in_dim
        return Layer(*(put(t, p, start, 0) for t, p in zip(grads, part, strict=True))), back

    start = jax.tree.map(jnp.zeros_like, (layer, h))
    (grad_W, grad_b), back = _over_blocks(add, start, len(layer.b))
    # the terms of 1(c = y)
    grad_W = grad_W.at[y].add(-shared_h)
    grad_b = grad_b.at[y].add(-share)
    return Layer(grad_W, grad_b), share[:, None] * (back - layer.W.at[y].get())


def _over_blocks(add: Callable[..., Any], sums: Any, classes: int) -> Any:
    """add(sums, first class, how many) over all blocks, the last of them shorter."""
    size = min(BLOCK, classes)
    whole, rest = divmod(classes, size)

    def body(sums, number):
        return add(sums, size * number, size), None

    sums, _ = jax.lax.scan(body, sums, jnp.arange(whole, dtype=jnp.int32))
    return add(sums, whole * size, rest) if rest else sums


def _block(layer: Layer, start: jax.Array | int, size: int) -> Layer:
    return Layer(*(jax.lax.dynamic_slice_in_dim(t, start, size) for t in layer))


def _a(block: Layer, h: jax.Array, compute_dtype: DTypeLike | None) -> jax.Array:
    """a_c = W_c h + b_c of the classes of a block, (classes, N)."""
    return product(block.W, h, ((1,), (1,)), h.dtype, compute_dtype) + block.b[:, None]
