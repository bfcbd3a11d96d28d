"""Many networks at once: one program trains M of them, each with what is its own.

Each has its own key, and, if wanted, its own learning rate, data, weights of the examples (0 masks
one out) and early stop. Member i is what `fit` gives for it alone, up to rounding. One that has
stopped, early or at a loss that is no number, keeps its result while the others go on.
"""

import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.deep.choice import check_not_asked
from ffnn_jax.ensemble.cores import Shares, divided, joined, many_on_cores, shares_for
from ffnn_jax.ensemble.devices import (
    check_member_mesh,
    filling,
    layout_of,
    of_member,
    on_a_place,
    on_rows,
    returned,
    rows_on,
    split,
)
from ffnn_jax.ensemble.inputs import (
    Optimizer,
    arrays,
    check_data,
    check_keys,
    check_rates,
    own_and_shared,
    x_of_one,
)
from ffnn_jax.ensemble.members import compiled_many, group_size_for, start_many
from ffnn_jax.ensemble.population import check_asked
from ffnn_jax.epochs import Data, Row, Run, blank_after, drive
from ffnn_jax.fitting import Fit, check_not_traced, check_stopping
from ffnn_jax.history import History, history_of
from ffnn_jax.network import Network, Params
from ffnn_jax.processes import hearing, peers
from ffnn_jax.progress import Progress, interruption
from ffnn_jax.recipe import Objective, TrainState, check_recipe
from ffnn_jax.sharding.alike import agree_on, agree_on_program, is_joint, warn_if_alone
from ffnn_jax.sharding.host_arrays import on_host
from ffnn_jax.sharding.placement import on


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
        params, state = jax.tree.map(lambda t: of_member(t, i), (self.params, self.state))
        count = self.epochs[i]
        *columns, seconds = self.history
        of_one: Any = (None if t is None else t[i, :count] for t in columns)
        loss, validation, accuracy = of_one
        history = History(loss, validation, accuracy, seconds[:count])
        best = -1 if self.best_epoch is None else int(self.best_epoch[i])
        return Fit(params, history, state, None if best < 0 else best)

    def best(self) -> int:
        """The member whose `params` had the least loss, by validation or, without it, by training.

        That is the loss of its best epoch with `patience`, and of its last otherwise.

        Raises:
          ValueError: no member has an epoch with a finite loss.
        """
        losses = self.history.validation_loss
        losses = self.history.loss if losses is None else losses
        epoch = self.epochs - 1 if self.best_epoch is None else self.best_epoch
        of_params = [loss[e] if e >= 0 else np.nan for loss, e in zip(losses, epoch, strict=True)]
        if not np.any(np.isfinite(of_params)):
            raise ValueError("no member has an epoch with a finite loss")
        return int(np.nanargmin(of_params))


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
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> FitMany:
    """Trains M networks of one kind in one compiled loop; see `fit` for one.

    It goes on until each has done its epochs or stopped. Ctrl-C is heard as in `fit`. On a CPU each
    core that the process may run on has a share of the members, in a thread of its own; not of
    networks so large that XLA keeps the cores busy by itself.

    Args:
      net: the network; with an `implementation` in its plan as above.
      data: (x, y) for all members, x (N, n_0); or for each its own, x (M, N, n_0), with M leading
        in y too.
      keys: (M,) PRNG keys, as from `jax.random.split(key, M)`. Keys of JAX's rbg draw otherwise
        under `jax.vmap` than alone: with them a member is not what `fit` gives, and another on
        another number of cores.
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
        is `jax.vmap` of all, 1 `jax.lax.map`. None: chosen by the width of the network. Of those
        of one core on a CPU, where each has a share of the members, and of one place along
        `member` on a mesh.
      mesh: devices to split the members over, D along its axis `member`; each has ⌈M / D⌉ of
        them, and the data that they share. With an axis `data` too, several devices share the
        rows of a member's batches, as in `fit`. Axes of any type. Where its devices are of
        several processes, each gives the same: all keys and all data. None: all on one device.
      progress: as for `fit`.

    Returns:
      `FitMany`; `.member(i)` is a `Fit`. On a mesh its arrays are split over `member` as the
      members are; where M does not divide, each device has all of them.

    Raises:
      TypeError, ValueError: as `fit`; keys that are no array of keys; learning_rates of another
        length, not above 0, or without a function to take them; data, weights or validation with
        another leading M; group_size < 1; a mesh that is none, has no axis `member`, or another
        than that and `data`; a batch smaller than the axis `data`.
      NotImplementedError: the kernel is asked for and does not take this, with the reason.
      ProcessError: the processes of the mesh differ in what they give, or one has ended.

    With `Plan(implementation="pallas")` a whole epoch of each network is one program of one kernel,
    its parameters on the chip from step to step; the order of the examples and the losses are the
    same up to rounding, and the states go on without it. It takes float32 networks of at most 64
    inputs, units and outputs, relu or tanh, softmax with cross_entropy or linear with
    squared_error; batches of at most 64, no dropout; `loss` as the objective, accumulate 1, no mesh
    axis `data`; and as optimizer, with learning_rates, `optax.sgd`, `optax.adam`, or such as
    `functools.partial(optax.sgd, momentum=0.9)`: what an optax optimizer computes cannot be seen
    from outside. How many layers fit is in `kernels/population_limits.py`: in JAX's default
    precision and 64 wide 4 with SGD, 3 with momentum, 2 with Adam. Rows of x, and of a y of
    numbers, are copied once an epoch with zeros up to 16, 32 or 64 columns: of data that all
    members share, once for all.

    Example:
      Four learning rates at once, and the best of them:

      >>> import jax, optax, numpy as np
      >>> import ffnn_jax as ffnn
      >>> train, held_out = ffnn.split(*ffnn.load_iris(), fraction=0.3, seed=0)
      >>> net = ffnn.Network((4, 16, 3), activation="tanh", output="softmax")
      >>> many = ffnn.fit_many(net, train, keys=jax.random.split(jax.random.key(0), 4),
      ...                      optimizer=optax.adam, learning_rates=np.logspace(-4, -1, 4),
      ...                      batch_size=16, epochs=40, validation=held_out, patience=5)
      >>> many.member(many.best()).params[0].W.shape
      (16, 4)
    """
    network.check_network(net)
    auto = check_member_mesh(mesh)
    layout = layout_of(net, auto)
    members = check_keys(keys)
    epochs = checks.check_positive_int("epochs", epochs)
    stopping = check_stopping(patience, min_delta)
    checks.check_switch("progress", progress)
    rates = check_rates(optimizer, learning_rates, members)
    given = (data, keys, weights, validation, validation_weights, learning_rates)
    check_not_traced("fit_many", given)
    warn_if_alone("fit_many", mesh)
    x, y = check_data("data", net, data, weights, members)
    recipe = check_recipe(net, optimizer, batch_size, objective, accumulate, x_of_one(x))
    check_not_asked(net, "fit_many")
    recipe = on_rows(layout, recipe, x_of_one(x).shape[0])
    check_asked(net, recipe, rates is not None)
    if validation is not None:
        validation = check_data("validation", net, validation, validation_weights, members)
    elif validation_weights is not None:
        raise ValueError("validation_weights: expected None without validation")
    if group_size is not None:
        group_size = checks.check_positive_int("group_size", group_size)
    if layout is not None and is_joint(layout):
        agree_on(
            "fit_many",
            net,
            layout,
            {},
            batch_size=batch_size,
            epochs=epochs,
            accumulate=accumulate,
            patience=patience,
            min_delta=min_delta,
            group_size=group_size,
            objective=objective,
            keys=keys,
            learning_rates=rates,
            values={"values of data": (data, weights, validation, validation_weights)},
        )
    with peers("fit_many"), on(layout):
        keys, rates = split(auto, (jnp.asarray(keys), rates))
        runs = start_many(net, optimizer, keys, rates, patience is not None, auto)
        looked_at = None if validation is None else (*validation, validation_weights)
        own, shared = own_and_shared(_data_of(net, runs, (x, y, weights), looked_at, auto))
    setting = net, recipe, members, (runs, rates, own), shared, stopping, group_size
    loop = _on_cores(*setting) if auto is None else _on_places(mesh, auto, layout, *setting)
    runs, call, whole = loop
    told = hearing(joint=is_joint(layout), saves=False)
    with told as heard, peers("fit_many"), Progress(epochs, progress, _words) as line:
        runs, tables, interrupted = drive(call, runs, epochs, line.show, agreed=heard.agreed)
        done = int(np.max(on_host(runs.epochs)))
    if interrupted:
        warnings.warn(interruption("fit_many", done, epochs), stacklevel=2)
    return _result(whole(runs), history_of(tables, done))


