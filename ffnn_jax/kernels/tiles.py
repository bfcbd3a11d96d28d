"""One layer on a tile of rows, as pure functions of values: what every kernel computes.

  a = W h + b          ∇h = Wᵀ ∇a          ∇W = ∇a hᵀ          ∇b = ∇a     (summed over the rows)
  h = g(a)             ∇a = ∇h ⊙ g′(a)

for h (rows, n_{k−1}) and ∇a (rows, n_k). Factors are in `compute_dtype` where there is one, sums
always in float32. How float32 factors are multiplied on a GPU is JAX's own setting,
`jax.default_matmul_precision`, as it is for XLA: "highest" is full float32, the default TF32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax.activations import Activation
from ffnn_jax.tiny import Contract

SIDES = (16, 32, 64)  # of a block: a product on a GPU wants at least 16; 128 take all registers
# What Triton makes of the values of jax.default_matmul_precision, for factors of float32
FULL = ("highest", "float32")
TF32 = (None, "default", "high", "bfloat16", "tensorfloat32")


def in_full() -> bool:
    """Whether a product of float32 is to be of full float32, not of TF32, where it is traced."""
    return _precision() in FULL


def why_not_the_precision() -> str | None:
    """Why no kernel takes JAX's setting of precision, to go after its name; None where all do."""
    asked = _precision()
    if asked in (*FULL, *TF32):
        return None
    return f"has products of TF32 or of full float32, got jax.default_matmul_precision({asked!r})"


def _precision() -> str | None:
    config: Any = jax.config  # whose settings have no types
    return config.jax_default_matmul_precision


def side(length: int) -> int:
    """The least of SIDES with room for so many."""
    return next(side for side in SIDES if side >= length)


def cuts(n: int) -> list[tuple[int, int]]:
    """The blocks that n units are cut into, (first unit, side); the last may reach beyond n."""
    largest = SIDES[-1]
    return [(first, side(min(n - first, largest))) for first in range(0, n, largest)]


def product(
    x: jax.Array, y: jax.Array, contract: Contract, compute_dtype: DTypeLike | None
) -> jax.Array:
    """The product of x and y summed over the axes `contract` = (of x, of y), in float32."""
    if compute_dtype is not None:
        x, y = x.astype(compute_dtype), y.astype(compute_dtype)
    return jax.lax.dot_general(x, y, (contract, ((), ())), preferred_element_type=jnp.float32)


def affine(
    W: jax.Array, b: jax.Array, h: jax.Array, compute_dtype: DTypeLike | None = None
) -> jax.Array:
    """a = W h + b, (rows, n_k), float32."""
    return affine_part(W, h, compute_dtype) + b.astype(jnp.float32)[None, :]


def affine_part(W: jax.Array, h: jax.Array, compute_dtype: DTypeLike | None = None) -> jax.Array:
    """W h, (rows, n_k), float32: where W and h are cut into several blocks, one term of a."""
    return product(h, W, ((1,), (1,)), compute_dtype)


def grad_h(W: jax.Array, grad_a: jax.Array, compute_dtype: DTypeLike | None = None) -> jax.Array:
    """∇h = Wᵀ ∇a, (rows, n_{k−1}), float32."""
    return product(grad_a, W, ((1,), (0,)), compute_dtype)


def grad_W(grad_a: jax.Array, h: jax.Array, compute_dtype: DTypeLike | None = None) -> jax.Array:
    """∇W = ∇a hᵀ summed over the rows, (n_k, n_{k−1}), float32."""
    return product(grad_a, h, ((0,), (0,)), compute_dtype)


def grad_a(g: Activation, kept: jax.Array, grad_h: jax.Array) -> jax.Array:
    """∇a = ∇h ⊙ g′ from what was kept of the layer, (rows, n), float32."""
    return grad_h * g.derivative(kept.astype(jnp.float32))


def activated(g: Activation, a: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """What is kept of a layer, a or h = g(a) rounded to dtype, and h as it follows from that."""
    kept = (a if g.keep == "a" else g.value(a)).astype(dtype)
    h = kept if g.keep == "h" else g.value(kept.astype(jnp.float32)).astype(dtype)
    return kept, h
