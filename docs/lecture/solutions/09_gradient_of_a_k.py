"""Solution of exercise 9. ∇a_k: through g′ of sigmoid, tanh and relu."""

import numpy as np


def grad_a_sigmoid(grad_h: np.ndarray, a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """∇a_k of a layer with g(a) = 1 / (1 + e^{−a}).

    Args:
      grad_h: ∇h_k, (n_k,).
      a: a_k, (n_k,).
      h: h_k = g(a_k), (n_k,).

    Returns:
      ∇a_k, (n_k,).
    """
    return grad_h * h * (1 - h)


def grad_a_tanh(grad_h: np.ndarray, a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """∇a_k of a layer with g(a) = tanh a; the arguments as above."""
    return grad_h * (1 - h**2)


def grad_a_relu(grad_h: np.ndarray, a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """∇a_k of a layer with g(a) = max(a, 0); the arguments as above."""
    return grad_h * (a > 0)
