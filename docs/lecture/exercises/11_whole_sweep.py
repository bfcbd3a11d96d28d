"""Exercise 11. The whole algorithm, for one example.

Forward, for k = 1 … L − 1:   a_k = W_k h_{k−1} + b_k     h_k = tanh(a_k)        h_0 = x
and at the top:               a_L = W_L h_{L−1} + b_L     ŷ = softmax(a_L)       ℒ = −log ŷ_ℓ

Backward: ∇a_L, and for k = L … 1:   ∇W_k, ∇b_k, ∇h_{k−1}, ∇a_{k−1}.

The lists are numbered as in the lecture: W[k] is W_k, and W[0] is None.
"""

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
    raise NotImplementedError("fill in here")


def softmax(a: np.ndarray) -> np.ndarray:
    """O(a_L), given."""
    e = np.exp(a - np.max(a))
    return e / np.sum(e)


if __name__ == "__main__":
    import judge

    judge.main(globals())
