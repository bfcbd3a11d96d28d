"""Exercise 5. The chain rule in a deep but thin network: ∂ℒ/∂W_111, factor by factor.

One unit in each layer, three layers, all numbers (not arrays), σ(a) = 1 / (1 + e^{−a}):

  a_1 = W_1 x + b_1     h_1 = σ(a_1)
  a_2 = W_2 h_1 + b_2   h_2 = σ(a_2)
  a_3 = W_3 h_2 + b_3   ŷ = σ(a_3)          ℒ = (ŷ − y)²

  ∂ℒ/∂W_111 = ∂ℒ/∂ŷ · ∂ŷ/∂a_31 · ∂a_31/∂h_21 · ∂h_21/∂a_21 · ∂a_21/∂h_11 · ∂h_11/∂a_11
              · ∂a_11/∂W_111

The lists W and b are numbered as in the lecture: W[1] is W_1, and W[0] is None. The loss
is the squared error, not the cross-entropy of chapter 5.
"""

import numpy as np


def factors(x: float, y: float, W: list, b: list) -> list[float]:
    """The seven factors of ∂ℒ/∂W_111, in the order above.

    Args:
      x: the input.
      y: the target.
      W: [None, W_1, W_2, W_3].
      b: [None, b_1, b_2, b_3].

    Returns:
      Seven numbers.
    """
    raise NotImplementedError("fill in here")


def gradient_of_W_111(x: float, y: float, W: list, b: list) -> float:
    """∂ℒ/∂W_111 of the same network.

    Args:
      x: the input.
      y: the target.
      W: [None, W_1, W_2, W_3].
      b: [None, b_1, b_2, b_3].

    Returns:
      One number.
    """
    raise NotImplementedError("fill in here")


def sigmoid(a: float) -> float:
    """σ(a), given."""
    return 1 / (1 + np.exp(-a))


if __name__ == "__main__":
    import judge

    judge.main(globals())
