"""Losses: the mean over N examples forgotten, a factor 2, a sign, the wrong argument."""

import jax
import jax.numpy as jnp

from corpus.base import Operation


def softmax(z):
    return jax.nn.softmax(z, axis=-1)


def mean_squares(yhat, y):
    """(1/N) Σ_i Σ_j (ŷ_ij − y_ij)²."""
    return jnp.sum((yhat - y) ** 2) / len(y)


def cross_entropy(z, y):
    """−(1/N) Σ_i Σ_c y_ic log softmax(z)_ic."""
    return -jnp.sum(y * jax.nn.log_softmax(z)) / len(y)


def binary(z, y):
    """The mean of log(1 + e^z) − y z."""
    return jnp.mean(jax.nn.softplus(z) - y * z)


def huber(r):
    return jnp.sum(jnp.where(abs(r) < 1, 0.5 * r * r, abs(r) - 0.5))


def divergence(log_p, log_q):
    """Σ p (log p − log q)."""
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


def cosine(u, v):
    """u·v / (‖u‖ ‖v‖)."""
    return u @ v / (jnp.linalg.norm(u) * jnp.linalg.norm(v))


def picked(z, y):
    """Mean of −log softmax(z)[i, y_i], for integer classes y."""
    return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])


def log_cosh(r):
    """Σ log cosh r, safe for large r."""
    return jnp.sum(abs(r) + jnp.log1p(jnp.exp(-2 * abs(r)))) - r.size * jnp.log(2.0).astype(r.dtype)


def one_hot(y, z):
    return jax.nn.one_hot(y, z.shape[1], dtype=z.dtype)


squares = Operation("losses", "squares", mean_squares, lambda draw: (draw(8, 3), draw(8, 3)))
entropy = Operation(
    "losses", "cross-entropy", cross_entropy, lambda draw: (draw(8, 5), draw.one_hot(8, 5))
)
logistic = Operation(
    "losses", "logistic", binary, lambda draw: (draw(10), draw.of([0, 1, 1, 0, 1, 0, 0, 1, 1, 1]))
)
robust = Operation("losses", "huber", huber, lambda draw: (draw(12) * 2,))
kl = Operation(
    "losses",
    "divergence",
    divergence,
    lambda draw: (jax.nn.log_softmax(draw(6)), jax.nn.log_softmax(draw(6))),
)
angle = Operation("losses", "cosine", cosine, lambda draw: (draw(5), draw(5)))
classes = Operation("losses", "classes", picked, lambda draw: (draw(8, 4), draw.integers(4, 8)))
smooth = Operation("losses", "log cosh", log_cosh, lambda draw: (draw(9),))


def squares_rule(factor, target=-1.0):
    """d (factor/N) (ŷ − y) for ŷ, and target times it for y."""

    def backward(d, yhat, y):
        gradient = d * factor * (yhat - y) / len(y)
        return gradient, target * gradient

    return backward


SQUARES = (
    squares.wrong("factor 2 lost", "scaled", None, squares_rule(1)),
    squares.wrong("target with the prediction's sign", "sign", "args[1]", squares_rule(2, 1.0)),
    squares.wrong("y − ŷ", "sign", None, lambda d, p, y: squares_rule(-2)(d, p, y)),
    squares.wrong("no gradient to the target", "zero", "args[1]", squares_rule(2, 0.0)),
    squares.wrong(
        "1/N lost",
        "scaled",
        "args[0]",
        lambda d, p, y: (2 * d * (p - y), 2 * d * (y - p) / len(y)),
    ),
    squares.wrong(
        "over N·C",
        "scaled",
        "args[0]",
        lambda d, p, y: (2 * d * (p - y) / p.size, 2 * d * (y - p) / len(y)),
    ),
    squares.wrong(
        "gradient of the absolute error",
        "formula",
        "args[0]",
        lambda d, p, y: (d * jnp.sign(p - y) / len(y), 2 * d * (y - p) / len(y)),
    ),
    squares.wrong(
        "cotangent left out",
        "ignores-cotangent",
        "args[0]",
        lambda d, p, y: (2 * (p - y) / len(y), 2 * d * (y - p) / len(y)),
    ),
    squares.right("textbook", squares_rule(2)),
)


def entropy_rule(gradient, of_target=lambda z, y: -jax.nn.log_softmax(z) / len(y)):
    return lambda d, z, y: (d * gradient(z, y), d * of_target(z, y))


