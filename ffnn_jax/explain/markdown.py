"""An explanation as Markdown with LaTeX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffnn_jax.explain import digits, text
from ffnn_jax.explain.chain import Factor
from ffnn_jax.explain.symbols import LOSS, derivative, derivative_latex, latex

if TYPE_CHECKING:
    from ffnn_jax.explain.explanation import WeightExplanation


def written(e: WeightExplanation) -> str:
    """Headings, formulas between double dollars, and tables."""
    parts = [f"## {_math(derivative('ℒ', e.name))}", "", text.title(e).split(" of ", 1)[1], ""]
    parts += [_display(story(e)), "", *_formulas(e), "", *_factors(e), ""]
    if e.size == e.gradient == 0:
        parts += [text.silence(e), ""]
    elif e.path_count > 1:
        parts += [*_paths(e), ""]
    return "\n".join([*parts, *_ways(e), "", text.why(e), ""])


def story(e: WeightExplanation) -> str:
    """The chain rule layer by layer, with the lecture's words under it."""
    L, k = e.net.depth, e.layer
    weight = derivative_latex(derivative(LOSS, e.name))
    parts = [_under(weight, "Talk to the weight directly") + " ="]
    pairs = [(LOSS, "ŷ"), ("ŷ", f"a_{L}")]
    parts.append(_under(_chain(pairs), "Talk to the output layer"))
    for r in range(L, k, -1):
        pairs = [(f"a_{r}", f"h_{r - 1}"), (f"h_{r - 1}", f"a_{r - 1}")]
        parts.append(_under(_chain(pairs), "Talk to the previous hidden layer"))
    parts.append(_under(_chain([(f"a_{k}", e.name)]), "and now talk to the weights"))
    return " ".join(parts)


def _chain(pairs: list[tuple[str, str]]) -> str:
    return " ".join(
        rf"\frac{{\partial {_short(top)}}}{{\partial {_short(bottom)}}}" for top, bottom in pairs
    )


def _short(name: str) -> str:
    r"""A name, with a_3 for a_{3}."""
    letter, _, index = name.partition("_")
    return f"{letter}_{index}" if len(index) == 1 and letter != "ŷ" else latex(name)


def _under(formula: str, words: str) -> str:
    return rf"\underbrace{{{formula}}}_{{\text{{{words}}}}}"


def _math(formula: str) -> str:
    return f"${latex(formula)}$"


def _display(formula: str) -> str:
    return f"$$\n{formula}\n$$"


def _formulas(e: WeightExplanation) -> Iterator[str]:
    numbers = digits.enough([f.value for f in e.factors], e.gradient)
    yield _display(e.latex)
    yield ""
    yield _display(f"= {_product(numbers)} = {latex(digits.stated(e.gradient))}")
    yield ""
    yield "Just compressing the chain rule:"
    yield ""
    yield _display(e.compressed_latex)
    for said in text.remarks(e):
        yield ""
        yield f"({said})"


def _product(numbers: list[str]) -> str:
    """Numbers with a dot between, the negative ones in brackets."""
    return r" \cdot ".join(f"({latex(n)})" if n.startswith("-") else latex(n) for n in numbers)


def _factors(e: WeightExplanation) -> Iterator[str]:
    yield "| to whom | factor | formula | with | value |"
    yield "|---|---|---|---|--:|"
    numbers = digits.enough([f.value for f in e.factors], e.gradient)
    said = ""
    for factor, number in zip(e.factors, numbers, strict=True):
        words = text.heading(e, factor)
        yield _row(factor, number, "" if words == said else words)
        said = words


def _row(factor: Factor, number: str, words: str) -> str:
    name = f"${derivative_latex(factor.name)}$"
    formula = _math(factor.formula) if factor.formula else ""
    given = ", ".join(_math(f"{symbol} = {digits.given(value)}") for symbol, value in factor.given)
    return f"| {words} | {name} | {formula} | {given} | ${latex(number)}$ |"


def _paths(e: WeightExplanation) -> Iterator[str]:
    yield text.counted(e).replace(e.name, _math(e.name)) + "."
    yield ""
    yield "| path | factors | product | share |"
    yield "|---|---|--:|--:|"
    for path in e.paths:
        numbers = digits.enough([f.value for f in path.factors], path.product)
        way = _math(text.route(e, path)).replace("→", r"\to")
        product = latex(digits.stated(path.product))
        share = digits.percent(path.share)
        yield f"| {way} | ${_product(numbers)}$ | ${product}$ | {share} |"


def _ways(e: WeightExplanation) -> Iterator[str]:
    yield "| the same number | | differs by | allowed |"
    yield "|---|--:|--:|--:|"
    for name, value, apart, allowed in text.ways(e):
        yield f"| {name} | {value} | {apart} | {allowed} |"
