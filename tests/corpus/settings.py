"""Right rules in odd settings: inside transforms and each other, by what they keep, as tangents."""

import functools

import jax
import jax.numpy as jnp

from corpus.base import FLOATS, WIDE, Operation, with_residual, with_rule, with_tangent


def wave(x):
    return jnp.sin(x) * x


def wave_slope(x):
    return jnp.cos(x) * x + jnp.sin(x)


ruled = with_rule(wave, lambda d, x: (d * wave_slope(x),))
tangent_ruled = with_tangent(wave, lambda p, t: (wave(*p), t[0] * wave_slope(p[0])))
unit = with_rule(jnp.tanh, lambda d, x: (d * (1 - jnp.tanh(x) ** 2),))


def scanned(f, x):
    return jax.lax.scan(lambda h, _: (f(h), f(h)), x, None, length=3)


def looped(f, x):
    return jax.lax.fori_loop(0, 3, lambda i, h: f(h), x)


# how a function is used: setting(f) is a function of x
SETTINGS = {
    "jit": lambda f: jax.jit(f),
    "jit in jit": lambda f: jax.jit(lambda x: jax.jit(f)(x) + x),
    "scan": lambda f: functools.partial(scanned, f),
    "fori_loop": lambda f: functools.partial(looped, f),
    "cond": lambda f: lambda x: jax.lax.cond(jnp.sum(x) > -100, f, lambda t: t, x),
    "switch": lambda f: lambda x: jax.lax.switch(1, [lambda t: t, f, jnp.cos], x),
    "vmap": lambda f: lambda x: jax.vmap(f)(x.reshape(2, -1)),
    "vmap in vmap": lambda f: lambda x: jax.vmap(jax.vmap(f))(x.reshape(2, -1)),
    "checkpoint": lambda f: jax.checkpoint(f),
    "checkpoint of jit": lambda f: jax.checkpoint(jax.jit(lambda x: f(f(x)))),
    "used twice": lambda f: lambda x: f(x) + f(2 * x),
    "used and not": lambda f: lambda x: f(x) + x * x,
    "map": lambda f: lambda x: jax.lax.map(f, x),
    "composed": lambda f: lambda x: f(f(f(x))),
    "associative": lambda f: lambda x: jax.lax.associative_scan(jnp.add, f(x)),
    "gradient inside": lambda f: lambda x: x + jnp.cumsum(f(x)) * 0.1,
}


def in_setting(name, f, plain, what, dtypes=WIDE):
    wrap = SETTINGS[name]
    operation = Operation("settings", name, wrap(plain), lambda draw: (draw(6) * 0.6,))
    return operation.case(what, None, None, lambda: wrap(f), dtypes)


def nested(x):
    """A rule whose forward and backward call other rules."""
    return unit(ruled(x))


def nested_pull(x, d):
    by_unit = jax.vjp(unit, ruled(x))[1](d)[0]
    return jax.vjp(ruled, x)[1](by_unit)


def op(name, value, args=lambda draw: (draw(5),), dtypes=FLOATS):
    return Operation("settings", name, value, args, dtypes)


copied = op("copy", lambda x: x)
pair = op("x and 2x", lambda x: (x, 2 * x))
tanh = op("tanh", jnp.tanh)
product = op("x x", lambda x, y: x * y, lambda draw: (draw(4),) * 2)
affine = op("affine", lambda x, W: x @ W, lambda draw: (draw(4, 3), draw(3, 2)))

