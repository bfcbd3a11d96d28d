"""A chain written out: the factors of its strongest paths, and its compressed form.

∂ℒ/∂ŷ_c · ∂ŷ_c/∂a_Lm · ∂a_Lm/∂h_{L−1,m′} · ∂h_{L−1,m′}/∂a_{L−1,m′} · … · ∂a_ki/∂W_kij
"""

import math

import numpy as np

from ffnn_jax import network
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.explain import digits, formulas
from ffnn_jax.explain.chain import Chain, Factor, Path, ends_of, own_slopes
from ffnn_jax.explain.paths import strongest_paths
from ffnn_jax.explain.symbols import LOSS, derivative

MOST_TERMS = 4  # of a sum that is written out in numbers


def strongest_of(chain: Chain, count: int, size: float) -> tuple[Path, ...]:
    """The strongest paths, strongest first; `size` is their `total`."""
    at, k, L = chain.at, chain.layer, chain.at.net.depth
    edges = [at.W[r - 1] * at.slope[r - 2] for r in range(k + 1, L + 1)]
    if chain.jacobian is not None:
        edges.append(chain.jacobian)
    ends = ends_of(chain)
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
    return [*factors, _input(chain)]


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
        own_slopes(chain)[m - 1]
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
    of = formulas.activation(
        at.net.activations[k - 1],
        (a, float(at.a[k - 1][0, m - 1])),
        (h, float(at.h[k][0, m - 1])),
    )
    return Factor(derivative(h, a), "activation", float(at.slope[k - 1][0, m - 1]), *of)


def _terms(at: Truth, k: int, i: int) -> str:
    """The sum of ∂ℒ/∂a_{k+1,m} · W_{k+1,mi} over m, in numbers."""
    grad_a, W = at.grads[Quantity("a", k + 1)][0], at.W[k][:, i - 1]
    pairs = (map(digits.stated, pair) for pair in zip(grad_a, W, strict=True))
    return " + ".join(" · ".join(f"({t})" if t[0] == "-" else t for t in pair) for pair in pairs)


def _input(chain: Chain) -> Factor:
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
        return (head, _input(chain))
    grad_h = float(at.grads[Quantity("h", k)][0, i - 1])
    formula = f"Σ_m {derivative(LOSS, s.a(k + 1, 'm'))} · {s.W(k + 1, 'm', i)}"
    if at.net.sizes[k + 1] <= MOST_TERMS:
        formula += f" = {_terms(at, k, i)}"
    head = Factor(derivative(LOSS, h), "loss", grad_h, formula)
    return (head, _activation(chain, k, i, a, h), _input(chain))
