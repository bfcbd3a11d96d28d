"""What a case is, and how most of them are made: an operation and a backward rule.

A backward rule gets the cotangent and the arguments, and returns one cotangent for each argument:

    matmul = Operation("dense", "matmul", lambda x, W: x @ W, lambda draw: (draw(5, 4), draw(4, 4)))
    matmul.wrong("W not transposed", "transposed", "args[0]", lambda d, x, W: (d @ W, x.T @ d))

The value of an operation is written for any floating dtype: run at float64 arguments it is the
truth that a case's label was checked against.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DOUBLE, SINGLE, BRAIN, HALF = "float64", "float32", "bfloat16", "float16"
FLOATS = (DOUBLE, SINGLE, BRAIN, HALF)
WIDE = (DOUBLE, SINGLE)
# a case that makes sense in all four dtypes is taken in two of them, in turn by its name
PAIRS = ((DOUBLE, BRAIN), (SINGLE, HALF), (DOUBLE, HALF), (SINGLE, BRAIN))


class Case(NamedTuple):
    """A function with a gradient rule, and what is to be said of it.

    Attributes:
      name: unique in the corpus, "theme/operation: what was done".
      theme: what it is about, the first part of its name.
      make: of a dtype's name: (fn, args, primal), the function, its arguments and the same
        function with no custom rule. For float64 it is called with 64-bit types on.
      fault: the planted mistake in the checker's words; None where the rule is right.
      leaf: how the path of the wrong leaf begins; None where the rule is right, or where the
        mistake is in no leaf alone.
      dtypes: in which it is taken; it makes sense in each of them.
    """

    name: str
    theme: str
    make: Callable[[str], tuple[Callable[..., Any], tuple[Any, ...], Callable[..., Any]]]
    fault: str | None
    leaf: str | None
    dtypes: tuple[str, ...]


class Draw:
    """Random arrays of one dtype, the same for the same name."""

    def __init__(self, name: str, dtype: str):
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.dtype = jnp.dtype(dtype)

    def __call__(self, *shape: int) -> jax.Array:
        """Standard normal numbers."""
        return self.of(self.random.standard_normal(shape))

    def between(self, low: float, high: float, *shape: int) -> jax.Array:
        """Numbers uniform between low and high."""
        return self.of(self.random.uniform(low, high, shape))

    def of(self, numbers: Any) -> jax.Array:
        """The given numbers."""
        return jnp.asarray(np.asarray(numbers, np.float64), self.dtype)

    def one_hot(self, rows: int, classes: int) -> jax.Array:
        """Rows with a single 1."""
        return self.of(np.eye(classes)[self.random.integers(classes, size=rows)])

    def integers(self, high: int, *shape: int) -> jax.Array:
        """int32 numbers from 0 to high − 1."""
        return jnp.asarray(self.random.integers(high, size=shape), jnp.int32)


def two_of(dtypes: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Two of the dtypes, which ones depends on the name: a wide one and a narrow one."""
    if len(dtypes) <= 2:
        return dtypes
    pairs = [pair for pair in PAIRS if set(pair) <= set(dtypes)]
    return pairs[zlib.crc32(name.encode()) % len(pairs)]


def with_rule(value: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """The function value with the gradient rule backward(cotangent, *args), as a custom_vjp."""

    @jax.custom_vjp
    def rule(*args):
        return value(*args)

    def forward(*args):
        return value(*args), args

    def pull(args, cotangent):
        return tuple(backward(cotangent, *args))

    rule.defvjp(forward, pull)
    return rule


def with_residual(value, forward, backward):
    """The function value with forward(*args) -> (output, kept) and backward(kept, cotangent)."""

    @jax.custom_vjp
    def rule(*args):
        return value(*args)

    rule.defvjp(forward, backward)
    return rule


def with_tangent(value, tangent):
    """The function value with the rule tangent(primals, tangents) -> (output, tangent)."""

    @jax.custom_jvp
    def rule(*args):
        return value(*args)

    rule.defjvp(tangent)
    return rule


class Operation(NamedTuple):
    """A plain function and arguments for it, of which cases are made by giving it a rule.

    Attributes:
      theme, name: the cases are called "theme/name: mistake".
      value: the plain function.
      args: draw -> arguments.
      dtypes: those of its cases, if a case names no others.
    """

    theme: str
    name: str
    value: Callable[..., Any]
    args: Callable[[Draw], tuple[Any, ...]]
    dtypes: tuple[str, ...] = FLOATS

    def case(self, what, fault, leaf, make_rule, dtypes=None):
        """A case whose function is make_rule()."""
        name = f"{self.theme}/{self.name}: {what}"

        def make(dtype):
            return make_rule(), self.args(Draw(self.name, dtype)), self.value

        return Case(name, self.theme, make, fault, leaf, two_of(dtypes or self.dtypes, name))

    def wrong(self, what, fault, leaf, backward, dtypes=None):
        """A custom_vjp with the planted mistake that `what` says."""
        return self.case(what, fault, leaf, lambda: with_rule(self.value, backward), dtypes)

    def right(self, what, backward, dtypes=None):
        """A custom_vjp that is right."""
        return self.case(what, None, None, lambda: with_rule(self.value, backward), dtypes)

    def wrong_jvp(self, what, fault, leaf, tangent, dtypes=None):
        """A custom_jvp with a planted mistake."""
        return self.case(what, fault, leaf, lambda: with_tangent(self.value, tangent), dtypes)

    def right_jvp(self, what, tangent, dtypes=None):
        """A custom_jvp that is right."""
        return self.case(what, None, None, lambda: with_tangent(self.value, tangent), dtypes)

    def wrong_kept(self, what, fault, leaf, forward, backward, dtypes=None):
        """A custom_vjp of forward(*args) and backward(kept, cotangent), with a mistake."""
        rule = lambda: with_residual(self.value, forward, backward)  # noqa: E731
        return self.case(what, fault, leaf, rule, dtypes)

    def right_kept(self, what, forward, backward, dtypes=None):
        """A custom_vjp of forward(*args) and backward(kept, cotangent) that is right."""
        return self.wrong_kept(what, None, None, forward, backward, dtypes)
