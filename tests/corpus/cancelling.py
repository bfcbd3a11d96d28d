"""Right rules whose true gradient cancels, is zero, or belongs to an unused argument."""

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

CANCELS = (
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

stop = jax.lax.stop_gradient
first = Operation(
    "cancelling", "second argument unused", lambda x, y: jnp.sin(x), lambda draw: (draw(5), draw(3))
)
none = Operation(
    "cancelling", "constant output", lambda x: jnp.ones_like(x), lambda draw: (draw(5),)
)
rounded = Operation("cancelling", "round", jnp.round, lambda draw: (draw.between(0.1, 0.4, 5) + 3,))
floor = Operation("cancelling", "floor", jnp.floor, lambda draw: (draw.between(0.1, 0.9, 5),))
sign = Operation("cancelling", "sign", jnp.sign, lambda draw: (draw.of([1, -2, 0.5]),))
stopped = Operation(
    "cancelling",
    "stop_gradient inside",
    lambda x, y: x * stop(y) + y,
    lambda draw: (draw(5), draw(5)),
)
sliced = Operation(
    "cancelling", "part of an argument", lambda x: x[1:3] ** 2, lambda draw: (draw(6),)
)
tree = Operation(
    "cancelling",
    "unused leaves of a tree",
    lambda p, x: x * p["used"],
    lambda draw: ({"used": draw(3), "idle": (draw(2), draw(2, 2))}, draw(3)),
)
empty = Operation(
    "cancelling",
    "integer argument unused",
    lambda x, i: x * 2,
    lambda draw: (draw(4), jnp.arange(3)),
)
masked = Operation(
    "cancelling",
    "all masked",
    lambda x, m: jnp.where(m, x, 0),
    lambda draw: (draw(4), jnp.zeros(4, bool)),
)
one_used = Operation(
    "cancelling",
    "where of a constant",
    lambda x, y: jnp.where(x > -100, x, y),
    lambda draw: (draw(4), draw(4)),
)
dead = Operation(
    "cancelling",
    "dead relu",
    lambda x, W: jax.nn.relu(x @ W - 100),
    lambda draw: (draw(3, 2), draw(2, 2)),
)

UNUSED = (
    first.right("zeros", lambda d, x, y: (d * jnp.cos(x), jnp.zeros_like(y))),
    first.right("None", lambda d, x, y: (d * jnp.cos(x), None)),
    none.right("zeros", lambda d, x: (jnp.zeros_like(x),)),
    none.right("None", lambda d, x: (None,)),
    rounded.right("zeros", lambda d, x: (jnp.zeros_like(x),)),
    floor.right("None", lambda d, x: (None,)),
    sign.right("zeros", lambda d, x: (0 * d,)),
    sliced.right("padded", lambda d, x: (jnp.zeros_like(x).at[1:3].set(2 * d * x[1:3]),)),
    tree.right(
        "zeros for idle leaves",
        lambda d, p, x: (
            {"used": d * x, "idle": (0 * p["idle"][0], 0 * p["idle"][1])},
            d * p["used"],
        ),
    ),
    tree.right(
        "None for the idle subtree", lambda d, p, x: ({"used": d * x, "idle": None}, d * p["used"])
    ),
    empty.right("None for integers", lambda d, x, i: (2 * d, None)),
    masked.right("zeros", lambda d, x, m: (jnp.where(m, d, 0), None)),
    one_used.right("zeros", lambda d, x, y: (d, 0 * d)),
    dead.right(
        "through the mask",
        lambda d, x, W: (jnp.where(x @ W > 100, d, 0) @ W.T, x.T @ jnp.where(x @ W > 100, d, 0)),
    ),
)

# broadcast operands: the cotangent is summed over the axes that were stretched
added = Operation("cancelling", "row plus column", jnp.add, lambda draw: (draw(1, 4), draw(3, 1)))
times = Operation(
    "cancelling", "number times matrix", jnp.multiply, lambda draw: (draw.of(1.7), draw(3, 4))
)
outer = Operation(
    "cancelling", "row times column", jnp.multiply, lambda draw: (draw(1, 4), draw(3, 1))
)
missing = Operation("cancelling", "matrix plus row", jnp.add, lambda draw: (draw(3, 4), draw(4)))
divided = Operation(
    "cancelling",
    "matrix over column",
    jnp.divide,
    lambda draw: (draw(3, 4), draw.between(0.5, 2, 3, 1)),
)
spread = Operation(
    "cancelling", "broadcast_to", lambda x: jnp.broadcast_to(x, (5, 3)), lambda draw: (draw(3),)
)

BROADCAST = (
    added.right(
        "summed, axes kept", lambda d, x, y: (d.sum(0, keepdims=True), d.sum(1, keepdims=True))
    ),
    times.right("summed to a number", lambda d, k, x: (jnp.sum(d * x), d * k)),
    times.right("as a dot product", lambda d, k, x: (jnp.vdot(d, x), d * k)),
    outer.right(
        "summed, axes kept",
        lambda d, x, y: ((d * y).sum(0, keepdims=True), (d * x).sum(1, keepdims=True)),
    ),
    missing.right("summed over rows", lambda d, x, y: (d, d.sum(0))),
    divided.right("quotient rule", lambda d, x, y: (d / y, -(d * x / y**2).sum(1, keepdims=True))),
    spread.right("summed", lambda d, x: (d.sum(0),)),
)

CASES = CANCELS + UNUSED + BROADCAST
