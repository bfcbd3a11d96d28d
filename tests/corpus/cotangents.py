"""Rules that forget the cotangent, or are not linear in it: clipped, normalised, gated."""

import jax
import jax.numpy as jnp

from corpus.base import Operation


def scalar(x):
    return jnp.sum(jnp.sin(x))


def pair(x, W):
    return jnp.tanh(x @ W)


def pair_rule(change, of_W=None):
    """The rule of tanh(x W) with change(d) in d's place, for W too unless of_W says otherwise."""

    def backward(d, x, W):
        y = pair(x, W)
        slope = 1 - y * y
        by_W = (of_W or change)(d)
        return (change(d) * slope) @ W.T, x.T @ (by_W * slope)

    return backward


def same(d):
    return d


def unit(d):
    return d / jnp.sqrt(jnp.sum(d * d))


sums = Operation("cotangents", "Σ sin", scalar, lambda draw: (draw(6),))
identity = Operation("cotangents", "identity", lambda x: x, lambda draw: (draw(6),))
layer = Operation("cotangents", "tanh layer", pair, lambda draw: (draw(4, 3), draw(3, 3)))
relu = Operation("cotangents", "relu", jax.nn.relu, lambda draw: (draw(8),))
square = Operation("cotangents", "Σ x²", lambda x: jnp.sum(x * x), lambda draw: (draw(5),))
mean = Operation("cotangents", "mean", jnp.mean, lambda draw: (draw(7),))
dot = Operation("cotangents", "dot", jnp.dot, lambda draw: (draw(5), draw(5)))
exp = Operation("cotangents", "exp", jnp.exp, lambda draw: (draw(6),))
norm = Operation("cotangents", "‖x‖²/2", lambda x: jnp.sum(x * x) / 2, lambda draw: (draw(4, 3),))

IGNORES = (
    sums.wrong("cos x", "ignores-cotangent", "args[0]", lambda d, x: (jnp.cos(x),)),
    square.wrong("2x", "ignores-cotangent", "args[0]", lambda d, x: (2 * x,)),
    mean.wrong("1/N", "ignores-cotangent", "args[0]", lambda d, x: (jnp.full_like(x, 1 / 7),)),
    dot.wrong("∇x = y", "ignores-cotangent", "args[0]", lambda d, x, y: (y, d * x)),
    dot.wrong("∇y = x", "ignores-cotangent", "args[1]", lambda d, x, y: (d * y, x)),
    dot.wrong("both", "ignores-cotangent", None, lambda d, x, y: (y, x)),
    exp.wrong("exp x", "ignores-cotangent", "args[0]", lambda d, x: (jnp.exp(x),)),
    relu.wrong("the mask", "ignores-cotangent", "args[0]", lambda d, x: ((x > 0).astype(x.dtype),)),
    identity.wrong("ones", "ignores-cotangent", "args[0]", lambda d, x: (jnp.ones_like(x),)),
    layer.wrong("∇W for ones", "ignores-cotangent", "args[1]", pair_rule(same, jnp.ones_like)),
    layer.wrong("∇ for ones", "ignores-cotangent", None, pair_rule(jnp.ones_like)),
    norm.wrong("x", "ignores-cotangent", "args[0]", lambda d, x: (x,)),
)

NONLINEAR = (
    identity.wrong(
        "clipped", "nonlinear-cotangent", "args[0]", lambda d, x: (jnp.clip(d, -0.3, 0.3),)
    ),
    identity.wrong("squared", "nonlinear-cotangent", "args[0]", lambda d, x: (d * d,)),
    identity.wrong("sign", "nonlinear-cotangent", "args[0]", lambda d, x: (jnp.sign(d),)),
    identity.wrong("absolute", "nonlinear-cotangent", "args[0]", lambda d, x: (abs(d),)),
    identity.wrong("normalised", "nonlinear-cotangent", "args[0]", lambda d, x: (unit(d),)),
    identity.wrong("tanh", "nonlinear-cotangent", "args[0]", lambda d, x: (jnp.tanh(d),)),
    identity.wrong("plus a constant", "nonlinear-cotangent", "args[0]", lambda d, x: (d + 0.1,)),
    identity.wrong(
        "weight decay added", "nonlinear-cotangent", "args[0]", lambda d, x: (d + 0.5 * x,)
    ),
    identity.wrong(
        "largest only",
        "nonlinear-cotangent",
        "args[0]",
        lambda d, x: (jnp.where(abs(d) == abs(d).max(), d, 0),),
    ),
    relu.wrong(
        "guided: negative cotangents dropped",
        "nonlinear-cotangent",
        "args[0]",
        lambda d, x: (jnp.where((x > 0) & (d > 0), d, 0),),
    ),
    layer.wrong(
        "∇W clipped",
        "nonlinear-cotangent",
        "args[1]",
        pair_rule(same, lambda d: jnp.clip(d, -0.2, 0.2)),
    ),
    layer.wrong(
        "norm clipped to 1",
        "nonlinear-cotangent",
        "args[0]",
        pair_rule(lambda d: d / jnp.maximum(1, jnp.sqrt(jnp.sum(d * d)))),
    ),
    layer.wrong(
        "small cotangents cut",
        "nonlinear-cotangent",
        "args[0]",
        pair_rule(lambda d: jnp.where(abs(d) > 0.7, d, 0)),
    ),
    layer.wrong(
        "rounded", "nonlinear-cotangent", "args[0]", pair_rule(lambda d: jnp.round(d * 4) / 4)
    ),
    dot.wrong(
        "cotangent twice", "nonlinear-cotangent", "args[1]", lambda d, x, y: (d * y, d * d * x)
    ),
    sums.wrong(
        "clipped at a tenth",
        "nonlinear-cotangent",
        "args[0]",
        lambda d, x: (jnp.clip(d, -0.1, 0.1) * jnp.cos(x),),
    ),
)

RIGHT = (
    identity.right("d", lambda d, x: (d,)),
    identity.right(
        "d in two parts", lambda d, x: (jnp.where(d > 0, d, 0) + jnp.where(d <= 0, d, 0),)
    ),
    identity.right("|d| sign(d)", lambda d, x: (abs(d) * jnp.sign(d),)),
    identity.right("clipped far away", lambda d, x: (jnp.clip(d, -1e4, 1e4),)),
    layer.right("textbook", pair_rule(same)),
    layer.right("divided and multiplied by 4", pair_rule(lambda d: d / 4 * 4)),
    sums.right("textbook", lambda d, x: (d * jnp.cos(x),)),
    mean.right("full", lambda d, x: (jnp.full_like(x, 1 / 7) * d,)),
    dot.right("textbook", lambda d, x, y: (d * y, d * x)),
    norm.right("textbook", lambda d, x: (d * x,)),
)

CASES = IGNORES + NONLINEAR + RIGHT
