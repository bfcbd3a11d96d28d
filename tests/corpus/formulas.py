"""Right rules that use another formula than autodiff does, equal up to rounding."""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf, erfc, gammaln, xlogy

from corpus.base import FLOATS, WIDE, Operation

ROOT_2 = 2**0.5
ROOT_PI = 3.141592653589793**0.5


def s(x):
    return jax.nn.sigmoid(x)


def tanh_by_exp(x):
    """tanh x = 1 − 2/(e^{2x} + 1)."""
    return 1 - 2 / (jnp.exp(2 * x) + 1)


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def gelu_slope(x):
    """Φ(x) + x φ(x)."""
    return (1 + erf(x / ROOT_2)) / 2 + x * jnp.exp(-x * x / 2) / (ROOT_2 * ROOT_PI)


def tanh_gelu_slope(x):
    c = (2**0.5) / ROOT_PI
    t = jnp.tanh(c * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x) / 2


AROUND = lambda draw: (draw(5, 4),)  # noqa: E731
ABOVE = lambda draw: (draw.between(0.4, 2.5, 5, 4),)  # noqa: E731
INSIDE = lambda draw: (draw.between(-0.85, 0.85, 5, 4),)  # noqa: E731

# (name, function, arguments, dtypes, {what: derivative})
ELEMENTWISE = (
    (
        "tanh",
        jnp.tanh,
        AROUND,
        FLOATS,
        {
            "4 s(2x) s(−2x)": lambda x: 4 * s(2 * x) * s(-2 * x),
            "sech²": lambda x: jnp.cosh(x) ** -2,
            "(1 − t)(1 + t)": lambda x: (1 - jnp.tanh(x)) * (1 + jnp.tanh(x)),
        },
    ),
    ("tanh", jnp.tanh, AROUND, WIDE, {"1 − t² with t by exp": lambda x: 1 - tanh_by_exp(x) ** 2}),
    (
        "sigmoid",
        s,
        AROUND,
        FLOATS,
        {
            "1/(2 + 2 cosh x)": lambda x: 1 / (2 + 2 * jnp.cosh(x)),
            "(1 − tanh²(x/2))/4": lambda x: (1 - jnp.tanh(x / 2) ** 2) / 4,
        },
    ),
    ("gelu", gelu, AROUND, FLOATS, {"Φ + x φ": gelu_slope}),
    (
        "gelu",
        gelu,
        AROUND,
        WIDE,
        {
            "by erfc": lambda x: (
                erfc(-x / ROOT_2) / 2 + x * jnp.exp(-x * x / 2) / (ROOT_2 * ROOT_PI)
            ),
        },
    ),
    ("tanh gelu", jax.nn.gelu, AROUND, WIDE, {"product rule": tanh_gelu_slope}),
    (
        "silu",
        jax.nn.silu,
        AROUND,
        FLOATS,
        {
            "s + y (1 − s)": lambda x: s(x) + x * s(x) * (1 - s(x)),
            "½ + …": lambda x: (1 + jnp.tanh(x / 2) + x / 2 / jnp.cosh(x / 2) ** 2) / 2,
        },
    ),
    (
        "softplus",
        jax.nn.softplus,
        AROUND,
        FLOATS,
        {
            "1 − exp(−y)": lambda x: -jnp.expm1(-jax.nn.softplus(x)),
            "1/(1 + exp(−x))": lambda x: 1 / (1 + jnp.exp(-x)),
        },
    ),
    (
        "selu",
        jax.nn.selu,
        AROUND,
        WIDE,
        {
            "from the output": lambda x: jnp.where(
                x > 0, 1.0507009873554805, jax.nn.selu(x) + 1.7580993408473766
            ),
        },
    ),
    (
        "elu",
        jax.nn.elu,
        AROUND,
        FLOATS,
        {"1 + min(y, 0)": lambda x: 1 + jnp.minimum(jax.nn.elu(x), 0)},
    ),
    (
        "sqrt",
        jnp.sqrt,
        ABOVE,
        FLOATS,
        {"½ rsqrt": lambda x: 0.5 * jax.lax.rsqrt(x), "y/(2x)": lambda x: jnp.sqrt(x) / (2 * x)},
    ),
    (
        "cbrt",
        jnp.cbrt,
        ABOVE,
        WIDE,
        {"y/(3x)": lambda x: jnp.cbrt(x) / (3 * x), "1/(3y²)": lambda x: jnp.cbrt(x) ** -2 / 3},
    ),
    ("rsqrt", jax.lax.rsqrt, ABOVE, FLOATS, {"−½ y³": lambda x: -0.5 * jax.lax.rsqrt(x) ** 3}),
    ("x³", lambda x: x**3, AROUND, FLOATS, {"3x²": lambda x: 3 * jnp.square(x)}),
    ("sin", jnp.sin, AROUND, WIDE, {"sin(x + π/2)": lambda x: jnp.sin(x + 1.5707963267948966)}),
    ("tan", jnp.tan, INSIDE, WIDE, {"1 + tan²": lambda x: 1 + jnp.tan(x) ** 2}),
    ("arctan", jnp.arctan, AROUND, FLOATS, {"cos²(y)": lambda x: jnp.cos(jnp.arctan(x)) ** 2}),
    (
        "arcsin",
        jnp.arcsin,
        INSIDE,
        FLOATS,
        {"1/√((1−x)(1+x))": lambda x: jax.lax.rsqrt((1 - x) * (1 + x))},
    ),
    (
        "arctanh",
        jnp.arctanh,
        INSIDE,
        WIDE,
        {"partial fractions": lambda x: (1 / (1 - x) + 1 / (1 + x)) / 2},
    ),
    ("erf", erf, AROUND, FLOATS, {"2/√π exp(−x²)": lambda x: 2 / ROOT_PI * jnp.exp(-x * x)}),
    (
        "logit",
        lambda x: jnp.log(x / (1 - x)),
        lambda draw: (draw.between(0.1, 0.9, 8),),
        WIDE,
        {
            "1/x + 1/(1 − x)": lambda x: 1 / x + 1 / (1 - x),
        },
    ),
    (
        "cosh",
        jnp.cosh,
        AROUND,
        WIDE,
        {"half a difference": lambda x: (jnp.exp(x) - jnp.exp(-x)) / 2},
    ),
    ("log2", jnp.log2, ABOVE, FLOATS, {"1/(x ln 2)": lambda x: 1 / (x * 0.6931471805599453)}),
    ("log gamma", gammaln, ABOVE, WIDE, {"digamma": jax.scipy.special.digamma}),
    ("x log x", lambda x: xlogy(x, x), ABOVE, WIDE, {"1 + log x": lambda x: 1 + jnp.log(x)}),
    (
        "sinc",
        jnp.sinc,
        ABOVE,
        WIDE,
        {
            "(cos πx − sinc x)/x": lambda x: (jnp.cos(jnp.pi * x) - jnp.sinc(x)) / x,
        },
    ),
)


def rows(name, value, args, dtypes, derivatives):
    operation = Operation("formulas", name, value, args, dtypes)
    for what, derivative in derivatives.items():
        yield operation.right(what, lambda d, x, f=derivative: (d * f(x).astype(x.dtype),))


CASES = tuple(case for row in ELEMENTWISE for case in rows(*row))