RESIDUALS = (
    tanh.right_kept(
        "only the output kept",
        lambda x: (jnp.tanh(x), jnp.tanh(x)),
        lambda y, d: (d * (1 - y * y),),
    ),
    tanh.right_kept(
        "output kept twice",
        lambda x: (lambda y: (y, (y, y)))(jnp.tanh(x)),
        lambda k, d: (d * (1 - k[0] * k[1]),),
    ),
    copied.right_kept("nothing kept", lambda x: (x, None), lambda k, d: (d,)),
    copied.right_kept("the output is the input, kept", lambda x: (x, x), lambda k, d: (d,)),
    pair.right_kept(
        "both outputs from one", lambda x: ((x, 2 * x), ()), lambda k, d: (d[0] + 2 * d[1],)
    ),
    product.right_kept(
        "the same array twice", lambda x, y: (x * y, (x, y)), lambda k, d: (d * k[1], d * k[0])
    ),
    affine.right_kept(
        "a dict kept",
        lambda x, W: (x @ W, {"x": x, "W": W}),
        lambda k, d: (d @ k["W"].T, k["x"].T @ d),
    ),
    affine.right_kept(
        "shape and integers kept",
        lambda x, W: (x @ W, (x, W, jnp.arange(3))),
        lambda k, d: (d @ k[1].T, k[0].T @ d),
    ),
    tanh.right_kept(
        "input changed and changed back",
        lambda x: (jnp.tanh(x), 2 * x),
        lambda k, d: (d * (1 - jnp.tanh(k / 2) ** 2),),
    ),
    tanh.right_kept(
        "the slope kept", lambda x: (jnp.tanh(x), 1 - jnp.tanh(x) ** 2), lambda k, d: (d * k,)
    ),
)

abs_jvp = op("abs", jnp.abs, lambda draw: (draw.of([1, -2, 0.5, 0]),))
JVP = (
    op("jvp softplus", jax.nn.softplus).right_jvp(
        "sigmoid", lambda p, t: (jax.nn.softplus(*p), t[0] * jax.nn.sigmoid(p[0]))
    ),
    op("jvp logsumexp", jax.nn.logsumexp).right_jvp(
        "softmax", lambda p, t: (jax.nn.logsumexp(*p), jnp.sum(t[0] * jax.nn.softmax(p[0])))
    ),
    op("jvp matmul", jnp.matmul, lambda draw: (draw(3, 4), draw(4, 2))).right_jvp(
        "two terms", lambda p, t: (p[0] @ p[1], t[0] @ p[1] + p[0] @ t[1])
    ),
    op("jvp quotient", jnp.divide, lambda draw: (draw(4), draw.between(1, 2, 4))).right_jvp(
        "quotient rule", lambda p, t: (p[0] / p[1], (t[0] - p[0] / p[1] * t[1]) / p[1])
    ),
    op("jvp of two outputs", lambda x: (jnp.sin(x), jnp.cos(x))).right_jvp(
        "cos and −sin",
        lambda p, t: (
            (jnp.sin(p[0]), jnp.cos(p[0])),
            (t[0] * jnp.cos(p[0]), -t[0] * jnp.sin(p[0])),
        ),
    ),
    abs_jvp.right_jvp("1 at 0", lambda p, t: (abs(p[0]), t[0] * jnp.where(p[0] >= 0, 1, -1))),
    op("jvp norm", lambda x: jnp.sqrt(jnp.sum(x * x))).right_jvp(
        "x·t/‖x‖",
        lambda p, t: (
            jnp.sqrt(jnp.sum(p[0] * p[0])),
            jnp.vdot(p[0], t[0]) / jnp.sqrt(jnp.sum(p[0] * p[0])),
        ),
    ),
)

NESTED = (
    op("nested", lambda x: jnp.tanh(wave(x)), dtypes=WIDE).case(
        "rules called in the backward",
        None,
        None,
        lambda: with_residual(nested, lambda x: (nested(x), x), nested_pull),
    ),
    op("rule of a rule", lambda x: jnp.tanh(jnp.tanh(x)), dtypes=WIDE).case(
        "forward calls a rule",
        None,
        None,
        lambda: with_rule(
            lambda x: unit(unit(x)),
            lambda d, x: (d * (1 - jnp.tanh(x) ** 2) * (1 - jnp.tanh(jnp.tanh(x)) ** 2),),
        ),
    ),
)

CASES = (
    *(in_setting(name, ruled, wave, "a custom_vjp") for name in SETTINGS),
    *(
        in_setting(name, tangent_ruled, wave, "a custom_jvp")
        for name in ("jit", "scan", "cond", "vmap", "checkpoint")
    ),
    *RESIDUALS,
    *JVP,
    *NESTED,
)
