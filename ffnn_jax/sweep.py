"""Backprop by hand: one sweep from the output down, and what the forward pass keeps for it.

The lecture's order. Talk to the output layer: ∇ŷ, then ∇a_L. Then, for k = L, …, 1, talk to the
weights of layer k and to the hidden layer below:

  ∇W_k = ∇a_k h_{k−1}ᵀ      ∇b_k = ∇a_k                        (both summed over the batch)
  ∇h_{k−1} = W_kᵀ ∇a_k      ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})

and with dropout            ∇a_{k−1} = ∇h_{k−1} ⊙ m_{k−1} / (1 − p_{k−1}) ⊙ g′(a_{k−1}).

`sweep` is the only place where this happens. It needs one array a layer, a_k or h_k; with
`Plan(keep_every=s)` it has every s-th, and computes those between again. Where they are small it
may have both.

Each of the two passes has a second form, one kernel for all layers of a narrow network; which of
them runs is for `Plan(implementation=…)` to say.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax.activations import ACTIVATIONS, Activation
from ffnn_jax.dense import dense, grad_b, grad_h, grad_W, rows
from ffnn_jax.dropout import drop, mask
from ffnn_jax.kernels import narrow, tiles
from ffnn_jax.network import Layer, Network, Params, Tape

# a_k and h_k are both kept where all h_k are no more bytes than SMALL, or than twice the weights
# and LARGE: to compute h_k again takes up to 5 % of a step, in a tiny network a fifth.
SMALL, LARGE = 2**18, 2**23

Kept = tuple[Any, ...]  # (kept_1, …, kept_{L−1}, a_L), arrays; None where computed again


class Swept(NamedTuple):
    """The first three fields of `Gradients`."""

    params: Params
    a: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]


def forward(net: Network, params: Params, x: jax.Array, key: jax.Array | None = None) -> Kept:
    """The forward pass of checked arguments; the last of what it keeps is a_L.

    What it keeps of a layer is from before dropout. Given the lower layers alone, it goes through
    those, and keeps the last of them too.
    """
    kernel, reference = partial(narrow.forward, net), partial(_layer_by_layer, net, key)
    return narrow.computed("narrow_mlp", net, (params, x), key, kernel=kernel, reference=reference)


def last_a(net: Network, params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """a_L alone, (*batch, n_L): the forward pass where nothing is to be differentiated."""

    def reference(params: Params, x: jax.Array) -> jax.Array:
        return _layer_by_layer(net, key, params, x)[-1]

    kernel = partial(narrow.last_a, net)
    return narrow.computed(
        "narrow_forward", net, (params, x), key, kernel=kernel, reference=reference
    )


def _layer_by_layer(net: Network, key: jax.Array | None, params: Params, x: jax.Array) -> Kept:
    """`forward` without a kernel."""
    kept = []
    h = x
    for k, layer in enumerate(params, start=1):
        if k == net.depth:
            kept.append(dense(*layer, h, net.plan.compute_dtype))
        else:
            array, h = _hidden(net, k, layer, h, key)
            kept.append(array if k == len(params) or k % net.plan.keep_every == 0 else None)
    return tuple(kept)


def keep(net: Network, tape: Tape) -> Kept:
    """One array a layer: a_k or h_k, as the activation's row says; of a pass without dropout."""
    hidden = (
        a if ACTIVATIONS[name].keep == "a" else h
        for name, a, h in zip(net.activations, tape.a[:-1], tape.h[1:], strict=True)
    )
    return (*hidden, tape.a[-1])


def sweep(
    net: Network,
    params: Params,
    x: jax.Array,
    kept: Kept,
    grad_a: jax.Array,
    key: jax.Array | None = None,
) -> Swept:
    """From ∇a_L down to ∇x.

    Args:
      net: the network.
      params: its parameters; or the lower layers alone, and ∇a of the last of them.
      x: (*batch, n_0).
      kept: from `forward` or `keep`.
      grad_a: ∇a_L, (*batch, n_L).
      key: that of dropout in the forward pass, or None.
    """
    kernel, reference = partial(_by_kernel, net), partial(_down, net, key)
    arrays = params, x, kept, grad_a
    return narrow.computed("narrow_mlp", net, arrays, key, kernel=kernel, reference=reference)


def _down(
    net: Network,
    key: jax.Array | None,
    params: Params,
    x: jax.Array,
    kept: Kept,
    grad_a: jax.Array,
) -> Swept:
    """`sweep`, layer by layer.

    ∇h_{k−1} comes before ∇W_k, for h_{k−1} may have to wait for it: see `_after`.
    """
    dtype = net.plan.compute_dtype
    below: list[Any] = list(kept)
    layers, grads_a, grads_h = [], [grad_a], []
    for k in range(len(params), 0, -1):
        W, b = params[k - 1]
        grad_a = grads_a[0]
        if k > 1 and below[k - 2] is None:
            _compute_again(net, params, x, below, k - 1, grad_a, key)
        h = x if k == 1 else below[k - 2]  # or a_{k−1}, until h is computed again
        grads_h.insert(0, grad_h(W, h, grad_a, dtype))  # ∇h_{k−1} = W_kᵀ ∇a_k
        if k > 1:
            h, derivative = h_and_derivative(net, k - 1, h, grads_h[0], key)
            grads_a.insert(0, grads_h[0] * derivative)  # ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})
        # ∇W_k = ∇a_k h_{k−1}ᵀ,  ∇b_k = ∇a_k, summed over the batch
        layers.insert(0, Layer(grad_W(W, h, grad_a, dtype), grad_b(b, grad_a)))
    return Swept(tuple(layers), tuple(grads_a), tuple(grads_h))


