"""One array of a tree as what a file can hold, and back: bfloat16 and PRNG keys are encoded.

kind        stored as                                   for instance
array       itself, little-endian                       float32 (3, 4)
bfloat16    its bits, uint16                            uint16 (3, 4)
key         its words, uint32, and the name of impl     uint32 (2,), "threefry2x32"
"""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ffnn_jax import checks

BFLOAT16 = jnp.dtype(jnp.bfloat16)
DTYPES = tuple(
    map(
        np.dtype,
        (
            *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
            *("float16", "float32", "float64", "complex64", "complex128"),
        ),
    )
)
LONGEST_NAME = 1000


class Leaf(NamedTuple):
    """One array of a file.

    Attributes:
      row: its entry in the manifest: name, kind, dtype and shape as stored, sha256, and of a key
        impl.
      values: as stored, contiguous and little-endian.
    """

    row: dict[str, Any]
    values: np.ndarray


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a pytree by their paths, `params/0/W`; of a tree that is one leaf, `value`.

    Raises:
      ValueError: two leaves have the same name, or one has no printable name.
    """
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/") or "value", leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]
    seen: set[str] = set()
    for name, _ in named:
        if name in seen:
            raise ValueError(f"tree: two leaves have the name {name!r}")
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(
                f"tree: expected names that can be printed, of at most {LONGEST_NAME} characters; "
                f"got {name[:LONGEST_NAME]!r}"
            )
        seen.add(name)
    return named


def encode(name: str, value: Any) -> Leaf:
    """A leaf as it is stored.

    Raises:
      TypeError: it is no array or number, is being traced, is split over processes, or is of a
        dtype that is not one of those above.
    """
    row: dict[str, Any] = {"name": name, "kind": "array"}
    if isinstance(value, Tracer):
        raise TypeError(f"{name}: expected an array with values, got one that is being traced")
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        if not (value.is_fully_replicated and value.addressable_shards):
            raise TypeError(
                f"{name}: expected an array that is whole in this process, got one that is split "
                "over processes; ffnn_jax.gathered(tree), called in all of them, makes it whole"
            )
        value = value.addressable_data(0)  # every process has all of it
    if is_key(value):
        row |= {"kind": "key", "impl": str(jax.random.key_impl(value))}
        value = jax.random.key_data(value)
    values = np.asarray(checks.as_array(name, value))
    if values.dtype == BFLOAT16:
        row["kind"] = "bfloat16"
        values = values.view(np.uint16)
    if values.dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise TypeError(f"{name}: expected a key, bfloat16, {known}; got {values.dtype}")
    row |= {"dtype": values.dtype.name, "shape": list(values.shape)}
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(values.shape)
    return Leaf({**row, "sha256": hashlib.sha256(values.reshape(-1).data).hexdigest()}, values)


def decode(leaf: Leaf) -> np.ndarray | jax.Array:
    """The leaf of `encode` again: a key as a key, anything else in NumPy.

    Raises:
      TypeError, ValueError: the row is of no kind that there is.
    """
    row, values = leaf
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if row["kind"] == "array":
        return values
    if row["kind"] == "bfloat16" and values.dtype == np.uint16:
        return values.view(BFLOAT16)
    if row["kind"] == "key":
        return jax.random.wrap_key_data(jnp.asarray(values), impl=row["impl"])
    raise ValueError(f"{row['kind']!r} of {values.dtype} is unknown")


def is_key(value: Any) -> bool:
    """Whether it is an array of typed PRNG keys."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def restore(like: Any, values: dict[str, Any]) -> Any:
    """The values in the structure of a tree, each leaf what the leaf of the tree is.

    Args:
      like: a pytree of arrays, numbers, or `jax.ShapeDtypeStruct`.
      values: by the names of `named_leaves`.

    Raises:
      ValueError: another set of names, or a leaf of another shape or dtype.
    """
    leaves = [as_like(name, leaf, values[name]) for name, leaf in check_names(like, values)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def check_names(like: Any, names: Iterable[str]) -> list[tuple[str, Any]]:
    """The leaves of a tree by their names, where those are the names.

    Raises:
      ValueError: another set of names.
    """
    expected, given = named_leaves(like), set(names)
    missing = [name for name, _ in expected if name not in given]
    extra = sorted(given - {name for name, _ in expected})
    if missing or extra:
        parts = [
            f"{names[0]} (of {len(names)}) is {what}"
            for names, what in ((missing, "missing"), (extra, "not expected"))
            if names
        ]
        raise ValueError(f"it holds another tree: {' and '.join(parts)}")
    return expected


def check_same(name: str, like: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """What is held, by its dtype or the name of that, is of the dtype and shape of a leaf.

    Raises:
      ValueError: it is not.
    """
    wanted = like if hasattr(like, "dtype") else np.asarray(like)
    if (str(dtype), shape) != (str(wanted.dtype), wanted.shape):
        raise ValueError(
            f"{name}: expected {wanted.dtype}{list(wanted.shape)}, it holds {dtype}{list(shape)}"
        )


def as_like(name: str, like: Any, value: Any) -> Any:
    """The value as an array of the kind of another: of JAX where that lies, NumPy, or a number.

    Raises:
      ValueError: it is of another shape or dtype, or of one that is switched off.
    """
    check_same(name, like, value.dtype, value.shape)
    if isinstance(like, np.ndarray):
        return value
    if not hasattr(like, "dtype") or isinstance(like, np.generic):
        return type(like)(value.item())
    if getattr(like, "weak_type", False) and value.shape == ():
        value = value.item()  # a number of Python gives a weak type again
    placed = home_of(like)
    array = jnp.asarray(value) if placed is None else jax.device_put(value, placed)
    if array.dtype != like.dtype:
        raise ValueError(
            f"{name}: {like.dtype} needs 64-bit types, and they are switched off; work under "
            "`with jax.enable_x64(True):`"
        )
    return array


def home_of(like: Any) -> Any:
    """The sharding that a leaf asks for, or None."""
    if isinstance(like, jax.Array):
        return like.sharding if like.committed else None
    return getattr(like, "sharding", None)
