"""What `responsibility` found: a record for each output, layer, unit and weight, and the examples.

Numbers of units, weights and examples are the lecture's, counted from 1; arrays are NumPy's, in
float64, whose entries count from 0 as everywhere.

Where the gradient dies or explodes. Glorot and Bengio 2010 (section 4.2.1) ask that ‖∇a_k‖ be the
same in every layer: with the starting weights of their day it shrank by √(1/3) a layer, to about a
tenth over five layers, and such networks learned worse. So a gradient that changes by that much
from one layer to the next dies or explodes there (`STEEP`), and one that changes by the square of
it on its whole way does so bit by bit (`STEEP_IN_ALL`).
"""

import math
from typing import NamedTuple

import numpy as np

from ffnn_jax.backprop import Gradients
from ffnn_jax.explain import words
from ffnn_jax.network import Network

STEEP = 10.0  # ‖∇a_k‖ against ‖∇a_{k+1}‖, either way
STEEP_IN_ALL = STEEP**2  # ‖∇a_1‖ against ‖∇a_L‖, either way


class OutputResponsibility(NamedTuple):
    """One output; of a batch, sums of gradients and weighted means of values.

    Attributes:
      output: j, from 1.
      yhat: ŷ_j.
      y: y_j as a number, 1 or 0 of a class; None where y of a loss of your own is none.
      grad_yhat: ∂ℒ/∂ŷ_j.
      grad_a: ∂ℒ/∂a_Lj, which is ∂ℒ/∂b_Lj too.
      size: Σ_n |∂ℒ/∂a_nLj|.
      share: of the sizes of all outputs, in [0, 1].
    """

    output: int
    yhat: float
    y: float | None
    grad_yhat: float
    grad_a: float
    size: float
    share: float


class UnitResponsibility(NamedTuple):
    """One hidden unit; of a batch, sums of gradients and weighted means of values.

    Attributes:
      unit: i, from 1.
      h: h_ki.
      slope: g′(a_ki).
      grad_h: ∂ℒ/∂h_ki.
      grad_a: ∂ℒ/∂a_ki, which is ∂ℒ/∂b_ki too.
      size: Σ_n |∂ℒ/∂a_nki|.
      share: of the sizes of all units of the layer, in [0, 1].
    """

    unit: int
    h: float
    slope: float
    grad_h: float
    grad_a: float
    size: float
    share: float


class WeightResponsibility(NamedTuple):
    """One weight W_kij.

    Attributes:
      i: the unit of layer k that it leads to, from 1.
      j: the unit of layer k − 1 that it comes from, from 1.
      gradient: ∂ℒ/∂W_kij.
      share: |∂ℒ/∂W_kij| of the sum over the layer, in [0, 1].
    """

    i: int
    j: int
    gradient: float
    share: float


class LayerResponsibility(NamedTuple):
    """One layer. Norms are over all its entries, ‖∇a_k‖ and ‖∇h_k‖ over the examples too.

    Attributes:
      layer: k, from 1.
      activation: the name of g; of layer L that of the output.
      grad_a: ‖∇a_k‖.
      grad_h: ‖∇h_k‖; ‖∇ŷ‖ of layer L.
      grad_W: ‖∇W_k‖.
      grad_b: ‖∇b_k‖.
      ratio: ‖∇a_k‖ / ‖∇a_{k+1}‖; None of layer L, and where nothing arrives.
      flow: "steady", "dies" or "explodes", by `STEEP`, "stops" where ∇a_k is 0, "silent" where
        ∇a_{k+1} is 0 already, "overflows" where one of the two is no finite number.
      sizes: Σ_n |∂ℒ/∂a_nki| of every unit, (n_k,).
      units: the strongest of a hidden layer, the strongest first; none of size 0.
      weights: the same of its weights, by |∂ℒ/∂W_kij|.
      dead: the units, from 1, that are dead at these examples, as `unit_statistics` has it.
      saturated: the units that are not dead, but saturated at each of these examples.
      saturated_share: of the entries of a_k, as `unit_statistics` has it.
    """

    layer: int
    activation: str
    grad_a: float
    grad_h: float
    grad_W: float  # noqa: N815  ∇W_k, as everywhere
    grad_b: float
    ratio: float | None
    flow: str
    sizes: np.ndarray
    units: tuple[UnitResponsibility, ...]
    weights: tuple[WeightResponsibility, ...]
    dead: tuple[int, ...]
    saturated: tuple[int, ...]
    saturated_share: float


class ExampleResponsibility(NamedTuple):
    """The examples, N of them, in the order of x, row by row.

    Attributes:
      losses: ℓ_n, (N,).
      shares: s_n, what each counts, (N,); their sum is 1.
      norms: ‖g_n‖, (N,).
      pulls: s_n ‖g_n‖ of each layer, (L, N).
      along: what each adds to ‖∇ℒ‖, (N,); their sum is ‖∇ℒ‖.
      agreement: ‖Σ_n s_n g_n‖ / Σ_n s_n ‖g_n‖, in [0, 1]; 1 where nothing pulls at all.
      layer_agreement: the same in each layer alone, (L,).
      unrelated: what agreement would be if all g_n stood at right angles to each other. Its square
        over that of agreement is the gradient diversity of Yin et al. 2018 for equal shares.
      hardest: those that pull hardest, numbered from 1, the hardest first.
    """

    losses: np.ndarray
    shares: np.ndarray
    norms: np.ndarray
    pulls: np.ndarray
    along: np.ndarray
    agreement: float
    layer_agreement: np.ndarray
    unrelated: float
    hardest: tuple[int, ...]


class Responsibility(NamedTuple):
    """Who is responsible for the loss; `str()` tells it in words, from the output down.

    Attributes:
      net: the network.
      loss: ℒ.
      outputs: one `OutputResponsibility` for each output, in order.
      layers: one `LayerResponsibility` for each layer; `layers[k-1]` is layer k.
      examples: the `ExampleResponsibility`.
      gradients: every ∇, float64 of NumPy, shaped as from `ffnn_jax.gradients`.
      strongest: how many of a kind are named, at most.
      distributions: whether the targets of each example add to 1.
    """

    net: Network
    loss: float
    outputs: tuple[OutputResponsibility, ...]
    layers: tuple[LayerResponsibility, ...]
    examples: ExampleResponsibility
    gradients: Gradients
    strongest: int
    distributions: bool

    @property
    def ratio(self) -> float | None:
        """‖∇a_1‖ / ‖∇a_L‖; None where nothing leaves the output."""
        return ratio_of(self.layers[0].grad_a, self.layers[-1].grad_a)

    @property
    def flow(self) -> str:
        """As of a layer, from the output to layer 1, by `STEEP_IN_ALL`."""
        return flow_of(self.layers[0].grad_a, self.layers[-1].grad_a, STEEP_IN_ALL)

    def __str__(self) -> str:
        return words.as_text(words.story(self))

    def markdown(self) -> str:
        """The same words as Markdown."""
        return words.as_markdown(words.story(self))


def ratio_of(here: float, above: float) -> float | None:
    """‖∇a_k‖ / ‖∇a‖ of a layer above; None where that is 0."""
    return here / above if above > 0 else None


def flow_of(here: float, above: float, steep: float) -> str:
    """What becomes of the gradient on the way, as `LayerResponsibility` has it."""
    if above == 0:
        return "silent"
    if here == 0:
        return "stops"
    if not (math.isfinite(here) and math.isfinite(above)):
        return "overflows"
    if here * steep < above:
        return "dies"
    return "explodes" if here > steep * above else "steady"
