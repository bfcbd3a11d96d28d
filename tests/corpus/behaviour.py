"""Mistakes that are in no formula: lower precision, noise, a changed value, a crash, a shape."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.base import BRAIN, DOUBLE, HALF, SINGLE, WIDE, Operation


def low(x, dtype):
    """x rounded to a lower dtype, in its own again."""
    return x.astype(dtype).astype(x.dtype)


def layer(x, W):
    return jnp.tanh(x @ W)


def layer_rule(d, x, W, round_=lambda t: t):
    slope = 1 - round_(jnp.tanh(x @ W)) ** 2
    return round_(round_(d * slope) @ W.T), round_(x.T @ round_(d * slope))


def in_dtype(dtype, rule):
    """The rule run wholly in a lower dtype."""

    def backward(d, *args):
        lower = [arg.astype(dtype) for arg in args]
        return [
            g.astype(arg.dtype) for g, arg in zip(rule(d.astype(dtype), *lower), args, strict=True)
        ]

    return backward


def softmax_rule(d, z):
    p = jax.nn.softmax(z)
    return (p * (d - jnp.sum(p * d, axis=-1, keepdims=True)),)


def exp_rule(d, x):
    return (d * jnp.exp(x),)


def affine_rule(d, x, W):
    return d @ W.T, x.T @ d


tanh_layer = Operation(
    "behaviour", "tanh layer", layer, lambda draw: (draw(5, 4), draw(4, 4)), WIDE
)
product = Operation("behaviour", "product", jnp.matmul, lambda draw: (draw(6, 5), draw(5, 4)), WIDE)
softmax = Operation("behaviour", "softmax", jax.nn.softmax, lambda draw: (draw(4, 6),), WIDE)
exp = Operation("behaviour", "exp", jnp.exp, lambda draw: (draw(12),), WIDE)
dot = Operation("behaviour", "dot", jnp.dot, lambda draw: (draw(16), draw(16)), WIDE)
sin = Operation("behaviour", "sin", jnp.sin, lambda draw: (draw(10),), WIDE)
D, S = (DOUBLE,), (SINGLE,)

PRECISION = (
    tanh_layer.wrong(
        "∇W by a bfloat16 product",
        "precision",
        "args[1]",
        lambda d, x, W: (layer_rule(d, x, W)[0], in_dtype(BRAIN, layer_rule)(d, x, W)[1]),
    ),
    tanh_layer.wrong("all in bfloat16", "precision", "args[0]", in_dtype(BRAIN, layer_rule)),
    tanh_layer.wrong("all in float16", "precision", "args[0]", in_dtype(HALF, layer_rule)),
    tanh_layer.wrong("all in float32", "precision", "args[0]", in_dtype(SINGLE, layer_rule), D),
    tanh_layer.wrong(
        "rounded on the way",
        "precision",
        "args[0]",
        lambda d, x, W: layer_rule(d, x, W, lambda t: low(t, HALF)),
    ),
    product.wrong(
        "∇A in float32",
        "precision",
        "args[0]",
        lambda d, A, B: (in_dtype(SINGLE, affine_rule)(d, A, B)[0], A.T @ d),
        D,
    ),
    product.wrong(
        "∇B in bfloat16",
        "precision",
        "args[1]",
        lambda d, A, B: (d @ B.T, in_dtype(BRAIN, affine_rule)(d, A, B)[1]),
    ),
    product.wrong(
        "cotangent in float16",
        "precision",
        "args[0]",
        lambda d, A, B: affine_rule(low(d, HALF), A, B),
    ),
    product.wrong_kept(
        "residual kept in float16",
        "precision",
        "args[1]",
        lambda A, B: (A @ B, (A.astype(HALF), B)),
        lambda kept, d: (d @ kept[1].T, kept[0].astype(d.dtype).T @ d),
    ),
    product.wrong_kept(
        "residual kept in bfloat16",
        "precision",
        "args[0]",
        lambda A, B: (A @ B, (A, B.astype(BRAIN))),
        lambda kept, d: (d @ kept[1].astype(d.dtype).T, kept[0].T @ d),
    ),
    softmax.wrong("p in bfloat16", "precision", "args[0]", in_dtype(BRAIN, softmax_rule)),
    softmax.wrong("all in float32", "precision", "args[0]", in_dtype(SINGLE, softmax_rule), D),
    exp.wrong(
        "output rounded to float16",
        "precision",
        "args[0]",
        lambda d, x: (d * low(jnp.exp(x), HALF),),
    ),
    exp.wrong(
        "output rounded to float32",
        "precision",
        "args[0]",
        lambda d, x: (d * low(jnp.exp(x), SINGLE),),
        D,
    ),
    dot.wrong("∇y in bfloat16", "precision", "args[1]", lambda d, x, y: (d * y, low(d * x, BRAIN))),
    sin.wrong(
        "cos of a float16 angle", "precision", "args[0]", lambda d, x: (d * jnp.cos(low(x, HALF)),)
    ),
)

# random numbers from outside, new at each call
GENERATOR = np.random.default_rng(0)


def shaken(scale):
    def numbers(shape, dtype):
        return (1 + scale * GENERATOR.standard_normal(shape)).astype(dtype)

    def call(x):
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda: numbers(x.shape, x.dtype), result)

    return call


def dropped(x):
    """A mask of zeros and twos, new at each call."""
    result = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(
        lambda: (2 * GENERATOR.integers(2, size=x.shape)).astype(x.dtype), result
    )


COUNT = [0]


def drifting(x):
    """A factor that grows at each call: state in the rule."""

    def count():
        COUNT[0] += 1
        return np.asarray(1 + 0.1 * (COUNT[0] % 17), x.dtype)

    return jax.pure_callback(count, jax.ShapeDtypeStruct((), x.dtype))


NOISE = (
    sin.wrong("10 % noise", "noise", "args[0]", lambda d, x: (d * jnp.cos(x) * shaken(0.1)(x),)),
    sin.wrong("0.1 % noise", "noise", "args[0]", lambda d, x: (d * jnp.cos(x) * shaken(1e-3)(x),)),
    exp.wrong(
        "dropout in the backward", "noise", "args[0]", lambda d, x: (d * jnp.exp(x) * dropped(x),)
    ),
    exp.wrong(
        "a factor that drifts", "noise", "args[0]", lambda d, x: (d * jnp.exp(x) * drifting(x),)
    ),
    product.wrong(
        "noise on ∇B", "noise", "args[1]", lambda d, A, B: (d @ B.T, (A.T @ d) * shaken(0.01)(B))
    ),
    product.wrong(
        "noise on ∇A", "noise", "args[0]", lambda d, A, B: ((d @ B.T) * shaken(0.01)(A), A.T @ d)
    ),
    tanh_layer.wrong(
        "dropout of the cotangent", "noise", None, lambda d, x, W: layer_rule(d * dropped(d), x, W)
    ),
    softmax.wrong(
        "noise on the cotangent",
        "noise",
        "args[0]",
        lambda d, z: softmax_rule(d * shaken(0.05)(d), z),
    ),
)

# the forward rule gives another value than the function
four = Operation("behaviour", "changed", lambda x: jnp.tanh(x) * x, lambda draw: (draw(6),))
affine = Operation(
    "behaviour",
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
    four.wrong("if on a traced number", "raises", None, lambda d, x: (d if d.sum() > 0 else -d,)),
    four.wrong("float() of a traced number", "raises", None, lambda d, x: (float(d[0]) * x,)),
    four.wrong(
        "numpy of a traced array", "raises", None, lambda d, x: (jnp.asarray(np.asarray(d) * 2),)
    ),
    four.wrong("a name that is not there", "raises", None, lambda d, x: (jnp.nothing(d),)),
    four.wrong("assertion", "raises", None, crash(AssertionError())),
    affine.wrong(
        "shapes do not fit", "raises", None, lambda d, x, W, b: (d @ W.T, d @ x, d.sum(0))
    ),
    affine.wrong(
        "axis out of range", "raises", None, lambda d, x, W, b: (d @ W.T, x.T @ d, d.sum(5))
    ),
    affine.wrong("one cotangent too few", "raises", None, lambda d, x, W, b: (d @ W.T, x.T @ d)),
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

CASES = PRECISION + NOISE + CHANGES + RAISES + SHAPES
