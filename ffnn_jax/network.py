"""The network: what it is (`Network`), its parameters, and the forward pass.

  h_0 = x        a_k = W_k h_{k−1} + b_k        h_k = g(a_k)        ŷ = O(a_L)

and with a key for dropout h_k = m_k ⊙ g(a_k) / (1 − p_k).

The functions that end in `_autodiff` are this forward pass and nothing else: JAX differentiates
them by itself. `backprop` gives the same values with the gradient written by hand.
"""

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from ffnn_jax import checks, outputs
from ffnn_jax.activations import ACTIVATIONS, RELU_FAMILY
from ffnn_jax.dense import dense
from ffnn_jax.dropout import drop, mask
from ffnn_jax.losses import Loss, find_loss, is_cross_entropy, parts_of
from ffnn_jax.outputs import OUTPUTS, OWN_LOSS
from ffnn_jax.plan import Plan

INITIALIZERS = (
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
)


class Layer(NamedTuple):
    """The parameters of one layer.

    Attributes:
      W: (n_k, n_{k−1}); entry [i−1, j−1] joins unit j of layer k−1 to unit i of layer k.
      b: (n_k,).
    """

    W: jax.Array
    b: jax.Array


Params = tuple[Layer, ...]


class Tape(NamedTuple):
    """Everything the forward pass computed, by name.

    Attributes:
      a: (a_1, …, a_L), the pre-activations; `a[k-1]` is (*batch, n_k).
      h: (h_0 = x, h_1, …, h_{L−1}), the activations, as the next layer sees them: after dropout;
        `h[k]` is (*batch, n_k).
      yhat: ŷ = O(a_L), (*batch, n_L).
    """

    a: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]
    yhat: jax.Array


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Network:
    """A feedforward network: frozen, hashable, and a static node wherever JAX meets a pytree.

    Attributes:
      sizes: (n_0, n_1, …, n_L): inputs, units of each layer, outputs. L = 1 has no hidden layer.
      activation: g, one name for all hidden layers or a tuple of L − 1 names: identity, sigmoid,
        tanh, relu, leaky_relu, elu, selu, softplus, gelu, silu.
      output: O: linear, softmax or logistic. The lecture's affine output O(a_L) = W_O a_L + b_O
        is a last linear layer after an `identity` one.
      loss: squared_error, absolute_error, huber, "huber(0.5)", "quantile(0.9)", poisson,
        cross_entropy, "smoothed_cross_entropy(0.1)", binary_cross_entropy (see `losses`), the same
        from a function such as `huber`, a `Loss` of your own, or None for the one that belongs to
        the output: squared_error to linear, cross_entropy to softmax, binary_cross_entropy to
        logistic. The name of one of the library's then stands here, its parameter in it. Any loss
        goes with any output; a cross-entropy needs ŷ from 0 to 1.
      dropout: p in [0, 1), how often a unit is left out, one rate for all hidden layers or a tuple
        of L − 1; keyword only. Nothing is left out but where a function is given a `dropout_key`:
        as in training, and not in use. A rate is drawn to 16 bits.
      plan: how to compute it; see `Plan`.

    Raises:
      TypeError: a size is not an int; an activation, output or loss is not a name; a rate is no
        number.
      ValueError: fewer than two sizes, a size below 1, an unknown name, a wrong number of
        activations or rates, a rate outside [0, 1), or a rate without a hidden layer.

    Example:
      >>> import ffnn_jax as ffnn
      >>> ffnn.Network((784, 256, 10), activation="relu", output="softmax").depth
      2
    """

    sizes: tuple[int, ...]
    activation: str | tuple[str, ...] = "relu"
    output: str = "linear"
    loss: str | Loss | None = None
    dropout: float | tuple[float, ...] = dataclasses.field(default=0.0, kw_only=True)
    plan: Plan = dataclasses.field(default=Plan())

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", checks.check_sizes(self.sizes))
        if isinstance(self.activation, str):
            checks.check_name("activation", self.activation, ACTIVATIONS)
        else:
            object.__setattr__(self, "activation", self._checked_activations())
        checks.check_name("output", self.output, OUTPUTS)
        if self.loss is None:
            object.__setattr__(self, "loss", OWN_LOSS[self.output])
        elif callable(self.loss):
            raise TypeError(
                f"loss: expected a name or a Loss, got {self.loss!r}; call it, or wrap it in Loss"
            )
        elif not isinstance(self.loss, Loss):
            object.__setattr__(self, "loss", find_loss(self.loss).name)
        elif parts_of(self.loss):  # the library's own
            object.__setattr__(self, "loss", self.loss.name)
        object.__setattr__(self, "dropout", self._checked_dropout())
        if not isinstance(self.plan, Plan):
            raise TypeError(f"plan: expected a Plan, got {self.plan!r}")

    def _checked_activations(self) -> tuple[str, ...]:
        if not isinstance(self.activation, tuple | list):
            raise TypeError(
                f"activation: expected a name or a tuple of {self.depth - 1} names, "
                f"got {self.activation!r}"
            )
        if len(self.activation) != self.depth - 1:
            raise ValueError(
                f"activation: expected one name, or {self.depth - 1} for the hidden layers of "
                f"sizes {self.sizes}; got {len(self.activation)}"
            )
        return tuple(
            checks.check_name(f"activation[{k}]", name, ACTIVATIONS)
            for k, name in enumerate(self.activation)
        )

    def _checked_dropout(self) -> float | tuple[float, ...]:
        if not isinstance(self.dropout, tuple | list):
            rate = checks.check_dropout_rate("dropout", self.dropout)
            if rate and self.depth == 1:
                raise ValueError(
                    f"dropout: expected 0 without hidden layers, got {rate} for sizes {self.sizes}"
                )
            return rate
        if len(self.dropout) != self.depth - 1:
            raise ValueError(
                f"dropout: expected one rate, or {self.depth - 1} for the hidden layers of "
                f"sizes {self.sizes}; got {len(self.dropout)}"
            )
        return tuple(
            checks.check_dropout_rate(f"dropout[{k}]", rate) for k, rate in enumerate(self.dropout)
        )

    @property
    def depth(self) -> int:
        """L, the number of layers with parameters."""
        return len(self.sizes) - 1

    @property
    def activations(self) -> tuple[str, ...]:
        """The name of g of each hidden layer, L − 1 of them."""
        if isinstance(self.activation, str):
            return (self.activation,) * (self.depth - 1)
        return self.activation

    @property
    def dropouts(self) -> tuple[float, ...]:
        """p_k of each hidden layer, L − 1 of them."""
        if isinstance(self.dropout, tuple):
            return self.dropout
        return (self.dropout,) * (self.depth - 1)


