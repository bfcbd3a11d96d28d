"""The rows about dtypes: float32 arrays while 64-bit types are on, and integer arguments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ffnn_jax.gradcheck.primal import Traced
from ffnn_jax.gradcheck.rows import (
    RIGHT,
    ROUNDINGS,
    Doubt,
    Gradients,
    Once,
    Subject,
    Verdict,
    gaps,
    pull,
    said,
    settle,
)


def x64(subject: Subject) -> Verdict | None:
    """float32 leaves while 64-bit types are on."""
    leaves, point = subject.leaves, (subject.leaves, subject.cotangent)
    if any(leaf.dtype != jnp.float32 for leaf in leaves):
        return None
    expected = subject.alone(*point)
    with jax.enable_x64(True):
        jax.eval_shape(subject.rule, leaves)  # raises: it is not the rule that is not supported
        once, reason = _or_reason(lambda: Once(pull(subject.rule), *point))
        if reason:
            return Verdict("wrong", reason)
        found = once(*point)
    for path, leaf, gradient in zip(subject.paths, leaves, found, strict=True):
        if gradient.dtype != leaf.dtype:
            return Verdict("wrong", f"{path}: a gradient of {gradient.dtype}, not {leaf.dtype}")
    here = _held_to(subject, once, found, expected, subject.alone)
    return here if here == RIGHT else _x64_function(subject, once, found, here)


def _held_to(subject: Subject, once: Once, found: list, expected: list, other: Once) -> Verdict:
    """Whether found, which is once at the point, is expected, which is the other there."""
    point = (subject.leaves, subject.cotangent)

    def plain() -> tuple[Gradients, Gradients]:
        return [subject.alone(*point)], [subject.alone_plain(*point)]

    def wide() -> tuple[Gradients, Gradients]:
        return [once.wide(*point)], [other.wide(*point)]

    return settle([found], [expected], subject.paths, subject.rounding, Doubt(plain, wide))


def _x64_function(subject: Subject, once: Once, found: list, verdict: Verdict) -> Verdict:
    """The verdict, unless it is the function itself that is another with 64-bit types on.

    Random numbers may be others there.
    """
    point = (subject.leaves, subject.cotangent)
    with jax.enable_x64(True):
        there = Once(pull(Traced.of(subject.rule, subject.leaves)), *point)
        expected = there(*point)
    off = gaps([expected], [subject.alone_plain(*point)], subject.paths)
    if all(gap.error <= ROUNDINGS * subject.rounding * gap.size for gap in off):
        return verdict
    return _held_to(subject, once, found, expected, there)


def integers(subject: Subject) -> Verdict | None:
    """Differentiated by every array, integers among them: their cotangents are float0."""
    function, others = subject.whole or (None, [])
    fixed = [jnp.issubdtype(t.dtype, jnp.floating) for t in others]
    if function is None or all(fixed):
        return None

    def of_all(leaves: list, integers: list) -> list:
        rest = iter(integers)
        filled = [t if f else next(rest) for t, f in zip(others, fixed, strict=True)]
        return function(leaves, filled)

    def gradient(leaves: list, cotangent: list, integers: list) -> list:
        outputs, pullback = jax.vjp(of_all, leaves, integers)
        return pullback([c.astype(o.dtype) for c, o in zip(cotangent, outputs, strict=True)])[0]

    integers = [t for t, f in zip(others, fixed, strict=True) if not f]
    point = (subject.leaves, subject.cotangent)
    expected = [subject.alone(*point)]
    jax.eval_shape(of_all, subject.leaves, integers)  # raises: they have to be known beforehand
    once, reason = _or_reason(lambda: Once(gradient, *point, integers))
    if reason:
        return Verdict("wrong", reason)
    found = once(*point, integers)

    def wide() -> tuple[Gradients, Gradients]:
        return [once.wide(*point, integers)], [subject.alone.wide(*point)]

    doubt = Doubt(lambda: (expected, expected), wide)
    return settle([found], expected, subject.paths, subject.rounding, doubt)


def _or_reason(run: Callable[[], Any]) -> tuple[Any, str]:
    """(what run gives, ""), or (None, what it raised), if not that a tracer has no value."""
    try:
        return run(), ""
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        raise
    except Exception as error:
        return None, said(error)
