"""What a network says about some examples, and how wrong it is."""

from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from ffnn_jax import checks, network, outputs
from ffnn_jax.losses import Loss, is_cross_entropy
from ffnn_jax.network import Network, Params
from ffnn_jax.rows import blocks_of

ROWS = 1024  # so many examples go through the network at once

Kind = Literal["classes", "labels", "quantities"]


class Outcomes(NamedTuple):
    """The predictions for N examples, all NumPy.

    Attributes:
      kind: one class an example; several labels, each yes or no; or quantities.
      truth: classes (N,), ints; labels (N, n_L), booleans; quantities (N, n_L), float64.
      predicted: as truth.
      yhat: ŷ, float64 (N, n_L); of one logistic output (1 − ŷ, ŷ), a column for each class.
      losses: ℓ_i, float64 (N,).
    """

    kind: Kind
    truth: np.ndarray
    predicted: np.ndarray
    yhat: np.ndarray
    losses: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Which examples are not predicted right, (N,); for quantities all are False."""
        if self.kind == "quantities":
            return np.zeros(len(self.truth), bool)
        unequal = self.truth != self.predicted
        return unequal if self.kind == "classes" else unequal.any(axis=1)


def kind_of(net: Network, y: np.ndarray) -> Kind:
    """Whether the outputs stand for classes, for labels, or for quantities, given y."""
    n_L = net.sizes[-1]
    whole = y.ndim == 1 and (y.dtype == bool or np.issubdtype(y.dtype, np.integer))
    if n_L == 1:
        return "classes" if net.output == "logistic" else "quantities"
    if whole or net.output == "softmax":
        return "classes"
    return "labels" if net.output == "logistic" else "quantities"


def outcomes_of(net: Network, params: Params, x: np.ndarray, y: np.ndarray) -> Outcomes:
    """The outcomes of checked examples, worked off in blocks of `ROWS`."""
    yhat, losses = predict(net, params, x, y)
    return as_outcomes(net, kind_of(net, y), y, yhat, losses)


def as_outcomes(
    net: Network, kind: Kind, y: np.ndarray, yhat: np.ndarray, losses: np.ndarray
) -> Outcomes:
    """Truth and prediction, from y and ŷ."""
    rows = y.reshape(len(y), -1)
    if kind == "quantities":
        yhat = np.exp(yhat) if net.loss == "poisson" else yhat  # which has ŷ = log of the rate
        return Outcomes(kind, rows.astype(np.float64), yhat, yhat, losses)
    if kind == "labels":
        return Outcomes(kind, rows > 0.5, yhat > 0.5, yhat, losses)
    if net.sizes[-1] == 1:
        yhat = np.concatenate([1 - yhat, yhat], axis=1)
        truth = (rows[:, 0] > 0.5).astype(np.int64)
    else:
        truth = y.astype(np.int64) if y.ndim == 1 else rows.argmax(axis=1)
    return Outcomes(kind, truth, yhat.argmax(axis=1), yhat, losses)


def predict(
    net: Network, params: Params, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(ŷ (N, n_L), ℓ (N,)) in float64; compiled once for each network and block."""
    dtype = checks.check_params(net.sizes, params)
    classes = is_cross_entropy(net.loss)
    parts = []
    for rows, count in blocks_of(len(x), ROWS):
        y_b = y[rows]
        if not isinstance(net.loss, Loss):
            y_b = checks.to_target(net.sizes[-1], y_b, (len(rows),), dtype, classes)
        block = _compiled(net, params, checks.to_jax(x[rows], dtype), y_b)
        parts.append([np.asarray(t, np.float64)[:count] for t in block])
    yhat, losses = zip(*parts, strict=True)
    return np.concatenate(yhat), np.concatenate(losses)


@jax.jit
def _compiled(net: Network, params: Params, x: jax.Array, y: Any) -> tuple[jax.Array, jax.Array]:
    tape = network.run(net, params, x)
    return tape.yhat, outputs.example_losses(net.output, network.loss_of(net), tape.a[-1], y)
