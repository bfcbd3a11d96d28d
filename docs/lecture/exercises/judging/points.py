"""Networks with random numbers, and every quantity in them by the lecture's numbers."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax import Layer, Network
from ffnn_jax.comparison.truth import truth_at


class Point(NamedTuple):
    """A network at some numbers, in float64.

    Attributes:
      net: the network.
      params: its parameters, as the library has them.
      x: (n_0,), or (N, n_0).
      y: as for `ffnn.loss`.
      weights: of the examples, or None.
      W: [None, W_1, …, W_L]; so are b and a.
      b: the biases.
      a: the pre-activations.
      h: [h_0, …, h_{L−1}].
      yhat: ŷ.
      grads: every gradient by name, such as "W_2".
    """

    net: Network
    params: tuple[Layer, ...]
    x: np.ndarray
    y: Any
    weights: np.ndarray | None
    W: list
    b: list
    a: list
    h: list
    yhat: np.ndarray
    grads: dict[str, np.ndarray]

    def grad_a(self) -> list:
        """[None, ∇a_1, …, ∇a_L]."""
        return [None, *(self.grads[f"a_{k}"] for k in range(1, self.net.depth + 1))]


def points(
    net: Network,
    draw: np.random.Generator,
    examples: int | None = None,
    *,
    weighted: bool | None = None,
) -> list[Point]:
    """Three points: one that is always the same, and two that are drawn.

    Args:
      net: the network.
      draw: NumPy's generator.
      examples: N; None: one example, without a batch axis.
      weighted: whether the examples have weights; False: all have 1; None: there are none.
    """
    return [_point(net, d, examples, weighted) for d in (np.random.default_rng(0), draw, draw)]


def _point(
    net: Network, draw: np.random.Generator, examples: int | None, weighted: bool | None
) -> Point:
    sizes, batch = net.sizes, () if examples is None else (examples,)
    params = tuple(
        Layer(draw.normal(size=(n, m)) / np.sqrt(m), draw.normal(size=n) / 2)
        for m, n in itertools.pairwise(sizes)
    )
    x = draw.normal(size=(*batch, sizes[0]))
    if net.loss == "cross_entropy":
        y = draw.integers(0, sizes[-1], batch)
    else:
        y = draw.uniform(0.1, 0.9, size=(*batch, sizes[-1]))
    weights = None if weighted is None else np.ones(batch)
    if weighted and examples:
        weights = np.linspace(0.3, 2.0, examples)  # the same at every point: hints have Σw in them
    with jax.enable_x64(True):
        at = truth_at(net, params, x, y, weights)
    if any(np.count_nonzero(h) < 2 for h in at.h[1:] if h.shape[1] > 1):
        return _point(net, draw, examples, weighted)  # a dead layer of relu: all below it is 0

    def shaped(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(*batch, rows.shape[-1])

    W, b = ([None, *ts] for ts in zip(*params, strict=True))
    a, h = [None, *map(shaped, at.a)], list(map(shaped, at.h))
    grads = {q.key: t if q.kind in ("W", "b") else shaped(t) for q, t in at.grads.items()}
    return Point(net, params, x, y, weights, W, b, a, h, shaped(at.yhat), grads)
