"""The members of an ensemble over the devices of a mesh.

  device d of D has the members  d m, …, (d + 1) m − 1,    m = ⌈M / D⌉

Networks that are trained side by side have nothing to tell each other, so each device runs a loop
of its own over its members: nothing goes from one device to another, and one whose members have
all stopped is done. Where D does not divide M, members that have stopped from the start fill up
the last devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

MEMBER = "member"  # the axis of a mesh over which networks are split


def check_member_mesh(mesh: Any) -> None:
    """A mesh of devices with the one axis `member`, or None."""
    if mesh is None:
        return
    if not isinstance(mesh, Mesh):
        raise TypeError(
            'mesh: expected a mesh of devices, as from jax.make_mesh((4,), ("member",)), or None; '
            f"got {type(mesh).__module__}.{type(mesh).__qualname__}"
        )
    if mesh.axis_names != (MEMBER,):
        raise ValueError(f"mesh: expected the one axis {MEMBER!r}, got {mesh.axis_names}")


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
        count = mesh.size * on_a_device(mesh, len(t))
        numbers = np.minimum(np.arange(count), len(t) - 1)  # of the members, the last repeated
        if isinstance(t, jax.Array):
            return jax.device_put(t if len(t) == count else t[numbers], home)
        dtype = jax.dtypes.canonicalize_dtype(t.dtype)
        shape = (count, *t.shape[1:])
        return jax.make_array_from_callback(
            shape, home, lambda index: t[numbers[index[0]]].astype(dtype)
        )

    return jax.tree.map(placed, tree)


def whole(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays that all members share, on every device."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, P()))


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


def without_filling(mesh: Mesh | None, tree: Any, members: int) -> Any:
    """The first M members of arrays that are split.

    They stay where they are if the devices share them evenly; otherwise each device has all.
    """
    if mesh is None or members % mesh.size == 0:
        return tree
    return jax.tree.map(lambda t: t[:members], whole(mesh, tree))
