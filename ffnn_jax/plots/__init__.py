"""Drawings of a training run, each a pure function of numbers that returns a matplotlib `Figure`.

Names of classes and columns are the user's: cut to a width with `shortened`, and never read as
mathematics.
"""

from ffnn_jax.plots.canvas import shortened, style
from ffnn_jax.plots.classes import MOST_CELLS, confusion, reliability
from ffnn_jax.plots.epochs import curves
from ffnn_jax.plots.images import picture
from ffnn_jax.plots.quantities import importance, predicted_and_true, residual_distribution

__all__ = [
    "MOST_CELLS",
    "confusion",
    "curves",
    "importance",
    "picture",
    "predicted_and_true",
    "reliability",
    "residual_distribution",
    "shortened",
    "style",
]
