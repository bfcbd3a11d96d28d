"""One layer, a = W h + b, and its three gradients: the reference every kernel is held to.

  a   = W h + b                          (*batch, n_k) from h (*batch, n_{k−1})
  ∇W  = Σ_batch ∇a hᵀ                    (n_k, n_{k−1})
  ∇b  = Σ_batch ∇a                       (n_k,)
  ∇h  = Wᵀ ∇a                            (*batch, n_{k−1})

A cotangent must have the type of its primal, and on a mesh the type includes where it lives:
the sharding on a mesh of Explicit axes, the axes it varies over inside `jax.shard_map`. `Wᵀ∇a`
of a batch that is split over devices has neither by itself; `cotangent_like` puts it right.
With products in a lower precision (`compute_dtype`) the sums are in the dtype of W.

Each product is one `dot_general`, but a tiny one on a CPU is multiply + sum: there the call of the
routine for a product takes longer than its sums, which become part of the loops around them.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax.tiny import Contract, tiny_dot

# A product is tiny up to so many multiply-adds, N n_k n_{k−1}; benchmarks/products.py prints the
# times on both sides of the bounds.
TINY = 2048  # W h and Wᵀ∇a
TINY_W = 16384  # ∇a hᵀ, and so each of many under `jax.vmap`


def dense(
    W: jax.Array,
    b: jax.Array,
    h: jax.Array,
    compute_dtype: DTypeLike | None,
    *,
    plain: bool = False,
) -> jax.Array:
    """a = W h + b for every example of the batch.

    Args:
      W: (n_k, n_{k−1}).
      b: (n_k,).
      h: (*batch, n_{k−1}), the dtype of W and b.
      compute_dtype: the dtype of the factors of each product, or None for that of W.
      plain: one `dot_general` whatever the size: what automatic differentiation starts from.

    Returns:
      a, (*batch, n_k), the dtype of W and b.
    """
    tiny = 0 if plain else TINY
    to = _home_of_a(W, h)
    Wh = product(h, W, ((h.ndim - 1,), (1,)), W.dtype, compute_dtype, tiny, to)
    if to is not None and jax.typeof(b).sharding.spec not in (jax.P(None), jax.P(to.spec[-1])):
        b = jax.sharding.reshard(b, jax.sharding.NamedSharding(to.mesh, jax.P(to.spec[-1])))
    return Wh + jax.lax.expand_dims(b, range(h.ndim - 1))


def grad_W(
    W: jax.Array, h: jax.Array, grad_a: jax.Array, compute_dtype: DTypeLike | None
) -> jax.Array:
    """∇W = Σ_batch ∇a hᵀ, the shape, dtype and placement of W."""
    batch = tuple(range(h.ndim - 1))
    home = _home(W, grad_a, h)
    total = product(grad_a, h, (batch, batch), W.dtype, compute_dtype, TINY_W, home, also_many=True)
    return cotangent_like(W, total)


def grad_b(b: jax.Array, grad_a: jax.Array) -> jax.Array:
    """∇b = Σ_batch ∇a, the shape, dtype and placement of b."""
    return cotangent_like(b, jnp.sum(grad_a, axis=tuple(range(grad_a.ndim - 1))))


def grad_h(
    W: jax.Array, h: jax.Array, grad_a: jax.Array, compute_dtype: DTypeLike | None
) -> jax.Array:
    """∇h = Wᵀ ∇a, the shape, dtype and placement of h."""
    to = _home(h, grad_a, W)
    back = product(grad_a, W, ((grad_a.ndim - 1,), (0,)), h.dtype, compute_dtype, TINY, to)
    return cotangent_like(h, back)


def rows(t: jax.Array) -> jax.Array:
    """(*batch, n) as (N, n)."""
    return t.reshape(-1, t.shape[-1])


def cotangent_like(primal: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The cotangent with the placement of its primal on whatever mesh there is.

    Inside `shard_map` a primal that is the same on every device of an axis, used by examples
    that differ between them, owes to each: the cotangents are summed over that axis. On Explicit
    axes the cotangent is moved to where the primal lives.
    """
    axes = _varying_axes(cotangent) - _varying_axes(primal)
    if axes:
        cotangent = jax.lax.psum(cotangent, tuple(sorted(axes)))
    return placed_like(primal, cotangent)


