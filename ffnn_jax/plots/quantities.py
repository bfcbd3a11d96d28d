"""Quantities: predicted and true ones, their residuals, and what the columns are worth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ffnn_jax.plots.canvas import (
    COLOURS,
    INK,
    LINES,
    canvas,
    distinct,
    few_ticks,
    in_percent,
    legend,
    plain_number,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DOTS = 1500


def predicted_and_true(truth: np.ndarray, predicted: np.ndarray, unit: str) -> "Figure":
    """Predicted against true values, with the line on which both are equal.

    Args:
      truth, predicted: (N,). Of more than `MOST_DOTS` so many are drawn, evenly chosen.
      unit: the name of the quantity.

    Returns:
      The figure.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    chosen = np.linspace(0, len(truth) - 1, min(len(truth), MOST_DOTS)).round().astype(int)
    with style():
        figure, axes = canvas(250, f"true {shortened(unit, 40)}", "predicted")
        low = min(truth.min(), predicted.min())
        high = max(truth.max(), predicted.max())
        axes.plot(
            [low, high], [low, high], "--", color=LINES, linewidth=1.2, label="predicted = true"
        )
        look = {"s": 14, "color": COLOURS[0], "alpha": 0.6, "linewidths": 0}
        axes.scatter(truth[chosen], predicted[chosen], **look)
        legend(figure, axes)
        few_ticks(axes)
        return figure


def residual_distribution(residuals: np.ndarray, unit: str) -> "Figure":
    """How predicted − true is distributed.

    Args:
      residuals: (N,).
      unit: the name of the quantity.

    Returns:
      The figure.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.ticker import MaxNLocator

    bins = int(np.clip(np.sqrt(len(residuals)), 1, 40))
    spread = np.abs(residuals).max()
    reach = (-spread, spread) if spread > 0 else (-0.5, 0.5)
    with style():
        label = f"predicted − true {shortened(unit, 36)}"
        figure, axes = canvas(250, label, "held-out rows")
        counts, edges = np.histogram(residuals, bins=2 * (bins // 2) + 1, range=reach)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=COLOURS[0], alpha=0.75)
        axes.axvline(0, color=INK, linewidth=1)
        mean = float(np.mean(residuals))
        axes.axvline(
            mean,
            color=COLOURS[1],
            linewidth=1.4,
            linestyle="--",
            label=f"mean {plain_number(mean)}",
        )
        legend(figure, axes)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        few_ticks(axes, y=False)
        return figure


def importance(
    names: Sequence[str], means: np.ndarray, spreads: np.ndarray, label: str, *, share: bool
) -> "Figure":
    """Bars of what is lost when a column is shuffled, in the order given, from the top.

    Args:
      names: of the columns.
      means, spreads: (columns,), the mean over the repeats and their standard deviation.
      label: what the bars measure.
      share: whether they are shares, drawn in percent.

    Returns:
      The figure.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    with style():
        figure, axes = canvas(52 + 18 * max(len(names), 2), label, "")
        rows = np.arange(len(names))
        axes.barh(rows, means, height=0.66, color=COLOURS[0], alpha=0.85)
        axes.errorbar(means, rows, xerr=spreads, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2)
        axes.axvline(0, color=LINES, linewidth=1)
        axes.set_yticks(rows, distinct(names, 22), parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        few_ticks(axes, y=False)
        if share:
            axes.xaxis.set_major_formatter(in_percent())
        return figure
