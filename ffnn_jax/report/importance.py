"""Permutation importance: what is lost when the values of a column are shuffled among the rows.

  importance of a group g of inputs = score(x) − score(x with x_g shuffled)   accuracy, for classes
                                    = loss(x with x_g shuffled) − loss(x)     otherwise

with the inputs of a group (a one-hot column, a patch of an image) shuffled as one. Breiman 2001,
"Random Forests", section 10; Fisher, Rudin and Dominici 2019 for any model. Two columns that say
the same stand in for each other: both can look unimportant.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ffnn_jax.network import Network, Params
from ffnn_jax.report.outcomes import Kind, as_outcomes, predict

REPEATS = 5
MOST_ROWS = 2000
WORK = 2_000_000  # about so many rows go through the network in all
PATCHES = 8  # along the longer side of an image

Columns = Sequence[tuple[str, Sequence[int] | np.ndarray]]


class Importance(NamedTuple):
    """What the shuffling of each group cost.

    Attributes:
      names: of the groups.
      means, spreads: (groups,), over the repeats: the mean and the standard deviation.
      rows: how many held-out examples were shuffled.
    """

    names: tuple[str, ...]
    means: np.ndarray
    spreads: np.ndarray
    rows: int


def permutation_importance(
    net: Network, params: Params, x: np.ndarray, y: np.ndarray, columns: Columns, kind: Kind
) -> Importance:
    """The importance of each column, by `REPEATS` shuffles whose order is always the same.

    Of many rows a part is taken, evenly chosen.
    """
    most = max(200, min(MOST_ROWS, WORK // (len(columns) * REPEATS)))
    chosen = np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(int)
    x, y = x[chosen], y[chosen]

    def score(x: np.ndarray) -> float:
        yhat, losses = predict(net, params, x, y)
        if kind != "classes":
            return -float(losses.mean())
        return 1 - float(as_outcomes(net, kind, y, yhat, losses).wrong.mean())

    draw, whole = np.random.default_rng(0), score(x)
    lost = np.zeros((len(columns), REPEATS))
    for r in range(REPEATS):
        order = draw.permutation(len(x))
        for c, (_, inputs) in enumerate(columns):
            shuffled = x.copy()
            shuffled[:, list(inputs)] = x[order][:, list(inputs)]
            lost[c, r] = whole - score(shuffled)
    names = tuple(name for name, _ in columns)
    return Importance(names, lost.mean(axis=1), lost.std(axis=1), len(x))


def patches(image_shape: tuple[int, ...]) -> list[tuple[str, np.ndarray]]:
    """The columns of images: squares of pixels, at most `PATCHES` along the longer side."""
    height, width = image_shape[:2]
    side = -(-max(height, width) // PATCHES)
    numbers = np.arange(int(np.prod(image_shape))).reshape(height, width, -1)
    return [
        (_place(i, j, side, height, width), numbers[i : i + side, j : j + side].ravel())
        for i in range(0, height, side)
        for j in range(0, width, side)
    ]


def _place(i: int, j: int, side: int, height: int, width: int) -> str:
    def span(start: int, end: int) -> str:
        return str(start + 1) if start + 1 == end else f"{start + 1} to {end}"

    return f"row {span(i, min(i + side, height))}, column {span(j, min(j + side, width))}"


def as_map(found: Importance, image_shape: tuple[int, ...]) -> np.ndarray:
    """The mean importance of each patch, at each of its pixels, (height, width)."""
    values = np.zeros(int(np.prod(image_shape)))
    for (_, inputs), mean in zip(patches(image_shape), found.means, strict=True):
        values[inputs] = mean
    return values.reshape(*image_shape[:2], -1)[..., 0]
