"""Exercise 3. Cross-entropy, from ŷ and safely from a_L.

  ℒ(θ) = …                                   of two distributions y and ŷ, in nats
  ℒ(θ) = …                                   where ℓ is the true class

A probability may be 0, and 0 · log 0 counts as 0. And where ŷ_ℓ is too small for a float64, ŷ has
forgotten what a_L still knows: simplify log(e^{a_ℓ} / Σ_i e^{a_i}) on paper first.
"""

import numpy as np


def cross_entropy(yhat: np.ndarray, y: np.ndarray) -> float:
    """ℒ(θ) from the probabilities.

    Args:
      yhat: ŷ, (k,), a distribution; positive wherever y is.
      y: (k,), a distribution: all at the true class, or spread out.

    Returns:
      One number.
    """
    raise NotImplementedError("fill in here")


def cross_entropy_from_a_L(a_L: np.ndarray, label: int) -> float:
    """ℒ(θ) of softmax(a_L), for numbers of any size.

    Args:
      a_L: (k,).
      label: ℓ, the true class, counted from 0 as NumPy does.

    Returns:
      One number.
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
