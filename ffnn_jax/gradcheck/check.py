"""`check_gradients`: a rule's gradient, leaf by leaf, against the truth in float64.

Three gradients of the same function, pulled back from the same random cotangents:

  rule      reverse mode through fn, which runs its custom rules, in the dtypes it has
  autodiff  reverse mode through the reference, in the dtypes it has
  truth     reverse mode through the reference, every number in it in float64

A leaf is right when the rule's error against the truth is within a small factor of what autodiff
achieves there, or of the dtype's rounding. There is no tolerance to set, and no scale: errors
are relative to each leaf's own norm. The outputs that come with the gradients are judged alike: a
rule may not change the value of its function.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.diagnosis import diagnose
from ffnn_jax.gradcheck.primal import Traced, count_rules
from ffnn_jax.gradcheck.report import Diagnosis, LeafReport, Report

COTANGENTS = 3  # random cotangents tried; the worst counts, so that no lucky draw decides
FACTOR = 8.0  # how many times autodiff's error is allowed
ROUNDINGS = 4.0  # how many units of the dtype's rounding are allowed where autodiff is exact
VALUE_ROUNDINGS = 32.0  # the same for an output, of which there is one draw: luck is in it
TRUTH = 1e-13  # how exact the truth is taken to be


def check_gradients(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    argnums: int | Sequence[int] | None = None,
    reference: Callable[..., Any] | None = None,
    key: jax.Array | None = None,
) -> Report:
    """Whether the gradient rule of fn is right, leaf by leaf.

    Args:
      fn: any function of pytrees that JAX can differentiate in reverse; its outputs any pytree.
      args: the arguments, a tuple. Leaves that are no floating arrays are passed through.
      argnums: which arguments to check; None: all that have a floating leaf.
      reference: a function of the same arguments and outputs that JAX differentiates correctly.
        None: fn itself, its custom rules taken away.
      key: a PRNG key for the random cotangents; None: always the same ones.

    Returns:
      A `Report`: `.ok`, `.leaves`, `.values`, and a table as `str(report)`. An exception inside
      the rule is a verdict on every leaf, with the exception's last line.

    Raises:
      TypeError: fn or reference is no function, args is no tuple, no floating leaf to
        differentiate, no floating output, or a reference of another structure or shape.
      ValueError: argnums out of range, or outputs that are not finite at args.

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
    _check_functions(fn, args, reference)
    point = _Point.of(args, argnums)
    rule = partial(_on_leaves, fn, point)
    if reference is None:
        plain = Traced.of(rule, point.leaves)
        met = count_rules(plain.jaxpr)
        against = f"the function without its custom rules ({met} met)"
        if met == 0:
            against = "autodiff of itself: no custom rule was met (0 met)"
    else:
        plain = Traced.of(partial(_on_leaves, reference, point), point.leaves, keeps_rules=True)
        against = "the reference given"
    shapes = _check_outputs(rule, plain, point.leaves)
    key = jax.random.key(0) if key is None else key
    cotangents = [_random_like(shapes, k) for k in jax.random.split(key, COTANGENTS)]
    autodiff = _pull(plain, point.leaves, cotangents)
    with jax.enable_x64(True):
        truth = _pull(plain.wide, _doubled(point.leaves), _doubled(cotangents))
    try:
        found = _pull(rule, point.leaves, cotangents)
    except Exception as error:  # whatever the user's rule raises is a verdict
        return _raised(error, point.paths, against)
    voices = (found, autodiff, truth)
    leaves = tuple(
        _judge(path, leaf.dtype, *([draw[i] for draw in voice.gradients] for voice in voices))
        for i, (path, leaf) in enumerate(zip(point.paths, point.leaves, strict=True))
    )
    values = tuple(
        _judge_value(f"output {i}", shape.dtype, *(voice.values[i] for voice in voices))
        for i, shape in enumerate(shapes)
    )
    return Report(all(leaf.ok for leaf in (*leaves, *values)), leaves, against, values)


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


def _on_leaves(fn: Callable[..., Any], point: _Point, leaves: list[jax.Array]) -> Any:
    """The floating outputs of fn as a list."""
    everything = list(point.everything)
    for position, leaf in zip(point.positions, leaves, strict=True):
        everything[position] = leaf
    outputs = fn(*jax.tree.unflatten(point.tree, everything))
    return [t for t in jax.tree.leaves(outputs) if _floating(t)]


class _Voice(NamedTuple):
    """What one of the three says, in float64: each output, and for each cotangent each gradient."""

    values: list[np.ndarray]
    gradients: list[list[np.ndarray]]


