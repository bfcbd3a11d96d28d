"""What is wrong with a wrong gradient: the simplest sentence that explains it.

Each explanation is a small function from the evidence to a `Diagnosis` or None; the first that fits
is taken. They are tried from the most special to the most general.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ffnn_jax.gradcheck.formulas import formula_fault
from ffnn_jax.gradcheck.report import Diagnosis

EXACTLY = 1e-6  # how near sorted entries have to be: one wrong entry hardly moves the others
FEW = 0.85  # wrong entries up to this share are some entries; above it is the whole leaf
PARTS = {
    "first": slice(0, 1),
    "last": slice(-1, None),
    "first half": "first half",
    "second half": "second half",
    "even ones": slice(0, None, 2),
    "odd ones": slice(1, None, 2),
}
PROBED_AXES = 4  # so many axes of an output are looked at for a missing sum


class Context(NamedTuple):
    """What else is known about the leaf whose gradient is wrong.

    Attributes:
      number: which leaf it is.
      paths: the names of all leaves.
      leaf: its value, float64.
      truths: the right gradient of every leaf, None where it is not known.
      cotangents: those for which `found` and `truth` were taken.
      rule_at: (the leaf, cotangents) -> the rule's gradient of it.
      right_at: (the leaf, cotangents) -> the right gradient of it.
      lengths: (length, where from) of the axes that there are, such as (16, "axis 0 of args[1]").
    """

    number: int
    paths: Sequence[str]
    leaf: np.ndarray
    truths: Sequence[np.ndarray | None]
    cotangents: list[np.ndarray]
    rule_at: Callable[[np.ndarray, list[np.ndarray]], np.ndarray]
    right_at: Callable[[np.ndarray, list[np.ndarray]], np.ndarray]
    lengths: Sequence[tuple[int, str]]

    def rule(self, cotangents: list[np.ndarray]) -> np.ndarray:
        """The rule's gradient of the leaf as it is."""
        return self.rule_at(self.leaf, cotangents)

    def right(self, cotangents: list[np.ndarray]) -> np.ndarray:
        """The right gradient of the leaf as it is."""
        return self.right_at(self.leaf, cotangents)


class Evidence(NamedTuple):
    """A gradient that is wrong, and the right one.

    Attributes:
      found: what the rule gives, float64, the shape of the leaf.
      truth: what is right, the same shape.
      allowed: the relative error that counts as equal.
      context: what else is known, or None.
    """

    found: np.ndarray
    truth: np.ndarray
    allowed: float
    context: Context | None = None

    def explains(self, candidate: np.ndarray) -> bool:
        """Whether the candidate is what the rule gives."""
        size = np.linalg.norm(candidate)
        if candidate.shape != self.found.shape or not np.isfinite(size) or size == 0:
            return False
        return bool(np.linalg.norm(self.found - candidate) <= self.allowed * size)


def diagnose(
    found: np.ndarray, truth: np.ndarray, allowed: float, context: Context | None = None
) -> Diagnosis:
    """Names the fault of a leaf whose gradient is `found` and ought to be `truth`.

    Args:
      found: the rule's gradient, float64, the shape of the leaf.
      truth: the right one, the same shape.
      allowed: the relative error that counts as equal.
      context: what else is known about the leaf; without it fewer faults have a name.

    Returns:
      The fault in one word, and a sentence with the number.
    """
    evidence = Evidence(found, truth, allowed, context)
    for explanation in EXPLANATIONS:
        diagnosis = explanation(evidence)
        if diagnosis is not None:
            return diagnosis
    return _wrong(evidence)


