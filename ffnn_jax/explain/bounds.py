"""How far rounding alone may move a gradient: why two right ones differ.

Every number v of the pass and of the sweep is off by its own rounding, |δv| ≤ ρ_v, and so the
gradient G = ∂ℒ/∂W_kij by Σ_v ∂G/∂v δv, to first order in u, the unit roundoff of the dtype (6e-8 in
float32). The roundings are

  of a_k       √(n_{k−1} + 3) u (|W_k| |h_{k−1}| + |b_k|)
  of h_k       c u |h_k|
  of g′(a_k)   c u |g′|, and |g″/g′| ρ_h where g′ is made from h
  of ∇a_L      what its formula rounds: c u (|ŷ| + |y|) for ŷ − y
  of ∇h_{k−1}  √(n_k + 3) u |W_k|ᵀ |∇a_k|
  of ∇a_k      u |∇a_k|

with c = 2 for a call of a function, and √n in place of n for a sum of n products, as its roundings
are as often up as down. The sensitivities come from two passes more: with p_r = ∂G/∂∇a_r, up from
the weight, and q_r = ∂G/∂a_r, down from the loss,

  p_k = h_{k−1,j} e_i        p_{r+1} = W_{r+1} (g′_r ⊙ p_r)
  q_L = ∂²ℒ/∂a_L² p_L        q_r = g′_r ⊙ W_{r+1}ᵀ q_{r+1} + g″_r ⊙ ∇h_r ⊙ p_r

p holds, unit by unit, the products of the paths from the weight: so every path's product counts
here once for each number on it, times the rounding of that number. Roundings that are independent
of each other and as often up as down keep Σ_v ∂G/∂v δv within

  λ √(Σ_v (∂G/∂v ρ_v)²)        but for a chance of 2 e^{−λ²/2}, 3e-8 for λ = 6

(Hoeffding 1963). That is the bound, with what a kink adds whose a is nearer to 0 than its error.
It is an estimate for roundings that are not independent, and in dtypes so short that u² counts.

Higham and Mary 2019, "A new approach to probabilistic rounding error analysis", theorem 2.4;
Pearlmutter 1994, "Fast exact multiplication by the Hessian".
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ffnn_jax import network, outputs
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import KINKS, Truth
from ffnn_jax.explain.roundings import (
    CALL,
    SEEN,
    Rounding,
    errors_of_a,
    half_difference,
    rho_a,
    rho_h,
    rho_slope,
    rho_top,
    through_output,
)
from ffnn_jax.losses import parts_of

SURE = 6.0  # λ
STEPS = ("absolute_error", "quantile")  # losses whose ∂ℒ/∂ŷ has a step, of at most 2, at ŷ = y

Terms = Iterator[tuple[np.ndarray, np.ndarray]]  # (∂G/∂v, ρ_v) of the numbers v of one quantity


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
      ∞ where a number is too large for the dtype.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if not _is_held(at, r):
            return math.inf
        p = _from_the_weight(at, layer, i, j)
        q = _second_order(at, y, p[at.net.depth])
        terms = [*_of_the_sweep(at, y, layer, p, r), *_of_the_pass(at, layer, i, j, p, q, r)]
        bound = SURE * _length(s * rounding for s, rounding in terms) + _kinks(at, layer, p, r)
    return bound if math.isfinite(bound) else math.inf


def loss_bound(at: Truth, value: float, r: Rounding) -> float:
    """How far ℒ may be from the right one: the same with ∂ℒ/∂a_k and ∂ℒ/∂h_k."""
    moved = [np.array([CALL * r.u * (1 + abs(value))])]
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(1, at.net.depth + 1):
            moved.append(at.grads[Quantity("a", k)][0] * rho_a(at, k, r))
            if k > 1:
                moved.append(at.grads[Quantity("h", k - 1)][0] * rho_h(at, k - 1, r))
        return SURE * _length(moved)


def _length(parts: Iterable[np.ndarray]) -> float:
    """√(Σ of squares) of all numbers, whose squares may be too small for float64."""
    numbers = np.concatenate([np.abs(part) for part in parts])
    largest = float(np.max(numbers))
    return largest * float(np.linalg.norm(numbers / largest)) if largest > 0 else 0.0


def _is_held(at: Truth, r: Rounding) -> bool:
    """Whether the dtype has every number of the pass and of the sweep, but for ∇ŷ."""
    grads = (t for q, t in at.grads.items() if q.kind in ("a", "h"))
    return all(np.max(np.abs(t)) <= r.largest for t in (*at.a, *at.h, at.yhat, *grads))


# Sensitivities -----------------------------------------------------------------------------------


def _from_the_weight(at: Truth, layer: int, i: int, j: int | None) -> dict[int, np.ndarray]:
    """p_r = ∂G/∂∇a_r for r = k … L."""
    p = np.zeros(at.net.sizes[layer])
    p[i - 1] = 1.0 if j is None else at.h[layer - 1][0, j - 1]
    found = {layer: p}
    for r in range(layer + 1, at.net.depth + 1):
        found[r] = at.W[r - 1] @ (at.slope[r - 2][0] * found[r - 1])
    return found


def _second_order(at: Truth, y: Any, p: np.ndarray) -> np.ndarray:
    """q_L = ∂²ℒ/∂a_L² p_L: how ∇a_L changes along p_L, which is the same by symmetry."""
    a, size = at.a[-1][0], float(np.max(np.abs(p)))
    if size == 0:
        return np.zeros_like(p)
    step = SEEN * (1 + float(np.max(np.abs(a)))) / size
    function = partial(outputs.grad_a, at.net.output, network.loss_of(at.net))
    return half_difference(function, a, y, step * p) / step


def _of_the_sweep(at: Truth, y: Any, layer: int, p: dict[int, np.ndarray], r: Rounding) -> Terms:
    """∇a_L, then each ∇h, g′ and ∇a down to the weight."""
    yield p[at.net.depth], rho_top(at, y, r)
    for k in range(at.net.depth, layer, -1):
        below, slope = p[k - 1], at.slope[k - 2][0]
        grad_h, grad_a = (np.abs(at.grads[Quantity(kind, k - 1)][0]) for kind in ("h", "a"))
        size = np.abs(at.W[k - 1]).T @ np.abs(at.grads[Quantity("a", k)][0])
        yield slope * below, math.sqrt(at.net.sizes[k] + 3) * r.u * size + r.tiny
        yield grad_h * below, rho_slope(at, k - 1, r)
        yield below, r.u * grad_a + r.tiny


def _of_the_pass(
    at: Truth,
    layer: int,
    i: int,
    j: int | None,
    p: dict[int, np.ndarray],
    q: np.ndarray,
    r: Rounding,
) -> Terms:
    """a_L, then each h and a down to the inputs, and the last product, ∇a_ki h_{k−1,j}."""
    grad_a = at.grads[Quantity("a", layer)][0, i - 1]
    for k in range(at.net.depth, 0, -1):
        yield q, rho_a(at, k, r)
        s = at.W[k - 1].T @ q  # ∂G/∂h_{k−1}
        if k == layer and j is not None:
            s[j - 1] += grad_a
            h = at.h[k - 1][0, j - 1]
            yield np.ones(1), np.array([r.u * abs(grad_a * h) + r.tiny])
        if k > 1:
            yield s, rho_h(at, k - 1, r)
            q = at.slope[k - 2][0] * s
            if k > layer:
                q = q + at.bend[k - 2][0] * at.grads[Quantity("h", k - 1)][0] * p[k - 1]


# Kinks -------------------------------------------------------------------------------------------


def _kinks(at: Truth, layer: int, p: dict[int, np.ndarray], r: Rounding) -> float:
    """What the steps of g′, and of ∂ℒ/∂ŷ, add where rounding may carry a across one."""
    errors = errors_of_a(at, r)
    added = 0.0
    for k in range(layer, at.net.depth):
        low, high = KINKS.get(at.net.activations[k - 1], (0.0, 0.0))
        near = np.abs(at.a[k - 1][0]) < SURE * errors[k - 1]
        grad_h = at.grads[Quantity("h", k)][0]
        added += float(np.sum(np.abs(p[k] * grad_h * (high - low)), where=near))
    name, _ = parts_of(network.loss_of(at.net)) or (None, None)
    if name in STEPS and at.y is not None:
        near = np.abs(at.yhat[0] - at.y[0]) < SURE * np.max(errors[-1])
        added += float(np.abs(p[at.net.depth]) @ through_output(at, 2.0 * near))
    return added
