"""Exercise 10. ∇W_k and ∇b_k: and now talk to the weights.

a_k = W_k h_{k−1} + b_k, and W_kij joins unit j of layer k − 1 to unit i of layer k:

  ∂ℒ/∂W_kij = …            ∇W_k = …
  ∂ℒ/∂b_ki = …             ∇b_k = …

The lists are numbered as in the lecture: grad_a[k] is ∇a_k, with None at place 0; h[k] is h_k, and
h[0] is x.
"""

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
    raise NotImplementedError("fill in here")


def grad_b(k: int, grad_a: list) -> np.ndarray:
    """∇b_k of one example.

    Args:
      k: 1 … L.
      grad_a: [None, ∇a_1, …, ∇a_L]; ∇a_k is (n_k,).

    Returns:
      ∇b_k, (n_k,).
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
