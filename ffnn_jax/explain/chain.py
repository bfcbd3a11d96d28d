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

from ffnn_jax import network
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.explain import formulas
from ffnn_jax.explain.formulas import Given, Local
from ffnn_jax.explain.paths import strongest_paths
from ffnn_jax.explain.symbols import LOSS, Symbols, derivative


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
    sizes = _strengths_at_the_end(chain)
    if chain.jacobian is not None:
        sizes = np.abs(chain.jacobian).T @ sizes
    for r in range(at.net.depth, k, -1):
        sizes = (np.abs(at.W[r - 1]).T @ sizes) * np.abs(at.slope[r - 2][0])
    return float(sizes[chain.i - 1] * abs(chain.input))


def _strengths_at_the_end(chain: Chain) -> np.ndarray:
    """What the last node of a path weighs: |∂ℒ/∂ŷ_c|, |∂ℒ/∂ŷ_m ∂ŷ_m/∂a_Lm| or |∂ℒ/∂a_Lm|."""
    if chain.outputs is None:
        return np.abs(chain.grad_a)
    if chain.jacobian is not None:
        return np.abs(chain.grad_yhat[chain.outputs])
    return np.abs(chain.grad_yhat * _own_slopes(chain))


def _own_slopes(chain: Chain) -> np.ndarray:
    """∂ŷ_m/∂a_Lm of outputs that have each their own a, (n_L,)."""
    yhat = chain.at.yhat[0]
    return yhat * (1 - yhat) if chain.at.net.output == "logistic" else np.ones_like(yhat)


def strongest(chain: Chain, count: int, size: float) -> tuple[Path, ...]:
    """The strongest paths, strongest first; `size` is their `total`."""
    at, k, L = chain.at, chain.layer, chain.at.net.depth
    edges = [at.W[r - 1] * at.slope[r - 2] for r in range(k + 1, L + 1)]
    if chain.jacobian is not None:
        edges.append(chain.jacobian)
    ends = _strengths_at_the_end(chain)
    if edges:
        edges[0] = edges[0][:, chain.i - 1 : chain.i]
    else:
        ends = ends[chain.i - 1 : chain.i]
    found = strongest_paths(edges, ends, count)
    return tuple(
        sorted((_path(chain, nodes, size) for nodes in found), key=_strength, reverse=True)
    )


def _strength(path: Path) -> float:
    return abs(path.product)


def _path(chain: Chain, nodes: tuple[int, ...], size: float) -> Path:
    """A path by its nodes, the first of which is unit i."""
    inner = nodes[1:] if chain.jacobian is None else nodes[1:-1]
    units = (chain.i, *(m + 1 for m in inner))
    output = None
    if chain.outputs is not None:
        output = units[-1] if chain.jacobian is None else int(chain.outputs[nodes[-1]]) + 1
    factors = tuple(_factors(chain, units, output))
    product = math.prod(factor.value for factor in factors)
    return Path(units, output, factors, product, abs(product) / size if size > 0 else 0.0)


# Factors -----------------------------------------------------------------------------------------


def _factors(chain: Chain, units: tuple[int, ...], output: int | None) -> list[Factor]:
    """From the loss down: ∂ℒ/∂ŷ, ∂ŷ/∂a_L, ∂a_L/∂h_{L−1}, ∂h_{L−1}/∂a_{L−1}, …, ∂a_k/∂W_k."""
    at, s, k = chain.at, chain.symbols, chain.layer
    factors = _head(chain, units[-1], output)
    for r in range(at.net.depth, k, -1):
        m, below = units[r - k], units[r - k - 1]
        W = float(at.W[r - 1][m - 1, below - 1])
        a, h = s.a(r - 1, below), s.h(r - 1, below)
        factors.append(Factor(derivative(s.a(r, m), h), "weight", W, s.W(r, m, below)))
        factors.append(_activation(chain, r - 1, below, a, h))
    return [*factors, input_factor(chain)]


def _head(chain: Chain, m: int, c: int | None) -> list[Factor]:
    """∂ℒ/∂ŷ_c and ∂ŷ_c/∂a_Lm; or ∂ℒ/∂a_Lm where the first is no number."""
    s, at = chain.symbols, chain.at
    a = s.a(at.net.depth, m)
    if c is None:
        return [Factor(derivative(LOSS, a), "loss", float(chain.grad_a[m - 1]))]
    yhat = (s.yhat(c), float(at.yhat[0, c - 1]))
    y = None if at.y is None else (s.y(c), float(at.y[0, c - 1]))
    of = formulas.loss(network.loss_of(at.net), yhat, y, c == s.label, s.outputs)
    other = None if c == m else (s.yhat(m), float(at.yhat[0, m - 1]))
    out = formulas.output(at.net.output, yhat, other)
    slope = (
        _own_slopes(chain)[m - 1]
        if chain.jacobian is None
        else chain.jacobian[np.searchsorted(chain.outputs, c - 1), m - 1]  # type: ignore[arg-type]
    )
    return [
        Factor(derivative(LOSS, yhat[0]), "loss", float(chain.grad_yhat[c - 1]), *of),
        Factor(derivative(yhat[0], a), "output", float(slope), *out),
    ]


def _activation(chain: Chain, k: int, m: int, a: str, h: str) -> Factor:
    """∂h_km/∂a_km."""
    at = chain.at
    of: Local = formulas.activation(
        at.net.activations[k - 1],
        (a, float(at.a[k - 1][0, m - 1])),
        (h, float(at.h[k][0, m - 1])),
    )
    return Factor(derivative(h, a), "activation", float(at.slope[k - 1][0, m - 1]), *of)


def input_factor(chain: Chain) -> Factor:
    """∂a_ki/∂W_kij = h_{k−1,j}, or ∂a_ki/∂b_ki = 1."""
    s, k = chain.symbols, chain.layer
    formula = "1"
    if chain.j is not None:
        h = s.h(k - 1, chain.j)
        formula = f"{h} = x_{chain.j}" if k == 1 else h
    return Factor(derivative(s.a(k, chain.i), chain.parameter), "input", chain.input, formula)


def compressed(chain: Chain) -> tuple[Factor, ...]:
    """∂ℒ/∂h_ki · ∂h_ki/∂a_ki · ∂a_ki/∂W_kij; ∂ℒ/∂a_Li · ∂a_Li/∂W_Lij in the last layer."""
    at, s, k, i = chain.at, chain.symbols, chain.layer, chain.i
    a, h = s.a(k, i), s.h(k, i)
    if k == at.net.depth:
        head = Factor(derivative(LOSS, a), "loss", float(chain.grad_a[i - 1]))
        return (head, input_factor(chain))
    grad_h = float(at.grads[Quantity("h", k)][0, i - 1])
    formula = f"Σ_m {derivative(LOSS, s.a(k + 1, 'm'))} · {s.W(k + 1, 'm', i)}"
    head = Factor(derivative(LOSS, h), "loss", grad_h, formula)
    return (head, _activation(chain, k, i, a, h), input_factor(chain))
