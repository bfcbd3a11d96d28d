"""Right rules whose true gradient cancels, to zero or nearly."""

import jax
import jax.numpy as jnp

from corpus.base import WIDE, Operation


def entropy(h, W, b, y):
    """Softmax cross-entropy; a shift common to all logits changes nothing."""
    return -jnp.sum(y * jax.nn.log_softmax(h @ W + b[0])) / len(y)


def entropy_rule(of_b):
    def backward(d, h, W, b, y):
        z = h @ W + b[0]
        a = d * (jax.nn.softmax(z) - y) / len(y)
        return a @ W.T, h.T @ a, of_b(a)[None], -d * jax.nn.log_softmax(z) / len(y)

    return backward


def centred(x, b):
    """Layer norm of x + b, b one number: it cancels."""
    t = x + b
    t = t - t.mean(-1, keepdims=True)
    return t * jax.lax.rsqrt((t * t).mean(-1, keepdims=True) + 1e-3)


def centred_pull(d, x):
    t = x - x.mean(-1, keepdims=True)
    s = jax.lax.rsqrt((t * t).mean(-1, keepdims=True) + 1e-3)
    h = t * s
    return s * (d - d.mean(-1, keepdims=True) - h * (d * h).mean(-1, keepdims=True))


def centred_rule(of_b):
    def backward(d, x, b):
        g = centred_pull(d, x)
        return g, of_b(g)

    return backward


def batch_normed(x, b):
    """x + b with the mean over the batch taken away: b cancels."""
    return (x + b) - (x + b).mean(0)


def batch_rule(of_b):
    def backward(d, x, b):
        g = d - d.mean(0)
        return g, of_b(g)

    return backward


def attention_shift(q, k, b):
    """softmax(q (k + b)ᵀ): b shifts each row of scores by a constant."""
    return jax.nn.softmax(q @ (k + b).T)


def attention_rule(of_b):
    def backward(d, q, k, b):
        P = attention_shift(q, k, b)
        s = P * (d - jnp.sum(P * d, -1, keepdims=True))
        return s @ (k + b), s.T @ q, of_b(s.T @ q)

    return backward


shift = Operation(
    "cancelling",
    "bias before softmax",
    entropy,
    lambda draw: (draw(6, 3), draw(3, 4), draw(1), draw.one_hot(6, 4)),
)
layer = Operation(
    "cancelling", "shift before layer norm", centred, lambda draw: (draw(4, 6), draw.of(0.3))
)
batch = Operation(
    "cancelling", "bias before batch norm", batch_normed, lambda draw: (draw(6, 3), draw(3))
)
keys = Operation(
    "cancelling",
    "bias of the keys",
    attention_shift,
    lambda draw: (draw(4, 3), draw(5, 3), draw(3)),
)
simplex = Operation(
    "cancelling", "Σ softmax", lambda z: jax.nn.softmax(z).sum(-1), lambda draw: (draw(4, 5),)
)
ratio = Operation("cancelling", "x/x", lambda x: x / x, lambda draw: (draw.between(0.5, 2, 6),))
circle = Operation(
    "cancelling",
    "sin² + cos²",
    lambda x: jnp.sin(x) ** 2 + jnp.cos(x) ** 2,
    lambda draw: (draw(6),),
)
minimum = Operation(
    "cancelling",
    "at the minimum",
    lambda p, y: jnp.sum((p - y) ** 2),
    lambda draw: (draw.of([1, 2, 3]), draw.of([1, 2, 3])),
)
saddle = Operation(
    "cancelling",
    "x y at 0",
    lambda x, y: jnp.sum(x * y),
    lambda draw: (draw.of([0, 0]), draw.of([0, 0])),
)
near = Operation(
    "cancelling",
    "near the minimum",
    lambda p, y: jnp.sum((p - y) ** 2),
    lambda draw: (1 + draw(5) * 1e-2, draw.of([1] * 5)),
)
difference = Operation(
    "cancelling",
    "difference of sums",
    lambda x: x.sum() - x.sum(0).sum(),
    lambda draw: (draw(4, 3),),
)

CASES = (
    shift.right("summed", entropy_rule(jnp.sum), WIDE),
    shift.right("zero", entropy_rule(lambda a: jnp.zeros((), a.dtype))),
    layer.right("summed", centred_rule(jnp.sum), WIDE),
    layer.right("zero", centred_rule(lambda g: jnp.zeros((), g.dtype))),
    batch.right("summed", batch_rule(lambda g: g.sum(0)), WIDE),
    batch.right("zero", batch_rule(lambda g: 0 * g[0])),
    keys.right("summed", attention_rule(lambda g: g.sum(0)), WIDE),
    keys.right("zero", attention_rule(lambda g: 0 * g[0])),
    simplex.right("zero", lambda d, z: (jnp.zeros_like(z),)),
    simplex.right(
        "p (d − Σ p d)",
        lambda d, z: (
            jax.nn.softmax(z)
            * (d[:, None] - jnp.sum(jax.nn.softmax(z) * d[:, None], -1, keepdims=True)),
        ),
        WIDE,
    ),
    ratio.right("zero", lambda d, x: (jnp.zeros_like(x),)),
    ratio.right("1/x − x/x²", lambda d, x: (d / x - d * x / (x * x),), WIDE),
    circle.right("zero", lambda d, x: (jnp.zeros_like(x),)),
    circle.right(
        "2 s c − 2 c s",
        lambda d, x: (2 * d * jnp.sin(x) * jnp.cos(x) - 2 * d * jnp.cos(x) * jnp.sin(x),),
    ),
    minimum.right("2 (p − y)", lambda d, p, y: (2 * d * (p - y), 2 * d * (y - p))),
    saddle.right("crossed over", lambda d, x, y: (d * y, d * x)),
    near.right("2 (p − y)", lambda d, p, y: (2 * d * (p - y), 2 * d * (y - p))),
    difference.right("zero", lambda d, x: (jnp.zeros_like(x),)),
)
