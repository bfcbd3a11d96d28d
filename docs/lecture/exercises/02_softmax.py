"""Exercise 2. Softmax, and its safety.

To choose 1 of k classes ŷ has to be a probability distribution, whatever a_L is:

  ŷ_j = O(a_L)_j = …                                        j = 1 … k

e^1000 is more than a float64 can hold, but the probabilities of a_L = (1000, 1001) are ordinary
numbers. Write it so that they come out.
"""

import numpy as np


def softmax(a_L: np.ndarray) -> np.ndarray:
    """O(a_L), for numbers of any size.

    Args:
      a_L: (k,).

    Returns:
      ŷ, (k,), positive, with the sum 1.
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
