"""Activations, with the derivatives that people write by mistake.

Each row: the function, where it is taken, its derivative (right), and the wrong ones, as
(what, fault, derivative) and the dtypes where its error is plain, if not all. The rule multiplies
the cotangent by the derivative.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

from corpus.base import WIDE, Operation


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def slope(x, which):
    return jnp.where(x > 0, jnp.ones_like(x), jnp.full_like(x, which))


def phi(x):
    return jnp.exp(-x * x / 2) / jnp.sqrt(2 * jnp.pi).astype(x.dtype)


def cdf(x):
    return (1 + erf(x / jnp.sqrt(2.0).astype(x.dtype))) / 2


def mish_derivative(x):
    t = jnp.tanh(jax.nn.softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


AROUND = lambda draw: (draw(5, 4),)  # noqa: E731

TABLE = (
    (
        "sigmoid",
        sigmoid,
        AROUND,
        lambda x: sigmoid(x) * sigmoid(-x),
        (
            ("derivative s", "formula", lambda x: sigmoid(x)),
            ("derivative 1 − s", "formula", lambda x: 1 - sigmoid(x)),
            (
                "derivative of the output taken again",
                "formula",
                lambda x: sigmoid(sigmoid(x)) * (1 - sigmoid(sigmoid(x))),
            ),
            ("s (s − 1)", "sign", lambda x: sigmoid(x) * (sigmoid(x) - 1)),
        ),
    ),
    (
        "tanh",
        jnp.tanh,
        AROUND,
        lambda x: 1 / jnp.cosh(x) ** 2,
        (
            ("derivative 1 − x²", "formula", lambda x: 1 - x * x),
            ("derivative 1 − tanh", "formula", lambda x: 1 - jnp.tanh(x)),
            ("derivative of the sigmoid", "formula", lambda x: sigmoid(x) * (1 - sigmoid(x))),
            ("tanh² − 1", "sign", lambda x: jnp.tanh(x) ** 2 - 1),
        ),
    ),
    (
        "relu",
        jax.nn.relu,
        AROUND,
        lambda x: slope(x, 0),
        (
            ("derivative 1 everywhere", "formula", lambda x: jnp.ones_like(x)),
            ("derivative relu", "formula", lambda x: jnp.maximum(x, 0)),
            ("mask the wrong way round", "formula", lambda x: (x < 0).astype(x.dtype)),
        ),
    ),
    (
        "leaky relu",
        jax.nn.leaky_relu,
        AROUND,
        lambda x: slope(x, 0.01),
        (
            ("as relu", "formula", lambda x: slope(x, 0)),
            ("slope 0.1", "formula", lambda x: slope(x, 0.1)),
        ),
    ),
    (
        "elu",
        jax.nn.elu,
        AROUND,
        lambda x: jnp.exp(jnp.minimum(x, 0)),
        (
            ("derivative exp(x) everywhere", "formula", lambda x: jnp.exp(x)),
            ("exp(x) − 1 below zero", "formula", lambda x: jnp.where(x > 0, 1, jnp.expm1(x))),
        ),
    ),
    (
        "softplus",
        jax.nn.softplus,
        AROUND,
        sigmoid,
        (
            ("derivative sigmoid(−x)", "formula", lambda x: sigmoid(-x)),
            ("derivative of the sigmoid", "formula", lambda x: sigmoid(x) * sigmoid(-x)),
        ),
    ),
    (
        "silu",
        jax.nn.silu,
        AROUND,
        lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
        (
            ("product rule: first term only", "formula", sigmoid),
            ("product rule: second term only", "formula", lambda x: x * sigmoid(x) * sigmoid(-x)),
        ),
    ),
    (
        "gelu",
        lambda x: jax.nn.gelu(x, approximate=False),
        AROUND,
        lambda x: cdf(x) + x * phi(x),
        (
            ("Φ only", "formula", cdf),
            ("x φ subtracted", "formula", lambda x: cdf(x) - x * phi(x)),
            (
                "of the sigmoid form",
                "formula",
                lambda x: sigmoid(1.702 * x) * (1 + 1.702 * x * sigmoid(-1.702 * x)),
                WIDE,
            ),
        ),
    ),
    (
        "mish",
        lambda x: x * jnp.tanh(jax.nn.softplus(x)),
        AROUND,
        mish_derivative,
        (
            (
                "inner sigmoid lost",
                "formula",
                lambda x: (
                    jnp.tanh(jax.nn.softplus(x)) + x * (1 - jnp.tanh(jax.nn.softplus(x)) ** 2)
                ),
            ),
        ),
    ),
    (
        "softsign",
        lambda x: x / (1 + abs(x)),
        AROUND,
        lambda x: (1 + abs(x)) ** -2,
        (("power −1", "formula", lambda x: 1 / (1 + abs(x))),),
    ),
    (
        "hard sigmoid",
        lambda x: jnp.clip(x / 6 + 0.5, 0, 1),
        lambda draw: (4 * draw(5, 4),),
        lambda x: jnp.where(abs(x) < 3, jnp.full_like(x, 1 / 6), 0),
        (
            ("not cut off", "formula", lambda x: jnp.full_like(x, 1 / 6)),
            ("factor ⅙ forgotten", "scaled", lambda x: (abs(x) < 3).astype(x.dtype)),
        ),
    ),
)


def rows(name, value, args, right, wrongs):
    """The cases of one function."""
    operation = Operation("elementwise", name, value, args)
    yield operation.right("textbook", lambda d, x: (d * right(x),), WIDE)
    for what, fault, derivative, *dtypes in wrongs:
        pull = lambda d, x, derivative=derivative: (d * derivative(x),)  # noqa: E731
        yield operation.wrong(what, fault, "args[0]", pull, *dtypes)


CASES = tuple(case for row in TABLE for case in rows(*row))
