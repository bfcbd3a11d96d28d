"""What is known of the learner's gradients so far, and how far each may be from the truth."""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ffnn_jax.comparison.quantities import Quantity, above, backward_order
from ffnn_jax.comparison.truth import Grads, Spread, Truth, by_formula, spread

FACTOR = 8.0  # how many times the error of our sweep, or the error to expect, is allowed
ROUNDINGS = 4.0  # how many units of the dtype's rounding are allowed where our sweep is exact
FIT = 32.0  # within how many roundings a mistake explains a gradient, at least
LOOSEST_FIT = 0.05  # and within what, at most


class Error(NamedTuple):
    """How far a gradient is from another, and how far rounding may take it: norms, not ratios."""

    size: float
    close: float
    far: float
    truth: float

    def relative(self, value: float) -> float:
        """A norm as a part of the gradient's."""
        return value / self.truth if self.truth > 0 else (0.0 if value == 0 else float("inf"))


class Learner:
    """What is known of the learner's gradients so far, from ∇ŷ down."""

    def __init__(self, at: Truth, given: dict[Quantity, np.ndarray], ours: list[Grads], u: float):
        self.at, self.given, self.ours = at, given, ours
        self.u = max([u, *(float(jnp.finfo(t.dtype).eps) for t in given.values() if _floating(t))])
        finite = {q: np.where(np.isfinite(t), t, at.grads[q]) for q, t in ours[0].items()}
        with np.errstate(all="ignore"):
            self.spread: Spread = spread(at, finite, self.u)
        self.held: Grads = {}  # what the learner has, where it is not the truth
        self.why: dict[Quantity, str] = {}  # of those: wrong, or kink
        self.seen: list[Quantity] = []
        self.tolerances: dict[Quantity, float] = {}

    # Errors

    def error(self, q: Quantity, mine: np.ndarray) -> Error:
        """The error of a gradient, at the entries that the dtype can hold."""
        truth, ours = self.at.grads[q], self.ours[0][q]
        settled = np.isfinite(truth) & np.isfinite(ours)
        if not np.any(settled):
            return Error(0.0, -1.0, 1.0, 0.0)  # the dtype holds none of it: unsure
        size = _norm(truth[settled])
        off = _norm((ours - truth)[settled])
        error = _norm((mine - truth)[settled])
        close = FACTOR * off + ROUNDINGS * self.u * size
        far = close + FACTOR * _norm(self.spread.grads[q][settled])
        return Error(error if np.isfinite(error) else float("inf"), close, far, size)

    def is_right(self, error: Error) -> bool:
        """Whether rounding explains the error."""
        return error.size <= max(error.close, error.far)

    def bound(self, q: Quantity, error: Error | None = None) -> float:
        """The relative error that is allowed: the close bound where it is kept, or the far one."""
        error = error or self.error(q, self.at.grads[q])
        return error.relative(error.close if error.size <= error.close else error.far)

    def relative(self, q: Quantity, mine: np.ndarray) -> float:
        """The relative error of a gradient."""
        error = self.error(q, mine)
        return error.relative(error.size)

    def fits(self, q: Quantity, mine: np.ndarray, candidate: np.ndarray) -> bool:
        """Whether a candidate explains mine."""
        return self.misfit(q, mine, candidate) <= 1

    def misfit(self, q: Quantity, mine: np.ndarray, candidate: np.ndarray) -> float:
        """The distance of a candidate, 1 where it just explains mine."""
        size = _norm(candidate)
        if not (np.isfinite(size) and size > 0) or candidate.shape != mine.shape:
            return float("inf")
        misfit = _norm(mine - candidate) / (self.tolerance(q) * size)
        return misfit if np.isfinite(misfit) else float("inf")

    def tolerance(self, q: Quantity) -> float:
        """The relative difference within which something explains q."""
        if q not in self.tolerances:
            error = self.error(q, self.at.grads[q])
            self.tolerances[q] = max(FIT * self.u, min(error.relative(error.far), LOOSEST_FIT))
        return self.tolerances[q]

    # What the learner has

    def known(self, only: Quantity | None = None, others: Grads | None = None) -> Grads:
        """Every gradient as the learner must have it, going by what was given so far.

        Args:
          only: the one that is asked for: only those above it are computed besides.
          others: what to suppose the learner has.
        """
        held = self.held | (others or {})
        order = backward_order(self.at.net.depth) if only is None else self.path(only)
        known: Grads = {}
        for q in order:
            if q in held:
                known[q] = held[q]
            elif self.clean(q, held):
                known[q] = self.at.grads[q]
            else:
                known[q] = by_formula(self.at, q, known)
        return known

    def path(self, q: Quantity) -> list[Quantity]:
        """From ∇ŷ down to q."""
        path, up = [q], above(q, self.at.net.depth)
        while up is not None:
            path.append(up)
            up = above(up, self.at.net.depth)
        return path[::-1]

    def clean(self, q: Quantity, held: Grads) -> bool:
        """Whether nothing held went into q: the nearest given one above it is right."""
        return self.source(q, held) is None

    def source(self, q: Quantity, held: Grads | None = None) -> Quantity | None:
        """The nearest gradient above q that is not the truth; None where a right one is nearer."""
        held = self.held if held is None else held
        up = above(q, self.at.net.depth)
        while up is not None:
            if up in held:
                return up
            if up in self.given and up in self.seen:
                return None
            up = above(up, self.at.net.depth)
        return None

    def hidden(self, q: Quantity) -> Iterator[Quantity]:
        """The gradients above q, nearest first, that were not given."""
        up = above(q, self.at.net.depth)
        while up is not None and up not in self.given:
            yield up
            up = above(up, self.at.net.depth)

    def keep(self, q: Quantity, value: np.ndarray, why: str) -> None:
        """The learner has this value of q; why: wrong, or kink."""
        self.held[q], self.why[q] = value, why

    def forget(self, q: Quantity) -> None:
        """q is right, so what was supposed of gradients above it that were not given is not so."""
        for up in self.hidden(q):
            self.held.pop(up, None)


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


def _floating(array: np.ndarray) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)
