"""Solution of exercise 11. The whole algorithm, for one example."""

import numpy as np


def gradients(x: np.ndarray, label: int, W: list, b: list) -> dict:
    """Every gradient of ℒ.

    Args:
      x: (n_0,).
      label: ℓ, the true class, counted from 0 as NumPy does.
      W: [None, W_1, …, W_L]; W_k is (n_k, n_{k−1}). L is len(W) − 1.
      b: [None, b_1, …, b_L]; b_k is (n_k,).

    Returns:
      The gradients by name, {"W_1": …, "b_1": …, …, "W_L": …, "b_L": …}. Put "a_k" and "h_k" in as
      well: then it is seen in which line a mistake is.
    """
    L = len(W) - 1
    h = [x]
    for k in range(1, L):
        h.append(np.tanh(W[k] @ h[k - 1] + b[k]))
    yhat = softmax(W[L] @ h[L - 1] + b[L])

    grads = {}
    grad_a = yhat.copy()
    grad_a[label] -= 1
    for k in range(L, 0, -1):
        grads[f"a_{k}"] = grad_a
        grads[f"W_{k}"] = np.outer(grad_a, h[k - 1])
        grads[f"b_{k}"] = grad_a
        grad_h = W[k].T @ grad_a
        grads[f"h_{k - 1}"] = grad_h
        grad_a = grad_h * (1 - h[k - 1] ** 2)
    return grads


def softmax(a: np.ndarray) -> np.ndarray:
    """O(a_L), given."""
    e = np.exp(a - np.max(a))
    return e / np.sum(e)
