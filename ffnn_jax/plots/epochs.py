"""Quantities over the epochs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ffnn_jax.plots.canvas import (
    COLOURS,
    canvas,
    in_percent,
    legend,
    log_ticks,
    plain_numbers,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dvp"


def curves(
    epochs: Sequence[float],
    lines: Mapping[str, Sequence[float | None]],
    label: str,
    *,
    share: bool = False,
) -> "Figure":
    """Quantities over the epochs: losses, accuracies, or one figure of every layer.

    Args:
      epochs: their numbers.
      lines: a name -> a value for each epoch; None, or what is not finite, leaves a gap. At most
        six lines.
      label: what is drawn, with its unit.
      share: whether values are shares, drawn in percent.

    Returns:
      The figure. Losses that fall to less than a twentieth are drawn on a logarithmic scale.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.ticker import MaxNLocator

    with style():
        figure, axes = canvas(210, "epoch", label)
        drawn = {name: np.array([_number(v) for v in values]) for name, values in lines.items()}
        marked = len(epochs) <= 30
        for i, (name, values) in enumerate(drawn.items()):
            axes.plot(
                epochs,
                values,
                label=name,
                color=COLOURS[i],
                linestyle=("-", "--", "-.")[i % 3],
                marker=MARKERS[i] if marked else "",
            )
        values = np.concatenate([v[np.isfinite(v)] for v in drawn.values()])
        if share:
            _share_limits(axes, values)
            axes.yaxis.set_major_formatter(in_percent())
        elif values.size and values.min() > 0 and values.max() > 20 * values.min():
            axes.set_yscale("log")
            log_ticks(axes)
        else:
            axes.yaxis.set_major_formatter(plain_numbers())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if len(epochs) == 1:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        if len(lines) > 1:
            legend(figure, axes)
        return figure


def _number(value: Any) -> float:
    return float(value) if value is not None and np.isfinite(value) else np.nan


def _share_limits(axes: "Axes", values: np.ndarray) -> None:
    """Room about the values, and hardly any beyond 0 and 1."""
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    span = max(high - low, 0.05)
    high = max(high, low + span)
    axes.set_ylim(max(low - 0.1 * span, -0.04 * span), min(high + 0.1 * span, 1 + 0.04 * span))
