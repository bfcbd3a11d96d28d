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
from jax.typing import DTypeLike

from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.dense import rows
from ffnn_jax.kernels import choice, measured, tiles, triton
from ffnn_jax.network import Network, Params

WIDEST = 128
WIDEST_IN_FULL = 64  # of float32 under jax.default_matmul_precision("highest"): more spills
DEEPEST = 8  # hidden layers
DTYPES = ("float32", "bfloat16", "float16")


# The choice --------------------------------------------------------------------------------------


def computed(
    name: str,
    net: Network,
    arrays: tuple[Any, ...],
    key: jax.Array | None,
    *,
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
) -> Any:
    """What the kernel of this name or its reference makes of the arrays: see `choice.chosen`.

    Under jit a mesh of Auto axes that comes from `in_shardings` cannot be seen, so a kernel that
    nobody asked for is taken in a process with one device only.

    Args:
      name: of the kernel.
      net: the network.
      arrays: the arguments of both, (params, x, …).
      key: that of dropout.
      kernel, reference: as for `choice.chosen`.
    """
    reason, x = why_not(net, arrays, key), arrays[1]
    wins = (
        reason is None
        and measured.wins(name, net, x.dtype, math.prod(x.shape[:-1]))
        and jax.device_count() == 1
    )
    asked = net.plan.implementation
    return choice.chosen(asked, name, kernel, reference, reason=reason, wins=wins)(*arrays)


def check_asked(net: Network, dtype: DTypeLike, *, on_mesh: bool) -> None:
    """Refuses to train a network by a kernel that does not take it, before anything is compiled."""
    if net.plan.implementation == "pallas":
        reason = _why_not_the_network(net, dtype) or _why_not_here(any(net.dropouts), on_mesh)
        choice.check_taken("narrow_mlp", reason)


def why_not(net: Network, arrays: tuple[Any, ...], key: jax.Array | None) -> str | None:
    """Why the kernels do not take these arguments, (params, x, …); None where they do."""
    x = arrays[1]
    reason = _why_not_the_network(net, x.dtype)  # which is that of the parameters
    if reason is None and not all(isinstance(n, int) for n in x.shape):
        reason = f"takes a batch of a known size, not {x.shape[:-1]}"
    return reason or _why_not_here(key is not None, _on_several_devices(arrays))


def _why_not_here(dropout: bool, on_mesh: bool) -> str | None:
    if dropout:
        return "knows no dropout"
    return "runs on one device, and here is a mesh" if on_mesh else None


def _why_not_the_network(net: Network, dtype: DTypeLike) -> str | None:
    """Why not a network with parameters of that dtype, whatever x is."""
    hidden, widest, of_products = net.depth - 1, max(net.sizes), factors(net, dtype)
    for given in (jnp.dtype(dtype).name, of_products):
        if given not in DTYPES:
            return f"takes {', '.join(DTYPES)}, not {given}"
    if not 1 <= hidden <= DEEPEST:
        return f"takes 1 to {DEEPEST} hidden layers, not {hidden}"
    if widest > WIDEST:
        return f"takes layers, inputs and outputs of up to {WIDEST}, not {widest}"
    if tiles.why_not_the_precision():
        return tiles.why_not_the_precision()
    if tiles.in_full() and of_products == "float32" and widest > WIDEST_IN_FULL:
        return f"takes up to {WIDEST_IN_FULL} in full float32 precision, not {widest}"
    if net.plan.keep_every != 1:
        return f"keeps every layer, not one in {net.plan.keep_every}"
    if net.plan.class_blocks:
        return "knows no blocks of classes"
    return None


def _on_several_devices(arrays: Any) -> bool:
    """Whether any array is on a mesh of devices, or the caller works on one."""
    here = jax.sharding.get_abstract_mesh()
    homes = [jax.typeof(t).sharding for t in jax.tree.leaves(arrays)]
    split = bool(here.manual_axes) or any(any(home.spec) for home in homes)
    meshes = [here, *(home.mesh for home in homes)]
    return split or any(not mesh.empty and mesh.size > 1 for mesh in meshes)


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
    arrays = [*(W for W, _ in params[1:]), *map(rows, kept[:-1]), rows(grad_a)]
    lower = _call(net, arrays, net.sizes[1:-1], grad_a, _backward, "narrow_mlp_backward")
    return (*(t.reshape(*batch, t.shape[-1]) for t in lower), grad_a)


def _layers(net, params, x, widths, body, name) -> tuple[jax.Array, ...]:
    """The outputs of these widths of a kernel that reads x and the parameters."""
    *batch, _ = x.shape
    arrays = [rows(x), *jax.tree.leaves(params)]
    outputs = _call(net, arrays, widths, x, body, name)
    return tuple(t.reshape(*batch, t.shape[-1]) for t in outputs)


