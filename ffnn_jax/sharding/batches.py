"""Batches on a mesh: their rows, split over `data`, and the gradient of k parts.

The order of an epoch is that of one device, so a batch has rows from everywhere, which come from
the devices that have them (see `transfer`). A batch that does not divide over the axis is filled
up with rows of weight 0. Its weights are whole on each device, so that S = Σ w_i moves nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike

from ffnn_jax.network import Params, at_least_float32, total
from ffnn_jax.sharding.examples import Split
from ffnn_jax.sharding.placement import DATA, Layout, axes_of, parameters_sharding
from ffnn_jax.sharding.transfer import fetch


class SplitBatches:
    """The batches of an epoch, as `ffnn_jax.batches.Batches`; those `in_parts` are (k, b, …)."""

    def __init__(
        self,
        data: Any,
        batches: jax.Array,
        mask: jax.Array | None,
        *,
        layout: Layout,
        split: Split,
        parts: int,
        dtype: DTypeLike,
    ):
        """data is (x, y, weights), split over `data`; batches (steps, B) and the mask (steps, B) or
        None are from `shuffled`; each batch is in so many parts; dtype is that of weights."""
        self.data, self.layout, self.parts = data, layout, parts
        if batches.shape[1] // parts % layout.data_size and mask is None:
            mask = jnp.ones(batches.shape, dtype)
        rows = _cut(batches, parts, layout)
        if mask is not None:
            mask = _cut(mask, parts, layout)
            rows = jnp.where(mask == 0, _from_all(split, layout, rows.shape), rows)
        self.every = (split.position(rows), mask)

    def examples_of(self, step: Any) -> tuple[jax.Array, Any, Any]:
        """(x, y, weights) of one batch, weight 0 where it is filled up."""
        rows, share = step
        x, y, weights = fetch(self.layout, self.data, rows)
        # XLA would split the mask as the weights are when they come, and gather both.
        share, weights = jax.tree.map(self._whole, (share, weights))
        if share is not None:
            weights = share if weights is None else weights * share
        if not in_parts(self.layout, self.parts):
            x, y, weights = jax.tree.map(lambda t: jnp.squeeze(t, 0), (x, y, weights))
        return x, y, jax.tree.map(self._whole, weights)

    def _whole(self, t: jax.Array) -> jax.Array:
        """On each device, so that the sum of weights moves nothing."""
        return jax.lax.with_sharding_constraint(t, self.layout.sharding())


def in_parts(layout: Layout, parts: int) -> bool:
    """Whether a step is that of `SplitParts`: for one part too where gradients are to be split.

    XLA sums the whole of a gradient on every device first, and then cuts it, at least on a CPU.
    """
    return parts > 1 or layout.splits_parameters(DATA)


def _cut(rows: jax.Array, parts: int, layout: Layout) -> jax.Array:
    """(steps, B) as (steps, k, b): the batch in k parts, each filled up with 0 to divide over D."""
    steps, size = rows.shape
    rows = rows.reshape(steps, parts, size // parts)
    missing = -(size // parts) % layout.data_size
    return jnp.pad(rows, ((0, 0), (0, 0), (0, missing)))


def _from_all(split: Split, layout: Layout, shape: tuple[int, ...]) -> jax.Array:
    """Row numbers to fill a batch up with: from one device, they would take rounds of their own."""
    devices = layout.data_size
    numbers = jnp.arange(shape[-1], dtype=jnp.int32) % devices * (split.rows // devices)
    return jnp.broadcast_to(numbers, shape)


class SplitParts:
    """A batch in k parts, the gradients summed over devices once, after all parts.

    Each device works off its own rows of a part as a part of its own, so there are k D of them,
    and the loss and its gradient are as for `ffnn_jax.batches.Parts`. Masks of dropout are drawn
    for all rows of a part together; with a key, and where parameters are split over `data`, so that
    no device is to hold the whole of a gradient for long, the sum is taken part by part.
    """

    def __init__(
        self,
        value_on: Callable[..., jax.Array],
        examples: tuple[jax.Array, Any, Any],
        layout: Layout,
        dtype: DTypeLike,
        key: jax.Array | None = None,
    ):
        """As for `Parts`; x and y are (k, b, …), b split over `data`, weights (k, b) are whole."""
        self.value_on, self.layout = value_on, layout
        k, b = examples[0].shape[:2]
        self.lanes = layout.data_size if key is None else 1
        home = layout.rows(None) if self.lanes > 1 else layout.rows(None, None)

        def in_lanes(t):
            t = t.reshape(k, self.lanes, b // self.lanes, *t.shape[2:])
            return jax.lax.with_sharding_constraint(t, home)

        shares = self._shares(examples[2], k, at_least_float32(dtype))
        keys = None if key is None else jax.random.split(key, k)
        self.parts = jax.tree.map(in_lanes, examples), shares, keys

    def value(self, params: Params) -> jax.Array:
        """ℒ; its derivative too takes the memory of one part."""

        @jax.checkpoint
        def body(none, part):
            examples, shares, key = part
            whole = gathered(self.layout, params)
            values = jax.vmap(lambda one: self.value_on(key, *one, whole))(examples)
            return none, shares.astype(values.dtype) * values

        return jnp.sum(jax.lax.scan(body, None, self.parts)[1])

    def value_and_grad(self, params: Params) -> tuple[jax.Array, Params]:
        """(ℒ, ∇ℒ), summed in float32 at least."""
        lanes = () if self.layout.splits_parameters(DATA) else (self.lanes,)

        def body(sums, part):
            values, grads = self._of_part(params, *part)
            grads = grads if lanes else summed(self.layout, grads)
            return jax.tree.map(jnp.add, sums, grads), values

        zeros = jax.tree.map(
            lambda p, home: jax.lax.with_sharding_constraint(
                jnp.zeros((*lanes, *p.shape), at_least_float32(p.dtype)), home
            ),
            params,
            parameters_sharding(self.layout, *[DATA if self.lanes > 1 else None for _ in lanes]),
        )
        sums, values = jax.lax.scan(body, zeros, self.parts)
        sums = summed(self.layout, sums) if lanes else sums
        return jnp.sum(values), jax.tree.map(lambda t, p: t.astype(p.dtype), sums, params)

    def _of_part(self, params, examples, shares, key) -> tuple[jax.Array, Params]:
        """S_p / S times ℒ_p and ∇ℒ_p, (lanes, …) each."""

        whole = gathered(self.layout, params)

        def of_lane(one, share):
            value, grads = jax.value_and_grad(lambda p: self.value_on(key, *one, p))(whole)
            wide = jax.tree.map(lambda g: g.astype(at_least_float32(g.dtype)), grads)
            return share.astype(value.dtype) * value, jax.tree.map(
                lambda g: share.astype(g.dtype) * g, wide
            )

        values, grads = jax.vmap(of_lane)(examples, shares)
        lane = DATA if self.lanes > 1 else None
        return values, jax.tree.map(
            lambda g, spec: jax.lax.with_sharding_constraint(
                g, self.layout.sharding(lane, *without_data(spec))
            ),
            grads,
            self.layout.placement,
        )

    def _shares(self, weights: Any, k: int, dtype: DTypeLike) -> jax.Array:
        """S_p / S of each part, (k, lanes); the same for all where all weights are 0."""
        even = jnp.full((k, self.lanes), 1 / (k * self.lanes), dtype)
        if weights is None:
            return even
        sums = jnp.sum(weights.astype(dtype).reshape(k, self.lanes, -1), axis=2)
        sums = jax.lax.with_sharding_constraint(sums, self.layout.sharding())
        return jnp.where(jnp.sum(sums) == 0, even, sums / total(sums))


def summed(layout: Layout, lanes: Params) -> Params:
    """Σ over the first axis of each, (D, …) split over `data`, or (1, …); where parameters live."""

    def one(t, spec):
        if t.shape[0] == 1:
            return jnp.squeeze(t, 0)
        cut = [i for i, entry in enumerate(spec) if axes_of(entry)[-1:] == (DATA,)]
        others = [[name for name in axes_of(entry) if name != DATA] for entry in spec]

        def over_devices(t):
            if cut:
                return jax.lax.psum_scatter(t[0], DATA, scatter_dimension=cut[0], tiled=True)
            return jax.lax.psum(t[0], DATA)

        before = [tuple(names) or None for names in others]
        after = [tuple(names + [DATA] * (i in cut)) or None for i, names in enumerate(others)]
        total = jax.shard_map(
            over_devices,
            mesh=layout.auto,
            in_specs=PartitionSpec(DATA, *before),
            out_specs=PartitionSpec(*after),
            axis_names=layout.free_axes,
        )(t)
        return jax.lax.with_sharding_constraint(total, layout.sharding(*spec))

    return jax.tree.map(one, lanes, layout.placement)


def gathered(layout: Layout, params: Params) -> Params:
    """The parameters, whole over `data`: each is moved once.

    Left alone, XLA computes with parts of them, and moves activations to and fro.
    """

    def one(t, spec):
        return jax.lax.with_sharding_constraint(t, layout.sharding(*without_data(spec)))

    return jax.tree.map(one, params, layout.placement)


def without_data(spec: PartitionSpec) -> PartitionSpec:
    """The spec of an array that is whole over `data`."""
    kept = (tuple(name for name in axes_of(entry) if name != DATA) for entry in spec)
    return PartitionSpec(*(names or None for names in kept))
