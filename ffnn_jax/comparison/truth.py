"""One sweep in float64, everything in it at hand, and how far from it a dtype may come.

Arrays here are NumPy's, in float64, and a batch of any shape is flattened to N examples: a_k, h_k
and their gradients are (N, n_k).

The spread of a gradient is the size of error to expect of a right computation in a dtype whose
rounding is u: every number that is computed is off by u of its size at random, and so is every
product in a sum, and errors travel through the pass like small changes of its numbers:

  forward   δa_k² = W_k² (δh_{k−1}² + u² h_{k−1}²) + u² (a_k² + b_k²)
            δh_k² = (g′ δa_k)² + u² h_k²
  backward  δ∇h_{k−1}² = W_k²ᵀ (δ∇a_k² + u² ∇a_k²)
            δ∇a_k² = (g′ δ∇h_k)² + ∇h_k² (g″² δa_k² + u² g′²)
            δ∇W_k² = δ∇a_k²ᵀ h² + ∇a_k²ᵀ (δh² + u² h²)      δ∇b_k² = Σ (δ∇a_k² + u² ∇a_k²)

(squares are entry by entry). Terms that cancel in a sum leave their errors behind; it is seen here.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import backprop, checks, network
from ffnn_jax.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from ffnn_jax.comparison.quantities import Quantity, by_quantity
from ffnn_jax.losses import Loss, is_class, is_cross_entropy
from ffnn_jax.network import Layer, Network
from ffnn_jax.plan import Plan

Grads = dict[Quantity, np.ndarray]
KINKS = {  # g′ just below and just above 0
    "relu": (0.0, 1.0),
    "leaky_relu": (0.01, 1.0),
    "selu": (SELU_SCALE * SELU_ALPHA, SELU_SCALE),
}


class Truth(NamedTuple):
    """The pass and the sweep in float64.

    Attributes:
      net: the network, without a plan.
      batch: the leading shape of x.
      W: (W_1, …, W_L).
      b: (b_1, …, b_L).
      a: (a_1, …, a_L).
      h: (h_0, …, h_{L−1}).
      yhat: ŷ.
      y: the targets as numbers, (N, n_L); None for a loss of the user's own with another y.
      share: what each example counts, (N, 1): 1/N, or w_i / Σ w_i.
      total: N, or Σ w_i.
      slope: (g′(a_1), …, g′(a_{L−1})).
      bend: the same of g″.
      grads: every gradient.
    """

    net: Network
    batch: tuple[int, ...]
    W: tuple[np.ndarray, ...]
    b: tuple[np.ndarray, ...]
    a: tuple[np.ndarray, ...]
    h: tuple[np.ndarray, ...]
    yhat: np.ndarray
    y: np.ndarray | None
    share: np.ndarray
    total: float
    slope: tuple[np.ndarray, ...]
    bend: tuple[np.ndarray, ...]
    grads: Grads

    @property
    def examples(self) -> int:
        """N, the number of examples."""
        return self.yhat.shape[0]

    def rows(self, q: Quantity, array: np.ndarray) -> np.ndarray:
        """A gradient shaped as the learner has it, with its batch flattened."""
        return array if q.kind in ("W", "b") else array.reshape(-1, array.shape[-1])


def truth_at(net: Network, params: Any, x: Any, y: Any, weights: Any) -> Truth:
    """The `Truth` of checked arguments, every number as it came, cast exactly."""
    plain = dataclasses.replace(net, plan=Plan())
    batch = x.shape[:-1]
    with jax.enable_x64(True):
        layers = tuple(Layer(layer.W, layer.b) for layer in params)
        params, x, y, weights = jax.tree.map(to_float64, (layers, x, y, weights))
        tape, grads, share, slope, bend = _sweep(plain, params, x, y, weights)
        numbers = _numbers(net, y, tape.yhat)
    arrays = {q: np.asarray(t, np.float64) for q, t in by_quantity(grads).items()}
    found = {q: t if q.kind in ("W", "b") else _flat(t) for q, t in arrays.items()}
    count = found[Quantity("yhat", net.depth)].shape[0]
    return Truth(
        net=plain,
        batch=batch,
        W=tuple(np.asarray(layer.W, np.float64) for layer in params),
        b=tuple(np.asarray(layer.b, np.float64) for layer in params),
        a=tuple(map(_flat, tape.a)),
        h=tuple(map(_flat, tape.h)),
        yhat=_flat(tape.yhat),
        y=numbers,
        share=np.broadcast_to(np.asarray(share, np.float64).reshape(-1, 1), (count, 1)),
        total=float(count if weights is None else np.sum(np.asarray(weights, np.float64))),
        slope=tuple(map(_flat, slope)),
        bend=tuple(map(_flat, bend)),
        grads=found,
    )


def _flat(array: Any) -> np.ndarray:
    array = np.asarray(array, np.float64)
    return array.reshape(-1, array.shape[-1])


def _numbers(net: Network, y: Any, yhat: jax.Array) -> np.ndarray | None:
    """The targets as numbers, (N, n_L), where they are of that kind."""
    width, batch = net.sizes[-1], yhat.shape[:-1]
    if isinstance(net.loss, Loss):
        alike = isinstance(y, jax.Array) and y.shape == yhat.shape
        return _flat(y) if alike else None
    y = checks.to_target(width, y, batch, yhat.dtype, is_cross_entropy(net.loss))
    return _flat(np.eye(width)[np.asarray(y)] if is_class(y) else y)


@jax.jit
def _sweep(net: Network, params: Any, x: Any, y: Any, weights: Any) -> Any:
    tape = network.forward(net, params, x)
    _, grads = backprop.gradients(net, params, x, y, weights=weights)
    share = network.shares(tape.a[-1], weights)
    slopes, bends = [], []
    for name, a in zip(net.activations, tape.a[:-1], strict=True):
        slope, bend = jax.jvp(partial(slope_of, name), (a,), (jnp.ones_like(a),))
        slopes.append(slope)
        bends.append(bend)
    return tape, grads, share, slopes, bends


def slope_of(name: str, a: jax.Array) -> jax.Array:
    """g′(a) of the activation of that name."""
    g = ACTIVATIONS[name]
    return g.derivative(g.value(a) if g.keep == "h" else a)


def to_float64(leaf: Any) -> jax.Array:
    """A leaf in float64, where it is floating; 64-bit types are switched on."""
    leaf = jnp.asarray(np.asarray(leaf))
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


# The formulas of the sweep -----------------------------------------------------------------------


def by_formula(at: Truth, q: Quantity, grads: Grads) -> np.ndarray:
    """One gradient from those above it, by the right formula."""
    k, L = q.layer, at.net.depth
    if q.kind == "yhat":
        return at.grads[q]
    if q.kind == "a" and k == L:  # ∇a_L = J_Oᵀ ∇ŷ
        grad_yhat = grads[Quantity("yhat", L)]
        untouched = grad_yhat is at.grads[Quantity("yhat", L)]
        return at.grads[q] if untouched else pull_output(at.net.output, at.yhat, grad_yhat)
    if q.kind == "a":  # ∇a_k = ∇h_k ⊙ g′(a_k)
        return grads[Quantity("h", k)] * at.slope[k - 1]
    if q.kind == "h":  # ∇h_{k−1} = W_kᵀ ∇a_k
        return grads[Quantity("a", k + 1)] @ at.W[k]
    if q.kind == "W":  # ∇W_k = ∇a_k h_{k−1}ᵀ
        return grads[Quantity("a", k)].T @ at.h[k - 1]
    return grads[Quantity("a", k)].sum(axis=0)  # ∇b_k = ∇a_k


def pull_output(output: str, yhat: np.ndarray, grad_yhat: np.ndarray) -> np.ndarray:
    """J_Oᵀ ∇ŷ."""
    if output == "softmax":  # J_O = diag(ŷ) − ŷŷᵀ
        return yhat * (grad_yhat - np.sum(yhat * grad_yhat, axis=-1, keepdims=True))
    return yhat * (1 - yhat) * grad_yhat if output == "logistic" else grad_yhat


# The spread --------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """Sizes of error, entry by entry.

    Attributes:
      a: of (a_1, …, a_L).
      grads: of every gradient.
    """

    a: tuple[np.ndarray, ...]
    grads: Grads


def spread(at: Truth, ours: Grads, u: float) -> Spread:
    """The errors to expect in a dtype of rounding u; `ours` is the library's sweep in it."""
    L, square = at.net.depth, np.square
    a2, h2 = _forward_spread(at, u)
    top, out = Quantity("a", L), Quantity("yhat", L)
    found = {q: square(ours[q] - at.grads[q]) + square(u * at.grads[q]) for q in (out, top)}
    found[top] = found[top] + _output_spread(at, a2[-1], u)
    for k in range(L, 0, -1):
        a = Quantity("a", k)
        moved = found[a] + square(u * at.grads[a])
        h = square(at.h[k - 1])
        found[Quantity("W", k)] = moved.T @ h + square(at.grads[a]).T @ (h2[k - 1] + u**2 * h)
        found[Quantity("b", k)] = moved.sum(axis=0)
        below = Quantity("h", k - 1)
        found[below] = moved @ square(at.W[k - 1])
        if k > 1:
            slope, bend = square(at.slope[k - 2]), square(at.bend[k - 2])
            turned = square(at.grads[below]) * (bend * a2[k - 2] + u**2 * slope)
            found[Quantity("a", k - 1)] = slope * found[below] + turned
    return Spread(tuple(map(np.sqrt, a2)), {q: np.sqrt(v) for q, v in found.items()})


