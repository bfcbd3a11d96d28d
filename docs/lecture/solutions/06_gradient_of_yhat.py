"""Solution of exercise 6. ∇ŷ: the gradient with respect to the output units."""

import numpy as np


def grad_yhat(yhat: np.ndarray, label: int) -> np.ndarray:
    """∇ŷ of the cross-entropy.

    Args:
      yhat: ŷ, (k,).
      label: ℓ, the true class, counted from 0 as NumPy does.

    Returns:
      ∇ŷ, (k,).
    """
    grad = np.zeros(yhat.shape)
    grad[label] = -1 / yhat[label]
    return grad


def grad_yhat_of_squared_error(yhat: np.ndarray, y: np.ndarray) -> np.ndarray:
    """∇ŷ of the squared error.

    Args:
      yhat: ŷ, (k,).
      y: (k,).

    Returns:
      ∇ŷ, (k,).
    """
    return 2 * (yhat - y)
