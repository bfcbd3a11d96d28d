"""Right rules at odd scales: tiny and huge inputs, losses, arrays and logits."""

import jax
import jax.numpy as jnp

from corpus.base import BRAIN, DOUBLE, HALF, SINGLE, WIDE, Operation

THREE = (DOUBLE, SINGLE, BRAIN)  # dtypes with exponents enough for 1e±12


def layer(x, W, b):
    return jnp.tanh(x @ W + b)


def layer_rule(d, x, W, b):
    a = d * (1 - jnp.tanh(x @ W + b) ** 2)
    return a @ W.T, x.T @ a, a.sum(0)


def affine(x, W, b):
    return x @ W + b


def affine_rule(d, x, W, b):
    return d @ W.T, x.T @ d, d.sum(0)


def squares(p, y):
    return jnp.mean((p - y) ** 2)


def squares_rule(d, p, y):
    g = d * 2 * (p - y) / p.size
    return g, -g


def entropy(z, y):
    return -jnp.sum(y * jax.nn.log_softmax(z)) / len(y)


def entropy_rule(d, z, y):
    return d * (jax.nn.softmax(z) - y) / len(y), -d * jax.nn.log_softmax(z) / len(y)


def softmax_rule(d, z):
    p = jax.nn.softmax(z)
    return (p * (d - jnp.sum(p * d, axis=-1, keepdims=True)),)


def norm(x):
    """(x − mean)/√(variance + 1e-5)."""
    m = x.mean(-1, keepdims=True)
    return (x - m) * jax.lax.rsqrt(((x - m) ** 2).mean(-1, keepdims=True) + 1e-5)


def norm_rule(d, x):
    m = x.mean(-1, keepdims=True)
    s = jax.lax.rsqrt(((x - m) ** 2).mean(-1, keepdims=True) + 1e-5)
    h = (x - m) * s
    return (s * (d - d.mean(-1, keepdims=True) - h * (d * h).mean(-1, keepdims=True)),)


def scaled(theme_name, value, rule, args, scales):
    """One case for each scale of the first argument."""
    for scale, dtypes in scales:
        operation = Operation(
            "scales", f"{theme_name} × {scale:g}", value, lambda draw, k=scale: args(draw, k)
        )
        yield operation.right("textbook", rule, dtypes)


INPUTS = (
    *scaled(
        "tanh layer, inputs",
        layer,
        layer_rule,
        lambda draw, k: (draw(6, 4) * k, draw(4, 3), draw(3)),
        ((1e-4, THREE), (1e-8, WIDE), (1e-12, WIDE), (0.1, None)),
    ),
    *scaled(
        "affine, inputs",
        affine,
        affine_rule,
        lambda draw, k: (draw(6, 4) * k, draw(4, 3), draw(3)),
        ((1e-4, THREE), (1e4, THREE), (1e8, WIDE), (1e-12, THREE), (1e12, WIDE)),
    ),
    *scaled(
        "affine, weights",
        affine,
        affine_rule,
        lambda draw, k: (draw(6, 4), draw(4, 3) * k, draw(3)),
        ((1e-4, THREE), (1e4, THREE)),
    ),
    *scaled(
        "squares, errors",
        squares,
        squares_rule,
        lambda draw, k: (draw(6, 2) * k, draw(6, 2) * k),
        ((1e-4, THREE), (1e4, THREE), (1e-8, WIDE), (1e8, WIDE)),
    ),
    *scaled(
        "logits",
        entropy,
        entropy_rule,
        lambda draw, k: (draw(6, 4) * k, draw.one_hot(6, 4)),
        ((1e-4, WIDE), (1e-2, THREE), (10.0, WIDE), (30.0, WIDE)),
    ),
    *scaled(
        "softmax, logits",
        jax.nn.softmax,
        softmax_rule,
        lambda draw, k: (draw(3, 4) * k,),
        ((1e-4, WIDE), (10.0, WIDE)),
    ),
    *scaled(
        "layer norm, inputs",
        norm,
        norm_rule,
        lambda draw, k: (draw(3, 6) * k,),
        ((1e-4, WIDE), (1e-2, WIDE), (1e2, WIDE), (1e4, (DOUBLE,))),
    ),
)


