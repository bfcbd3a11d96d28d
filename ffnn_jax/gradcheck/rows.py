"""What the rows of the table of transforms share: the rule under check, its pullbacks, the verdict.

A row holds a gradient, found under a transform, against the one expected. Where they differ by
more than rounding, the same is asked of the function without its rules, and at last in float64:

  1. ‖found − expected‖ ≤ a few dozen roundings of ‖expected‖
  2. or a few times what the function without its rules differs by under the same transform
  3. or no difference is left when everything is run in float64
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.differences import sizes
from ffnn_jax.gradcheck.primal import OPAQUE, Traced, quick_jit

ROUNDINGS = 64.0  # how many units of the dtype's rounding two ways to compute the same may differ
FACTOR = 16.0  # how many times what the function without its rules differs by
WIDE = 1e-9  # the relative difference that is none in float64
SHRINKS = 1e-6  # a difference that falls by this factor in float64 was rounding
PLAIN_TO_SEE = 0.05  # a difference that is called wrong where float64 cannot be had
NEARBY = 1e-2  # how far off a point nearby is, relative to the size of each entry
NARROW = 1e-4  # a rounding above this is too coarse for that

Function = Callable[[list[jax.Array]], list[jax.Array]]
Gradients = Sequence[Sequence[Any]]  # for each point one array a leaf; None: not asked for


class Verdict(NamedTuple):
    """The last two fields of a `TransformReport`."""

    verdict: str
    reason: str = ""


RIGHT = Verdict("right")


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A rule, and the point at which it was found right alone.

    Attributes:
      rule: from floating leaves to floating outputs, custom rules running.
      plain: the same, the custom rules taken away.
      leaves: the floating leaves.
      cotangent: one array for each output.
      whole: None, or (a function of the leaves and of the other arrays, those other arrays).
      paths: what each leaf is called.
    """

    rule: Function
    plain: Traced
    leaves: list[jax.Array]
    cotangent: list[jax.Array]
    whole: tuple[Callable[[list, list], list], list] | None
    paths: Sequence[str]

    @functools.cached_property
    def alone(self) -> "Once":
        """The rule's own pullback: (leaves, cotangent) → gradient."""
        return Once(pull(self.rule), self.leaves, self.cotangent)

    @functools.cached_property
    def alone_plain(self) -> "Once":
        """The same without custom rules."""
        return Once(pull(self.plain), self.leaves, self.cotangent)

    @functools.cached_property
    def second_order(self) -> Callable[[list, list, list], list]:
        """`twice` without custom rules, in float64."""
        return quick_jit(functools.partial(twice, self.plain.wide))

    @functools.cached_property
    def rounding(self) -> float:
        """The coarsest unit of rounding among the leaves and the outputs."""
        return max(float(jnp.finfo(t.dtype).eps) for t in (*self.leaves, *self.cotangent))

    def draw(self, seed: int) -> list[jax.Array]:
        """A random direction, one array a leaf."""
        return random_like(self.leaves, seed)


def pull(fn: Function) -> Callable[[list, list], list]:
    """(leaves, cotangent) → the gradient of ⟨cotangent, fn(leaves)⟩, by reverse mode."""

    def pulled(leaves: list[jax.Array], cotangent: list[jax.Array]) -> list[jax.Array]:
        outputs, pullback = jax.vjp(fn, leaves)
        return pullback([c.astype(o.dtype) for c, o in zip(cotangent, outputs, strict=True)])[0]

    return pulled


def twice(fn: Function, leaves: list, cotangent: list, v: list) -> list[jax.Array]:
    """The gradient of ⟨g, v⟩, g being that of ⟨cotangent, fn(leaves)⟩, both by reverse mode."""
    return pull(lambda leaves: pull(fn)(leaves, cotangent))(leaves, v)


def random_like(arrays: Sequence[Any], seed: int) -> list[jax.Array]:
    """Normal numbers of the same shapes and dtypes."""
    draw = np.random.default_rng(seed)
    return [jnp.asarray(draw.standard_normal(t.shape).astype(t.dtype)) for t in arrays]


def moved(leaves: list[jax.Array]) -> list[jax.Array]:
    """A point nearby, where nothing is tied that is not tied by construction."""
    draw, there = np.random.default_rng(5), []
    for leaf in leaves:
        here = np.asarray(leaf).astype(np.float64)
        step = NEARBY * sizes(here) * draw.standard_normal(here.shape)
        there.append(jnp.asarray((here + step).astype(leaf.dtype)))
    return there