def init(
    net: Network, key: jax.Array, *, initializer: str | None = None, dtype: DTypeLike = jnp.float32
) -> Params:
    """Starting parameters.

    Args:
      net: the network.
      key: a PRNG key; the same key gives the same parameters.
      initializer: how every W is drawn: glorot_normal, glorot_uniform, he_normal, he_uniform,
        lecun_normal, lecun_uniform or orthogonal. None: he_normal for layers whose activation is
        of the relu family (relu, leaky_relu, elu, selu, gelu, silu), glorot_uniform for the rest.
      dtype: float64, float32, bfloat16 or float16. The two short ones are drawn in float32 and
        rounded.

    Returns:
      A tuple of L `Layer(W, b)`; every b is 0.

    Raises:
      TypeError: the key is not a key, the dtype not floating, or float64 without 64-bit types.
      ValueError: an unknown initializer.

    He et al. 2015, equation 10; Glorot and Bengio 2010, equation 16.
    """
    check_network(net)
    checks.check_key(key)
    dtype = checks.check_float_dtype("dtype", dtype)
    if initializer is not None:
        checks.check_name("initializer", initializer, INITIALIZERS)
    rectified = [g in RELU_FAMILY for g in net.activations] + [False]
    names = [initializer or ("he_normal" if r else "glorot_uniform") for r in rectified]
    return _draw(jnp.asarray(key), net.sizes, tuple(names), dtype)


