"""Many epochs in one compiled `lax.while_loop`: looks at validation data, early stop, and safe end.

The loop carries a `Run`: the state, the best parameters so far, and whether it has stopped. The
host calls it for a number of epochs that take about half a second together, so it can write a
line, and Ctrl-C is heard; nothing goes to the host from step to step or from epoch to epoch. How
many epochs a call takes is an argument, so the loop is compiled once.

  improved   ⇔  ℒ_e < ℒ_best − min_delta        then ℒ_best ← ℒ_e, θ_best ← θ_e
  stop       ⇔  max(patience, 1) epochs in a row without that       (Prechelt 1998; Keras)

ℒ_e is the validation loss after epoch e, or without such data the training loss of epoch e.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import network, outputs
from ffnn_jax.batches import rows_of
from ffnn_jax.deep import passes
from ffnn_jax.deep.block import Stacked
from ffnn_jax.network import Network, Params
from ffnn_jax.recipe import Recipe, TrainState
from ffnn_jax.sharding.placement import Layout, constrained
from ffnn_jax.training import scan_epoch

EVALUATION_ROWS = 1024  # validation data passes through the network in blocks of so many rows
MOST_EPOCHS = 1024  # of one call: the length of the table that it fills
SECONDS = 0.5  # what a call should take


class Data(NamedTuple):
    """Checked arrays: the examples trained on and those looked at; None where there are none."""

    x: Any
    y: Any
    weights: Any
    held_out_x: Any = None
    held_out_y: Any = None
    held_out_weights: Any = None


class Stopping(NamedTuple):
    """When to stop early.

    Attributes:
      patience: an int32; how many epochs in a row may go by without an improvement.
      min_delta: a float32; what is more than this is one.
    """

    patience: Any
    min_delta: Any


class Best(NamedTuple):
    """The epoch with the best loss, counted from 0; −1 and ∞ before there is one."""

    params: Params
    loss: jax.Array
    epoch: jax.Array


class Run(NamedTuple):
    """One network in training, or with a leading M in every leaf many of them.

    Attributes:
      state: after the last whole epoch.
      epochs: how many whole epochs that were.
      best: the best of them, or None where nothing stops early.
      stopped: whether it goes on no more.
      bad_batch: the batch of the epoch after the last, counted from 0, whose loss was no finite
        number, or −1.
      bad_loss: that loss.
    """

    state: TrainState
    epochs: jax.Array
    best: Best | None
    stopped: jax.Array
    bad_batch: jax.Array
    bad_loss: jax.Array


# (state, x, y, weights) -> (the state after the epoch, the loss and the weight of each batch)
Epoch = Callable[[TrainState, Any, Any, Any], tuple[TrainState, jax.Array, jax.Array]]


class Row(NamedTuple):
    """What one epoch showed; in a table, with a leading axis of epochs."""

    loss: Any
    validation_loss: Any
    validation_accuracy: Any


def start(state: TrainState, stops_early: bool) -> Run:
    """The run before the first epoch."""
    dtype = network.at_least_float32(state.params[0].W.dtype)
    best = Best(state.params, jnp.asarray(jnp.inf, dtype), jnp.asarray(-1, jnp.int32))
    return Run(
        state,
        epochs=jnp.asarray(0, jnp.int32),
        best=best if stops_early else None,
        stopped=jnp.asarray(False),
        bad_batch=jnp.asarray(-1, jnp.int32),
        bad_loss=jnp.asarray(0, dtype),
    )


# Compiled ----------------------------------------------------------------------------------------


def advance(
    net: Network,
    recipe: Recipe,
    run: Run,
    data: Data,
    stopping: Stopping | None,
    epoch: Epoch | None = None,
) -> tuple[Run, Row]:
    """One more epoch; of a run that has stopped, or stops at a bad loss, NaN and the same state.

    `epoch` trains it; None is `scan_epoch`.
    """
    epoch = epoch or partial(scan_epoch, net, recipe)
    state, losses, totals = epoch(run.state, data.x, data.y, data.weights)
    losses = losses.astype(run.bad_loss.dtype)
    loss = jnp.sum(totals / jnp.sum(totals) * losses)
    finite = jnp.isfinite(losses)
    good = ~run.stopped & jnp.all(finite)
    row = Row(loss, None, None)
    if data.held_out_x is not None:
        held_out = data.held_out_x, data.held_out_y, data.held_out_weights
        row = Row(loss, *evaluate(net, state.params, *held_out, layout=recipe.layout))
    best, stop = run.best, ~good
    if stopping is not None and best is not None:
        monitored = row.loss if row.validation_loss is None else row.validation_loss
        monitored = monitored.astype(best.loss.dtype)
        improved = good & (monitored < best.loss - stopping.min_delta.astype(best.loss.dtype))
        best = _choose(improved, Best(state.params, monitored, run.epochs), best)
        stop |= run.epochs - best.epoch >= jnp.maximum(stopping.patience, 1)
    bad = ~run.stopped & ~good
    first = jnp.argmin(finite).astype(jnp.int32)
    run = Run(
        state=_choose(good, state, run.state),
        epochs=run.epochs + good.astype(jnp.int32),
        best=best,
        stopped=run.stopped | stop,
        bad_batch=jnp.where(bad, first, run.bad_batch),
        bad_loss=jnp.where(bad, losses[first], run.bad_loss),
    )
    return run, jax.tree.map(lambda t: jnp.where(good, t, jnp.nan), row)


def repeat(
    advance: Callable[[Run], tuple[Run, Row]], run: Run, epochs: jax.Array
) -> tuple[Run, Row, jax.Array]:
    """`advance` until there were so many epochs or all has stopped.

    Returns:
      (the run, the table of its rows, how many there were); the table has MOST_EPOCHS rows, those
      beyond 0 and not NaN, which `jax.debug_nans` would take for a fault.
    """
    advance = jax.jit(advance)  # to be traced once for the two uses of it
    rows = jax.eval_shape(advance, run)[1]
    table = jax.tree.map(lambda t: jnp.zeros((MOST_EPOCHS, *t.shape), t.dtype), rows)

    def goes_on(carry):
        done, run, _ = carry
        return (done < epochs) & ~jnp.all(run.stopped)

    def body(carry):
        done, run, table = carry
        run, row = advance(run)
        table = jax.tree.map(lambda t, value: t.at[done].set(value), table, row)
        return done + 1, run, table

    done = jnp.asarray(0, jnp.int32)
    done, run, table = jax.lax.while_loop(goes_on, body, (done, run, table))
    return run, table, done


def run_epochs(
    net: Network,
    recipe: Recipe,
    run: Run,
    data: Data,
    stopping: Stopping | None,
    epochs: jax.Array,
) -> tuple[Run, Row, jax.Array]:
    """`repeat` of `advance`."""
    shown = repeat(lambda run: advance(net, recipe, run, data, stopping), run, epochs)
    return constrained(recipe.layout, shown)


compiled_epochs = jax.jit(run_epochs, static_argnames="recipe")


def evaluate(
    net: Network,
    params: Params | Stacked,
    x: jax.Array,
    y: Any,
    weights: jax.Array | None,
    *,
    layout: Layout | None = None,
) -> tuple[Any, Any]:
    """(ℒ, accuracy or None) on all of x and y, in parts of some rows, float32 at least."""
    if weights is not None:  # only their ratios count, and their sum has to fit
        weights = weights / jnp.max(weights)
    dtype = network.at_least_float32(x.dtype)
    blocks = _blocks(x.shape[0], dtype) if layout is None else _blocks_on(layout, x.shape[0], dtype)

    def body(_, part):
        block_rows, share = part
        x_b, y_b, w_b = jax.tree.map(lambda t: _block(t, block_rows, layout), (x, y, weights))
        if w_b is not None:
            share = share * w_b.astype(share.dtype)
        a_L, yhat = _outputs(net, params, x_b)
        losses = outputs.example_losses(net.output, network.loss_of(net), a_L, y_b)
        hits = outputs.example_hits(net.output, yhat, y_b)
        sums = [
            None if t is None else jnp.sum(share * t.astype(share.dtype)) for t in (losses, hits)
        ]
        return None, (*sums, jnp.sum(share))

    sums = jax.lax.scan(body, None, blocks)[1]
    losses, hits, total = jax.tree.map(jnp.sum, sums)
    return losses / total, None if hits is None else hits / total


def _outputs(net: Network, params: Params | Stacked, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(a_L, ŷ)."""
    if not isinstance(params, Stacked):
        tape = network.run(net, params, x)
        return tape.a[-1], tape.yhat
    a_L = passes.forward(net, params, x).above[-1]
    return a_L, outputs.OUTPUTS[net.output].value(a_L)


