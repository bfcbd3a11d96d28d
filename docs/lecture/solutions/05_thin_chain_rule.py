"""Solution of exercise 5. The chain rule in a deep but thin network: ∂ℒ/∂W_111, by factors."""

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
    h_1 = sigmoid(W[1] * x + b[1])
    h_2 = sigmoid(W[2] * h_1 + b[2])
    yhat = sigmoid(W[3] * h_2 + b[3])
    return [
        2 * (yhat - y),  # ∂ℒ/∂ŷ
        yhat * (1 - yhat),  # ∂ŷ/∂a_31
        W[3],  # ∂a_31/∂h_21
        h_2 * (1 - h_2),  # ∂h_21/∂a_21
        W[2],  # ∂a_21/∂h_11
        h_1 * (1 - h_1),  # ∂h_11/∂a_11
        x,  # ∂a_11/∂W_111
    ]


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
    return np.prod(factors(x, y, W, b))


def sigmoid(a: float) -> float:
    """σ(a), given."""
    return 1 / (1 + np.exp(-a))
