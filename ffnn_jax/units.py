"""How the units of each hidden layer are doing: sizes of a_k and ∇a_k, and who no longer learns.

  mean |a_k|  = Σ_i s_i (1/n_k) Σ_j |a_kij|          s_i = w_i / Σ_i w_i, 1/N without weights
  mean |∇a_k| = Σ_i s_i (1/n_k) Σ_j |∂ℓ_i/∂a_kij|    = (1/n_k) Σ_i Σ_j |∂ℒ/∂a_kij|

since ∂ℒ/∂a_kij = s_i ∂ℓ_i/∂a_kij. Of an entry a_kij no gradient comes through where g′(a_kij) is
almost 0; a unit for which that is so at every example, and whose h is almost 0 too, is dead: it
says nothing and learns nothing. One rule for every activation, with the bound `QUIET`:

  activation          saturated, |g′| < QUIET              dead, at every example
  relu                a ≤ 0: off, about half of them       a ≤ 0
  gelu, silu          a < −3.7; a < −8.9                   a < −3.7; a < −9.1
  sigmoid, softplus   |a| > 6.9; a < −6.9                  a < −6.9
  tanh, elu, selu     |a| > 4.1; a < −6.9; a < −7.5        never: |h| is then 1 or more, not 0
  identity, leaky     never: g′ is 1, or at least 0.01     never

And how far a step moves each layer: ‖W_k′ − W_k‖ / ‖W_k‖.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.backprop import gradients
from ffnn_jax.gradcheck.primal import quick_jit
from ffnn_jax.network import Network, Params, at_least_float32

QUIET = 1e-3  # below this g′ passes no gradient worth the name, and h says nothing


def unit_statistics(
    net: Network, params: Params, x: ArrayLike, y: Any, *, weights: ArrayLike | None = None
) -> list[dict[str, Any]]:
    """Four figures of each hidden layer, for a record of the training or a picture of it.

    It is compiled once for each network and shape of x, and takes all of x at once: hand over a
    sample of a few hundred rows, always the same.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: (*batch, n_0).
      y: as for `loss`.
      weights: (*batch,), as for `loss`. An example of weight 0 counts nowhere.

    Returns:
      A dict for each hidden layer, of what JSON has: "layer" (k, from 1), "activation" (its name),
      "mean_abs_a", "mean_abs_grad_a", "dead" (the share of units), "saturated" (the share of
      entries); shares lie in [0, 1]. An empty list where there is no hidden layer.

    Raises:
      TypeError, ValueError: as `loss`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.units import unit_statistics
      >>> net = ffnn.Network((3, 4, 2), output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> unit_statistics(net, params, jnp.zeros((5, 3)), jnp.zeros(5, jnp.int32))[0]["dead"]
      1.0
    """
    params, x, y, weights = network.as_examples(net, params, x, y, weights)
    columns = _compiled()(net, params, x, y, weights)
    return [
        {"layer": k, "activation": name, **{key: float(value) for key, value in row.items()}}
        for k, (name, row) in enumerate(zip(net.activations, columns, strict=True), start=1)
    ]


def are_quiet(h: Any, slope: Any) -> tuple[Any, Any]:
    """Which entries of a hidden layer are saturated, and which of those say nothing either.

    Args:
      h: (*batch, n_k), of JAX or NumPy.
      slope: g′(a), shaped as h.

    Returns:
      (saturated, quiet): booleans, shaped as h. A unit that is quiet at every example is dead.
    """
    saturated = abs(slope) < QUIET
    return saturated, saturated & (abs(h) < QUIET)


def update_ratios(before: Params, after: Params) -> list[float]:
    """How far one step, or one epoch, has moved each layer: ‖W_k′ − W_k‖ / ‖W_k‖.

    About 1e-3 for a step is healthy; far above, the learning rate is too large, far below, too
    small or the layer gets no gradient (Karpathy, CS231n, "Ratio of weights:updates"). It is of W
    alone: b starts at 0, where a ratio says nothing.

    Args:
      before: the parameters, a tuple of `Layer(W, b)` of one floating dtype.
      after: those after the step, of the same shapes.

    Returns:
      A ratio for each layer, k = 1 … L, no unit; inf where W_k was 0 and is no more, NaN where a
      weight is NaN or infinite.

    Raises:
      TypeError: no tuple of `Layer(W, b)`, or a dtype that is not floating; called inside jit.
      ValueError: the shapes do not fit each other.

    Example:
      >>> import jax
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.units import update_ratios
      >>> before = ffnn.init(ffnn.Network((3, 4, 2)), jax.random.key(0))
      >>> after = jax.tree.map(lambda t: 1.125 * t, before)
      >>> [round(ratio, 3) for ratio in update_ratios(before, after)]
      [0.125, 0.125]
    """
    sizes = _sizes_of("before", before)
    checks.check_params(sizes, before)
    if _sizes_of("after", after) != sizes:
        raise ValueError(
            f"after: expected the shapes of before, sizes {sizes}, got {_sizes_of('after', after)}"
        )
    checks.check_params(sizes, after)
    checks.check_outside_jit("update_ratios", [(t.W, t.b) for t in (*before, *after)])
    ratios = _ratios([layer.W for layer in before], [layer.W for layer in after])
    return [float(ratio) for ratio in ratios]


def _sizes_of(argument: str, params: Any) -> tuple[int, ...]:
    """(n_0, …, n_L) of parameters."""
    layers = params if isinstance(params, tuple | list) else ()
    shapes = [list(np.shape(getattr(layer, "W", ()))) for layer in layers]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise TypeError(
            f"{argument}: expected a tuple of Layer(W, b), W of two axes, got {checks.kind(params)}"
        )
    return (shapes[0][1], *(shape[0] for shape in shapes))


@jax.jit
def _ratios(before: Sequence[jax.Array], after: Sequence[jax.Array]) -> list[jax.Array]:
    ratios = []
    for W, new in zip(before, after, strict=True):
        (step, step_unit), (size, size_unit) = _norm(_wide(new) - _wide(W)), _norm(_wide(W))
        ratios.append(jnp.where(step == 0, 0, (step / size) * (step_unit / size_unit)))
    return ratios


def _norm(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """‖t‖ as (‖t/m‖, m), m the largest |entry|: no square is too small or too large."""
    m = jnp.max(jnp.abs(t))
    return jnp.linalg.norm(t / jnp.where(m == 0, 1, m)), m


@functools.cache
def _compiled():
    """`_statistics`, which is run a few times only, compiled in little time."""
    return quick_jit(_statistics)


def _statistics(net, params, x, y, weights):
    tape = network.run(net, params, x)
    _, grads = gradients(net, params, x, y, weights=weights)
    rows = []
    for k, name in enumerate(net.activations, start=1):
        a, h, grad_a = tape.a[k - 1], tape.h[k], grads.a[k - 1]
        g = ACTIVATIONS[name]
        saturated, dead = are_quiet(h, g.derivative(a if g.keep == "a" else h))
        if weights is not None:
            dead |= jnp.expand_dims(weights == 0, -1)
        rows.append(
            {
                "mean_abs_a": _mean(jnp.abs(a), weights),
                "mean_abs_grad_a": jnp.sum(_wide(jnp.abs(grad_a))) / a.shape[-1],
                "dead": jnp.mean(jnp.all(dead, axis=tuple(range(a.ndim - 1)))),
                "saturated": _mean(saturated, weights),
            }
        )
    return rows


def _mean(entries, weights):
    """The mean over units, then the weighted mean over examples."""
    return network.mean(jnp.mean(_wide(entries), axis=-1), weights)


def _wide(entries):
    """In a dtype in which many can be summed."""
    return entries.astype(at_least_float32(entries.dtype))
