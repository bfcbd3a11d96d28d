"""The members of an ensemble over the devices of a mesh.

  device d of D has the members  d m, …, (d + 1) m − 1,    m = ⌈M / D⌉

Networks that are trained side by side have nothing to tell each other, so each device runs a loop
of its own over its members: nothing goes from one device to another, and one whose members have
all stopped is done. Where D does not divide M, members that have stopped from the start fill up
the last devices.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ffnn_jax.sharding.placement import MEMBER, automatic, check_mesh, put


def check_member_mesh(mesh: Any) -> Mesh | None:
    """A mesh with the one axis `member`, of the kind Auto as training needs it; None is None."""
    if mesh is None:
        return None
    check_mesh(mesh, (MEMBER,))
    return automatic(mesh)


def on(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """The context to trace and call in: another mesh that the caller works on is put aside."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def on_a_device(mesh: Mesh | None, members: int) -> int:
    """⌈M / D⌉, how many members a device has."""
    return members if mesh is None else -(-members // mesh.shape[MEMBER])


def filling(mesh: Mesh, members: int) -> jax.Array:
    """(D ⌈M / D⌉,), True for what only fills up the last devices, each device with its own part."""
    numbers = np.arange(mesh.size * on_a_device(mesh, members))
    return split(mesh, numbers >= members)


def split(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays (M, …), filled up with copies of the last member, each device with its own part.

    Of a NumPy array each device is sent its own members and no others.
    """
    if mesh is None:
        return tree
    home = NamedSharding(mesh, P(MEMBER))

    def placed(t: Any) -> jax.Array:
        count = mesh.size * on_a_device(mesh, t.shape[0])
        numbers = np.minimum(np.arange(count), t.shape[0] - 1)  # the last member repeated
        if isinstance(t, jax.Array):
            return put(t if count == t.shape[0] else t[numbers], home)
        t = _as_numpy(t)
        shape = (count, *t.shape[1:])
        return jax.make_array_from_callback(shape, home, lambda index: t[numbers[index[0]]])

    return jax.tree.map(placed, tree)


def whole(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays that all members share, on every device."""
    if mesh is None:
        return tree
    home = NamedSharding(mesh, P())
    return jax.tree.map(lambda t: put(t if isinstance(t, jax.Array) else _as_numpy(t), home), tree)


def _as_numpy(t: Any) -> np.ndarray:
    """t with a dtype that JAX has: float64 is float32 where 64-bit types are off."""
    t = np.asarray(t)
    return t.astype(jax.dtypes.canonicalize_dtype(t.dtype), copy=False)


def on_each_device(
    fn: Callable[..., Any], mesh: Mesh | None, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """fn of what each device has; without a mesh fn itself.

    JAX does not look after what differs between devices here (`check_vma`): no gradient is taken
    through this split and nothing in it is summed over devices, which is what that is there for;
    and many an optimizer has a `lax.cond` that does not pass it.
    """
    if mesh is None:
        return fn
    return jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def returned(mesh: Mesh | None, tree: Any, members: int) -> Any:
    """The first M members of arrays that are split, on the mesh as it came.

    They stay where they are if the devices share them evenly; otherwise each device has all.
    """
    if mesh is None:
        return tree
    if members % mesh.size:
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
