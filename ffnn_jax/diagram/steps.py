"""The backward pass as a story in steps, in the lecture's order and with this network's numbers.

  x;  a_k, h_k for k = 1 … L;  ℒ;  ∇ŷ;  ∇a_L;  then for k = L … 1:  ∇W_k, ∇b_k;  ∇h_{k−1};  ∇a_{k−1}

A step says what is new, by which formula, and how one entry of it is computed.
"""

from collections.abc import Sequence

import numpy as np

from ffnn_jax.diagram import formulas, names, selection
from ffnn_jax.diagram.marked import chain_rule
from ffnn_jax.diagram.marks import Mark
from ffnn_jax.diagram.quantities import Quantities
from ffnn_jax.diagram.story import Step, Story, factor, number
from ffnn_jax.network import Network

MOST_TERMS = 4  # of a sum that is written out
MOST_EDGES = 4  # into a unit, for each to have its ∇W in the picture
MOST_NAMED = 3  # of the ∇W of a layer that are not in the picture


def tell(
    net: Network, known: Quantities, columns: Sequence[selection.Column], mark: Mark | None
) -> tuple[Step, ...]:
    """All steps; examples are of the strongest units, or of those at the marked parameter."""
    of = [_strongest(net, known, k, column.units) for k, column in enumerate(columns)]
    if mark is not None:
        of[mark.layer] = mark.i
        of[mark.layer - 1] = of[mark.layer - 1] if mark.j is None else mark.j
    story, L = Story(net, known, tuple(of)), net.depth
    steps = [_start(story), *(_forward(story, k) for k in range(1, L + 1))]
    steps += [_loss(story), _grad_yhat(story), _grad_a_L(story)]
    for k in range(L, 0, -1):
        steps.append(_grad_W(story, k))
        if k > 1:
            steps += [_grad_h(story, k - 1), _grad_a(story, k - 1)]
    if mark is not None:
        steps.append(chain_rule(story, mark))
    return tuple(step._replace(new=tuple(filter(known.__contains__, step.new))) for step in steps)


def _strongest(net: Network, known: Quantities, k: int, units: Sequence[int]) -> int:
    strength = selection.strengths(net, known, k)[[i - 1 for i in units]]
    return units[int(np.argmax(np.nan_to_num(strength, nan=np.inf)))]


# Forward -----------------------------------------------------------------------------------------


def _start(story: Story) -> Step:
    L = story.net.depth
    return Step(
        "The example x and the parameters θ",
        f"θ = [{_layers('W', L)}, {_layers('b', L)}]",
        "One example goes in. Each line of the picture is a weight, and each card has its bias b.",
        f"{story.name('h', 0, story.of[0])} = {number(story.value('h', 0, story.of[0]))}",
        (("h", 0), ("W", 1), ("b", 1)),
    )


def _layers(letter: str, L: int) -> str:
    """W_1, …, W_L."""
    between = ["…"] if L > 2 else []
    last = [f"{letter}_{{{L}}}"] if L > 1 else []
    return ", ".join([f"{letter}_{{1}}", *between, *last])


def _forward(story: Story, k: int) -> Step:
    net, i = story.net, story.of[k]
    last = k == net.depth
    h = names.quantity("h", k, net.depth)
    h = h if last else f"h_{{{k}}}"
    below = "x" if k == 1 else f"h_{{{k - 1}}}"
    table = formulas.OUTPUT if last else formulas.ACTIVATION
    kind = net.output if last else net.activations[k - 1]
    g = "O" if last else "g"
    formula = f"a_{{{k}}} = W_{{{k}}} {below} + b_{{{k}}},   {h} = {g}(a_{{{k}}})"
    terms = [
        f"{factor(story.value('W', k, i, j))} · {factor(story.value('h', k - 1, j))}"
        for j in range(1, net.sizes[k - 1] + 1)[:MOST_TERMS]
    ]
    total = _sum([*terms], net.sizes[k - 1], f"{factor(story.value('b', k, i))}")
    example = (
        f"{story.name('a', k, i)} = {total} = {number(story.value('a', k, i))},   "
        f"{story.name('h', k, i)} = {number(story.value('h', k, i))}"
    )
    rule = ": " + table[kind].replace("{L}", f"{{{k}}}") if kind in table else ""
    what = "the output function O" if last else "the activation g"
    words = f"Layer {k} weighs what is below it; {what} is {kind}{rule}."
    return Step(f"a_{{{k}}} and {h}", formula, words, example, (("a", k), ("h", k)))


def _loss(story: Story) -> Step:
    net, L = story.net, story.net.depth
    value = number(float(story.known.loss or 0.0))
    example = f"ℒ = {value}"
    true = _true_class(story)
    if net.loss == "cross_entropy" and true:
        yhat = number(story.value("h", L, true))
        example = f"ℒ = −log {story.name('h', L, true)} = −log {yhat} = {value}"
    words = "We get a certain loss at the output, and try to figure out who is responsible for it."
    return Step("The loss ℒ", f"ℒ(θ) = {formulas.loss_value(net)}", words, example, (("y", L),))


def _true_class(story: Story) -> int:
    """ℓ where y is 1 there and 0 elsewhere, else 0."""
    L = story.net.depth
    if ("y", L) not in story.known:
        return 0
    y = story.known.of("y", L)
    alone = np.count_nonzero(y) == 1 and y.max() == 1
    return int(y.argmax()) + 1 if alone else 0


# Backward ----------------------------------------------------------------------------------------


