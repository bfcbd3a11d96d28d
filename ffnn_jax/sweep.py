"""Backprop by hand: one sweep from the output down.

The lecture's order. Talk to the output layer: ∇ŷ, then ∇a_L. Then, for k = L, …, 1, talk to the
weights of layer k and to the hidden layer below:

  ∇W_k = ∇a_k h_{k−1}ᵀ      ∇b_k = ∇a_k                        (both summed over the batch)
  ∇h_{k−1} = W_kᵀ ∇a_k      ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})

`_layer` is the only place where this happens. The rest is what the forward pass leaves for it: one
array a layer, or with `Plan(keep_every=s)` every s-th, those between being computed again; and
many equal layers, which share one compiled block in a `lax.scan`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax.activations import ACTIVATIONS, Activation
from ffnn_jax.dense import dense, grad_b, grad_h, grad_W, is_replicated
from ffnn_jax.network import Layer, Network, Params, Tape

MANY = 32  # equal hidden layers from which on they are scanned


class Kept(NamedTuple):
    """What the forward pass leaves for the sweep.

    Attributes:
      layers: of each layer a_k or h_k, as the activation's row says, and a_L of the last; None
        where it is in a stack, or computed again.
      stacks: of each run of blocks what was kept below each block, (blocks, *batch, n).
    """

    layers: tuple[jax.Array | None, ...]
    stacks: tuple[jax.Array, ...] = ()


class Run(NamedTuple):
    """Layers `first` to `last`: one layer, or as many equal blocks of layers as `blocks` says."""

    first: int
    last: int
    blocks: int = 0


class Swept(NamedTuple):
    """The first three fields of `backprop.Gradients`."""

    params: Params
    a: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]


# Forward -----------------------------------------------------------------------------------------


def forward(net: Network, params: Params, x: jax.Array) -> Kept:
    """The forward pass of checked arguments, through as many layers as there are params."""
    layers: list[jax.Array | None] = []
    stacks, tops, h = [], {len(params)}, x
    for run in runs(net, params):
        if run.blocks:
            top, stack = _scan_forward(net, params, run, layers[-1])
            layers[-1] = None  # it is the first of the stack
            layers += [None] * (run.last - run.first) + [top]
            stacks.append(stack)
            tops.add(run.last)
            h = _h(_activation(net, run.last), top)
        elif run.last == net.depth:
            layers.append(dense(*params[-1], h, net.plan.compute_dtype))
        else:
            kept, h = _next(net, run.first, params[run.first - 1], h)
            layers.append(kept)
    every = net.plan.keep_every
    needed = (k in tops or k % every == 0 for k in range(1, len(params) + 1))
    return Kept(
        tuple(t if n else None for t, n in zip(layers, needed, strict=True)), tuple(stacks)
    )


def keep(net: Network, tape: Tape) -> Kept:
    """One array a layer, from a pass that has them all."""
    hidden = (
        a if ACTIVATIONS[name].keep == "a" else h
        for name, a, h in zip(net.activations, tape.a[:-1], tape.h[1:], strict=True)
    )
    return Kept((*hidden, tape.a[-1]))


def runs(net: Network, params: Params) -> list[Run]:
    """The layers in order; those of a long row of equal ones in blocks of `keep_every`."""
    found, k = [], 1
    while k <= len(params):
        blocks = _blocks_from(net, params, k)
        last = k + blocks * net.plan.keep_every - 1 if blocks else k
        found.append(Run(k, last, blocks))
        k = last + 1
    return found


def _blocks_from(net: Network, params: Params, k: int) -> int:
    """How many equal blocks start with layer k; 0 where they are too few to be scanned.

    Layer j is one of them if h_{j−1} and h_j are hidden, of one width and one activation.
    """
    least = {None: MANY - 1, True: 2, False: net.depth}[net.plan.scan_layers]
    names, equal = net.activations, 0
    for j in range(k, min(len(params), net.depth - 1) + 1):
        alike = j > 1 and names[j - 2] == names[j - 1]
        if not alike or not _same_kind(params[j - 1], params[k - 1]):
            break
        equal += 1
    blocks = equal // net.plan.keep_every
    return blocks if equal >= least and blocks > 1 else 0


def _same_kind(layer: Layer, other: Layer) -> bool:
    """Whether two square layers have one type, the same on every device."""
    pairs = zip(layer, other, strict=True)
    same = all(jax.typeof(t) == jax.typeof(u) and is_replicated(t) for t, u in pairs)
    return same and layer.W.shape[0] == layer.W.shape[1]


def _next(net: Network, k: int, layer: Layer, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What to keep of hidden layer k, and h_k, from h_{k−1}."""
    g = _activation(net, k)
    a = dense(*layer, h, net.plan.compute_dtype)  # a_k = W_k h_{k−1} + b_k
    h = g.value(a)  # h_k = g(a_k)
    return (a if g.keep == "a" else h), h