ENTROPY = (
    entropy.wrong("1/N lost", "scaled", "args[0]", entropy_rule(lambda z, y: softmax(z) - y)),
    entropy.wrong(
        "over the classes", "scaled", "args[0]", entropy_rule(lambda z, y: (softmax(z) - y) / 5)
    ),
    entropy.wrong("y − p", "sign", "args[0]", entropy_rule(lambda z, y: (y - softmax(z)) / len(y))),
    entropy.wrong(
        "the target left out", "entries", "args[0]", entropy_rule(lambda z, y: softmax(z) / len(y))
    ),
    entropy.wrong("−y/p", "wrong", "args[0]", entropy_rule(lambda z, y: -y / softmax(z) / len(y))),
    entropy.wrong(
        "softmax over the batch",
        "wrong",
        "args[0]",
        entropy_rule(lambda z, y: (jax.nn.softmax(z, axis=0) - y) / len(y)),
    ),
    entropy.wrong(
        "p (1 − p) once more",
        "wrong",
        "args[0]",
        entropy_rule(lambda z, y: (softmax(z) - y) * softmax(z) * (1 - softmax(z)) / len(y)),
    ),
    entropy.wrong(
        "target's sign",
        "sign",
        "args[1]",
        entropy_rule(
            lambda z, y: (softmax(z) - y) / len(y), lambda z, y: jax.nn.log_softmax(z) / len(y)
        ),
    ),
    entropy.right("p − y", entropy_rule(lambda z, y: (softmax(z) - y) / len(y))),
    classes.wrong(
        "1/N lost", "scaled", "args[0]", lambda d, z, y: (d * (softmax(z) - one_hot(y, z)), None)
    ),
    classes.wrong(
        "class off by one",
        "entries",
        "args[0]",
        lambda d, z, y: (d * (softmax(z) - one_hot(y + 1, z)) / len(y), None),
    ),
    classes.wrong(
        "last example out",
        "entries",
        "args[0]",
        lambda d, z, y: ((d * (softmax(z) - one_hot(y, z)) / len(y)).at[-1].set(0), None),
    ),
    classes.right(
        "scatter −1",
        lambda d, z, y: (d * softmax(z).at[jnp.arange(len(y)), y].add(-1) / len(y), None),
    ),
)

OTHERS = (
    logistic.wrong(
        "1/N lost", "scaled", "args[0]", lambda d, z, y: (d * (jax.nn.sigmoid(z) - y), -d * z / 10)
    ),
    logistic.wrong(
        "y − s", "sign", "args[0]", lambda d, z, y: (d * (y - jax.nn.sigmoid(z)) / 10, -d * z / 10)
    ),
    logistic.wrong(
        "s (1 − s) once more",
        "formula",
        "args[0]",
        lambda d, z, y: (
            d * (jax.nn.sigmoid(z) - y) * jax.nn.sigmoid(z) * jax.nn.sigmoid(-z) / 10,
            -d * z / 10,
        ),
    ),
    logistic.right("textbook", lambda d, z, y: (d * (jax.nn.sigmoid(z) - y) / 10, -d * z / 10)),
    robust.wrong("never linear", "formula", "args[0]", lambda d, r: (d * r,)),
    robust.wrong("sign everywhere", "formula", "args[0]", lambda d, r: (d * jnp.sign(r),)),
    robust.right("clip", lambda d, r: (d * jnp.clip(r, -1, 1),)),
    kl.wrong(
        "the 1 of the product rule lost",
        "formula",
        "args[0]",
        lambda d, p, q: (d * jnp.exp(p) * (p - q), -d * jnp.exp(p)),
    ),
    kl.wrong(
        "q for p",
        "formula",
        "args[1]",
        lambda d, p, q: (d * jnp.exp(p) * (p - q + 1), -d * jnp.exp(q)),
    ),
    kl.wrong("p fixed", "zero", "args[0]", lambda d, p, q: (jnp.zeros_like(p), -d * jnp.exp(p))),
    kl.right("textbook", lambda d, p, q: (d * jnp.exp(p) * (p - q + 1), -d * jnp.exp(p))),
    angle.wrong(
        "norms as constants",
        "wrong",
        "args[0]",
        lambda d, u, v: (
            d * v / (jnp.linalg.norm(u) * jnp.linalg.norm(v)),
            d * (u - v * (u @ v) / (v @ v)) / (jnp.linalg.norm(u) * jnp.linalg.norm(v)),
        ),
    ),
    smooth.wrong("tanh²", "formula", "args[0]", lambda d, r: (d * jnp.tanh(r) ** 2,)),
    smooth.wrong("−tanh", "sign", "args[0]", lambda d, r: (-d * jnp.tanh(r),)),
    smooth.right("tanh", lambda d, r: (d * jnp.tanh(r),)),
)

CASES = SQUARES + ENTROPY + OTHERS
