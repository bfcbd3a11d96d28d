"""How far rounding alone may move a gradient: why "exact" is False.

Each operation is off by at most u of its result (u, the unit roundoff of the dtype: 6e-8 in
float32), a sum of n products by n u of the sum of their sizes, a function of the tables by c u,
with c = 8. To first order in u, an error grows on its way as its own quantity does:

  forward   δa_k ≤ |W_k| δh_{k−1} + (n_{k−1} + 3) u (|W_k| |h_{k−1}| + |b_k|)
            δh_k ≤ |g′| δa_k + c u |h_k|
            δg′_k ≤ |g″| δa_k + c u |g′_k|, and the whole step at a kink that is nearer than δa_k
  backward  δ∇h_{k−1} ≤ |W_k|ᵀ δ∇a_k + (n_k + 3) u |W_k|ᵀ |∇a_k|
            δ∇a_k ≤ |g′| δ∇h_k + |∇h_k| δg′_k + u |∇a_k|
            δ∂ℒ/∂W_kij ≤ |h_{k−1,j}| δ∇a_ki + |∇a_ki| δh_{k−1,j} + u |∂ℒ/∂W_kij|

Written out over the paths from the weight to the loss that is Σ |product| · (relative errors of its
factors): the number of roundings on the way, times u, times the sum of the sizes of what is added.
Where paths cancel, the last is larger than the gradient, and so is the share of rounding in it.
At the output δ∇a_L is what δa_L does to ∇a_L, and the roundings of ∇a_L itself.

Higham 2002, "Accuracy and stability of numerical algorithms", sections 3.1 and 3.3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import network, outputs
from ffnn_jax.activations import ACTIVATIONS, GELU_CUBIC, GELU_LINEAR
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import KINKS, Truth
from ffnn_jax.losses import parts_of

CALL = 8.0  # c, roundings that one call of a function may cost
AT_ONCE = 256  # how many changed points are evaluated at once
SEEN = 1e-7  # a relative step that float64 can see the effect of
CLOSED = {  # the pairs whose ∇a_L is ŷ − y, or −y(1 − ŷ), with the loss's own y
    ("softmax", "cross_entropy"),
    ("softmax", "smoothed_cross_entropy"),
    ("logistic", "binary_cross_entropy"),
    ("logistic", "cross_entropy"),
    ("logistic", "smoothed_cross_entropy"),
}


class Rounding(NamedTuple):
    """A dtype's.

    Attributes:
      u: the unit roundoff.
      tiny: the smallest normal number: what is smaller may be lost.
    """

    u: float
    tiny: float


FLOAT64 = Rounding(2.0**-53, 2.0**-1022)


class Forward(NamedTuple):
    """Errors of the forward pass of one example.

    Attributes:
      a: δa_1 … δa_L.
      h: δh_0 … δh_{L−1}.
    """

    a: list[np.ndarray]
    h: list[np.ndarray]


def forward_errors(at: Truth, r: Rounding) -> Forward:
    """δa_k and δh_k."""
    a, h = [], [np.zeros(at.net.sizes[0])]
    for k, (W, b) in enumerate(zip(at.W, at.b, strict=True), start=1):
        size = np.abs(W) @ np.abs(at.h[k - 1][0]) + np.abs(b)
        a.append(np.abs(W) @ h[-1] + (W.shape[1] + 3) * r.u * size + r.tiny)
        if k < at.net.depth:
            h.append(np.abs(at.slope[k - 1][0]) * a[-1] + _value_rounding(at, k, r))
    return Forward(a, h)


def _value_rounding(at: Truth, k: int, r: Rounding) -> np.ndarray:
    """The rounding of h_k = g(a_k) by itself."""
    name, h = at.net.activations[k - 1], np.abs(at.h[k][0])
    if name in ("identity", "relu"):
        return np.zeros_like(h)
    return r.u * (CALL + 4 * _argument(name, at.a[k - 1][0])) * h + r.tiny


def _argument(name: str, a: np.ndarray) -> np.ndarray:
    """How much larger an error in what stands in the exponent of gelu and silu becomes."""
    a = np.minimum(np.abs(a), 16)
    if name == "gelu":
        return a * (GELU_LINEAR + 3 * GELU_CUBIC * a**2)
    return a if name == "silu" else np.zeros_like(a)


def _slope_errors(at: Truth, forward: Forward, k: int, r: Rounding) -> np.ndarray:
    """δg′_k."""
    name = at.net.activations[k - 1]
    a, slope, bend = (np.abs(t[k - 1][0]) for t in (at.a, at.slope, at.bend))
    if name == "identity":
        return np.zeros_like(slope)
    if ACTIVATIONS[name].keep == "h":  # g′ follows from h: |dg′/dh| = |g″/g′|, at most 2
        ratio = np.divide(bend, slope, out=np.full_like(slope, 2.0), where=slope > 0)
        moved = np.minimum(ratio, 2.0) * forward.h[k] + CALL * r.u * slope
    else:
        moved = bend * forward.a[k - 1]
    if name in ("gelu", "silu"):  # g′ = s + (g′ − s), s = h/a
        s = np.abs(np.divide(at.h[k][0], at.a[k - 1][0], out=np.full_like(a, 0.5), where=a > 0))
        moved += r.u * (CALL + 4 * _argument(name, a)) * (2 * s + slope)
    if name in KINKS:
        low, high = KINKS[name]
        moved += np.where(a < forward.a[k - 1], high - low, 0.0)
    return moved


def gradient_bound(at: Truth, y: Any, layer: int, i: int, j: int | None, r: Rounding) -> float:
    """How far ∂ℒ/∂W_kij, or ∂ℒ/∂b_ki, of one example may be from the right one in a dtype.

    Args:
      at: the pass and the sweep in float64.
      y: the target of the example, numbers in float64.
      layer: k.
      i: from 1.
      j: from 1; None for the bias.
      r: the dtype's rounding.

    Returns:
      The bound of the sweep, and of automatic differentiation, which multiplies the same factors;
      ∞ where the errors cannot be told.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        forward = forward_errors(at, r)
        error = _top_error(at, forward, y, r)
        for k in range(at.net.depth, layer, -1):
            W, grad_a = np.abs(at.W[k - 1]), np.abs(at.grads[Quantity("a", k)][0])
            error_h = W.T @ error + (W.shape[0] + 3) * r.u * (W.T @ grad_a) + r.tiny
            slope_error = _slope_errors(at, forward, k - 1, r)
            slope = np.abs(at.slope[k - 2][0])
            grad_h = np.abs(at.grads[Quantity("h", k - 1)][0])
            error = (slope + slope_error) * error_h + grad_h * (slope_error + r.u * slope) + r.tiny
        grad_a = abs(at.grads[Quantity("a", layer)][0, i - 1])
        if j is None:
            return _or_infinite(error[i - 1])
        h, error_of_h = abs(at.h[layer - 1][0, j - 1]), forward.h[layer - 1][j - 1]
        bound = error[i - 1] * (h + error_of_h) + grad_a * (error_of_h + r.u * h) + r.tiny
        return _or_infinite(bound)


