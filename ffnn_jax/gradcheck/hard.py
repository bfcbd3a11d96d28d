"""A rule at hard inputs: where the true gradient is a plain number, the rule's has to be one too.

Each floating argument in turn is put at 0, −0, ties, duplicated rows, the borders of common
domains, huge, subnormal, or ∞ next to finite numbers, in the shapes that the rule really gets. A
finding is a rule that is non-finite, or has lost its digits, though its function is finite there
and the gradient is finite and well conditioned: nearby points have almost the same. An overflow of
the function itself, and a kink, are none.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.draw import error
from ffnn_jax.gradcheck.voices import Voices

NEARBY = 1e-7  # how far away, relative, the nearby points are
CONDITIONED = 1e-4  # by how much the gradient may change over there
LOST = 2.0**12  # an error of so many units of the dtype's rounding has lost its digits


class Finding(NamedTuple):
    """A rule that fails at a hard input.

    Attributes:
      kind: "non-finite", "imprecise" (its formulas are right) or "wrong" (they are not).
      path: the leaf whose gradient it is.
      inputs: which argument was put where, in words.
      message: what came and what is right.
    """

    kind: str
    path: str
    inputs: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.inputs}: gradient of {self.path} {self.message}"


def hard_findings(
    voices: Voices, leaves: list[np.ndarray], paths: Sequence[str], cotangents: list[np.ndarray]
) -> tuple[Finding, ...]:
    """What goes wrong at the hard inputs of a function that was right at its ordinary ones.

    Args:
      voices: the function, its rules and its primal.
      leaves: ordinary inputs.
      paths: what each of them is called.
      cotangents: one array for each output.

    Returns:
      At most one finding of a kind for each leaf: the first.
    """
    findings: dict[tuple[str, str], Finding] = {}
    for i, leaf in enumerate(leaves):
        for name, value in hard_values(np.asarray(leaf)):
            point = [*leaves[:i], value, *leaves[i + 1 :]]
            for finding in _at(voices, point, paths, cotangents, f"{paths[i]} = {name}"):
                findings.setdefault((finding.kind, finding.path), finding)
    return tuple(findings.values())


def hard_values(leaf: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    """(what it is, an array of the shape and dtype of the leaf), one after the other."""
    info = jnp.finfo(leaf.dtype)
    huge = min(1e30, float(info.max) / 4)
    everywhere = {
        "0": 0.0,
        "−0": -0.0,
        "1": 1.0,
        "−1": -1.0,
        f"{huge:.0e}": huge,
        f"−{huge:.0e}": -huge,
        "a subnormal": float(info.tiny) / 4,
        "100": 100.0,
        "−100": -100.0,
    }
    for name, number in everywhere.items():
        yield f"{name} everywhere", np.full(leaf.shape, number).astype(leaf.dtype)
    if leaf.size > 1:
        yield "its first entry everywhere", np.full(leaf.shape, leaf.flat[0], leaf.dtype)
        for name, number in {**everywhere, "∞": np.inf, "−∞": -np.inf}.items():
            some = np.array(leaf)
            some.flat[0] = number
            yield f"{name} at its first entry", some
    if leaf.ndim > 1 and leaf.shape[0] > 1:
        yield "its first row in every row", np.broadcast_to(leaf[:1], leaf.shape).copy()


def _at(
    voices: Voices,
    point: list[np.ndarray],
    paths: Sequence[str],
    cotangents: list[np.ndarray],
    inputs: str,
) -> Iterable[Finding]:
    """The findings at one point."""
    truth, autodiff = voices.truth(point, cotangents), voices.autodiff(point, cotangents)
    if not _finite(truth.values) or not _finite(autodiff.values):
        return
    for c, value in zip(cotangents, truth.values, strict=True):
        if c.size and np.abs(value).max(initial=0) > 1e300:
            return
    rule = voices.rule(point, cotangents)
    near = None
    for i, path in enumerate(paths):
        found, right = rule.grad(i), truth.grad(i)
        info = jnp.finfo(voices.inputs[i].dtype)
        if not _finite([right]) or np.abs(right).max(initial=0) > float(info.max) / 4:
            continue
        if _finite([found]) and not _lost(found, right, info):
            continue
        near = near or [voices.truth(_moved(point, s), cotangents) for s in (NEARBY, -NEARBY)]
        if not all(_close(right, voice.grad(i), info) for voice in near):
            continue
        yield _finding(voices, point, cotangents, i, path, inputs, found, right)


def _finding(voices, point, cotangents, i, path, inputs, found, right) -> Finding:
    if not _finite([found]):
        at = tuple(np.argwhere(~np.isfinite(found))[0])
        kind = "non-finite"
    else:
        at = tuple(np.unravel_index(np.argmax(np.abs(found - right)), found.shape))
        wide = voices.rule_wide(point, cotangents).grad(i)
        kind = "imprecise" if error(wide, right) <= 1e-6 else "wrong"
    return Finding(kind, path, inputs, f"is {found[at]:.6g} where {right[at]:.6g} is right")


def _lost(found: np.ndarray, right: np.ndarray, info) -> bool:
    """Whether more digits are gone than rounding takes."""
    off = np.linalg.norm(found - right)
    small = float(info.tiny) * np.sqrt(found.size)  # below it numbers are rounded to 0
    return bool(off > LOST * float(info.eps) * np.linalg.norm(right) + 4 * small)


def _close(right: np.ndarray, there: np.ndarray, info) -> bool:
    """Whether the gradient at a nearby point is almost the same."""
    off = np.linalg.norm(there - right)
    return bool(off <= CONDITIONED * np.linalg.norm(right) + float(info.tiny))


def _moved(point: list[np.ndarray], by: float) -> list[np.ndarray]:
    """Each number a little larger or smaller, 0 too."""
    wide = [np.asarray(t, np.float64) for t in point]
    with np.errstate(all="ignore"):
        return [np.where(np.isfinite(t), t * (1 + by) + by * (t == 0), t) for t in wide]


def _finite(arrays: Iterable[np.ndarray]) -> bool:
    return all(bool(np.all(np.isfinite(t))) for t in arrays)