def _non_finite(e: Evidence) -> Diagnosis | None:
    """NaN or ∞ where the gradient is a number, or everywhere."""
    lost = ~np.isfinite(e.found)
    bad = np.argwhere(lost if np.all(lost) else lost & np.isfinite(e.truth))
    if not bad.size:
        return None
    first = [int(i) for i in bad[0]]
    message = f"{len(bad)} of {e.found.size} entries are, the first at {first}"
    if e.context is not None:
        inputs = sorted({float(e.context.leaf[tuple(place)]) for place in bad[:1000]})
        message += f", at inputs such as {', '.join(f'{x:.6g}' for x in inputs[:4])}"
    return Diagnosis("non-finite", message)


def _zero(e: Evidence) -> Diagnosis | None:
    """0 in every entry."""
    if np.any(e.found):
        return None
    return Diagnosis("zero", "the rule gives 0 where the gradient is not")


def _ought_to_be_zero(e: Evidence) -> Diagnosis | None:
    """Something where there is no gradient."""
    if np.any(e.truth):
        return None
    if e.context is not None and (swapped := _swapped(e)):
        return swapped
    size = np.linalg.norm(e.found)
    return Diagnosis("wrong", f"the gradient is 0 here, the rule's has the norm {size:.3g}")


def _cotangent(e: Evidence) -> Diagnosis | None:
    """A rule that takes no notice of the cotangent, or is not linear in it."""
    if e.context is None:
        return None
    rule, right, c = e.context.rule, e.context.right, e.context.cotangents
    doubled = [2 * t for t in c]
    other = [np.roll(t, 1).reshape(t.shape) * -0.7 + 0.3 for t in c]
    once, twice, of_other = rule(c), rule(doubled), rule(other)

    def same(x: np.ndarray, y: np.ndarray) -> bool:
        return bool(np.linalg.norm(x - y) <= max(e.allowed, 1e-6) * np.linalg.norm(x))

    moved = not same(right(c), right(other))
    if moved and same(once, twice) and same(once, of_other):
        return Diagnosis(
            "ignores-cotangent", "the rule gives the same gradient whatever the cotangent is"
        )
    if not same(2 * once, twice):
        return _nonlinear("twice the cotangent", once, twice, 2)
    both = rule([s + t for s, t in zip(c, other, strict=True)])
    if np.linalg.norm(both - once - of_other) > max(e.allowed, 1e-6) * (
        np.linalg.norm(once) + np.linalg.norm(of_other)
    ):
        return Diagnosis(
            "nonlinear-cotangent",
            "the gradient of a sum of cotangents is not the sum of their gradients",
        )
    return None


def _nonlinear(what: str, once: np.ndarray, then: np.ndarray, factor: float) -> Diagnosis:
    got = np.linalg.norm(then) / (np.linalg.norm(once) or 1.0)
    return Diagnosis(
        "nonlinear-cotangent",
        f"{what} gives {got:.4g} times the gradient, not {factor:g} times: a rule is linear in it",
    )


def _sign(e: Evidence) -> Diagnosis | None:
    """found = −truth."""
    if e.explains(-e.truth):
        return Diagnosis("sign", "the rule gives the negative of the gradient")
    return None


def _scaled(e: Evidence) -> Diagnosis | None:
    """found = c · truth."""
    factor = float(np.vdot(e.truth, e.found) / np.vdot(e.truth, e.truth))
    if factor == 0 or not e.explains(factor * e.truth):
        return None
    name = _factor_name(factor, max(e.allowed, 1e-6), e.context.lengths if e.context else ())
    if e.truth.size == 1 and not name:  # any number is a multiple of another
        return None
    message = f"the rule gives {factor:.6g} times the gradient"
    return Diagnosis("scaled", f"{message}: {name}" if name else message)


def _factor_alone(e: Evidence) -> Diagnosis | None:
    """A single number that nothing else explains."""
    if e.truth.size != 1:
        return None
    factor = float(e.found.sum() / e.truth.sum())
    return Diagnosis("scaled", f"the rule gives {factor:.6g} times the gradient")


