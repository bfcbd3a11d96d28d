"""Who is responsible for the loss: each output, layer, unit, weight and example, in numbers.

The sweep in float64 has it all; the rest is norms of it and sums over it:

  a unit      ∂ℒ/∂a_ki = Σ_n ∂ℒ/∂a_nki, and Σ_n |∂ℒ/∂a_nki|, which lets no examples cancel
  a layer     ‖∇a_k‖, ‖∇h_k‖, ‖∇W_k‖, ‖∇b_k‖, and ‖∇a_k‖ / ‖∇a_{k+1}‖ on the way down
  an example  s_n ‖g_n‖, its pull, with g_n = ∇_θ ℓ_n and s_n = w_n / Σ w, 1/N without weights;
              (s_n g_n) · ∇ℒ / ‖∇ℒ‖, what it adds to ‖∇ℒ‖: below 0 it pulls against the others
  together    ‖Σ_n s_n g_n‖ / Σ_n s_n ‖g_n‖, what is left of the pulls: 1 where all pull one way

and no g_n is ever formed: its part of layer k is ∇a_nk (h_n,k−1, 1)ᵀ, so its norm is
‖∇a_nk‖ √(‖h_n,k−1‖² + 1), as in `per_example`.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from ffnn_jax import checks, network, outputs
from ffnn_jax.backprop import Gradients
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth, to_float64, truth_at
from ffnn_jax.explain.records import (
    STEEP,
    ExampleResponsibility,
    LayerResponsibility,
    OutputResponsibility,
    Responsibility,
    UnitResponsibility,
    WeightResponsibility,
    flow_of,
    ratio_of,
)
from ffnn_jax.network import Layer, Network, Params
from ffnn_jax.per_example import per_example_gradient_norms
from ffnn_jax.units import are_quiet

NEAR_1 = 1e-6  # a sum this near to 1 is 1 in the digits that are told


def responsibility(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    weights: ArrayLike | None = None,
    strongest: int = 5,
) -> Responsibility:
    """What each output, layer, unit, weight and example contributes to the gradient of the loss.

    In float64, whatever the dtype of the parameters; nothing is left out by dropout, as in use. It
    takes all of x at once: hand over one example, a batch, or a sample of a few hundred rows.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0); one example is (n_0,).
      y: as for `loss`.
      weights: (*batch,), as for `loss`.
      strongest: how many units, weights and examples of each kind are named.

    Returns:
      A `Responsibility`; `print` it.

    Raises:
      TypeError: as `loss`; strongest is no int; under `jit` or `grad`, for it looks at values.
      ValueError: as `loss`; strongest below 1; a number in params, x or y that is not finite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.explain import responsibility
      >>> net = ffnn.Network((2, 2, 2), activation="tanh", output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> found = responsibility(net, params, jnp.array([0.5, -1.0]), jnp.array(1))
      >>> round(found.outputs[1].grad_a + 1, 12) == round(found.outputs[1].yhat, 12)
      True
    """
    _check(net, params, x, y, weights)
    strongest = checks.check_positive_int("strongest", strongest)
    at = truth_at(net, params, x, y, weights)
    losses, norms = _of_each_example(at, y)
    with np.errstate(all="ignore"):  # an overflow is told as ∞
        counts = at.share[:, 0] > 0
        return Responsibility(
            net=net,
            loss=float(np.sum(at.share[counts, 0] * losses[counts])),
            outputs=_outputs(at),
            layers=tuple(_layer(at, k, counts, strongest) for k in range(1, net.depth + 1)),
            examples=_examples(at, losses, norms, strongest),
            gradients=_gradients(at),
            distributions=_are_distributions(at),
            strongest=strongest,
        )


def _check(net: Any, params: Any, x: Any, y: Any, weights: Any) -> None:
    network.check_network(net)
    checks.check_params(net.sizes, params)
    network.check_examples(net, x, y, weights)
    checks.check_outside_jit("responsibility", (tuple(params), x, y, weights))
    for k, layer in enumerate(params):
        checks.check_finite(f"params[{k}].W", layer.W)
        checks.check_finite(f"params[{k}].b", layer.b)
    checks.check_finite("x", x)
    for leaf in jax.tree.leaves(y):
        checks.check_finite("y", leaf)


def _of_each_example(at: Truth, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """(ℓ_n, ‖g_n‖), each (N,)."""
    net = dataclasses.replace(at.net, dropout=0.0)
    with jax.enable_x64(True):
        params = tuple(Layer(*map(to_float64, pair)) for pair in zip(at.W, at.b, strict=True))
        x = at.h[0].reshape(*at.batch, -1)
        found = _losses_and_norms(net, params, x, jax.tree.map(to_float64, y))
        losses, norms = (np.asarray(t, np.float64).reshape(-1) for t in found)
    return losses, norms


@jax.jit
def _losses_and_norms(net, params, x, y):
    norms = per_example_gradient_norms(net, params, x, y)
    params, x, y, _ = network.as_examples(net, params, x, y, None)
    a_L = network.run(net, params, x).a[-1]
    return outputs.example_losses(net.output, network.loss_of(net), a_L, y), norms


# Outputs, layers and units -----------------------------------------------------------------------


def _outputs(at: Truth) -> tuple[OutputResponsibility, ...]:
    grad_a, grad_yhat = at.grads[Quantity("a", at.net.depth)], _of(at, "yhat", at.net.depth)
    sizes = np.abs(grad_a).sum(axis=0)
    yhat, shares = _mean(at, at.yhat), _shares(sizes)
    y = [None] * len(sizes) if at.y is None else [float(v) for v in _mean(at, at.y)]
    columns = (yhat, grad_yhat.sum(axis=0), grad_a.sum(axis=0), sizes, shares)
    return tuple(
        OutputResponsibility(j, float(own), target, *map(float, rest))
        for j, (own, target, *rest) in enumerate(zip(columns[0], y, *columns[1:], strict=True), 1)
    )


def _are_distributions(at: Truth) -> bool:
    """Whether the y of each example that counts has the sum 1, to more digits than are told."""
    if at.y is None:
        return False
    sums = at.y[at.share[:, 0] > 0].sum(axis=1)
    return bool(np.all(np.abs(sums - 1) < NEAR_1))


def _layer(at: Truth, k: int, counts: np.ndarray, strongest: int) -> LayerResponsibility:
    L = at.net.depth
    grad_a, grad_W = _of(at, "a", k), _of(at, "W", k)
    above = _norm(_of(at, "a", k + 1)) if k < L else 0.0
    dead, saturated, saturated_share = _quiet(at, k, counts) if k < L else ((), (), 0.0)
    return LayerResponsibility(
        layer=k,
        activation=at.net.activations[k - 1] if k < L else at.net.output,
        grad_a=_norm(grad_a),
        grad_h=_norm(_of(at, "h", k) if k < L else _of(at, "yhat", L)),
        grad_W=_norm(grad_W),
        grad_b=_norm(_of(at, "b", k)),
        ratio=ratio_of(_norm(grad_a), above),
        flow=flow_of(_norm(grad_a), above, STEEP) if k < L else "steady",
        sizes=np.abs(grad_a).sum(axis=0),
        units=_units(at, k, strongest) if k < L else (),
        weights=_weights(grad_W, strongest),
        dead=dead,
        saturated=saturated,
        saturated_share=saturated_share,
    )


def _units(at: Truth, k: int, strongest: int) -> tuple[UnitResponsibility, ...]:
    grad_a, grad_h = _of(at, "a", k), _of(at, "h", k)
    sizes = np.abs(grad_a).sum(axis=0)
    h, slope, shares = _mean(at, at.h[k]), _mean(at, at.slope[k - 1]), _shares(sizes)
    columns = (h, slope, grad_h.sum(axis=0), grad_a.sum(axis=0), sizes, shares)
    return tuple(
        UnitResponsibility(i + 1, *(float(column[i]) for column in columns))
        for i in _largest(sizes, strongest)
    )


def _weights(grad_W: np.ndarray, strongest: int) -> tuple[WeightResponsibility, ...]:
    sizes = np.abs(grad_W).ravel()
    shares, found = _shares(sizes), []
    for place in _largest(sizes, strongest):
        i, j = divmod(place, grad_W.shape[1])
        found.append(WeightResponsibility(i + 1, j + 1, float(grad_W[i, j]), float(shares[place])))
    return tuple(found)


def _quiet(at: Truth, k: int, counts: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """(dead units, saturated ones, share of saturated entries) at the examples that count."""
    saturated, quiet = are_quiet(at.h[k], at.slope[k - 1])
    dead = quiet[counts].all(axis=0)
    stuck = saturated[counts].all(axis=0) & ~dead
    share = float(_mean(at, saturated.astype(np.float64)).mean())
    return _numbers(dead), _numbers(stuck), share


# Examples ----------------------------------------------------------------------------------------


def _examples(
    at: Truth, losses: np.ndarray, norms: np.ndarray, strongest: int
) -> ExampleResponsibility:
    left, pulls, along = [], [], np.zeros(at.examples)
    for k in range(1, at.net.depth + 1):
        grad_a, h = _of(at, "a", k), at.h[k - 1]
        grad_W, grad_b = _of(at, "W", k), _of(at, "b", k)
        left.append(math.hypot(_norm(grad_W), _norm(grad_b)))
        pulls.append(_row_norm(grad_a) * np.hypot(_row_norm(h), 1))
        along += np.sum(grad_a * (h @ grad_W.T + grad_b[None]), axis=1)
    whole, pull = _norm(np.array(left)), np.linalg.norm(pulls, axis=0)
    each = np.array([_agreement(one, row.sum()) for one, row in zip(left, pulls, strict=True)])
    return ExampleResponsibility(
        losses=losses,
        shares=at.share[:, 0].copy(),
        norms=norms,
        pulls=np.stack(pulls),
        along=along / whole if whole > 0 else along,
        agreement=_agreement(whole, pull.sum()),
        layer_agreement=each,
        unrelated=_agreement(_norm(pull), pull.sum()),
        hardest=tuple(n + 1 for n in _largest(pull, strongest)),
    )


def _agreement(left: float, pulls: float) -> float:
    """What is left of so much; rounding can make it a little more than all."""
    return min(float(left / pulls), 1.0) if pulls > 0 else 1.0


# Small quantities --------------------------------------------------------------------------------


def _of(at: Truth, kind: str, k: int) -> np.ndarray:
    """A gradient by the name of `Quantity`."""
    return at.grads[Quantity(kind, k)]


def _gradients(at: Truth) -> Gradients:
    """All of them, with the batch as it came."""
    L = at.net.depth

    def shaped(kind: str, k: int) -> Any:
        return _of(at, kind, k).reshape(*at.batch, -1)

    return Gradients(
        params=tuple(Layer(_of(at, "W", k), _of(at, "b", k)) for k in range(1, L + 1)),  # type: ignore[arg-type]
        a=tuple(shaped("a", k) for k in range(1, L + 1)),
        h=tuple(shaped("h", k) for k in range(L)),
        yhat=shaped("yhat", L),
    )


def _mean(at: Truth, rows: np.ndarray) -> np.ndarray:
    """Σ_n s_n row_n; an example of weight 0 counts nowhere."""
    return np.sum(np.where(at.share > 0, at.share * rows, 0), axis=0)


def _norm(t: np.ndarray) -> float:
    return float(np.linalg.norm(t))


def _row_norm(t: np.ndarray) -> np.ndarray:
    return np.linalg.norm(t, axis=1)


def _shares(sizes: np.ndarray) -> np.ndarray:
    total = sizes.sum()
    return sizes / total if total > 0 else sizes


def _largest(sizes: np.ndarray, count: int) -> list[int]:
    """The places of the largest, those above 0; of equal ones the first first."""
    count = min(count, len(sizes))
    least = np.partition(sizes, -count)[-count]
    candidates = np.flatnonzero((sizes >= least) & (sizes > 0))
    order = np.argsort(-sizes[candidates], kind="stable")
    return candidates[order[:count]].tolist()


def _numbers(which: np.ndarray) -> tuple[int, ...]:
    """The numbers, from 1, of the units for which it is so."""
    return tuple((np.flatnonzero(which) + 1).tolist())
