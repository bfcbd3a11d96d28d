"""An explanation for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp

from ffnn_jax.explain import digits
from ffnn_jax.explain.chain import Factor, Path
from ffnn_jax.explain.symbols import LOSS, derivative
from ffnn_jax.network import loss_of

if TYPE_CHECKING:
    from ffnn_jax.explain.explanation import WeightExplanation

WIDTH = 100
OUTPUT, HIDDEN, WEIGHTS = (
    "talk to the output layer",
    "talk to the previous hidden layer",
    "and now talk to the weights",
)
TALK = {  # the lecture's words, by the kind of a factor
    "loss": OUTPUT,
    "output": OUTPUT,
    "weight": HIDDEN,
    "activation": HIDDEN,
    "input": WEIGHTS,
}


def written(e: WeightExplanation) -> str:
    """The explanation, at most 100 columns wide where its words allow it."""
    parts = [*textwrap.wrap(title(e), WIDTH), "", *_formulas(e), "", *_factors(e), ""]
    if _is_silent(e):
        parts += [*textwrap.wrap(silence(e), WIDTH), ""]
    elif e.path_count > 1:
        parts += [*_paths(e), ""]
    return "\n".join([*parts, *_ways(e), "", *textwrap.wrap(why(e), WIDTH)])


def title(e: WeightExplanation) -> str:
    """Which derivative, of which network."""
    widths = "-".join(map(str, e.net.sizes))
    names = list(dict.fromkeys((*e.net.activations, e.net.output, loss_of(e.net).name)))
    return (
        f"{derivative('ℒ', e.name)} = {digits.stated(e.gradient)} of one example in a {widths} "
        f"network ({', '.join(names)}), L = {e.net.depth}"
    )


def _formulas(e: WeightExplanation) -> Iterator[str]:
    """In symbols, in numbers, and the product."""
    name = derivative(LOSS, e.name)
    numbers = digits.enough([f.value for f in e.factors], e.gradient)
    left = " " * len(name)
    yield from _wrapped(e.formula, f"{left}   ", " · ")
    yield from _wrapped(f"{left} = {' × '.join(numbers)}", f"{left}   ", " × ")
    yield f"{left} = {digits.stated(e.gradient)}"
    yield from (f"{left}   ({said})" for said in remarks(e))
    yield ""
    yield "just compressing the chain rule:"
    yield f"  {e.compressed_formula}"
    head, *rest = (factor.value for factor in e.compressed)
    two = digits.enough([head, math.prod(rest)], e.gradient)
    yield f"  {left} = {' × '.join(two)} = {digits.stated(e.gradient)}"


def remarks(e: WeightExplanation) -> Iterator[str]:
    """What two of the names mean."""
    if e.symbols.thin:
        yield "a_L11, as the notes have it here, is a_L1, the one unit of layer L"
    if e.symbols.label is not None and e.symbols.outputs > 1:
        yield f"ℓ = {e.symbols.label}, the true class; it is {e.symbols.label - 1} counted from 0"
    if e.paths[0].output is None:
        yield "the paths start at ∂ℒ/∂a_L, as ∂ℒ/∂ŷ is no finite number here"


def _wrapped(line: str, indent: str, between: str) -> list[str]:
    """A line broken where factors meet."""
    lines, current = [], ""
    for piece in line.split(between):
        longer = f"{current}{between}{piece}" if current else piece
        if current and len(longer) > WIDTH:
            lines.append(current + between.rstrip())
            longer = indent + piece
        current = longer
    return [*lines, current]


def _factors(e: WeightExplanation) -> Iterator[str]:
    """Each factor, its local formula and its number, under the lecture's words."""
    yield "factor by factor"
    said = ""
    if e.layer < e.net.depth and e.path_count > 1 and not _is_silent(e):
        yield f"  {OUTPUT}"
        yield "    ∂ℒ(θ)/∂a_Lm of each output m: its factors are in the paths below"
    numbers = digits.enough([f.value for f in e.factors], e.gradient)
    for factor, number in zip(e.factors, numbers, strict=True):
        if heading(e, factor) != said:
            said = heading(e, factor)
            yield f"  {said}"
        yield from textwrap.wrap(
            local(factor, number), WIDTH, initial_indent="    ", subsequent_indent="        "
        )


def heading(e: WeightExplanation, factor: Factor) -> str:
    """To whom one talks with this factor."""
    above_weight = factor.kind == "loss" and "/∂h" in factor.name
    return HIDDEN if above_weight and e.layer < e.net.depth else TALK[factor.kind]


def local(factor: Factor, number: str) -> str:
    """Such as "∂h_21/∂a_21 = σ′(a_21) = h_21(1 − h_21) = 0.235, h_21 = 0.62"."""
    chain = [factor.name, *filter(None, [factor.formula])]
    if factor.formula != number:
        chain.append(number)
    given = ", ".join(f"{symbol} = {digits.given(value)}" for symbol, value in factor.given)
    return " = ".join(chain) + (f"   with {given}" if given else "")


