"""Many networks at once: one program trains M of them, each with what is its own.

Each has its own key, and, if wanted, its own learning rate, data, weights of the examples (0 masks
one out) and early stop. Member i is what `fit` gives for it alone, up to rounding. One that has
stopped, early or at a loss that is no number, keeps its result while the others go on.
"""

import itertools
import operator
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.epochs import Data, Row, Run, advance, drive, repeat, start
from ffnn_jax.fitting import (
    Fit,
    Progress,
    check_dataset,
    check_not_traced,
    check_stopping,
    interruption,
)
from ffnn_jax.history import History, history_of
from ffnn_jax.network import Network, Params, init
from ffnn_jax.training import (
    Objective,
    TrainState,
    check_optimizer,
    check_recipe,
    init_state,
)

Optimizer = optax.GradientTransformation | Callable[[jax.Array], optax.GradientTransformation]


class FitMany(NamedTuple):
    """The result of `fit_many`; every array has a leading M, but those of `history.seconds`.

    Attributes:
      params: as those of `Fit`, of all members.
      history: as that of `Fit`: (M, E), E the epochs of the member that took most, NaN after the
        last whole epoch of a member. seconds is (E,): an epoch is one of all members together.
      state: as that of `Fit`, of all members.
      epochs: (M,), how many whole epochs each took.
      best_epoch: (M,) with `patience`, −1 where no epoch had a finite loss; otherwise None.
      bad_step: (M,), the step at which the loss of a member was NaN or infinite, counted from 0;
        −1 where it never was. Such a member has the result before the epoch of that step.
    """

    params: Params
    history: History
    state: TrainState
    epochs: np.ndarray
    best_epoch: np.ndarray | None
    bad_step: np.ndarray

    def member(self, i: int) -> Fit:
        """The result of one network, as from `fit`.

        Raises:
          TypeError: i is no int.
          IndexError: there is no member i.
        """
        i = operator.index(i)
        if not -len(self.epochs) <= i < len(self.epochs):
            raise IndexError(f"i: expected a member from 0 to {len(self.epochs) - 1}, got {i}")
        params, state = jax.tree.map(lambda t: t[i], (self.params, self.state))
        count = self.epochs[i]
        *columns, seconds = self.history
        of_one: Any = (None if t is None else t[i, :count] for t in columns)
        loss, validation, accuracy = of_one
        history = History(loss, validation, accuracy, seconds[:count])
        best = -1 if self.best_epoch is None else int(self.best_epoch[i])
        return Fit(params, history, state, None if best < 0 else best)


