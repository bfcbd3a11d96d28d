"""Exercise 1. The squared error, and the linear output.

How far is ŷ from y where both are real numbers? And what may O be, so that ŷ can be any of them?

  f(x) = h_L = O(a_L) = …                                    for every ŷ in ℝⁿ
  ℒ(θ) = …                           over N examples of n outputs, ŷ_ij and y_ij
"""

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
    raise NotImplementedError("fill in here")


def squared_error(yhat: np.ndarray, y: np.ndarray) -> float:
    """ℒ(θ), the squared error as the lecture writes it: look where it divides, and where not.

    Args:
      yhat: ŷ, (N, n), an example in each row.
      y: (N, n).

    Returns:
      One number.
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
