"""Solution of exercise 7. ∇a_L: through the output's Jacobian, and in one step."""

import numpy as np


def pull_back(yhat: np.ndarray, grad_yhat: np.ndarray) -> np.ndarray:
    """∇a_L from any ∇ŷ, of a softmax.

    Args:
      yhat: ŷ, (k,), what softmax gave.
      grad_yhat: ∇ŷ, (k,), of some loss.

    Returns:
      ∇a_L, (k,).
    """
    jacobian = np.diag(yhat) - np.outer(yhat, yhat)
    return jacobian.T @ grad_yhat


def grad_a_L(yhat: np.ndarray, label: int) -> np.ndarray:
    """∇a_L of softmax with cross-entropy, without a division by ŷ.

    Args:
      yhat: ŷ, (k,), what softmax gave.
      label: ℓ, the true class, counted from 0 as NumPy does.

    Returns:
      ∇a_L, (k,).
    """
    grad = yhat.copy()
    grad[label] -= 1
    return grad
