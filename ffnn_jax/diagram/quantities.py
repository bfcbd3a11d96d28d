"""Every number of one example's forward and backward pass, by the lecture's name.

  a_k = W_k h_{k−1} + b_k      h_k = g(a_k)      ŷ = O(a_L)      and the ∇ of each

All in float64, whatever the dtype of the parameters and the network's plan.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import checks, network
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.backprop import gradients
from ffnn_jax.losses import as_numbers
from ffnn_jax.network import Layer, Network, Params
from ffnn_jax.plan import Plan

Key = tuple[str, int]  # a name, W b a h y g′ or ∇W ∇b ∇a ∇h, and the layer; h of 0 is x, of L ŷ


class Quantities(NamedTuple):
    """What is known of a network at one example.

    Attributes:
      arrays: (n_k,) each, or (n_k, n_{k−1}) of W and ∇W, float64.
      loss: ℒ, or None without y.
    """

    arrays: Mapping[Key, np.ndarray]
    loss: float | None

    def __contains__(self, key: object) -> bool:
        return key in self.arrays

    def of(self, name: str, k: int) -> np.ndarray:
        """The array of a name and a layer."""
        return self.arrays[name, k]


def compute(net: Network, params: Params, x: Any = None, y: Any = None) -> Quantities:
    """What can be known: W and b; with x the forward pass; with y the backward pass too.

    Raises:
      TypeError, ValueError: as `loss`; x is a batch; y is given without x; a number that is not
        finite; called inside jit.
    """
    network.check_network(net)
    checks.check_params(net.sizes, params)
    _check_example(net, x, y)
    _check_values(params, x, y)
    net = dataclasses.replace(net, plan=Plan())
    layers = tuple(Layer(_wide(layer.W), _wide(layer.b)) for layer in params)
    arrays: dict[Key, Any] = {}
    for k, layer in enumerate(layers, start=1):
        arrays["W", k], arrays["b", k] = layer
    if x is None:
        return Quantities(arrays, None)
    with jax.enable_x64(True):
        if y is None:
            arrays |= _named(_forward(net, *network.as_inputs(net, layers, _wide(x))))
            return Quantities(arrays, None)
        y = jax.tree.map(_wide, y)
        args = network.as_examples(net, layers, _wide(x), y, None)[:3]
        forward, (loss, backward) = _both(net, *args)
        return Quantities(arrays | _named(forward) | _named(backward), float(loss))


def _check_example(net: Network, x: Any, y: Any) -> None:
    """x is None or one example, and y goes with it."""
    if x is None:
        if y is not None:
            raise ValueError("y: expected None without x, got a target; give both")
        return
    batch = checks.check_x(net.sizes[0], x)
    if batch:
        raise ValueError(
            f"x: expected one example, shape ({net.sizes[0]},), got {np.shape(x)}; "
            "take one: x[0], and y[0]"
        )
    if y is not None:
        network.check_examples(net, x, y, None)


def _check_values(params: Any, x: Any, y: Any) -> None:
    """All numbers are known and finite."""
    leaves = [(layer.W, layer.b) for layer in params]
    checks.check_outside_jit("a drawing", (leaves, x, y))
    for k, (W, b) in enumerate(leaves):
        checks.check_finite(f"params[{k}].W", W)
        checks.check_finite(f"params[{k}].b", b)
    for name, value in (("x", x), ("y", y)):
        for leaf in jax.tree.leaves(value):
            checks.check_finite(name, leaf)


def _wide(array: Any) -> Any:
    """Floating numbers in float64, others as they are."""
    array = np.asarray(array)
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _named(arrays: dict[str, Any]) -> dict[Key, np.ndarray]:
    """{"a": {1: a_1, …}} as {("a", 1): a_1, …}, in NumPy."""
    return {(name, k): np.asarray(t) for name, row in arrays.items() for k, t in row.items()}


@jax.jit
def _forward(net, params, x):
    tape = network.run(net, params, x)
    a = dict(enumerate(tape.a, start=1))
    slopes = {}
    for k, name in enumerate(net.activations, start=1):
        g = ACTIVATIONS[name]
        slopes[k] = g.derivative(tape.a[k - 1] if g.keep == "a" else tape.h[k])
    return {"a": a, "h": dict(enumerate((*tape.h, tape.yhat))), "g′": slopes}


@jax.jit
def _both(net, params, x, y):
    forward = _forward(net, params, x)
    if isinstance(net.loss, str):
        forward["y"] = {net.depth: as_numbers(y, forward["h"][net.depth])}
    value, grads = gradients(net, params, x, y)
    backward = {
        "∇a": dict(enumerate(grads.a, start=1)),
        "∇h": dict(enumerate((*grads.h, grads.yhat))),
        "∇W": {k: layer.W for k, layer in enumerate(grads.params, start=1)},
        "∇b": {k: layer.b for k, layer in enumerate(grads.params, start=1)},
    }
    return forward, (value, backward)
