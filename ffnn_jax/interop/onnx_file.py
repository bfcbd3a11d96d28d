"""A network as an ONNX model, for onnxruntime and whatever else reads the format.

  x (b, n_0)  →  Gemm(x, W_k, b_k) = x W_kᵀ + b_k  →  g  →  …  →  O  →  yhat (b, n_L)

One node or a few for each row of our tables, with our constants; opset 17, which has all but gelu,
or 20 for that. The constants and names are those of the ONNX operator specification.
"""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import checks, network
from ffnn_jax.activations import GELU_CUBIC, GELU_LINEAR, LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE
from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.description import describe
from ffnn_jax.interop.packages import require
from ffnn_jax.network import Network, Params

EXTRA = "ffnn_jax[export]"
OPSET, OPSET_GELU = 17, 20
IR_VERSION = {OPSET: 8, OPSET_GELU: 9}  # the first with that opset: older runtimes read it
LARGEST = 2**31 - 1  # bytes of a protobuf message


class Nodes:
    """The nodes of a graph as they are made, one after the other, and its constants."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, operator: str, *inputs: str | float, **attributes: Any) -> str:
        """One more node; a number among its inputs becomes a constant. Returns its output."""
        names = [t if isinstance(t, str) else self.constant(t) for t in inputs]
        output = f"{operator.lower()}_{len(self.nodes)}"
        make = require("onnx.helper", EXTRA).make_node
        self.nodes.append(make(operator, names, [output], name=output, **attributes))
        return output

    def constant(self, value: float | np.ndarray, name: str | None = None) -> str:
        """A constant of the graph's dtype; returns its name."""
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(np.asarray(value, self.dtype))
        return name


# The tables --------------------------------------------------------------------------------------


def _silu(nodes: Nodes, a: str) -> str:
    """a / (1 + e^{−a})."""
    return nodes.add("Mul", a, nodes.add("Sigmoid", a))


def _leaky_relu(nodes: Nodes, a: str) -> str:
    if _has_kernels(nodes):
        return nodes.add("LeakyRelu", a, alpha=LEAKY_SLOPE)
    return nodes.add("Max", a, nodes.add("Mul", a, LEAKY_SLOPE))


def _elu(nodes: Nodes, a: str) -> str:
    if _has_kernels(nodes):
        return nodes.add("Elu", a, alpha=1.0)
    return nodes.add("Add", nodes.add("Relu", a), _expm1_below(nodes, a))


def _selu(nodes: Nodes, a: str) -> str:
    if _has_kernels(nodes):
        return nodes.add("Selu", a, alpha=SELU_ALPHA, gamma=SELU_SCALE)
    above = nodes.add("Mul", nodes.add("Relu", a), SELU_SCALE)
    below = nodes.add("Mul", _expm1_below(nodes, a), SELU_SCALE * SELU_ALPHA)
    return nodes.add("Add", above, below)


def _softplus(nodes: Nodes, a: str) -> str:
    """log(1 + e^a), by hand max(a, 0) + log(1 + e^{−|a|})."""
    if _has_kernels(nodes):
        return nodes.add("Softplus", a)
    small = nodes.add("Exp", nodes.add("Neg", nodes.add("Abs", a)))
    return nodes.add("Add", nodes.add("Relu", a), nodes.add("Log", nodes.add("Add", small, 1.0)))


def _gelu(nodes: Nodes, a: str) -> str:
    """By hand a s(2u), 2u = a (2√(2/π) + 2√(2/π) c a²), as in `activations`."""
    if _has_kernels(nodes):
        return nodes.add("Gelu", a, approximate="tanh")
    cubic = nodes.add("Mul", nodes.add("Mul", a, a), GELU_CUBIC)
    u = nodes.add("Mul", a, nodes.add("Add", cubic, GELU_LINEAR))
    return nodes.add("Mul", a, nodes.add("Sigmoid", u))


def _expm1_below(nodes: Nodes, a: str) -> str:
    """e^{min(a, 0)} − 1."""
    return nodes.add("Sub", nodes.add("Exp", nodes.add("Min", a, 0.0)), 1.0)


def _has_kernels(nodes: Nodes) -> bool:
    """Whether onnxruntime has these in the dtype: in float64 none, or Gelu in float32 digits."""
    return nodes.dtype != np.float64


def _one_node(operator: str, **attributes: Any) -> Callable[[Nodes, str], str]:
    def node(nodes: Nodes, a: str) -> str:
        return nodes.add(operator, a, **attributes)

    return node


def _nothing(nodes: Nodes, a: str) -> str:
    del nodes
    return a


ACTIVATION_NODES: dict[str, Callable[[Nodes, str], str]] = {
    "identity": _nothing,
    "sigmoid": _one_node("Sigmoid"),
    "tanh": _one_node("Tanh"),
    "relu": _one_node("Relu"),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "softplus": _softplus,
    "gelu": _gelu,
    "silu": _silu,
}
OUTPUT_NODES: dict[str, Callable[[Nodes, str], str]] = {
    "linear": _nothing,
    "softmax": _one_node("Softmax", axis=-1),
    "logistic": _one_node("Sigmoid"),
}


