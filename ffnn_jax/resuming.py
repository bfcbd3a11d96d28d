"""A fit that is saved as it goes, and goes on from there bit for bit.

A checkpoint of step e holds all that the epochs after e depend on: θ, the state of the optimizer,
the key that the order of the data is drawn from, what early stopping has seen (all of it the
`Run`), and the history up to e. Its metadata say of which fit it is.
"""

import contextlib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax.checkpoint import Checkpoints
from ffnn_jax.checkpoint.folder import File, Folder, Found
from ffnn_jax.checkpoint.leaves import encode, named_leaves
from ffnn_jax.checkpoint.model import metadata_of
from ffnn_jax.description import describe
from ffnn_jax.epochs import MOST_EPOCHS, Data, Run, Stopping, Table
from ffnn_jax.history import History, history_of, table_of
from ffnn_jax.network import Network
from ffnn_jax.recipe import Recipe, TrainState
from ffnn_jax.sharding.alike import is_joint
from ffnn_jax.sharding.fingerprint import fingerprint, rows_fingerprint
from ffnn_jax.sharding.placement import Layout, on, placed


class Saved(NamedTuple):
    """What one checkpoint holds."""

    run: Run
    history: History


class Keeper:
    """Saves a fit now and then; without checkpoints it does nothing.

    Attributes:
      run: where the fit begins, or goes on.
      tables: of the epochs before that.
      every: how many epochs lie between two saves.
      saved: the last epoch that is on the disk, 0 where none is.
    """

    def __init__(
        self,
        checkpoints: Folder | None,
        identity: dict[str, Any],
        run: Run,
        tables: list[Table],
    ):
        self.checkpoints, self.identity, self.run, self.tables = checkpoints, identity, run, tables
        self.every = MOST_EPOCHS if checkpoints is None else checkpoints.every
        self.saved = sum(len(table.seconds) for table in tables)

    def save(self, run: Run, tables: list[Table], *, last: bool = False) -> None:
        """Saves what is to be saved after an epoch, or what is not saved yet after the last."""
        epochs = int(run.epochs)
        if self.checkpoints is None or epochs <= self.saved or int(run.bad_batch) >= 0:
            return
        if epochs % self.every and not last:
            return
        history = history_of(tables, epochs)
        monitored = history.loss if history.validation_loss is None else history.validation_loss
        best = bool(monitored[-1] <= monitored.min())
        metadata = {"fit": self.identity}
        self.checkpoints.save(epochs, Saved(run, history), metadata=metadata, best=best)
        self.saved = epochs


@contextlib.contextmanager
def keeping(
    checkpoints: Folder | None, resume: bool, run: Run, identity: Callable[[], dict[str, Any]]
) -> Iterator[Keeper]:
    """A keeper, the folder being locked: at the start of the run, or where it is resumed.

    Args:
      checkpoints: where to save, or None.
      resume: whether to go on from the newest that verifies.
      run: the run before the first epoch.
      identity: gives `identity_of`; called only where there are checkpoints.

    Raises:
      ValueError: there are checkpoints and no resume, or those of another fit.
      CheckpointError: another training holds the folder, or no checkpoint in it verifies.
    """
    if checkpoints is None:
        yield Keeper(None, {}, run, [])
        return
    with checkpoints.lock():
        files, which = checkpoints.files(), json.loads(json.dumps(identity()))
        if files and not resume:
            raise ValueError(
                f"checkpoints: {os.fspath(checkpoints.folder)} holds a training up to epoch "
                f"{files[0].step}; pass resume=True to go on from there, or take another folder"
            )
        yield _keeper(checkpoints, files, run, which)


def _keeper(checkpoints: Folder, files: list[File], run: Run, identity: dict[str, Any]) -> Keeper:
    """A keeper at the newest of the files that verifies; at the start where there are none."""
    restored = checkpoints.restored(files, functools.partial(_saved, checkpoints, run, identity))
    if restored is None:
        return Keeper(checkpoints, identity, run, [])
    for line in restored.skipped:
        warnings.warn(
            f"fit: a checkpoint does not verify: {line}; that of epoch {restored.step} is taken "
            "instead",
            stacklevel=5,
        )
    saved = restored.tree
    return Keeper(checkpoints, identity, saved.run, [table_of(saved.history)])


def _saved(checkpoints: Folder, run: Run, identity: dict[str, Any], found: Found) -> Saved:
    """What a checkpoint of this fit holds, in its shapes; ValueError where it is of another."""
    manifest = found.manifest
    _check_same(checkpoints, identity, metadata_of(checkpoints.folder, manifest).get("fit"))
    names = {row["name"] for row in manifest["leaves"]}
    history: dict[str, Any] = {
        name: np.zeros(manifest["step"]) if f"history/{name}" in names else None
        for name in History._fields
    }
    return Saved(run, History(**history))