def _factor_name(factor: float, margin: float, lengths: Sequence[tuple[int, str]]) -> str:
    """What the factor equals, of the numbers that factors usually are."""
    sign, size = ("−" if factor < 0 else ""), abs(factor)
    known = [(2.0, "2"), (0.5, "½"), (4.0, "4"), (0.25, "¼")]
    for n, where in lengths:
        if n > 1:
            known += [
                (n, f"N = {n}, {where}"),
                (1 / n, f"1/N with N = {n}, {where}"),
                (2 / n, f"2/N with N = {n}, {where}"),
                (n / 2, f"N/2 with N = {n}, {where}"),
                ((n - 1) / n, f"(N − 1)/N with N = {n}, {where}"),
                (n / (n - 1), f"N/(N − 1) with N = {n}, {where}"),
                (math.sqrt(n), f"√N with N = {n}, {where}"),
                (1 / math.sqrt(n), f"1/√N with N = {n}, {where}"),
            ]
    for value, name in [(math.log(2), "log 2"), (1 / math.log(2), "1/log 2"), (math.pi, "π")]:
        known.append((value, name))
    fits = [name for value, name in known if abs(size - value) <= margin * value]
    return sign + fits[0] if fits else ""


def _transposed(e: Evidence) -> Diagnosis | None:
    """The two axes of a matrix changed over, or its entries in the order of the transpose."""
    t = e.truth
    if t.ndim < 2:
        return None
    swapped = np.swapaxes(t, -1, -2)
    for one, other in itertools.combinations(range(t.ndim), 2):
        if e.explains(np.swapaxes(t, one, other)):
            axes = "" if t.ndim == 2 else f", axes {one} and {other} changed over"
            return Diagnosis("transposed", f"the rule gives the transpose of the gradient{axes}")
    if t.shape[-1] > 1 and t.shape[-2] > 1 and e.explains(swapped.reshape(t.shape)):
        return Diagnosis(
            "transposed", "the entries are those of the transpose, put into the shape of the leaf"
        )
    if swapped.shape == t.shape and e.explains(-swapped):
        return Diagnosis("transposed", "the rule gives the negative of the transpose")
    return None


def _permuted(e: Evidence) -> Diagnosis | None:
    """The right entries at other places."""
    t, f = e.truth, e.found
    if t.size < 2:
        return None
    for axis in range(t.ndim):
        if t.shape[axis] > 1 and e.explains(np.flip(t, axis)):
            return Diagnosis("permuted", f"the entries are in reverse order along axis {axis}")
        for shift in (1, -1):
            if t.shape[axis] > 1 and e.explains(np.roll(t, shift, axis)):
                return Diagnosis(
                    "permuted", f"the entries are shifted by {shift} along axis {axis}"
                )
    spread = np.linalg.norm(t - np.mean(t))
    off = np.linalg.norm(np.sort(t, axis=None) - np.sort(f, axis=None))
    margin = min(e.allowed, EXACTLY) if e.context else e.allowed
    if off <= margin * np.linalg.norm(t) and spread > 10 * e.allowed * np.linalg.norm(t):
        return Diagnosis("permuted", "the entries are those of the gradient, at other places")
    return None


def _swapped(e: Evidence) -> Diagnosis | None:
    """The gradient of another leaf."""
    if e.context is None:
        return None
    for j, truth in enumerate(e.context.truths):
        if j == e.context.number or truth is None:
            continue
        if e.explains(truth) or (
            truth.size == e.found.size > 1 and e.explains(truth.reshape(e.found.shape))
        ):
            return Diagnosis("swapped", f"the rule gives the gradient of {e.context.paths[j]}")
    return None


def _left_out(e: Evidence) -> Diagnosis | None:
    """The gradient of all outputs but one."""
    if e.context is None or len(e.context.cotangents) < 2:
        return None
    for k, c in enumerate(e.context.cotangents):
        others = list(e.context.cotangents)
        others[k] = np.zeros_like(c)
        if e.explains(e.context.right(others)):
            message = f"the cotangent of output {k} is left out, the rest is right"
            return Diagnosis("ignores-cotangent", message)
    return None


