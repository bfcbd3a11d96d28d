"""The chain rule of one weight, spelled out with this network's numbers.

`explain_weight` writes ∂ℒ/∂W_kij as the lecture does, factor by factor and path by path, and sets
the sweep, automatic differentiation and a central difference beside it.
"""

from ffnn_jax.explain.chain import Factor, Path
from ffnn_jax.explain.explanation import WeightExplanation
from ffnn_jax.explain.weight import explain_weight

__all__ = ["Factor", "Path", "WeightExplanation", "explain_weight"]