def tiny(factor):
    """A loss multiplied by a constant."""
    value = lambda p, y: jnp.mean((p - y) ** 2) * factor  # noqa: E731
    rule = lambda d, p, y: tuple(factor * g for g in squares_rule(d, p, y))  # noqa: E731
    operation = Operation(
        "scales", f"loss × {factor:g}", value, lambda draw: (draw(6, 2), draw(6, 2))
    )
    return operation.right("textbook", rule, THREE)


def softplus_rule(d, x):
    return (d * jax.nn.sigmoid(x),)


def many(name, value, rule, shape, dtypes):
    return Operation("scales", name, value, lambda draw: (draw(*shape),)).right(
        "textbook", rule, dtypes
    )


LARGE = (
    many("Σ x² of 200,000", lambda x: jnp.sum(x * x), lambda d, x: (2 * d * x,), (200_000,), WIDE),
    many(
        "mean of 100,000", jnp.mean, lambda d, x: (jnp.full_like(x, d / x.size),), (100_000,), WIDE
    ),
    many(
        "tanh of 300 × 300",
        jnp.tanh,
        lambda d, x: (d * (1 - jnp.tanh(x) ** 2),),
        (300, 300),
        (SINGLE, BRAIN, HALF),
    ),
    many("softplus of 50,000", jax.nn.softplus, softplus_rule, (50_000,), (SINGLE, BRAIN, HALF)),
    many(
        "logsumexp of 20,000",
        jax.nn.logsumexp,
        lambda d, x: (d * jax.nn.softmax(x),),
        (20_000,),
        WIDE,
    ),
    many(
        "sum over a long axis",
        lambda x: x.sum(0),
        lambda d, x: (jnp.broadcast_to(d, x.shape),),
        (20_000, 3),
        WIDE,
    ),
)

EXTREME = {
    "confident and right": ([[30, 0, 0], [0, 25, 0]], [[1, 0, 0], [0, 1, 0]]),
    "confident and wrong": ([[30, 0, 0], [0, 25, 0]], [[0, 1, 0], [0, 0, 1]]),
    "all equal": ([[5, 5, 5], [-3, -3, -3]], [[1, 0, 0], [0, 1, 0]]),
    "far from zero": ([[500, 501, 499], [-500, -501, -499]], [[1, 0, 0], [0, 1, 0]]),
    "soft labels": ([[20, 0, -20], [3, 1, 2]], [[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]),
}


def extreme(name, logits, labels):
    args = lambda draw: (draw.of(logits), draw.of(labels))  # noqa: E731
    return Operation("scales", name, entropy, args).right("p − y", entropy_rule, WIDE)


SATURATED = Operation(
    "scales", "saturated sigmoid", jax.nn.sigmoid, lambda draw: (draw.of([-20, 20, 12, -12, 0, 5]),)
)
FLAT = Operation(
    "scales", "saturated tanh", jnp.tanh, lambda draw: (draw.of([-9, 8, 6, -7, 0.001, 0]),)
)
MIXED = Operation(
    "scales",
    "one large among small",
    affine,
    lambda draw: (draw(5, 3) * draw.of([1e4, 1, 1e-4]), draw(3, 2), draw(2)),
)
NEAR_ZERO = Operation("scales", "expm1 near 0", jnp.expm1, lambda draw: (draw(6) * 1e-6,))
LOG1P = Operation("scales", "log1p near 0", jnp.log1p, lambda draw: (draw(6) * 1e-6,))
SQUARE = Operation(
    "scales", "x² of subnormal slope", lambda x: jnp.sum(x * x), lambda draw: (draw(5) * 1e-15,)
)

CASES = (
    *INPUTS,
    *(tiny(factor) for factor in (1e-12, 1e-6, 1e6, 1e12)),
    *LARGE,
    *(extreme(name, *values) for name, values in EXTREME.items()),
    SATURATED.right("s(x) s(−x)", lambda d, x: (d * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x),)),
    SATURATED.right(
        "s (1 − s), as autodiff has it",
        lambda d, x: (d * jax.nn.sigmoid(x) * (1 - jax.nn.sigmoid(x)),),
        (DOUBLE,),
    ),
    FLAT.right("1/cosh²", lambda d, x: (d / jnp.cosh(x) ** 2,), WIDE),
    MIXED.right("textbook", affine_rule, THREE),
    NEAR_ZERO.right("exp", lambda d, x: (d * jnp.exp(x),), WIDE),
    LOG1P.right("1/(1 + x)", lambda d, x: (d / (1 + x),), WIDE),
    SQUARE.right("2x", lambda d, x: (2 * d * x,), WIDE),
)
