"""The loss along the direction in which it falls fastest.

θ(t) = θ − t ∇θ / ‖∇θ‖      tangent at t = 0: ℒ(θ) − ‖∇θ‖ t      a step of η: t = η ‖∇θ‖
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.network import Network, Params, at_least_float32
from ffnn_jax.plots.canvas import (
    COLOURS,
    LINES,
    canvas,
    few_ticks,
    legend,
    plain_number,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GradientLine(NamedTuple):
    """The loss along the gradient.

    Attributes:
      distances: t, (T,), in the unit of the parameters.
      losses: ℒ(θ(t)), (T,).
      loss: ℒ(θ).
      norm: ‖∇θ‖, over all parameters.
    """

    distances: np.ndarray
    losses: np.ndarray
    loss: float
    norm: float


def gradient_line(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    distances: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> GradientLine:
    """ℒ(θ − t ∇θ/‖∇θ‖) at each distance t.

    It is compiled once for each network and shape, and goes through the distances one by one: it
    needs the memory of one step.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0).
      y: as for `loss`.
      distances: t, (T,), finite; below 0 is uphill. None: 61 from −‖θ‖/8 to ‖θ‖/2; at θ = 0
        from −⅛ to ½.
      weights: (*batch,), as for `loss`.

    Returns:
      The `GradientLine`, in NumPy; where the gradient is 0 all losses are the same.

    Raises:
      TypeError: as `loss`; distances are not floating; called inside jit.
      ValueError: as `loss`; distances are not one finite axis.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.plots import gradient_line
      >>> net = ffnn.Network((3, 4, 2), activation="tanh", output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> line = gradient_line(net, params, jnp.ones((5, 3)), jnp.zeros(5, jnp.int32))
      >>> bool(line.losses[20] < line.loss)
      True
    """
    params, inputs, y, share = network.as_examples(net, params, x, y, weights)
    checks.check_outside_jit("gradient_line", (params, inputs, y, share, distances))
    if distances is not None:
        _check_distances(distances, at_least_float32(params[0].W.dtype))
    distances, losses, value, norm = _line(net, params, inputs, y, share, distances)
    return GradientLine(np.asarray(distances), np.asarray(losses), float(value), float(norm))


def _check_distances(distances: Any, dtype: DTypeLike) -> None:
    array = checks.as_array("distances", distances)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"distances: expected a floating dtype, got {array.dtype}")
    if len(array.shape) != 1 or 0 in array.shape:
        raise ValueError(f"distances: expected shape (T,), T > 0, got {array.shape}")
    checks.check_finite("distances", distances, dtype)


@jax.jit
def _line(net, params, x, y, weights, distances):
    def loss_of(params):
        return loss(net, params, x, y, weights=weights)

    def wide(tree):
        return jax.tree.map(lambda t: t.astype(at_least_float32(t.dtype)), tree)

    def loss_at(t):
        # θ(t) = θ − t ∇θ / ‖∇θ‖, in float32 at least, then in the dtype of θ
        moved = jax.tree.map(lambda s, d: s - t * d, start, direction)
        return loss_of(jax.tree.map(lambda s, like: s.astype(like.dtype), moved, params))

    value, grads = jax.value_and_grad(loss_of)(params)
    start, grads = wide(params), wide(grads)
    norm = _norm(grads)
    direction = jax.tree.map(lambda g: g / jnp.where(norm == 0, 1, norm), grads)
    if distances is None:
        size = _norm(start)
        distances = jnp.where(size == 0, 1, size) * jnp.linspace(-0.125, 0.5, 61, dtype=norm.dtype)
    distances = jnp.asarray(distances, norm.dtype)
    return distances, jax.lax.map(loss_at, distances), value, norm


def _norm(tree: Any) -> jax.Array:
    """‖·‖ over all leaves."""
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


def loss_along_gradient(line: GradientLine, *, learning_rate: float | None = None) -> "Figure":
    """The loss along the gradient, with its tangent, and how far a step of gradient descent goes.

    Args:
      line: from `gradient_line`.
      learning_rate: η; the step θ − η ∇θ is marked.

    Returns:
      The figure; losses that are not finite leave a gap.

    Raises:
      TypeError: line is no `GradientLine`, or learning_rate no number.
      ValueError: learning_rate is not above 0, or its step lies beyond the distances.
      ModuleNotFoundError: matplotlib is not installed.
    """
    if not isinstance(line, GradientLine):
        raise TypeError(f"line: expected a GradientLine, got {type(line).__name__}")
    step = None if learning_rate is None else _step(line, learning_rate)
    t = line.distances.astype(np.float64)
    losses = np.where(np.isfinite(line.losses), line.losses.astype(np.float64), np.nan)
    with style():
        figure, axes = canvas(250, "t, the way against the gradient", "loss")
        axes.plot(t, losses, color=COLOURS[0], label="loss")
        axes.set_ylim(axes.get_ylim())  # the tangent may leave the picture
        tangent = line.loss - line.norm * t
        axes.plot(t, tangent, color=COLOURS[1], linestyle="--", linewidth=1.4, label="tangent")
        axes.plot(0, line.loss, "o", color=COLOURS[0], markersize=6, label="here")
        axes.axvline(0, color=LINES, linewidth=0.8)
        if step is not None:
            there = np.interp(step, t, losses)
            name = f"step of η = {plain_number(float(learning_rate or 0))}"
            axes.plot(step, there, "D", color=COLOURS[2], markersize=6, label=name)
        few_ticks(axes)
        legend(figure, axes)
        return figure


def _step(line: GradientLine, learning_rate: Any) -> float:
    """t = η ‖∇θ‖."""
    checks.check_positive_float("learning_rate", learning_rate)
    step = float(learning_rate) * line.norm
    if step > line.distances.max():
        raise ValueError(
            f"learning_rate: its step goes to t = {step:.4g}, and the distances to "
            f"{line.distances.max():.4g}; give larger distances to gradient_line"
        )
    return step