def identity_of(
    net: Network,
    recipe: Recipe,
    data: Data,
    stopping: Stopping | None,
    begin: Any,
    state: TrainState,
    compiler_options: Mapping[str, Any] | None,
    checkpoints: Folder | None,
) -> dict[str, Any]:
    """What has to be the same for a fit to go on as if it had never stopped, as far as we know it.

    The rate inside an optimizer, and what an objective does, cannot be seen from here.

    Args:
      net: the network; its plan may change.
      recipe: what the epochs are made of.
      data: the examples.
      stopping: when it stops early.
      begin: the key or state that the fit was given.
      state: the state before the first epoch.
      compiler_options: of XLA.
      checkpoints: where it is saved.
    """
    objective = recipe.objective
    of_data, of_validation, of_begin = _digests(checkpoints, recipe, data, begin)
    return {
        "network": describe(net),
        "number of examples": data.x.shape[0] if recipe.split is None else recipe.split.rows,
        "batch_size": recipe.batch_size,
        "accumulate": recipe.accumulate,
        "objective": getattr(objective, "__qualname__", type(objective).__qualname__),
        "patience": None if stopping is None else int(stopping.patience),
        "min_delta": None if stopping is None else float(stopping.min_delta),
        "optimizer state": _digest(jax.eval_shape(lambda: state.opt_state)),
        "data": of_data,
        "validation": of_validation,
        "key or state": of_begin,
        "compiler_options": dict(compiler_options) if compiler_options else None,
    }


def check_keeping(checkpoints: Any, resume: Any, on_epochs: Any, layout: Layout | None) -> None:
    """The arguments of `fit` that are about saving."""
    if checkpoints is not None and not isinstance(checkpoints, Folder):
        raise TypeError(
            "checkpoints: expected Checkpoints(folder), ShardedCheckpoints(folder) or None, got "
            f"{type(checkpoints).__name__}"
        )
    if is_joint(layout) and isinstance(checkpoints, Checkpoints):
        raise TypeError(
            "checkpoints: the mesh has devices of several processes, and Checkpoints are written "
            "by one; expected ShardedCheckpoints(folder)"
        )
    if not isinstance(resume, bool):
        raise TypeError(f"resume: expected True or False, got {resume!r}")
    if resume and checkpoints is None:
        raise ValueError("resume: there are no checkpoints to go on from; pass checkpoints=")
    if on_epochs is not None and not callable(on_epochs):
        raise TypeError(f"on_epochs: expected a function or None, got {on_epochs!r}")


def check_not_beyond(epochs: int, keeper: Keeper) -> None:
    """The fit that is resumed has not gone further than it is to go."""
    if keeper.saved > epochs:
        raise ValueError(f"epochs: {keeper.saved} are in the checkpoints already, got {epochs}")


def _check_same(checkpoints: Folder, now: dict[str, Any], then: Any) -> None:
    folder = os.fspath(checkpoints.folder)
    if not isinstance(then, dict):
        raise ValueError(f"checkpoints: those in {folder} were not saved by fit")
    for name, value in now.items():
        if then.get(name) != value:
            raise ValueError(
                f"checkpoints: those in {folder} are of another fit: its {name} was "
                f"{then.get(name)}, now it is {value}"
            )


def _digests(
    checkpoints: Folder | None, recipe: Recipe, data: Data, begin: Any
) -> tuple[str, str, str]:
    """Of the examples, of those looked at, and of the key or state; the same on every layout.

    What is one file was made by one process, and has the SHA-256 of what that process can read.
    """
    examples, held_out, layout, split = data[:3], data[3:], recipe.layout, recipe.split
    if isinstance(checkpoints, Checkpoints):
        if split is not None:
            examples = _rows(examples, split.rows)
            if data.held_out_weights is not None:  # they only say where it is filled up
                held_out = (*_rows(held_out[:2], int(np.sum(data.held_out_weights))), None)
        return _digest(examples), _digest(held_out), _digest(begin)
    with on(layout):
        begun = begin if layout is None else placed(layout, begin)
        of_examples = rows_fingerprint(examples, split=split)
        looked_at = rows_fingerprint(held_out[:2], weights=data.held_out_weights, ordered=False)
        return of_examples, looked_at, fingerprint(begun)


def _rows(tree: Any, count: int) -> Any:
    """The first rows of arrays, in NumPy."""
    return jax.tree.map(lambda t: np.asarray(t)[:count], tree)


def _digest(tree: Any) -> str:
    """16 hexadecimal digits of names, shapes, dtypes and, where there are any, values."""
    rows = [
        [name, str(leaf.dtype), leaf.shape]
        if isinstance(leaf, jax.ShapeDtypeStruct)
        else encode(name, leaf).row
        for name, leaf in named_leaves(tree)
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
