"""Exercise 8. ∇h_k: the gradient with respect to the hidden units.

h_k goes into a_{k+1} = W_{k+1} h_k + b_{k+1} and nowhere else, but into every entry of it:

  ∂ℒ/∂h_kj = Σ_i …                      the sum over all paths
  ∇h_k = …

The lists are numbered as in the lecture: W[k] is W_k, grad_a[k] is ∇a_k, and place 0 is None.
"""

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
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
