"""Arrays that lie split over devices, written and read by orbax: each process its own part.

orbax writes a folder of files by TensorStore; a leaf is in it under its number. It verifies
nothing, and restores into a wrong shape without a word: what is held is therefore described in
rows, and compared before it is asked for anything. Here no process waits for another.
"""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ffnn_jax import checks
from ffnn_jax.checkpoint.leaves import (
    BFLOAT16,
    DTYPES,
    as_like,
    check_names,
    check_same,
    home_of,
    is_key,
    named_leaves,
)


class Described(NamedTuple):
    """One leaf.

    Attributes:
      row: name, dtype and shape, of a PRNG key those of the array of keys, and of a key impl.
      values: what is written: of a key its words.
    """

    row: dict[str, Any]
    values: Any


def describe(tree: Any) -> list[Described]:
    """The leaves of a tree.

    Raises:
      TypeError: one is no array or number, is being traced, or is of a dtype that is not stored.
      ValueError: two have the same name, or one has no printable name.
    """
    return [_described(name, leaf) for name, leaf in named_leaves(tree)]


def store(folder: pathlib.Path, leaves: list[Described]) -> None:
    """Writes what this process has of the leaves; then the first process calls `merge`.

    Raises:
      OSError: it cannot be written.
    """
    orbax, epath = packages()
    values = {str(i): _storable(leaf.values) for i, leaf in enumerate(leaves) if _size(leaf.row)}
    if not values:
        return
    try:
        arguments = orbax.args.PyTreeSave(values)
        with _quiet():
            orbax.PyTreeCheckpointHandler().save(_absolute(epath, folder), args=arguments)
    except Exception as error:  # of TensorStore, a ValueError
        raise OSError(f"{folder}: it cannot be written: {_words(error)}") from error


def merge(folder: pathlib.Path) -> None:
    """Makes one of what all processes wrote, without the folders that nobody wrote into.

    Raises:
      OSError: it cannot be written.
    """
    orbax, epath = packages()
    if not any(folder.iterdir()):
        return
    try:
        with _quiet():
            orbax.PyTreeCheckpointHandler().finalize(_absolute(epath, folder))
    except Exception as error:
        raise OSError(f"{folder}: it cannot be written: {_words(error)}") from error
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir())[::-1]:
        if not any(inner.iterdir()):
            inner.rmdir()


def check_rows(rows: list[dict[str, Any]], like: Any) -> None:
    """The rows are of a tree.

    Raises:
      ValueError: another set of names, or a leaf of another shape, dtype or implementation of keys.
    """
    by_name = {row["name"]: row for row in rows}
    for name, leaf in check_names(like, by_name):
        check_same(name, leaf, by_name[name]["dtype"], tuple(by_name[name]["shape"]))


def load(folder: pathlib.Path, rows: list[dict[str, Any]], like: Any) -> Any:
    """What was written, in the structure of a tree: each process reads what lies on its devices.

    Args:
      folder: as that of `store`.
      rows: of the leaves, in their order; `check_rows` found them to be those of the tree.
      like: as that of `Checkpoints.latest`.

    Raises:
      ValueError: a leaf is of a dtype that is switched off.
      OSError: it cannot be read.
    """
    named = dict(named_leaves(like))
    numbers = {str(i): row for i, row in enumerate(rows) if _size(row)}
    places = {i: _placed(named[row["name"]]) for i, row in numbers.items()}
    values = _read(folder, numbers, places)
    found = {}
    for i, row in enumerate(rows):
        value = values[str(i)] if str(i) in values else _empty(row)
        found[row["name"]] = _restored(row, named[row["name"]], value, places.get(str(i)))
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in named])


def packages() -> tuple[Any, Any]:
    """orbax.checkpoint and the paths that it takes.

    Raises:
      ModuleNotFoundError: orbax is not installed.
    """
    try:
        import orbax.checkpoint as orbax
        from etils import epath
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"ShardedCheckpoints: orbax is needed ({error}): pip install 'ffnn_jax[orbax]'",
            name=error.name,
        ) from None
    return orbax, epath


