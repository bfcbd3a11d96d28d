"""A trained network together with how rows are prepared for it: what a model file holds."""

import os
import pathlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.backprop import apply
from ffnn_jax.checkpoint import CheckpointError, load, load_metadata
from ffnn_jax.network import Layer, Network, Params
from ffnn_jax.rows import blocks_of
from ffnn_jax.tabular.preparation import Preparation

BLOCK = 1024  # rows that pass through the network at once


class Model(NamedTuple):
    """A network that knows the columns it was trained on.

    Attributes:
      net: the network.
      params: its parameters.
      preparation: how rows become x, and ŷ a prediction.
      metadata: what else is in the file: the settings, figures and versions of its training.
    """

    net: Network
    params: Params
    preparation: Preparation
    metadata: dict[str, Any]

    def predict(self, rows: Any, *, unknown: str = "error") -> np.ndarray:
        """What `ffnn predict` says: names of classes (N,), or the quantity in its own units.

        Args:
          rows: a polars DataFrame, as from `read_table`, with the columns by name; or pictures
            (N, height, width).
          unknown: what a category is that the training rows did not have: an "error", or
            "missing".

        Raises:
          TableError: a column is not there, a number is none, a category was never seen.
        """
        return self.preparation.target.decode(self.outputs(rows, unknown=unknown))

    def outputs(self, rows: Any, *, unknown: str = "error") -> np.ndarray:
        """ŷ, (N, n_L): probabilities of the classes in the order of `preparation.target.classes`,
        or the quantity standardised, of a Poisson loss its logarithm.

        Args and raises as `predict`.
        """
        return outputs_of(self.net, self.params, self.preparation.encode(rows, unknown=unknown))


def load_model(path: str | os.PathLike[str]) -> Model:
    """The model of a file, or of a run folder.

    Args:
      path: a `model.npz` of `ffnn train`, or the folder of its run.

    Returns:
      The `Model`: the network, its parameters, and how columns become its inputs.

    Raises:
      OSError: it cannot be opened.
      CheckpointError: it is no model file, or damaged, or of a network alone.
    """
    path = model_file(path)
    metadata = load_metadata(path)
    if "preparation" not in metadata:
        raise CheckpointError(path, "it holds a network alone, without columns: use ffnn_jax.load")
    try:
        preparation = Preparation.from_dict(metadata["preparation"])
    except ValueError as error:
        raise CheckpointError(path, str(error)) from None
    return Model(*load(path), preparation, metadata)


def model_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """The file itself; of a folder, the model in it."""
    path = pathlib.Path(path)
    return path / "model.npz" if path.is_dir() else path


def outputs_of(net: Network, params: Params, x: np.ndarray) -> np.ndarray:
    """ŷ, (N, n_L), block by block, each of the same shape: one compilation."""
    blocks = (
        np.asarray(_outputs(net, params, jnp.asarray(x[rows])))[:count]
        for rows, count in blocks_of(len(x), BLOCK)
    )
    return np.concatenate(list(blocks))


def raw_network(model: Model) -> tuple[Network, Params]:
    """The network with the preparation inside: of raw numbers, and of quantities in their units.

    Its inputs are those of `model.preparation`, by name in `input_names`: a number as it stands in
    the table, its mean where it is missing; 1 or 0 for a category and for an indicator; pixels as
    they come. Computed in float64 and rounded once:

      W_1 (x − μ)/σ + b_1 = (W_1/σ) x + (b_1 − W_1 (μ/σ))        s (W_L h + b_L) + m likewise

    Where μ/σ is large the sum on the right cancels: the error is of the size of its float32.
    """
    mean, scale = model.preparation.moments
    target = model.preparation.target
    wide = [[np.asarray(t, np.float64) for t in layer] for layer in model.params]
    W, b = wide[0]
    wide[0] = [W / scale, b - W @ (mean / scale)]
    if not target.classes and not target.log:  # a logarithm stays one
        W, b = wide[-1]
        wide[-1] = [W * target.scale, b * target.scale + target.mean]
    layers = ((jnp.asarray(t, jnp.float32) for t in layer) for layer in wide)
    return model.net, tuple(Layer(*layer) for layer in layers)


@partial(jax.jit, static_argnames="net")
def _outputs(net: Network, params: Params, x: jax.Array) -> jax.Array:
    return apply(net, params, x)
