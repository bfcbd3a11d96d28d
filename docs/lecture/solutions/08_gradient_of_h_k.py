"""Solution of exercise 8. ∇h_k: the gradient with respect to the hidden units."""

import numpy as np


def grad_h(k: int, W: list, grad_a: list) -> np.ndarray:
    """∇h_k of one example.

    Args:
      k: 0 … L − 1.
      W: [None, W_1, …, W_L]; W_k is (n_k, n_{k−1}).
      grad_a: [None, ∇a_1, …, ∇a_L]; ∇a_k is (n_k,).

    Returns:
      ∇h_k, (n_k,).
    """
    return W[k + 1].T @ grad_a[k + 1]