def fit_many(
    net: Network,
    data: tuple[ArrayLike, Any],
    *,
    keys: jax.Array,
    optimizer: Optimizer,
    batch_size: int,
    epochs: int,
    learning_rates: ArrayLike | Sequence[float] | None = None,
    weights: ArrayLike | None = None,
    validation: tuple[ArrayLike, Any] | None = None,
    validation_weights: ArrayLike | None = None,
    objective: Objective = loss,
    accumulate: int = 1,
    patience: int | None = None,
    min_delta: float = 0.0,
    group_size: int | None = None,
    progress: bool | None = None,
) -> FitMany:
    """Trains M networks of one kind in one compiled loop; see `fit` for one.

    It goes on until each has done its epochs or stopped. Ctrl-C is heard as in `fit`.

    Args:
      net: the network.
      data: (x, y) for all members, x (N, n_0); or for each its own, x (M, N, n_0), with M leading
        in y too.
      keys: (M,) PRNG keys, as from `jax.random.split(key, M)`. Keys of JAX's rbg draw otherwise
        under `jax.vmap` than alone: with them a member is not what `fit` gives.
      optimizer: an optax optimizer; or with learning_rates a function of the rate that makes one,
        such as `optax.adam`. A new function is a new compilation.
      batch_size: B, 1 ≤ B ≤ N.
      epochs: how many passes over the data, at most.
      learning_rates: (M,), each above 0; None where the optimizer has its own.
      weights: (N,), as for `loss`, or (M, N), for each its own: 0 takes an example out, so a row
        of 0 and 1 is the training side of a split. A member goes through all N rows all the same.
      validation: (x, y) that are only looked at, for all members or for each its own, as data.
      validation_weights: weights of those, (N_v,) or (M, N_v).
      objective: as for `train_step`.
      accumulate: as for `train_step`.
      patience: as for `fit`, for each member by itself.
      min_delta: as for `fit`.
      group_size: how many members share one batched computation, the groups one after another; M
        is `jax.vmap` of all, 1 `jax.lax.map`. None: chosen by the width of the network.
      progress: as for `fit`.

    Returns:
      `FitMany`; `.member(i)` is a `Fit`.

    Raises:
      TypeError, ValueError: as `fit`; keys that are no array of keys; learning_rates of another
        length, not above 0, or without a function to take them; data, weights or validation with
        another leading M; group_size < 1.

    Example:
      Four learning rates at once, and the best of them:

      >>> import jax, optax, numpy as np
      >>> import ffnn_jax as ffnn
      >>> train, held_out = ffnn.split(*ffnn.load_iris(), fraction=0.3, seed=0)
      >>> net = ffnn.Network((4, 16, 3), activation="tanh", output="softmax")
      >>> many = ffnn.fit_many(net, train, keys=jax.random.split(jax.random.key(0), 4),
      ...                      optimizer=optax.adam, learning_rates=np.logspace(-4, -1, 4),
      ...                      batch_size=16, epochs=40, validation=held_out, patience=5)
      >>> best = np.nanmin(many.history.validation_loss, axis=1).argmin()
      >>> many.member(best).params[0].W.shape
      (16, 4)
    """
    network.check_network(net)
    members = _check_keys(keys)
    epochs = checks.check_positive_int("epochs", epochs)
    stopping = check_stopping(patience, min_delta)
    checks.check_switch("progress", progress)
    rates = _check_rates(optimizer, learning_rates, members)
    given = (data, keys, weights, validation, validation_weights, learning_rates)
    check_not_traced("fit_many", given)
    x, y = _check_data("data", net, data, weights, members)
    recipe = check_recipe(net, optimizer, batch_size, objective, accumulate, _one(x))
    if validation is not None:
        validation = _check_data("validation", net, validation, validation_weights, members)
    elif validation_weights is not None:
        raise ValueError("validation_weights: expected None without validation")
    if group_size is None:
        group_size = _group_size(net, members)
    else:
        group_size = checks.check_positive_int("group_size", group_size)
    runs = _start(net, optimizer, jnp.asarray(keys), rates, patience is not None)
    one = jax.tree.map(lambda t: t[0], runs.state.params)
    arrays = Data(*_arrays(net, one, (x, y), weights))
    if validation is not None:
        arrays = Data(*arrays[:3], *_arrays(net, one, validation, validation_weights))
    own, shared = _own_and_shared(arrays)

    def call(runs, count):
        each = (runs, rates, own)
        return _compiled_many(net, recipe, each, shared, stopping, count, group_size)

    with Progress(epochs, progress, _words) as line:
        runs, tables, interrupted = drive(call, runs, epochs, line.show)
    if interrupted:
        done = int(np.max(runs.epochs))
        warnings.warn(interruption("fit_many", done, epochs), stacklevel=2)
    return _result(runs, history_of(tables, int(np.max(runs.epochs))))


# How many at once --------------------------------------------------------------------------------


