"""Gradients that are NaN or infinite where the true one is finite, and rules that are safe."""

import jax
import jax.numpy as jnp

from corpus.base import FLOATS, WIDE, Operation

EXPONENT = ("float64", "float32", "bfloat16")  # float16 products are taken in float32 on a CPU
# beyond the exponent range of each dtype: e^x overflows there
FAR = {"float64": 800.0, "float32": 100.0, "bfloat16": 100.0, "float16": 14.0}


def far(draw, *numbers):
    return draw.of(jnp.asarray(numbers) * FAR[draw.dtype.name])


def sinc(x):
    """sin(x)/x, 1 at 0."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 1, jnp.sin(safe) / safe)


def sinc_slope(x):
    """(x cos x − sin x)/x², 0 at 0."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 0, (safe * jnp.cos(safe) - jnp.sin(safe)) / safe**2)


def square_root(x):
    """√(x² + x⁴), written so that 0 is a smooth point: |x|√(1 + x²) is not, but its square is."""
    return jnp.where(x > 0, x, 0) ** 1.5


def log_sum(z):
    return jax.nn.logsumexp(z, axis=-1)


def guarded_log(x):
    """log x above 1, x − 1 below: smooth at 1, and no logarithm of 0."""
    return jnp.where(x > 1, jnp.log(jnp.maximum(x, 1)), x - 1)


def entropy_term(x):
    """x² log x, 0 at 0."""
    return x * x * jnp.log(jnp.where(x > 0, x, 1))


def log_cosh(x):
    return abs(x) + jnp.log1p(jnp.exp(-2 * abs(x)))


sigmoid = Operation(
    "unsafe", "sigmoid", jax.nn.sigmoid, lambda draw: (far(draw, 1, -1.0, 0.01, 0),)
)
softplus = Operation(
    "unsafe", "softplus", jax.nn.softplus, lambda draw: (far(draw, 1, -1.0, 0.01, 0),)
)
tanh = Operation("unsafe", "tanh", jnp.tanh, lambda draw: (far(draw, 1, -1.0, 0.02, 0.001),))
cosh = Operation("unsafe", "log cosh", log_cosh, lambda draw: (far(draw, 1, -1.0, 0.02, 0.01),))
softmax = Operation(
    "unsafe", "softmax", jax.nn.softmax, lambda draw: (far(draw, 1, 1.0, 0.999, 0.99),)
)
lse = Operation("unsafe", "logsumexp", log_sum, lambda draw: (far(draw, 1, 1.0, 0.99, 0),))
smooth = Operation("unsafe", "sinc", sinc, lambda draw: (draw.of([0, 1.2, -0.7, 2.5]),))
power = Operation("unsafe", "x^1.5", square_root, lambda draw: (draw.of([0, 1.2, 0.7, 2.5]),))
logs = Operation("unsafe", "log above 1", guarded_log, lambda draw: (draw.of([0, 1.5, 0.7, 2.5]),))
x2log = Operation("unsafe", "x² log x", entropy_term, lambda draw: (draw.of([0, 1.5, 0.7, 2.5]),))
times = Operation(
    "unsafe", "x^p at 0", jnp.power, lambda draw: (draw.of([0, 1.5, 0.7]), draw.of([2, 2, 3]))
)
norms = Operation(
    "unsafe",
    "norm of a masked row",
    lambda x, m: jnp.sum(jnp.where(m[:, None] > 0, x, 1) ** 2, axis=1) ** 0.5,
    lambda draw: (draw(3, 2).at[1].set(0), jnp.array([1, 0, 2])),
)
variance = Operation(
    "unsafe",
    "standardised constant",
    lambda x: (x - x.mean()) / jnp.sqrt(((x - x.mean()) ** 2).mean() + 1e-2),
    lambda draw: (draw.of([0.5] * 4),),
)


def masked_norm_rule(guard):
    def backward(d, x, m):
        row = x / guard(jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True)))
        return jnp.where(m[:, None] > 0, 1, 0) * d[:, None] * row, None

    return backward


def times_rule(log):
    return lambda d, x, p: (d * p * x ** (p - 1), d * x**p * log(x))


def through(p, d):
    return p * (d - jnp.sum(p * d))


def naive(z):
    return jnp.exp(z) / jnp.sum(jnp.exp(z))


