"""Explanations in numbers: the chain rule of one weight, and who is responsible for the loss.

`explain_weight` writes ∂ℒ/∂W_kij as the lecture does, factor by factor and path by path, and sets
the sweep, automatic differentiation and a central difference beside it. The function
`responsibility`, of the module of that name, says who is responsible for the loss: each output,
layer, unit, weight and example, in numbers and in words.
"""

from ffnn_jax.explain.chain import Factor, Path
from ffnn_jax.explain.explanation import WeightExplanation
from ffnn_jax.explain.weight import explain_weight

__all__ = ["Factor", "Path", "WeightExplanation", "explain_weight"]
