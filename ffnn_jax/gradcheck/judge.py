"""The verdict on one leaf: is the gradient that a rule gives for it right?

The formulas of the rule, run in float64, are held against autodiff of the primal in float64: there
rounding hides nothing, and a rule is right when they agree to float64's digits. Then its own dtype:
what the rule gives there may be off by a small factor of what autodiff, or computing in that dtype
at all (`Voices.noisy_truth`), is off by. There is no tolerance to set, and no scale.

Where that leaves something open, central differences have the last word (`settling`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.draw import Draw, error, fits, rms
from ffnn_jax.gradcheck.primal import OPAQUE
from ffnn_jax.gradcheck.settling import Settling, Verdict
from ffnn_jax.gradcheck.voices import Voice, Voices

FACTOR = 8.0  # how many times autodiff's error is allowed to a rule about which no more is known
FORMULA_FACTOR = 64.0  # and to one whose formulas are right in float64
ROUNDINGS = 4.0  # how many units of the dtype's rounding are allowed where autodiff is exact
FORMULA = 1e-9  # formulas in float64 that differ by less are the same
EPS64 = float(np.finfo(np.float64).eps)
DOUBLES = 1024.0  # how many of float64's units are allowed to a gradient in float64
CHANCE = 16  # so many entries do not have fewer digits by chance
NOISES = 3  # runs with errors of rounding, for how much is lost in this dtype at best


class Judge:
    """The verdicts on the leaves of one function at one point, `wide`: in float64."""

    def __init__(self, voices: Voices, wide: list[jax.Array], draws: Sequence[Draw]):
        self.voices = voices
        self.wide = wide
        self.draws = draws
        self._noises: dict[float, list[float]] = {}
        self._errors = self._compared() if draws[0].truth and draws[0].autodiff else []
        self._differences = Settling(voices, wide, draws)

    def verdict(self, i: int) -> Verdict:
        """The verdict on leaf i."""
        verdict = self._verdict(i)
        if verdict.truth is None:
            return verdict
        size = float(np.linalg.norm(np.nan_to_num(verdict.truth)))
        return verdict._replace(size=size, truth=None if verdict.ok else verdict.truth)

    def _verdict(self, i: int) -> Verdict:
        if not self._errors:
            why = "autodiff cannot differentiate the function"
            plain = self.voices.plain
            opaque = [name for name in sorted(OPAQUE) if plain.holds(frozenset({name}))]
            why += f", which has {' and '.join(opaque)}" * bool(opaque)
            return self._differences.alone(i, why)
        if not np.all(np.isfinite(self.draws[0].true(i))):
            return self._differences.alone(i, "autodiff of the function is not finite here")
        errors = self._errors[i]
        formula = self._formula(i, errors)
        if formula is False:
            return self._settled(i, errors)
        return self._in_its_dtype(i, errors, formula)

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
            for i in range(len(self.wide))
        ]

    def _off(self, draw: Draw, name: str) -> list[float]:
        """How far a voice is from the truth, leaf by leaf; what it said is forgotten then.

        A large function leaves no room for all voices at once.
        """
        off = self._from_truth(draw, getattr(draw, name))
        draw.forget(name)
        return off

    def _from_truth(self, draw: Draw, voice: Voice) -> list[float]:
        return [error(voice.grad(i), draw.true(i)) for i in range(len(self.wide))]

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
        if self.voices.rule_sees_dtypes or self.voices.coarse:
            return worst <= FACTOR * max(errors.achieved, self._noise(i))
        return False

    def _only_constants_differ(self, i: int, errors: "_Errors") -> bool:
        """Whether each entry is off by no more than constants rounded to the dtype account for."""
        pairs = [(draw.best.grad(i), draw.true(i)) for draw in self.draws]
        allowed = max(errors.eps, min(errors.achieved, 4 * errors.eps))  # sums magnify them too
        return all(
            error(w, t) <= allowed
            and np.all(np.abs(w - t) <= 8 * errors.eps * np.maximum(np.abs(t), rms(t)))
            for w, t in pairs
        )

    def _in_its_dtype(self, i: int, errors: "_Errors", formula: bool | None) -> Verdict:
        """The verdict on a rule whose formulas are right, or not known."""
        factor = FORMULA_FACTOR if formula else FACTOR
        floor = (FORMULA_FACTOR if formula else ROUNDINGS) * errors.eps
        if errors.eps == EPS64:  # of which the truth itself has no more digits
            floor = max(floor, DOUBLES * EPS64)
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
        truth = draw.true(i)
        found = np.zeros(0) if ok else draw.rule.grad(i)
        verdict = Verdict(
            ok, errors.rule[worst], errors.achieved, allowed, formula, found, truth, which
        )
        if not ok and formula is None:
            return self._settled(i, errors)
        return self._differences.confirmed(i, verdict) if ok else verdict

    def _settled(self, i: int, errors: "_Errors") -> Verdict:
        """The verdict where the rule differs from autodiff."""
        worst = int(np.argmax(errors.rule if errors.wide is None else errors.wide))
        draw = self.draws[worst]
        allowed = max(FACTOR * errors.achieved, ROUNDINGS * errors.eps)
        return self._differences.settled(
            i,
            Verdict(
                False,
                errors.rule[worst],
                errors.achieved,
                allowed,
                False,
                draw.best.grad(i),
                draw.true(i),
                worst,
            ),
        )

    def _is_coarse(self, i: int, errors: "_Errors", worst: int) -> bool:
        """Whether a float16 gradient has only the digits of bfloat16, and not by chance."""
        if self.voices.inputs[i].dtype != jnp.float16:
            return False
        draw = self.draws[worst]
        found, due = draw.rule.grad(i), draw.true(i).astype(np.float16)
        if not np.all(fits(found, "bfloat16")):
            return False
        if found.size >= CHANCE and np.mean(fits(due, "bfloat16")) < 0.5:
            return True
        least = max(errors.achieved, self._noise(i), errors.eps)
        return errors.rule[worst] > FACTOR * least

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