def _scan_forward(
    net: Network, params: Params, run: Run, below: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What is kept of the last layer of the run, and the stack of what is kept below each block."""

    def block(kept, layers):
        top, h = kept, _h(_activation(net, run.first), kept)
        for layer in layers:
            top, h = _next(net, run.first, layer, h)
        return top, kept

    return jax.lax.scan(block, below, _stacked(params, run))


def _stacked(params: Params, run: Run) -> tuple[Layer, ...]:
    """The layers of one block, each with the parameters of all blocks along a first axis."""
    size = (run.last - run.first + 1) // run.blocks
    return tuple(
        jax.tree.map(lambda *t: jnp.stack(t), *params[k - 1 : run.last : size])
        for k in range(run.first, run.first + size)
    )


# Down --------------------------------------------------------------------------------------------


def sweep(net: Network, params: Params, x: jax.Array, kept: Kept, grad_a: jax.Array) -> Swept:
    """From ∇a_L down to ∇x.

    Args:
      net: the network.
      params: its parameters; the lower layers alone where ∇a_k of another layer is given.
      x: (*batch, n_0).
      kept: from `forward` or `keep`.
      grad_a: ∇a_L, (*batch, n_L), or ∇a_k of the last of `params`.
    """
    grads, grads_a, grads_h = [], [grad_a], []  # from the top down
    layers, stacks = list(kept.layers), list(kept.stacks)
    plain = [Run(k, k) for k in range(1, len(params) + 1)]
    for run in reversed(runs(net, params) if stacks else plain):
        if run.blocks:
            part = _scan_back(net, params, run, stacks.pop(), grads_a[-1])
        else:
            part = _back(net, params, run.first, x, layers, grads_a[-1])
        grads += part.params
        grads_a += part.a
        grads_h += part.h
    return Swept(*(tuple(reversed(t)) for t in (grads, grads_a, grads_h)))


def _back(
    net: Network,
    params: Params,
    k: int,
    x: jax.Array,
    layers: list[jax.Array | None],
    grad_a: jax.Array,
) -> Swept:
    """One layer of the sweep, k, from ∇a_k; what is missing in `layers` below it is filled in."""
    if k > 1 and layers[k - 2] is None:
        _compute_again(net, params, x, layers, k - 1, grad_a)
    below = x if k == 1 else layers[k - 2]
    grads, grad_h, grad_a_below = _layer(net, k, params[k - 1], below, grad_a)
    return Swept((grads,), () if k == 1 else (grad_a_below,), (grad_h,))


def _layer(
    net: Network, k: int, layer: Layer, below: jax.Array, grad_a: jax.Array
) -> tuple[Layer, jax.Array, jax.Array]:
    """(∇W_k, ∇b_k), ∇h_{k−1} and ∇a_{k−1} from ∇a_k and what was kept of layer k−1, which is x for k = 1.

    ∇h_{k−1} comes before ∇W_k, for h_{k−1} may have to wait for it: see `_after`.
    """
    (W, b), dtype = layer, net.plan.compute_dtype
    h, grad_a_below = below, grad_a
    grad_h_below = grad_h(W, below, grad_a, dtype)  # ∇h_{k−1} = W_kᵀ ∇a_k
    if k > 1:
        h, derivative = _h_and_derivative(_activation(net, k - 1), below, grad_h_below)
        grad_a_below = grad_h_below * derivative  # ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})
    # ∇W_k = ∇a_k h_{k−1}ᵀ,  ∇b_k = ∇a_k, summed over the batch
    return Layer(grad_W(W, h, grad_a, dtype), grad_b(b, grad_a)), grad_h_below, grad_a_below


def _scan_back(
    net: Network, params: Params, run: Run, stack: jax.Array, grad_a: jax.Array
) -> Swept:
    """The sweep through a run, from ∇a of its last layer; the results from the top down."""

    def block(grad_a, rows):
        below, layers = rows
        kept = [below]
        for layer in layers[:-1]:  # computed again: in a loop of its own nothing is merged
            kept.append(_next(net, run.first, layer, _h(_activation(net, run.first), kept[-1]))[0])
        parts = []
        for layer, below in zip(reversed(layers), reversed(kept), strict=True):
            parts.append(_layer(net, run.first, layer, below, grad_a))
            grad_a = parts[-1][-1]
        return grad_a, parts

    _, parts = jax.lax.scan(block, grad_a, (stack, _stacked(params, run)), reverse=True)
    rows = [
        jax.tree.map(lambda t, j=j: jax.lax.index_in_dim(t, j, keepdims=False), part)
        for j in reversed(range(run.blocks))
        for part in parts
    ]
    grads, grads_h, grads_a = zip(*rows, strict=True)
    return Swept(grads, grads_a, grads_h)


def _compute_again(
    net: Network,
    params: Params,
    x: jax.Array,
    layers: list[jax.Array | None],
    k: int,
    grad_a: jax.Array,
) -> None:
    """Fills in what was not kept of layer k and of those below, up from the nearest that was."""
    start = next(j for j in range(k - 1, -1, -1) if j == 0 or layers[j - 1] is not None)
    h = x if start == 0 else _h(_activation(net, start), layers[start - 1])
    h = _after(jnp.max(grad_a, axis=-1, keepdims=True), h)
    for j in range(start + 1, k + 1):
        layers[j - 1], h = _next(net, j, params[j - 1], h)


def _activation(net: Network, k: int) -> Activation:
    """g of hidden layer k."""
    return ACTIVATIONS[net.activations[k - 1]]


def _h(g: Activation, kept: jax.Array) -> jax.Array:
    """h from what was kept of a hidden layer."""
    return kept if g.keep == "h" else g.value(kept)


def _h_and_derivative(
    g: Activation, kept: jax.Array, grad_h: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(h, g′(a)) of a hidden layer from what was kept of it, and its ∇h."""
    if g.keep == "h":
        return kept, g.derivative(kept)
    a = _after(grad_h, kept)
    return g.value(a), g.derivative(a)


def _after(gradient: jax.Array, t: jax.Array) -> jax.Array:
    """t, as a value that is not known before the gradient is.

    What the sweep computes again XLA would see to be there in the forward pass, and keep from
    there: two or three arrays a layer in place of one. It cannot know that the gradient is a
    number, so this choice has to wait for it.
    """
    return jnp.where(jnp.isnan(gradient), gradient, t)
