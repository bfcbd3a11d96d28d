"""Rows from the devices that have them to those that need them.

A batch of B rows leaves r = B / D on each of D devices of `data`, in an order that no layout
changes, so each row may lie anywhere. With J(s, d) the places, in order, of those rows of
destination d that lie on source s, round t = 0, 1, … moves

  s sends to d the rows at J(s, d)[t c], …, J(s, d)[(t + 1) c − 1]       one all-to-all

Every device knows the numbers of all rows of the batch, so source and destination find the same
J with no talk, and as many rounds as the fullest pair needs are taken everywhere alike. A pair has
r / D rows on average, about Poisson-distributed, and room for four standard deviations more: with
r = 1024, one batch in a thousand needs a second round on 8 devices, and 7 in a hundred on 256. With
c = r none does. At worst, all rows of each destination on one source, it takes ⌈r / c⌉ rounds, in
which a device sends about D r rows.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ffnn_jax.sharding.placement import DATA, Layout


def capacity(rows: int, devices: int) -> int:
    """c, how many rows a pair of devices exchanges in one round, of r rows for each of D devices.

    c = min(r, ⌈r/D + 4 √(r/D) + 4⌉)

    Args:
      rows: r.
      devices: D.

    Example:
      >>> capacity(16, 4), capacity(1024, 256)
      (16, 16)
    """
    mean = rows / devices
    return min(rows, math.ceil(mean + 4 * math.sqrt(mean) + 4))


def fetch(layout: Layout, tree: Any, rows: jax.Array) -> Any:
    """The rows at these positions (k, b) of arrays that are split over `data`, (k, b, …) each.

    b is split over `data` in turn; its size divides b and the length of the arrays.
    """
    if layout.data_size == 1:
        return jax.tree.map(lambda t: t.at[rows].get(mode="promise_in_bounds"), tree)
    take = jax.shard_map(
        _take,
        mesh=layout.auto,
        in_specs=(PartitionSpec(DATA), PartitionSpec()),
        out_specs=PartitionSpec(None, DATA),
        axis_names=layout.free_axes,
    )
    return take(tree, rows)


def _take(tree: Any, rows: jax.Array) -> Any:
    """On one device: its part (k, b / D, …) of the rows, from all devices that have some."""
    (k, b), devices, n = rows.shape, jax.lax.axis_size(DATA), len(jax.tree.leaves(tree)[0])
    r = k * b // devices
    c = capacity(r, devices)
    wanted = rows.reshape(k, devices, r // k).swapaxes(0, 1).reshape(devices, r)
    sources, slots = wanted // n, wanted % n  # (D, r): of each destination's rows
    here = jax.lax.axis_index(DATA)
    sent = jnp.cumsum(sources == here, axis=1, dtype=jnp.int32)  # to each, up to each place
    source = sources[here]
    order = _order(source, devices)

    def received(t):
        """What comes in round t, (r, …); right in the places of that round."""
        numbers = t * c + jnp.arange(1, c + 1, dtype=jnp.int32)
        places = jax.vmap(jnp.searchsorted, (0, None))(sent, numbers)  # J(here, d), then r
        mine = jnp.take_along_axis(slots, places, axis=1, mode="clip")

        def exchanged(leaf):
            out = leaf.at[mine].get(mode="promise_in_bounds")
            return jax.lax.all_to_all(out, DATA, 0, 0)[source, order % c]

        return jax.tree.map(exchanged, tree)

    part = received(jnp.int32(0))
    if c < r:
        from_each = jax.nn.one_hot(sources, devices, dtype=jnp.int32)
        fullest = jnp.max(jnp.sum(from_each, axis=1, dtype=jnp.int32))
        part = _completed(part, received, order // c, -(-fullest // c))
    return jax.tree.map(lambda leaf: leaf.reshape(k, r // k, *leaf.shape[1:]), part)


def _order(source: jax.Array, devices: int) -> jax.Array:
    """Of each row the number of rows before it from the same source, (r,)."""
    same = jax.nn.one_hot(source, devices, dtype=jnp.int32)
    return jnp.take_along_axis(jnp.cumsum(same, axis=0), source[:, None], axis=1)[:, 0] - 1


def _completed(part: Any, received: Any, turn: jax.Array, rounds: jax.Array) -> Any:
    """The part of round 0, with what comes in the rounds after it, each row in its turn (r,)."""

    def body(carry):
        t, part = carry

        def merged(new, old):
            now = (turn == t).reshape(-1, *[1] * (new.ndim - 1))
            return jnp.where(now, new, old)

        return t + 1, jax.tree.map(merged, received(t), part)

    return jax.lax.while_loop(lambda carry: carry[0] < rounds, body, (jnp.int32(1), part))[1]
