"""Central differences, where the voices leave a gradient open.

Where they agree with autodiff, it is the truth; where they agree with a rule that differs from it,
the rule is right; where the two sides of a point have different slopes, a gradient between them is;
and where nothing settles, the verdict is `unsure`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.differences import Slope, agrees, sizes, slope
from ffnn_jax.gradcheck.draw import Draw, error, rms
from ffnn_jax.gradcheck.voices import Voices

ENTRIES = 24  # so many entries are settled by differences one by one
DIRECTIONS = 4  # and beyond that so many random directions
SMALL = 64  # a leaf of so many entries is differenced whole where autodiff cannot go
UNSETTLED = "differences do not settle; pass reference=, the same in what JAX differentiates"
ROUNDED = 64.0  # so many roundings are allowed to a rule that cannot be run in float64


class Verdict(NamedTuple):
    """What is known of one leaf.

    Attributes:
      ok: True, False, or None where nothing can decide.
      error, autodiff, allowed: relative to ‖truth‖, for the worst of the draws.
      formula: whether the rule's formulas are right in float64; None: not known.
      found, truth: the gradients of the draw that decided, for the diagnosis of a wrong one; truth
        is None where only slopes along some directions are known.
      draw: which draw that was.
      kinks: entries where the function has a kink and the rule another value between the slopes.
      note: what else there is to say.
      size: ‖truth‖ as far as it is finite; None where it is not known.
    """

    ok: bool | None
    error: float
    autodiff: float
    allowed: float
    formula: bool | None
    found: np.ndarray
    truth: np.ndarray | None
    draw: int = 0
    kinks: int = 0
    note: str = ""
    size: float | None = None


class Settling:
    """Differences of one function at one point, `wide`: in float64."""

    def __init__(self, voices: Voices, wide: list[jax.Array], draws: Sequence[Draw]):
        self.voices = voices
        self.wide = wide
        self.leaves = [np.asarray(leaf) for leaf in wide]
        self.draws = draws
        self._random = np.random.default_rng(0)

    def confirmed(self, i: int, verdict: Verdict) -> Verdict:
        """A right verdict, unless differences settle on another gradient than autodiff's."""
        leaf, truth, draw = self.leaves[i], verdict.truth, self.draws[verdict.draw]
        if truth is None or leaf.size == 0 or self.voices.stops_gradients:
            return verdict
        objective, unit = self._objective(i, draw), sizes(leaf, self.voices.coarse)
        v = unit * self._random.standard_normal(leaf.shape)
        expected, matters = float(np.sum(truth * v)), float(np.linalg.norm(truth * v))
        if agrees(objective, leaf, v, expected, matters):
            return verdict
        found = slope(objective, leaf, v, matters, self.voices.coarse)
        off = abs(found.central - expected)
        if not found.settled or off <= 0.02 * matters + found.error:
            return verdict
        if found.holds(expected, 0.05 * abs(found.above - found.below)):
            return verdict
        entries = self._entries(i, draw, np.ones(leaf.shape, bool))
        wrong = [e for e in entries if e.kind == "neither"]
        if not wrong:
            return verdict
        note = "autodiff of the function gives the same, and differences do not: both are wrong"
        return verdict._replace(
            ok=False, formula=False, truth=self._mended(truth, entries), note=note
        )

    def settled(self, i: int, base: Verdict) -> Verdict:
        """The verdict where the rule and autodiff differ: differences decide, entry by entry.

        Args:
          i: which leaf.
          base: the verdict if autodiff is right.
        """
        found, truth, draw = base.found, base.truth, self.draws[base.draw]
        assert truth is not None
        if not np.all(np.isfinite(found)):
            return base
        differ = np.abs(found - truth) > 1e-6 * (np.abs(found) + np.abs(truth)) + 1e-9 * rms(truth)
        entries = self._entries(i, draw, differ)
        kinds = [entry.kind for entry in entries]
        if any(kind in ("autodiff", "neither") for kind in kinds):
            return base._replace(truth=self._mended(truth, entries))
        if kinds and all(kind in ("rule", "kink") for kind in kinds):
            return self._right_against_autodiff(base, differ, kinds)
        note = "the rule and autodiff differ, and differences do not settle which is right"
        return base._replace(ok=None, note=note)

    def alone(self, i: int, why: str) -> Verdict:
        """The verdict where there is no gradient but the rule's to go by."""
        leaf, draw = self.leaves[i], self.draws[0]
        found = draw.best.grad(i)
        coarse = self.voices.coarse
        allowed = 2e-2 if coarse else 1e-3
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        allowed = max(allowed, ROUNDED * eps if draw.rule_wide is None else 0.0)
        base = Verdict(False, np.inf, np.nan, allowed, None, found, None, 0, 0, why)
        finite = np.all(np.isfinite(found))
        if leaf.size <= SMALL:
            return self._whole_by_differences(i, base)
        if not finite:
            return base
        objective, unit = self._objective(i, draw), sizes(leaf, self.voices.coarse)
        worst = 0.0
        for _ in range(DIRECTIONS):
            v = unit * self._random.standard_normal(leaf.shape)
            expected, size = float(np.sum(found * v)), float(np.linalg.norm(found * v))
            side = slope(objective, leaf, v, max(size, 1e-300), coarse)
            if not side.settled:
                return base._replace(ok=None, error=np.nan, note=f"{why}; {UNSETTLED}")
            off = 0.0 if side.holds(expected, 0.0) else abs(side.central - expected)
            worst = max(worst, off / (max(size, abs(side.central)) or 1.0))
        return base._replace(ok=worst <= allowed, error=worst, note=f"{why}: by differences")

    def _objective(self, i: int, draw: Draw) -> Callable[[np.ndarray], float]:
        """φ as a function of leaf i alone."""

        def objective(leaf: np.ndarray) -> float:
            leaves = [*self.wide[:i], leaf, *self.wide[i + 1 :]]
            return self.voices.objective(leaves, draw.cotangents)

        return objective

    def _right_against_autodiff(
        self, base: Verdict, differ: np.ndarray, kinds: list[str]
    ) -> Verdict:
        """Each entry that was looked at speaks for the rule."""
        if "rule" not in kinds:
            note = "between the two slopes of a kink, where autodiff takes another value"
            kinks = int(np.sum(differ))
            return base._replace(ok=True, formula=True, kinks=kinks, note=note)
        note = "autodiff of the function is wrong here; differences agree with the rule"
        return base._replace(ok=True, formula=True, kinks=kinds.count("kink"), note=note)

    def _entries(self, i: int, draw: Draw, where: np.ndarray) -> list["_Entry"]:
        """Some of the entries in `where`, each with what differences say of it."""
        leaf, objective = self.leaves[i], self._objective(i, draw)
        found, truth = draw.best.grad(i), draw.true(i)
        places = np.argwhere(where)
        if len(places) > ENTRIES:
            gaps = np.abs(found - truth)[tuple(places.T)]
            largest = np.argsort(-gaps, kind="stable")[: ENTRIES // 2]
            others = self._random.choice(len(places), ENTRIES // 2, replace=False)
            places = places[np.unique([*largest, *others])]
        unit = sizes(leaf, self.voices.coarse)
        entries = []
        for place in map(tuple, places):
            v = np.zeros(leaf.shape)
            v[place] = unit[place]
            got, due, u = float(found[place]), float(truth[place]), float(unit[place])
            matters = max(abs(got - due), 1e-3 * abs(due), 1e-6 * rms(truth)) * u
            side = slope(objective, leaf, v, matters, self.voices.coarse)
            entries.append(_Entry.of(place, side, got, due, u))
        return entries

    def _mended(self, truth: np.ndarray, entries: list["_Entry"]) -> np.ndarray:
        """The truth with what differences say where autodiff is wrong."""
        truth = np.array(truth)
        for entry in entries:
            if entry.kind in ("neither", "rule"):
                truth[entry.place] = entry.value
        return truth

    def _whole_by_differences(self, i: int, base: Verdict) -> Verdict:
        leaf, draw, found = self.leaves[i], self.draws[0], base.found
        objective, unit = self._objective(i, draw), sizes(leaf, self.voices.coarse)
        truth, kinks, unsettled = np.zeros(leaf.shape), 0, 0
        least = 1.0 if self.voices.coarse else 1e-3  # what matters, of a typical entry
        size = rms(found[np.isfinite(found)]) if np.any(np.isfinite(found)) else 1.0
        for place in np.ndindex(leaf.shape):
            v = np.zeros(leaf.shape)
            v[place] = unit[place]
            u, got = float(unit[place]), float(np.nan_to_num(found[place]))
            matters = max(abs(got), least * size) * u
            side = slope(objective, leaf, v, matters, self.voices.coarse)
            if not side.settled:  # nothing is known against it
                truth[place], unsettled = found[place], unsettled + 1
                continue
            truth[place] = side.central / u
            between = side.holds(float(found[place]) * u, 0.0)
            off = abs(float(found[place]) * u - side.central)
            if between and off > base.allowed * max(abs(side.central), matters):
                truth[place], kinks = found[place], kinks + 1
        off = error(found, truth)
        if unsettled and off <= base.allowed:
            note = f"{base.note}; {UNSETTLED}"
            return base._replace(ok=None, error=np.nan, note=note)
        note = f"{base.note}: by differences"
        return base._replace(ok=off <= base.allowed, error=off, truth=truth, kinks=kinks, note=note)


class _Entry(NamedTuple):
    """One entry where the rule and autodiff differ, and for whom differences speak.

    Attributes:
      place: its index.
      kind: "autodiff", "rule", "kink" (the rule is between the two slopes), "neither", "unsettled".
      value: the central difference.
    """

    place: tuple[int, ...]
    kind: str
    value: float

    @staticmethod
    def of(place: tuple[int, ...], side: Slope, found: float, truth: float, unit: float):
        value, gap = side.central / unit, abs(found - truth) * unit
        width = abs(side.above - side.below)
        if not side.settled:
            return _Entry(place, "unsettled", value)
        if width > 0.3 * gap and width > 1e-3 * abs(side.central):
            inside = side.holds(found * unit, 0.02 * width)
            return _Entry(place, "kink" if inside else "autodiff", value)
        margin = 0.1 * gap + side.error + 1e-3 * abs(side.central)
        to_truth, to_rule = abs(side.central - truth * unit), abs(side.central - found * unit)
        if min(to_truth, to_rule) > margin:
            return _Entry(place, "neither", value)
        return _Entry(place, "autodiff" if to_truth <= to_rule else "rule", value)
