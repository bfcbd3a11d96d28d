"""A search for the learning rate: one short training whose rate grows from step to step.

  η_t = η_low (η_high / η_low)^{t/(T−1)},   t = 0 … T−1        (Smith 2017, section 3.3)

A rate that is too small leaves the loss where it is, and one that is too large makes it grow. The
loss is taken of the same examples after every step: from batch to batch it varies by more than a
small rate changes it.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.batches import rows_of
from ffnn_jax.fitting import check_dataset, check_not_traced
from ffnn_jax.network import Network
from ffnn_jax.recipe import (
    Objective,
    TrainState,
    check_batch_size,
    check_objective,
    check_optimizer,
)
from ffnn_jax.shuffle import permutation
from ffnn_jax.training import init_state, train_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEMORY = 0.7  # β of the moving mean of the losses
TOO_LARGE = 4.0  # the search ends where the smoothed loss is so many times its best
FEWEST_STEPS = 10
LOOKED_AT = 1024  # so many examples, at most, the loss is taken of
# The suggestion over the rate at which the smoothed loss is smallest. On six data sets with Adam
# and with gradient descent, three searches each, training at a tenth ended with a loss 1.4 times
# that of the best rate of a grid in the mean, and 2.7 times at worst; at the rate of the steepest
# fall 1.45 times and 7 times, for it is often found in the noise of the small rates.
SHARE = 0.1


class RateSearch(NamedTuple):
    """What `find_learning_rate` saw, up to where the loss grew too large.

    Attributes:
      rates: η_t, float64 (steps,).
      losses: ℒ of the same examples before step t, float64 (steps,).
      smoothed: their moving mean, m_t / (1 − β^{t+1}) with m_t = β m_{t−1} + (1 − β) ℒ_t and
        β = 0.7, float64 (steps,).
      suggestion: the rate to train with, a tenth of the one where `smoothed` is smallest.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float


def find_learning_rate(
    net: Network,
    data: tuple[ArrayLike, Any],
    *,
    key: jax.Array,
    batch_size: int,
    optimizer: Callable[..., optax.GradientTransformation] = optax.adam,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
) -> RateSearch:
    """Trains anew for a few steps at growing rates, and says which rate to train with.

    All steps are one compiled `lax.scan`. The search counts up to where the smoothed loss is four
    times the best before it, or a loss is not finite; the suggestion is a tenth of the rate at
    which the smoothed loss was smallest. It is a rate to start from, for this network, optimizer
    and batch size, not the best one.

    Args:
      net: the network.
      data: (x, y): x (N, n_0); y as for `loss`, N examples.
      key: a PRNG key for the starting parameters, the order of the data, and the examples, 1,024
        at most, whose loss is looked at.
      batch_size: B, 1 ≤ B ≤ N.
      optimizer: a function of the rate that makes an optax optimizer, such as `optax.adam`.
      lowest: η_low > 0.
      highest: η_high > η_low.
      steps: T, at least 10.
      weights: (N,), as for `loss`.
      objective: as for `train_step`.

    Returns:
      `RateSearch`; `plot_learning_rates` draws it.

    Raises:
      TypeError, ValueError: as `fit`; an optimizer that is no function of the rate; rates that are
        not above 0 and growing; steps below 10; or a loss that is not finite from the start.

    Example:
      >>> import jax
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.rate_search import find_learning_rate
      >>> net = ffnn.Network((4, 16, 3), activation="tanh", output="softmax")
      >>> search = find_learning_rate(net, ffnn.load_iris(), key=jax.random.key(0), batch_size=32)
      >>> 1e-3 < search.suggestion < 1
      True
    """
    network.check_network(net)
    checks.check_key(key)
    check_objective(objective, dropout=any(net.dropouts))
    steps = checks.check_int_from(FEWEST_STEPS, "steps", steps)
    rates = _check_rates(lowest, highest, steps)
    _check_optimizer(optimizer)
    check_not_traced("find_learning_rate", (data, weights, key))
    x, y = check_dataset("data", net, data, weights, np.float32)
    batch_size = check_batch_size(batch_size, x)
    start_key, order_key, look_key = jax.random.split(jnp.asarray(key), 3)
    state = init_state(net, optimizer(float(rates[0])), start_key)
    _, x, y, w = network.as_examples(net, state.params, x, y, weights)
    rows = _batches(order_key, x.shape[0], batch_size, steps)
    counting = jnp.arange(x.shape[0]) if w is None else jnp.flatnonzero(w)
    looked_at = counting[permutation(look_key, len(counting))[:LOOKED_AT]]
    of_steps = jnp.asarray(rates, jnp.float32), rows
    losses = _train(net, optimizer, objective, state, of_steps, looked_at, (x, y, w))
    return _judged(rates, np.asarray(losses, np.float64))


