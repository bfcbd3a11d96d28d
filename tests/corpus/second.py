"""Rules with a right first derivative and a wrong second one.

The first derivative is computed by something that differentiates wrongly itself: a stopped
gradient, a constant, another rule with a mistake.
"""

import jax
import jax.numpy as jnp

from corpus.base import WIDE, Operation, with_rule

stop = jax.lax.stop_gradient


def polynomial(x):
    return x**3 + x * x


def layer(x, W):
    return jnp.sum(jnp.tanh(x @ W), axis=-1)


def slope(x):
    return 3 * x * x + 2 * x


def pull(d, x, W):
    a = (1 - jnp.tanh(x @ W) ** 2) * d[:, None]
    return a @ W.T, x.T @ a


# the derivatives of each function, with a wrong derivative of their own
wrong_slope = with_rule(slope, lambda d, x: (d * 6 * x,))
negative_cos = with_rule(jnp.cos, lambda d, x: (d * jnp.sin(x),))
detached_exp = with_rule(jnp.exp, lambda d, x: (0 * x,))
doubled_sigmoid = with_rule(
    jax.nn.sigmoid, lambda d, x: (2 * d * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x),)
)

cubic = Operation("second order", "x³ + x²", polynomial, lambda draw: (draw(5),), WIDE)
sin = Operation("second order", "sin", jnp.sin, lambda draw: (draw(5),), WIDE)
exp = Operation("second order", "exp", jnp.exp, lambda draw: (draw(5),), WIDE)
softplus = Operation("second order", "softplus", jax.nn.softplus, lambda draw: (draw(5),), WIDE)
net = Operation("second order", "tanh layer", layer, lambda draw: (draw(4, 3), draw(3, 3)), WIDE)
logs = Operation("second order", "log", jnp.log, lambda draw: (draw.between(0.5, 2, 5),), WIDE)
product = Operation("second order", "x y", jnp.multiply, lambda draw: (draw(5), draw(5)), WIDE)


def kept_output(x):
    """exp by its own output, kept as a constant."""
    return jnp.exp(x), stop(jnp.exp(x))


CASES = (
    cubic.wrong(
        "stopped derivative", "second-order", "args[0]", lambda d, x: (d * stop(slope(x)),)
    ),
    cubic.wrong(
        "derivative with a wrong rule",
        "second-order",
        "args[0]",
        lambda d, x: (d * wrong_slope(x),),
    ),
    cubic.wrong(
        "half stopped", "second-order", "args[0]", lambda d, x: (d * (3 * x * stop(x) + 2 * x),)
    ),
    cubic.wrong("stopped cotangent", "second-order", "args[0]", lambda d, x: (stop(d) * slope(x),)),
    sin.wrong(
        "cos with a wrong sign of its own",
        "second-order",
        "args[0]",
        lambda d, x: (d * negative_cos(x),),
    ),
    sin.wrong_jvp(
        "stopped tangent",
        "second-order",
        "args[0]",
        lambda p, t: (jnp.sin(p[0]), t[0] * stop(jnp.cos(p[0]))),
    ),
    exp.wrong_kept(
        "output kept as a constant", "second-order", "args[0]", kept_output, lambda y, d: (d * y,)
    ),
    exp.wrong(
        "exp that is detached", "second-order", "args[0]", lambda d, x: (d * detached_exp(x),)
    ),
    exp.wrong_jvp(
        "tangent with a detached exp",
        "second-order",
        "args[0]",
        lambda p, t: (jnp.exp(p[0]), t[0] * detached_exp(p[0])),
    ),
    softplus.wrong(
        "sigmoid twice as steep", "second-order", "args[0]", lambda d, x: (d * doubled_sigmoid(x),)
    ),
    softplus.wrong_jvp(
        "sigmoid twice as steep in the tangent",
        "second-order",
        "args[0]",
        lambda p, t: (jax.nn.softplus(p[0]), t[0] * doubled_sigmoid(p[0])),
    ),
    net.wrong("x stopped", "second-order", None, lambda d, x, W: pull(d, stop(x), W)),
    net.wrong("W stopped", "second-order", None, lambda d, x, W: pull(d, x, stop(W))),
    net.wrong("both stopped", "second-order", None, lambda d, x, W: pull(d, stop(x), stop(W))),
    logs.wrong("1/x stopped", "second-order", "args[0]", lambda d, x: (d * stop(1 / x),)),
    product.wrong("y stopped", "second-order", None, lambda d, x, y: (d * stop(y), d * x)),
    cubic.right("differentiable derivative", lambda d, x: (d * slope(x),)),
    sin.right("cos", lambda d, x: (d * jnp.cos(x),)),
    sin.right_jvp("cos in the tangent", lambda p, t: (jnp.sin(p[0]), t[0] * jnp.cos(p[0]))),
    exp.right("exp", lambda d, x: (d * jnp.exp(x),)),
    net.right("textbook", pull),
    logs.right("1/x", lambda d, x: (d / x,)),
    product.right("crossed over", lambda d, x, y: (d * y, d * x)),
    softplus.right("sigmoid", lambda d, x: (d * jax.nn.sigmoid(x),)),
)
