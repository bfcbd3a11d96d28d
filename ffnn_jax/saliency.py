"""What each example's inputs do to its loss, or to one of its outputs.

∇_x ℓ_i = W_1ᵀ ∇a_1,  from ∇a_L = ∂ℓ_i/∂a_L;      ∇_x ŷ_ij = W_1ᵀ ∇a_1,  from ∇a_L = J_Oᵀ e_j
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ffnn_jax import checks, network, outputs
from ffnn_jax.network import Network, Params
from ffnn_jax.outputs import OUTPUTS
from ffnn_jax.sweep import forward, sweep


def input_gradients(
    net: Network, params: Params, x: ArrayLike, y: Any = None, *, output: int | None = None
) -> jax.Array:
    """∇_x of each example's own loss, or of one output ŷ_j, by the sweep.

    Where it is large, a small change of that input changes the loss, or that output, most (a
    saliency map; Simonyan, Vedaldi and Zisserman 2013).

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      y: as for `loss`; the gradient is then of ℓ_i, not divided by N. Or
      output: j, from 0 to n_L − 1; the gradient is then of ŷ_j.

    Returns:
      (*batch, n_0), in the dtype of the parameters.

    Raises:
      TypeError: as `loss`; output is no int.
      ValueError: as `loss`; neither or both of y and output; output outside 0 … n_L − 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.saliency import input_gradients
      >>> net = ffnn.Network((3, 4, 2), activation="tanh", output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> input_gradients(net, params, jnp.ones((5, 3)), output=1).shape
      (5, 3)
    """
    network.check_network(net)
    if (y is None) == (output is None):
        raise ValueError(f"y, output: expected one of the two, got {_came(y)}")
    if output is None:
        params, h_0, y, _ = network.as_examples(net, params, x, y, None)
    else:
        output = _check_output(output, net.sizes[-1])
        params, h_0 = network.as_inputs(net, params, x)
    kept = forward(net, params, h_0)
    if output is None:
        grad_a_L = outputs.grad_a(net.output, network.loss_of(net), kept[-1], y)
    else:
        yhat = OUTPUTS[net.output].value(kept[-1])
        e_j = jax.nn.one_hot(output, net.sizes[-1], dtype=yhat.dtype)
        grad_yhat = jnp.ones_like(yhat) * jax.lax.expand_dims(e_j, range(yhat.ndim - 1))
        grad_a_L = OUTPUTS[net.output].pullback(yhat, grad_yhat)
    return sweep(net, params, h_0, kept, grad_a_L).h[0]


def _came(y: Any) -> str:
    return "neither" if y is None else "both"


def _check_output(output: Any, width: int) -> int:
    output = checks.check_int_from(0, "output", output)
    if output >= width:
        raise ValueError(f"output: expected at most {width - 1}, got {output}")
    return output