def plot_learning_rates(search: RateSearch) -> "Figure":
    """The losses and their moving mean over the rate, with the suggestion marked.

    Args:
      search: from `find_learning_rate`.

    Returns:
      A matplotlib Figure, known to no window and no global list: `.savefig("rates.png")`.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"plot_learning_rates: matplotlib is needed ({error}): pip install 'ffnn_jax[plot]'",
            name=error.name,
        ) from error
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(search.rates, search.losses, ".", color="0.7", label="loss")
    axes.plot(search.rates, search.smoothed, color="C0", label="moving mean")
    label = f"suggestion {search.suggestion:.2g}"
    axes.axvline(search.suggestion, color="C1", linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend()
    return figure


# The search --------------------------------------------------------------------------------------


def _batches(key: jax.Array, examples: int, batch_size: int, steps: int) -> jax.Array:
    """Row numbers, (steps, B): one random order of the examples after another."""
    passes = -(-steps * batch_size // examples)
    orders = [permutation(each, examples) for each in jax.random.split(key, passes)]
    return jnp.concatenate(orders)[: steps * batch_size].reshape(steps, batch_size)


@partial(jax.jit, static_argnames=("optimizer", "objective"))
def _train(
    net: Network,
    optimizer: Callable[..., optax.GradientTransformation],
    objective: Objective,
    state: TrainState,
    of_steps: tuple[jax.Array, jax.Array],
    looked_at: jax.Array,
    examples: tuple[jax.Array, Any, jax.Array | None],
) -> jax.Array:
    """The loss before each step, (steps,); of_steps is the rate and the row numbers of each."""

    def of(rows):
        return jax.tree.map(lambda t: rows_of(t, rows), examples)

    x_seen, y_seen, w_seen = of(looked_at)

    def body(state, step):
        rate, rows = step
        value = objective(net, state.params, x_seen, y_seen, weights=w_seen)
        x, y, weights = of(rows)
        options = {"weights": weights, "objective": objective}
        return train_step(net, optimizer(rate), state, x, y, **options)[0], value

    return jax.lax.scan(body, state, of_steps)[1]


def _judged(rates: np.ndarray, losses: np.ndarray) -> RateSearch:
    """The part of the search that counts, and what it suggests."""
    finite = np.isfinite(losses)
    if not finite[0]:
        raise ValueError(f"data: the loss is {losses[0]} before the first step")
    losses = losses[: len(losses) if finite.all() else finite.argmin()]
    smoothed = _moving_mean(losses)
    best = np.minimum.accumulate(smoothed)
    grown = smoothed > best + (TOO_LARGE - 1) * np.abs(best)
    counted = int(grown.argmax()) if grown.any() else len(losses)
    rates, losses, smoothed = rates[:counted], losses[:counted], smoothed[:counted]
    return RateSearch(rates, losses, smoothed, float(SHARE * rates[smoothed.argmin()]))


def _moving_mean(losses: np.ndarray) -> np.ndarray:
    mean, means = 0.0, []
    for t, value in enumerate(losses):
        mean = MEMORY * mean + (1 - MEMORY) * value
        means.append(mean / (1 - MEMORY ** (t + 1)))
    return np.asarray(means)


# Checks ------------------------------------------------------------------------------------------


def _check_rates(lowest: Any, highest: Any, steps: int) -> np.ndarray:
    """η_t, float64 (steps,)."""
    checks.check_positive_float("lowest", lowest, np.float32)
    checks.check_positive_float("highest", highest, np.float32)
    if highest <= lowest:
        raise ValueError(f"highest: expected more than lowest, {lowest!r}; got {highest!r}")
    return np.geomspace(float(lowest), float(highest), steps)


def _check_optimizer(optimizer: Any) -> None:
    if not callable(optimizer):
        raise TypeError(
            "optimizer: expected a function of the rate that makes an optax optimizer, such as "
            f"optax.adam; got {optimizer!r}"
        )
    check_optimizer(optimizer(1.0))
