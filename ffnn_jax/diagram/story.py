"""What a step of the backward pass says, and of which network it is told."""

from typing import NamedTuple

from ffnn_jax.diagram import names
from ffnn_jax.diagram.quantities import Key, Quantities
from ffnn_jax.network import Network

DIGITS = 5  # so that a pocket calculator finds the same


class Step(NamedTuple):
    """One step; texts are in the notation of `names`.

    Attributes:
      title: what is computed.
      formula: how.
      words: why, in the lecture's words.
      example: one entry of it, with the numbers put in.
      new: the quantities that are there from here on.
    """

    title: str
    formula: str
    words: str
    example: str
    new: tuple[Key, ...]


class Story(NamedTuple):
    """What the steps are told of: examples are of the unit `of[k]` of layer k, and k = 0 inputs."""

    net: Network
    known: Quantities
    of: tuple[int, ...]

    def value(self, name: str, k: int, *indices: int) -> float:
        """One number; indices count from 1."""
        return float(self.known.of(name, k)[tuple(i - 1 for i in indices)])

    def name(self, name: str, k: int, i: int) -> str:
        """What one unit's quantity is called."""
        return names.unit(name, k, i, self.net.depth)


def number(value: float) -> str:
    """A number in the digits of the box."""
    return names.short(value, DIGITS)


def factor(value: float) -> str:
    """The same as a factor: a negative one stands in brackets."""
    return names.factor(value, DIGITS)
