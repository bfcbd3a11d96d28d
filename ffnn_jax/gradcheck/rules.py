"""`check_rules`: every custom rule that a function meets, each checked alone at its real inputs.

A function is run once, and each call of a `jax.custom_vjp` or `jax.custom_jvp` on the way, also
inside jit, vmap, scan, cond, grad and a library's training step, leaves a note: which rule it was,
where it is written, and the arrays that it was called with. Then each rule is checked by itself.
JAX's own rules are listed, and not judged: they are the convention by which the others are.
"""

import contextlib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.check import check_gradients, cotangents_of
from ffnn_jax.gradcheck.hard import Finding, hard_findings
from ffnn_jax.gradcheck.point import Point, on_leaves
from ffnn_jax.gradcheck.primal import JAX_FOLDER, Traced
from ffnn_jax.gradcheck.report import Report, plain_data, wrapped
from ffnn_jax.gradcheck.voices import Voices

POINTS = 2  # of the inputs that a rule was called with in one form, how many it is checked at
JAX_OWN = "JAX's own, by which others are judged"
NOTES = 4  # and in how many forms


class RuleReport(NamedTuple):
    """The verdict on one rule.

    Attributes:
      name: the name of the function that has the rule.
      location: `file.py:line` of that function.
      calls: how often it was called while the function ran.
      ok: whether it is right at the inputs it was called with; None where it was not checked.
      reports: the `Report` of each point that it was checked at.
      reason: why it was not checked, or ""; a rule that raises NotImplementedError says itself
        that there is no derivative.
      findings: what goes wrong at hard inputs, where they were asked for.
    """

    name: str
    location: str
    calls: int
    ok: bool | None
    reports: tuple[Report, ...]
    reason: str
    findings: tuple[Finding, ...] = ()