def said(error: Exception) -> str:
    """An exception in a line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


# Everything in float64 ---------------------------------------------------------------------------


def doubled(tree: Any) -> Any:
    """Every floating array of a tree in float64; with 64-bit types on."""
    floating = lambda t: jnp.issubdtype(t.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda t: jnp.asarray(t, jnp.float64) if floating(t) else t, tree)


class Once:
    """fn as it is traced at args, to be run in its own dtypes and in float64.

    It is traced once only, so that a function with a state of its own cannot be two things.
    """

    def __init__(self, fn: Callable[..., Any], *args: Any):
        trees: list[Any] = []
        flat, structure = jax.tree.flatten(args)

        def listed(flat: list[jax.Array]) -> list[jax.Array]:
            leaves, tree = jax.tree.flatten(fn(*jax.tree.unflatten(structure, flat)))
            trees.append(tree)
            return leaves

        self.traced = Traced.of(listed, flat, final=True)
        self.outputs = trees[0]

    def __call__(self, *args: Any) -> Any:
        """fn(*args)."""
        return jax.tree.unflatten(self.outputs, self._narrow(jax.tree.leaves(args)))

    def wide(self, *args: Any) -> Any:
        """fn(*args) with every number in float64. Raises TypeError where not all of it can be."""
        if self.traced.holds(OPAQUE):
            raise TypeError("something runs in its own dtype only")
        with jax.enable_x64(True):
            results = self._wide(jax.tree.leaves(doubled(args)))
            return jax.tree.unflatten(self.outputs, [np.asarray(t) for t in results])

    @functools.cached_property
    def _narrow(self) -> Callable[[list], list]:
        return self.traced.compiled(Traced.__call__, quick_jit)

    @functools.cached_property
    def _wide(self) -> Callable[[list], list]:
        return self.traced.compiled(Traced.wide, quick_jit)


# The verdict -------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """How far a leaf is from what is expected: ‖found − expected‖, ‖expected‖, of all leaves."""

    label: str
    error: float
    size: float
    whole: float

    def __str__(self) -> str:
        off = f"{self.error / self.size:.2g} of its norm" if self.size else f"{self.error:.2g}"
        return (
            f"{self.label}: off by {off}"
            if np.isfinite(self.error)
            else f"{self.label}: not finite"
        )


def gaps(found: Gradients, expected: Gradients, labels: Sequence[str]) -> list[Gap]:
    """One `Gap` for each leaf of each point, labelled point by point."""
    result, names = [], iter(labels)
    for mine, right in zip(found, expected, strict=True):
        pairs = [_apart(f, e) for f, e in zip(mine, right, strict=True) if f is not None]
        whole = float(np.linalg.norm([size for _, size in pairs]))
        result += [Gap(next(names), error, size, whole) for error, size in pairs]
    return result


def _apart(found: Any, expected: Any) -> tuple[float, float]:
    """(‖found − expected‖, ‖expected‖), in float64."""
    found, expected = _host(found), _host(expected)
    return _distance(found, expected), _norm(expected)


class Doubt(NamedTuple):
    """How a difference that is more than rounding is looked into.

    Attributes:
      plain: gives (found, expected) of the function without its rules.
      wide: gives (found, expected) of the rule in float64; None, or whatever it raises, where that
        cannot be had.
    """

    plain: Callable[[], tuple[Gradients, Gradients]]
    wide: Callable[[], tuple[Gradients, Gradients] | None]


def settle(
    found: Gradients, expected: Gradients, labels: Sequence[str], rounding: float, doubt: Doubt
) -> Verdict:
    """Whether found is expected, up to what rounding explains."""
    here = gaps(found, expected, labels)
    off = [gap for gap in here if gap.error > ROUNDINGS * rounding * gap.size]
    if not off:
        return RIGHT
    with contextlib.suppress(Exception):
        yard = gaps(*doubt.plain(), labels)
        pairs = zip(here, yard, strict=True)
        off = [g for g, y in pairs if g.error > ROUNDINGS * rounding * g.size + FACTOR * y.error]
        if not off:
            return RIGHT
    worst = max(off, key=_badness)
    if not np.isfinite(worst.error):
        return Verdict("wrong", str(worst))
    pair = None
    with contextlib.suppress(Exception):
        pair = doubt.wide()
    if pair is None:
        if rounding < NARROW and _badness(worst) > PLAIN_TO_SEE:
            return Verdict("wrong", str(worst))
        return Verdict("unsure", f"{worst}, and float64 cannot settle it")
    wide = gaps(*pair, labels)
    off = [g for g, n in zip(wide, here, strict=True) if not _vanishes(g, n)]
    return Verdict("wrong", str(max(off, key=_badness))) if off else RIGHT


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first wrong one, else the first that is unsure, else right; none is asked for after."""
    unsure = RIGHT
    for verdict in verdicts:
        if verdict.verdict == "wrong":
            return verdict
        unsure = verdict if unsure == RIGHT else unsure
    return unsure


def _vanishes(wide: Gap, narrow: Gap) -> bool:
    """Whether in float64 there is no difference left."""
    return wide.error <= max(
        WIDE * wide.size, 1e-3 * WIDE * wide.whole, SHRINKS * min(narrow.error, 1e300)
    )


def _badness(gap: Gap) -> float:
    return gap.error / (gap.size or 1.0)


def _host(array: Any) -> np.ndarray:
    return np.asarray(array).astype(np.float64)


def _norm(array: np.ndarray) -> float:
    """‖array‖ over what is finite in it."""
    size = np.linalg.norm(array)
    return float(size if np.isfinite(size) else np.linalg.norm(array[np.isfinite(array)]))


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """‖found − expected‖ over what is finite in expected; ∞ where found is not finite there."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.linalg.norm(found - expected)
    if np.isfinite(size):
        return float(size)
    settled = np.isfinite(expected)
    if not np.all(np.isfinite(found[settled])):
        return float("inf")
    return float(np.linalg.norm(found[settled] - expected[settled]))