WRONG = (
    sigmoid.wrong(
        "e⁻ˣ/(1 + e⁻ˣ)²",
        "non-finite",
        "args[0]",
        lambda d, x: (d * jnp.exp(-x) / (1 + jnp.exp(-x)) ** 2,),
        EXPONENT,
    ),
    sigmoid.wrong(
        "eˣ/(1 + eˣ)²",
        "non-finite",
        "args[0]",
        lambda d, x: (d * jnp.exp(x) / (1 + jnp.exp(x)) ** 2,),
        EXPONENT,
    ),
    softplus.wrong(
        "eˣ/(1 + eˣ)",
        "non-finite",
        "args[0]",
        lambda d, x: (d * jnp.exp(x) / (1 + jnp.exp(x)),),
        EXPONENT,
    ),
    tanh.wrong(
        "exponentials",
        "non-finite",
        "args[0]",
        lambda d, x: (d * (1 - ((jnp.exp(x) - jnp.exp(-x)) / (jnp.exp(x) + jnp.exp(-x))) ** 2),),
        EXPONENT,
    ),
    cosh.wrong(
        "sinh/cosh",
        "non-finite",
        "args[0]",
        lambda d, x: (d * jnp.sinh(x) / jnp.cosh(x),),
        EXPONENT,
    ),
    softmax.wrong(
        "maximum not subtracted",
        "non-finite",
        "args[0]",
        lambda d, z: (through(naive(z), d),),
        EXPONENT,
    ),
    lse.wrong(
        "maximum not subtracted", "non-finite", "args[0]", lambda d, z: (d * naive(z),), EXPONENT
    ),
    smooth.wrong(
        "(x cos x − sin x)/x²",
        "non-finite",
        "args[0]",
        lambda d, x: (d * (x * jnp.cos(x) - jnp.sin(x)) / x**2,),
    ),
    smooth.wrong(
        "where outside only",
        "non-finite",
        "args[0]",
        lambda d, x: (d * jnp.where(x == 0, 0, 1) * (jnp.cos(x) - jnp.sin(x) / x) / x,),
    ),
    power.wrong("1.5 y/x", "non-finite", "args[0]", lambda d, x: (1.5 * d * square_root(x) / x,)),
    logs.wrong(
        "mask times 1/x",
        "non-finite",
        "args[0]",
        lambda d, x: (d * ((x > 1).astype(x.dtype) * (1 / x) + (x <= 1)),),
    ),
    x2log.wrong(
        "2x log x + x", "non-finite", "args[0]", lambda d, x: (d * (2 * x * jnp.log(x) + x),)
    ),
    x2log.wrong(
        "2y/x + x", "non-finite", "args[0]", lambda d, x: (d * (2 * entropy_term(x) / x + x),)
    ),
    times.wrong("xᵖ log x at 0", "non-finite", "args[1]", times_rule(jnp.log)),
    times.wrong(
        "p y/x",
        "non-finite",
        "args[0]",
        lambda d, x, p: (d * p * x**p / x, d * x**p * jnp.log(jnp.where(x > 0, x, 1))),
    ),
    norms.wrong("0 · (0/0)", "non-finite", "args[0]", masked_norm_rule(lambda n: n)),
    variance.wrong(
        "variance without ε",
        "non-finite",
        "args[0]",
        lambda d, x: ((d - d.mean()) / jnp.sqrt(((x - x.mean()) ** 2).mean()),),
    ),
)

RIGHT = (
    sigmoid.right("s(x) s(−x)", lambda d, x: (d * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x),)),
    softplus.right("sigmoid", lambda d, x: (d * jax.nn.sigmoid(x),)),
    cosh.right("tanh", lambda d, x: (d * jnp.tanh(x),)),
    softmax.right("maximum subtracted", lambda d, z: (through(jax.nn.softmax(z), d),)),
    lse.right("softmax", lambda d, z: (d * jax.nn.softmax(z),)),
    lse.right_kept(
        "exp(z − y)",
        lambda z: (log_sum(z), (z, log_sum(z))),
        lambda kept, d: (d * jnp.exp(kept[0] - kept[1]),),
        WIDE,
    ),
    smooth.right("guarded", lambda d, x: (d * sinc_slope(x),)),
    power.right("1.5 √x", lambda d, x: (1.5 * d * jnp.sqrt(jnp.maximum(x, 0)),)),
    logs.right("1/max(x, 1)", lambda d, x: (d / jnp.maximum(x, 1),)),
    x2log.right("guarded", lambda d, x: (d * (2 * x * jnp.log(jnp.where(x > 0, x, 1)) + x),)),
    times.right("guarded log", times_rule(lambda x: jnp.log(jnp.where(x > 0, x, 1)))),
    norms.right("guarded root", masked_norm_rule(lambda n: jnp.where(n > 0, n, 1))),
    variance.right("with ε", lambda d, x: ((d - d.mean()) * 10,), FLOATS),
)

CASES = WRONG + RIGHT
