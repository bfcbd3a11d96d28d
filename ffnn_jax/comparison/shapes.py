"""A gradient of the wrong shape: the right one transposed, not summed, or something else."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.gradcheck import Diagnosis


class Mended(NamedTuple):
    """What is wrong with a shape.

    Attributes:
      diagnosis: in words.
      mended: the gradient brought into its shape, its batch flattened; None where that cannot be.
    """

    diagnosis: Diagnosis
    mended: np.ndarray | None


def shape_of(at: Truth, q: Quantity) -> tuple[int, ...]:
    """The shape of a gradient as the learner has to give it."""
    shape = at.grads[q].shape
    return shape if q.kind in ("W", "b") else (*at.batch, shape[-1])


def mend(at: Truth, q: Quantity, mine: np.ndarray, error: Callable[[np.ndarray], float]) -> Mended:
    """Says what is wrong with the shape of mine, and brings it into the right one.

    Args:
      at: the truth.
      q: which gradient.
      mine: what came.
      error: how far an array of the right shape is from the truth.
    """
    expected, truth = shape_of(at, q), at.grads[q]
    came = f"{q.symbol} has the shape {expected}, and this has {mine.shape}"
    tried = [
        *_turned(q, mine, expected),
        *_unsummed(at, q, mine, expected),
        *_other(at, q, mine, expected),
    ]
    size = float(np.linalg.norm(truth))
    found = [(error(at.rows(q, value)), fault, said, value) for fault, said, value in tried]
    if not found:
        return Mended(Diagnosis("wrong-shape", came), None)
    least, fault, said, value = min(found, key=lambda one: one[0])
    value = at.rows(q, value)
    right = least <= 0.05 * size
    but = "" if right else "; its numbers are wrong besides"
    return Mended(Diagnosis(fault, f"{said}: {came}{but}"), value)


def _turned(q: Quantity, mine: np.ndarray, expected: tuple[int, ...]):
    if mine.ndim == 2 and mine.T.shape == expected:
        examples = "" if q.kind in ("W", "b") else ", with the examples as columns"
        yield "transposed", f"this is the transpose{examples}", mine.T


def _unsummed(at: Truth, q: Quantity, mine: np.ndarray, expected: tuple[int, ...]):
    if q.kind not in ("W", "b"):
        return
    for batch in {at.batch, (at.examples,)} - {()}:
        if mine.shape == (*batch, *expected):
            axes = tuple(range(len(batch)))
            yield "missing-sum", "not summed over the batch", mine.sum(axis=axes)
        if q.kind == "b" and mine.shape == (*expected, *batch) and len(batch) == 1:
            said = "not summed over the batch, and with the examples as columns"
            yield "missing-sum", said, mine.sum(axis=-1)


def _other(at: Truth, q: Quantity, mine: np.ndarray, expected: tuple[int, ...]):
    if mine.size == math.prod(expected) and _squeezed(mine.shape) == _squeezed(expected):
        yield "wrong-shape", "the right number of entries in another shape", mine.reshape(expected)
    elif q.kind not in ("W", "b") and mine.shape == (at.examples, expected[-1]):
        yield "wrong-shape", "the batch is flattened", mine.reshape(expected)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
