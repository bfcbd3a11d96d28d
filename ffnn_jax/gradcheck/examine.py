"""From verdicts to reports: what is wrong with each leaf, and probes of a rule that seems right."""

import re
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.diagnosis import Context, diagnose
from ffnn_jax.gradcheck.draw import Draw, error, fits
from ffnn_jax.gradcheck.judge import EPS64, FACTOR, FORMULA, Judge
from ffnn_jax.gradcheck.point import Point
from ffnn_jax.gradcheck.report import Diagnosis, LeafReport, Report, TransformReport
from ffnn_jax.gradcheck.settling import Verdict
from ffnn_jax.gradcheck.transforms import SECOND_ORDER
from ffnn_jax.gradcheck.voices import Voice, Voices

VALUE_ROUNDINGS = 32.0  # allowed for an output, of which there is one draw: luck is in it
CONSTANTS = 4.0  # of how many roundings constants of a shorter dtype may be the reason
NOISE = 1e-9  # how far from itself a gradient may be, relative
LINEAR = 1e-6  # how far from linear in the cotangent a rule may be, relative


class Examined:
    """The verdicts, and what is needed to say more about them."""

    def __init__(self, voices: Voices, point: Point, judge: Judge, verdicts: list[Verdict]):
        self.voices = voices
        self.point = point
        self.judge = judge
        self.verdicts = verdicts

    @cached_property
    def _runs_wide(self) -> bool:
        """Whether the rule can be run in float64."""
        draw = self.judge.draws[0]
        return "rule_wide" in draw.values or draw.rule_wide is not None

    def leaf(self, i: int) -> LeafReport:
        """The report on leaf i."""
        verdict = self.verdicts[i]
        diagnosis, ok = None, verdict.ok
        if ok is False:
            diagnosis = self._noise(i) or self._diagnosis(i)
        elif ok:
            diagnosis = (
                self._noise_of_calls(i)
                or self._not_linear[i]
                or self._dtype(i)
                or self._not_finite_when_eager[i]
            )
            ok = diagnosis is None
        return LeafReport(
            self.point.paths[i],
            ok,
            verdict.error,
            verdict.autodiff,
            verdict.allowed,
            diagnosis,
            verdict.kinks,
            verdict.note,
        )

    def values(self) -> tuple[LeafReport, ...]:
        """The reports on the outputs: a rule's forward pass may not return another."""
        said = self.judge.draws[0].values
        if "autodiff" not in said or "truth" not in said:
            return ()
        return tuple(self._value(k, shape.dtype) for k, shape in enumerate(self.voices.outputs))

    def _value(self, k: int, dtype: np.dtype) -> LeafReport:
        said = {
            name: np.asarray(values[k], np.float64)
            for name, values in self.judge.draws[0].values.items()
        }
        found, truth = said["rule"], said["truth"]
        off, achieved = error(found, truth), error(said["autodiff"], truth)
        allowed = max(FACTOR * achieved, VALUE_ROUNDINGS * float(jnp.finfo(dtype).eps))
        if "rule_wide" not in said:
            same = off <= allowed
        else:  # the forward pass of the rule in float64: 0 apart from constants of the dtype
            apart = error(said["rule_wide"], truth)
            constants = max(FACTOR * achieved, float(jnp.finfo(dtype).eps))
            same = apart <= FORMULA or (apart <= constants and off <= allowed)
        if same and (np.all(np.isfinite(found)) or not np.all(np.isfinite(truth))):
            return LeafReport(f"output {k}", True, off, achieved, allowed, None)
        named = diagnose(found, truth, allowed).message.replace("the gradient", "the value")
        diagnosis = Diagnosis("value-changes", f"under differentiation it is another: {named}")
        return LeafReport(f"output {k}", False, off, achieved, allowed, diagnosis)

    def _diagnosis(self, i: int) -> Diagnosis:
        verdict, dtype = self.verdicts[i], self.voices.inputs[i].dtype
        if verdict.formula and np.all(np.isfinite(verdict.found)):
            return _precision(verdict, dtype)
        draw = self.judge.draws[verdict.draw]
        if verdict.truth is None:
            return _from_slopes(verdict)
        rounded = _rounded(verdict, draw.rule.grad(i), dtype)
        if rounded is not None:
            return rounded
        eps = float(jnp.finfo(dtype).eps)
        wide = self._runs_wide
        margin = max(1e-6, eps) if wide else max(verdict.allowed, 16 * eps)
        return diagnose(verdict.found, verdict.truth, margin, self._context(i, draw))

    def _context(self, i: int, draw: Draw) -> Context | None:
        if draw.truth is None:
            return None
        leaves = self.point.leaves
        rule = self.voices.rule_wide if self._runs_wide else self.voices.rule
        return Context(
            i,
            self.point.paths,
            np.asarray(leaves[i], np.float64),
            [draw.true(j) for j in range(len(leaves))],
            draw.cotangents,
            lambda leaf, c: rule([*leaves[:i], leaf, *leaves[i + 1 :]], c).grad(i),
            lambda leaf, c: self.voices.truth([*leaves[:i], leaf, *leaves[i + 1 :]], c).grad(i),
            self._lengths(),
        )

    def _lengths(self) -> list[tuple[int, str]]:
        """The lengths of the axes of the outputs and leaves, each once, and where they are from."""
        shapes = [(f"output {k}", s.shape) for k, s in enumerate(self.voices.outputs)]
        shapes += [
            (path, leaf.shape)
            for path, leaf in zip(self.point.paths, self.point.leaves, strict=True)
        ]
        lengths: dict[int, str] = {}
        for name, shape in shapes:
            for axis, n in enumerate(shape):
                lengths.setdefault(n, f"the length of axis {axis} of {name}")
            lengths.setdefault(int(np.prod(shape)), f"the number of entries of {name}")
        return list(lengths.items())

    # Probes of the rule alone --------------------------------------------------------------------

    @cached_property
    def _again(self) -> list[float]:
        """How far the gradient of each leaf is from itself when the rule is run once more."""
        draw = self.judge.draws[0]
        return _apart(self.voices.rule(self.point.leaves, draw.cotangents), draw.rule)

    @cached_property
    def _best_again(self) -> list[float]:
        """The same of the rule in float64 if it can be had, where rounding hides nothing."""
        return self._from_itself(self.voices)

    @cached_property
    def _traced_again(self) -> list[float]:
        """The same when it is traced once more."""
        return self._from_itself(Voices(self.voices.fn, self.voices.plain, self.point.leaves))

    def _from_itself(self, voices: Voices) -> list[float]:
        draw = self.judge.draws[0]
        if self._runs_wide:
            return _apart(voices.rule_wide(self.judge.wide, draw.cotangents), draw.best)
        return _apart(voices.rule(self.point.leaves, draw.cotangents), draw.rule)

    def _noise_of_calls(self, i: int) -> Diagnosis | None:
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        return _noise_if(self._again[i], max(64 * eps, NOISE))

    def _noise(self, i: int) -> Diagnosis | None:
        """Of a wrong leaf: not the same twice, from call to call or from trace to trace."""
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        allowed = NOISE if self._runs_wide else max(64 * eps, NOISE)
        return (
            self._noise_of_calls(i)
            or _noise_if(self._best_again[i], allowed)
            or _noise_if(self._traced_again[i], allowed)
        )

    @cached_property
    @np.errstate(all="ignore")  # a leaf that is not finite has its verdict already
    def _not_linear(self) -> list[Diagnosis | None]:
        """Of each leaf: cotangents of 0, 1, a single 1, opposite, much larger and in sums."""
        draw, leaves, voice = self.judge.draws[0], self.judge.wide, self.voices.rule_wide
        if not self._runs_wide:
            leaves, voice = self.point.leaves, self.voices.rule
        draw.forget("truth")
        found: list[Diagnosis | None] = [None] * len(leaves)
        for name, once, parts in _sums(draw.cotangents):
            apart = [np.array(t, np.float64) for t in voice(leaves, once).grads]
            sizes = [_norm(t) for t in apart]
            for factor, c in parts:
                for i, t in enumerate(map(voice(leaves, c).grad, range(len(leaves)))):
                    apart[i] -= factor * t
                    sizes[i] += abs(factor) * _norm(t)
            largest = max([1.0, *(abs(factor) for factor, _ in parts)])
            for i in range(len(leaves)):
                off = _norm(apart[i])
                if found[i] is None and not off <= self._linear(i, sizes[i], largest):
                    message = f"{name}: off by {off / (sizes[i] or 1.0):.2g}"
                    found[i] = Diagnosis("nonlinear-cotangent", message)
        return found

    def _linear(self, i: int, size: float, largest: float) -> float:
        """What rounding may do to sums of gradients of leaf i whose norms add up to size."""
        wide = self._runs_wide and not self.voices.rule_sees_dtypes
        verdict = self.verdicts[i]
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        floor = 0.0
        if verdict.size is not None and np.isfinite(verdict.allowed):
            floor = largest * verdict.allowed * (verdict.size or 1.0)
            floor *= EPS64 / eps if wide else 1.0
        return (LINEAR if wide else 256 * eps) * size + floor

    @cached_property
    def _not_finite_when_eager(self) -> list[Diagnosis | None]:
        """Of each leaf: NaN that compiling the whole takes away, as that of 0 · ∞ by a mask."""
        draw, leaves = self.judge.draws[0], self.point.leaves
        try:
            eager = self.voices.eager(leaves, draw.cotangents)
        except Exception:  # the row "jit" tells of that
            return [None] * len(leaves)
        finite = [np.isfinite(draw.rule.grad(i)) for i in range(len(leaves))]
        bad = [~np.isfinite(eager.grad(i)) & there for i, there in enumerate(finite)]
        if any(map(np.any, bad)):  # autodiff may be no better
            plain = self.voices.eager(leaves, draw.cotangents, rule=False)
            bad = [places & np.isfinite(plain.grad(i)) for i, places in enumerate(bad)]
        return list(map(_lost, bad))

    def _dtype(self, i: int) -> Diagnosis | None:
        """A gradient of a shorter dtype than its leaf."""
        got, leaf = self.voices.rule_dtype(i), self.voices.inputs[i].dtype
        if jnp.finfo(got).bits >= jnp.finfo(leaf).bits:
            return None
        return Diagnosis("precision", f"the gradient of a {leaf} leaf is {got}")


