"""`explain_weight`: the chain rule of one weight, with the numbers of one example.

  ∂ℒ/∂W_kij = ∂ℒ/∂ŷ · ∂ŷ/∂a_L · ∂a_L/∂h_{L−1} · … · ∂h_k/∂a_k · ∂a_k/∂W_kij

in a thin network; in a wide one the sum of such products over all paths from there to the loss.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ffnn_jax import backprop, checks, network
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth, to_float64, truth_at
from ffnn_jax.explain.bounds import gradient_bound
from ffnn_jax.explain.chain import chain_of, total
from ffnn_jax.explain.difference import central_difference
from ffnn_jax.explain.explanation import WeightExplanation
from ffnn_jax.explain.factors import compressed, strongest_of
from ffnn_jax.explain.roundings import FLOAT64, Rounding
from ffnn_jax.network import Layer, Network, Params

MOST_PATHS = 100


def explain_weight(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    layer: int,
    i: int,
    j: int | None = None,
    strongest: int = 5,
) -> WeightExplanation:
    """The derivative of one example's loss by one weight, or bias, factor by factor.

    Everything is computed in float64 from the numbers as they came; beside it stand this library's
    sweep and jax.grad in the dtype of the parameters, and a central difference. A network
    with dropout is explained as it is in use: nothing is left out. The first call for a network
    compiles three programs; the paths are found in time n_k n_{k+1} log n_{k+1}, layer by layer.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (n_0,), one example; the sweep and jax.grad cast it to the dtype of the parameters.
      y: of that example, as for `loss`: a class, which counts from 0, or (n_L,).
      layer: k, from 1 to L, counted from 1 as in the lecture.
      i: the unit of layer k, from 1 to n_k.
      j: the unit of layer k − 1, from 1 to n_{k−1} (of layer 1: the input); None for the bias b_ki.
      strongest: how many paths to list, from 1 to 100.

    Returns:
      A `WeightExplanation`: `.gradient`, `.factors`, `.paths`, `str(explanation)`, `.markdown()`.

    Raises:
      TypeError: as `loss`; an index that is no int; called inside jit or grad.
      ValueError: as `loss`; an index out of range; a batch; numbers that are not finite, or of
        which the gradient is not.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.explain import explain_weight
      >>> net = ffnn.Network((1, 1, 1, 1), activation="sigmoid")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> explanation = explain_weight(
      ...     net, params, jnp.ones(1), jnp.zeros(1), layer=2, i=1, j=1
      ... )
      >>> explanation.compressed_formula
      '∂ℒ(θ)/∂W_211 = ∂ℒ(θ)/∂h_21 · ∂h_21/∂W_211'
    """
    layer, i, j = _check(net, params, x, y, layer, i, j)
    count = _count(strongest)
    at, y_64 = _truth(net, params, x, y)
    params, x, y, _ = network.as_examples(net, params, x, y, None)
    chain = chain_of(at, layer, i, j)
    gradient = _gradient(at, layer, i, j)
    if not math.isfinite(gradient):
        raise ValueError(f"params, x, y: the gradient is {gradient} here, which has no factors")
    size = total(chain)
    sweep, autodiff = (
        _pick(grads[layer - 1].b if j is None else grads[layer - 1].W, i, j)
        for grads in _both_ways(net, params, x, y)
    )
    difference, difference_bound = central_difference(at, y_64, layer, i, j)
    paths = strongest_of(chain, count, size)
    return WeightExplanation(
        net=net,
        layer=layer,
        i=i,
        j=j,
        gradient=gradient,
        factors=paths[0].factors if chain.path_count == 1 else compressed(chain),
        compressed=compressed(chain),
        paths=paths,
        path_count=chain.path_count,
        size=size,
        factors_bound=gradient_bound(at, y_64, layer, i, j, FLOAT64),
        dtype=str(params[0].W.dtype),
        sweep=sweep,
        autodiff=autodiff,
        bound=_bound_of_dtype(net, params, x, y, gradient, (layer, i, j)),
        difference=difference,
        difference_bound=difference_bound,
        symbols=chain.symbols,
    )


@jax.jit
def _both_ways(net: Network, params: Params, x: jax.Array, y: Any) -> tuple[Params, Params]:
    """∇ of the parameters by the sweep, and by automatic differentiation."""
    _, grads = backprop.gradients(net, params, x, y)
    return grads.params, jax.grad(network.loss_autodiff, argnums=1)(net, params, x, y)


def _truth(net: Network, params: Any, x: Any, y: Any) -> tuple[Truth, Any]:
    """The sweep at the numbers as they came, cast exactly, and y in float64."""
    with jax.enable_x64(True):
        layers = tuple(Layer(layer.W, layer.b) for layer in params)
        layers, x, y = jax.tree.map(to_float64, (layers, x, y))
        params, x, y, _ = network.as_examples(net, layers, x, y, None)
        return truth_at(net, params, x, y, None), jax.tree.map(np.asarray, y)


def _gradient(at: Truth, layer: int, i: int, j: int | None) -> float:
    return _pick(at.grads[Quantity("b" if j is None else "W", layer)], i, j)


def _bound_of_dtype(
    net: Network, params: Params, x: Any, y: Any, gradient: float, at: tuple[int, int, int | None]
) -> float:
    """How far that of params, x and y, in one dtype, may be from the gradient.

    That is what rounding in the dtype does, and what casting to it has moved already: parameters of
    float64 are float32 where 64-bit types are off, and x and y are cast to their dtype.
    """
    cast, y_64 = _truth(net, params, x, y)
    moved = abs(_gradient(cast, *at) - gradient)
    return gradient_bound(cast, y_64, *at, _rounding(net, params[0].W.dtype)) + moved


def _pick(array: Any, i: int, j: int | None) -> float:
    """The entry of a gradient, indices from 1."""
    array = np.asarray(array)
    return float(array[i - 1] if j is None else array[i - 1, j - 1])


def _rounding(net: Network, dtype: Any) -> Rounding:
    """That of the dtypes in which the network computes, the coarsest."""
    dtypes = [dtype] if net.plan.compute_dtype is None else [dtype, net.plan.compute_dtype]
    infos = [jnp.finfo(dtype) for dtype in dtypes]
    return Rounding(
        u=max(float(t.eps) for t in infos) / 2,
        tiny=max(float(t.tiny) for t in infos),
        largest=min(float(t.max) for t in infos),
    )


# Checks ------------------------------------------------------------------------------------------


def _check(
    net: Network, params: Any, x: Any, y: Any, layer: Any, i: Any, j: Any
) -> tuple[int, int, int | None]:
    """Everything that can be wrong, before anything is compiled; the indices as ints."""
    network.check_network(net)
    dtype = checks.check_params(net.sizes, params)
    _check_one("x", x, net.sizes[0])
    network.check_examples(net, x, y, None)
    leaves = [leaf for layer_k in params for leaf in (layer_k.W, layer_k.b)]
    checks.check_outside_jit("explain_weight", (leaves, x, y))
    for k, parameters in enumerate(params):
        checks.check_finite(f"params[{k}].W", parameters.W, dtype)
        checks.check_finite(f"params[{k}].b", parameters.b, dtype)
    checks.check_finite("x", x, dtype)
    for leaf in jax.tree.leaves(y):
        checks.check_finite("y", leaf, dtype)
    layer = _index("layer", layer, net.depth, "layers")
    i = _index("i", i, net.sizes[layer], f"units of layer {layer}")
    below = "inputs" if layer == 1 else f"units of layer {layer - 1}"
    return layer, i, None if j is None else _index("j", j, net.sizes[layer - 1], below)


def _check_one(argument: str, value: Any, width: int) -> None:
    """One example, and no batch of them."""
    shape = checks.as_array(argument, value).shape
    if len(shape) > 1 and shape[-1] == width:
        raise ValueError(
            f"{argument}: expected one example, shape ({width},), got a batch, shape {shape}; "
            "x[0] and y[0] are the first"
        )
    if shape != (width,):
        raise ValueError(f"{argument}: expected one example, shape ({width},), got {shape}")


def _count(strongest: Any) -> int:
    """How many paths to list."""
    if (count := checks.check_positive_int("strongest", strongest)) > MOST_PATHS:
        raise ValueError(f"strongest: expected at most {MOST_PATHS} paths, got {count}")
    return count


def _index(argument: str, value: Any, last: int, what: str) -> int:
    """An int from 1 to the last."""
    try:
        number = checks.check_int_from(1, argument, value)
    except ValueError:
        number = 0
    if not 1 <= number <= last:
        raise ValueError(
            f"{argument}: expected 1 to {last} ({what}, counted from 1, as in the lecture), "
            f"got {value}"
        )
    return number
