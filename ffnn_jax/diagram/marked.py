"""The last step of the page: the chain rule of the parameter that is marked."""

import math

import numpy as np

from ffnn_jax.diagram import names
from ffnn_jax.diagram.marks import Mark
from ffnn_jax.diagram.story import Step, Story, factor, number
from ffnn_jax.explain.paths import strongest_paths

LEARNS = "learns nothing from it."


def chain_rule(story: Story, mark: Mark) -> Step:
    """The chain rule in the lecture's braces, and the numbers of the strongest path."""
    k, i, j = mark
    name = names.symbol("b", k, i) if j is None else names.symbol("W", k, i, j)
    new = (("∇b" if j is None else "∇W", k),)
    value = story.value("∇b", k, i) if j is None else story.value("∇W", k, i, j)
    total = f"∇{name} = {number(value)}"
    formula = f"∂ℒ/∂{name} = {_braces(story.net.depth, k, name)}"
    title = f"The chain rule of {name}"
    if value == 0:
        return Step(title, formula, _silent(story, mark), total, new)
    factors = _path_factors(story, mark)
    product = " · ".join(name for name, _ in factors)
    numbers = " · ".join(factor(value) for _, value in factors)
    words = (
        "In brackets, from the left: talk to the output layer; talk to each hidden layer below it; "
        "and now talk to the weights."
    )
    count = math.prod(story.net.sizes[k + 1 :])
    if count == 1:
        return Step(title, formula, words, f"{product} = {numbers} = {number(value)}", new)
    words += f" So many marked ways lead from it to the loss: {count:,}. The sweep has summed them."
    strongest = number(math.prod(value for _, value in factors))
    path = f"The strongest: {product} = {numbers} = {strongest}"
    return Step(title, formula, words, f"{path},   all together: {total}", new)


def _braces(L: int, k: int, name: str) -> str:
    """[∂ℒ/∂ŷ · ∂ŷ/∂a_3] · [∂a_3/∂h_2 · ∂h_2/∂a_2] · … · [∂a_k/∂W_kij]."""
    parts = [f"[∂ℒ/∂ŷ · ∂ŷ/∂a_{{{L}}}]"]
    parts += [
        f"[∂a_{{{r}}}/∂h_{{{r - 1}}} · ∂h_{{{r - 1}}}/∂a_{{{r - 1}}}]" for r in range(L, k, -1)
    ]
    return " · ".join([*parts, f"[∂a_{{{k}}}/∂{name}]"])


def _silent(story: Story, mark: Mark) -> str:
    """Why nothing comes down to it."""
    k, i, j = mark
    if j is not None and story.value("h", k - 1, j) == 0:
        return f"{story.name('h', k - 1, j)} = 0: a weight of what is 0 {LEARNS}"
    if k < story.net.depth and story.value("g′", k, i) == 0:
        a = story.name("a", k, i)
        name = story.net.activations[k - 1]
        state = f"this {name} is {'off' if name == 'relu' else 'flat'} at this example"
        return f"{a} = {number(story.value('a', k, i))}: {state}, no way passes, and it {LEARNS}"
    return f"Nothing comes down to {story.name('a', k, i)}, and it {LEARNS}"


def _path(story: Story, mark: Mark) -> tuple[int, ...]:
    """The units (m_k, …, m_L) of the strongest path, from 1, ending in ∂ℒ/∂a_L."""
    known, k, L = story.known, mark.layer, story.net.depth
    edges = [known.of("W", r) * known.of("g′", r - 1) for r in range(k + 1, L + 1)]
    if not edges:
        return (mark.i,)
    edges[0] = edges[0][:, mark.i - 1 : mark.i]
    (_, *others), *_ = strongest_paths(edges, np.abs(known.of("∇a", L)), 1)
    return (mark.i, *(m + 1 for m in others))


def _path_factors(story: Story, mark: Mark) -> list[tuple[str, float]]:
    """(name, value) of each factor, from ∂ℒ/∂a_L down to the parameter."""
    units, k, L = _path(story, mark), mark.layer, story.net.depth
    found = [(story.name("∇a", L, units[-1]), story.value("∇a", L, units[-1]))]
    for r in range(L, k, -1):
        m, below = units[r - k], units[r - k - 1]
        found.append((names.symbol("W", r, m, below), story.value("W", r, m, below)))
        slope = f"{story.name('g′(a', r - 1, below)})"
        found.append((slope, story.value("g′", r - 1, below)))
    if mark.j is None:
        return found
    return [*found, (story.name("h", k - 1, mark.j), story.value("h", k - 1, mark.j))]