def _blocks(length: int, dtype: Any, most: int = EVALUATION_ROWS) -> tuple[jax.Array, jax.Array]:
    """The row numbers of each block, (blocks, rows), and 1 for each, 0 where it is filled up."""
    rows = min(length, most)
    blocks = -(-length // rows)
    numbers = jnp.arange(blocks * rows)
    mask = (numbers < length).astype(dtype)
    numbers = jnp.minimum(numbers, length - 1)
    return numbers.reshape(blocks, rows), mask.reshape(blocks, rows)


def _blocks_on(layout: Layout, length: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """The same on a mesh: row numbers within the part of each device, and 1 or 0 for all parts."""
    parts = layout.data_size
    numbers, mask = _blocks(length // parts, dtype, max(1, EVALUATION_ROWS // parts))
    return numbers, jnp.tile(mask, parts)


def _block(t: jax.Array, rows: jax.Array, layout: Layout | None) -> jax.Array:
    """The rows of one block; on a mesh the rows of these numbers of each device."""
    if layout is None:
        return rows_of(t, rows)
    t = t.reshape(layout.data_size, -1, *t.shape[1:])
    t = t.at[:, rows].get(mode="promise_in_bounds")
    block = t.reshape(-1, *t.shape[2:])
    return jax.lax.with_sharding_constraint(block, layout.rows())


def _choose(condition, one, other):
    """The first tree where the condition, a scalar, is true."""
    return jax.tree.map(lambda a, b: jax.lax.select(condition, a, b), one, other)


# On the host -------------------------------------------------------------------------------------


def blank_after(rows: Row, taken: Any) -> Row:
    """A table of many members, NaN from row `taken` on: a number, or one for each member."""

    def blank(t: Any) -> np.ndarray:
        return np.where(np.arange(len(t))[:, None] < taken, t, np.nan)

    return jax.tree.map(blank, rows)


class Table(NamedTuple):
    """The rows of some epochs, as float64 NumPy arrays, and what each took, (epochs,)."""

    rows: Row
    seconds: np.ndarray


class Stops(Protocol):
    """What is driven: a `Run`, or what stands for several."""

    @property
    def stopped(self) -> Any:
        """As that of `Run`."""


S = TypeVar("S", bound=Stops)


def drive(
    call: Callable[[S, int], tuple[S, Row, Any]],
    run: S,
    epochs: int,
    show: Callable[[S, list[Table]], None],
    *,
    before: Sequence[Table] = (),
    every: int = MOST_EPOCHS,
    agreed: Callable[[int], int] = int,
) -> tuple[S, list[Table], bool]:
    """Calls until there were so many epochs, all has stopped, or Ctrl-C.

    The first call, which compiles, and the second, which does not, are of one epoch each. The time
    of a call is spread evenly over its epochs.

    Args:
      call: (run, how many epochs at most) -> what `repeat` returns.
      run: where to start.
      epochs: how many there are to be.
      show: called after each call with the run and the tables up to then.
      before: the tables of the epochs that the run has behind it.
      every: no call goes past a multiple of this many epochs.
      agreed: called before each call with how many epochs there would be by this process's clock;
        gives how many there are, or raises KeyboardInterrupt.

    Returns:
      (run, the tables in order, whether it was interrupted). The tables may go on beyond the run.
    """
    tables = list(before)
    done, count = sum(len(table.seconds) for table in tables), 1
    try:
        while done < epochs and not np.all(np.asarray(run.stopped)):
            most = agreed(min(count, epochs - done, every - done % every))
            began = time.perf_counter()
            after, rows, taken = call(run, most)
            taken = int(taken)
            rows = Row(*(None if t is None else np.asarray(t, np.float64)[:taken] for t in rows))
            seconds = time.perf_counter() - began
            tables.append(Table(rows, np.full(taken, seconds / taken)))
            run, done = after, done + taken
            if len(tables) > len(before) + 1:
                count = max(1, min(int(SECONDS / seconds * taken), 2 * count, MOST_EPOCHS))
            show(run, tables)
    except KeyboardInterrupt:
        return run, tables, True
    return run, tables, False
