"""The forward pass and the sweep of a whole network on a tile of rows, as pure functions of values.

  a_k = W_k h_{k−1} + b_k        h_k = g(a_k)
  ∇W_k = ∇a_k h_{k−1}ᵀ           ∇b_k = ∇a_k                          (summed over the rows)
  ∇h_{k−1} = W_kᵀ ∇a_k           ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})

It is `sweep` for a kernel: one array a layer is kept, a_k or h_k as the table of activations says.
Padded units have W = 0 and b = 0; with a g for which g(0) = 0 they stay 0 and so do their ∇.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.kernels.tiles import affine, grad_h, grad_W
from ffnn_jax.network import Layer, Params

Kept = tuple[jax.Array, ...]  # (kept_1, …, kept_{L−1}, a_L)


def forward(activations: Sequence[str], params: Params, x: jax.Array) -> Kept:
    """What the sweep needs of each layer; the last of it is a_L."""
    kept, h = [], x
    for name, (W, b) in zip(activations, params[:-1], strict=True):
        g, a = ACTIVATIONS[name], affine(W, b, h)  # a_k = W_k h_{k−1} + b_k
        h = g.value(a)  # h_k = g(a_k)
        kept.append(a if g.keep == "a" else h)
    return (*kept, affine(*params[-1], h))


def sweep(
    activations: Sequence[str], params: Params, x: jax.Array, kept: Kept, grad_a: jax.Array
) -> Params:
    """(∇W_k, ∇b_k) of each layer, from ∇a_L (rows, n_L) of the loss."""
    layers: list[Layer] = []
    for k in range(len(params), 0, -1):
        h, below = x, grad_a
        if k > 1:
            g = ACTIVATIONS[activations[k - 2]]
            h = kept[k - 2] if g.keep == "h" else g.value(kept[k - 2])
            # ∇a_{k−1} = W_kᵀ ∇a_k ⊙ g′(a_{k−1})
            below = grad_h(params[k - 1].W, grad_a) * g.derivative(kept[k - 2])
        # ∇W_k = ∇a_k h_{k−1}ᵀ,  ∇b_k = ∇a_k, summed over the rows
        layers.insert(0, Layer(grad_W(grad_a, h), jnp.sum(grad_a, axis=0)))
        grad_a = below
    return tuple(layers)
