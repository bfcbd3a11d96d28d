"""Arrays that lie on many devices, whole in NumPy: for files, pictures, and other libraries."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ffnn_jax import checks
from ffnn_jax.processes import peers


def gathered(tree: Any) -> Any:
    """Every array of a tree whole, as NumPy, in every process.

    Where an array is split over processes they exchange their parts: all of them call this with
    the same tree, and one of them may then write a file. The exchange puts one array after the
    other whole on each device, so the largest has to fit there.

    Args:
      tree: a pytree of arrays of JAX or NumPy and numbers, such as `fit(…).params`. An array that
        each process has for itself is taken as it is there.

    Returns:
      The same tree of NumPy arrays; a PRNG key stays one, on a device of this process.

    Raises:
      TypeError: a leaf is no array or number, or is being traced.
      ProcessError: another process has ended meanwhile.

    Example:
      >>> import jax
      >>> import ffnn_jax as ffnn
      >>> net = ffnn.Network((4, 8, 3), output="softmax")
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> params = jax.device_put(
      ...     ffnn.init(net, jax.random.key(0)), jax.NamedSharding(mesh, jax.P())
      ... )
      >>> whole = ffnn.gathered(params)
      >>> type(whole[0].W).__name__, whole[0].W.shape
      ('ndarray', (8, 4))
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    for path, leaf in leaves:
        name = f"tree{jax.tree_util.keystr(path)}"
        if isinstance(leaf, Tracer):
            raise TypeError(f"{name}: expected an array with values, got one that is being traced")
        if not isinstance(leaf, jax.Array):
            checks.as_array(name, leaf)
    with peers("gathered"):
        return structure.unflatten(on_host([leaf for _, leaf in leaves]))


def on_host(tree: Any) -> Any:
    """`gathered`, of what is known to be arrays."""
    return jax.tree.map(_whole, tree)


def _whole(value: Any) -> Any:
    """One array; with its parts in several processes, by a collective."""
    if not isinstance(value, jax.Array):
        return np.asarray(value)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        words = _whole(jax.random.key_data(value))
        return jax.random.wrap_key_data(jnp.asarray(words), impl=jax.random.key_impl(value))
    if value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(value, tiled=True))