def forward(
    net: Network, params: Params, x: ArrayLike, *, dropout_key: jax.Array | None = None
) -> Tape:
    """The forward pass, with every a_k and h_k by name.

    Args:
      net: the network.
      params: its parameters.
      x: (*batch, n_0), any floating dtype; it is cast to that of the parameters.
      dropout_key: as for `loss`.

    Returns:
      The `Tape`; differentiating it is automatic.

    Raises:
      TypeError, ValueError: params, x or dropout_key do not fit the network.
    """
    params, inputs = as_inputs(net, params, x)
    check_dropout_key(net, dropout_key)
    return run(net, params, inputs, dropout_key, plain=True)


def apply_autodiff(
    net: Network, params: Params, x: ArrayLike, *, dropout_key: jax.Array | None = None
) -> jax.Array:
    """ŷ as from `apply`, without a rule of ours: for jvp, forward mode, and comparison.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), as for `apply`.
      dropout_key: as for `loss`.

    Returns:
      ŷ, (*batch, n_L), in the dtype of the parameters.

    Raises:
      TypeError, ValueError: as `apply`.
    """
    return forward(net, params, x, dropout_key=dropout_key).yhat


def loss_autodiff(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    weights: ArrayLike | None = None,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """ℒ as from `loss`, without a rule of ours: for jvp, forward mode, and comparison.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0), as for `loss`.
      y: as for `loss`.
      weights: (*batch,), as for `loss`.
      dropout_key: as for `loss`.

    Returns:
      A scalar in the dtype of the parameters.

    Raises:
      TypeError, ValueError: as `loss`.
    """
    params, inputs, y, share = as_examples(net, params, x, y, weights)
    check_dropout_key(net, dropout_key)
    return batch_loss(net, run(net, params, inputs, dropout_key, plain=True).a[-1], y, share)


# For the modules above: the same without checks, and the checks ----------------------------------


def run(
    net: Network,
    params: Params,
    x: jax.Array,
    key: jax.Array | None = None,
    *,
    plain: bool = False,
) -> Tape:
    """The forward pass of checked arguments; plain as for `dense`."""
    a, h = [], [x]
    for k, (W, b) in enumerate(params, start=1):
        # a_k = W_k h_{k−1} + b_k
        a.append(dense(W, b, h[k - 1], net.plan.compute_dtype, plain=plain))
        if k < net.depth:
            g, p = ACTIVATIONS[net.activations[k - 1]], net.dropouts[k - 1]
            m = mask(key, k, p, a[-1])
            h.append(drop(g.value(a[-1]), m, p))  # h_k = m_k ⊙ g(a_k) / (1 − p_k)
    return Tape(tuple(a), tuple(h), OUTPUTS[net.output].value(a[-1]))


def batch_loss(net: Network, a: jax.Array, y: Any, weights: jax.Array | None) -> jax.Array:
    """ℒ = Σ_i w_i ℓ_i / Σ_i w_i over all examples of the batch; a is a_L."""
    return mean(outputs.example_losses(net.output, loss_of(net), a, y), weights)


def mean(losses: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Σ_i w_i ℓ_i / Σ_i w_i."""
    if weights is None:
        return jnp.mean(losses)
    weighted = weights / total(weights) * losses.astype(weights.dtype)
    return jnp.sum(weighted).astype(losses.dtype)


def shares(a: jax.Array, weights: jax.Array | None, grad_loss: ArrayLike = 1.0) -> jax.Array:
    """∂ℒ/∂ℓ_i = w_i / Σ_i w_i times ∇ℒ, (*batch, 1) to go with a_L; a scalar, 1/N, without weights.

    In the dtype of a_L; on the way there in float32 at least: float16 has no 1/N for a large N.
    """
    wide = jnp.asarray(grad_loss, at_least_float32(a.dtype))
    if weights is None:
        return (wide / math.prod(a.shape[:-1])).astype(a.dtype)
    return jnp.expand_dims((weights / total(weights) * wide).astype(a.dtype), -1)


def total(weights: jax.Array) -> jax.Array:
    """Σ_i w_i; 1 where all are 0, so that a batch of padding has the loss 0."""
    weight = jnp.sum(weights)
    return jnp.where(weight == 0, 1, weight)


def loss_of(net: Network) -> Loss:
    """The network's loss as a `Loss`."""
    return net.loss if isinstance(net.loss, Loss) else find_loss(str(net.loss))


def check_network(net: Any) -> None:
    """net is a Network."""
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {type(net).__name__}; net comes first")


def check_examples(net: Network, x: Any, y: Any, weights: Any) -> None:
    """x, y and weights fit the network and each other."""
    batch = checks.check_x(net.sizes[0], x)
    if isinstance(net.loss, Loss):
        checks.check_leading_shape("y", y, batch)
    else:
        checks.check_y(net.sizes[-1], y, batch, is_cross_entropy(net.loss))
    checks.check_weights(weights, batch)


def check_dropout_key(net: Network, key: Any) -> None:
    """key is None, or one key for a network that has dropout."""
    if key is None:
        return
    checks.check_key(key, "dropout_key")
    if not any(net.dropouts):
        raise ValueError(
            "dropout_key: expected None for a network without dropout, got a key; with "
            "dropout it is Network(..., dropout=0.5)"
        )


def as_inputs(net: Network, params: Params, x: ArrayLike) -> tuple[Params, jax.Array]:
    """params and x, checked, x in the dtype of the parameters."""
    check_network(net)
    dtype = checks.check_params(net.sizes, params)
    checks.check_x(net.sizes[0], x)
    return _cast(params, dtype), checks.to_jax(x, dtype)


def as_examples(
    net: Network, params: Params, x: Any, y: Any, weights: Any
) -> tuple[Params, jax.Array, Any, jax.Array | None]:
    """params, x, y and weights, checked, numbers in the dtype of the parameters.

    Weights are of float32 at least: they are summed.
    """
    check_network(net)
    dtype = checks.check_params(net.sizes, params)
    check_examples(net, x, y, weights)
    if isinstance(net.loss, Loss):
        y = jax.tree.map(checks.to_jax, y)
    else:
        y = checks.to_target(net.sizes[-1], y, x.shape[:-1], dtype, is_cross_entropy(net.loss))
    if weights is not None:
        weights = checks.to_jax(weights, at_least_float32(dtype))
    return _cast(params, dtype), checks.to_jax(x, dtype), y, weights


def at_least_float32(dtype: DTypeLike) -> DTypeLike:
    """The dtype in which sums of such numbers are taken."""
    return dtype if jnp.dtype(dtype) == jnp.float64 else jnp.float32


def _cast(params: Params, dtype: np.dtype) -> Params:
    cast = partial(checks.to_jax, dtype=dtype)
    return tuple(Layer(cast(layer.W), cast(layer.b)) for layer in params)


@partial(jax.jit, static_argnames=("sizes", "names", "dtype"))
def _draw(
    key: jax.Array, sizes: tuple[int, ...], names: tuple[str, ...], dtype: np.dtype
) -> Params:
    """W_k by the k-th of the initializers, in one program: eagerly they are some ten a layer."""
    layers = []
    for k, layer_key in enumerate(jax.random.split(key, len(names)), start=1):
        draw = _initializer(names[k - 1])
        W = draw(layer_key, (sizes[k], sizes[k - 1]), at_least_float32(dtype))
        layers.append(Layer(W.astype(dtype), jnp.zeros((sizes[k],), dtype)))
    return tuple(layers)


def _initializer(name: str) -> jax.nn.initializers.Initializer:
    make = getattr(jax.nn.initializers, name)
    return make() if name == "orthogonal" else make(in_axis=1, out_axis=0)
