"""A digest of arrays that does not depend on where they lie, computed where they lie.

Each number of an array, taken as its bits w, is mixed with its column j, and each row with its
number r, and all is summed modulo 2³²: addition of integers is exact and knows no order, so that
every layout gives the same sum, and what has to be moved is one number for each row.

  f = Σ_r m(ρ_r ⊕ m(r + s))        ρ_r = m(… m(m(Σ_j m(w_rj ⊕ m(j + s))) + Σ_j …) …)

with a ρ_r over all arrays that share the rows, m the mixing of MurmurHash3 (A. Appleby, fmix32),
and two seeds s: 64 bits. It tells what was changed by mistake, not what somebody made to fit.
"""

import functools
import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.checkpoint.leaves import is_key, named_leaves
from ffnn_jax.sharding.examples import Split

SEEDS = (0x9E3779B9, 0x7F4A7C15)


def rows_fingerprint(
    tree: Any, *, split: Split | None = None, weights: Any = None, ordered: bool = True
) -> str:
    """16 hexadecimal digits of arrays whose first axis is the rows of the data.

    Args:
      tree: arrays with N rows each, or None.
      split: where in the arrays the rows lie; without it, row r is at r.
      weights: (N,); rows of weight 0 do not count.
      ordered: whether the order of the rows counts.

    Returns:
      The digits; those of the same rows on another layout are the same.
    """
    leaves = named_leaves(tree)
    described = [[name, str(leaf.dtype), leaf.shape[1:]] for name, leaf in leaves]
    values = [leaf for _, leaf in leaves]
    sums = np.asarray(_of_rows(values, weights, split, ordered)).tolist() if values else []
    return _digits([described, sums])


def fingerprint(tree: Any) -> str:
    """16 hexadecimal digits of names, shapes, dtypes and values of any tree of arrays."""
    leaves = [(name, t if hasattr(t, "dtype") else np.asarray(t)) for name, t in named_leaves(tree)]
    described = [[name, str(leaf.dtype), leaf.shape] for name, leaf in leaves]
    values = [jax.random.key_data(t) if is_key(t) else t for _, t in leaves]
    return _digits([described, [np.asarray(sums).tolist() for sums in _of_each(values)]])


def _digits(described: Any) -> str:
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


@functools.partial(jax.jit, static_argnames=("split", "ordered"))
def _of_rows(
    values: list[jax.Array], weights: jax.Array | None, split: Split | None, ordered: bool
) -> jax.Array:
    """f for each seed, (2,) uint32; of rows without an order r = 0."""
    length = values[0].shape[0]
    numbers, there = _rows_at(split or Split(length, length))
    if weights is not None:
        there &= weights != 0
    if not ordered:
        numbers = jnp.zeros_like(numbers)
    return _sums(values, numbers, there)


@jax.jit
def _of_each(values: list[jax.Array]) -> list[jax.Array]:
    """f of each array alone, its first axis being the rows."""
    arrays = [jnp.atleast_1d(t) for t in values]
    rows = [_rows_at(Split(t.shape[0], t.shape[0])) for t in arrays]
    return [_sums([t], *row) for t, row in zip(arrays, rows, strict=True)]


def _sums(values: list[jax.Array], numbers: jax.Array, there: jax.Array) -> jax.Array:
    found = []
    for seed in SEEDS:
        rho = jnp.zeros_like(numbers)
        for t in values:
            rho = _mixed(rho + _row_sums(t, seed))
        mixed = _mixed(rho ^ _mixed(numbers + np.uint32(seed)))
        found.append(jnp.sum(jnp.where(there, mixed, np.uint32(0)), dtype=jnp.uint32))
    return jnp.stack(found)


def _row_sums(t: jax.Array, seed: int) -> jax.Array:
    """Σ_j m(w_rj ⊕ m(j + s)) of each row, (N,)."""
    words = _words(t)
    words = words.reshape(words.shape[0], -1)
    columns = _mixed(jnp.arange(words.shape[1], dtype=jnp.uint32) + np.uint32(seed))
    return jnp.sum(_mixed(words ^ columns[None]), axis=1, dtype=jnp.uint32)


def _words(t: jax.Array) -> jax.Array:
    """The bits of an array as uint32; of 64 bits there are two, in an axis more."""
    if t.dtype == bool:
        return t.astype(jnp.uint32)
    bits = {1: jnp.uint8, 2: jnp.uint16}.get(t.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(t, bits).astype(jnp.uint32)


def _mixed(h: jax.Array) -> jax.Array:
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def _rows_at(split: Split) -> tuple[jax.Array, jax.Array]:
    """Which row lies at each place of the arrays, and whether one does."""
    ends = (*split.first[1:], split.rows)
    stretches = sorted(zip(split.at, split.first, ends, strict=True))
    at, first, end = np.asarray(stretches, np.int32).T
    places = jnp.arange(split.length, dtype=jnp.int32)
    stretch = jnp.searchsorted(at, places, side="right") - 1
    rows = places - jnp.asarray(at)[stretch] + jnp.asarray(first)[stretch]
    return rows.astype(jnp.uint32), (stretch >= 0) & (rows < jnp.asarray(end)[stretch])
