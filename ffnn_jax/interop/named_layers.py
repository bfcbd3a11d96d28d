"""The layers of a plain network inside a tree of named arrays, whatever library made it.

A layer is a weight with two axes and the bias beside it. The table says what each library calls
the two, and whether its weight is (n_k, n_{k−1}), as our W, or transposed.

  a_k = W_k h_{k−1} + b_k    is    h · kernel + bias    with    kernel = W_kᵀ
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax import checks
from ffnn_jax.network import Layer, Network, Params


class Convention(NamedTuple):
    """How a library stores one layer.

    Attributes:
      library: its name, for messages.
      weight: the last part of the weight's name.
      bias: the last part of the bias's name.
      transposed: whether the weight is Wᵀ, (n_{k−1}, n_k).
    """

    library: str
    weight: str
    bias: str
    transposed: bool


TORCH = Convention("PyTorch", "weight", "bias", False)
FLAX = Convention("flax", "kernel", "bias", True)
HAIKU = Convention("haiku", "w", "b", True)
EQUINOX = Convention("equinox", "weight", "bias", False)


class Found(NamedTuple):
    """One layer of such a tree: its name, and the names of its two arrays; a bias may be absent."""

    name: str
    weight: str
    bias: str | None


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """The arrays of a pytree by their path, "layers.0.weight"; what is no array is left out."""
    named = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if hasattr(leaf, "shape"):
            named[name_of(path)] = leaf
    return named


def name_of(path: Any) -> str:
    """A path as a name; flax's variables end in a part of their own, `value`, left out here."""
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return re.sub(r"\.(raw_)?value$", "", name)


def find_layers(
    convention: Convention, names: Iterable[str], *, order: Sequence[str] | None, kept: bool
) -> list[Found]:
    """The layers among the names, from input to output.

    Args:
      convention: how the library names them.
      names: of all arrays.
      order: the names of the layers from input to output, where their own say nothing of it.
      kept: whether the names stand in the order of the layers. JAX sorts the keys of a dict.

    Raises:
      ValueError: a name that is neither weight nor bias, no layer at all, names that do not say
        in which order they come, or an order that is not of these layers.
    """
    names = list(names)
    parts = {name: name.rpartition(".")[::2] for name in names}
    strange = [n for n in names if parts[n][1] not in (convention.weight, convention.bias)]
    weights = {parts[n][0]: n for n in names if parts[n][1] == convention.weight}
    biases = {parts[n][0]: n for n in names if parts[n][1] == convention.bias}
    strange += [name for layer, name in biases.items() if layer not in weights]
    if strange or not weights:
        raise ValueError(
            f"{convention.library}: expected dense layers alone, each with a {convention.weight} "
            f"and a {convention.bias}; got {', '.join(map(repr, strange or names)) or 'nothing'}"
        )
    found = [Found(layer, name, biases.get(layer)) for layer, name in weights.items()]
    return _in_order(convention, found, order, kept)


def _in_order(
    convention: Convention, found: list[Found], order: Sequence[str] | None, kept: bool
) -> list[Found]:
    by_name = {layer.name: layer for layer in found}
    if order is not None:
        if sorted(order) != sorted(by_name):
            raise ValueError(
                f"order: expected the names of the layers, {', '.join(by_name)}; got {order!r}"
            )
        return [by_name[name] for name in order]
    numbers = {name: _text_and_numbers(name) for name in by_name}
    if len({text for text, _ in numbers.values()}) == 1:  # they differ in numbers alone
        return sorted(found, key=lambda layer: numbers[layer.name][1])
    if not kept:
        raise ValueError(
            f"{convention.library}: the names {', '.join(by_name)} do not say which layer comes "
            "first; pass order=(...), the names from input to output"
        )
    return found


def _text_and_numbers(name: str) -> tuple[str, tuple[int, ...]]:
    """("Dense_#", (3,)) for "Dense_3"; a name that ends in no number is the first of its kind."""
    name = name if name[-1:].isdigit() else f"{name}_0"
    return re.sub(r"\d+", "#", name), tuple(map(int, re.findall(r"\d+", name)))


def params_of(
    net: Network, convention: Convention, layers: Sequence[tuple[str, Any, Any]]
) -> Params:
    """The layers (name, weight, bias or None), in order, as the parameters of the network.

    Raises:
      TypeError: an array that is none, or of a dtype that is not floating.
      ValueError: another number of layers, or other shapes, than the network has.
    """
    if len(layers) != net.depth:
        raise ValueError(
            f"{convention.library}: expected {net.depth} layers for sizes {net.sizes}, got "
            f"{len(layers)}: {', '.join(name for name, _, _ in layers)}"
        )
    params: list[Any] = []
    for k, (name, weight, bias) in enumerate(layers, start=1):
        shape = net.sizes[k], net.sizes[k - 1]
        W = as_numpy(f"{name}.{convention.weight}", weight)
        W = W.T if convention.transposed else W
        if W.shape != shape:
            stored, wanted = (s[::-1] if convention.transposed else s for s in (W.shape, shape))
            raise ValueError(
                f"{convention.library}: expected {name}.{convention.weight} of shape {wanted} for "
                f"sizes {net.sizes}, got {stored}"
            )
        b = np.zeros(shape[0], W.dtype) if bias is None else as_numpy(f"{name}.bias", bias)
        params.append(Layer(W, b))  # pyright: ignore[reportArgumentType]
    dtype = checks.check_params(net.sizes, params)
    return tuple(Layer(*(checks.to_jax(leaf, dtype) for leaf in layer)) for layer in params)


def as_numpy(argument: str, value: Any) -> np.ndarray:
    """An array of any library in NumPy, with bfloat16 as ml_dtypes has it."""
    if hasattr(value, "detach"):  # PyTorch's; its bfloat16 has no way into NumPy
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return value.float().numpy().astype("bfloat16")
        return value.numpy()
    return np.asarray(checks.as_array(argument, value))


def arrays_of(params: Params, convention: Convention) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of each layer as the library stores them, contiguous, in NumPy."""
    arrays = ((np.asarray(W), np.asarray(b)) for W, b in params)
    return [
        (np.ascontiguousarray(W.T if convention.transposed else W), np.ascontiguousarray(b))
        for W, b in arrays
    ]