def _or_infinite(bound: Any) -> float:
    return float(bound) if np.isfinite(bound) else float("inf")


# At the output -----------------------------------------------------------------------------------


def _top_error(at: Truth, forward: Forward, y: Any, r: Rounding) -> np.ndarray:
    """δ∇a_L: what δa_L does to it, and the roundings on the way from a_L."""
    a, yhat, loss = at.a[-1][0], at.yhat[0], network.loss_of(at.net)
    by = forward.a[-1]
    if at.net.output != "linear":  # an exponential is off by c u, and by u of its argument
        by = by + CALL * r.u * (1 + np.abs(a))

    moved = _moved(partial(outputs.grad_a, at.net.output, loss), a, y, by)
    name, _ = parts_of(loss) or (None, None)
    if (at.net.output, name) in CLOSED and at.y is not None:
        return moved + CALL * r.u * (np.abs(yhat) + np.abs(at.y[0])) + r.tiny
    c_u, grad_yhat_size = CALL * r.u, np.abs(at.grads[Quantity("yhat", at.net.depth)][0])
    targets = np.zeros_like(yhat) if at.y is None else np.abs(at.y[0])
    top = _moved(partial(outputs.grad_yhat, loss), yhat, y, c_u * np.abs(yhat)) + c_u * (
        2 * grad_yhat_size + targets
    )
    return moved + _through_output(at.net.output, yhat, top) + r.tiny


def _through_output(output: str, yhat: np.ndarray, top: np.ndarray) -> np.ndarray:
    """|J_O|ᵀ of sizes, its 1 − ŷ taken as 1, which is what it is rounded like."""
    if output == "linear":
        return top
    return yhat * (top + (np.sum(yhat * top) if output == "softmax" else 0.0))


def _moved(
    function: Callable[[Any, Any], Any], point: np.ndarray, y: Any, by: np.ndarray
) -> np.ndarray:
    """Σ_m |∂f/∂p_m| by_m: how far a change of each number of a point moves f(p, y).

    By differences, of steps that float64 sees, so that kinks count. The function is of JAX, of a
    batch of points (N, n) and as many y, and gives (N, n).
    """
    total = np.zeros_like(point)
    steps = np.maximum(by, SEEN * np.abs(point))
    for start in range(0, len(point), AT_ONCE):
        some = np.arange(start, min(start + AT_ONCE, len(point)))
        moves = np.zeros((len(some), len(point)))
        moves[np.arange(len(some)), some] = steps[some]
        both = np.concatenate([point + moves, point - moves])
        with jax.enable_x64(True):
            values = function(jnp.asarray(both), jax.tree.map(partial(_repeated, len(both)), y))
        change = np.abs(np.subtract(*np.split(np.asarray(values), 2))) / 2
        shares = np.divide(by, steps, out=np.zeros_like(by), where=steps > 0)[some]
        total += shares @ change
    return total


def _repeated(times: int, leaf: Any) -> jax.Array:
    return jnp.asarray(np.broadcast_to(leaf, (times, *np.shape(leaf))))
