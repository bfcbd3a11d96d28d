"""Exercise 9. ∇a_k: through g′ of sigmoid, tanh and relu.

h_kj = g(a_kj), entry by entry:

  ∂ℒ/∂a_kj = …
  ∇a_k = …

Each function is given a_k and h_k both; which of the two do you need?
"""

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
    raise NotImplementedError("fill in here")


def grad_a_tanh(grad_h: np.ndarray, a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """∇a_k of a layer with g(a) = tanh a; the arguments as above."""
    raise NotImplementedError("fill in here")


def grad_a_relu(grad_h: np.ndarray, a: np.ndarray, h: np.ndarray) -> np.ndarray:
    """∇a_k of a layer with g(a) = max(a, 0); the arguments as above."""
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
