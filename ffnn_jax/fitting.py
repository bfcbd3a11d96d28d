"""`fit`: epochs of training with validation, a history, progress, and a safe end.

The state before an epoch is kept until the epoch is known to be good, so a loss that is NaN and
Ctrl-C in the middle both leave something to go on from.
"""

import sys
import time
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from ffnn_jax import checks, network, outputs
from ffnn_jax.backprop import loss
from ffnn_jax.network import Network, Params
from ffnn_jax.outputs import Loss
from ffnn_jax.training import (
    Objective,
    TrainState,
    check_batch_size,
    check_objective,
    check_optimizer,
    check_state,
    compiled_epoch,
    init_state,
    rows_of,
)

EVALUATION_ROWS = 1024  # validation data passes through the network in blocks of so many rows


class History(NamedTuple):
    """What `fit` saw, as NumPy arrays with one entry an epoch.

    Attributes:
      loss: ℒ on the training data while it was trained on: the mean over the epoch's examples.
      validation_loss: ℒ on the validation data after the epoch, or None without such data, or
        without a whole epoch.
      validation_accuracy: the share of right classes in [0, 1], or None as validation_loss, and
        where the outputs are no classes.
      seconds: wall time; the first entry holds the compilation.
    """

    loss: np.ndarray
    validation_loss: np.ndarray | None
    validation_accuracy: np.ndarray | None
    seconds: np.ndarray


class Fit(NamedTuple):
    """The result of `fit`.

    Attributes:
      params: the trained parameters.
      history: see `History`.
      state: to go on from: `fit(..., state=result.state)`.
    """

    params: Params
    history: History
    state: TrainState


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite.

    Attributes:
      step: the step at which it did, counted from 0 over the whole run.
      fit: a `Fit` with the state before the epoch of that step.
    """

    def __init__(self, message: str, step: int, fit: Fit):
        super().__init__(message, step, fit)
        self.step = step
        self.fit = fit

    def __str__(self) -> str:
        return self.args[0]


def fit(
    net: Network,
    data: tuple[ArrayLike, Any],
    *,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    epochs: int,
    key: jax.Array | None = None,
    state: TrainState | None = None,
    validation: tuple[ArrayLike, Any] | None = None,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
    progress: bool | None = None,
) -> Fit:
    """Trains a network: epochs of `train_epoch`, with a look at validation data after each.

    Compiled once for all epochs. Ctrl-C ends it early, with a warning: the result is the state
    after the last whole epoch.

    Args:
      net: the network.
      data: (x, y): x (N, n_0); y as for `loss`, N examples.
      optimizer: any optax optimizer, its rate a number or a schedule.
      batch_size: B, 1 ≤ B ≤ N; a last batch that is shorter counts like the others.
      epochs: how many passes over the data.
      key: a PRNG key for the starting parameters and the order of the data; or
      state: where to go on from, the `.state` of an earlier result or from `init_state`.
      validation: (x, y) that are only looked at.
      weights: (N,), as for `loss`.
      objective: as for `train_step`. Validation is by the network's own loss.
      progress: whether to show a line on stderr; None: only where stderr is a terminal.

    Returns:
      `Fit`: params, history and the state to go on from.

    Raises:
      TypeError, ValueError: as `loss`, and for NaN or infinity in the data, a distribution that
        is none, a batch_size that is no int from 1 to N, epochs < 1; neither or both of key and
        state.
      NonFiniteLossError: the loss became NaN or infinite; it says at which step, and has the
        result up to the epoch before.

    Example:
      >>> import jax, optax
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_iris()
      >>> net = ffnn.Network((4, 16, 3), activation="tanh", output="softmax")
      >>> result = ffnn.fit(net, (x, y), key=jax.random.key(0), optimizer=optax.adam(0.01),
      ...                   batch_size=32, epochs=40)
      >>> bool(result.history.loss[-1] < 0.2)
      True
    """
    _check_start(net, optimizer, key, state)
    check_objective(objective)
    epochs = checks.check_positive_int("epochs", epochs)
    checks.check_switch("progress", progress)
    dtype = np.dtype(np.float32)  # of the parameters
    if state is not None:
        dtype = checks.check_params(net.sizes, state.params)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((data, weights, key, state))):
        raise TypeError(
            "fit: expected arrays with values, got one that is being traced; fit is a loop of its "
            "own: inside jit, vmap or grad use train_epoch"
        )
    x, y = _check_dataset("data", net, data, weights, dtype)
    batch_size = check_batch_size(batch_size, x)
    held_out = None
    if validation is not None:
        held_out = _check_dataset("validation", net, validation, None, dtype)
    now = state or init_state(net, optimizer, jnp.asarray(key))
    _, x, y, weights = network.as_examples(net, now.params, x, y, weights)
    if held_out is not None:
        held_out = network.as_examples(net, now.params, *held_out, None)[1:3]
    records: list[_Record] = []
    with _Progress(epochs, progress) as line:
        try:
            while len(records) < epochs:
                start = time.perf_counter()
                after, losses, totals = compiled_epoch(
                    net, optimizer, now, x, y, weights, batch_size, objective
                )
                _check_losses(net, np.asarray(losses), now, records)
                scores = (
                    (None, None) if held_out is None else _evaluate(net, after.params, *held_out)
                )
                record = _record(losses, totals, scores, start)
                now = after
                records.append(record)
                line.show(records)
        except KeyboardInterrupt:
            warnings.warn(
                f"fit: interrupted in epoch {len(records) + 1} of {epochs}; "
                f"this is the state after {len(records)}",
                stacklevel=2,
            )
    return _fit(now, records)


# What `fit` is made of ---------------------------------------------------------------------------


class _Record(NamedTuple):
    """One epoch of `History`."""

    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


def _record(losses, totals, scores, start) -> _Record:
    losses, totals = np.asarray(losses, np.float64), np.asarray(totals, np.float64)
    mean = float(losses @ totals / totals.sum())
    loss, accuracy = (None if score is None else float(score) for score in scores)
    return _Record(mean, loss, accuracy, time.perf_counter() - start)


def _fit(state: TrainState, records: list[_Record]) -> Fit:
    """The result, with the records of the epochs turned into one array for each field."""

    def column(field: str) -> Any:
        values = [getattr(record, field) for record in records]
        absent = None in values or (not values and field.startswith("validation"))
        return None if absent else np.asarray(values, np.float64)

    return Fit(state.params, History(*map(column, History._fields)), state)


def _check_start(net, optimizer, key, state) -> None:
    if (key is None) == (state is None):
        came = "neither" if key is None else "both"
        raise ValueError(f"key, state: expected one of the two, got {came}")
    if state is None:
        network.check_network(net)
        check_optimizer(optimizer)
        checks.check_key(key)
    else:
        check_state(net, optimizer, state)


def _check_dataset(argument, net, data, weights, dtype) -> tuple[Any, Any]:
    """(x, y) that fit the network, with a look at every value."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"{argument}: expected (x, y), got {checks.kind(data)}")
    x, y = data
    try:
        network.check_examples(net, x, y, weights)
        check_batch_size(1, x)
        checks.check_finite("x", x, dtype)
        for leaf in jax.tree.leaves(y):
            checks.check_finite("y", leaf, None if isinstance(net.loss, Loss) else dtype)
        if net.loss == "cross_entropy" and y.shape != x.shape[:-1]:
            checks.check_distribution("y", y)
        if net.loss == "binary_cross_entropy" and (y.shape != x.shape[:-1] or net.sizes[-1] == 1):
            checks.check_between_0_and_1("y", y)
    except (TypeError, ValueError) as error:
        if argument == "data":
            raise
        raise type(error)(f"{argument}: {error}") from None
    return x, y


