"""Solution of exercise 3. Cross-entropy, from ŷ and safely from a_L."""

import numpy as np


def cross_entropy(yhat: np.ndarray, y: np.ndarray) -> float:
    """ℒ(θ) from the probabilities.

    Args:
      yhat: ŷ, (k,), a distribution; positive wherever y is.
      y: (k,), a distribution: all at the true class, or spread out.

    Returns:
      One number.
    """
    there = y > 0
    return -np.sum(y[there] * np.log(yhat[there]))


def cross_entropy_from_a_L(a_L: np.ndarray, label: int) -> float:
    """ℒ(θ) of softmax(a_L), for numbers of any size.

    Args:
      a_L: (k,).
      label: ℓ, the true class, counted from 0 as NumPy does.

    Returns:
      One number.
    """
    largest = np.max(a_L)
    return largest + np.log(np.sum(np.exp(a_L - largest))) - a_L[label]
