"""One parameter that is marked, with every way from it to the loss."""

from typing import Any, NamedTuple

import numpy as np

from ffnn_jax import checks
from ffnn_jax.network import Network


class Mark(NamedTuple):
    """One parameter whose way to the loss is marked: W_kij, or b_ki where j is None."""

    layer: int
    i: int
    j: int | None

    def has_unit(self, k: int, i: int) -> bool:
        """Whether the unit lies on a path from the parameter to the loss."""
        return k > self.layer or (k == self.layer and i == self.i)

    def has_edge(self, k: int, i: int, j: int) -> bool:
        """Whether the weight W_kij is the parameter, or lies on such a path."""
        if k == self.layer:
            return (i, j) == (self.i, self.j)
        return k > self.layer and self.has_unit(k - 1, j)


def check_mark(net: Network, weight: Any) -> Mark:
    """(layer, i, j) or (layer, i) inside the network, counted from 1."""
    weight = weight.tolist() if isinstance(weight, np.ndarray) else weight
    if not isinstance(weight, tuple | list) or len(weight) not in (2, 3):
        raise TypeError(
            f"weight: expected (layer, i, j) as in W_kij, or (layer, i) of a bias; got {weight!r}"
        )
    layer = _check_index("weight[0], the layer", weight[0], net.depth)
    i = _check_index("weight[1], i", weight[1], net.sizes[layer])
    if len(weight) == 2 or weight[2] is None:
        return Mark(layer, i, None)
    return Mark(layer, i, _check_index("weight[2], j", weight[2], net.sizes[layer - 1]))


def _check_index(argument: str, index: Any, most: int) -> int:
    told = f"expected 1 to {most} (counted from 1, as in the lecture)"
    index = checks.check_int_from(-(2**63), argument, index)
    if not 1 <= index <= most:
        raise ValueError(f"{argument}: {told}, got {index}")
    return index
