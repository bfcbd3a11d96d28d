"""Solution of exercise 10. ∇W_k and ∇b_k: and now talk to the weights."""

import numpy as np


def grad_W(k: int, grad_a: list, h: list) -> np.ndarray:
    """∇W_k of one example.

    Args:
      k: 1 … L.
      grad_a: [None, ∇a_1, …, ∇a_L]; ∇a_k is (n_k,).
      h: [h_0, …, h_{L−1}]; h_k is (n_k,).

    Returns:
      ∇W_k, (n_k, n_{k−1}).
    """
    return np.outer(grad_a[k], h[k - 1])


def grad_b(k: int, grad_a: list) -> np.ndarray:
    """∇b_k of one example.

    Args:
      k: 1 … L.
      grad_a: [None, ∇a_1, …, ∇a_L]; ∇a_k is (n_k,).

    Returns:
      ∇b_k, (n_k,).
    """
    return grad_a[k]