# The model ---------------------------------------------------------------------------------------


def to_onnx(
    net: Network,
    params: Params,
    *,
    input_name: str = "x",
    output_name: str = "yhat",
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """The network as an `onnx.ModelProto`.

    Args:
      net: the network.
      params: its parameters, float64, float32 or float16; bfloat16, which few runtimes compute
        in, is written as float32, with a warning.
      input_name: what the input x (b, n_0) is called; it has the dtype of the parameters.
      output_name: what ŷ (b, n_L) is called.
      metadata: a dict that JSON can hold, stored with the model under the name `metadata`; the
        description of the network is stored as `network`.

    Returns:
      The model, for any number of examples b.

    Raises:
      TypeError, ValueError: params do not fit the network; metadata that JSON cannot hold; a name
        that is no identifier; parameters of 2 GiB or more, which an ONNX file cannot hold.
      ModuleNotFoundError: onnx is not installed.
    """
    network.check_network(net)
    dtype = checks.check_params(net.sizes, params)
    names = {"input_name": input_name, "output_name": output_name}
    for argument, name in names.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{argument}: expected a name such as 'x', got {name!r}")
    if input_name == output_name:
        raise ValueError(f"output_name: expected another name than {input_name!r}")
    properties = {"network": json.dumps(describe(net))}
    if metadata is not None:
        properties["metadata"] = _as_json(metadata)
    dtype = _written_dtype(dtype)
    _check_size(params, dtype)
    nodes = _nodes_of(net, params, input_name, dtype)
    return _model(net, nodes, input_name, output_name, properties)


def save_onnx(path: str | os.PathLike, net: Network, params: Params, **options: Any) -> None:
    """Writes the model of `to_onnx` to a file, whole or not at all, after ONNX's own check of it.

    Args:
      path: where to.
      net: the network.
      params: its parameters.
      **options: as for `to_onnx`.

    Raises:
      TypeError, ValueError, ModuleNotFoundError: as `to_onnx`.
      OSError: the file cannot be written.
    """
    model = to_onnx(net, params, **options)
    require("onnx.checker", EXTRA).check_model(model, full_check=True)
    content = model.SerializeToString()
    replace_file(path, lambda file: file.write(content))


def _nodes_of(net: Network, params: Params, input_name: str, dtype: np.dtype) -> Nodes:
    nodes = Nodes(dtype)
    h = input_name
    for k, (W, b) in enumerate(params, start=1):
        weight = nodes.constant(np.asarray(W), f"layers.{k}.weight")
        bias = nodes.constant(np.asarray(b), f"layers.{k}.bias")
        h = nodes.add("Gemm", h, weight, bias, transB=1)  # a_k = W_k h_{k−1} + b_k
        if k < net.depth:
            h = ACTIVATION_NODES[net.activations[k - 1]](nodes, h)
    OUTPUT_NODES[net.output](nodes, h)
    return nodes


def _model(
    net: Network, nodes: Nodes, input_name: str, output_name: str, properties: dict[str, str]
) -> Any:
    from ffnn_jax import __version__

    helper = require("onnx.helper", EXTRA)
    to_tensor = require("onnx.numpy_helper", EXTRA).from_array
    nodes.nodes[-1].output[0] = output_name
    element = helper.np_dtype_to_tensor_dtype(nodes.dtype)
    graph = helper.make_graph(
        nodes.nodes,
        "ffnn_jax",
        [helper.make_tensor_value_info(input_name, element, ("b", net.sizes[0]))],
        [helper.make_tensor_value_info(output_name, element, ("b", net.sizes[-1]))],
        [to_tensor(array, name) for name, array in nodes.constants.items()],
    )
    has_gelu = any(node.op_type == "Gelu" for node in nodes.nodes)
    opset = OPSET_GELU if has_gelu else OPSET
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION[opset],
        producer_name="ffnn_jax",
        producer_version=__version__,
    )
    helper.set_model_props(model, properties)
    return model


def _written_dtype(dtype: np.dtype) -> np.dtype:
    if dtype != jnp.bfloat16:
        return dtype
    warnings.warn("to_onnx: bfloat16 parameters are written as float32", stacklevel=3)
    return np.dtype(np.float32)


def _check_size(params: Params, dtype: np.dtype) -> None:
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params)) * dtype.itemsize
    if size > LARGEST - 2**20:
        raise ValueError(f"params: an ONNX file holds less than 2 GiB, got {size / 2**30:.1f} GiB")


def _as_json(metadata: Any) -> str:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata: expected a dict, got {type(metadata).__name__}")
    try:
        return json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"metadata: expected what JSON can hold: {error}") from None
