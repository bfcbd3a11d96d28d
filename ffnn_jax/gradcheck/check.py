"""`check_gradients`: is the gradient rule of a function right, leaf by leaf, and under transforms?

Voices on the same function, for the same random cotangents:

  rule         reverse mode through fn, which runs its custom rules, in the dtypes it has
  autodiff     reverse mode through the reference, in the dtypes it has
  truth        reverse mode through the reference, every number in it in float64
  rule, wide   the formulas of the rule, every number in them in float64
  differences  of the reference, in float64

`judge` weighs them; `diagnosis` names what is wrong; `transforms` tries the rule elsewhere.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.diagnosis import Context, diagnose
from ffnn_jax.gradcheck.judge import FORMULA, Draw, Judge, Verdict, error
from ffnn_jax.gradcheck.primal import Traced, count_rules
from ffnn_jax.gradcheck.report import Diagnosis, LeafReport, Report, TransformReport
from ffnn_jax.gradcheck.transforms import TRANSFORMS, check_transforms
from ffnn_jax.gradcheck.voices import Voice, Voices

COTANGENTS = 3  # random cotangents tried; the worst counts, so that no lucky draw decides
VALUE_ROUNDINGS = 32.0  # allowed for an output, of which there is one draw: luck is in it
SECOND_ORDER = ("grad of grad", "forward over reverse")
LINEAR = 1e-6  # how far from linear in the cotangent a rule may be, relative


def check_gradients(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    argnums: int | Sequence[int] | None = None,
    reference: Callable[..., Any] | None = None,
    transforms: Sequence[str] | None = None,
    deliberate: Callable[..., Any] | Sequence[str] | None = None,
    key: jax.Array | None = None,
) -> Report:
    """Whether the gradient rule of fn is right, leaf by leaf.

    Args:
      fn: any function of pytrees that JAX can differentiate in reverse; its outputs any pytree.
      args: the arguments, a tuple. Leaves that are no floating arrays are passed through.
      argnums: which arguments to check; None: all that have a floating leaf.
      reference: a function of the same arguments and outputs that JAX differentiates correctly.
        None: fn itself, its custom rules taken away.
      transforms: under which transforms to try a rule that is right alone, of `TRANSFORMS`;
        None: all; (): none.
      deliberate: a gradient that is meant to differ from that of fn (straight-through, clipped,
        scaled): a function of the same arguments whose gradient it is meant to be; or the paths
        of the leaves that are not to be judged, such as `"args[0]"`.
      key: a PRNG key for the random cotangents; None: always the same ones.

    Returns:
      A `Report`: `.ok`, `.leaves`, `.values`, `.transforms`, and a table as `str(report)`. An
      exception inside the rule is a verdict, with the exception's last line.

    Raises:
      TypeError: fn, reference or deliberate is no function, args is no tuple, no floating leaf to
        differentiate, no floating output, or a reference of another structure or shape.
      ValueError: argnums out of range, an unknown transform or path, or outputs that are not finite
        at args.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> @jax.custom_vjp
      ... def double(x):
      ...     return 2 * x
      >>> double.defvjp(lambda x: (2 * x, None), lambda _, g: (-2 * g,))
      >>> report = ffnn.check_gradients(double, (jnp.ones(3),))
      >>> report.ok, report.leaves[0].diagnosis.fault
      (False, 'sign')
    """
    _check_functions(fn, args, reference, deliberate)
    names = _chosen_transforms(transforms)
    point = _Point.of(args, argnums)
    spared = _spared(deliberate, point.paths)
    rule = partial(_on_leaves, fn, point)
    plain, against = _primal(rule, fn, reference, deliberate, point)
    _check_outputs(rule, plain, point.leaves)
    voices = Voices(rule, plain, point.leaves)
    cotangents = _cotangents(voices.outputs, jax.random.key(0) if key is None else key)
    try:
        draws = [_hear(voices, point.leaves, c) for c in cotangents]
    except _RuleRaised as raised:
        return _raised(raised.error, point, against)
    judge = Judge(voices, point.leaves, draws)
    verdicts = [judge.verdict(i) for i in range(len(point.leaves))]
    examined = _Examined(voices, point, judge, verdicts, fn)
    leaves = tuple(
        LeafReport(path, True, np.nan, np.nan, np.nan, None, 0, "deliberate: not judged")
        if path in spared
        else examined.leaf(i)
        for i, path in enumerate(point.paths)
    )
    values = () if callable(deliberate) else examined.values()
    rows: tuple[TransformReport, ...] = ()
    if all(part.ok is not False for part in (*leaves, *values)) and not deliberate:
        rows = check_transforms(
            rule,
            plain,
            point.leaves,
            [jnp.asarray(c, o.dtype) for c, o in zip(cotangents[0], voices.outputs, strict=True)],
            names=names,
            whole=point.whole(fn),
            paths=point.paths,
        )
        leaves = _with_second_order(leaves, rows)
    return Report(_ok(leaves, values, rows), leaves, against, values, rows, _notes(leaves))


# The point, and what the voices say there --------------------------------------------------------


class _Point(NamedTuple):
    """Where the gradient is taken: the leaves that vary, and all there is to call the function."""

    leaves: list[jax.Array]
    paths: list[str]
    positions: list[int]
    everything: list[Any]
    tree: Any

    @staticmethod
    def of(args: tuple[Any, ...], argnums: int | Sequence[int] | None) -> "_Point":
        chosen = _chosen(argnums, len(args))
        found, tree = jax.tree_util.tree_flatten_with_path(tuple(args))
        positions = [
            i for i, (path, leaf) in enumerate(found) if path[0].idx in chosen and _floating(leaf)
        ]
        if not positions:
            raise TypeError("args: expected a floating leaf to differentiate, found none")
        paths = ["args" + jax.tree_util.keystr(found[i][0]) for i in positions]
        leaves = [jnp.asarray(found[i][1]) for i in positions]
        return _Point(leaves, paths, positions, [leaf for _, leaf in found], tree)

    def whole(self, fn: Callable[..., Any]) -> tuple[Callable[[list, list], list], list] | None:
        """(a function of the leaves and of all other arrays, those arrays), for the transforms."""
        others = [
            i
            for i, leaf in enumerate(self.everything)
            if i not in self.positions and isinstance(leaf, jax.Array | np.ndarray)
        ]
        if not others:
            return None

        def function(leaves: list, arrays: list) -> list:
            everything = list(self.everything)
            for position, array in zip(others, arrays, strict=True):
                everything[position] = array
            return _on_leaves(fn, self._replace(everything=everything), leaves)

        return function, [jnp.asarray(self.everything[i]) for i in others]


def _on_leaves(fn: Callable[..., Any], point: _Point, leaves: list[jax.Array]) -> Any:
    """The floating outputs of fn as a list."""
    everything = list(point.everything)
    for position, leaf in zip(point.positions, leaves, strict=True):
        everything[position] = leaf
    outputs = fn(*jax.tree.unflatten(point.tree, everything))
    return [t for t in jax.tree.leaves(outputs) if _floating(t)]


def _primal(
    rule: Callable[[list], list], fn: Any, reference: Any, deliberate: Any, point: _Point
) -> tuple[Traced, str]:
    """What the rule is held against, and that in words."""
    if callable(deliberate):
        of = partial(_on_leaves, deliberate, point)
        return Traced.of(of, point.leaves, keeps_rules=True), "the gradient that is meant"
    if reference is not None:
        of = partial(_on_leaves, reference, point)
        return Traced.of(of, point.leaves, keeps_rules=True), "the reference given"
    plain = Traced.of(rule, point.leaves)
    met = count_rules(plain.jaxpr)
    if met == 0:
        return plain, "autodiff of itself: no custom rule was met (0 met)"
    return plain, f"the function without its custom rules ({met} met)"


class _RuleRaised(Exception):
    """An exception that came out of the rule."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


