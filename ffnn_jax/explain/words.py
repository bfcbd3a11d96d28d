"""The story of the lecture, told with the numbers of one network: who is responsible for the loss?

First the output layer is talked to, then each hidden layer, then the weights; each but the last
says that it is only as good as what is below it. Of a batch the examples come at the end. Where
there are many outputs, units or weights, the strongest are named, and the share that they hold.
"""

import math
import textwrap
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from ffnn_jax.comparison.quantities import Quantity, formula_of
from ffnn_jax.explain import digits
from ffnn_jax.explain.symbols import Symbols, derivative
from ffnn_jax.losses import SMOOTHED, parts_of
from ffnn_jax.network import loss_of

if TYPE_CHECKING:
    from ffnn_jax.explain.records import (
        LayerResponsibility,
        OutputResponsibility,
        Responsibility,
        UnitResponsibility,
    )

WIDTH = 100  # of a line of text
MOST_NAMED = 8  # layers in the chain of norms; of more the first and the last are named
FLOWS = {
    "steady": "",
    "dies": "; here the gradient dies",
    "explodes": "; here the gradient explodes",
    "stops": "; here the gradient stops",
    "silent": "; no gradient arrives",
    "overflows": "; here the gradient overflows",
}


class Section(NamedTuple):
    """A part of the story: what it is about, and a line for each thing to say."""

    title: str
    lines: list[str]


def story(found: "Responsibility") -> list[Section]:
    """The whole of it, from the output down."""
    hidden = [_hidden_layer(found, k) for k in range(found.net.depth - 1, 0, -1)]
    sections = [_output_layer(found), *hidden, _weights(found)]
    if hidden:
        sections.append(_way_down(found))
    if not _is_one(found):
        sections.append(_examples(found))
    return [Section(_opening(found), []), *sections]


def as_text(sections: list[Section]) -> str:
    """The story for a terminal; no line ends within an equation."""
    lines = []
    for title, said in sections:
        lines.append(title)
        for line in said:
            kept = textwrap.wrap(
                line.replace(" = ", "\0=\0"),
                WIDTH,
                initial_indent="  ",
                subsequent_indent="      ",
                break_on_hyphens=False,
            )
            lines += (part.replace("\0=\0", " = ") for part in kept)
    return "\n".join(lines)


def as_markdown(sections: list[Section]) -> str:
    """The story as Markdown: titles in bold, lines as lists."""
    parts = []
    for title, said in sections:
        parts.append(f"**{title}**")
        if said:
            parts.append("\n".join(f"- {line}" for line in said))
    return "\n\n".join(parts) + "\n"


# The parts ---------------------------------------------------------------------------------------


def _opening(found: "Responsibility") -> str:
    shares = found.examples.shares
    over = f", the mean over {len(shares):,} examples"
    if _is_one(found):
        over = ""
    elif _is_weighted(found):
        over = over.replace("the", "the weighted", 1)
    return f"ℒ = {number(found.loss)}{over}. Who is responsible?"


def _output_layer(found: "Responsibility") -> Section:
    net, L = found.net, found.net.depth
    of = f"a_{L}" if net.output == "linear" else f"{net.output}(a_{L})"
    named = found.outputs
    if len(named) > found.strongest:
        named = sorted(named, key=attrgetter("size"), reverse=True)[: found.strongest]
    lines = [_rule(found), *_named(found, named, len(found.outputs), "outputs", L)]
    tell = _output if _is_one(found) else _output_of_batch
    lines += [tell(found, one) for one in named]
    if not found.layers[-1].grad_a:
        lines.append("“Nothing is asked of me, so I ask nothing of those below me.”")
    else:
        lines.append(f"“I take responsibility for my part. But {_only_as_good_as(L)}”")
    title = f"The output layer, L = {L}: ŷ = {of}, loss {loss_of(net).name}"
    return Section(title, lines)


def _rule(found: "Responsibility") -> str:
    """∇a_L of this output with this loss."""
    rule = formula_of(found.net, Quantity("a", found.net.depth), (len(found.examples.shares),))
    rule = rule.replace("J_Oᵀ ∇ŷ, J_O = I", "∇ŷ")
    if _is_one(found):
        rule = rule.replace("= (ŷ − y)/N", "= ŷ − y").replace("/N", "")
    elif _is_weighted(found):
        rule = rule.replace("/N", " · w/Σw")
    if found.net.output == "softmax" and not found.distributions:
        rule = rule.replace("ŷ − y", "ŷ Σ_c y_c − y")  # which is ŷ − y where the sum is 1
    return rule