def _pull(
    fn: Callable[..., Any], leaves: list[jax.Array], cotangents: list[list[jax.Array]]
) -> _Voice:
    """The outputs of fn under differentiation, and their gradients for each of the cotangents."""

    @jax.jit
    def pull(leaves: list[jax.Array], cotangent: list[jax.Array]) -> Any:
        outputs, pullback = jax.vjp(fn, leaves)
        cotangent = [c.astype(o.dtype) for c, o in zip(cotangent, outputs, strict=True)]
        return outputs, pullback(cotangent)[0]

    pulled = [pull(leaves, cotangent) for cotangent in cotangents]
    values, *gradients = (
        [np.asarray(t, np.float64) for t in part]
        for part in (pulled[0][0], *(g for _, g in pulled))
    )
    return _Voice(values, gradients)


def _judge(
    path: str,
    dtype: np.dtype,
    found: Sequence[np.ndarray],
    autodiff: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
) -> LeafReport:
    """The verdict on one leaf from its gradients for each of the cotangents."""
    of_autodiff = [_error(a, t) for a, t in zip(autodiff, truth, strict=True)]
    achieved = max(filter(np.isfinite, of_autodiff), default=0.0)
    allowed = max(FACTOR * achieved, ROUNDINGS * float(jnp.finfo(dtype).eps), TRUTH)
    errors = [_error(f, t) for f, t in zip(found, truth, strict=True)]
    worst = int(np.argmax(errors))
    overflows = np.isinf(errors[worst]) and np.isinf(of_autodiff[worst])  # autodiff does as well
    ok = bool(errors[worst] <= allowed or overflows)
    diagnosis = None if ok else diagnose(found[worst], truth[worst], allowed)
    return LeafReport(path, ok, errors[worst], achieved, allowed, diagnosis)


def _judge_value(
    path: str, dtype: np.dtype, found: np.ndarray, autodiff: np.ndarray, truth: np.ndarray
) -> LeafReport:
    """The verdict on an output: the rule's forward pass may not return another."""
    achieved, error = _error(autodiff, truth), _error(found, truth)
    allowed = max(FACTOR * achieved, VALUE_ROUNDINGS * float(jnp.finfo(dtype).eps), TRUTH)
    if error <= allowed:
        return LeafReport(path, True, error, achieved, allowed, None)
    message = f"under differentiation it is another: {diagnose(found, truth, allowed).message}"
    diagnosis = Diagnosis("value-changes", message.replace("the gradient", "the value"))
    return LeafReport(path, False, error, achieved, allowed, diagnosis)


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    """‖found − truth‖ / ‖truth‖; ∞ where found is not finite and truth is."""
    settled = np.isfinite(truth)
    if not np.all(np.isfinite(found[settled])):
        return float("inf")
    size = np.linalg.norm(truth[settled])
    return float(np.linalg.norm(found[settled] - truth[settled]) / (size if size > 0 else 1.0))


def _raised(error: Exception, paths: list[str], against: str) -> Report:
    lines = str(error).strip().splitlines() or [""]
    diagnosis = Diagnosis("raises", f"{type(error).__name__}: {lines[0]}")
    inf = float("inf")
    leaves = (LeafReport(path, False, inf, 0.0, 0.0, diagnosis) for path in paths)
    return Report(False, tuple(leaves), against, ())


def _random_like(shapes: list[jax.ShapeDtypeStruct], key: jax.Array) -> list[jax.Array]:
    keys = jax.random.split(key, len(shapes))
    return [jax.random.normal(k, s.shape, s.dtype) for k, s in zip(keys, shapes, strict=True)]


def _doubled(tree: Any) -> Any:
    return jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), tree)


def _floating(leaf: Any) -> bool:
    return isinstance(leaf, float) or (
        hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    )


# Bad input ---------------------------------------------------------------------------------------


def _check_functions(fn: Any, args: Any, reference: Any) -> None:
    if not callable(fn):
        raise TypeError(f"fn: expected a function, got {fn!r}")
    if not isinstance(args, tuple):
        raise TypeError(f"args: expected a tuple of arguments, got {type(args).__name__}")
    if reference is not None and not callable(reference):
        raise TypeError(f"reference: expected a function or None, got {reference!r}")


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


def _check_outputs(
    rule: Callable[..., Any], plain: Callable[..., Any], leaves: list[jax.Array]
) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the floating outputs, the same for the function and its reference."""
    shapes, other = jax.eval_shape(rule, leaves), jax.eval_shape(plain, leaves)
    if not shapes:
        raise TypeError("fn: expected a floating output to differentiate, found none")
    if [(s.shape, s.dtype) for s in shapes] != [(s.shape, s.dtype) for s in other]:
        raise TypeError(f"reference: expected the outputs of fn, {shapes}; got {other}")
    for value in jax.jit(plain)(leaves):
        if not np.all(np.isfinite(np.asarray(value, np.float64))):
            raise ValueError("args: expected a point where fn is finite; its outputs are not")
    return shapes