def _by_kernel(net: Network, params: Params, x: jax.Array, kept: Kept, grad_a: jax.Array) -> Swept:
    """`sweep` with all ∇a_k from one kernel; the sums over the batch are taken in float32."""
    dtype = net.plan.compute_dtype
    grads_a = narrow.grads_a(net, params, kept, grad_a)
    h = (x, *(hidden_of(net, k, kept[k - 1], None) for k in range(1, net.depth)))
    layers, grads_h = [], []
    for (W, b), h_below, grad_a in zip(params, h, grads_a, strict=True):
        grads_h.append(grad_h(W, h_below, grad_a, dtype))
        grad = tiles.grad_W(rows(grad_a), rows(h_below), dtype)
        layers.append(Layer(grad.astype(W.dtype), grad_b(b, grad_a)))
    return Swept(tuple(layers), grads_a, tuple(grads_h))


def h_and_derivative(
    net: Network, k: int, kept: jax.Array, grad_h: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """(h_k, m_k / (1 − p_k) ⊙ g′(a_k)) of hidden layer k from what was kept of it, and its ∇h_k."""
    g, p = _activation(net, k), net.dropouts[k - 1]
    m = mask(key, k, p, grad_h)
    if g.keep == "a" and not _keeps_both(net, kept):
        kept = _after(grad_h, kept)
    h = kept if g.keep == "h" else g.value(kept)
    return drop(h, m, p), drop(g.derivative(kept), m, p)


def hidden_of(net: Network, k: int, kept: jax.Array, key: jax.Array | None) -> jax.Array:
    """h_k from what was kept of hidden layer k."""
    g, p = _activation(net, k), net.dropouts[k - 1]
    m = mask(key, k, p, kept)
    return drop(kept if g.keep == "h" else g.value(kept), m, p)


def _compute_again(
    net: Network,
    params: Params,
    x: jax.Array,
    kept: list[Any],
    k: int,
    grad_a: jax.Array,
    key: jax.Array | None,
) -> None:
    """Fills in what was not kept of layer k and of those below it, up from the nearest that was.

    It starts when ∇a_{k+1} is there, and not before: see `_after`.
    """
    start = next(j for j in range(k - 1, -1, -1) if j == 0 or kept[j - 1] is not None)
    below = _after(jnp.max(grad_a, axis=-1, keepdims=True), kept[start - 1] if start else x)
    h = hidden_of(net, start, below, key) if start else below
    for j in range(start + 1, k + 1):
        kept[j - 1], h = _hidden(net, j, params[j - 1], h, key)


def _hidden(
    net: Network, k: int, layer: Layer, h: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """What to keep of hidden layer k, and h_k, from h_{k−1}."""
    g, p = _activation(net, k), net.dropouts[k - 1]
    a = dense(*layer, h, net.plan.compute_dtype)  # a_k = W_k h_{k−1} + b_k
    h = g.value(a)  # h_k = g(a_k)
    kept = a if g.keep == "a" else h
    m = mask(key, k, p, kept)
    return kept, drop(h, m, p)  # h_k = m_k ⊙ g(a_k) / (1 − p_k)


def _activation(net: Network, k: int) -> Activation:
    """g of hidden layer k."""
    return ACTIVATIONS[net.activations[k - 1]]


def _keeps_both(net: Network, kept: jax.Array) -> bool:
    """Whether a_k and h_k of all hidden layers may be kept, by what was kept of one of them.

    Not where `keep_every` asks for less, nor where the batch is a symbol (`jax.export`).
    """
    if net.plan.keep_every > 1 or not all(isinstance(n, int) for n in kept.shape):
        return False
    examples, bytes_each = kept.size // kept.shape[-1], kept.dtype.itemsize
    weights = sum(n * m for n, m in itertools.pairwise(net.sizes)) * bytes_each
    h = examples * sum(net.sizes[1:-1]) * bytes_each
    return h <= min(max(SMALL, 2 * weights), LARGE)


def _after(gradient: jax.Array, t: jax.Array) -> jax.Array:
    """t, as a value that is not known before the gradient is.

    What the sweep computes again could as well be had in the forward pass: XLA sees that, and keeps
    it from there, two or three arrays a layer in place of one. It cannot know that the gradient is
    a number, so this choice has to wait for it.
    """
    return jnp.where(jnp.isnan(gradient), gradient, t)