def _hear(voices: Voices, leaves: list[jax.Array], cotangents: list[np.ndarray]) -> Draw:
    """What each voice says for these cotangents."""
    try:
        rule = voices.rule(leaves, cotangents)
    except Exception as error:  # whatever the user's rule raises is a verdict
        raise _RuleRaised(error) from error

    def heard(voice: Callable[..., Voice]) -> Voice | None:
        try:
            return voice(leaves, cotangents)
        except Exception:  # autodiff cannot go through some loops and callbacks
            return None

    return Draw(
        cotangents,
        rule,
        heard(voices.autodiff),
        heard(voices.truth),
        heard(voices.rule_wide),
    )


def _cotangents(shapes: list[jax.ShapeDtypeStruct], key: jax.Array) -> list[list[np.ndarray]]:
    """Random cotangents, a few draws."""
    return [
        [
            np.asarray(jax.random.normal(k, s.shape, s.dtype), np.float64)
            for k, s in zip(jax.random.split(draw, len(shapes)), shapes, strict=True)
        ]
        for draw in jax.random.split(key, COTANGENTS)
    ]


# From verdicts to reports ------------------------------------------------------------------------


class _Examined(NamedTuple):
    """The verdicts, and what is needed to say more about them."""

    voices: Voices
    point: _Point
    judge: Judge
    verdicts: list[Verdict]
    fn: Any

    def leaf(self, i: int) -> LeafReport:
        """The report on leaf i."""
        verdict = self.verdicts[i]
        diagnosis, ok = None, verdict.ok
        if ok is False:
            diagnosis = self._noise(i) or self._diagnosis(i)
        elif ok:
            diagnosis = self._noise_of_calls(i) or self._not_linear(i) or self._dtype(i)
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
        draw = self.judge.draws[0]
        if draw.autodiff is None or draw.truth is None:
            return ()
        return tuple(self._value(k, shape.dtype) for k, shape in enumerate(self.voices.outputs))

    def _value(self, k: int, dtype: np.dtype) -> LeafReport:
        draw = self.judge.draws[0]
        assert draw.autodiff is not None
        assert draw.truth is not None
        found, truth = draw.rule.values[k], draw.truth.values[k]
        off, achieved = error(found, truth), error(draw.autodiff.values[k], truth)
        allowed = max(8 * achieved, VALUE_ROUNDINGS * float(jnp.finfo(dtype).eps))
        wide = draw.rule_wide
        same = wide is not None and error(wide.values[k], truth) <= FORMULA
        if off <= allowed or (same and np.all(np.isfinite(found))):
            return LeafReport(f"output {k}", True, off, achieved, allowed, None)
        named = diagnose(found, truth, allowed).message.replace("the gradient", "the value")
        diagnosis = Diagnosis("value-changes", f"under differentiation it is another: {named}")
        return LeafReport(f"output {k}", False, off, achieved, allowed, diagnosis)

    def _diagnosis(self, i: int) -> Diagnosis:
        verdict = self.verdicts[i]
        if verdict.formula and np.all(np.isfinite(verdict.found)):
            return _precision(verdict)
        draw = self.judge.draws[verdict.draw]
        if verdict.truth is None:
            return _from_slopes(verdict)
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        wide = draw.rule_wide is not None
        margin = max(1e-6, eps) if wide else max(verdict.allowed, 16 * eps)
        return diagnose(verdict.found, verdict.truth, margin, self._context(i, draw))

    def _context(self, i: int, draw: Draw) -> Context | None:
        if draw.truth is None:
            return None
        leaves = self.point.leaves
        rule = self.voices.rule if draw.rule_wide is None else self.voices.rule_wide
        return Context(
            i,
            self.point.paths,
            np.asarray(leaves[i], np.float64),
            draw.truth.grads,
            draw.cotangents,
            lambda c: rule(leaves, c).grads[i],
            lambda c: self.voices.truth(leaves, c).grads[i],
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

    def _again(self, i: int, voices: Voices) -> float:
        """How far the rule is from itself when it is run once more."""
        draw = self.judge.draws[0]
        try:
            return error(voices.rule(self.point.leaves, draw.cotangents).grads[i], draw.rule.grads[i])
        except Exception:
            return 0.0

    def _noise_of_calls(self, i: int) -> Diagnosis | None:
        return self._noise_if(i, self._again(i, self.voices))

    def _noise(self, i: int) -> Diagnosis | None:
        """Not the same twice, from call to call or from trace to trace."""
        fresh = Voices(partial(_on_leaves, self.fn, self.point), self.voices.plain, self.point.leaves)
        return self._noise_of_calls(i) or self._noise_if(i, self._again(i, fresh))

    def _noise_if(self, i: int, off: float) -> Diagnosis | None:
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        if not off > max(64 * eps, 1e-9):
            return None
        message = f"the same call gave another gradient, off by {off:.2g} of its norm"
        return Diagnosis("noise", message)

    def _not_linear(self, i: int) -> Diagnosis | None:
        """Cotangents of 0, 1, a single 1, opposite, much larger and in sums."""
        draw, verdict = self.judge.draws[0], self.verdicts[i]
        voice = self.voices.rule if draw.rule_wide is None else self.voices.rule_wide
        eps = float(jnp.finfo(self.voices.inputs[i].dtype).eps)
        margin = 256 * eps if draw.rule_wide is None else LINEAR
        floor = 0.0
        if verdict.truth is not None and np.isfinite(verdict.allowed):
            size = float(np.linalg.norm(np.nan_to_num(verdict.truth)))
            floor = verdict.allowed * size * (1.0 if draw.rule_wide is None else 2.3e-16 / eps)

        def rule(cotangents: list[np.ndarray]) -> np.ndarray:
            return voice(self.point.leaves, cotangents).grads[i]

        for name, once, parts in _sums(draw.cotangents):
            got = rule(once)
            terms = [factor * rule(c) for factor, c in parts]
            sizes = sum(float(np.linalg.norm(t)) for t in terms) + float(np.linalg.norm(got))
            off = float(np.linalg.norm(got - sum(terms, start=np.zeros_like(got))))
            if not off <= margin * sizes + floor:
                return Diagnosis("nonlinear-cotangent", f"{name}: off by {off / (sizes or 1):.2g}")
        return None

    def _dtype(self, i: int) -> Diagnosis | None:
        """A gradient of a shorter dtype than its leaf."""
        got, leaf = self.voices.rule_dtype(i), self.voices.inputs[i].dtype
        if jnp.finfo(got).bits >= jnp.finfo(leaf).bits:
            return None
        return Diagnosis("precision", f"the gradient of a {leaf} leaf is {got}")


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


def _precision(verdict: Verdict) -> Diagnosis:
    ratio = verdict.error / max(verdict.autodiff, 1e-300)
    message = f"the formulas are right, but the error is {verdict.error:.2g}"
    if np.isfinite(ratio) and verdict.autodiff > 0:
        message += f", {ratio:.2g} times that of autodiff"
    for dtype in ("bfloat16", "float16", "float32"):
        if np.all(np.asarray(jnp.asarray(verdict.found, dtype), np.float64) == verdict.found):
            return Diagnosis("precision", f"{message}: it has the digits of {dtype} only")
    return Diagnosis("precision", f"{message}: computed in a shorter dtype, or digits cancel")


def _from_slopes(verdict: Verdict) -> Diagnosis:
    """A diagnosis where only slopes along some directions are known."""
    if not np.all(np.isfinite(verdict.found)):
        bad = int(np.sum(~np.isfinite(verdict.found)))
        return Diagnosis("non-finite", f"{bad} of {verdict.found.size} entries are")
    if not np.any(verdict.found):
        return Diagnosis("zero", "the rule gives 0 where the slopes of the function are not")
    return Diagnosis("wrong", f"off by {verdict.error:.2g} of the slopes along random directions")


def _raised(error: Exception, point: _Point, against: str) -> Report:
    """The report on a rule that raised: on the leaves it is about, if it says which."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}"
    about = re.search(r"type (\w+)\[([\d,]*)\] corresponding to an input of type (\w+\[[\d,]*\])", text)
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


_SHAPE_ERROR = re.compile(r"[Cc]ustom (VJP|JVP).*(shape|structure|type)|shape", re.DOTALL)


def _short(leaf: jax.Array) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _left_over(about: re.Match | None) -> str:
    """What a shape that is not the leaf's says of the mistake."""
    if about is None:
        return ""
    got = [int(n) for n in about[2].split(",") if n]
    due = [int(n) for n in about[3].split("[")[1].rstrip("]").split(",") if n]
    if len(got) > len(due) and got[len(got) - len(due) :] == due:
        axes = ", ".join(str(axis) for axis in range(len(got) - len(due)))
        return f"the sum over axis {axes} is missing: got {tuple(got)} for {tuple(due)}. "
    if got == due[::-1]:
        return f"the transpose: got {tuple(got)} for {tuple(due)}. "
    return f"got {tuple(got)} for {tuple(due)}. "


def _with_second_order(
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


def _ok(leaves: tuple, values: tuple, rows: tuple[TransformReport, ...]) -> bool | None:
    parts = [part.ok for part in (*leaves, *values)]
    if False in parts or any(row.verdict == "wrong" for row in rows):
        return False
    return None if None in parts else True


def _notes(leaves: tuple[LeafReport, ...]) -> tuple[str, ...]:
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


def _floating(leaf: Any) -> bool:
    return isinstance(leaf, float) or (
        hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    )


# Bad input ---------------------------------------------------------------------------------------


def _check_functions(fn: Any, args: Any, reference: Any, deliberate: Any) -> None:
    if not callable(fn):
        raise TypeError(f"fn: expected a function, got {fn!r}")
    if not isinstance(args, tuple):
        raise TypeError(f"args: expected a tuple of arguments, got {type(args).__name__}")
    if reference is not None and not callable(reference):
        raise TypeError(f"reference: expected a function or None, got {reference!r}")
    if callable(deliberate) and reference is not None:
        raise TypeError("deliberate: expected one of deliberate and reference, got two functions")


def _spared(deliberate: Any, paths: list[str]) -> set[str]:
    """The paths of the leaves whose gradient is meant to differ."""
    if deliberate is None or callable(deliberate):
        return set()
    if isinstance(deliberate, str) or not isinstance(deliberate, Iterable):
        raise TypeError(f"deliberate: expected a function or paths of leaves, got {deliberate!r}")
    for path in (deliberate := list(deliberate)):
        if path not in paths:
            raise ValueError(f"deliberate: expected paths of {', '.join(paths)}, got {path!r}")
    return set(deliberate)


def _chosen_transforms(transforms: Any) -> tuple[str, ...]:
    if transforms is None:
        return TRANSFORMS
    if isinstance(transforms, str):
        raise TypeError(f"transforms: expected a sequence of names, got {transforms!r}")
    for name in transforms:
        if name not in TRANSFORMS:
            near = difflib.get_close_matches(str(name), TRANSFORMS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"transforms: expected names of {', '.join(TRANSFORMS)}; got {name!r}{hint}"
            )
    return tuple(transforms)


def _chosen(argnums: int | Sequence[int] | None, count: int) -> set[int]:
    numbers = range(count) if argnums is None else argnums
    try:
        numbers = list(map(operator.index, numbers if isinstance(numbers, Iterable) else [numbers]))
    except TypeError:
        raise TypeError(f"argnums: expected an int or a tuple of ints, got {argnums!r}") from None
    for number in numbers:
        if not -count <= number < count:
            raise ValueError(f"argnums: expected numbers of the {count} arguments, got {number}")
    return {number % count for number in numbers}


def _check_outputs(rule: Callable[..., Any], plain: Traced, leaves: list[jax.Array]) -> None:
    """The floating outputs are those of the reference, and finite."""
    shapes, other = jax.eval_shape(rule, leaves), jax.eval_shape(plain, leaves)
    if not shapes:
        raise TypeError("fn: expected a floating output to differentiate, found none")
    if [(s.shape, s.dtype) for s in shapes] != [(s.shape, s.dtype) for s in other]:
        raise TypeError(f"reference: expected the outputs of fn, {shapes}; got {other}")
    for value in jax.jit(plain)(leaves):
        if not np.all(np.isfinite(np.asarray(value, np.float64))):
            raise ValueError("args: expected a point where fn is finite; its outputs are not")
