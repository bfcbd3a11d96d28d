"""The rows of the data: an epoch in shuffled batches, and a batch in parts.

A batch with examples of weight w_i, cut into parts p = 1, …, k, has with S_p = Σ_{i∈p} w_i

  ℒ = Σ_p (S_p / S) ℒ_p        ∇ℒ = Σ_p (S_p / S) ∇ℒ_p        S = Σ_p S_p

where ℒ_p is the loss of a part on its own: one part after the other, in the memory of one
(gradient accumulation). A term that all parts share, such as a penalty, is counted once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax.network import Params, at_least_float32, total
from ffnn_jax.shuffle import permutation

# Bytes of the data and of a batch, up to which an epoch copies all rows into its order beforehand;
# chosen on networks A to E of benchmarks/throughput.py.
AHEAD = 2**26
AHEAD_BATCH = 2**16


def shuffled(
    key: jax.Array, examples: int, batch_size: int, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array | None]:
    """Row numbers in random order, (steps, B), and 1 or 0 for each, or None where N = steps · B."""
    order = permutation(key, examples)
    steps = -(-examples // batch_size)
    missing = steps * batch_size - examples
    if not missing:
        return order.reshape(steps, batch_size), None
    filled = jnp.concatenate([order, jnp.zeros(missing, order.dtype)])
    mask = (jnp.arange(steps * batch_size) < examples).astype(dtype)
    return filled.reshape(steps, batch_size), mask.reshape(steps, batch_size)


def gathered_ahead(data: Any, batch_size: int) -> bool:
    """Whether the epoch makes one copy of the data in its order, in place of one a batch.

    XLA on CPU splits every gather between threads, and that takes longer than a small batch does
    to copy. Of wide rows, or much data, the copy costs more than it saves.
    """
    arrays = jax.tree.leaves(data)
    size = sum(t.size * t.dtype.itemsize for t in arrays)
    return size <= AHEAD and size // arrays[0].shape[0] * batch_size <= AHEAD_BATCH


def rows_of(t: jax.Array, rows: jax.Array) -> jax.Array:
    """The rows of an array with these numbers, (*rows.shape, …), all of them known to be there.

    On a mesh of Explicit axes the last axis of `rows` is split as the array is, where it divides.
    """
    home = jax.typeof(t).sharding
    if not home.mesh.explicit_axes:
        return t.at[rows].get(mode="promise_in_bounds")
    parts = math.prod(home.mesh.shape[axis] for axis in _axes(home.spec[0]))
    split = home.spec[0] if rows.shape[-1] % parts == 0 else None
    spec = jax.P(*[None] * (rows.ndim - 1), split, *home.spec[1:])
    return t.at[rows].get(mode="promise_in_bounds", out_sharding=home.update(spec=spec))


def _axes(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The mesh axes of one entry of a PartitionSpec."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


class Batches:
    """The batches of an epoch, to be worked off one after the other.

    Attributes:
      every: the arrays that `examples_of` takes, with a leading axis of steps.
    """

    def __init__(self, data: Any, batches: jax.Array, mask: jax.Array | None):
        """data is (x, y, weights); batches (steps, B) and the mask are from `shuffled`."""
        self.data = data
        self.ahead = gathered_ahead(data, batches.shape[1])
        self.every = (self._rows(batches) if self.ahead else batches, mask)

    def examples_of(self, step: Any) -> tuple[jax.Array, Any, Any]:
        """(x, y, weights) of one batch, weight 0 where it is filled up."""
        batch, share = step
        x, y, weights = batch if self.ahead else self._rows(batch)
        if share is not None:
            weights = share if weights is None else weights * share
        return x, y, weights

    def _rows(self, rows: jax.Array) -> Any:
        return jax.tree.map(lambda t: rows_of(t, rows), self.data)


class Parts:
    """A batch in k parts of equal length along the first axis."""

    def __init__(
        self,
        value_on: Callable[..., jax.Array],
        examples: tuple[jax.Array, Any, Any],
        k: int,
        dtype: DTypeLike,
        key: jax.Array | None = None,
    ):
        """value_on(key, x, y, weights, params) is the ℒ of a part, examples are (x, y, weights).

        The dtype is that of the parameters. The key, if there is one, gives each part its own.
        """
        self.value_on, self.examples = value_on, examples
        self.dtype = at_least_float32(dtype)  # of shares
        self.rows = jnp.arange(examples[0].shape[0]).reshape(k, -1)
        self.keys = None if key is None else jax.random.split(key, k)

    def value(self, params: Params) -> jax.Array:
        """ℒ; its derivative too takes the memory of one part."""

        @jax.checkpoint
        def body(none, part):
            rows, key = part
            (x, y, weights), share = self._part(rows)
            value = self.value_on(key, x, y, weights, params)
            return none, share.astype(value.dtype) * value

        return jnp.sum(jax.lax.scan(body, None, (self.rows, self.keys))[1])

    def value_and_grad(self, params: Params) -> tuple[jax.Array, Params]:
        """(ℒ, ∇ℒ), summed in float32 at least."""

        def body(total_grads, part):
            rows, key = part
            (x, y, weights), share = self._part(rows)

            def value_of(params):
                return self.value_on(key, x, y, weights, params)

            value, grads = jax.value_and_grad(value_of)(params)
            total_grads = jax.tree.map(
                lambda t, g: t + share.astype(t.dtype) * g.astype(t.dtype), total_grads, grads
            )
            return total_grads, share.astype(value.dtype) * value

        zeros = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=at_least_float32(p.dtype)), params)
        grads, values = jax.lax.scan(body, zeros, (self.rows, self.keys))
        return jnp.sum(values), jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)

    def _part(self, rows: jax.Array) -> tuple[tuple[jax.Array, Any, Any], jax.Array]:
        """The examples of a part and S_p / S; 1/k where all weights are 0."""
        part = jax.tree.map(lambda t: rows_of(t, rows), self.examples)
        even = jnp.asarray(1 / self.rows.shape[0], self.dtype)
        if part[2] is None:
            return part, even
        of_part, of_all = (t[2].astype(self.dtype) for t in (part, self.examples))
        share = jnp.sum(of_part) / total(of_all)
        return part, jnp.where(jnp.sum(of_all) == 0, even, share)