def _output(found: "Responsibility", one: "OutputResponsibility") -> str:
    """An output at one example."""
    of, j = _symbols(found), one.output
    yhat = f"{of.yhat(j)} = {number(one.yhat)}"
    family, target = _target(found, one)
    if one.y is None:
        pass
    elif family == "poisson":
        yhat += (
            f", so e^{of.yhat(j)} = {number(_exp(one.yhat))}, and it ought to be {number(one.y)}"
        )
    elif target is None:
        yhat += f" and {of.y(j)} = {number(one.y)}"
    else:
        yhat += f" and it ought to be {number(target)}"
    gradient = f"{derivative('ℒ', of.yhat(j))} = {number(one.grad_yhat)}"
    below = derivative("ℒ", of.a(found.net.depth, j))
    return f"{yhat}: {gradient}, {below} = {number(one.grad_a)}"


def _output_of_batch(found: "Responsibility", one: "OutputResponsibility") -> str:
    """An output over a batch: what it is on average, and how hard it is asked to change."""
    of, j = _symbols(found), one.output
    target = "" if one.y is None else f" and {of.y(j)} {number(one.y)}"
    sums = _sums(found, found.net.depth, j, one)
    return f"{of.yhat(j)} is {number(one.yhat)}{target} on average: {sums}"


def _hidden_layer(found: "Responsibility", k: int) -> Section:
    layer = found.layers[k - 1]
    norms = f"‖∇h_{k}‖ = {number(layer.grad_h)}, and through g′ ‖∇a_{k}‖ = {number(layer.grad_a)}"
    if layer.ratio is not None:
        norms += f", {number(layer.ratio)} times ‖∇a_{k + 1}‖"
    count = len(layer.sizes)
    lines = [norms + FLOWS[layer.flow], *_named(found, layer.units, count, "units", k)]
    tell = _unit if _is_one(found) else _unit_of_batch
    named = layer.units
    if count <= found.strongest:  # few are told in their order, of many the strongest first
        named = sorted(named, key=attrgetter("unit"))
    lines += [tell(found, k, one) for one in named]
    lines += _quiet_units(found, layer)
    if layer.grad_a:
        lines.append(f"“{_only_as_good_as(k)}”")
    return Section(f"h_{k} = {layer.activation}(a_{k})", lines)


def _unit(found: "Responsibility", k: int, one: "UnitResponsibility") -> str:
    """A hidden unit at one example."""
    h, a = _symbols(found).h(k, one.unit), _symbols(found).a(k, one.unit)
    return (
        f"{h} = {number(one.h)}: {derivative('ℒ', h)} = {number(one.grad_h)}, times g′({a}) = "
        f"{number(one.slope)} is {derivative('ℒ', a)} = {number(one.grad_a)}"
    )


def _unit_of_batch(found: "Responsibility", k: int, one: "UnitResponsibility") -> str:
    """A hidden unit over a batch."""
    h = _symbols(found).h(k, one.unit)
    return f"{h} is {number(one.h)} on average: {_sums(found, k, one.unit, one)}"


def _sums(
    found: "Responsibility", k: int, i: int, one: "OutputResponsibility | UnitResponsibility"
) -> str:
    of = _symbols(found)
    return (
        f"Σ|{derivative('ℒ', of.a(k, i))}| = {number(one.size)} ({percent(one.share)} of all), "
        f"{derivative('ℒ', of.b(k, i))} = {number(one.grad_a)}"
    )


def _quiet_units(found: "Responsibility", layer: "LayerResponsibility") -> list[str]:
    """The units through which no gradient comes."""
    lines, count, of = [], len(layer.sizes), _symbols(found)
    where = "at this example" if _is_one(found) else "at each of these examples"
    for which, state in (
        (layer.dead, f"off {where}, h and g′ {'' if layer.activation == 'relu' else 'almost '}0"),
        (layer.saturated, f"saturated {where}, g′ almost 0"),
    ):
        if which:
            some = ", ".join(of.h(layer.layer, i) for i in which[: found.strongest])
            more = ", …" if len(which) > found.strongest else ""
            lines.append(f"{state}: {len(which)} of {count} units ({some}{more})")
    return lines


def _weights(found: "Responsibility") -> Section:
    whole = math.hypot(*(math.hypot(layer.grad_W, layer.grad_b) for layer in found.layers))
    lines = [f"‖∇ℒ‖ = {number(whole)}, over all weights and biases"]
    for layer in reversed(found.layers):
        k = layer.layer
        own = math.hypot(layer.grad_W, layer.grad_b)
        part = f": {percent((own / whole) ** 2)} of ‖∇ℒ‖²" if whole > 0 else ""
        lines.append(f"‖∇W_{k}‖ = {number(layer.grad_W)}, ‖∇b_{k}‖ = {number(layer.grad_b)}{part}")
        if layer.weights:
            lines.append(_strongest_weights(found, layer))
    return Section("And now the weights and biases, which take full responsibility", lines)


