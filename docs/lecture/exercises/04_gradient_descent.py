"""Exercise 4. Gradient descent: one step, and the loop.

  θ_{t+1} ← …                                          with the rate η and the gradient ∇θ_t
  t ← 0; while t++ < max_iterations do … end

θ = [W_1, W_2, …, b_1, b_2, …] is a list of arrays here. What you are given stays as it is: whoever
called you may still need θ_t.
"""

from collections.abc import Callable

import numpy as np

Theta = list[np.ndarray]


def step(theta: Theta, grad: Theta, learning_rate: float) -> Theta:
    """θ_{t+1}.

    Args:
      theta: θ_t, arrays of any shapes.
      grad: ∇θ_t, arrays of the same shapes.
      learning_rate: η.

    Returns:
      θ_{t+1}, a new list of arrays of the same shapes.
    """
    raise NotImplementedError("fill in here")


def gradient_descent(
    theta: Theta, gradient: Callable[[Theta], Theta], learning_rate: float, max_iterations: int
) -> Theta:
    """θ after so many steps.

    Args:
      theta: θ_0.
      gradient: gradient(θ) gives ∇θ there, a list as θ is.
      learning_rate: η.
      max_iterations: how many steps.

    Returns:
      θ at the end, a new list.
    """
    raise NotImplementedError("fill in here")


if __name__ == "__main__":
    import judge

    judge.main(globals())