def _check_losses(net, losses, state, records) -> None:
    bad = np.flatnonzero(~np.isfinite(losses.astype(np.float64)))
    if bad.size:
        step = int(state.step) + int(bad[0])
        advice = "a smaller learning rate may help"
        if net.output == "linear" and net.loss in ("cross_entropy", "binary_cross_entropy"):
            advice = f"{net.loss} needs outputs from 0 to 1, and linear ones are not held there"
        raise NonFiniteLossError(
            f"fit: the loss is {losses[bad[0]]} at step {step} (epoch {len(records) + 1}, batch "
            f"{bad[0] + 1} of {losses.size}); {advice}. "
            "The result before this epoch is in the error's .fit",
            step,
            _fit(state, records),
        )


@jax.jit
def _evaluate(net, params, x, y):
    """(ℒ, accuracy or None) on all of x and y, block by block."""
    rows = min(x.shape[0], EVALUATION_ROWS)
    blocks = -(-x.shape[0] // rows)
    numbers = jnp.arange(blocks * rows)
    mask = (numbers < x.shape[0]).astype(x.dtype)
    numbers = jnp.minimum(numbers, x.shape[0] - 1)

    def body(_, block):
        block_rows, share = block
        x_b, y_b = jax.tree.map(lambda t: rows_of(t, block_rows), (x, y))
        tape = network.run(net, params, x_b)
        losses = outputs.example_losses(net.output, network.loss_of(net), tape.a[-1], y_b)
        hits = outputs.example_hits(net.output, tape.yhat, y_b)
        sums = [
            None if t is None else jnp.sum(share * t, dtype=jnp.float32) for t in (losses, hits)
        ]
        return None, sums

    split = (numbers.reshape(blocks, rows), mask.reshape(blocks, rows))
    _, sums = jax.lax.scan(body, None, split)
    return tuple(t if t is None else jnp.sum(t) / x.shape[0] for t in sums)


class _Progress:
    """One line on stderr, written over after every epoch; in a file, a line an epoch."""

    def __init__(self, epochs: int, shown: bool | None):
        self.epochs = epochs
        self.terminal = sys.stderr is not None and sys.stderr.isatty()
        self.shown = self.terminal if shown is None else shown and sys.stderr is not None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_) -> None:
        if self.shown and self.terminal:
            print(file=sys.stderr)

    def show(self, records: list[_Record]) -> None:
        """The newest record, and the time left once an epoch went by that did not compile."""
        if not self.shown:
            return
        last, done = records[-1], len(records)
        parts = [f"epoch {done}/{self.epochs}", f"loss {last.loss:.4f}"]
        if last.validation_loss is not None:
            parts.append(f"validation loss {last.validation_loss:.4f}")
        if last.validation_accuracy is not None:
            parts.append(f"accuracy {last.validation_accuracy:.4f}")
        if 1 < done < self.epochs:
            parts.append(f"{(self.epochs - done) * last.seconds:.0f} s left")
        before, after = ("\r\x1b[2K", "") if self.terminal else ("", "\n")
        print(before + "  ".join(parts), end=after, file=sys.stderr, flush=True)
