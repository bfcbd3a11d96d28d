"""Classes: who is taken for whom, and how far a probability can be believed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ffnn_jax.plots.canvas import (
    COLOURS,
    FONT,
    INK,
    LINES,
    WIDTH,
    canvas,
    columns,
    distinct,
    in_percent,
    legend,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS = 30  # classes of a confusion matrix that can be read


def confusion(counts: np.ndarray, names: Sequence[str]) -> "Figure":
    """The confusion matrix: a row for each true class, a column for each predicted one.

    Args:
      counts: (K, K), 2 ≤ K ≤ 30; entry (i, j) counts the examples of class i that were taken for j.
      names: of the K classes.

    Returns:
      The figure; a cell is the darker the larger its share of its row. It is wider than `WIDTH`
      from about 17 classes on. Counts are written where they fit.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    counts = np.asarray(counts)
    K = len(counts)
    names = distinct(names, 12)
    margin = 30 + 5.8 * max(columns(name) for name in names)
    cell = min(max((WIDTH - margin - 12) / K, 17.0), 64.0)
    width = max(WIDTH, margin + cell * K + 12)
    with style():
        figure, axes = canvas(cell * K + margin + 4, "predicted", "true", width=width)
        figure.set_layout_engine("none")
        height = cell * K + margin + 4
        left = margin + (width - margin - 12 - cell * K) / 2
        box = (left / width, margin / height, cell * K / width, cell * K / height)
        axes.set_position(box)
        axes.set(xlim=(-0.5, K - 0.5), ylim=(K - 0.5, -0.5))
        axes.grid(False)
        _names(axes, names)
        _cells(axes, counts, cell)
        return figure


def _names(axes: "Axes", names: list[str]) -> None:
    """Names along both axes, upright ones below where they would touch."""
    axes.set_xticks(range(len(names)), names, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(True)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 4
    if max(map(columns, names)) > 2:
        axes.tick_params(axis="x", labelrotation=90)


def _cells(axes: "Axes", counts: np.ndarray, cell: float) -> None:
    from matplotlib.patches import Rectangle

    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    written = FONT * 0.62 * len(str(counts.max())) < cell - 2
    for (i, j), count in np.ndenumerate(counts):
        if count == 0:
            continue
        share = count / total[i, 0]
        colour = COLOURS[0] if i == j else COLOURS[1]
        look = {"facecolor": colour, "alpha": 0.12 + 0.78 * share, "linewidth": 0}
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **look))
        if written:
            ink = "#ffffff" if share > 0.55 else INK
            axes.text(j, i, str(count), ha="center", va="center_baseline", color=ink)


def reliability(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> "Figure":
    """The reliability diagram: how often predictions of each confidence are right.

    Args:
      confidence, accuracy: (bins,), of the examples of each bin; not looked at where it is empty.
      count: (bins,), how many examples are in each.

    Returns:
      The figure; the area of a dot goes with the number of examples.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    full = np.asarray(count) > 0
    x, y, n = (np.asarray(t, np.float64)[full] for t in (confidence, accuracy, count))
    with style():
        figure, axes = canvas(250, "confidence", "share that is right")
        axes.plot([0, 1], [0, 1], color=LINES, linestyle="--", linewidth=1.2, label="calibrated")
        axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=COLOURS[1], linewidth=1.2)
        axes.plot(x, y, color=COLOURS[0], linewidth=1.2)
        sizes = 16 + 110 * n / n.max() if n.size else n
        axes.scatter(x, y, s=sizes, color=COLOURS[0], label="this network", zorder=3)
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.07))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.linspace(0, 1, 6))
            axis.set_major_formatter(in_percent())
        legend(figure, axes)
        return figure
