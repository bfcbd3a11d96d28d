"""The members of an ensemble over the devices of a mesh.

  place d of D along `member` has the members  d m, …, (d + 1) m − 1,    m = ⌈M / D⌉

Networks that are trained side by side have nothing to tell each other, so each place runs a loop of
its own over its members: nothing goes from one to another, and one whose members have all stopped
is done. Where D does not divide M, members that have stopped from the start fill up the last. With
an axis `data` a place is several devices, which share the rows of the batches as `fit` has it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ffnn_jax.network import Network
from ffnn_jax.recipe import Recipe
from ffnn_jax.sharding.examples import Split
from ffnn_jax.sharding.placement import (
    DATA,
    MEMBER,
    Layout,
    automatic,
    check_batches,
    check_mesh,
    check_processes,
    placement,
    put,
)


def check_member_mesh(mesh: Any) -> Mesh | None:
    """A mesh with an axis `member`, of the kind Auto as training needs it; None is None."""
    if mesh is None:
        return None
    check_mesh(mesh, (MEMBER, DATA))
    check_processes(mesh)
    if MEMBER not in mesh.shape:
        raise ValueError(f"mesh: expected an axis {MEMBER!r}, got {mesh.axis_names}")
    return automatic(mesh)


def layout_of(net: Network, mesh: Mesh | None) -> Layout | None:
    """The mesh, with the parameters of each member whole on the devices of its place."""
    return None if mesh is None else Layout(mesh, placement(net, mesh))


def on_rows(layout: Layout | None, recipe: Recipe, examples: int) -> Recipe:
    """The recipe where the devices of a place share the rows of each batch."""
    if layout is None or layout.data_size == 1:
        return recipe
    check_batches(layout, recipe.batch_size)
    length = rows_on(layout.mesh, examples)
    return recipe._replace(layout=layout, split=Split(examples, length or examples))


def rows_on(mesh: Mesh | None, examples: int) -> int | None:
    """To how many rows data are filled up where they lie split over `data`; None: they do not."""
    parts = 1 if mesh is None else mesh.shape.get(DATA, 1)
    return None if parts == 1 else -(-examples // parts) * parts


def on_a_place(mesh: Mesh | None, members: int) -> int:
    """⌈M / D⌉, how many members a place has."""
    return members if mesh is None else -(-members // mesh.shape[MEMBER])


def filling(mesh: Mesh, members: int) -> np.ndarray:
    """(D ⌈M / D⌉,), True for what only fills up the last places."""
    return np.arange(mesh.shape[MEMBER] * on_a_place(mesh, members)) >= members


def split(mesh: Mesh | None, tree: Any, rows: int | None = None) -> Any:
    """Arrays (M, …), filled up with copies of the last member, each place with its own part.

    Of a NumPy array each device is sent its own members and no others.

    Args:
      mesh: the mesh, or None for no change.
      tree: the arrays.
      rows: for arrays (M, N, …) what `rows_on` says.
    """
    if mesh is None:
        return tree
    home = NamedSharding(mesh, P(MEMBER) if rows is None else P(MEMBER, DATA))

    def placed(t: Any) -> jax.Array:
        count = mesh.shape[MEMBER] * on_a_place(mesh, t.shape[0])
        numbers = np.minimum(np.arange(count), t.shape[0] - 1)  # the last member repeated
        t = _filled_up(t, 1, rows)
        if isinstance(t, jax.Array):
            return put(t if count == t.shape[0] else t[numbers], home)

        def part(index: Any) -> np.ndarray:
            return t[(numbers[index[0]], *index[1:])]

        return jax.make_array_from_callback((count, *t.shape[1:]), home, part)

    return jax.tree.map(placed, tree)


def whole(mesh: Mesh | None, tree: Any, rows: int | None = None) -> Any:
    """Arrays that all members share, on every place; rows for arrays (N, …) as for `split`."""
    if mesh is None:
        return tree
    home = NamedSharding(mesh, P() if rows is None else P(DATA))
    return jax.tree.map(lambda t: put(_filled_up(t, 0, rows), home), tree)


def _filled_up(t: Any, axis: int, rows: int | None) -> Any:
    """The axis filled up with 0 to so many rows; what is no array of JAX has a dtype of JAX."""
    if not isinstance(t, jax.Array):
        t = np.asarray(t)
        t = t.astype(jax.dtypes.canonicalize_dtype(t.dtype), copy=False)
    if rows is None or rows == t.shape[axis]:
        return t
    pad = jnp.pad if isinstance(t, jax.Array) else np.pad
    return pad(t, [(0, rows - n if i == axis else 0) for i, n in enumerate(t.shape)])


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
        tree = _first(tree, members, NamedSharding(automatic(mesh), P()))
    return jax.tree.map(lambda t: put(t, NamedSharding(mesh, t.sharding.spec)), tree)


@partial(jax.jit, static_argnames=("members", "home"))
def _first(tree, members, home):
    return jax.tree.map(lambda t: jax.lax.with_sharding_constraint(t[:members], home), tree)


def of_member(t: jax.Array, i: int) -> jax.Array:
    """t[i], on one device if t is split over devices of this process alone.

    On Explicit axes, t[i] of a t that is split is an error.
    """
    if len(t.sharding.device_set) == 1:
        return t[i]
    if not t.is_fully_addressable:
        home: Any = t.sharding
        mesh = automatic(home.mesh)
        return whole(mesh, put(t, NamedSharding(mesh, home.spec)))[i]
    i = i % t.shape[0]
    for shard in t.addressable_shards:
        start, stop, _ = shard.index[0].indices(t.shape[0])
        if start <= i < stop:
            return jax.device_put(shard.data[i - start], t.addressable_shards[0].device)
    raise AssertionError("no device has this member")