def _strongest_weights(found: "Responsibility", layer: "LayerResponsibility") -> str:
    of, k, named = _symbols(found), layer.layer, layer.weights
    told = ", ".join(
        f"{derivative('ℒ', of.W(k, one.i, one.j))} = {number(one.gradient)}" for one in named
    )
    count = found.gradients.params[k - 1].W.size
    if len(named) == count:
        return told
    if len(named) < found.strongest:
        return f"{told}; all others are 0"
    held = percent(sum(one.share for one in named))
    return f"the strongest {len(named)} of {count:,}, with {held} of Σ|∇W_{k}|: {told}"


def _way_down(found: "Responsibility") -> Section:
    layers = list(reversed(found.layers))
    norms = [f"‖∇a_{layer.layer}‖ = {number(layer.grad_a)}" for layer in layers]
    if len(norms) > MOST_NAMED:
        norms[MOST_NAMED // 2 : -MOST_NAMED // 2] = ["…"]
    lines = [" → ".join(norms)]
    for flow in ("dies", "explodes", "stops", "overflows"):
        where = [str(layer.layer) for layer in layers if layer.flow == flow]
        if where:
            lines.append(f"the gradient {flow} at layer {', '.join(where)}")
    if found.ratio is not None and found.flow != "overflows":
        whole = f"‖∇a_1‖ is {number(found.ratio)} times ‖∇a_{len(layers)}‖"
        told = {"dies": ": all in all it dies", "explodes": ": all in all it explodes"}
        lines.append(whole + told.get(found.flow, ""))
    return Section("On the way down", lines)


def _examples(found: "Responsibility") -> Section:
    at = found.examples
    norms = at.norms[at.shares > 0]
    pulls = at.shares * at.norms
    lines = [
        f"example n pulls with ‖g_n‖, the norm of its own gradient: from {number(norms.min())} to "
        f"{number(norms.max())}, {number(pulls.sum())} on average"
    ]
    if not at.hardest:
        return Section("The examples", lines)
    lines += [
        f"‖∇ℒ‖, the norm of the mean of all g_n, is {percent(at.agreement)} of that average: the "
        f"rest cancels; at right angles to each other {percent(at.unrelated)} would be left"
    ]
    if found.net.depth > 1:
        most, least = int(at.layer_agreement.argmax()), int(at.layer_agreement.argmin())
        most_is, least_is = (percent(at.layer_agreement[k]) for k in (most, least))
        lines.append(
            f"most is left in layer {most + 1}, {most_is}; least in layer {least + 1}, {least_is}"
        )
    for n in at.hardest:
        share, loss = percent(pulls[n - 1] / pulls.sum()), number(at.losses[n - 1])
        lines.append(f"example {n:,} has {share} of the pull of all; its loss is {loss}")
    against = int((at.along < 0).sum())
    lines.append(
        f"against the mean: {against:,} of {len(norms):,}; a small step down ℒ raises their loss"
    )
    return Section("The examples", lines)


# Pieces of sentences -----------------------------------------------------------------------------


def _only_as_good_as(k: int) -> str:
    below = "x" if k == 1 else f"h_{k - 1}"
    return f"I am only as good as W_{k}, b_{k} and {below}."


def _named(
    found: "Responsibility", some: Sequence[Any], count: int, things: str, k: int
) -> list[str]:
    """What those that are named hold together, where others of layer k hold something too."""
    if count <= found.strongest or len(some) < found.strongest:
        return []
    share = percent(sum(one.share for one in some))
    return [f"the strongest {len(some)} of {count:,} {things}, with {share} of Σ|∇a_{k}|:"]


def _target(
    found: "Responsibility", one: "OutputResponsibility"
) -> tuple[str | None, float | None]:
    """(the name of the loss without brackets, what its minimum asks ŷ_j to be).

    The second is None where that is not known: of a loss of the user's own, and of a cross-entropy
    where the outputs, or the targets, are no distributions.
    """
    family, parameter = parts_of(loss_of(found.net)) or (None, None)
    of_classes = family in ("cross_entropy", SMOOTHED)
    if (
        family is None
        or one.y is None
        or (of_classes and not (found.net.output == "softmax" and found.distributions))
    ):
        return family, None
    if family == SMOOTHED and parameter is not None:
        return family, (1 - parameter) * one.y + parameter / len(found.outputs)
    return family, one.y


def _symbols(found: "Responsibility") -> Symbols:
    return Symbols(found.net.depth, found.net.sizes[-1], label=None, thin=False)


def number(value: float) -> str:
    """Three digits of it."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value or 0.0:.3g}".replace("-", "−")


def percent(share: float) -> str:
    """Such as 12.3 %."""
    return digits.percent(share).replace("-", "−")


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _is_one(found: "Responsibility") -> bool:
    return len(found.examples.shares) == 1


def _is_weighted(found: "Responsibility") -> bool:
    shares = found.examples.shares
    return bool((shares != shares[0]).any())
