"""A trained network in one file: what it is and its parameters, never how it is computed."""

import os
from typing import Any

import jax

from ffnn_jax import checks, network
from ffnn_jax.checkpoint.archive import (
    CheckpointError,
    read_archive,
    read_manifest,
    write_archive,
)
from ffnn_jax.checkpoint.leaves import encode
from ffnn_jax.description import describe, with_loss, without_loss
from ffnn_jax.network import Layer, Network, Params
from ffnn_jax.outputs import Loss


def save(
    path: str | os.PathLike[str],
    net: Network,
    params: Params,
    *,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Writes a network and its parameters to one file, whole or not at all.

    The file is an npz, which `np.load` reads too: W_1, b_1, …, W_L, b_L and manifest.json. The
    same arguments give the same bytes. The network's plan is not part of it; of a loss of your
    own its name is.

    Args:
      path: the file; one that is there is replaced in one step.
      net: the network.
      params: its parameters, whole in this process: those that are split over several, as
        `gathered` gives them.
      metadata: what is to be kept with it, a dict that JSON can hold; NaN and infinities are
        written as Python's json does.

    Raises:
      TypeError, ValueError: params do not fit the network; metadata is no dict, or none for JSON;
        params are split over processes.
      OSError: it cannot be written; what was there is still there.

    Example:
      >>> import pathlib, tempfile, jax
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax import checkpoint
      >>> net = ffnn.Network((4, 16, 3), output="softmax")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "model.npz")
      ...     checkpoint.save(path, net, ffnn.init(net, jax.random.key(0)))
      ...     again, params = checkpoint.load(path)
      >>> again == net, params[0].W.shape
      (True, (16, 4))
    """
    network.check_network(net)
    checks.check_params(net.sizes, params)
    leaves = [
        encode(f"{name}_{k}", getattr(layer, name))
        for k, layer in enumerate(params, start=1)
        for name in Layer._fields
    ]
    fields = {"network": describe(net), "metadata": check_metadata(metadata)}
    write_archive(path, "model", fields, leaves)


def load(path: str | os.PathLike[str], *, loss: Loss | None = None) -> tuple[Network, Params]:
    """Reads what `save` wrote, by any version of this library up to now.

    Args:
      path: the file.
      loss: the loss of the network, where it was one of your own: a file holds only its name.

    Returns:
      (net, params), the parameters as JAX arrays of the dtype that they had.

    Raises:
      OSError: it is not there or cannot be read.
      CheckpointError: it is not intact, holds no model, or is of a later version.
      TypeError: loss is no Loss; or the parameters are float64, and those are switched off.
      ValueError: the network has a loss of your own and none is given, or one with another name.
    """
    manifest, arrays = read_archive(path, "model")
    net = _network(path, manifest, loss)
    layers = tuple(
        Layer(*(arrays.pop(f"{name}_{k}", None) for name in Layer._fields))
        for k in range(1, net.depth + 1)
    )
    try:
        dtype = checks.check_params(net.sizes, layers)
        if arrays:
            raise ValueError(f"params: expected no {next(iter(arrays))}")
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f"its arrays are not those of its network: {error}") from error
    checks.check_float_dtype("params", layers[0].W.dtype)
    return net, jax.tree.map(lambda t: checks.to_jax(t, dtype), layers)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata given to `save` or `Checkpoints.save`, {} where there were none.

    Args:
      path: the file of a model or of a checkpoint.

    Returns:
      A dict of what JSON has.

    Raises:
      OSError: the file is not there or cannot be read.
      CheckpointError: it is not intact, or of a later version.
    """
    return metadata_of(path, read_manifest(path))


def metadata_of(path: str | os.PathLike[str], manifest: dict[str, Any]) -> dict[str, Any]:
    """The metadata in a manifest."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        raise CheckpointError(path, "its manifest has no metadata")
    return metadata


def check_metadata(metadata: Any) -> dict[str, Any]:
    """A dict, or {} for None; JSON refuses what it cannot hold when it is written."""
    if metadata is not None and not isinstance(metadata, dict):
        raise TypeError(f"metadata: expected a dict, got {checks.kind(metadata)}")
    return metadata or {}


def _network(path: str | os.PathLike[str], manifest: dict[str, Any], loss: Any) -> Network:
    described = manifest.get("network")
    try:
        net = without_loss(described)
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f"its network is none: {error}") from error
    return with_loss(net, manifest["network"], loss)
