"""Solution of exercise 4. Gradient descent: one step, and the loop."""

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
    return [t - learning_rate * g for t, g in zip(theta, grad, strict=True)]


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
    for _ in range(max_iterations):
        theta = step(theta, gradient(theta), learning_rate)
    return theta
