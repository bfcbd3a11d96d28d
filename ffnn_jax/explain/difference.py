"""A central difference of the loss by one weight, in float64, and how far it may be off.

  D(η) = (ℒ(w + η) − ℒ(w − η)) / 2η

is off by

  truncation     η²/6 |ℒ‴| = |D(2η) − D(η)|/3, here taken ninefold, and what a kink between w − 2η
                 and w + 2η adds: |2 S(η) − S(2η)| at least, with the jump in slope
                 S(η) = (ℒ(w + η) − 2ℒ(w) + ℒ(w − η)) / η
  cancellation   2 δℒ / 2η,  δℒ ≤ ⟨|∇a_L|, δa_L⟩ + c u (1 + |ℒ|)

The first falls with η², the second grows with 1/η: η = u^{1/3} is where they meet.
Higham 2002, "Accuracy and stability of numerical algorithms", section 1.14.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import network
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.explain.bounds import CALL, FLOAT64, forward_errors
from ffnn_jax.network import Layer

STEP = 2.0**-17  # about the cube root of the rounding of float64

_loss = jax.jit(network.loss_autodiff)


def central_difference(at: Truth, y: Any, layer: int, i: int, j: int | None) -> tuple[float, float]:
    """D(η), and how far it may be from the derivative.

    Args:
      at: the pass and the sweep in float64, of one example.
      y: the target of the example, numbers in float64.
      layer: k.
      i: from 1.
      j: from 1; None for the bias.
    """
    step = STEP * max(1.0, 2.0 ** math.ceil(math.log2(abs(_weight(at, layer, i, j)) or 1.0)))
    down_2, down, here, up, up_2 = (
        _loss_at(at, y, layer, i, j, times * step) for times in (-2, -1, 0, 1, 2)
    )
    found, wider = (up - down) / (2 * step), (up_2 - down_2) / (4 * step)
    jump = (up - 2 * here + down) / step
    wider_jump = (up_2 - 2 * here + down_2) / (2 * step)
    top = np.abs(at.grads[Quantity("a", at.net.depth)][0])
    error = top @ forward_errors(at, FLOAT64).a[-1] + CALL * FLOAT64.u * (1 + abs(here))
    bound = 3 * abs(wider - found) + abs(2 * jump - wider_jump) + float(error) / step
    return found, bound if math.isfinite(bound) else math.inf


def _weight(at: Truth, layer: int, i: int, j: int | None) -> float:
    return float(at.b[layer - 1][i - 1] if j is None else at.W[layer - 1][i - 1, j - 1])


def _loss_at(at: Truth, y: Any, layer: int, i: int, j: int | None, moved: float) -> float:
    """ℒ with the weight moved."""
    Ws, bs = list(at.W), list(at.b)
    if j is None:
        bs[layer - 1] = bs[layer - 1].copy()
        bs[layer - 1][i - 1] += moved
    else:
        Ws[layer - 1] = Ws[layer - 1].copy()
        Ws[layer - 1][i - 1, j - 1] += moved
    with jax.enable_x64(True):
        params = tuple(Layer(*map(jnp.asarray, layer)) for layer in zip(Ws, bs, strict=True))
        return float(_loss(at.net, params, at.h[0][0], y))
