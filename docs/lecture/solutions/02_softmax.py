"""Solution of exercise 2. Softmax, and its safety."""

import numpy as np


def softmax(a_L: np.ndarray) -> np.ndarray:
    """O(a_L), for numbers of any size.

    Args:
      a_L: (k,).

    Returns:
      ŷ, (k,), positive, with the sum 1.
    """
    e = np.exp(a_L - np.max(a_L))
    return e / np.sum(e)