def _absolute(epath: Any, folder: pathlib.Path) -> Any:
    """The folder as orbax takes it: TensorStore refuses a relative one."""
    return epath.Path(os.path.abspath(folder))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Errors that orbax logs are not shown meanwhile: the first of them is raised as well."""
    logger = logging.getLogger("absl")
    logger.addFilter(_not_of_orbax)
    try:
        yield
    finally:
        logger.removeFilter(_not_of_orbax)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in pathlib.PurePath(record.pathname).parts


def _described(name: str, value: Any) -> Described:
    if isinstance(value, Tracer):
        raise TypeError(f"{name}: expected an array with values, got one that is being traced")
    row: dict[str, Any] = {"name": name}
    if is_key(value):
        row |= {"dtype": str(value.dtype), "shape": list(value.shape)}
        row["impl"] = str(jax.random.key_impl(value))
        return Described(row, jax.random.key_data(value))
    if not isinstance(value, jax.Array):
        value = np.asarray(checks.as_array(name, value))
    if value.dtype not in (*DTYPES, BFLOAT16):
        known = ", ".join(map(str, DTYPES))
        raise TypeError(f"{name}: expected a key, bfloat16, {known}; got {value.dtype}")
    return Described({**row, "dtype": str(value.dtype), "shape": list(value.shape)}, value)


def _storable(values: Any) -> Any:
    """An array as orbax takes it: one that each process has for itself as NumPy.

    Of such, the first process writes its own.
    """
    if not isinstance(values, jax.Array):
        return values
    alone = values.is_fully_addressable and jax.process_count() > 1
    return np.asarray(values) if alone else values


def _size(row: dict[str, Any]) -> int:
    """How many numbers or keys it has; an array without any, orbax does not store."""
    return int(np.prod(row["shape"], dtype=np.int64))


def _empty(row: dict[str, Any]) -> np.ndarray:
    """The values of a leaf without any."""
    if "impl" not in row:
        return np.zeros(row["shape"], jnp.dtype(row["dtype"]))
    words = jax.random.key_data(jax.random.key(0, impl=row["impl"]))
    return np.zeros((*row["shape"], *words.shape), words.dtype)


def _placed(like: Any) -> Any:
    """The sharding that orbax restores a leaf into; None where it comes by way of NumPy."""
    home = home_of(like)
    weak = getattr(like, "weak_type", False)
    if home is None or weak or (home.is_fully_addressable and jax.process_count() > 1):
        return None
    return home


def _read(
    folder: pathlib.Path, rows: dict[str, dict[str, Any]], places: dict[str, Any]
) -> dict[str, Any]:
    """The arrays by their numbers: in their places, or in NumPy."""
    if not rows:
        return {}
    orbax, epath = packages()
    wanted = {
        i: orbax.RestoreArgs(restore_type=np.ndarray)
        if places[i] is None
        else orbax.ArrayRestoreArgs(sharding=places[i])
        for i in rows
    }
    arguments = orbax.args.PyTreeRestore(item=dict.fromkeys(rows, 0), restore_args=wanted)
    try:
        with _quiet():
            handler = orbax.PyTreeCheckpointHandler()
            return handler.restore(_absolute(epath, folder), args=arguments)
    except Exception as error:
        raise OSError(f"{folder}: it cannot be read: {_words(error)}") from error


def _restored(row: dict[str, Any], like: Any, value: Any, place: Any) -> Any:
    """What orbax gave, as the leaf that was asked for."""
    if "impl" in row:
        value = jax.random.wrap_key_data(jnp.asarray(value), impl=row["impl"])
    if place is None:
        return as_like(row["name"], like, value)
    check_same(row["name"], like, value.dtype, value.shape)
    return value


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
