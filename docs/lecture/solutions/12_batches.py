"""Solution of exercise 12. Batches: the mean over N examples, and weights of examples."""

import numpy as np


def gradients(
    X: np.ndarray, labels: np.ndarray, W: list, b: list, weights: np.ndarray | None = None
) -> dict:
    """Every gradient of ℒ.

    Args:
      X: (N, n_0), an example in each row.
      labels: (N,), the true class of each, counted from 0.
      W: [None, W_1, …, W_L]; W_k is (n_k, n_{k−1}).
      b: [None, b_1, …, b_L]; b_k is (n_k,).
      weights: (N,), or None where all count the same.

    Returns:
      {"W_1": …, "b_1": …, …, "W_L": …, "b_L": …}, shaped as W_k and b_k; and if you like "a_k" and
      "h_k", (N, n_k): then it is seen in which line a mistake is.
    """
    L, N = len(W) - 1, len(X)
    w = np.ones(N) if weights is None else weights
    h = [X]
    for k in range(1, L):
        h.append(np.tanh(h[k - 1] @ W[k].T + b[k]))
    yhat = softmax(h[L - 1] @ W[L].T + b[L])

    grads = {}
    onehot = np.eye(yhat.shape[1])[labels]
    grad_a = (yhat - onehot) * (w / np.sum(w))[:, None]
    for k in range(L, 0, -1):
        grads[f"a_{k}"] = grad_a
        grads[f"W_{k}"] = grad_a.T @ h[k - 1]
        grads[f"b_{k}"] = np.sum(grad_a, axis=0)
        grad_h = grad_a @ W[k]
        grads[f"h_{k - 1}"] = grad_h
        grad_a = grad_h * (1 - h[k - 1] ** 2)
    return grads


def softmax(a: np.ndarray) -> np.ndarray:
    """O(a_L) of each row, given."""
    e = np.exp(a - np.max(a, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)
