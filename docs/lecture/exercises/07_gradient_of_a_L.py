"""Exercise 7. ∇a_L: through the output's Jacobian, and in one step.

ŷ = softmax(a_L), and each ŷ_j depends on every entry of a_L:

  ∂ŷ_j/∂a_Li = …                        the Jacobian J_O of softmax
  ∇a_L = J_Oᵀ ∇ŷ = …                    whatever the loss
  ∇a_L = …                              with the cross-entropy, where nearly all of it cancels
"""

import numpy as np


def pull_back(yhat: np.ndarray, grad_yhat: np.ndarray) -> np.ndarray:
    """∇a_L from any ∇ŷ, of a softmax.

    Args:
      yhat: ŷ, (k,), what softmax gave.
      grad_yhat: ∇ŷ, (k,), of some loss.

    Returns:
      ∇a_L, (k,).
    """
    raise NotImplementedError("fill in here")


def grad_a_L(yhat: np.ndarray, label: int) -> np.ndarray:
    """∇a_L of softmax with cross-entropy, without a division by ŷ.

    Args:
      yhat: ŷ, (k,), what softmax gave.
      label: ℓ, the true class, counted from 0 as NumPy does.

    Returns:
      ∇a_L, (k,).
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
