"""Functions of one number or of two, such as log and power, with the derivatives of mistakes.

The rows are as in `elementwise`.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

from corpus.base import WIDE, Operation, with_rule
from corpus.elementwise import AROUND, rows, sigmoid

ABOVE = lambda draw: (draw.between(0.4, 2.5, 5, 4),)  # noqa: E731
INSIDE = lambda draw: (draw.between(-0.85, 0.85, 5, 4),)  # noqa: E731

TABLE = (
    (
        "exp",
        jnp.exp,
        AROUND,
        jnp.exp,
        (
            ("x exp(x − 1)", "formula", lambda x: x * jnp.exp(x - 1)),
            ("twice", "scaled", lambda x: 2 * jnp.exp(x)),
            ("exp(−x)", "formula", lambda x: jnp.exp(-x)),
        ),
    ),
    (
        "log",
        jnp.log,
        ABOVE,
        lambda x: 1 / x,
        (
            ("−1/x", "sign", lambda x: -1 / x),
            ("1/x²", "formula", lambda x: 1 / (x * x)),
            ("1/(x + 0.01)", "formula", lambda x: 1 / (x + 0.01), WIDE),
        ),
    ),
    (
        "sqrt",
        jnp.sqrt,
        ABOVE,
        lambda x: 0.5 / jnp.sqrt(x),
        (
            ("1/√x", "scaled", lambda x: 1 / jnp.sqrt(x)),
            ("½ √x", "formula", lambda x: 0.5 * jnp.sqrt(x)),
        ),
    ),
    (
        "reciprocal",
        lambda x: 1 / x,
        ABOVE,
        lambda x: -1 / (x * x),
        (
            ("1/x²", "sign", lambda x: 1 / (x * x)),
            ("−1/x", "formula", lambda x: -1 / x),
        ),
    ),
    (
        "square",
        jnp.square,
        AROUND,
        lambda x: 2 * x,
        (
            ("x", "scaled", lambda x: x),
            ("x²", "formula", lambda x: x * x),
        ),
    ),
    (
        "cube",
        lambda x: x**3,
        AROUND,
        lambda x: 3 * x * x,
        (
            ("x²", "scaled", lambda x: x * x),
            ("3x", "formula", lambda x: 3 * x),
        ),
    ),
    (
        "sin",
        jnp.sin,
        AROUND,
        jnp.cos,
        (
            ("−cos", "sign", lambda x: -jnp.cos(x)),
            ("sin", "formula", jnp.sin),
        ),
    ),
    ("cos", jnp.cos, AROUND, lambda x: -jnp.sin(x), (("sin", "sign", jnp.sin),)),
    (
        "erf",
        erf,
        AROUND,
        lambda x: 1.1283791670955126 * jnp.exp(-x * x),
        (
            ("2/√π forgotten", "scaled", lambda x: jnp.exp(-x * x)),
            ("exp(−x²/2)", "formula", lambda x: 1.1283791670955126 * jnp.exp(-x * x / 2)),
        ),
    ),
    (
        "arctanh",
        jnp.arctanh,
        INSIDE,
        lambda x: 1 / (1 - x * x),
        (("1/(1 + x²)", "formula", lambda x: 1 / (1 + x * x)),),
    ),
    (
        "log sigmoid",
        jax.nn.log_sigmoid,
        AROUND,
        lambda x: sigmoid(-x),
        (("derivative s", "formula", sigmoid),),
    ),
)


def gate_rule():
    """A gate whose two halves have each other's cotangents."""
    return with_rule(
        lambda a, b: a * sigmoid(b),
        lambda d, a, b: (d * a * sigmoid(b) * sigmoid(-b), d * sigmoid(b)),
    )


gate = Operation(
    "elementwise", "gate", lambda a, b: a * sigmoid(b), lambda draw: (draw(5), draw(5))
)
product = Operation("elementwise", "product", jnp.multiply, lambda draw: (draw(5), draw(5)))
power = Operation(
    "elementwise",
    "power",
    jnp.power,
    lambda draw: (draw.between(0.5, 2, 6), draw.between(0.5, 3, 6)),
)

TWO_ARGUMENTS = (
    gate.case("cotangents swapped", "swapped", "args[0]", gate_rule),
    gate.wrong(
        "gate not derived",
        "formula",
        "args[1]",
        lambda d, a, b: (d * sigmoid(b), d * a * sigmoid(b)),
    ),
    product.wrong("not crossed over", "swapped", "args[0]", lambda d, a, b: (d * a, d * b)),
    product.wrong("second sign", "sign", "args[1]", lambda d, a, b: (d * b, -d * a)),
    power.wrong(
        "x^p log p",
        "formula",
        "args[1]",
        lambda d, x, p: (d * p * x ** (p - 1), d * x**p * jnp.log(p)),
    ),
    power.wrong(
        "factor p lost",
        "formula",
        "args[0]",
        lambda d, x, p: (d * x ** (p - 1), d * x**p * jnp.log(x)),
    ),
    power.right("textbook", lambda d, x, p: (d * p * x ** (p - 1), d * x**p * jnp.log(x)), WIDE),
    product.right("crossed over", lambda d, a, b: (d * b, d * a)),
)


CASES = tuple(case for row in TABLE for case in rows(*row)) + TWO_ARGUMENTS
