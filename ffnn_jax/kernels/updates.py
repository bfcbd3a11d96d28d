"""How a step changes the parameters, as pure functions of values: optax's sgd and adam.

  sgd                   θ ← θ − η ∇θ
  with momentum μ       m ← ∇θ + μ m          θ ← θ − η m,   nesterov: θ ← θ − η (∇θ + μ m)
  adam                  m ← (1 − β₁) ∇θ + β₁ m            v ← (1 − β₂) ∇θ² + β₂ v
                        θ ← θ − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ) + ε₀) + ε)

A rule says how many arrays of the shape of θ it remembers, its moments; t counts steps from 1.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ffnn_jax.network import Params

Moments = tuple[Params, ...]


@dataclasses.dataclass(frozen=True)
class SGD:
    """`optax.sgd(η, momentum, nesterov)`; momentum None is none."""

    momentum: float | None = None
    nesterov: bool = False

    @property
    def name(self) -> str:
        """As the record of measurements has it."""
        return "sgd" if self.momentum is None else "nesterov" if self.nesterov else "momentum"

    @property
    def moments(self) -> int:
        """1 with momentum, else 0."""
        return 0 if self.momentum is None else 1

    def corrections(self, count: jax.Array, steps: int) -> tuple[jax.Array, ...]:
        """Nothing of the rule depends on t."""
        del count, steps
        return ()

    def step(
        self, rate: jax.Array, corrections: Any, params: Any, grads: Any, moments: Any
    ) -> tuple[Any, Any]:
        """(the parameters, the moments) after the step; all are trees like the parameters."""
        del corrections
        if self.momentum is None:
            return _down(rate, params, grads), ()
        momentum = self.momentum

        def remembered(g: jax.Array, m: jax.Array) -> jax.Array:
            return g + momentum * m

        m = jax.tree.map(remembered, grads, moments[0])
        direction = jax.tree.map(remembered, grads, m) if self.nesterov else m
        return _down(rate, params, direction), (m,)


@dataclasses.dataclass(frozen=True)
class Adam:
    """`optax.adam(η, b1, b2, eps, eps_root)`."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0

    @property
    def name(self) -> str:
        """As the record of measurements has it."""
        return "adam"

    @property
    def moments(self) -> int:
        """m and v."""
        return 2

    def corrections(self, count: jax.Array, steps: int) -> tuple[jax.Array, ...]:
        """1 − β₁ᵗ and 1 − β₂ᵗ of the steps that come after so many, (steps,) each.

        They are computed as optax does, outside of the kernel: 1 − β₂ᵗ loses four digits to
        cancellation, so another power function would give another v̂.
        """
        t = count + 1 + jnp.arange(steps, dtype=count.dtype)
        return tuple((1 - b**t).astype(jnp.float32) for b in (self.b1, self.b2))

    def step(
        self, rate: jax.Array, corrections: Any, params: Any, grads: Any, moments: Any
    ) -> tuple[Any, Any]:
        """(the parameters, the moments) after the step; all are trees like the parameters."""
        (m, v), (of_m, of_v) = moments, corrections
        m = jax.tree.map(lambda g, m: (1 - self.b1) * g + self.b1 * m, grads, m)
        v = jax.tree.map(lambda g, v: (1 - self.b2) * (g * g) + self.b2 * v, grads, v)

        def direction(m: jax.Array, v: jax.Array) -> jax.Array:
            return (m / of_m) / (jnp.sqrt(v / of_v + self.eps_root) + self.eps)

        return _down(rate, params, jax.tree.map(direction, m, v)), (m, v)


Rule = SGD | Adam


def _down(rate: jax.Array, params: Any, direction: Any) -> Any:
    """θ − η direction."""
    return jax.tree.map(lambda p, d: p + -rate * d, params, direction)
