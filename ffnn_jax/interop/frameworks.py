"""Parameters of flax, haiku, equinox and keras as ours, and ours as theirs.

Trees of arrays go in and come out, so none of the libraries is imported. `from_…` finds the layers
by their names; `to_…` makes the tree that a plain network of the library has, or, given one of
the user's own as `like`, puts the numbers in its place.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ffnn_jax import checks, network
from ffnn_jax.interop.named_layers import (
    EQUINOX,
    FLAX,
    HAIKU,
    Convention,
    arrays_of,
    find_layers,
    leaves_by_name,
    name_of,
    params_of,
)
from ffnn_jax.network import Network, Params

KERAS = Convention("keras", "weight", "bias", True)


def from_flax(net: Network, variables: Any, *, order: Sequence[str] | None = None) -> Params:
    """The parameters of a stack of flax `Dense` (linen) or `Linear` (nnx).

    Args:
      net: the network they are for: flax stores neither activations nor outputs.
      variables: of linen what `module.init` returns, with or without the `params` on top; of nnx
        the `nnx.state(model, nnx.Param)`.
      order: the names of the layers from input to output, where they are not numbered.

    Returns:
      A tuple of `Layer(W, b)`; a layer without a bias has b = 0.

    Raises:
      TypeError: net is no Network, or an array is not floating.
      ValueError: anything but dense layers, layers that do not fit the network, or an order that
        their names do not tell.
    """
    return _from_tree(net, FLAX, variables, order)


def to_flax(
    net: Network, params: Params, *, like: Any = None, order: Sequence[str] | None = None
) -> Any:
    """Our parameters as flax has them.

    Args:
      net: the network.
      params: its parameters.
      like: the variables (linen) or state (nnx) to put them in; None: those of a linen module
        whose Dense layers have no names of their own, {"params": {"Dense_0": {"kernel", "bias"}}}.
      order: as for `from_flax`, of `like`.

    Returns:
      A tree as `like`, arrays of NumPy.

    Raises:
      TypeError, ValueError: params do not fit the network; `like` as for `from_flax`.
    """
    if like is not None:
        return _to_tree(net, FLAX, params, like, order)
    return {"params": _as_dict(net, FLAX, params, "Dense_{}")}


def from_haiku(net: Network, tree: Any, *, order: Sequence[str] | None = None) -> Params:
    """The parameters of an `hk.nets.MLP`, or of a stack of `hk.Linear`.

    Args:
      net: the network they are for: haiku stores neither activations nor outputs.
      tree: what `transformed.init` returns.
      order: as for `from_flax`.

    Returns:
      A tuple of `Layer(W, b)`; a layer without a bias has b = 0.

    Raises:
      TypeError, ValueError: as `from_flax`.
    """
    return _from_tree(net, HAIKU, tree, order)


def to_haiku(
    net: Network, params: Params, *, like: Any = None, order: Sequence[str] | None = None
) -> Any:
    """Our parameters as haiku has them.

    Args:
      net: the network.
      params: its parameters.
      like: the tree to put them in; None: that of an `hk.nets.MLP`,
        {"mlp/~/linear_0": {"w", "b"}}.
      order: as for `from_flax`, of `like`.

    Returns:
      A tree as `like`, arrays of NumPy.

    Raises:
      TypeError, ValueError: as `to_flax`.
    """
    if like is not None:
        return _to_tree(net, HAIKU, params, like, order)
    return _as_dict(net, HAIKU, params, "mlp/~/linear_{}")


def from_equinox(net: Network, module: Any, *, order: Sequence[str] | None = None) -> Params:
    """The parameters of an `eqx.nn.MLP`, or of a module of `eqx.nn.Linear`.

    Args:
      net: the network they are for: its activations and output are not read off the module.
      module: the `eqx.Module`.
      order: as for `from_flax`.

    Returns:
      A tuple of `Layer(W, b)`; a layer without a bias has b = 0.

    Raises:
      TypeError, ValueError: as `from_flax`.
    """
    return _from_tree(net, EQUINOX, module, order)


def to_equinox(
    net: Network, params: Params, like: Any, *, order: Sequence[str] | None = None
) -> Any:
    """The module `like` with our parameters in it.

    Args:
      net: the network.
      params: its parameters.
      like: the `eqx.Module` to put them in.
      order: as for `from_flax`, of `like`.

    Returns:
      A module as `like`, arrays of NumPy.

    Raises:
      TypeError, ValueError: as `to_flax`.
    """
    return _to_tree(net, EQUINOX, params, like, order)


def from_keras(net: Network, weights: Sequence[Any]) -> Params:
    """The parameters of a keras model of `Dense` layers, each with a bias.

    Args:
      net: the network they are for.
      weights: `model.get_weights()`: kernel and bias of each layer in turn.

    Returns:
      A tuple of `Layer(W, b)`.

    Raises:
      TypeError: net is no Network, weights no list, or an array is not floating.
      ValueError: a number or shapes of arrays that do not fit the network.
    """
    network.check_network(net)
    if not isinstance(weights, list | tuple):
        raise TypeError(f"weights: expected a list of arrays, got {type(weights).__name__}")
    if len(weights) != 2 * net.depth:
        raise ValueError(
            f"weights: expected {2 * net.depth} arrays, a kernel and a bias of each layer; "
            f"got {len(weights)}"
        )
    pairs = zip(weights[::2], weights[1::2], strict=True)
    layers = [(f"layer {k}", kernel, bias) for k, (kernel, bias) in enumerate(pairs, start=1)]
    return params_of(net, KERAS, layers)


def to_keras(net: Network, params: Params) -> list[np.ndarray]:
    """Our parameters for `model.set_weights`, a list of NumPy arrays.

    Args:
      net: the network.
      params: its parameters.

    Returns:
      Kernel (n_{k−1}, n_k) and bias (n_k,) of each layer in turn.

    Raises:
      TypeError, ValueError: params do not fit the network.
    """
    check_both(net, params)
    return [array for layer in arrays_of(params, KERAS) for array in layer]


# What they share ---------------------------------------------------------------------------------


def check_both(net: Any, params: Any) -> None:
    """net is a Network and params are its parameters."""
    network.check_network(net)
    checks.check_params(net.sizes, params)


def _from_tree(
    net: Network, convention: Convention, tree: Any, order: Sequence[str] | None
) -> Params:
    network.check_network(net)
    named = leaves_by_name(tree)
    found = find_layers(convention, named, order=_long(order, named), kept=False)
    layers = [
        (layer.name, named[layer.weight], None if layer.bias is None else named[layer.bias])
        for layer in found
    ]
    return params_of(net, convention, layers)


def _to_tree(
    net: Network, convention: Convention, params: Params, like: Any, order: Sequence[str] | None
) -> Any:
    check_both(net, params)
    _from_tree(net, convention, like, order)  # like fits the network
    named = leaves_by_name(like)
    found = find_layers(convention, named, order=_long(order, named), kept=False)
    new: dict[str, Any] = {}
    for layer, (weight, bias) in zip(found, arrays_of(params, convention), strict=True):
        new[layer.weight] = weight
        if layer.bias is not None:
            new[layer.bias] = bias
        elif np.any(bias):
            raise ValueError(f"like: expected a bias in {layer.name}: ours is not 0")
    return jax.tree_util.tree_map_with_path(lambda path, t: new.get(name_of(path), t), like)


def _as_dict(net: Network, convention: Convention, params: Params, name: str) -> dict[str, Any]:
    check_both(net, params)
    return {
        name.format(k): {convention.weight: weight, convention.bias: bias}
        for k, (weight, bias) in enumerate(arrays_of(params, convention))
    }


def _long(order: Sequence[str] | None, named: Any) -> list[str] | None:
    """The names in order, with flax's `params.` in front where the tree has it there."""
    if order is None:
        return None
    on_top = "params." if all(name.startswith("params.") for name in named) else ""
    return [on_top + name for name in order]