def _group_size(net: Network, members: int) -> int:
    """All members at once on an accelerator and where they are tiny; else few, or one.

    Time ÷ that of 64 sequential scans, Adam, two CPU cores, jax 0.10.2, by group size:

      parameters     sizes                batch      1      4      8     16     64
             42      2-8-2                   16   0.67   0.55   0.46   0.47   0.42
            131      4-16-3                  16   0.68   0.64   0.51   0.52   0.50
            676      16-32-4                 16   0.78   0.53   0.57   0.47   0.49
          8,970      64-64-64-10             32   0.90   0.83   0.77   0.75   0.90
        101,770      784-128-10              64   1.09   1.01   1.11   1.27   1.20

    One network's step is mostly the start of small operations, which all members share; once the
    parameters of a group and their moments outgrow the cache there is nothing to share.
    """
    parameters = sum(n * (m + 1) for m, n in itertools.pairwise(net.sizes))
    if jax.default_backend() != "cpu" or parameters < 3000:
        return members
    return 8 if parameters < 50_000 else 1


def _over_members(fn: Callable, each: Any, group_size: int) -> Any:
    """fn of each member, in groups of so many."""
    members = jax.tree.leaves(each)[0].shape[0]
    if group_size >= members:
        return jax.vmap(fn)(each)
    if group_size == 1:
        return jax.lax.map(fn, each)
    return jax.lax.map(fn, each, batch_size=group_size)


@partial(jax.jit, static_argnames=("recipe", "group_size"))
def _compiled_many(net, recipe, each, shared, stopping, count, group_size):
    runs, rates, own = each

    def advance_one(member):
        run, rate, own = member
        data = Data(*(a if b is None else b for a, b in zip(shared, own, strict=True)))
        mine = recipe if rate is None else recipe._replace(optimizer=recipe.optimizer(rate))
        return advance(net, mine, run, data, stopping)

    def advance_all(runs):
        return _over_members(advance_one, (runs, rates, own), group_size)

    return repeat(advance_all, runs, count)


def _start(net, optimizer, keys, rates, stops_early):
    return _start_from(net, optimizer, keys, _draw(net, keys), rates, stops_early)


@jax.jit
def _draw(net, keys):
    """The parameters that `init_state` draws: slow to compile, and the same for any optimizer."""
    return jax.vmap(lambda key: init(net, jax.random.split(key)[0]))(keys)


@partial(jax.jit, static_argnames=("optimizer", "stops_early"))
def _start_from(net, optimizer, keys, params, rates, stops_early):
    def start_one(member):
        key, params, rate = member
        mine = optimizer if rate is None else optimizer(rate)
        return start(init_state(net, mine, key, params=params), stops_early)

    return jax.vmap(start_one)((keys, params, rates))


# Before and after --------------------------------------------------------------------------------


def _check_keys(keys: Any) -> int:
    """An array of PRNG keys, (M,) of the new kind or (M, 2) of the old; returns M."""
    wrong = TypeError("keys: expected an array of keys, as from jax.random.split(key, M)")
    if not isinstance(keys, jax.Array | np.ndarray) or keys.ndim == 0:
        raise wrong
    if keys.shape[0] == 0:
        raise ValueError("keys: expected at least one key, got none")
    try:
        checks.check_key(keys[0], "keys[0]")
    except TypeError as error:
        raise TypeError(f"{wrong}; {error}") from None
    return keys.shape[0]


def _check_rates(optimizer: Any, learning_rates: Any, members: int) -> jax.Array | None:
    """The rates, float32 (M,), known to go with the optimizer; or None."""
    if learning_rates is None:
        if callable(optimizer):
            raise TypeError(
                "optimizer: expected an optax optimizer such as optax.sgd(0.1), or learning_rates "
                f"for a function of the rate; got the function {optimizer!r} alone"
            )
        check_optimizer(optimizer)
        return None
    if not callable(optimizer):
        raise TypeError(
            "optimizer: expected with learning_rates a function of the rate, such as optax.adam; "
            f"got {type(optimizer).__name__}"
        )
    if isinstance(learning_rates, list | tuple):
        learning_rates = np.asarray(learning_rates)
    rates = checks.as_array("learning_rates", learning_rates)
    if rates.shape != (members,):
        raise ValueError(
            f"learning_rates: expected shape {(members,)}, one for each key; got {rates.shape}"
        )
    values = checks.concrete(rates)
    for i, rate in enumerate(() if values is None else values):
        checks.check_positive_float(f"learning_rates[{i}]", rate, np.float32)
        if i == 0:
            check_optimizer(optimizer(jnp.asarray(rate, jnp.float32)))
    return checks.to_jax(rates, jnp.float32)


