"""Drawings of a training run, each a pure function of numbers that returns a matplotlib `Figure`.

Names of classes and columns are the user's: cut to a width with `shortened`, and never read as
mathematics.
"""

from ffnn_jax.plots.canvas import shortened, style
from ffnn_jax.plots.classes import MOST_CELLS, confusion, reliability
from ffnn_jax.plots.descent import GradientLine, gradient_line, loss_along_gradient
from ffnn_jax.plots.epochs import curves
from ffnn_jax.plots.images import picture
from ffnn_jax.plots.quantities import importance, predicted_and_true, residual_distribution
from ffnn_jax.plots.strips import layer_strips

__all__ = [
    "MOST_CELLS",
    "GradientLine",
    "confusion",
    "curves",
    "gradient_line",
    "importance",
    "layer_strips",
    "loss_along_gradient",
    "picture",
    "predicted_and_true",
    "reliability",
    "residual_distribution",
    "shortened",
    "style",
]
