"""Rules computed in a lower precision than they should be, and rules never twice the same."""

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
    "precision", "tanh layer", layer, lambda draw: (draw(5, 4), draw(4, 4)), WIDE
)
product = Operation("precision", "product", jnp.matmul, lambda draw: (draw(6, 5), draw(5, 4)), WIDE)
softmax = Operation("precision", "softmax", jax.nn.softmax, lambda draw: (draw(4, 6),), WIDE)
exp = Operation("precision", "exp", jnp.exp, lambda draw: (draw(12),), WIDE)
dot = Operation("precision", "dot", jnp.dot, lambda draw: (draw(16), draw(16)), WIDE)
sin = Operation("precision", "sin", jnp.sin, lambda draw: (draw(10),), WIDE)
D = (DOUBLE,)

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


CASES = PRECISION + NOISE
