"""PyTorch's state dicts as our parameters, and ours as PyTorch's, or as a whole `nn.Sequential`.

The names are those of `nn.Sequential(Linear, g, Linear, g, …, Linear)`: `0.weight`, `0.bias`,
`2.weight`, … PyTorch's weight is our W_k, (n_k, n_{k−1}).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ffnn_jax import network
from ffnn_jax.activations import LEAKY_SLOPE
from ffnn_jax.interop.frameworks import check_both
from ffnn_jax.interop.named_layers import TORCH, arrays_of, find_layers, params_of
from ffnn_jax.interop.packages import require
from ffnn_jax.network import Network, Params

MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Identity", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": LEAKY_SLOPE}),
    "elu": ("ELU", {}),
    "selu": ("SELU", {}),
    "softplus": ("Softplus", {"threshold": 40}),  # from there on log(1 + e^a) = a in float64
    "gelu": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
}
OUTPUT_MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("Softmax", {"dim": -1}),
    "logistic": ("Sigmoid", {}),
}


def named_arrays(params: Params, prefix: str) -> dict[str, np.ndarray]:
    """W_k as `{prefix}{2(k−1)}.weight` and b_k beside it, contiguous, in NumPy."""
    named = {}
    for k, (weight, bias) in enumerate(arrays_of(params, TORCH)):
        named[f"{prefix}{2 * k}.weight"] = weight
        named[f"{prefix}{2 * k}.bias"] = bias
    return named


def to_torch_state(net: Network, params: Params, *, prefix: str = "") -> dict[str, Any]:
    """Our parameters as tensors for `module.load_state_dict`.

    Args:
      net: the network.
      params: its parameters.
      prefix: what stands before the number of the Linear in its nn.Sequential: `"layers."` for a
        module that holds it as `self.layers`.

    Returns:
      `{prefix}0.weight`, `{prefix}0.bias`, `{prefix}2.weight`, …: copies, on the CPU.

    Raises:
      TypeError, ValueError: params do not fit the network.
      ModuleNotFoundError: torch is not installed.
    """
    check_both(net, params)
    torch = require("torch", "torch")

    def tensor(array: np.ndarray) -> Any:
        if array.dtype == "bfloat16":  # PyTorch takes none of NumPy's
            return torch.tensor(array.astype(np.float32)).to(torch.bfloat16)
        return torch.tensor(array)

    return {name: tensor(array) for name, array in named_arrays(params, prefix).items()}


def from_torch_state(net: Network, state: Mapping[str, Any]) -> Params:
    """The parameters in a state dict of Linear layers, whatever their names.

    Args:
      net: the network they are for: PyTorch stores neither activations nor outputs.
      state: `module.state_dict()`, or arrays by such names. Names that differ in a number alone
        are taken in the order of that number, others in the order in which they stand. A Linear
        without a bias has b = 0.

    Returns:
      A tuple of `Layer(W, b)`.

    Raises:
      TypeError: net is no Network, state no mapping, or an array is not floating.
      ValueError: anything but Linear layers, or layers that do not fit the network.
    """
    network.check_network(net)
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected a state_dict(), got {type(state).__name__}")
    found = find_layers(TORCH, state, order=None, kept=True)
    layers = [
        (layer.name, state[layer.weight], None if layer.bias is None else state[layer.bias])
        for layer in found
    ]
    return params_of(net, TORCH, layers)


def to_torch(net: Network, params: Params) -> Any:
    """The whole network as an `nn.Sequential`: Linear, g, Linear, …, and O where it is not linear.

    Args:
      net: the network.
      params: its parameters, whose dtype the module has.

    Returns:
      The module, with the parameters in it.

    Raises:
      TypeError, ValueError: params do not fit the network.
      ModuleNotFoundError: torch is not installed.
    """
    state = to_torch_state(net, params)
    nn = require("torch.nn", "torch")
    parts = []
    for k in range(1, net.depth + 1):
        weight = state[f"{2 * (k - 1)}.weight"]
        parts.append(nn.Linear(net.sizes[k - 1], net.sizes[k], dtype=weight.dtype))
        row = MODULES[net.activations[k - 1]] if k < net.depth else OUTPUT_MODULES.get(net.output)
        if row is not None:
            name, options = row
            parts.append(getattr(nn, name)(**options))
    module = nn.Sequential(*parts)
    module.load_state_dict(state)
    return module
