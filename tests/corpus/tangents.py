"""custom_jvp rules with mistakes."""

import jax
import jax.numpy as jnp

from corpus.base import Operation

logistic = Operation("tangents", "sigmoid", jax.nn.sigmoid, lambda draw: (draw(6),))
product = Operation("tangents", "product", jnp.multiply, lambda draw: (draw(6), draw(6)))
matmul = Operation("tangents", "matmul", jnp.matmul, lambda draw: (draw(4, 3), draw(3, 2)))
s = jax.nn.sigmoid


def jvp(value, tangent):
    return lambda p, t: (value(*p), tangent(p, t))


CASES = (
    logistic.wrong_jvp("tangent s", "formula", "args[0]", jvp(s, lambda p, t: t[0] * s(p[0]))),
    logistic.wrong_jvp(
        "negative", "sign", "args[0]", jvp(s, lambda p, t: -t[0] * s(p[0]) * s(-p[0]))
    ),
    logistic.wrong_jvp(
        "half", "scaled", "args[0]", jvp(s, lambda p, t: t[0] * s(p[0]) * s(-p[0]) / 2)
    ),
    logistic.wrong_jvp("zero", "zero", "args[0]", jvp(s, lambda p, t: 0 * t[0])),
    logistic.right_jvp("textbook", jvp(s, lambda p, t: t[0] * s(p[0]) * s(-p[0]))),
    product.wrong_jvp("one term", "zero", "args[1]", jvp(jnp.multiply, lambda p, t: t[0] * p[1])),
    product.wrong_jvp(
        "not crossed over",
        "swapped",
        "args[0]",
        jvp(jnp.multiply, lambda p, t: t[0] * p[0] + t[1] * p[1]),
    ),
    product.wrong_jvp(
        "difference", "sign", "args[1]", jvp(jnp.multiply, lambda p, t: t[0] * p[1] - t[1] * p[0])
    ),
    product.right_jvp("both terms", jvp(jnp.multiply, lambda p, t: t[0] * p[1] + t[1] * p[0])),
    matmul.wrong_jvp("dA B only", "zero", "args[1]", jvp(jnp.matmul, lambda p, t: t[0] @ p[1])),
    matmul.wrong_jvp(
        "A dB twice",
        "scaled",
        "args[1]",
        jvp(jnp.matmul, lambda p, t: t[0] @ p[1] + 2 * p[0] @ t[1]),
    ),
    matmul.right_jvp("both terms", jvp(jnp.matmul, lambda p, t: t[0] @ p[1] + p[0] @ t[1])),
)
