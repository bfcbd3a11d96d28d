"""Backprop by hand against the sweep: which gradient is wrong first, and what is wrong with it.

For the learner: `compare_gradients` takes the intermediates of a hand-written pass by the lecture's
names, one of them or all.
"""

from ffnn_jax.comparison.compare import compare_gradients
from ffnn_jax.comparison.report import Comparison, ComparisonRow

__all__ = ["Comparison", "ComparisonRow", "compare_gradients"]
