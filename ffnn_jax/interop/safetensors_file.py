"""A network as a safetensors file, which PyTorch, Rust and many others read.

W_k is `layers.{2(k−1)}.weight` and b_k is `layers.{2(k−1)}.bias`: the names of a PyTorch module
that holds an `nn.Sequential(Linear, g, Linear, …)` as `self.layers`. The metadata hold the
description of the network as JSON, and a digest of the numbers, which the format itself has not.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ffnn_jax import network
from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.description import describe, network_of
from ffnn_jax.interop.frameworks import check_both
from ffnn_jax.interop.packages import require
from ffnn_jax.interop.torch_state import from_torch_state, named_arrays
from ffnn_jax.network import Network, Params
from ffnn_jax.outputs import Loss

EXTRA = "ffnn_jax[safetensors]"
PREFIX = "layers."


class SafetensorsError(ValueError):
    """A file that is no safetensors file of a network, or one that is torn or changed."""


def save_safetensors(path: str | os.PathLike, net: Network, params: Params) -> None:
    """Writes a network to one file, whole or not at all.

    Args:
      path: where to.
      net: the network; its plan is not stored, and of a loss of your own its name alone.
      params: its parameters: float64, float32, bfloat16 or float16.

    Raises:
      TypeError, ValueError: params do not fit the network.
      ModuleNotFoundError: safetensors is not installed.
      OSError: the file cannot be written.
    """
    check_both(net, params)
    arrays = named_arrays(params, PREFIX)
    metadata = {"format": "pt", "network": json.dumps(describe(net))}
    metadata["sha256"] = _digest(metadata["network"], arrays)
    save = require("safetensors.numpy", EXTRA).save
    content = save(arrays, metadata=metadata)
    replace_file(path, lambda file: file.write(content))


def load_safetensors(
    path: str | os.PathLike, *, net: Network | None = None, loss: Loss | None = None
) -> tuple[Network, Params]:
    """Reads a network from a safetensors file.

    Args:
      path: the file.
      net: the network its numbers are for, where the file is of other make: one of PyTorch's, of
        Linear layers; None: the file says it.
      loss: the `Loss` of the network, where it was one of your own.

    Returns:
      (net, params), the parameters of the dtype they have in the file; with 64-bit types switched
      off float64 is float32.

    Raises:
      SafetensorsError: the file is torn, changed, or no network's; or its numbers do not fit.
      TypeError: net is no Network, or loss no Loss.
      ModuleNotFoundError: safetensors is not installed.
      OSError: the file cannot be read.
    """
    if net is not None:
        network.check_network(net)
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(f"loss: expected a Loss, got {loss!r}")
    metadata, arrays = _read(path)
    digest = _digest(metadata.get("network", ""), arrays)
    if metadata.get("sha256", digest) != digest:
        raise SafetensorsError(f"{path}: changed since it was written: its SHA-256 is another")
    try:
        net = _network_in(metadata, loss) if net is None else net
        return net, from_torch_state(net, arrays)
    except (TypeError, ValueError) as error:
        raise SafetensorsError(f"{path}: {error}") from None


def _read(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the arrays of the file."""
    package = require("safetensors", EXTRA)
    path = pathlib.Path(path)
    path.open("rb").close()  # an OSError of Python's, for a file that is not there
    try:
        with package.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (package.SafetensorError, TypeError, KeyError, OverflowError) as error:
        raise SafetensorsError(f"{path}: no safetensors file, or a torn one: {error}") from None


def _network_in(metadata: Mapping[str, str], loss: Loss | None) -> Network:
    if "network" not in metadata:
        raise ValueError("the file does not say what network it holds; pass net=")
    try:
        description: Any = json.loads(metadata["network"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the description of the network is no JSON: {error}") from None
    return network_of(description, loss=loss)


def _digest(network: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the description, and of every name, dtype, shape and number."""
    digest = hashlib.sha256(network.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).view(np.uint8).data)
    return digest.hexdigest()