def _paths(e: WeightExplanation) -> Iterator[str]:
    """The strongest paths, each with its numbers."""
    yield from textwrap.wrap(counted(e), WIDTH)
    for rank, path in enumerate(e.paths, start=1):
        yield f"  {rank}. {route(e, path)}   {digits.percent(path.share)}"
        numbers = digits.enough([f.value for f in path.factors], path.product)
        names = " · ".join(f.name for f in path.factors)
        yield from _wrapped(f"     {names}", "     ", " · ")
        yield from _wrapped(
            f"     = {' × '.join(numbers)} = {digits.stated(path.product)}", "       ", " × "
        )


def counted(e: WeightExplanation) -> str:
    """How many paths there are, and what those that are listed explain."""
    of = f"Σ |product| = {digits.stated(e.size)}"
    told = f"the strongest, with {digits.percent(e.share)} of {of}"
    if len(e.paths) == e.path_count:
        told = f"here all of them, each with its share of {of}"
    elif len(e.paths) > 1:
        told = (
            f"the {len(e.paths)} strongest, which hold {digits.percent(e.share)} of {of}, each "
            "with its share"
        )
    return f"the sum over {e.path_count:,} paths from {e.name} to the loss; {told}"


def _is_silent(e: WeightExplanation) -> bool:
    """Whether every path has the product 0."""
    return e.size == e.gradient == 0


def silence(e: WeightExplanation) -> str:
    """Why every path has the product 0: the factor of the compressed chain that is 0."""
    *above, last = e.compressed
    what = "the weight" if e.j is not None else "the bias"
    learns = f"and {what} learns nothing from it."
    if last.value == 0:
        return f"{last.formula} = 0 at this example: nothing comes in on this weight, {learns}"
    head, *slopes = above
    if slopes and slopes[0].value == 0:
        symbol, value = slopes[0].given[0]
        sign = " < 0" if value < 0 else ""
        name = e.net.activations[e.layer - 1]
        state = "off" if name == "relu" else "flat"
        return (
            f"{symbol} = {digits.stated(value)}{sign}: this {name} is {state} at this example, so "
            f"no path passes, {learns}"
        )
    if head.value == 0:
        return f"{head.name} = 0 at this example: no path from above comes down to it, {learns}"
    return "The product of the factors is smaller than float64 can hold."


def route(e: WeightExplanation, path: Path) -> str:
    """The units on the way, such as a_12 → a_23 → a_L1 → ŷ_1."""
    units = [e.symbols.a(e.layer + step, m) for step, m in enumerate(path.units)]
    return " → ".join([*units, *([] if path.output is None else [e.symbols.yhat(path.output)])])


def ways(e: WeightExplanation) -> list[tuple[str, str, str, str]]:
    """(who computed it, the number, its difference from the gradient, what rounding allows)."""
    rows = [
        ("the sweep, float64", "float64", e.gradient, None),
        ("the product above, float64", "float64", e.product, e.factors_bound),
        (f"the sweep, {e.dtype}", e.dtype, e.sweep, e.bound),
        (f"jax.grad, {e.dtype}", e.dtype, e.autodiff, e.bound),
        ("central difference, float64", "float64", e.difference, e.difference_bound),
    ]
    return [
        (
            name,
            digits.whole(value, dtype),
            "" if bound is None else digits.apart(value - e.gradient),
            "" if bound is None else digits.apart(bound),
        )
        for name, dtype, value, bound in rows
    ]


def _ways(e: WeightExplanation) -> Iterator[str]:
    """The same number by every way."""
    yield f"{'the same number':28}  {'':24}  {'differs by':>10}  {'allowed':>8}"
    for name, value, apart, allowed in ways(e):
        yield f"  {name:28}{value:>24}  {apart:>10}  {allowed:>8}".rstrip()


def why(e: WeightExplanation) -> str:
    """Why they do not agree to the last bit, where they do not."""
    if {e.gradient} == {e.product, e.sweep, e.autodiff, e.difference}:
        return "Here all agree to the last bit."
    u = float(jnp.finfo(e.dtype).eps) / 2
    cancels = e.size / abs(e.gradient) if e.gradient else float("inf")
    paths = ""
    if e.path_count > 1 and 2 < cancels < float("inf"):
        paths = f"; the paths cancel, their sizes adding to {cancels:.3g} times the gradient"
    return (
        "Why the numbers may differ in the last digits: the sweep and jax.grad multiply the same "
        f"factors, but in another order, and in {e.dtype} each operation rounds by up to u = eps/2 "
        f"= {u:.1e} of its result{paths}. "
        "Allowed is the rounding of every number, times how much the gradient depends on it. A "
        "central difference is cut off after its first term, and subtracts two losses that are "
        "almost equal."
    )
