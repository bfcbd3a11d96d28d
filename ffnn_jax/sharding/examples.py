"""The rows of the data on a mesh: split over `data`, each device with its own slice and no more.

With several processes the whole is the rows of process 0, then those of process 1, and so on; the
rows of a process go to its own devices. Where the rows do not divide, arrays are filled up with 0.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from ffnn_jax import checks
from ffnn_jax.losses import Loss, is_cross_entropy
from ffnn_jax.network import Network, at_least_float32
from ffnn_jax.processes import exchange
from ffnn_jax.sharding.placement import Layout, put


@dataclasses.dataclass(frozen=True)
class Split:
    """Where the rows of the data lie in arrays that are filled up: static.

    Attributes:
      rows: N, how many rows there are.
      length: of the arrays, a multiple of the number of devices.
      first: the number of the first row of each stretch, from 0 up.
      at: where in the arrays each stretch starts.
    """

    rows: int
    length: int
    first: tuple[int, ...] = (0,)
    at: tuple[int, ...] = (0,)

    def position(self, rows: jax.Array) -> jax.Array:
        """Where in the arrays the rows of these numbers lie."""
        if len(self.first) == 1:
            return rows
        shift = np.subtract(self.at, self.first).astype(np.int32)
        stretch = jnp.searchsorted(np.asarray(self.first[1:], np.int32), rows, side="right")
        return rows + jnp.asarray(shift)[stretch]

    def mask(self) -> np.ndarray:
        """1 where the arrays have a row and 0 where they are filled up, (length,) float32."""
        mask = np.zeros(self.length, np.float32)
        for first, at, end in zip(self.first, self.at, (*self.first[1:], self.rows), strict=True):
            mask[at : at + end - first] = 1
        return mask


# Placing -----------------------------------------------------------------------------------------


def is_of_process(layout: Layout, tree: Any) -> bool:
    """Whether the arrays are rows of this process alone, and not the whole, of several processes.

    Raises:
      ValueError: some are and some are not.
    """
    if layout.sharding().is_fully_addressable:
        return False
    kinds = {_is_here(leaf) for leaf in jax.tree.leaves(tree)}
    if len(kinds) > 1:
        raise ValueError(
            "data: expected arrays of this process's rows, or arrays of JAX over all processes; "
            "got some of each"
        )
    return kinds.pop()


def _is_here(leaf: Any) -> bool:
    """Whether all of an array is in this process; a traced one is that of all processes."""
    if isinstance(leaf, Tracer):
        return False
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable


def split_of(layout: Layout, tree: Any) -> Split:
    """Where the rows of these arrays go; every process gives its own, and all get the same."""
    rows = jax.tree.leaves(tree)[0].shape[0]
    if not is_of_process(layout, tree):
        parts = layout.data_size
        return Split(rows, -(-rows // parts) * parts)
    return split_by_process(exchange("rows", int(rows)), _owners(layout))


def split_by_process(counts: Any, owners: list[int]) -> Split:
    """The rows of process 0, then those of process 1, …, each on the devices of its process.

    Args:
      counts: how many rows each process has.
      owners: the process of each device of the mesh, in the mesh's order.
    """
    shares = [owners.count(process) for process in range(len(counts))]
    each = max(-(-int(n) // share) for n, share in zip(counts, shares, strict=True))
    first, at, before = [], [], 0
    for process, n in enumerate(map(int, counts)):
        mine = [i for i, owner in enumerate(owners) if owner == process]
        for start, device in zip(range(0, n, each), mine, strict=False):
            if not at or before + start - first[-1] != device * each - at[-1]:
                first.append(before + start)
                at.append(device * each)
        before += n
    return Split(before, each * len(owners), tuple(first), tuple(at))


def spread(layout: Layout, split: Split, tree: Any) -> Any:
    """Arrays with rows first, filled up with 0 and split by rows over `data`."""
    of_process = is_of_process(layout, tree)
    return jax.tree.map(partial(_spread_one, layout, split, of_process), tree)


def _spread_one(layout: Layout, split: Split, of_process: bool, t: Any) -> jax.Array:
    home = layout.rows()
    shape = (split.length, *t.shape[1:])
    if isinstance(t, jax.Array) and not of_process:
        if split.length > t.shape[0]:
            t = _filled(t, split.length)
        return put(t, home)
    t = np.asarray(t)
    if of_process:
        return _from_processes(layout, split, t)

    def part(index):
        start, stop, _ = index[0].indices(split.length)
        rows = t[start:stop]
        missing = [(0, stop - start - len(rows)), *[(0, 0)] * (t.ndim - 1)]
        return np.pad(rows, missing) if len(rows) < stop - start else rows

    return jax.make_array_from_callback(shape, home, part)


@partial(jax.jit, static_argnames="length")
def _filled(t: jax.Array, length: int) -> jax.Array:
    return jnp.pad(t, [(0, length - t.shape[0]), *[(0, 0)] * (t.ndim - 1)])


def _from_processes(layout: Layout, split: Split, t: np.ndarray) -> jax.Array:
    """The rows of this process to its devices, and from there over the axes that are not `data`."""
    mesh = layout.auto
    every = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    each = split.length // mesh.size
    mine = [i for i, owner in enumerate(_owners(layout)) if owner == jax.process_index()]

    def part(index):
        start = mine.index((index[0].start or 0) // each) * each
        rows = t[start : start + each]
        return np.pad(rows, [(0, each - len(rows)), *[(0, 0)] * (t.ndim - 1)])

    whole = jax.make_array_from_callback((split.length, *t.shape[1:]), every, part)
    return put(whole, layout.rows())


def _owners(layout: Layout) -> list[int]:
    """The process of each device, in the order of the mesh."""
    return [device.process_index for device in layout.mesh.devices.flat]


def as_examples(
    net: Network, layout: Layout, dtype: np.dtype, x: Any, y: Any, weights: Any
) -> tuple[Any, Any, Any]:
    """Checked x, y and weights with the dtypes that `network.as_examples` gives them.

    What NumPy has stays in NumPy: no device is to see the whole.
    """
    x, y, weights = jax.tree.map(partial(_on_auto_axes, layout), (x, y, weights))
    if isinstance(net.loss, Loss):
        y = jax.tree.map(lambda t: cast(t, jax.dtypes.canonicalize_dtype(t.dtype)), y)
    elif checks.holds_classes(net.sizes[-1], y, x.shape[:-1], is_cross_entropy(net.loss)):
        y = cast(y, np.int32)
    else:
        y = cast(y, dtype).reshape(*x.shape[:-1], net.sizes[-1])
    weights = None if weights is None else cast(weights, at_least_float32(dtype))
    return cast(x, dtype), y, weights


def _on_auto_axes(layout: Layout, t: Any) -> Any:
    """An array on Explicit axes where it is, but on Auto ones."""
    if not isinstance(t, jax.Array) or not jax.typeof(t).sharding.mesh.explicit_axes:
        return t
    home = jax.typeof(t).sharding
    same = dict(home.mesh.shape) == dict(layout.mesh.shape)
    return put(t, layout.sharding(*home.spec) if same else layout.sharding())


def cast(t: Any, dtype: DTypeLike | None) -> Any:
    """An array of NumPy or of JAX, left where it is, in the dtype if one is given."""
    t = t if isinstance(t, jax.Array) else np.asarray(t)
    return t if dtype is None or t.dtype == dtype else t.astype(dtype)