class RulesReport(NamedTuple):
    """The result of `check_rules`; `str(report)` is a table.

    Attributes:
      ok: whether no rule is wrong at the inputs it really gets.
      rules: one `RuleReport` for each place where a rule is written, in the order of first calls,
        those that come with JAX last.
    """

    ok: bool
    rules: tuple[RuleReport, ...]

    def raise_if_wrong(self) -> None:
        """Raises AssertionError with the table if a rule is wrong."""
        if not self.ok:
            raise AssertionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The report as what JSON has."""
        return plain_data(self)

    def __str__(self) -> str:
        width = max(4, *(len(rule.name) for rule in self.rules))
        lines = [f"{'rule':{width}}  {'verdict':9}  {'calls':>6}  written at"]
        for rule in self.rules:
            verdict = {True: "right", False: "WRONG", None: "unchecked"}[rule.ok]
            verdict = "JAX's own" if rule.reason == JAX_OWN else verdict
            lines.append(f"{rule.name:{width}}  {verdict:9}  {rule.calls:6}  {rule.location}")
            if rule.reason not in ("", JAX_OWN):
                lines.extend(wrapped(rule.reason))
            for report in rule.reports:
                for leaf in (*report.leaves, *report.values):
                    if leaf.ok is not True:
                        said = leaf.diagnosis or f"unsure: {leaf.note}"
                        lines.extend(wrapped(f"{leaf.path}: {said}"))
            for finding in rule.findings:
                lines.extend(wrapped(str(finding)))
        return "\n".join(lines)


def check_rules(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    hard: bool = False,
    deliberate: Sequence[str] = (),
) -> RulesReport:
    """Every custom rule that fn meets, checked at the inputs it really gets.

    Args:
      fn: any function; it may differentiate by itself, such as a training step. It is run once.
      args: its arguments, a tuple.
      hard: whether to try each rule at hard inputs of the same shapes too (0, ties, ±1e30,
        subnormal, ∞ next to finite): what goes wrong there is in `.findings`.
      deliberate: names of rules whose gradient is meant to differ: listed, and not judged.

    Returns:
      A `RulesReport`: `.ok`, `.rules` with name, location, calls, ok, and a table as `str(report)`.

    Raises:
      TypeError: fn is no function, or args is no tuple.
      ValueError: fn meets no custom rule.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> @jax.custom_vjp
      ... def double(x):
      ...     return 2 * x
      >>> double.defvjp(lambda x: (2 * x, None), lambda _, g: (-2 * g,))
      >>> step = jax.jit(jax.grad(lambda x: jnp.sum(double(x) ** 2)))
      >>> report = ffnn.check_rules(step, (jnp.ones(3),))
      >>> report.ok, report.rules[0].name, report.rules[0].calls
      (False, 'double', 1)
    """
    if not callable(fn):
        raise TypeError(f"fn: expected a function, got {fn!r}")
    if not isinstance(args, tuple):
        raise TypeError(f"args: expected a tuple of arguments, got {type(args).__name__}")
    notes: dict[tuple, _Note] = {}
    with _listening(notes):
        jax.block_until_ready(fn(*args))
        jax.effects_barrier()
    if not notes:
        raise ValueError("fn: expected a function with custom rules, but it met none")
    places: dict[tuple, list[_Note]] = {}
    for note in notes.values():
        places.setdefault(tuple(map(_code, _functions(note.rule))), []).append(note)
    others_first = sorted(places.values(), key=lambda found: _comes_with_jax(found[0].rule))
    rules = tuple(_check(found, hard, deliberate) for found in others_first)
    return RulesReport(all(rule.ok is not False for rule in rules), rules)


# Listening ---------------------------------------------------------------------------------------


class _Note:
    """One rule, the form in which it is called, and the arrays that came."""

    def __init__(self, rule: Any, leaves: list[Any], tree: Any):
        self.rule = rule
        self.tree = tree  # of (args, kwargs)
        self.static = [None if _is_array(leaf) else leaf for leaf in leaves]
        self.arrays = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]
        self.keys = {i: jax.random.key_impl(leaves[i]) for i in self.arrays if _is_key(leaves[i])}
        self.calls = 0
        self.points: list[list[np.ndarray]] = []

    def add(self, *arrays: Any) -> None:
        """Called by the running function with the arrays of one call."""
        self.calls += 1
        if len(self.points) < POINTS:
            self.points.append([np.array(t) for t in arrays])

    def arguments(self, point: list[np.ndarray]) -> tuple[tuple, dict]:
        """(args, kwargs) of a call."""
        leaves = list(self.static)
        for i, array in zip(self.arrays, point, strict=True):
            array = jnp.asarray(array)
            leaves[i] = (
                jax.random.wrap_key_data(array, impl=self.keys[i]) if i in self.keys else array
            )
        return jax.tree.unflatten(self.tree, leaves)


_LOCK = threading.Lock()
_listeners = jax.make_user_context()  # part of the key of JAX's caches: what is compiled is traced


@contextlib.contextmanager
def _listening(notes: dict[tuple, _Note]) -> Iterator[None]:
    """While it lasts, calls of custom rules in this thread are noted."""
    thread = threading.get_ident()

    def listening_to(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def heard(rule: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == thread:
                _note(notes, rule, args, kwargs)
            return call(rule, *args, **kwargs)

        return heard

    kinds: tuple[Any, ...] = (jax.custom_vjp, jax.custom_jvp)
    with _LOCK, _listeners(object()):
        originals = [kind.__call__ for kind in kinds]
        try:
            for kind, original in zip(kinds, originals, strict=True):
                kind.__call__ = listening_to(original)
            yield
        finally:
            for kind, original in zip(kinds, originals, strict=True):
                kind.__call__ = original


def _note(notes: dict[tuple, "_Note"], rule: Any, args: tuple, kwargs: dict) -> None:
    """Notes that a rule is called, and has the running function send the arrays."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    arrays = [] if _comes_with_jax(rule) else [leaf for leaf in leaves if _is_array(leaf)]
    avals = tuple((t.shape, t.dtype) for t in arrays)
    note = notes.setdefault((id(rule), tree, avals), _Note(rule, leaves, tree))
    jax.debug.callback(note.add, *(_sent(t) for t in arrays))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _is_key(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _sent(array: Any) -> Any:
    """What of an array goes through a callback: keys do not, their numbers do."""
    return jax.random.key_data(array) if _is_key(array) else array


# Checking ----------------------------------------------------------------------------------------


def _check(notes: list["_Note"], hard: bool, deliberate: Sequence[str]) -> RuleReport:
    """The verdict on one place where a rule is written, from all the notes about it."""
    name, location = _place(notes[0].rule)
    calls = sum(note.calls for note in notes)
    if _comes_with_jax(notes[0].rule):
        return RuleReport(name, location, calls, None, (), JAX_OWN)
    if name in deliberate:
        return RuleReport(name, location, calls, None, (), "deliberate: not judged")
    reports: list[Report] = []
    findings: list[Finding] = []
    reason = ""
    met = [note for note in notes if note.points]
    for note in met[:NOTES]:
        for args, kwargs in map(note.arguments, note.points):
            call = functools.partial(_call, note.rule, kwargs)
            argnums = [i for i in range(len(args)) if i not in _static(note.rule)]
            try:
                report = check_gradients(call, args, argnums=argnums, transforms=())
                if refused := _refusal(report):
                    reason = refused
                    continue
                reports.append(report)
                if hard and not findings:
                    findings.extend(_at_hard_inputs(call, Point.of(args, argnums)))
            except Exception as error:  # a rule that cannot stand alone is no fault of its own
                reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if not met:
        reason = "met while tracing, but never run"
    verdicts = [report.ok for report in reports]
    ok = False if False in verdicts else True if True in verdicts else None
    reason = "" if reports else reason
    return RuleReport(name, location, calls, ok, tuple(reports), reason, tuple(findings))


def _refusal(report: Report) -> str:
    """What a rule raises that says it has no derivative: so it has no wrong one; or ""."""
    said = [leaf.diagnosis.message for leaf in report.leaves if leaf.diagnosis is not None]
    return next((text for text in said if text.startswith(NotImplementedError.__name__)), "")


def _at_hard_inputs(call: Callable[..., Any], point: Point) -> tuple[Finding, ...]:
    rule = functools.partial(on_leaves, call, point)
    voices = Voices(rule, Traced.of(rule, point.leaves), point.leaves)
    leaves = [np.asarray(leaf) for leaf in point.leaves]
    cotangents = cotangents_of(voices.outputs, jax.random.key(0))[0]
    return hard_findings(voices, leaves, point.paths, cotangents)


def _call(rule: Any, kwargs: dict, *args: Any) -> Any:
    return rule(*args, **kwargs)


def _static(rule: Any) -> set[int]:
    """The numbers of the arguments that a rule does not differentiate by."""
    return set(rule.nondiff_argnums)


def _functions(rule: Any) -> list[Callable[..., Any]]:
    """The function, and its rule: fwd and bwd, or jvp."""
    parts = (rule.fun, *(getattr(rule, name, None) for name in ("fwd", "bwd", "jvp")))
    return [_unwrapped(part) for part in parts if part is not None]


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function)


def _code(function: Any) -> Any:
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)


def _comes_with_jax(rule: Any) -> bool:
    codes = map(_code, _functions(rule))
    return all(code is not None and code.co_filename.startswith(JAX_FOLDER) for code in codes)


def _place(rule: Any) -> tuple[str, str]:
    """(name, file.py:line) of the function that has the rule."""
    function = _functions(rule)[0]
    code = _code(function)
    name = getattr(rule.fun, "__name__", None) or getattr(function, "__name__", repr(function))
    if code is None:
        return name, "unknown"
    return name, f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"
