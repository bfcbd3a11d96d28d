"""The verdict on one leaf: is the gradient that a rule gives for it right?

The formulas of the rule, run in float64, are held against autodiff of the primal in float64: there
rounding hides nothing, and a rule is right when they agree to float64's digits. Then its own dtype:
what the rule gives there may be off by a small factor of what autodiff, or computing in that dtype
at all (`Voices.noisy_truth`), is off by. There is no tolerance to set, and no scale.

Central differences have the last word on autodiff itself: where they agree with it, it is the
truth; where they agree with a rule that differs from it, the rule is right; where the two sides of
a point have different slopes, a gradient between them is; and where nothing settles, the verdict
is `unsure`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.differences import Slope, agrees, sizes, slope
from ffnn_jax.gradcheck.voices import Voice, Voices

FACTOR = 8.0  # how many times autodiff's error is allowed to a rule about which no more is known
FORMULA_FACTOR = 64.0  # and to one whose formulas are right in float64
ROUNDINGS = 4.0  # how many units of the dtype's rounding are allowed where autodiff is exact
FORMULA = 1e-9  # formulas in float64 that differ by less are the same
EPS64 = float(np.finfo(np.float64).eps)
NOISES = 3  # runs with errors of rounding, for how much is lost in this dtype at best
ENTRIES = 24  # so many entries are settled by differences one by one
DIRECTIONS = 4  # and beyond that so many random directions
SMALL = 64  # a leaf of so many entries is differenced whole where autodiff cannot go


class Draw:
    """One cotangent, and what each voice says for it; None where it cannot speak.

    The voices are heard when they are asked for, and once more after `forget`, so that not all of
    their gradients need be there at the same time. The leaves are there twice, `wide` in float64.

    Attributes:
      cotangents: one array for each output, float64.
      values: the outputs, as each voice that was heard gave them.
    """

    def __init__(self, voices: Voices, leaves: list, wide: list, cotangents: list[np.ndarray]):
        self.cotangents = cotangents
        self._voices = voices
        self._leaves = {"rule": leaves, "autodiff": leaves, "truth": wide, "rule_wide": wide}
        self._heard: dict[str, Voice | None] = {}
        self.values: dict[str, list[np.ndarray]] = {}

    @property
    def rule(self) -> Voice:
        """The rule. Raises whatever it raises."""
        if "rule" not in self._heard:
            self._listen("rule")
        voice = self._heard["rule"]
        assert voice is not None
        return voice

    @property
    def autodiff(self) -> Voice | None:
        """Autodiff in the same dtypes; None as for `truth`."""
        return self._hear("autodiff")

    @property
    def truth(self) -> Voice | None:
        """Autodiff in float64; None where it cannot go, through some loops and callbacks."""
        return self._hear("truth")

    @property
    def rule_wide(self) -> Voice | None:
        """The formulas of the rule in float64; None where they cannot be run there."""
        return self._hear("rule_wide")

    @property
    def best(self) -> Voice:
        """The rule in float64 if it can be had, else in its dtypes."""
        return self.rule_wide or self.rule

    def forget(self, name: str) -> None:
        """Lets go of what this voice said; that it cannot speak is remembered."""
        if self._heard.get(name):
            del self._heard[name]

    def _hear(self, name: str) -> Voice | None:
        if name not in self._heard:
            try:
                self._listen(name)
            except Exception:
                self._heard[name] = None
        return self._heard[name]

    def _listen(self, name: str) -> None:
        voice = getattr(self._voices, name)(self._leaves[name], self.cotangents)
        self._heard[name], self.values[name] = voice, voice.values


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


class Judge:
    """The verdicts on the leaves of one function at one point, `wide`: in float64."""

    def __init__(self, voices: Voices, wide: list[jax.Array], draws: Sequence[Draw]):
        self.voices = voices
        self.wide = wide
        self.leaves = [np.asarray(leaf) for leaf in wide]
        self.draws = draws
        self._noises: dict[float, list[float]] = {}
        self._errors = self._compared() if draws[0].truth and draws[0].autodiff else []
        self._random = np.random.default_rng(0)

    def verdict(self, i: int) -> Verdict:
        """The verdict on leaf i."""
        verdict = self._verdict(i)
        if verdict.truth is None:
            return verdict
        size = float(np.linalg.norm(np.nan_to_num(verdict.truth)))
        return verdict._replace(size=size, truth=None if verdict.ok else verdict.truth)

    def _verdict(self, i: int) -> Verdict:
        if not self._errors:
            return self._by_differences(i, "autodiff cannot differentiate the function")
        if not np.all(np.isfinite(self._truth(self.draws[0], i))):
            return self._by_differences(i, "autodiff of the function is not finite here")
        errors = self._errors[i]
        formula = self._formula(i, errors)
        if formula is False:
            return self._settled(i, errors)
        return self._in_its_dtype(i, errors, formula)

    # By the three voices -------------------------------------------------------------------------

    def _compared(self) -> "list[_Errors]":
        """The errors of every leaf: one draw, and of that one voice, after the other."""
        rule, autodiff, wide = [], [], []
        for draw in self.draws:
            rule.append(self._off(draw, "rule"))
            autodiff.append(self._off(draw, "autodiff"))
            wide.append(self._off(draw, "rule_wide") if draw.rule_wide else None)
            if draw is not self.draws[0]:
                draw.forget("truth")
        return [
            _Errors(
                float(jnp.finfo(self.voices.inputs[i].dtype).eps),
                [off[i] for off in rule],
                [off[i] for off in autodiff],
                None if None in wide else [off[i] for off in wide],
            )
            for i in range(len(self.leaves))
        ]

    def _off(self, draw: Draw, name: str) -> list[float]:
        """How far a voice is from the truth, leaf by leaf; what it said is forgotten then.

        A large function leaves no room for all voices at once.
        """
        off = self._from_truth(draw, getattr(draw, name))
        draw.forget(name)
        return off

    def _from_truth(self, draw: Draw, voice: Voice) -> list[float]:
        return [error(voice.grad(i), self._truth(draw, i)) for i in range(len(self.leaves))]

    def _formula(self, i: int, errors: "_Errors") -> bool | None:
        """Whether the formulas of the rule are right in float64; None where it cannot run there."""
        if errors.wide is None:
            return None
        worst = max(errors.wide)
        shorter = EPS64 / errors.eps  # how much of what the dtype loses float64 loses
        if worst <= max(FORMULA, FORMULA_FACTOR * shorter * errors.achieved):
            return True
        if self._only_constants_differ(i, errors):
            return True
        if worst <= FORMULA_FACTOR * self._noise_of_float64(i, errors):
            return True
        if self.voices.rule_sees_dtypes or self.voices.sees_dtypes:
            return worst <= FACTOR * max(errors.achieved, self._noise(i))
        return False

    def _only_constants_differ(self, i: int, errors: "_Errors") -> bool:
        """Whether each entry is off by no more than constants rounded to the dtype account for."""
        pairs = [(draw.best.grad(i), self._truth(draw, i)) for draw in self.draws]
        allowed = max(errors.eps, min(errors.achieved, 4 * errors.eps))  # sums magnify them too
        return all(
            error(w, t) <= allowed
            and np.all(np.abs(w - t) <= 8 * errors.eps * np.maximum(np.abs(t), _rms(t)))
            for w, t in pairs
        )

    def _in_its_dtype(self, i: int, errors: "_Errors", formula: bool | None) -> Verdict:
        """The verdict on a rule whose formulas are right, or not known."""
        factor = FORMULA_FACTOR if formula else FACTOR
        floor = (FORMULA_FACTOR if formula else ROUNDINGS) * errors.eps
        allowed = max(factor * errors.achieved, floor)
        worst = int(np.argmax(errors.rule))
        if errors.rule[worst] > allowed:
            allowed = max(allowed, factor * self._noise(i))
        overflows = np.isinf(errors.rule[worst]) and np.isinf(errors.autodiff[worst])
        ok = bool(errors.rule[worst] <= allowed or (overflows and formula is not False))
        if ok and formula and self._is_coarse(i, errors, worst):
            ok = False
        which = 0 if ok else worst  # of a right rule any draw will do, and the first is there
        draw = self.draws[which]
        truth = self._truth(draw, i)
        found = np.zeros(0) if ok else draw.rule.grad(i)
        verdict = Verdict(
            ok, errors.rule[worst], errors.achieved, allowed, formula, found, truth, which
        )
        if not ok and formula is None:
            return self._settled(i, errors)
        return self._confirmed(i, verdict) if ok else verdict

    def _is_coarse(self, i: int, errors: "_Errors", worst: int) -> bool:
        """Whether a float16 gradient has only the digits of bfloat16."""
        dtype = self.voices.inputs[i].dtype
        if dtype != jnp.float16 or errors.rule[worst] <= FACTOR * max(
            errors.achieved, self._noise(i), errors.eps
        ):
            return False
        found = self.draws[worst].rule.grad(i)
        return bool(np.all(np.asarray(jnp.asarray(found, jnp.bfloat16), np.float64) == found))

    def _noise(self, i: int, times: float = 1.0) -> float:
        """What computing in these dtypes loses of the gradient of leaf i, relative to it."""
        if times not in self._noises:
            draw = self.draws[0]
            lost = []
            for seed in range(NOISES):
                noisy = self.voices.noisy_truth(self.wide, draw.cotangents, seed, times)
                lost.append(self._from_truth(draw, noisy))
            self._noises[times] = [
                max(filter(np.isfinite, of_leaf), default=0.0)
                for of_leaf in zip(*lost, strict=True)
            ]
        return self._noises[times][i]

    def _noise_of_float64(self, i: int, errors: "_Errors") -> float:
        """What float64 itself loses; 0 where it jumps, as at a kink, and does not grow with ε."""
        times = EPS64 / errors.eps
        noise, more = self._noise(i, times), self._noise(i, 64 * times)
        return noise if more > 8 * noise else 0.0

    # By differences ------------------------------------------------------------------------------

    def _objective(self, i: int, draw: Draw):
        """φ as a function of leaf i alone."""

        def objective(leaf: np.ndarray) -> float:
            leaves = [*self.wide[:i], leaf, *self.wide[i + 1 :]]
            return self.voices.objective(leaves, draw.cotangents)

        return objective

    def _confirmed(self, i: int, verdict: Verdict) -> Verdict:
        """A right verdict, unless differences settle on another gradient than autodiff's."""
        leaf, truth, draw = self.leaves[i], verdict.truth, self.draws[verdict.draw]
        if truth is None or leaf.size == 0 or self.voices.stops_gradients:
            return verdict
        objective, unit = self._objective(i, draw), sizes(leaf, self.voices.sees_dtypes)
        v = unit * self._random.standard_normal(leaf.shape)
        expected, matters = float(np.sum(truth * v)), float(np.linalg.norm(truth * v))
        if agrees(objective, leaf, v, expected, matters):
            return verdict
        found = slope(objective, leaf, v, matters, self.voices.sees_dtypes)
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

    def _settled(self, i: int, errors: "_Errors") -> Verdict:
        """The verdict where the rule and autodiff differ: differences decide, entry by entry."""
        series = errors.rule if errors.wide is None else errors.wide
        worst = int(np.argmax(series))
        draw = self.draws[worst]
        found = draw.best.grad(i)
        truth = self._truth(draw, i)
        allowed = max(FACTOR * errors.achieved, ROUNDINGS * errors.eps)
        base = Verdict(
            False, errors.rule[worst], errors.achieved, allowed, False, found, truth, worst
        )
        if not np.all(np.isfinite(found)):
            return base
        differ = np.abs(found - truth) > 1e-6 * (np.abs(found) + np.abs(truth)) + 1e-9 * _rms(truth)
        entries = self._entries(i, draw, differ)
        kinds = [entry.kind for entry in entries]
        if any(kind in ("autodiff", "neither") for kind in kinds):
            return base._replace(truth=self._mended(truth, entries))
        if kinds and all(kind in ("rule", "kink") for kind in kinds):
            return self._right_against_autodiff(base, differ, kinds)
        note = "the rule and autodiff differ, and differences do not settle which is right"
        return base._replace(ok=None, note=note)

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
        found, truth = draw.best.grad(i), self._truth(draw, i)
        places = np.argwhere(where)
        if len(places) > ENTRIES:
            gaps = np.abs(found - truth)[tuple(places.T)]
            largest = np.argsort(-gaps, kind="stable")[: ENTRIES // 2]
            others = self._random.choice(len(places), ENTRIES // 2, replace=False)
            places = places[np.unique([*largest, *others])]
        unit = sizes(leaf, self.voices.sees_dtypes)
        entries = []
        for place in map(tuple, places):
            v = np.zeros(leaf.shape)
            v[place] = unit[place]
            got, due, u = float(found[place]), float(truth[place]), float(unit[place])
            matters = max(abs(got - due), 1e-3 * abs(due), 1e-6 * _rms(truth)) * u
            side = slope(objective, leaf, v, matters, self.voices.sees_dtypes)
            entries.append(_Entry.of(place, side, got, due, u))
        return entries

    def _mended(self, truth: np.ndarray, entries: list["_Entry"]) -> np.ndarray:
        """The truth with what differences say where autodiff is wrong."""
        truth = np.array(truth)
        for entry in entries:
            if entry.kind in ("neither", "rule"):
                truth[entry.place] = entry.value
        return truth

    def _by_differences(self, i: int, why: str) -> Verdict:
        """The verdict where there is no gradient but the rule's to go by."""
        leaf, draw = self.leaves[i], self.draws[0]
        found = draw.best.grad(i)
        coarse = self.voices.sees_dtypes
        allowed = 2e-2 if coarse else 1e-3
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        allowed = max(allowed, FORMULA_FACTOR * eps if draw.rule_wide is None else 0.0)
        base = Verdict(False, np.inf, np.nan, allowed, None, found, None, 0, 0, why)
        finite = np.all(np.isfinite(found))
        if leaf.size <= SMALL:
            return self._whole_by_differences(i, base)
        if not finite:
            return base
        objective, unit = self._objective(i, draw), sizes(leaf, self.voices.sees_dtypes)
        worst = 0.0
        for _ in range(DIRECTIONS):
            v = unit * self._random.standard_normal(leaf.shape)
            expected, size = float(np.sum(found * v)), float(np.linalg.norm(found * v))
            side = slope(objective, leaf, v, max(size, 1e-300), coarse)
            if not side.settled:
                return base._replace(
                    ok=None, error=np.nan, note=f"{why}; differences do not settle"
                )
            off = 0.0 if side.holds(expected, 0.0) else abs(side.central - expected)
            worst = max(worst, off / (max(size, abs(side.central)) or 1.0))
        return base._replace(ok=worst <= allowed, error=worst, note=f"{why}: by differences")

    def _whole_by_differences(self, i: int, base: Verdict) -> Verdict:
        leaf, draw, found = self.leaves[i], self.draws[0], base.found
        objective, unit = self._objective(i, draw), sizes(leaf, self.voices.sees_dtypes)
        truth, kinks, unsettled = np.zeros(leaf.shape), 0, 0
        size = _rms(found[np.isfinite(found)]) if np.any(np.isfinite(found)) else 1.0
        for place in np.ndindex(leaf.shape):
            v = np.zeros(leaf.shape)
            v[place] = unit[place]
            u, got = float(unit[place]), float(np.nan_to_num(found[place]))
            matters = max(abs(got), 1e-3 * size) * u
            side = slope(objective, leaf, v, matters, self.voices.sees_dtypes)
            unsettled += not side.settled
            truth[place] = side.central / u
            between = side.holds(float(found[place]) * u, 0.0)
            off = abs(float(found[place]) * u - side.central)
            if between and off > base.allowed * max(abs(side.central), matters):
                truth[place], kinks = found[place], kinks + 1
        if unsettled:
            note = f"{base.note}; differences do not settle"
            return base._replace(ok=None, error=np.nan, note=note)
        off = error(found, truth)
        note = f"{base.note}: by differences"
        return base._replace(ok=off <= base.allowed, error=off, truth=truth, kinks=kinks, note=note)

    def _truth(self, draw: Draw, i: int) -> np.ndarray:
        assert draw.truth is not None
        return draw.truth.grad(i)


class _Errors(NamedTuple):
    """Of one leaf, for each draw, relative to the truth; `eps` is the unit of its dtype."""

    eps: float
    rule: list[float]
    autodiff: list[float]
    wide: list[float] | None

    @property
    def achieved(self) -> float:
        """Autodiff's worst."""
        return max(filter(np.isfinite, self.autodiff), default=0.0)


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


def error(found: np.ndarray, truth: np.ndarray) -> float:
    """‖found − truth‖ / ‖truth‖; ∞ where found is not finite and truth is."""
    settled = np.isfinite(truth)
    if not np.all(settled):
        found, truth = found[settled], truth[settled]
    if not np.all(np.isfinite(found)):
        return float("inf")
    size = np.linalg.norm(truth)
    return float(np.linalg.norm(found - truth) / (size if size > 0 else 1.0))


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
