"""What one operation rounds, of a pass and a sweep: the ρ of `bounds`, entry by entry."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import network, outputs
from ffnn_jax.activations import ACTIVATIONS, GELU_CUBIC, GELU_LINEAR
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.losses import parts_of

CALL = 2.0  # c
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
      largest: what is larger is infinite.
    """

    u: float
    tiny: float
    largest: float


FLOAT64 = Rounding(2.0**-53, float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).max))


def rho_a(at: Truth, k: int, r: Rounding) -> np.ndarray:
    """ρ of a_k."""
    size = np.abs(at.W[k - 1]) @ np.abs(at.h[k - 1][0]) + np.abs(at.b[k - 1])
    return math.sqrt(at.net.sizes[k - 1] + 3) * r.u * size + r.tiny


def rho_h(at: Truth, k: int, r: Rounding) -> np.ndarray:
    """ρ of h_k = g(a_k)."""
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


def rho_slope(at: Truth, k: int, r: Rounding) -> np.ndarray:
    """ρ of g′(a_k); |g″/g′| = |dg′/dh| is at most 2, for tanh."""
    name = at.net.activations[k - 1]
    a, slope, bend = (np.abs(t[k - 1][0]) for t in (at.a, at.slope, at.bend))
    if name in ("gelu", "silu"):  # g′ = s + (g′ − s), s = h/a
        s = np.abs(np.divide(at.h[k][0], at.a[k - 1][0], out=np.full_like(a, 0.5), where=a > 0))
        return r.u * (CALL + 4 * _argument(name, a)) * (2 * s + slope)
    if name == "identity" or ACTIVATIONS[name].keep == "a":
        return r.u * slope
    ratio = np.divide(bend, slope, out=np.full_like(slope, 2.0), where=slope > 0)
    return np.minimum(ratio, 2.0) * rho_h(at, k, r) + CALL * r.u * slope


def rho_top(at: Truth, y: Any, r: Rounding) -> np.ndarray:
    """ρ of ∇a_L, made from a_L: of exponentials, and of ŷ − y or J_Oᵀ ∇ŷ."""
    yhat, loss = at.yhat[0], network.loss_of(at.net)
    c_u = CALL * r.u * (1.0 if at.net.output == "linear" else 1 + np.max(np.abs(at.a[-1])))
    targets = np.zeros_like(yhat) if at.y is None else np.abs(at.y[0])
    name, _ = parts_of(loss) or (None, None)
    if (at.net.output, name) in CLOSED and at.y is not None:
        return c_u * (yhat + targets) + r.tiny
    size = np.abs(at.grads[Quantity("yhat", at.net.depth)][0])
    moved = half_difference(partial(outputs.grad_yhat, loss), yhat, y, SEEN * yhat) / SEEN
    return c_u * through_output(at, np.abs(moved) + 2 * size + targets) + r.tiny


def through_output(at: Truth, top: np.ndarray) -> np.ndarray:
    """|J_O|ᵀ of sizes, its 1 − ŷ taken as 1, which is what it is rounded like."""
    yhat = at.yhat[0]
    if at.net.output == "linear":
        return top
    return yhat * (top + (np.sum(yhat * top) if at.net.output == "softmax" else 0.0))


def errors_of_a(at: Truth, r: Rounding) -> list[np.ndarray]:
    """How far each a_k may be off: δa_k² = W_k² δh_{k−1}² + ρ², δh_k² = g′² δa_k² + ρ²."""
    found, below = [], np.zeros(at.net.sizes[0])
    for k in range(1, at.net.depth + 1):
        found.append(np.sqrt(np.square(at.W[k - 1]) @ below + np.square(rho_a(at, k, r))))
        if k < at.net.depth:
            moved = at.slope[k - 1][0] * found[-1]
            below = np.square(moved) + np.square(rho_h(at, k, r))
    return found


def half_difference(function: Any, point: np.ndarray, y: Any, move: np.ndarray) -> np.ndarray:
    """(f(point + move, y) − f(point − move, y)) / 2 of a function of JAX."""
    with jax.enable_x64(True):
        y = jax.tree.map(jnp.asarray, y)
        up, down = function(jnp.asarray(point + move), y), function(jnp.asarray(point - move), y)
    return (np.asarray(up) - np.asarray(down)) / 2
