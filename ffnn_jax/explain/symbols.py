"""How the lecture writes what is in a network, as text and as LaTeX.

Indices count from 1, and the last layer is written L: a_21, h_21, W_211, and a_L1, W_L11. Where an
index has more than one digit there are commas: W_1,12,3. The chain of a deep thin network writes
the one unit of its last layer a_L11, as the notes do; everywhere else it is a_L1, as they do too.
"""

import re
from typing import NamedTuple

LOSS = "ℒ(θ)"
LATEX = {
    "ℒ": r"\mathcal{L}",
    "θ": r"\theta",
    "∂": r"\partial ",
    "ŷ": r"\hat{y}",
    "ℓ": r"\ell",
    "σ": r"\sigma",
    "λ": r"\lambda",
    "α": r"\alpha",
    "δ": r"\delta",
    "τ": r"\tau",
    "ε": r"\varepsilon",
    "π": r"\pi",
    "√": r"\sqrt",
    "−": "-",
    "·": r"\cdot ",
    "≥": r"\ge ",
    "≤": r"\le ",
    "′": "'",
    "²": "^2",
    "³": "^3",
    "Σ": r"\sum",
    "∞": r"\infty",
}
WORDS = ("where", "else", "held between", "and")
NAMES = "leaky_relu|softplus|relu|elu|selu|gelu|silu|tanh|sign|identity"
WRITTEN = re.compile(rf"\b({NAMES}|{'|'.join(WORDS)})\b")


class Symbols(NamedTuple):
    """The names of what is in one network; a unit is a number, from 1, or a letter.

    Attributes:
      depth: L.
      outputs: n_L.
      label: the number of the true class, from 1, where it alone matters to the loss: it is then
        called ℓ. None elsewhere.
      thin: whether one unit a layer leads from the weight to the loss.
    """

    depth: int
    outputs: int
    label: int | None
    thin: bool

    def a(self, k: int, i: int | str) -> str:
        """a_ki."""
        return self._unit("a", k, i, 1) if self.thin and k == self.depth else self._unit("a", k, i)

    def h(self, k: int, i: int | str) -> str:
        """h_ki; h_0i is x_i."""
        return self._unit("h", k, i)

    def W(self, k: int, i: int | str, j: int) -> str:
        """W_kij."""
        return self._unit("W", k, i, j)

    def b(self, k: int, i: int | str) -> str:
        """b_ki."""
        return self._unit("b", k, i)

    def yhat(self, c: int) -> str:
        """ŷ_c; ŷ_ℓ of the true class; ŷ of a single output."""
        return "ŷ" + self._output(c)

    def y(self, c: int) -> str:
        """y_c, named as ŷ_c is."""
        return "y" + self._output(c)

    def _output(self, c: int) -> str:
        if self.outputs == 1:
            return ""
        return "_ℓ" if c == self.label else f"_{c}"

    def _unit(self, letter: str, k: int, *numbers: int | str) -> str:
        parts = ["L" if k == self.depth else str(k), *map(str, numbers)]
        return f"{letter}_{('' if all(len(p) == 1 for p in parts) else ',').join(parts)}"


def derivative(top: str, bottom: str) -> str:
    """∂top/∂bottom."""
    return f"∂{top}/∂{bottom}"


def parts_of(name: str) -> tuple[str, str]:
    """(top, bottom) of ∂top/∂bottom."""
    top, bottom = name.split("/")
    return top.removeprefix("∂"), bottom.removeprefix("∂")


def derivative_latex(name: str) -> str:
    r"""\frac{\partial a_{21}}{\partial h_{11}} of ∂a_21/∂h_11."""
    top, bottom = parts_of(name)
    return rf"\frac{{\partial {latex(top)}}}{{\partial {latex(bottom)}}}"


def latex(text: str) -> str:
    """A formula of this folder as LaTeX, without the dollars."""
    text = WRITTEN.sub(_upright, text)
    text = re.sub(r"(?<=[abhWxyŷΣ])_([\dLℓm,]*[\dLℓm])", r"_{\1}", text)
    text = re.sub(r"√\(([^()]*)\)", r"√{\1}", text)
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"(-?\d(?:\.\d+)?)e([+-])0*(\d+)", r"\1 \\times 10^{\2\3}", text)
    for symbol, written in LATEX.items():
        text = text.replace(symbol, written)
    return text.replace("^{+", "^{")


def _upright(match: re.Match[str]) -> str:
    word = match[1].replace("_", r"\_")
    return rf"\ \text{{{word}}}\ " if word in WORDS else rf"\mathrm{{{word}}}"
