"""The members of an ensemble over the devices of a mesh.

  place d of D along `member` has the members  d m, …, (d + 1) m − 1,    m = ⌈M / D⌉

Networks that are trained side by side have nothing to tell each other, so each place runs a loop of
its own over its members: nothing goes from one to another, and one whose members have all stopped
is done. Where D does not divide M, members that have stopped from the start fill up the last. With
an axis `data` a place is several devices, which share the rows of the batches as `fit` has it.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ffnn_jax.network import Network
from ffnn_jax.sharding.examples import Split, spread
from ffnn_jax.sharding.placement import (
    DATA,
    MEMBER,
    Layout,
    automatic,
    check_mesh,
    placement,
    put,
)


def check_member_mesh(mesh: Any) -> Mesh | None:
    """A mesh with an axis `member`, of the kind Auto as training needs it; None is None."""
    if mesh is None:
        return None
    check_mesh(mesh, (MEMBER, DATA))
    if MEMBER not in mesh.shape:
        raise ValueError(f"mesh: expected an axis {MEMBER!r}, got {mesh.axis_names}")
    return automatic(mesh)


def layout_of(net: Network, mesh: Mesh | None) -> Layout | None:
    """Of the devices that share one batch; None where each batch is on one device."""
    if mesh is None or mesh.shape.get(DATA, 1) == 1:
        return None
    return Layout(mesh, placement(net, mesh))


def on(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """The context to trace and call in: another mesh that the caller works on is put aside."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def on_a_place(mesh: Mesh | None, members: int) -> int:
    """⌈M / D⌉, how many members a place has."""
    return members if mesh is None else -(-members // mesh.shape[MEMBER])


def filling(mesh: Mesh, members: int) -> jax.Array:
    """(D ⌈M / D⌉,), True for what only fills up the last places, each with its own part."""
    return split(mesh, np.arange(mesh.shape[MEMBER] * on_a_place(mesh, members)) >= members)


def split(mesh: Mesh | None, tree: Any, rows: int | None = None) -> Any:
    """Arrays (M, …), filled up with copies of the last member, each place with its own part.

    Of a NumPy array each device is sent its own members and no others.

    Args:
      mesh: the mesh, or None for no change.
      tree: the arrays.
      rows: None; or for arrays (M, N, …) whose rows lie split over `data`, to how many rows they
        are filled up with 0.
    """
    if mesh is None:
        return tree
    home = NamedSharding(mesh, P(MEMBER) if rows is None else P(MEMBER, DATA))

    def placed(t: Any) -> jax.Array:
        count = mesh.shape[MEMBER] * on_a_place(mesh, t.shape[0])
        numbers = np.minimum(np.arange(count), t.shape[0] - 1)  # the last member repeated
        if rows is not None and rows > t.shape[1]:
            pad = jnp.pad if isinstance(t, jax.Array) else np.pad
            t = pad(t, [(0, 0), (0, rows - t.shape[1]), *[(0, 0)] * (t.ndim - 2)])
        if isinstance(t, jax.Array):
            return put(t if count == t.shape[0] else t[numbers], home)
        t = as_numpy(t)
        return jax.make_array_from_callback(
            (count, *t.shape[1:]), home, lambda index: t[(numbers[index[0]], *index[1:])]
        )

    return jax.tree.map(placed, tree)


def whole(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays that all members share, on every device."""
    if mesh is None:
        return tree
    home = NamedSharding(mesh, P())
    return jax.tree.map(lambda t: put(as_numpy(t), home), tree)


class Rows(NamedTuple):
    """How the rows of data lie over the axis `data`."""

    layout: Layout
    split: Split


def with_rows(mesh: Mesh | None, rows: Rows | None, tree: Any, *, own: bool) -> Any:
    """Arrays of which each member has its own, (M, N, …), or which all share, (N, …), placed."""
    if own:
        return split(mesh, tree, None if rows is None else rows.split.length)
    if rows is None:
        return whole(mesh, tree)
    return spread(rows.layout, rows.split, jax.tree.map(as_numpy, tree))


def as_numpy(t: Any) -> Any:
    """An array of JAX as it is; others with a dtype that JAX has: float64 may be float32 there."""
    if isinstance(t, jax.Array):
        return t
    t = np.asarray(t)
    return t.astype(jax.dtypes.canonicalize_dtype(t.dtype), copy=False)


def on_each_place(
    fn: Callable[..., Any], mesh: Mesh | None, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """fn of what each place has; without a mesh fn itself.

    JAX does not look after what differs between places here (`check_vma`): no gradient is taken
    through this split and nothing in it is summed over `member`, which is what that is there for;
    and many an optimizer has a `lax.cond` that does not pass it. The axis `data` is left to what
    is inside.
    """
    if mesh is None:
        return fn
    over = {"mesh": mesh, "axis_names": {MEMBER}, "check_vma": False}
    return jax.shard_map(fn, in_specs=in_specs, out_specs=out_specs, **over)


def returned(mesh: Mesh | None, tree: Any, members: int) -> Any:
    """The first M members of arrays that are split, on the mesh as it came.

    They stay where they are if the places share them evenly; otherwise each device has all.
    """
    if mesh is None:
        return tree
    if members % mesh.shape[MEMBER]:
        tree = jax.tree.map(lambda t: t[:members], whole(automatic(mesh), tree))
    return jax.tree.map(lambda t: jax.device_put(t, NamedSharding(mesh, t.sharding.spec)), tree)


def of_member(t: jax.Array, i: int) -> jax.Array:
    """t[i], on one device if it is split over the devices of this process.

    On Explicit axes, t[i] of a t that is split is an error.
    """
    if len(t.sharding.device_set) == 1 or not t.is_fully_addressable:
        return t[i]
    i = i % t.shape[0]
    for shard in t.addressable_shards:
        start, stop, _ = shard.index[0].indices(t.shape[0])
        if start <= i < stop:
            return jax.device_put(shard.data[i - start], t.addressable_shards[0].device)
    raise AssertionError("no device has this member")
