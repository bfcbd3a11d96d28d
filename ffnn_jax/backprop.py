"""The loss and the network with the gradient written by hand, registered with JAX.

  ∇a_L = share ⊙ ∂ℓ/∂a_L  (loss)   or   J_Oᵀ ∇ŷ  (apply),   and from there `sweep` down to ∇x

`gradients` shows every quantity of the sweep; `loss` and `apply` register it as their rule with
`jax.custom_vjp`, so `jax.grad` of them runs it.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ffnn_jax import classes, network, outputs
from ffnn_jax.dense import cotangent_like, is_placed, rows
from ffnn_jax.losses import is_class
from ffnn_jax.network import Network, Params
from ffnn_jax.outputs import OUTPUTS
from ffnn_jax.sweep import Kept, forward, h_and_derivative, hidden_of, last_a, sweep

# From so many classes, and so many numbers in a_L, on the last layer goes in blocks of classes.
FEWEST_CLASSES = 8192
SMALLEST_A = 2**22


class Gradients(NamedTuple):
    """∇ of the loss with respect to everything in the network.

    Attributes:
      params: (∇W_k, ∇b_k) of each layer, shaped as the parameters.
      a: (∇a_1, …, ∇a_L); `a[k-1]` is (*batch, n_k).
      h: (∇h_0 = ∇x, ∇h_1, …, ∇h_{L−1}); `h[k]` is (*batch, n_k).
      yhat: ∇ŷ, (*batch, n_L).
    """

    params: Params
    a: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]
    yhat: jax.Array


def gradients(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    weights: ArrayLike | None = None,
    dropout_key: jax.Array | None = None,
) -> tuple[jax.Array, Gradients]:
    """The loss and every gradient of it, by one forward pass and one sweep.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), as for `loss`.
      y: as for `loss`.
      weights: (*batch,), as for `loss`.
      dropout_key: as for `loss`.

    Returns:
      (ℒ, grads): the loss, a scalar, and the `Gradients` by name, each of the shape of what ℒ is
      differentiated by.

    Raises:
      TypeError, ValueError: as `loss`.
    """
    params, h_0, y, w = network.as_examples(net, params, x, y, weights)
    network.check_dropout_key(net, dropout_key)
    kept = forward(net, params, h_0, dropout_key)
    a_L = kept[-1]
    value = network.batch_loss(net, a_L, y, w)
    share = network.shares(a_L, w)
    yhat = OUTPUTS[net.output].value(a_L)
    grad_yhat = share * outputs.grad_yhat(network.loss_of(net), yhat, y)
    grad_a_L = share * outputs.grad_a(net.output, network.loss_of(net), a_L, y)
    return value, Gradients(*sweep(net, params, h_0, kept, grad_a_L, dropout_key), grad_yhat)


def loss(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    weights: ArrayLike | None = None,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """ℒ = Σ_i w_i ℓ_i / Σ_i w_i; `jax.grad` of it runs the sweep.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      y: integer classes (*batch,); or numbers (*batch, n_L), a distribution for the two
        cross-entropies; with one output also numbers (*batch,). A `Loss` of your own gets y as
        you passed it: any pytree of arrays with the leading shape of the batch.
      weights: (*batch,) none negative, not all 0; None is 1 for each example.
      dropout_key: a PRNG key; with it units are left out at the rates of the network, the same ones
        for the same key, whatever the dtype, transform or mesh. None: nothing is left out. Inside
        `jax.shard_map` each device needs its own: `jax.random.fold_in(key, index)`.

    Returns:
      A scalar in the dtype of the parameters: the mean over examples, the sum over outputs.

    Raises:
      TypeError: an argument of the wrong structure or dtype, such as integer x.
      ValueError: a shape that does not fit the network or x, an empty batch, a class outside
        0 … n_L − 1, negative weights, or weights that sum to 0. Values are looked at where there
        are any: under `jit` a class outside is one that no output stands for. A dropout_key for a
        network without dropout.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> net = ffnn.Network((3, 4, 2), activation="tanh", output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> x, y = jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])
      >>> grads = jax.grad(ffnn.loss, argnums=1)(net, params, x, y)
      >>> grads[0].W.shape
      (4, 3)
    """
    examples = network.as_examples(net, params, x, y, weights)
    network.check_dropout_key(net, dropout_key)
    args = (*examples, dropout_key)
    if _in_blocks(net, *examples):
        return _with_rule(_block_loss, _block_loss_forward, _block_loss_backward, net, args)
    return _with_rule(_loss, _loss_forward, _loss_backward, net, args)


def apply(
    net: Network, params: Params, x: ArrayLike, *, dropout_key: jax.Array | None = None
) -> jax.Array:
    """ŷ = O(a_L); reverse-mode differentiation of it runs the sweep.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      dropout_key: as for `loss`.

    Returns:
      ŷ, (*batch, n_L), in the dtype of the parameters.

    Raises:
      TypeError: params or x of the wrong structure or dtype.
      ValueError: params or x of a shape that does not fit the network, an empty batch, or a
        dropout_key for a network without dropout.
    """
    inputs = network.as_inputs(net, params, x)
    network.check_dropout_key(net, dropout_key)
    args = (*inputs, dropout_key)
    return _with_rule(_apply, _apply_forward, _apply_backward, net, args)


# The rules ---------------------------------------------------------------------------------------


def _with_rule(plain, forward, backward, net, args):
    """plain(net, *args), differentiated in reverse by the rule `forward`, `backward`.

    JAX is handed a function of separate arrays, and everything else is bound to it beforehand:
    that is the one form of rule that jax 0.10 with JAX_CUSTOM_VJP3 takes inside jax.checkpoint.
    """
    leaves, tree = jax.tree.flatten(args)

    def value(*leaves):
        return plain(net, *tree.unflatten(leaves))

    def value_and_residuals(*leaves):
        return forward(net, *tree.unflatten(leaves))

    def cotangents(residuals, cotangent):
        return tuple(tree.flatten_up_to(backward(net, residuals, cotangent)))

    value.__name__ = plain.__name__  # what a list of rules calls it
    rule = jax.custom_vjp(value)
    rule.defvjp(value_and_residuals, cotangents)
    return rule(*leaves)


def _loss(net, params, x, y, weights, key):
    return network.batch_loss(net, last_a(net, params, x, key), y, weights)


def _loss_forward(net, params, x, y, weights, key):
    kept = forward(net, params, x, key)
    value = network.batch_loss(net, kept[-1], y, weights)
    return value, (params, x, y, weights, key, value, kept)


def _loss_backward(net, residuals, grad_loss):
    params, x, y, weights, key, value, kept = residuals
    a_L = kept[-1]
    share = network.shares(a_L, weights, grad_loss)
    grad_a_L = share * outputs.grad_a(net.output, network.loss_of(net), a_L, y)
    grad_params, _, grads_h = sweep(net, params, x, kept, grad_a_L, key)
    losses, grad_y = _grad_y(net, a_L, y, share)
    return grad_params, grads_h[0], grad_y, _grad_weights(weights, losses, value, grad_loss), None


def _grad_y(net, a_L, y, share):
    """ℓ_i, and share_i ∂ℓ_i/∂y, with None for the integers in y, which have no gradient."""
    leaves, tree = jax.tree.flatten(y)
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def losses_of(*floats):
        floats = iter(floats)
        filled = [next(floats) if f else leaf for f, leaf in zip(floating, leaves, strict=True)]
        y = tree.unflatten(filled)
        return outputs.example_losses(net.output, network.loss_of(net), a_L, y)

    varied = [leaf for f, leaf in zip(floating, leaves, strict=True) if f]
    losses, pullback = jax.vjp(losses_of, *varied)
    share = jnp.squeeze(share, -1) if share.ndim else share
    grads = pullback(cotangent_like(losses, share * jnp.ones_like(losses)))
    grads = map(cotangent_like, varied, grads)
    return losses, tree.unflatten([next(grads) if f else None for f in floating])


def _grad_weights(weights, losses, value, grad_loss):
    """∂ℒ/∂w_i = (ℓ_i − ℒ) / Σ_i w_i."""
    if weights is None:
        return None
    apart = (grad_loss * (losses - value)).astype(weights.dtype)
    return cotangent_like(weights, apart / network.total(weights))


# The loss with the last layer in blocks of classes


def _in_blocks(net, params, x, y, weights) -> bool:
    """Whether `loss` never makes a_L whole; for that it has to be of the kind that `classes` is."""
    N, K = math.prod(x.shape[:-1]), net.sizes[-1]
    wanted = net.plan.class_blocks
    if wanted is None:
        wanted = isinstance(N, int) and K >= FEWEST_CLASSES and N * K >= SMALLEST_A
    kind = net.output == "softmax" and net.loss == "cross_entropy" and is_class(y)
    wide = params[-1].W.dtype in (jnp.float32, jnp.float64)
    placed = any(map(is_placed, jax.tree.leaves((params, x, y, weights))))
    return wanted and kind and wide and not placed


def _block_loss(net, params, x, y, weights, key):
    return _block_loss_forward(net, params, x, y, weights, key)[0]


def _block_loss_forward(net, params, x, y, weights, key):
    kept = forward(net, params[:-1], x, key)
    h = rows(_last_hidden(net, x, kept, key))
    losses, log_total = classes.losses(params[-1], h, y.reshape(-1), net.plan.compute_dtype)
    losses = losses.reshape(y.shape)
    value = network.mean(losses, weights)
    return value, (params, x, y, weights, key, value, kept, losses, log_total)


def _block_loss_backward(net, residuals, grad_loss):
    params, x, y, weights, key, value, kept, losses, log_total = residuals
    h = _last_hidden(net, x, kept, key)
    share = jnp.broadcast_to(network.shares(h, weights, grad_loss), (*y.shape, 1)).reshape(-1)
    layer, grad_h = classes.gradients(
        params[-1], rows(h), y.reshape(-1), log_total, share, net.plan.compute_dtype
    )
    grad_h, grad_params = grad_h.reshape(h.shape), (layer,)
    if kept:
        _, derivative = h_and_derivative(net, net.depth - 1, kept[-1], grad_h, key)
        lower, _, grads_h = sweep(net, params[:-1], x, kept, grad_h * derivative, key)
        grad_h, grad_params = grads_h[0], (*lower, layer)
    return grad_params, grad_h, None, _grad_weights(weights, losses, value, grad_loss), None


def _last_hidden(net: Network, x: jax.Array, kept: Kept, key: jax.Array | None) -> jax.Array:
    """h_{L−1}, with the last of what was kept being that of layer L − 1."""
    return hidden_of(net, len(kept), kept[-1], key) if kept else x


# The rule of apply


def _apply(net, params, x, key):
    return OUTPUTS[net.output].value(last_a(net, params, x, key))


def _apply_forward(net, params, x, key):
    kept = forward(net, params, x, key)
    return OUTPUTS[net.output].value(kept[-1]), (params, x, key, kept)


def _apply_backward(net, residuals, grad_yhat):
    params, x, key, kept = residuals
    output = OUTPUTS[net.output]
    grad_a_L = output.pullback(output.value(kept[-1]), grad_yhat)  # ∇a_L = J_Oᵀ ∇ŷ
    grad_params, _, grads_h = sweep(net, params, x, kept, grad_a_L, key)
    return grad_params, grads_h[0], None
