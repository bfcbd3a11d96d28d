"""Exercise 6. ∇ŷ: the gradient with respect to the output units.

We talk to the output layer first. Its units are ŷ_1 … ŷ_k, and ℒ is that of one example.

  ∂ℒ/∂ŷ_i = …                           of the cross-entropy, ℒ = −log ŷ_ℓ
  ∂ℒ/∂ŷ_i = …                           of the squared error, ℒ = Σ_j (ŷ_j − y_j)²
"""

import numpy as np


def grad_yhat(yhat: np.ndarray, label: int) -> np.ndarray:
    """∇ŷ of the cross-entropy.

    Args:
      yhat: ŷ, (k,).
      label: ℓ, the true class, counted from 0 as NumPy does.

    Returns:
      ∇ŷ, (k,).
    """
    raise NotImplementedError("fill in here")


def grad_yhat_of_squared_error(yhat: np.ndarray, y: np.ndarray) -> np.ndarray:
    """∇ŷ of the squared error.

    Args:
      yhat: ŷ, (k,).
      y: (k,).

    Returns:
      ∇ŷ, (k,).
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