def _missing_sum(e: Evidence) -> Diagnosis | None:
    """One term where a sum over an axis is due."""
    if e.context is None:
        return None
    for k, c in enumerate(e.context.cotangents):
        for axes in _axes_to_probe(c):
            for name, place in PARTS.items():
                masked = [np.zeros_like(t) for t in e.context.cotangents]
                at = tuple(
                    _part(place, n) if axis in axes else slice(None)
                    for axis, n in enumerate(c.shape)
                )
                masked[k][at] = c[at]
                alone = e.context.right(masked)
                n = math.prod(c.shape[axis] for axis in axes)
                where = f"along {_axis_names(axes)} of output {k}"
                if e.explains(alone):
                    message = f"only the {name} of {n} terms {where}, not their sum"
                    return Diagnosis("missing-sum", message)
                if e.explains(alone * n):
                    message = f"{n} times the {name} of {n} terms {where}, not their sum"
                    return Diagnosis("missing-sum", message)
    return _elementwise(e)


def _part(place: slice | str, n: int) -> slice:
    """The part of an axis of length n."""
    if isinstance(place, slice):
        return place
    return slice(0, n // 2) if place == "first half" else slice(n // 2, None)


def _axes_to_probe(c: np.ndarray) -> list[tuple[int, ...]]:
    """Sets of axes over which a sum may be missing, the small ones first."""
    axes = [axis for axis in range(min(c.ndim, PROBED_AXES)) if c.shape[axis] > 1]
    return [
        some for count in range(1, len(axes) + 1) for some in itertools.combinations(axes, count)
    ]


def _axis_names(axes: Sequence[int]) -> str:
    return " and ".join(f"axis {axis}" for axis in axes)


def _elementwise(e: Evidence) -> Diagnosis | None:
    """A rule that looks at each entry alone, for a function that does not."""
    context = e.context
    assert context is not None
    k = _same_shaped(context)
    if k is None:
        return None
    keep = np.random.default_rng(0).random(context.leaf.shape) < 0.5
    masked = [np.zeros_like(t) for t in context.cotangents]
    masked[k] = np.where(keep, context.cotangents[k], 0)
    alone = [np.zeros_like(t) for t in context.cotangents]
    alone[k] = context.cotangents[k]
    whole = context.rule(alone)
    if not np.any(whole) or not np.allclose(
        context.rule(masked), np.where(keep, whole, 0), rtol=1e-6, atol=1e-9 * np.abs(whole).max()
    ):
        return None
    axes = _mixed_axes(context, k)
    if not axes:
        return None
    message = f"the rule looks at each entry alone; the gradient has a sum over {_axis_names(axes)}"
    return Diagnosis("missing-sum", message)


def _mixed_axes(context: Context, k: int) -> list[int]:
    """The axes along which the entries of output k have to do with one another."""
    return [axis for axis in range(context.leaf.ndim) if _mixes(context, k, axis)]


def _mixes(context: Context, k: int, axis: int) -> bool:
    """Whether an entry of output k has to do with others along the axis of the leaf."""
    n = context.leaf.shape[axis]
    return n > 1 and any(_goes_elsewhere(context, k, axis, place) for place in (0, n - 1))


def _goes_elsewhere(context: Context, k: int, axis: int, place: int) -> bool:
    """Whether the cotangent at one place of the axis reaches the leaf at another."""
    at = (slice(None),) * axis + (place,)
    masked = [np.zeros_like(t) for t in context.cotangents]
    masked[k][at] = context.cotangents[k][at]
    gradient = context.right(masked)
    elsewhere = np.delete(gradient, place, axis)
    return bool(np.abs(elsewhere).max(initial=0) > 1e-9 * np.abs(gradient).max(initial=0))


def _same_shaped(context: Context) -> int | None:
    """The output that has the shape of the leaf, if it is one array."""
    for k, c in enumerate(context.cotangents):
        if c.shape == context.leaf.shape and c.size > 1:
            return k
    return None


def _formula(e: Evidence) -> Diagnosis | None:
    """A function of each entry alone, with the derivative of another function."""
    context = e.context
    if context is None or context.leaf.size < 2:
        return None
    ones = [np.ones_like(t) for t in context.cotangents]
    found, right = context.rule_at(context.leaf, ones), context.right_at(context.leaf, ones)
    keep = np.random.default_rng(1).random(context.leaf.shape) < 0.5
    other = np.where(keep, context.leaf, np.roll(context.leaf, 1))
    for before, at in ((found, context.rule_at), (right, context.right_at)):
        moved = np.abs(at(other, ones) - before)[keep]
        if not np.all(moved <= 1e-9 * np.abs(before).max(initial=0)):
            return None
    turned = np.roll(context.leaf, 1).reshape(context.leaf.shape)
    found_there, right_there = context.rule_at(turned, ones), context.right_at(turned, ones)
    k = _same_shaped(context)
    if np.allclose(right_there, right, rtol=1e-6) and (k is None or _mixed_axes(context, k)):
        return None
    bad, bad_there = _differ(found, right), _differ(found_there, right_there)
    if np.any(bad != np.roll(bad, 1)) and np.all(bad == bad_there):
        return None  # it goes by the place of an entry, not by its value
    return formula_fault(context.leaf, found, right)


def _differ(found: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Which entries are not the same."""
    return np.abs(found - right) > 1e-6 * np.maximum(np.abs(right), np.abs(found))


def _entries(e: Evidence) -> Diagnosis | None:
    """Some entries wrong, the others right."""
    t, f = e.truth, e.found
    margin = e.allowed * np.maximum(np.abs(t), 0.1 * float(np.sqrt(np.mean(t**2))))
    bad = np.abs(f - t) > margin
    good = ~bad & (np.abs(t) > margin)
    if not 0 < np.sum(bad) <= FEW * t.size or not np.any(good):
        return None
    places = np.argwhere(bad)
    first = [int(i) for i in places[0]]
    message = f"{len(places)} of {t.size} are wrong, {_pattern(bad)}the first at {first}: "
    at = tuple(places[0])
    return Diagnosis("entries", message + f"{f[at]:.6g} where {t[at]:.6g} is right")


def _pattern(bad: np.ndarray) -> str:
    """In words, where along an axis the wrong entries are."""
    for axis in range(bad.ndim):
        others = tuple(i for i in range(bad.ndim) if i != axis)
        lines = np.any(bad, axis=others)
        if bad.ndim > 1 and np.sum(lines) < len(lines) and np.all(bad == _spread(lines, axis, bad)):
            which = ", ".join(str(int(i)) for i in np.flatnonzero(lines)[:5])
            return f"all at {which} of axis {axis}, "
    return ""


def _spread(lines: np.ndarray, axis: int, like: np.ndarray) -> np.ndarray:
    shape = [1] * like.ndim
    shape[axis] = len(lines)
    return np.broadcast_to(lines.reshape(shape), like.shape)


def _wrong(e: Evidence) -> Diagnosis:
    """None of these."""
    size, length = np.linalg.norm(e.truth), np.linalg.norm(e.found)
    off = np.linalg.norm(e.found - e.truth) / size
    cosine = float(np.vdot(e.truth, e.found)) / (size * length)
    return Diagnosis("wrong", f"off by {off:.2g} of its norm, at a cosine of {cosine:.3f} to it")


EXPLANATIONS: tuple[Callable[[Evidence], Diagnosis | None], ...] = (
    _non_finite,
    _zero,
    _ought_to_be_zero,
    _cotangent,
    _sign,
    _scaled,
    _transposed,
    _permuted,
    _swapped,
    _left_out,
    _formula,
    _entries,
    _missing_sum,
    _factor_alone,
)
