"""Narrow networks in one kernel for all layers: the forward pass, and the way back to ∇a_1.

  narrow_forward   a_L of a tile of rows, nothing else written
  narrow_mlp       the same, which keeps a_k or h_k of each hidden layer as `sweep` does;
                   and from ∇a_L every ∇a_{L−1}, …, ∇a_1, in a second kernel

Layer by layer each h_k and ∇a_k goes to memory and comes back; of a narrow network that is what
takes the time, not the products. Here a program has a tile of rows, reads W_k and b_k once for it,
and writes what is asked for; h_k stays on chip. All arrays have the sizes they have: a block of
2^n units reaches over their edge, where it holds 0 (`triton.read`). Such units add nothing to a
product, whatever g(0) is, for their columns of W are 0 too.

∇W, ∇b and ∇h are for XLA: sums over all rows, and products that only some callers want.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.dense import is_placed
from ffnn_jax.kernels import choice, measured, tiles, triton
from ffnn_jax.network import Network, Params

WIDEST = tiles.SIDES[-1]
DEEPEST = 8  # hidden layers
DTYPES = ("float32", "bfloat16", "float16")

# (rows of a tile, warps) by the widest side: what fits into the registers without spilling.
TILINGS = {16: (64, 4), 32: (64, 4), 64: (64, 4), 128: (64, 8)}


# The choice --------------------------------------------------------------------------------------


def chosen(
    name: str,
    net: Network,
    params: Params,
    x: jax.Array,
    key: jax.Array | None,
    *,
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
) -> Callable[..., Any]:
    """The kernel of this name or its reference, as the plan has it: see `choice.chosen`."""
    reason = why_not(net, params, x, key)
    wins = reason is None and measured.wins(name, net, x.dtype, math.prod(x.shape[:-1]))
    asked = net.plan.implementation
    return choice.chosen(asked, name, kernel, reference, reason=reason, wins=wins)


def why_not(net: Network, params: Params, x: jax.Array, key: jax.Array | None) -> str | None:
    """Why the kernels do not take these arguments; None where they do."""
    _, *hidden, _ = net.sizes
    factors = net.plan.compute_dtype or params[0].W.dtype.name
    for dtype in (params[0].W.dtype.name, factors):
        if dtype not in DTYPES:
            return f"takes {', '.join(DTYPES)}, not {dtype}"
    if not 1 <= len(hidden) <= DEEPEST:
        return f"takes 1 to {DEEPEST} hidden layers, not {len(hidden)}"
    if max(net.sizes) > WIDEST:
        return f"takes layers, inputs and outputs of up to {WIDEST}, not {max(net.sizes)}"
    if net.plan.keep_every != 1:
        return f"keeps every layer, not every {net.plan.keep_every}th"
    if net.plan.class_blocks:
        return "knows no blocks of classes"
    if key is not None:
        return "knows no dropout"
    if not all(isinstance(n, int) for n in x.shape):
        return f"takes a batch of a known size, not {x.shape[:-1]}"
    if _on_several_devices((params, x)):
        return "runs on one device, and here is a mesh"
    return None


def _on_several_devices(arrays: Any) -> bool:
    """Whether any array is on a mesh of devices, or the caller works on one."""
    leaves = jax.tree.leaves(arrays)
    meshes = [jax.sharding.get_abstract_mesh(), *(jax.typeof(t).sharding.mesh for t in leaves)]
    return any(not mesh.empty and mesh.size > 1 for mesh in meshes) or any(map(is_placed, leaves))


# The kernels as functions of arrays --------------------------------------------------------------


def last_a(net: Network, params: Params, x: jax.Array) -> jax.Array:
    """a_L, (*batch, n_L), by narrow_forward."""
    (a_L,) = _layers(net, params, x, net.sizes[-1:], _forward, "narrow_forward")
    return a_L


def forward(net: Network, params: Params, x: jax.Array) -> tuple[jax.Array, ...]:
    """(kept_1, …, kept_{L−1}, a_L) as of `sweep.forward`, by narrow_mlp."""
    return _layers(net, params, x, net.sizes[1:], _forward, "narrow_mlp_forward")


def grads_a(
    net: Network, params: Params, kept: Sequence[jax.Array], grad_a: jax.Array
) -> tuple[jax.Array, ...]:
    """(∇a_1, …, ∇a_L) from what was kept and ∇a_L, by narrow_mlp."""
    *batch, _ = grad_a.shape
    arrays = [*(W for W, _ in params[1:]), *map(_rows, kept[:-1]), _rows(grad_a)]
    lower = _call(net, arrays, net.sizes[1:-1], grad_a, _backward, "narrow_mlp_backward")
    return (*(t.reshape(*batch, t.shape[-1]) for t in lower), grad_a)


def _layers(net, params, x, widths, body, name) -> tuple[jax.Array, ...]:
    """The outputs of these widths of a kernel that reads x and the parameters."""
    *batch, _ = x.shape
    arrays = [_rows(x), *jax.tree.leaves(params)]
    outputs = _call(net, arrays, widths, x, body, name)
    return tuple(t.reshape(*batch, t.shape[-1]) for t in outputs)


def _call(net, arrays, widths, like, body, name) -> tuple[jax.Array, ...]:
    """One program for each tile of the rows of `like`; outputs of these widths and its dtype."""
    rows = math.prod(like.shape[:-1])
    tile, warps = tiling(net, rows)
    outputs = tuple(jax.ShapeDtypeStruct((rows, n), like.dtype) for n in widths)
    grid = (-(-rows // tile),)
    return triton.call(partial(body, net, tile), arrays, outputs, name=name, warps=warps, grid=grid)


def tiling(net: Network, rows: int) -> tuple[int, int]:
    """(rows of a tile, warps of a program); fewer rows where there are no more."""
    tile, warps = TILINGS[tiles.side(max(net.sizes))]
    return min(tile, max(tiles.SIDES[0], 1 << (rows - 1).bit_length())), warps


def _rows(t: jax.Array) -> jax.Array:
    """(*batch, n) as (rows, n)."""
    return t.reshape(-1, t.shape[-1])


# The bodies --------------------------------------------------------------------------------------


def _forward(net: Network, tile: int, x: Any, *refs: Any) -> None:
    """a_L of a tile, from refs of x, (W_1, b_1, …), and of what is written: a_L comes last.

    With a ref for each layer it writes what is kept of the hidden ones too.
    """
    parameters, outputs = refs[: 2 * net.depth], refs[2 * net.depth :]
    start, sides = tile * triton.program(), [tiles.side(n) for n in net.sizes]
    h = triton.read(x, (tile, sides[0]), start)
    for k in range(1, net.depth + 1):
        W = triton.read(parameters[2 * k - 2], (sides[k], sides[k - 1]))
        b = triton.read(parameters[2 * k - 1], (sides[k],))
        a = tiles.affine(W, b, h, net.plan.compute_dtype)  # a_k = W_k h_{k−1} + b_k
        if k == net.depth:
            triton.write(outputs[-1], a, start)
        else:
            g = ACTIVATIONS[net.activations[k - 1]]
            kept, h = tiles.activated(g, a, x.dtype)  # h_k = g(a_k)
            if len(outputs) == net.depth:
                triton.write(outputs[k - 1], kept, start)


def _backward(net: Network, tile: int, *refs: Any) -> None:
    """∇a_{L−1}, …, ∇a_1 of a tile, from refs of (W_2, …, W_L), (kept_1, …, kept_{L−1}), ∇a_L."""
    hidden = net.depth - 1
    weights, kept, last, outputs = refs[:hidden], refs[hidden:-hidden - 1], refs[-hidden - 1], refs[-hidden:]
    start, sides = tile * triton.program(), [tiles.side(n) for n in net.sizes]
    grad_a = triton.read(last, (tile, sides[-1]), start)
    for k in range(net.depth, 1, -1):
        W = triton.read(weights[k - 2], (sides[k], sides[k - 1]))
        grad_h = tiles.grad_h(W, grad_a, net.plan.compute_dtype)  # ∇h_{k−1} = W_kᵀ ∇a_k
        below = triton.read(kept[k - 2], (tile, sides[k - 1]), start)
        g = ACTIVATIONS[net.activations[k - 2]]
        grad_a = tiles.grad_a(g, below, grad_h).astype(last.dtype)  # ∇h_{k−1} ⊙ g′(a_{k−1})
        triton.write(outputs[k - 2], grad_a, start)
