"""The factors that gradients are off by, and what each comes from: ½, N, the sign, and products."""

import itertools
import math

from ffnn_jax.comparison.quantities import DIFFERENCES, Quantity
from ffnn_jax.comparison.truth import Truth


def named_factors(
    at: Truth, q: Quantity, path: tuple[Quantity, ...]
) -> list[tuple[float, str, str]]:
    """(factor, fault, sentence) of the factors that gradients are off by, simple ones first.

    Args:
      at: the truth.
      q: which gradient.
      path: it and those above it that were not given: where the factor may have come in.
    """
    total = at.total
    n = f"N = {at.examples}" if total == at.examples else f"Σw = {total:.6g}"
    half, twice = "½ of the gradient", "twice the gradient"
    if at.net.loss == "squared_error" and _at_output(at, path):
        half += ": the 2 of the square is missing (this loss has no ½)"
    groups: list[list[tuple[float, str]]] = [
        [(1.0, ""), (0.5, half), (2.0, twice)],
        [
            (1.0, ""),
            (total, f"{n} times the gradient: summed over the batch, where the loss is a mean"),
            (1 / total, f"1/N of the gradient, {n}: divided by it once too often"),
        ],
        [(1.0, ""), *_of_widths(at, q, path)],
        [(1.0, ""), (-1.0, "the negative of the gradient")],
    ]
    if total != at.examples:
        said = f"{total / at.examples:.6g} of the gradient: divided by N and not by Σw"
        groups[1].append((total / at.examples, said))
    if q.kind == "yhat" and at.net.loss == "cross_entropy":
        groups[-1][1] = (-1.0, "the negative of the gradient: ∇ŷ = −y/ŷ")
    elif at.y is not None and _at_output(at, path):
        below = "" if q in _outputs(at) else ", or a sign on the way down"
        groups[-1][1] = (-1.0, f"the negative of the gradient: ŷ − y, not y − ŷ{below}")
    found = []
    for parts in itertools.product(*groups):
        said = [text for _, text in parts if text]
        value = math.prod(number for number, _ in parts)
        if said and not math.isclose(value, 1):
            fault = "sign" if len(said) == 1 and value == -1 else "scaled"
            found.append((len(said), value, fault, ", and ".join(said)))
    found.sort(key=lambda one: one[0])
    return [one[1:] for one in found]


def _of_widths(at: Truth, q: Quantity, path: tuple[Quantity, ...]) -> list[tuple[float, str]]:
    """A mean over units, where the sum is due."""
    L, found = at.net.depth, []
    width = at.net.sizes[-1]
    said = f"1/{width} of the gradient: the mean over outputs, where the sum is due"
    if any(p in (Quantity("yhat", L), Quantity("a", L)) for p in path):
        found.append((1 / width, said))
        found.append((width, f"{width} times the gradient, as many as there are outputs"))
    if q.kind == "h":
        above = at.net.sizes[q.layer + 1]
        mean = f"the mean over the units of layer {q.layer + 1}, where the sum is due"
        if found and above == width:
            found[0] = (1 / width, f"{said}; or: {mean}")
        else:
            found.append((1 / above, f"1/{above} of the gradient: {mean}"))
    return found


def _outputs(at: Truth) -> tuple[Quantity, ...]:
    """Where ŷ − y stands in a formula."""
    L, found = at.net.depth, []
    if at.net.loss == "squared_error":
        found.append(Quantity("yhat", L))
    if (at.net.output, at.net.loss) in DIFFERENCES:
        found.append(Quantity("a", L))
    return tuple(found)


def _at_output(at: Truth, path: tuple[Quantity, ...]) -> bool:
    return any(p in path for p in _outputs(at))
