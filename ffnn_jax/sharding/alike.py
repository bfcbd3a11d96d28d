"""What all processes of one training have to have alike, compared before it is compiled."""

import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ffnn_jax.description import describe
from ffnn_jax.network import Network
from ffnn_jax.processes import agree, all_or_none
from ffnn_jax.sharding.placement import Layout

SETTINGS = (  # of JAX, that change what is computed
    "jax_enable_x64",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_default_matmul_precision",
)


def is_joint(layout: Layout | None) -> bool:
    """Whether the mesh has devices of several processes, which then all do the same."""
    return layout is not None and not layout.sharding().is_fully_addressable


def warn_if_alone(name: str, mesh: jax.sharding.Mesh | None) -> None:
    """A warning, at the caller's caller, where there are other processes and no mesh with them."""
    if mesh is None and jax.process_count() > 1:
        warnings.warn(
            f"{name}: there are {jax.process_count()} processes and no mesh=, so each trains a "
            "model of its own on its own rows; for one model give a mesh of all devices, such as "
            'mesh=jax.make_mesh((jax.device_count(),), ("data",))',
            stacklevel=3,
        )


def is_traced(tree: Any) -> bool:
    """Whether an array of the tree is being traced; it has no values to compare."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def agree_on(
    name: str,
    net: Network,
    layout: Layout,
    arrays: dict[str, Any],
    *,
    values: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Compares in all processes what their programs are made of.

    Args:
      name: of the function that trains.
      net: the network.
      layout: on which mesh.
      arrays: by their names: a pytree of arrays with rows first, or None where there is none; how
        many rows is not compared.
      values: by their names: a pytree of arrays of which the values are compared too.
      options: other values by their names: anything that JSON can hold, keys, and functions.

    Raises:
      ProcessError: in every process: it names what differs, and who has what.
    """
    from ffnn_jax import __version__

    mesh = layout.mesh
    fields = {
        "jax": jax.__version__,
        "ffnn_jax": __version__,
        **{setting: str(getattr(jax.config, setting)) for setting in SETTINGS},
        "network": describe(net),
        "mesh": [[axis, mesh.shape[axis]] for axis in mesh.axis_names],
        "mesh.axis_types": [kind.name for kind in mesh.axis_types],
        "mesh.devices": [device.id for device in mesh.devices.flat],
        "placement": str(layout.placement),
    }
    for argument, tree in arrays.items():
        fields |= {} if tree is not None else {argument: "none"}
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            about = f"{leaf.dtype} {['N', *leaf.shape[1:]]}"
            fields[f"{argument}{jax.tree_util.keystr(path)}"] = about
    for argument, tree in (values or {}).items():
        fields |= described(argument, tree)
    agree(name, fields | {key: _plain(value) for key, value in options.items()})


def agree_on_program(name: str, lower: Callable[[], jax.stages.Lowered]) -> None:
    """Compares in all processes the program itself, as it is before XLA compiles it.

    A learning rate or a strength of decay is nowhere but inside a function; in the program they
    are numbers. JAX keeps what it has lowered for the call that follows, so nothing is done twice:
    what it costs is the text and its digest, about 20 ms.

    Args:
      name: of the function that trains.
      lower: gives the program with the arguments of the first call.

    Raises:
      ProcessError: in every process: the programs differ, or one process cannot make its own.
    """
    with all_or_none(name):
        digest = hashlib.sha256(lower().as_text().encode()).hexdigest()[:16]
    what = "the optimizer, the objective or another option: their programs are not the same"
    agree(name, {what: digest})


def described(argument: str, tree: Any) -> dict[str, str]:
    """The arrays of a tree by their names, each by its dtype, its shape and a digest."""
    return {
        f"{argument}{jax.tree_util.keystr(path)}": _described(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _described(leaf: Any) -> str:
    """Dtype, shape and 16 digits of the SHA-256 of an array that each process has whole.

    Of one that is split over processes each has another part: there are no values to compare.
    """
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            return f"{leaf.dtype} {list(leaf.shape)}, split"
        leaf = leaf.addressable_data(0)
    array = np.asarray(leaf)
    return f"{array.dtype} {list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, jax.Array | np.ndarray):
        return np.asarray(value).tolist()
    return getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else value
