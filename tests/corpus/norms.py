"""Softmax, logsumexp and the normalisations: rules whose correction terms get lost."""

import jax
import jax.numpy as jnp

from corpus.base import Operation

EPS = 1e-3


def mean(x, axis=-1):
    return jnp.mean(x, axis=axis, keepdims=True)


def total(x, axis=-1):
    return jnp.sum(x, axis=axis, keepdims=True)


def scale_of(x, axis=-1):
    """1/√(variance + ε)."""
    return jax.lax.rsqrt(mean((x - mean(x, axis)) ** 2, axis) + EPS)


def layer_norm(x, gamma, beta):
    return (x - mean(x)) * scale_of(x) * gamma + beta


def batch_norm(x, gamma, beta):
    return (x - mean(x, 0)) * scale_of(x, 0) * gamma + beta


def rms_norm(x, gamma):
    return x * jax.lax.rsqrt(mean(x * x) + EPS) * gamma


def unit(x):
    return x / jnp.sqrt(total(x * x))


def parts(x, axis=-1):
    """x̂ and 1/σ."""
    s = scale_of(x, axis)
    return (x - mean(x, axis)) * s, s


def norm_rule(axis, grad_x, of_gamma=lambda d, xhat: (d * xhat).sum(0), of_beta=lambda d: d.sum(0)):
    """The rule of layer or batch norm, with grad_x(∇x̂, x̂, 1/σ) for x."""

    def backward(d, x, gamma, beta):
        xhat, s = parts(x, axis)
        return grad_x(d * gamma, xhat, s), of_gamma(d, xhat), of_beta(d)

    return backward


def full(axis):
    """∇x = (∇x̂ − mean ∇x̂ − x̂ mean(∇x̂ x̂)) / σ."""
    return lambda t, xhat, s: s * (t - mean(t, axis) - xhat * mean(t * xhat, axis))


softmax = Operation("norms", "softmax", jax.nn.softmax, lambda draw: (draw(4, 5),))
log_softmax = Operation("norms", "log_softmax", jax.nn.log_softmax, lambda draw: (draw(4, 5),))
lse = Operation(
    "norms", "logsumexp", lambda z: jax.nn.logsumexp(z, axis=-1), lambda draw: (draw(4, 5),)
)
layer = Operation(
    "norms", "layer norm", layer_norm, lambda draw: (draw(5, 6), 1 + 0.3 * draw(6), draw(6))
)
batch = Operation(
    "norms", "batch norm", batch_norm, lambda draw: (draw(6, 4), 1 + 0.3 * draw(4), draw(4))
)
rms = Operation("norms", "rms norm", rms_norm, lambda draw: (draw(5, 6), 1 + 0.3 * draw(6)))
normalise = Operation("norms", "unit vectors", unit, lambda draw: (draw(4, 3),))
euclid = Operation("norms", "2-norm", lambda x: jnp.sqrt(jnp.sum(x * x)), lambda draw: (draw(6),))
sm = jax.nn.softmax

SOFTMAX = (
    softmax.wrong("diagonal only", "wrong", "args[0]", lambda d, z: (d * sm(z) * (1 - sm(z)),)),
    softmax.wrong("no correction", "wrong", "args[0]", lambda d, z: (d * sm(z),)),
    softmax.wrong("p · (d − Σ d)", "wrong", "args[0]", lambda d, z: (sm(z) * (d - total(d)),)),
    softmax.wrong(
        "summed over the batch",
        "wrong",
        "args[0]",
        lambda d, z: (sm(z) * (d - total(d * sm(z), 0)),),
    ),
    softmax.wrong("negative", "sign", "args[0]", lambda d, z: (sm(z) * (total(d * sm(z)) - d),)),
    softmax.wrong(
        "the input for the output", "wrong", "args[0]", lambda d, z: (z * (d - total(d * z)),)
    ),
    softmax.wrong(
        "over the classes", "scaled", "args[0]", lambda d, z: (sm(z) * (d - total(d * sm(z))) / 5,)
    ),
    softmax.right("textbook", lambda d, z: (sm(z) * (d - total(d * sm(z))),)),
    log_softmax.wrong("d − p", "wrong", "args[0]", lambda d, z: (d - sm(z),)),
    log_softmax.wrong("d (1 − p)", "wrong", "args[0]", lambda d, z: (d * (1 - sm(z)),)),
    log_softmax.wrong(
        "the softmax rule", "wrong", "args[0]", lambda d, z: (sm(z) * (d - total(d * sm(z))),)
    ),
    log_softmax.right("textbook", lambda d, z: (d - sm(z) * total(d),)),
    lse.wrong(
        "one-hot of the maximum",
        "wrong",
        "args[0]",
        lambda d, z: (d[:, None] * jax.nn.one_hot(z.argmax(-1), 5, dtype=z.dtype),),
    ),
    lse.wrong(
        "softmax over the batch", "wrong", "args[0]", lambda d, z: (d[:, None] * sm(z, axis=0),)
    ),
    lse.wrong("exp(z)", "wrong", "args[0]", lambda d, z: (d[:, None] * jnp.exp(z),)),
    lse.wrong("cotangent forgotten", "ignores-cotangent", "args[0]", lambda d, z: (sm(z),)),
    lse.right("softmax", lambda d, z: (d[:, None] * sm(z),)),
)

