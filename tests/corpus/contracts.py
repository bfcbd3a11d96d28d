"""Broken contracts: a forward rule with another value, a rule that raises, a wrong shape."""

import jax
import jax.numpy as jnp

from corpus.base import Operation

# the forward rule gives another value than the function
four = Operation("contracts", "changed", lambda x: jnp.tanh(x) * x, lambda draw: (draw(6),))
affine = Operation(
    "contracts",
    "changed affine",
    lambda x, W, b: x @ W + b,
    lambda draw: (draw(4, 3), draw(3, 3), draw(3)),
)


def slope(x):
    return jnp.tanh(x) + x * (1 - jnp.tanh(x) ** 2)


def changed(what, value, kept=lambda x: x):
    """A forward rule that returns value(x), with the backward rule of the function."""
    return four.wrong_kept(
        what, "value-changes", None, lambda x: (value(x), x), lambda x, d: (d * slope(x),)
    )


def affine_changed(what, value):
    return affine.wrong_kept(
        what,
        "value-changes",
        None,
        lambda *a: (value(*a), a),
        lambda a, d: (d @ a[1].T, a[0].T @ d, d.sum(0)),
    )


def tangent_of(value):
    return lambda p, t: (value(*p), t[0] * slope(p[0]))


CHANGES = (
    changed("factor x forgotten", jnp.tanh),
    changed("the input returned", lambda x: x),
    changed("rounded", lambda x: jnp.round(jnp.tanh(x) * x * 8) / 8),
    changed("zeros", jnp.zeros_like),
    changed("clipped", lambda x: jnp.clip(jnp.tanh(x) * x, 0, 0.3)),
    changed("1 % added", lambda x: 1.01 * jnp.tanh(x) * x + 0.02),
    changed("sign", lambda x: -jnp.tanh(x) * x),
    affine_changed("bias forgotten", lambda x, W, b: x @ W),
    affine_changed("W transposed", lambda x, W, b: x @ W.T + b),
    affine_changed("a relu too many", lambda x, W, b: jax.nn.relu(x @ W + b)),
    affine_changed("one row wrong", lambda x, W, b: (x @ W + b).at[2].set(0)),
    four.wrong_jvp("another value in the jvp", "value-changes", None, tangent_of(jnp.tanh)),
    four.wrong_jvp(
        "a constant added in the jvp",
        "value-changes",
        None,
        tangent_of(lambda x: jnp.tanh(x) * x + 0.25),
    ),
)


def crash(error):
    def backward(d, *args):
        raise error

    return backward


RAISES = (
    four.wrong("NotImplementedError", "raises", None, crash(NotImplementedError("to do"))),
    four.wrong("ValueError", "raises", None, crash(ValueError("bad cotangent"))),
    four.wrong("a dict without the key", "raises", None, lambda d, x: ({"x": d}["y"],)),
    four.wrong("reshape that does not fit", "raises", None, lambda d, x: (d.reshape(7),)),
    four.wrong("float() of an array", "raises", None, lambda d, x: (float(d) * x,)),
    four.wrong("a cotangent unpacked", "raises", None, lambda d, x: (d[0].first * slope(x),)),
    four.wrong("a name that is not there", "raises", None, lambda d, x: (jnp.nothing(d),)),
    four.wrong("assertion", "raises", None, crash(AssertionError())),
    affine.wrong(
        "shapes do not fit", "raises", None, lambda d, x, W, b: (d @ W.T, d @ x, d.sum(0))
    ),
    affine.wrong(
        "axis out of range", "raises", None, lambda d, x, W, b: (d @ W.T, x.T @ d, d.sum(5))
    ),
    affine.wrong(
        "one cotangent too few", "wrong-shape", None, lambda d, x, W, b: (d @ W.T, x.T @ d)
    ),
    affine.wrong_kept(
        "residuals unpacked wrongly",
        "raises",
        None,
        lambda x, W, b: (x @ W + b, (x, W)),
        lambda kept, d: (lambda x, W, b: (d @ W.T, x.T @ d, d.sum(0)))(*kept),
    ),
)

SHAPES = (
    affine.wrong(
        "∇b keeps its batch axis",
        "wrong-shape",
        "args[2]",
        lambda d, x, W, b: (d @ W.T, x.T @ d, d.sum(0, keepdims=True)),
    ),
    affine.wrong(
        "∇x summed over the batch",
        "wrong-shape",
        "args[0]",
        lambda d, x, W, b: ((d @ W.T).sum(0), x.T @ d, d.sum(0)),
    ),
    affine.wrong(
        "∇W flat",
        "wrong-shape",
        "args[1]",
        lambda d, x, W, b: (d @ W.T, (x.T @ d).ravel(), d.sum(0)),
    ),
    affine.wrong(
        "∇b a number", "wrong-shape", "args[2]", lambda d, x, W, b: (d @ W.T, x.T @ d, d.sum())
    ),
    four.wrong("an axis added", "wrong-shape", "args[0]", lambda d, x: ((d * slope(x))[None],)),
    four.wrong("summed", "wrong-shape", "args[0]", lambda d, x: (jnp.sum(d * slope(x)),)),
    four.wrong(
        "an outer product", "wrong-shape", "args[0]", lambda d, x: (jnp.outer(d, slope(x)),)
    ),
    four.wrong("one entry lost", "wrong-shape", "args[0]", lambda d, x: ((d * slope(x))[1:],)),
)

CASES = CHANGES + RAISES + SHAPES