def _one(x: Any) -> Any:
    """The x of one member."""
    return x[0] if len(x.shape) == 3 else x


def _check_data(
    argument: str, net: Network, data: Any, weights: Any, members: int
) -> tuple[Any, Any]:
    """(x, y) and weights that fit the network, for all members or for each its own."""
    own = isinstance(data, tuple | list) and len(data) == 2 and np.ndim(data[0]) == 3
    if own:
        for leaf in jax.tree.leaves(data):
            if np.shape(leaf)[:1] != (members,):
                raise ValueError(
                    f"{argument}: expected the leading axis {members} of keys in x and y, got "
                    f"{np.shape(leaf)}"
                )
    one = jax.tree.map(np.asarray, data) if own else data
    for i in range(members if own else 1):
        of_one = jax.tree.map(lambda t: t[i], one) if own else one  # noqa: B023
        check_dataset(argument, net, of_one, None, np.dtype(np.float32))
    _check_weights(argument, weights, _one(data[0]).shape[0], members)
    return tuple(data)


def _check_weights(argument: str, weights: Any, examples: int, members: int) -> None:
    prefix = "" if argument == "data" else "validation_"
    rows = [weights]
    if np.ndim(weights) == 2:
        rows = np.asarray(weights)
        if len(rows) != members:
            raise ValueError(
                f"{prefix}weights: expected shape {(examples,)} or {(members, examples)}, got "
                f"{rows.shape}"
            )
    for row in rows:
        try:
            checks.check_weights(row, (examples,))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{prefix}{error}") from None


def _arrays(
    net: Network, params: Params, data: tuple[Any, Any], weights: Any
) -> tuple[Any, Any, Any]:
    """x, y and weights as arrays of JAX; params are those of one member."""
    x, y = network.as_examples(net, params, *data, None)[1:3]
    if weights is not None:
        weights = checks.to_jax(weights, network.at_least_float32(x.dtype))
    return x, y, weights


def _own_and_shared(arrays: Data) -> tuple[Data, Data]:
    """The arrays with a leading M, and the rest; each field is None in one of the two."""
    of_x, of_held_out = (x is not None and x.ndim == 3 for x in (arrays.x, arrays.held_out_x))
    of_weights = [w is not None and w.ndim == 2 for w in (arrays.weights, arrays.held_out_weights)]
    leading = (of_x, of_x, of_weights[0], of_held_out, of_held_out, of_weights[1])
    own = Data(*(t if lead else None for t, lead in zip(arrays, leading, strict=True)))
    shared = Data(*(None if lead else t for t, lead in zip(arrays, leading, strict=True)))
    return own, shared


def _result(runs: Run, history: History) -> FitMany:
    members = runs.stopped.shape[0]
    *columns, seconds = history
    by_member: Any = (None if t is None else t.T.reshape(members, -1) for t in columns)
    loss, validation_loss, accuracy = by_member
    bad, step = np.asarray(runs.bad_batch), np.asarray(runs.state.step)
    return FitMany(
        params=runs.state.params if runs.best is None else runs.best.params,
        history=History(loss, validation_loss, accuracy, seconds),
        state=runs.state,
        epochs=np.asarray(runs.epochs),
        best_epoch=None if runs.best is None else np.asarray(runs.best.epoch),
        bad_step=np.where(bad < 0, -1, step + bad),
    )


def _words(runs: Run, row: Row) -> list[str]:
    going = np.isfinite(row.loss)
    parts = []
    for name, values in zip(("loss", "validation loss", "accuracy"), row, strict=True):
        if values is not None and going.any():
            low, high = np.min(values[going]), np.max(values[going])
            parts.append(f"{name} {low:.4f} to {high:.4f}")
    return [*parts, f"{going.sum()} of {going.size} networks"]