# The loop: the runs as they are between its calls, a call, and what makes one tree of the runs ---


def _on_cores(net, recipe, members, each, shared, stopping, group_size):
    """Without a mesh."""
    shares = shares_for(net, members, (each, shared))
    parts = (each,) if shares == 1 else divided(each, shares)
    group_size = group_size or group_size_for(net, -(-members // shares))
    runs = tuple(run for run, *_ in parts)
    one = (lambda parts: parts[0]) if shares == 1 else joined.lower(runs, members).compile()

    def call(runs, count):
        now = [(run, *rest) for run, (_, *rest) in zip(runs.parts, parts, strict=True)]
        shown = many_on_cores(net, recipe, now, shared, stopping, count, group_size)
        after, rows, taken = zip(*shown, strict=True)
        rows = [blank_after(of_share, end) for of_share, end in zip(rows, taken, strict=True)]
        rows = jax.tree.map(lambda *t: np.concatenate(t, axis=1)[:, :members], *rows)
        return Shares(after), rows, max(map(int, taken))

    return Shares(runs), call, lambda runs: one(runs.parts)


def _on_places(given, mesh, layout, net, recipe, members, each, shared, stopping, group_size):
    """On a mesh, given as one of axes of any type.

    Between the calls `stopped` is on the host, where it is asked for: of several processes none
    can look at what the others have.
    """
    runs, *rest = each
    group_size = group_size or group_size_for(net, on_a_place(mesh, members))

    def on_devices(runs):
        return runs._replace(stopped=split(mesh, runs.stopped))

    def program(runs, count, of: Callable[..., Any] = compiled_many):
        now = (on_devices(runs), *rest)
        with on(layout):
            return of(net, recipe, now, shared, stopping, count, group_size=group_size, mesh=mesh)

    def call(runs, count):
        runs, rows, taken = program(runs, count)
        with on(layout):
            stopped, rows, taken = on_host((runs.stopped, rows, taken))
        ends = np.repeat(taken, len(stopped) // len(taken))  # of the place of each member
        rows = jax.tree.map(lambda t: t[:, :members], blank_after(rows, ends))
        return runs._replace(stopped=stopped), rows, np.max(taken)

    def whole(runs):
        return returned(given, on_devices(runs), members)

    runs = runs._replace(stopped=filling(mesh, members))
    if is_joint(layout):
        agree_on_program("fit_many", lambda: program(runs, 1, compiled_many.lower))
    return runs, call, whole


def _data_of(
    net: Network, runs: Run, examples: Any, looked_at: Any | None, mesh: Mesh | None
) -> Data:
    """Checked (x, y, weights), and those to look at or None, as the compiled loop has them."""
    one = jax.tree.map(lambda t: np.zeros(t.shape[1:], t.dtype), runs.state.params)
    data = Data(*arrays(net, one, examples[:2], examples[2], mesh))
    if looked_at is None:
        return data
    x, y, weights = looked_at
    rows = x_of_one(x).shape[0]
    if weights is None and rows_on(mesh, rows) not in (None, rows):
        weights = np.ones(rows, np.float32)  # and 0 where they are filled up
    return Data(*data[:3], *arrays(net, one, (x, y), weights, mesh))


def _result(runs: Run, history: History) -> FitMany:
    best = None if runs.best is None else runs.best.epoch
    shown = on_host((runs.epochs, best, runs.bad_batch, runs.state.step))
    epochs, best_epoch, bad, step = shown
    *columns, seconds = history
    by_member: Any = (None if t is None else t.T.reshape(len(epochs), -1) for t in columns)
    loss, validation_loss, accuracy = by_member
    return FitMany(
        params=runs.state.params if runs.best is None else runs.best.params,
        history=History(loss, validation_loss, accuracy, seconds),
        state=runs.state,
        epochs=epochs,
        best_epoch=best_epoch,
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
