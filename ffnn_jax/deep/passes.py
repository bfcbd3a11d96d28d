"""The forward pass and the sweep of a network with a block: `lax.scan` over stacked layers.

Layer k of the block, upwards, from what was kept of the layer below it, r_{k−1} = a_{k−1} or
h_{k−1}, which all of them do alike, for the layer below the block has the same g:

  h_{k−1} from r_{k−1}        a_k = W_k h_{k−1} + b_k        r_k = a_k or g(a_k)

and downwards, from ∇a_k and r_{k−1}:

  ∇h_{k−1} = W_kᵀ ∇a_k        ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})
  ∇W_k = ∇a_k h_{k−1}ᵀ        ∇b_k = ∇a_k                        (both summed over the batch)

The layers below the block and above it go through `sweep` as ever.
"""

import dataclasses
from typing import Any, NamedTuple

import jax

from ffnn_jax import network, outputs, sweep
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.deep.block import Stacked
from ffnn_jax.dense import dense, grad_b, grad_h, grad_W
from ffnn_jax.network import Layer, Network
from ffnn_jax.sweep import Kept, h_and_derivative, hidden_of


class Passed(NamedTuple):
    """What the forward pass keeps: one array a layer.

    Attributes:
      below: of the layers below the block, as from `sweep.forward`.
      block: r_{k−1} for each layer k of the block, (n, *batch, m).
      top: r of the last layer of the block, (*batch, m).
      above: of the layers above it; the last is a_L.
    """

    below: Kept
    block: jax.Array
    top: jax.Array
    above: Kept


def forward(net: Network, params: Stacked, x: jax.Array) -> Passed:
    """The forward pass of stacked parameters; x is (*batch, n_0)."""
    bottom, top = _ends(params)
    below = sweep.forward(net, params.below, x)
    g = ACTIVATIONS[net.activations[bottom - 1]]

    def up(r: jax.Array, layer: Layer) -> tuple[jax.Array, jax.Array]:
        a = dense(*layer, hidden_of(net, bottom, r, None), net.plan.compute_dtype)
        return a if g.keep == "a" else g.value(a), r

    r_top, of_block = jax.lax.scan(up, below[-1], params.block)
    h = hidden_of(net, top, r_top, None)
    return Passed(below, of_block, r_top, sweep.forward(_above(net, top), params.above, h))


def loss_and_gradients(
    net: Network, params: Stacked, x: jax.Array, y: Any, weights: Any
) -> tuple[jax.Array, Stacked]:
    """(ℒ, ∇ℒ) of checked examples at stacked parameters, the gradients stacked as they are."""
    passed = forward(net, params, x)
    a_L = passed.above[-1]
    value = network.batch_loss(net, a_L, y, weights)
    gradient = outputs.grad_a(net.output, network.loss_of(net), a_L, y)
    return value, _sweep(net, params, x, passed, network.shares(a_L, weights) * gradient)


def _sweep(
    net: Network, params: Stacked, x: jax.Array, passed: Passed, grad_a: jax.Array
) -> Stacked:
    """From ∇a_L down to ∇W_1 and ∇b_1."""
    bottom, top = _ends(params)
    dtype = net.plan.compute_dtype

    def down(grad_a: jax.Array, step: tuple[Layer, jax.Array]) -> tuple[jax.Array, Layer]:
        (W, b), r = step
        grad_below = grad_h(W, r, grad_a, dtype)  # ∇h_{k−1} = W_kᵀ ∇a_k
        h, derivative = h_and_derivative(net, bottom, r, grad_below, None)
        # ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})
        return grad_below * derivative, Layer(grad_W(W, h, grad_a, dtype), grad_b(b, grad_a))

    h = hidden_of(net, top, passed.top, None)
    above = sweep.sweep(_above(net, top), params.above, h, passed.above, grad_a)
    _, derivative = h_and_derivative(net, top, passed.top, above.h[0], None)
    steps = params.block, passed.block
    grad_a, of_block = jax.lax.scan(down, above.h[0] * derivative, steps, reverse=True)
    below = sweep.sweep(net, params.below, x, passed.below, grad_a)
    return Stacked(below.params, of_block, above.params)


def _ends(params: Stacked) -> tuple[int, int]:
    """k of the layer below the block, and of the last of it."""
    below = len(params.below)
    return below, below + params.block.W.shape[0]


def _above(net: Network, top: int) -> Network:
    """The layers above the block as a network of their own."""
    sizes, names = net.sizes[top:], net.activations[top:]
    return dataclasses.replace(net, sizes=sizes, activation=names, dropout=0.0)
