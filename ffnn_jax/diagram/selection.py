"""Which units are drawn: of a large layer the strongest, and how many are not is said.

A unit is the stronger the larger |∇a_ki| is, and an input the larger |x_j ∇x_j| is, for
∇W_1 = ∇a_1 xᵀ: an input of 0 is not responsible. Without y it goes by |h_ki|, without x by the
weights, Σ_i |W_{k+1,ij}|, and for an output Σ_j |W_Lij|.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ffnn_jax.diagram.quantities import Quantities
from ffnn_jax.network import Network

MOST_LAYERS = 12
MOST_UNITS = 6  # drawn in a layer without folding
FOLDED_UNITS = 5  # drawn of a layer that is folded


class Column(NamedTuple):
    """What is drawn of layer k; of k = 0 inputs.

    Attributes:
      units: the numbers of the units drawn, from 1, ascending.
      more: how many units are not drawn.
    """

    units: tuple[int, ...]
    more: int


def columns(
    net: Network, known: Quantities, keep: Mapping[int, Sequence[int]] | None = None
) -> tuple[Column, ...]:
    """A column for each layer, k = 0 … L; the units in keep are drawn in any case.

    Raises:
      ValueError: the network has too many layers to be drawn.
    """
    check_depth(net)
    keep = keep or {}
    return tuple(_column(strengths(net, known, k), keep.get(k, ())) for k in range(net.depth + 1))


def check_depth(net: Network) -> None:
    """The network has few enough layers."""
    if net.depth > MOST_LAYERS:
        raise ValueError(
            f"net: expected at most {MOST_LAYERS} layers in a drawing, got {net.depth}; "
            f"units are folded, layers are not: draw a part of it, Network(net.sizes[k:], ...) "
            "with params[k:] and x = h_k"
        )


def strengths(net: Network, known: Quantities, k: int) -> np.ndarray:
    """(n_k,), what the units of layer k are chosen by."""
    if ("∇h", k) in known:
        return np.abs(known.of("h", 0) * known.of("∇h", 0) if k == 0 else known.of("∇a", k))
    if ("h", k) in known:
        return np.abs(known.of("h", k))
    if k == net.depth:
        return np.abs(known.of("W", k)).sum(axis=1)
    return np.abs(known.of("W", k + 1)).sum(axis=0)


def _column(strength: np.ndarray, keep: Sequence[int]) -> Column:
    n = len(strength)
    if n <= MOST_UNITS:
        return Column(tuple(range(1, n + 1)), 0)
    ranked = np.argsort(-np.nan_to_num(strength, nan=np.inf), kind="stable") + 1
    others = [int(i) for i in ranked if i not in keep]
    units = sorted([*keep, *others[: FOLDED_UNITS - len(keep)]])
    return Column(tuple(units), n - len(units))