def placed_like(like: jax.Array, t: jax.Array) -> jax.Array:
    """t moved to where an array of its shape lives, on a mesh of Explicit axes."""
    home = _home(like, t)
    if home is not None and jax.typeof(t).sharding != home:
        t = jax.sharding.reshard(t, home)
    return t


def _home(primal: jax.Array, *others: jax.Array) -> jax.sharding.NamedSharding | None:
    """Where the cotangent of a primal lives, or None where no mesh has Explicit axes.

    A primal that was made outside the mesh of the others is the same on each of its devices.
    """
    spec = jax.typeof(primal).sharding.spec
    for array in (primal, *others):
        mesh = jax.typeof(array).sharding.mesh
        if mesh.explicit_axes:
            return jax.sharding.NamedSharding(mesh, spec)
    return None


def _home_of_a(W: jax.Array, h: jax.Array) -> jax.sharding.NamedSharding | None:
    """Where W h lives: its examples where those of h do, its units where the rows of W do.

    None where no mesh has Explicit axes. Where the columns of W are split it is a sum over devices,
    and JAX has to be told where that goes. An axis that splits the examples cannot split the units
    too, as where W is split over `data`: they are then whole.
    """
    home = _home(h, W)
    if home is None:
        return None
    *batch, _ = jax.typeof(h).sharding.spec
    units = jax.typeof(W).sharding.spec[0]
    taken = {axis for entry in batch for axis in _axes(entry)}
    spec = jax.P(*batch, None if taken & {*_axes(units)} else units)
    return jax.sharding.NamedSharding(home.mesh, spec)


def _axes(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The mesh axes of one entry of a PartitionSpec."""
    return (entry,) if isinstance(entry, str) else entry or ()


def product(
    x: jax.Array,
    y: jax.Array,
    contract: Contract,
    dtype: DTypeLike,
    compute_dtype: DTypeLike | None,
    tiny: int = 0,
    out_sharding: jax.sharding.NamedSharding | None = None,
    *,
    also_many: bool = False,
) -> jax.Array:
    """The product of x and y summed over the axes `contract` = (axes of x, axes of y).

    The sums are in `dtype`, the factors in compute_dtype if there is one. `tiny` is the bound up
    to which the product is a `tiny_dot`, and `also_many` as for that.
    """
    if compute_dtype is not None:
        x, y = x.astype(compute_dtype), y.astype(compute_dtype)

    if _is_tiny(x, y, contract, dtype, tiny):
        return tiny_dot(x, y, contract, also_many=also_many)
    return jax.lax.dot_general(
        x, y, (contract, ((), ())), preferred_element_type=dtype, out_sharding=out_sharding
    )


def _is_tiny(x: jax.Array, y: jax.Array, contract: Contract, dtype: DTypeLike, bound: int) -> bool:
    """Whether the product has at most so many multiply-adds.

    Not so on a mesh, where a dot says how it is to be split, nor where the sums are in another
    dtype than the factors, nor where a size is a symbol (`jax.export`).
    """
    if not all(isinstance(n, int) for n in (*x.shape, *y.shape)):
        return False
    work = x.size * y.size // math.prod(x.shape[axis] for axis in contract[0])
    wide = x.dtype == y.dtype == dtype and dtype in (jnp.float32, jnp.float64)
    return work <= bound and wide and not (is_placed(x) or is_placed(y))


def is_placed(x: jax.Array) -> bool:
    """Whether x is on a mesh with Explicit axes, or differs between devices in a `shard_map`."""
    return bool(jax.typeof(x).sharding.mesh.explicit_axes or _varying_axes(x))


def _varying_axes(x: jax.Array) -> frozenset[str]:
    """The mesh axes over which x differs between devices, inside `jax.shard_map`."""
    kind = jax.typeof(x)
    return frozenset(
        kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma
    )
