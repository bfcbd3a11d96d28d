"""What `explain_weight` found, as an object; `text` and `markdown` write it out."""

import dataclasses
import math

from ffnn_jax.explain import markdown, text
from ffnn_jax.explain.chain import Factor, Path
from ffnn_jax.explain.symbols import LOSS, Symbols, derivative, derivative_latex, parts_of
from ffnn_jax.network import Network


@dataclasses.dataclass(frozen=True)
class WeightExplanation:
    """∂ℒ/∂W_kij, or ∂ℒ/∂b_ki, of one example; `str(explanation)` is for a terminal.

    Attributes:
      net: the network.
      layer: k, from 1.
      i: the unit of layer k, from 1.
      j: the unit of layer k − 1, from 1; None for the bias.
      gradient: the sum over all paths, by the sweep in float64.
      factors: the chain, from the loss down to the weight: of the one path where there is one, and
        else compressed, ∂ℒ/∂h_ki · ∂h_ki/∂a_ki · ∂a_ki/∂W_kij, ∂ℒ/∂h_ki being the sum over paths.
      compressed: that of the two which `factors` is not, or the same.
      paths: the strongest paths, strongest first.
      path_count: how many paths there are.
      size: Σ over all paths of |product|.
      factors_bound: how far rounding in float64 may move the product of `factors`, and the sum over
        all paths, from `gradient`.
      dtype: the name of that of the parameters.
      sweep: the same derivative by this library's sweep, in that dtype.
      autodiff: by jax.grad of `loss_autodiff`, in that dtype.
      bound: how far rounding in that dtype may move these two from `gradient`; see `bounds`.
      difference: by a central difference, in float64.
      difference_bound: how far truncation and cancellation may move it from `gradient`.
      symbols: how the parts of the network are called.
    """

    net: Network
    layer: int
    i: int
    j: int | None
    gradient: float
    factors: tuple[Factor, ...]
    compressed: tuple[Factor, ...]
    paths: tuple[Path, ...]
    path_count: int
    size: float
    factors_bound: float
    dtype: str
    sweep: float
    autodiff: float
    bound: float
    difference: float
    difference_bound: float
    symbols: Symbols

    @property
    def name(self) -> str:
        """W_kij or b_ki, as the lecture writes it."""
        if self.j is None:
            return self.symbols.b(self.layer, self.i)
        return self.symbols.W(self.layer, self.i, self.j)

    @property
    def product(self) -> float:
        """The product of `factors`: `gradient`, up to rounding."""
        return math.prod(factor.value for factor in self.factors)

    @property
    def share(self) -> float:
        """How much of `size` the paths that are listed explain, from 0 to 1."""
        return min(math.fsum(path.share for path in self.paths), 1.0)

    @property
    def formula(self) -> str:
        """∂ℒ(θ)/∂W_kij as the product of `factors`, in the lecture's symbols."""
        names = " · ".join(factor.name for factor in self.factors)
        return f"{derivative(LOSS, self.name)} = {names}"

    @property
    def compressed_formula(self) -> str:
        """The chain rule compressed, as ∂ℒ(θ)/∂W_111 = ∂ℒ(θ)/∂h_11 · ∂h_11/∂W_111."""
        names = " · ".join(self._two())
        return f"{derivative(LOSS, self.name)} = {names}"

    @property
    def latex(self) -> str:
        """`formula` as LaTeX, without the dollars."""
        names = " ".join(derivative_latex(factor.name) for factor in self.factors)
        return f"{derivative_latex(derivative(LOSS, self.name))} = {names}"

    @property
    def compressed_latex(self) -> str:
        """`compressed_formula` as LaTeX, without the dollars."""
        names = " ".join(map(derivative_latex, self._two()))
        return f"{derivative_latex(derivative(LOSS, self.name))} = {names}"

    def _two(self) -> tuple[str, str]:
        """∂ℒ/∂h_ki and ∂h_ki/∂W_kij; of the last layer ∂ℒ/∂a_Li and ∂a_Li/∂W_Lij."""
        head = self.compressed[0].name
        return head, derivative(parts_of(head)[1], self.name)

    def __str__(self) -> str:
        return text.written(self)

    def markdown(self) -> str:
        """The same as Markdown with LaTeX between dollars."""
        return markdown.written(self)