def _apart(again: Voice, before: Voice) -> list[float]:
    return [error(again.grad(i), before.grad(i)) for i in range(len(before.grads))]


def _noise_if(off: float, allowed: float) -> Diagnosis | None:
    if not off > allowed:
        return None
    return Diagnosis("noise", f"the same call gave another gradient, off by {off:.2g} of its norm")


def _lost(bad: np.ndarray) -> Diagnosis | None:
    if not np.any(bad):
        return None
    first = [int(n) for n in np.argwhere(bad)[0]]
    message = f"{np.sum(bad)} of {bad.size} entries are without jit, the first at {first}"
    return Diagnosis("non-finite", message)


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))


def _sums(c: list[np.ndarray]) -> list[tuple[str, list, list[tuple[float, list]]]]:
    """(what it is, a cotangent, the cotangents and factors that it is the sum of)."""
    ones = [np.ones_like(t) for t in c]
    single = [np.zeros_like(t) for t in c]
    for t in single[:1]:
        t.flat[t.size // 2 : t.size // 2 + 1] = 1
    zero = [np.zeros_like(t) for t in c]

    def plus(x: list, y: list) -> list:
        return [s + t for s, t in zip(x, y, strict=True)]

    return [
        ("a cotangent of 0 does not give 0", zero, []),
        ("the opposite cotangent does not give the opposite", [-t for t in c], [(-1.0, c)]),
        ("1000 times the cotangent does not give 1000 times", [1e3 * t for t in c], [(1e3, c)]),
        ("a thousandth of the cotangent does not give that", [1e-3 * t for t in c], [(1e-3, c)]),
        ("a cotangent of ones, added, is not additive", plus(c, ones), [(1.0, c), (1.0, ones)]),
        ("a single one, added, is not additive", plus(c, single), [(1.0, c), (1.0, single)]),
    ]


def _precision(verdict: Verdict, dtype: np.dtype) -> Diagnosis:
    ratio = verdict.error / max(verdict.autodiff, 1e-300)
    message = f"the formulas are right, but the error is {verdict.error:.2g}"
    if np.isfinite(ratio) and verdict.autodiff > 0:
        message += f", {ratio:.2g} times that of autodiff"
    for short in _shorter(dtype):
        if np.all(fits(verdict.found, short)):
            return Diagnosis("precision", f"{message}: it has the digits of {short} only")
    return Diagnosis("precision", f"{message}: computed in a shorter dtype, or digits cancel")


def _rounded(verdict: Verdict, found: np.ndarray, dtype: np.dtype) -> Diagnosis | None:
    """Constants of a shorter dtype: as far off as its digits account for, and no digits more."""
    assert verdict.truth is not None
    with np.errstate(over="ignore"):
        due = verdict.truth.astype(dtype)
    for short in _shorter(dtype):
        near = verdict.error <= CONSTANTS * float(jnp.finfo(short).eps)
        if near and np.all(fits(found, short)) and np.mean(fits(due, short)) < 0.5:
            message = f"off by {verdict.error:.2g}, and it has the digits of {short} only"
            return Diagnosis("precision", message)
    return None


def _shorter(dtype: np.dtype) -> list[str]:
    """The dtypes with fewer digits, the shortest first."""
    names = ("bfloat16", "float16", "float32")
    return [name for name in names if jnp.finfo(name).eps > jnp.finfo(dtype).eps]


def _from_slopes(verdict: Verdict) -> Diagnosis:
    """A diagnosis where only slopes along some directions are known."""
    if not np.all(np.isfinite(verdict.found)):
        bad = int(np.sum(~np.isfinite(verdict.found)))
        return Diagnosis("non-finite", f"{bad} of {verdict.found.size} entries are")
    if not np.any(verdict.found):
        return Diagnosis("zero", "the rule gives 0 where the slopes of the function are not")
    return Diagnosis("wrong", f"off by {verdict.error:.2g} of the slopes along random directions")


def raised(error: Exception, point: Point, against: str) -> Report:
    """The report on a rule that raised: on the leaves it is about, if it says which."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}"
    about = re.search(
        r"type (\w+)\[([\d,]*)\] corresponding to an input of type (\w+\[[\d,]*\])", text
    )
    fault = "wrong-shape" if about or _SHAPE_ERROR.search(text) else "raises"
    inf = float("inf")
    guilty = [about is None or _short(leaf) == about[3] for leaf in point.leaves]
    if not any(guilty):
        guilty = [True] * len(guilty)
    diagnosis = Diagnosis(fault, _left_over(about) + text)
    leaves = tuple(
        LeafReport(path, False, inf, 0.0, 0.0, diagnosis)
        if is_guilty
        else LeafReport(path, None, np.nan, np.nan, np.nan, None, 0, "not reached: the rule raised")
        for path, is_guilty in zip(point.paths, guilty, strict=True)
    )
    return Report(False, leaves, against)


_SHAPES = re.compile(r"type (\w+)\[([\d,]*)\] corresponding to an input of type (\w+\[[\d,]*\])")
_SHAPE_ERROR = re.compile(r"[Cc]ustom (VJP|JVP).*(shape|structure|type)", re.DOTALL)


def _short(leaf: jax.Array) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _left_over(about: re.Match | None) -> str:
    """What a shape that is not the leaf's says of the mistake."""
    if about is None:
        return ""
    got = [int(n) for n in about[2].split(",") if n]
    due = [int(n) for n in about[3].split("[")[1].rstrip("]").split(",") if n]
    if len(got) != len(due) and [n for n in got if n != 1] == [n for n in due if n != 1]:
        many = "many" if len(got) > len(due) else "few"
        return f"an axis of length 1 too {many}: got {tuple(got)} for {tuple(due)}. "
    if len(got) > len(due) and got[len(got) - len(due) :] == due:
        axes = ", ".join(str(axis) for axis in range(len(got) - len(due)))
        return f"the sum over axis {axes} is missing: got {tuple(got)} for {tuple(due)}. "
    if got == due[::-1]:
        return f"the transpose: got {tuple(got)} for {tuple(due)}. "
    return f"got {tuple(got)} for {tuple(due)}. "


def with_second_order(
    leaves: tuple[LeafReport, ...], rows: tuple[TransformReport, ...]
) -> tuple[LeafReport, ...]:
    """The leaves of a rule whose first order is right and whose second order is wrong."""
    wrong = [row for row in rows if row.verdict == "wrong" and row.name in SECOND_ORDER]
    if not wrong:
        return leaves
    named = [leaf for leaf in leaves if leaf.path in wrong[0].reason] or list(leaves)
    diagnosis = Diagnosis("second-order", f"under {wrong[0].name}: {wrong[0].reason}")
    return tuple(
        leaf._replace(ok=False, diagnosis=diagnosis) if leaf in named else leaf for leaf in leaves
    )


def ok(leaves: tuple, values: tuple, rows: tuple[TransformReport, ...]) -> bool | None:
    """The verdict on the whole."""
    parts = [part.ok for part in (*leaves, *values)]
    if False in parts or any(row.verdict == "wrong" for row in rows):
        return False
    return None if None in parts else True


def notes(leaves: tuple[LeafReport, ...]) -> tuple[str, ...]:
    """At which layer an error enters, where the leaves are those of layers."""
    layers: dict[tuple, list[LeafReport]] = {}
    for leaf in leaves:
        number = re.search(r"^(.*?\D)(\d+)(\D*)$", re.sub(r"^args\[\d+\]", "", leaf.path))
        if number:
            layers.setdefault((number[1], int(number[2])), []).append(leaf)
    names = {prefix for prefix, _ in layers}
    if len(names) != 1 or len(layers) < 2:
        return ()
    order = sorted(layers, key=lambda layer: -layer[1])
    wrong = [any(leaf.ok is False for leaf in layers[layer]) for layer in order]
    enters = wrong.index(True) if True in wrong else 0
    if enters == 0 or not all(wrong[enters:]):
        return ()
    first, last = layers[order[enters]][0].path, layers[order[enters - 1]][0].path
    return (
        f"right from the output down to {last}, wrong from {first} on: "
        "the error enters between the two",
    )