def _forward_spread(at: Truth, u: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Squares of the errors of every a_k and every h_k."""
    a2, h2 = [], [np.square(u * at.h[0])]
    for k in range(1, at.net.depth + 1):
        into = h2[k - 1] + np.square(u * at.h[k - 1])
        rounded = np.square(u * at.a[k - 1]) + np.square(u * at.b[k - 1])[None]
        a2.append(into @ np.square(at.W[k - 1]).T + rounded)
        if k < at.net.depth:
            h2.append(np.square(at.slope[k - 1]) * a2[-1] + np.square(u * at.h[k]))
    return a2, h2


def _output_spread(at: Truth, a2: np.ndarray, u: float) -> np.ndarray:
    """Squares of the errors of ∇a_L, taken as ŷ − y or as J_Oᵀ ∇ŷ."""
    yhat2, share2 = np.square(at.yhat), np.square(at.share)
    moved = a2
    if at.net.output != "linear":  # δŷ = ŷ ⊙ (δa − ⟨ŷ, δa⟩), or ŷ (1 − ŷ) δa
        both = a2 + np.sum(yhat2 * a2, axis=-1, keepdims=True)
        logistic = np.square(1 - at.yhat) * a2
        moved = yhat2 * (logistic if at.net.output == "logistic" else both)
    rounded = yhat2 if at.y is None else yhat2 + np.square(at.y)
    through = np.abs(at.grads[Quantity("yhat", at.net.depth)])
    if at.net.output != "linear":
        through = at.yhat * (through + np.sum(at.yhat * through, axis=-1, keepdims=True))
    return 4 * share2 * (moved + u**2 * rounded) + np.square(u * through)
