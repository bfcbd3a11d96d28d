"""Slopes of a function by differences in float64, on both sides of a point.

  f₊(t) = (φ(x + t v) − φ(x)) / t        f₋(t) = (φ(x) − φ(x − t v)) / t

Where φ is smooth both tend to ⟨∇φ, v⟩, and their mean, the central difference, does so with an
error of t². At a kink they tend to two numbers. Large steps are fooled by a function that
oscillates, small ones by rounding: a slope is settled when a row of smaller and smaller steps
gives the same, and the smallest such row counts.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

STEPS = 10.0 ** -np.arange(2, 11)  # in units of the size of the numbers that vary
COARSE_STEPS = 10.0 ** -np.arange(
    1.0, 3.6, 0.5
)  # where something inside is computed in a shorter dtype
SETTLED = 1e-3  # a slope is settled when it moves by less than this from one step to the next
FLAT = 1e-6  # a slope below this share of those that larger steps give is 0
ROUNDINGS = 8  # units of rounding that φ may be off by


class Slope(NamedTuple):
    """What differences say of the slope of φ along one direction.

    Attributes:
      below, above: f₋ and f₊ of the smallest settled step.
      error: how far each may be off.
      settled: whether both are; else nothing is known.
    """

    below: float
    above: float
    error: float
    settled: bool

    @property
    def central(self) -> float:
        """The central difference."""
        return (self.below + self.above) / 2

    def holds(self, value: float, margin: float) -> bool:
        """Whether value lies between the two sides, or within margin of them."""
        low, high = sorted((self.below, self.above))
        return low - margin <= value <= high + margin


def agrees(
    objective: Callable[[np.ndarray], float],
    x: np.ndarray,
    v: np.ndarray,
    expected: float,
    matters: float,
) -> bool:
    """Whether the central difference along v is what is expected, at one of three steps."""
    for t in (1e-5, 1e-6, 1e-4):
        central = (objective(x + t * v) - objective(x - t * v)) / (2 * t)
        if abs(central - expected) <= SETTLED * max(abs(expected), matters):
            return True
    return False


def sizes(leaf: np.ndarray, coarse: float = 0.0) -> np.ndarray:
    """The step unit of each entry of a leaf: |x_i|, or that of a typical entry where x_i is 0.

    Where φ is coarse, no less than that of a typical entry.
    """
    size = np.abs(leaf)
    finite = size[np.isfinite(size)]
    typical = float(np.sqrt(np.mean(finite**2))) if finite.size else 1.0
    size = np.where(size > (1.0 if coarse else 1e-8) * typical, size, typical)
    return np.where(np.isfinite(size) & (size > 0), size, 1.0)


def slope(
    objective: Callable[[np.ndarray], float],
    x: np.ndarray,
    v: np.ndarray,
    matters: float,
    coarse: float = 0.0,
) -> Slope:
    """The slope of φ = objective at x along v.

    Args:
      objective: a function of one array, float64, to a number.
      x: where.
      v: the direction, shaped as x, each entry in proportion to `sizes` of x.
      matters: how large a slope, or a difference of slopes, is worth settling.
      coarse: the unit of rounding of what φ is computed in; 0: that of float64.
    """
    steps = COARSE_STEPS if coarse else STEPS
    here = objective(x)
    above, below, noise = [], [], []
    rounding = ROUNDINGS * (coarse or float(np.finfo(np.float64).eps))
    for t in steps:
        up, down = objective(x + t * v), objective(x - t * v)
        above.append((up - here) / t)
        below.append((here - down) / t)
        noise.append(rounding * max(abs(here), abs(up), abs(down)) / t)
    return _settle(np.array(below), np.array(above), np.array(noise), matters)


def _settle(below: np.ndarray, above: np.ndarray, noise: np.ndarray, matters: float) -> Slope:
    """The sides at the smallest step from which the next larger one hardly differs."""
    sides = np.abs([below, above])
    matters = max(matters, FLAT * float(np.max(sides, where=np.isfinite(sides), initial=0)))
    for k in range(len(noise) - 1, 0, -1):
        size = max(abs(below[k]), abs(above[k]), matters)
        moved = max(abs(below[k] - below[k - 1]), abs(above[k] - above[k - 1]))
        central = abs(below[k] + above[k] - below[k - 1] - above[k - 1]) / 2
        smooth = abs(above[k] - below[k]) <= 0.1 * size and central <= SETTLED * size
        if not np.isfinite(moved) or noise[k] > SETTLED * size:
            continue
        if smooth or moved <= 10 * SETTLED * size:
            return Slope(float(below[k]), float(above[k]), float(central + noise[k]), True)
    return Slope(float(below[-1]), float(above[-1]), float(noise[-1]), False)
