"""Solution of exercise 1. The squared error, and the linear output."""

import numpy as np


def linear_output(W_O: np.ndarray, a_L: np.ndarray, b_O: np.ndarray) -> np.ndarray:
    """O(a_L), the lecture's linear output.

    Args:
      W_O: (m, n).
      a_L: (n,).
      b_O: (m,).

    Returns:
      ŷ, (m,).
    """
    return W_O @ a_L + b_O


def squared_error(yhat: np.ndarray, y: np.ndarray) -> float:
    """ℒ(θ), the squared error as the lecture writes it: look where it divides, and where not.

    Args:
      yhat: ŷ, (N, n), an example in each row.
      y: (N, n).

    Returns:
      One number.
    """
    return np.sum((yhat - y) ** 2) / yhat.shape[0]