def _grad_yhat(story: Story) -> Step:
    net, L, i = story.net, story.net.depth, story.of[-1]
    formula = f"∇ŷ = ∂ℒ/∂ŷ = {formulas.loss_gradient(net)}"
    put_in = ""
    if ("y", L) in story.known:
        y, yhat = number(story.value("y", L, i)), number(story.value("h", L, i))
        put_in = {
            "squared_error": f" = 2 ({yhat} − {factor(story.value('y', L, i))})",
            "cross_entropy": f" = {'−' if y != '0' else ''}{y} / {yhat}",
        }.get(str(net.loss), "")
    words = (
        "Talk to the output layer: “You are not producing the desired output, take responsibility.”"
    )
    example = f"{story.name('∇h', L, i)}{put_in} = {number(story.value('∇h', L, i))}"
    return Step("∇ŷ", formula, words, example, (("∇h", L),))


def _grad_a_L(story: Story) -> Step:
    net, L, i = story.net, story.net.depth, story.of[-1]
    total = float(story.known.of("y", L).sum()) if ("y", L) in story.known else 1.0
    rule = formulas.output_gradient(net, total).replace("{L}", f"{{{L}}}")
    put_in = ""
    if rule.endswith("− y"):
        yhat, y = story.value("h", L, i), story.value("y", L, i)
        times = "" if rule.endswith("= ŷ − y") else f" · {factor(total)}"
        put_in = f" = {number(yhat)}{times} − {factor(y)}"
    words = "The output is only as good as the pre-activation below it: ∇ŷ goes back through O."
    example = f"{story.name('∇a', L, i)}{put_in} = {number(story.value('∇a', L, i))}"
    return Step(f"∇a_{{{L}}}", f"∇a_{{{L}}} = {rule}", words, example, (("∇a", L),))


def _grad_W(story: Story, k: int) -> Step:
    i, j = story.of[k], story.of[k - 1]
    below = "x" if k == 1 else f"h_{{{k - 1}}}"
    formula = f"∇W_{{{k}}} = ∇a_{{{k}}} {below}ᵀ,   ∇b_{{{k}}} = ∇a_{{{k}}}"
    example = (
        f"{names.symbol('∇W', k, i, j)} = {story.name('∇a', k, i)} · {story.name('h', k - 1, j)} = "
        f"{factor(story.value('∇a', k, i))} · {factor(story.value('h', k - 1, j))} = "
        f"{number(story.value('∇W', k, i, j))}{_strongest_weights(story, k)}"
    )
    words = f"Talk to the weights: W_{{{k}}} and b_{{{k}}} take full responsibility for their part."
    title = f"∇W_{{{k}}} and ∇b_{{{k}}}"
    return Step(title, formula, words, example, (("∇W", k), ("∇b", k)))


def _strongest_weights(story: Story, k: int) -> str:
    """The largest |∇W_kij|, where the picture has no room for them."""
    if story.net.sizes[k - 1] <= MOST_EDGES:
        return ""
    grad_W = story.known.of("∇W", k)
    order = np.argsort(-np.abs(grad_W), axis=None, kind="stable")[:MOST_NAMED]
    told = []
    for place in order.tolist():
        i, j = divmod(place, grad_W.shape[1])
        written = names.symbol("∇W", k, i + 1, j + 1)
        told.append(f"{written} = {number(float(grad_W[i, j]))}")
    return f",   the strongest {len(told)} of {grad_W.size:,}:   " + ",   ".join(told)


def _grad_h(story: Story, k: int) -> Step:
    j, n = story.of[k], story.net.sizes[k + 1]
    terms = [
        f"{factor(story.value('W', k + 1, i, j))} · {factor(story.value('∇a', k + 1, i))}"
        for i in range(1, n + 1)[:MOST_TERMS]
    ]
    example = f"{story.name('∇h', k, j)} = {_sum(terms, n)} = {number(story.value('∇h', k, j))}"
    words = (
        f"Talk to the hidden layer below: h_{{{k}}} answers for each unit of layer {k + 1} that it "
        "went into, as much as its weight there."
    )
    formula = f"∇h_{{{k}}} = W_{{{k + 1}}}ᵀ ∇a_{{{k + 1}}}"
    return Step(f"∇h_{{{k}}}", formula, words, example, (("∇h", k),))


def _grad_a(story: Story, k: int) -> Step:
    i, kind = story.of[k], story.net.activations[k - 1]
    rule = formulas.DERIVATIVE.get(kind)
    formula = f"∇a_{{{k}}} = ∇h_{{{k}}} ⊙ g′(a_{{{k}}})" + (f",   g′(a) = {rule}" if rule else "")
    example = (
        f"{story.name('∇a', k, i)} = {story.name('∇h', k, i)} · {story.name('g′(a', k, i)}) = "
        f"{factor(story.value('∇h', k, i))} · {factor(story.value('g′', k, i))} = "
        f"{number(story.value('∇a', k, i))}"
    )
    words = (
        f"h_{{{k}}} is only as good as the pre-activation layer: ∇h goes back through {kind}, "
        "which lets through as much as its slope."
    )
    return Step(f"∇a_{{{k}}}", formula, words, example, (("∇a", k),))


def _sum(terms: Sequence[str], n: int, last: str = "") -> str:
    """Terms of a sum of n, with how many are not written, and a last one."""
    parts = list(terms)
    if n > len(terms):
        parts.append(f"… ({n - len(terms):,} more)")
    return " + ".join([*parts, last] if last else parts)
