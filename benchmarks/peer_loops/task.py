"""The work that is the same for every peer of peers.py, and what a peer is."""

import importlib
from typing import NamedTuple

import jax
import numpy as np
import optax
from throughput import Case, data

import ffnn_jax as ffnn
from ffnn_jax.kernels import measured
from ffnn_jax.shuffle import permutation

RATES = {"sgd": 0.01, "adam": 1e-3}
OPTIMIZERS = {"sgd": optax.sgd(RATES["sgd"]), "adam": optax.adam(RATES["adam"])}  # ε = 1e-8
Parameters = list[tuple[np.ndarray, np.ndarray]]


class Task(NamedTuple):
    """One epoch of one network, from given parameters, over batches in a given order.

    Attributes:
      net: relu, softmax and cross-entropy, the mean over the batch.
      batch: B.
      optimizer: a key of `RATES`.
      state: where our own epoch starts: its key draws the order.
      stored: x (steps · B, n_0) and classes as they lie in memory, before the epoch's shuffle.
      x: the same rows in the order in which our epoch visits them; for everybody else.
      y: their classes, int32.
    """

    net: ffnn.Network
    batch: int
    optimizer: str
    state: ffnn.TrainState
    stored: tuple[jax.Array, jax.Array]
    x: np.ndarray
    y: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.x) // self.batch

    @property
    def start(self) -> Parameters:
        """(W_k (n_k, n_{k−1}), b_k) of each layer before the first step."""
        return [(np.asarray(W), np.asarray(b)) for W, b in self.state.params]

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(x, y) of each step, cut beforehand, as a loader would hand them over."""
        starts = range(0, len(self.x), self.batch)
        return [(self.x[i : i + self.batch], self.y[i : i + self.batch]) for i in starts]


def make_task(case: Case, optimizer: str) -> Task:
    net = ffnn.Network(case.sizes, activation="relu", output="softmax")
    state = ffnn.init_state(net, OPTIMIZERS[optimizer], jax.random.key(0))
    x, y = data(case)
    _, order_key = jax.random.split(state.key)  # as train_epoch draws it
    order = np.asarray(permutation(order_key, len(x)))
    return Task(
        net, case.batch, optimizer, state, (x, y), np.asarray(x)[order], np.asarray(y)[order]
    )


def is_rounded() -> bool:
    """Whether the factors of float32 products are rounded to TF32: JAX's own setting on a GPU."""
    setting = getattr(jax.config, measured.PRECISION)
    return jax.default_backend() == "gpu" and setting in (None, "default", "tensorfloat32")


class Peer:
    """A way to train the network.

    Making one builds the model; `reset` goes back to the starting parameters; `epoch` takes the
    first `steps` batches (all of them where it is `whole`), is what is timed, and returns when
    all is computed; `parameters` are those after it.
    """

    module = "ffnn_jax"  # what it needs
    on_jax = False
    whole = False  # its epoch is one call that cannot end earlier

    @classmethod
    def load(cls) -> None:
        """Import what it needs; ImportError where that is not installed."""
        importlib.import_module(cls.module)

    def __init__(self, task: Task) -> None:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def epoch(self, steps: int) -> None:
        raise NotImplementedError

    def parameters(self) -> Parameters:
        raise NotImplementedError
