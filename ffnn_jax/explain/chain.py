"""The factors of the chain rule at one weight, and the paths along which they multiply.

With unit m_r of each layer r = k … L on the way, m_k = i, and output c at its end, a path is

  ∂ℒ/∂ŷ_c · ∂ŷ_c/∂a_{L m_L} · Π_{r=k+1}^{L} W_{r m_r m_{r−1}} g′(a_{r−1, m_{r−1}}) · ∂a_ki/∂W_kij

with ∂a_ki/∂W_kij = h_{k−1,j} and ∂a_ki/∂b_ki = 1. The gradient is the sum of them all. c = m_L
where each output has its own a; in softmax, whose J_O is full, c is any output that the loss looks
at: of a cross-entropy those with y_c ≠ 0, of a class ŷ_ℓ alone.

Where ∂ℒ/∂ŷ is no number (−1/ŷ_ℓ at ŷ_ℓ = 0) a path starts with ∂ℒ/∂a_{L m_L}, which is one.
Everything here is NumPy's, in float64.
"""

import math
from typing import NamedTuple

import numpy as np

from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.explain.formulas import Given
from ffnn_jax.explain.symbols import Symbols


class Factor(NamedTuple):
    """One factor of the chain rule.

    Attributes:
      name: in the lecture's symbols, such as "∂a_21/∂h_11".
      kind: "loss", ∂ℒ/∂ something; "output", ∂ŷ/∂a_L; "weight", ∂a/∂h = W; "activation",
        ∂h/∂a = g′(a); "input", ∂a_ki/∂W_kij = h_{k−1,j} or ∂a_ki/∂b_ki = 1.
      value: its number, float64.
      formula: what it is locally, such as "σ′(a_21) = h_21(1 − h_21)".
      given: ((symbol, value), …) of what stands in the formula.
    """

    name: str
    kind: str
    value: float
    formula: str = ""
    given: Given = ()


class Path(NamedTuple):
    """One way from the weight to the loss.

    Attributes:
      units: (m_k, …, m_L), the unit in each layer from k to L, from 1.
      output: c, the output through which it reaches the loss, from 1; None where the path starts
        with ∂ℒ/∂a_L.
      factors: from the loss down to the weight.
      product: of the factors.
      share: |product| / Σ over all paths of |product|; 0 where that sum is 0.
    """

    units: tuple[int, ...]
    output: int | None
    factors: tuple[Factor, ...]
    product: float
    share: float


class Chain(NamedTuple):
    """All paths from one weight to the loss.

    Attributes:
      at: the pass and the sweep in float64, of one example.
      layer: k.
      i: from 1.
      j: from 1; None for the bias.
      outputs: the outputs c through which paths lead, from 0; None where ∂ℒ/∂ŷ is no number.
      jacobian: ∂ŷ_c/∂a_Lm for these c, (outputs, n_L), of softmax; None where c = m.
    """

    at: Truth
    layer: int
    i: int
    j: int | None
    outputs: np.ndarray | None
    jacobian: np.ndarray | None

    @property
    def grad_yhat(self) -> np.ndarray:
        """∂ℒ/∂ŷ, (n_L,)."""
        return self.at.grads[Quantity("yhat", self.at.net.depth)][0]

    @property
    def grad_a(self) -> np.ndarray:
        """∂ℒ/∂a_L, (n_L,)."""
        return self.at.grads[Quantity("a", self.at.net.depth)][0]

    @property
    def path_count(self) -> int:
        """n_{k+1} · … · n_L, times the outputs c where these are free."""
        widths = math.prod(self.at.net.sizes[self.layer + 1 :])
        return widths if self.jacobian is None else widths * len(self.jacobian)

    @property
    def input(self) -> float:
        """∂a_ki/∂W_kij = h_{k−1,j}, or ∂a_ki/∂b_ki = 1."""
        return 1.0 if self.j is None else float(self.at.h[self.layer - 1][0, self.j - 1])

    @property
    def symbols(self) -> Symbols:
        """How its parts are called."""
        label = _label(self.at)
        thin = self.path_count == 1 and self.layer < self.at.net.depth
        return Symbols(self.at.net.depth, self.at.net.sizes[-1], label, thin)

    @property
    def parameter(self) -> str:
        """W_kij or b_ki."""
        s = self.symbols
        if self.j is None:
            return s.b(self.layer, self.i)
        return s.W(self.layer, self.i, self.j)


def chain_of(at: Truth, layer: int, i: int, j: int | None) -> Chain:
    """The chain of one weight, or of a bias, with checked indices."""
    grad_yhat = at.grads[Quantity("yhat", at.net.depth)][0]
    if not np.all(np.isfinite(grad_yhat)):
        return Chain(at, layer, i, j, None, None)
    outputs = np.arange(len(grad_yhat))
    if at.net.output != "softmax":
        return Chain(at, layer, i, j, outputs, None)
    if at.net.loss == "cross_entropy" and at.y is not None and np.any(at.y):
        outputs = np.flatnonzero(at.y[0])
    yhat = at.yhat[0]
    jacobian = -yhat[outputs][:, None] * yhat  # J_O = diag(ŷ) − ŷŷᵀ
    jacobian[np.arange(len(outputs)), outputs] = (yhat * (1 - yhat))[outputs]
    return Chain(at, layer, i, j, outputs, jacobian)


def _label(at: Truth) -> int | None:
    """ℓ, from 1: the only class of a cross-entropy, where it is a class and not a distribution."""
    if at.net.loss != "cross_entropy" or at.y is None:
        return None
    true = np.flatnonzero(at.y[0])
    return int(true[0]) + 1 if len(true) == 1 and at.y[0, true[0]] == 1 else None


# Sums over all paths -----------------------------------------------------------------------------


def total(chain: Chain) -> float:
    """Σ over all paths of |product|, by the sweep with absolute values."""
    at, k = chain.at, chain.layer
    sizes = ends_of(chain)
    if chain.jacobian is not None:
        sizes = np.abs(chain.jacobian).T @ sizes
    for r in range(at.net.depth, k, -1):
        sizes = (np.abs(at.W[r - 1]).T @ sizes) * np.abs(at.slope[r - 2][0])
    return float(sizes[chain.i - 1] * abs(chain.input))


def ends_of(chain: Chain) -> np.ndarray:
    """What the last node of a path weighs: |∂ℒ/∂ŷ_c|, |∂ℒ/∂ŷ_m ∂ŷ_m/∂a_Lm| or |∂ℒ/∂a_Lm|."""
    if chain.outputs is None:
        return np.abs(chain.grad_a)
    if chain.jacobian is not None:
        return np.abs(chain.grad_yhat[chain.outputs])
    return np.abs(chain.grad_yhat * own_slopes(chain))


def own_slopes(chain: Chain) -> np.ndarray:
    """∂ŷ_m/∂a_Lm of outputs that have each their own a, (n_L,)."""
    yhat = chain.at.yhat[0]
    return yhat * (1 - yhat) if chain.at.net.output == "logistic" else np.ones_like(yhat)