def _call(net, arrays, widths, like, body, name) -> tuple[jax.Array, ...]:
    """One program for each tile of the rows of `like`; outputs of these widths and its dtype."""
    count = math.prod(like.shape[:-1])
    tile, warps = tiling(net, count, like.dtype)
    outputs = tuple(jax.ShapeDtypeStruct((count, n), like.dtype) for n in widths)
    grid = (-(-count // tile),)
    return triton.call(partial(body, net, tile), arrays, outputs, name=name, warps=warps, grid=grid)


def tiling(net: Network, count: int, dtype: DTypeLike) -> tuple[int, int]:
    """(rows of a tile, warps of a program) for so many rows and parameters of that dtype.

    More than 64 units are several blocks, float32 fills the registers twice as fast, and in full
    precision, which tensor cores do not have, a thread holds whole rows of the factors: there a
    tile is small. It is as large as ptxas finds registers for (`scripts/compile-for-hopper`), and
    no larger than the 2^n that hold all rows.
    """
    wide, kinds = max(net.sizes) > tiles.SIDES[-1], (jnp.dtype(dtype).name, factors(net, dtype))
    if "float32" in kinds and (wide or tiles.in_full()):
        tile, warps = 16, 8
    else:
        tile, warps = (32, 8) if wide else (64, 4)
    return min(tile, max(tiles.SIDES[0], 1 << (count - 1).bit_length())), warps


def factors(net: Network, dtype: DTypeLike) -> str:
    """The dtype of the factors of each product, for parameters of that dtype."""
    return str(net.plan.compute_dtype or jnp.dtype(dtype).name)


# The bodies --------------------------------------------------------------------------------------
#
# Of more than 64 units a tile is several blocks side by side, and W_k a table of blocks W_ij:
#
#   a_i = Σ_j W_ij h_j + b_i          ∇h_j = Σ_i W_ijᵀ ∇a_i


def _forward(net: Network, tile: int, x: Any, *refs: Any) -> None:
    """a_L of a tile, from refs of x, (W_1, b_1, …), and of what is written: a_L comes last.

    With a ref for each layer it writes what is kept of the hidden ones too.
    """
    parameters, outputs = refs[: 2 * net.depth], refs[2 * net.depth :]
    start = tile * triton.program()
    h = _read(x, tile, start)
    for k in range(1, net.depth + 1):
        W, b = parameters[2 * k - 2 : 2 * k]
        a = _affine(W, b, h, net.plan.compute_dtype)  # a_k = W_k h_{k−1} + b_k
        if k == net.depth:
            _write(outputs[-1], a, start)
        else:
            g = ACTIVATIONS[net.activations[k - 1]]
            kept, h = zip(*(tiles.activated(g, block, x.dtype) for block in a), strict=True)
            if len(outputs) == net.depth:
                _write(outputs[k - 1], kept, start)


def _backward(net: Network, tile: int, *refs: Any) -> None:
    """∇a_{L−1}, …, ∇a_1 of a tile, from refs of (W_2, …, W_L), (kept_1, …, kept_{L−1}), ∇a_L."""
    hidden = net.depth - 1
    weights, kept, outputs = refs[:hidden], refs[hidden : 2 * hidden], refs[2 * hidden + 1 :]
    start, last = tile * triton.program(), refs[2 * hidden]
    grad_a = _read(last, tile, start)
    for k in range(net.depth, 1, -1):
        g = ACTIVATIONS[net.activations[k - 2]]
        grads_h = _grads_h(weights[k - 2], grad_a, net.plan.compute_dtype)  # W_kᵀ ∇a_k
        below = _read(kept[k - 2], tile, start)
        pairs = zip(below, grads_h, strict=True)
        # ∇a_{k−1} = ∇h_{k−1} ⊙ g′(a_{k−1})
        grad_a = [tiles.grad_a(g, t, grad_h).astype(last.dtype) for t, grad_h in pairs]
        _write(outputs[k - 2], grad_a, start)


def _affine(W: Any, b: Any, h: Sequence[jax.Array], dtype: DTypeLike | None) -> list[jax.Array]:
    """The blocks a_i from those of h_j and refs of W and b."""
    n, m = W.shape
    a = []
    for i, side in tiles.cuts(n):
        row = [triton.read(W, (side, width), (i, j)) for j, width in tiles.cuts(m)]
        total = tiles.affine(row[0], triton.read(b, (side,), (i,)), h[0], dtype)
        for W_ij, h_j in zip(row[1:], h[1:], strict=True):
            total = total + tiles.affine_part(W_ij, h_j, dtype)
        a.append(total)
    return a


def _grads_h(W: Any, grad_a: Sequence[jax.Array], dtype: DTypeLike | None) -> list[jax.Array]:
    """The blocks ∇h_j from those of ∇a_i and a ref of W."""
    n, m = W.shape
    grads_h = []
    for j, width in tiles.cuts(m):
        column = [triton.read(W, (side, width), (i, j)) for i, side in tiles.cuts(n)]
        pairs = zip(column, grad_a, strict=True)
        parts = [tiles.grad_h(W_ij, grad_a_i, dtype) for W_ij, grad_a_i in pairs]
        grads_h.append(sum(parts[1:], start=parts[0]))
    return grads_h


def _read(ref: Any, tile: int, start: jax.Array) -> list[jax.Array]:
    """The blocks of a tile of rows."""
    return [triton.read(ref, (tile, side), (start, j)) for j, side in tiles.cuts(ref.shape[1])]


def _write(ref: Any, blocks: Sequence[jax.Array], start: jax.Array) -> None:
    """The blocks of a tile of rows to where they belong."""
    for (j, _), block in zip(tiles.cuts(ref.shape[1]), blocks, strict=True):
        triton.write(ref, block, (start, j))