LAYERS = (
    layer.wrong("σ only", "wrong", "args[0]", norm_rule(-1, lambda t, h, s: s * t)),
    layer.wrong(
        "mean term lost",
        "wrong",
        "args[0]",
        norm_rule(-1, lambda t, h, s: s * (t - h * mean(t * h))),
    ),
    layer.wrong(
        "variance term lost", "wrong", "args[0]", norm_rule(-1, lambda t, h, s: s * (t - mean(t)))
    ),
    layer.wrong(
        "σ for 1/σ", "wrong", "args[0]", norm_rule(-1, lambda t, h, s: full(-1)(t, h, 1 / s))
    ),
    layer.wrong("terms over the batch", "wrong", "args[0]", norm_rule(-1, full(0))),
    layer.wrong(
        "γ not applied",
        "wrong",
        "args[0]",
        lambda d, x, g, b: (full(-1)(d, *parts(x)), (d * parts(x)[0]).sum(0), d.sum(0)),
    ),
    layer.wrong(
        "∇γ with x for x̂",
        "wrong",
        "args[1]",
        lambda d, x, g, b: (full(-1)(d * g, *parts(x)), (d * x).sum(0), d.sum(0)),
    ),
    layer.wrong(
        "∇γ of the first row",
        "missing-sum",
        "args[1]",
        norm_rule(-1, full(-1), lambda d, h: (d * h)[0]),
    ),
    layer.wrong("∇γ is ∇β", "wrong", "args[1]", norm_rule(-1, full(-1), lambda d, h: d.sum(0))),
    layer.wrong(
        "∇γ and ∇β swapped",
        "swapped",
        "args[1]",
        lambda d, x, g, b: (full(-1)(d * g, *parts(x)), d.sum(0), (d * parts(x)[0]).sum(0)),
    ),
    layer.wrong(
        "∇β a mean", "scaled", "args[2]", norm_rule(-1, full(-1), of_beta=lambda d: d.mean(0))
    ),
    layer.wrong("∇β zero", "zero", "args[2]", norm_rule(-1, full(-1), of_beta=lambda d: 0 * d[0])),
    layer.right("three terms", norm_rule(-1, full(-1))),
    batch.wrong("statistics as constants", "wrong", "args[0]", norm_rule(0, lambda t, h, s: s * t)),
    batch.wrong(
        "mean term lost",
        "wrong",
        "args[0]",
        norm_rule(0, lambda t, h, s: s * (t - h * mean(t * h, 0))),
    ),
    batch.wrong(
        "sum for mean",
        "wrong",
        "args[0]",
        norm_rule(0, lambda t, h, s: s * (t - total(t, 0) - h * total(t * h, 0))),
    ),
    batch.wrong(
        "N − 1",
        "wrong",
        "args[0]",
        norm_rule(0, lambda t, h, s: s * (t - mean(t, 0) - h * total(t * h, 0) / 5)),
    ),
    batch.wrong(
        "∇γ over N", "scaled", "args[1]", norm_rule(0, full(0), lambda d, h: (d * h).mean(0))
    ),
    batch.wrong(
        "∇β of one row", "missing-sum", "args[2]", norm_rule(0, full(0), of_beta=lambda d: d[-1])
    ),
    batch.right("three terms", norm_rule(0, full(0))),
)


def rms_rule(grad_x, of_gamma=lambda d, xhat: (d * xhat).sum(0)):
    """grad_x(∇x̂, x̂, 1/rms)."""

    def backward(d, x, gamma):
        s = jax.lax.rsqrt(mean(x * x) + EPS)
        return grad_x(d * gamma, x * s, s), of_gamma(d, x * s)

    return backward


def rms_full(t, xhat, s):
    return s * (t - xhat * mean(t * xhat))


def radial(x, d):
    u = unit(x)
    return u * total(u * d)


OTHERS = (
    rms.wrong("rms as a constant", "wrong", "args[0]", rms_rule(lambda t, h, s: s * t)),
    rms.wrong(
        "sum for mean", "wrong", "args[0]", rms_rule(lambda t, h, s: s * (t - h * total(t * h)))
    ),
    rms.wrong(
        "sign of the correction",
        "wrong",
        "args[0]",
        rms_rule(lambda t, h, s: s * (t + h * mean(t * h))),
    ),
    rms.wrong(
        "∇γ first row", "missing-sum", "args[1]", rms_rule(rms_full, lambda d, h: (d * h)[0])
    ),
    rms.wrong("∇γ negative", "sign", "args[1]", rms_rule(rms_full, lambda d, h: -(d * h).sum(0))),
    rms.right("two terms", rms_rule(rms_full)),
    normalise.wrong(
        "norm as a constant", "wrong", "args[0]", lambda d, x: (d / jnp.sqrt(total(x * x)),)
    ),
    normalise.wrong(
        "radial part only",
        "wrong",
        "args[0]",
        lambda d, x: (radial(x, d) / jnp.sqrt(total(x * x)),),
    ),
    normalise.wrong("not divided", "wrong", "args[0]", lambda d, x: (d - radial(x, d),)),
    normalise.right("projected", lambda d, x: ((d - radial(x, d)) / jnp.sqrt(total(x * x)),)),
    euclid.wrong("x, not x/‖x‖", "scaled", "args[0]", lambda d, x: (d * x,)),
    euclid.wrong(
        "2x/‖x‖", "scaled", "args[0]", lambda d, x: (2 * d * x / jnp.sqrt(jnp.sum(x * x)),)
    ),
    euclid.wrong("sign(x)", "wrong", "args[0]", lambda d, x: (d * jnp.sign(x),)),
    euclid.right("x/‖x‖", lambda d, x: (d * x / jnp.sqrt(jnp.sum(x * x)),)),
)

CASES = SOFTMAX + LAYERS + OTHERS
