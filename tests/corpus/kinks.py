"""Right rules at kinks hit exactly: JAX's own convention, and other slopes between the two sides.

Any value between the slopes at the two sides of a kink is a right derivative there.
"""

import jax
import jax.numpy as jnp

from corpus.base import Operation

AT_ZERO = lambda draw: (draw.of([0, 1.5, -0.5, 0, -2, 0.25]),)  # noqa: E731
ALL_ZERO = lambda draw: (draw.of([0, 0, 0]),)  # noqa: E731


def steps(x, below, at, above, where=0.0):
    """A slope of three values: below, at and above a place."""
    full = lambda value: jnp.full_like(x, value)  # noqa: E731
    return jnp.where(x > where, full(above), jnp.where(x < where, full(below), full(at)))


def bands(x, low, high, at):
    """Slope 1 between low and high, `at` on both, 0 outside."""
    edge = (x == low) | (x == high)
    inner = (x > low) & (x < high)
    return jnp.where(edge, jnp.full_like(x, at), inner.astype(x.dtype))


def elu2(x):
    """elu with α = 2: the slopes at 0 are 2 and 1."""
    return jnp.where(x > 0, x, 2 * jnp.expm1(jnp.minimum(x, 0)))


# (name, function, arguments, slope below, slope above, values at the kink)
ONE_KINK = (
    ("relu", jax.nn.relu, AT_ZERO, 0, 1, (0, 1, 0.5, 0.3)),
    ("relu, zeros only", jax.nn.relu, ALL_ZERO, 0, 1, (0, 1, 0.5)),
    ("abs", jnp.abs, AT_ZERO, -1, 1, (0, 1, -1, 0.5)),
    ("leaky relu", jax.nn.leaky_relu, AT_ZERO, 0.01, 1, (1, 0.01, 0.5)),
    ("maximum of 0", lambda x: jnp.maximum(x, 0), AT_ZERO, 0, 1, (0.5, 0, 1)),
    ("minimum of 0", lambda x: jnp.minimum(x, 0), AT_ZERO, 1, 0, (0.5, 1, 0)),
    (
        "pinball",
        lambda x: jnp.where(x > 0, 0.75 * x, -0.25 * x),
        AT_ZERO,
        -0.25,
        0.75,
        (-0.25, 0, 0.75),
    ),
)


def one_kink(name, value, args, below, above, choices):
    operation = Operation("kinks", name, value, args)
    for at in choices:
        pull = lambda d, x, at=at: (d * steps(x, below, at, above),)  # noqa: E731
        yield operation.right(f"{at} at the kink", pull)


clip = Operation(
    "kinks", "clip", lambda x: jnp.clip(x, -1, 1), lambda draw: (draw.of([-1, 1, 0.5, -2, 3, 0]),)
)
relu6 = Operation("kinks", "relu6", jax.nn.relu6, lambda draw: (draw.of([0, 6, 3, -2, 8, 0.5]),))
hard_tanh = Operation(
    "kinks", "hard tanh", jax.nn.hard_tanh, lambda draw: (draw.of([-1, 1, 0.5, -2, 3, 0]),)
)
elu = Operation("kinks", "elu, α = 2", elu2, AT_ZERO)
huber = Operation(
    "kinks",
    "huber",
    lambda x: jnp.where(abs(x) <= 1, x * x / 2, abs(x) - 0.5),
    lambda draw: (draw.of([-1, 1, 0.5, -2, 3, 0]),),
)
two = Operation(
    "kinks",
    "maximum of two",
    jnp.maximum,
    lambda draw: (draw.of([1, 2, -1, 0.5]), draw.of([1, 0, -1, 3])),
)
least = Operation(
    "kinks",
    "minimum of two",
    jnp.minimum,
    lambda draw: (draw.of([1, 2, -1, 0.5]), draw.of([1, 0, -1, 3])),
)
largest = Operation("kinks", "max with ties", jnp.max, lambda draw: (draw.of([1, 3, 3, -2, 3]),))
smallest = Operation("kinks", "min with ties", jnp.min, lambda draw: (draw.of([1, -2, 3, -2, 3]),))
hinge = Operation(
    "kinks",
    "hinge at the margin",
    lambda m: jnp.sum(jnp.maximum(1 - m, 0)),
    lambda draw: (draw.of([1, 0.5, 2, 1]),),
)
absolute = Operation(
    "kinks",
    "absolute error, hit",
    lambda p, y: jnp.mean(abs(p - y)),
    lambda draw: (draw.of([1, 2, 3, 4]), draw.of([1, 2.5, 3, 0])),
)
shrink = Operation(
    "kinks",
    "soft threshold",
    lambda x: jnp.sign(x) * jnp.maximum(abs(x) - 1, 0),
    lambda draw: (draw.of([-1, 1, 0.5, -2, 3, 0]),),
)
highest = Operation(
    "kinks", "∞-norm with ties", lambda x: jnp.max(abs(x)), lambda draw: (draw.of([2, -2, 1, 0]),)
)
pooled = Operation(
    "kinks",
    "max pool with ties",
    lambda x: x.reshape(-1, 2).max(1),
    lambda draw: (draw.of([1, 1, 0, 2, 3, 3, 0, 0]),),
)
ordered = Operation("kinks", "sort with ties", jnp.sort, lambda draw: (draw.of([2, 1, 2, 0]),))
dead = Operation(
    "kinks",
    "relu layer of zeros",
    lambda x, W: jax.nn.relu(x @ W),
    lambda draw: (draw.of([[0, 0], [1, 2]]), draw(2, 3)),
)
floor = Operation(
    "kinks",
    "maximum of x and x²",
    lambda x: jnp.maximum(x, x * x),
    lambda draw: (draw.of([0, 1, 0.5, 2, -1]),),
)


def shares(x, value, ties):
    """1 for the entry that attains the value; among several: shared, or the first or last alone."""
    hit = (x == value).astype(x.dtype)
    if ties == "shared":
        return hit / hit.sum()
    if ties == "first":
        return hit * (jnp.cumsum(hit) == 1)
    return hit * (jnp.cumsum(hit[::-1])[::-1] == 1)


def pair_rule(share, larger):
    """The first operand gets `share` at ties; the rest goes to the second."""

    def backward(d, x, y):
        ahead = x > y if larger else x < y
        mine = jnp.where(x == y, jnp.full_like(x, share), ahead.astype(x.dtype))
        return d * mine, d * (1 - mine)

    return backward


def norm_rule(ties):
    return lambda d, x: (d * jnp.sign(x) * shares(abs(x), jnp.max(abs(x)), ties),)


def pooled_rule(share):
    def backward(d, x):
        left, right = x.reshape(-1, 2).T
        mine = jnp.where(left == right, jnp.full_like(left, share), (left > right).astype(x.dtype))
        return (jnp.stack([d * mine, d * (1 - mine)], axis=1).ravel(),)

    return backward


def dead_rule(at):
    def backward(d, x, W):
        a = d * steps(x @ W, 0, at, 1)
        return a @ W.T, x.T @ a

    return backward


def soft_rule(at):
    return lambda d, x: (
        d * jnp.where(abs(x) > 1, 1, jnp.where(abs(x) < 1, 0, at)).astype(x.dtype),
    )


def crossing_rule(at_zero, at_one):
    def backward(d, x):
        inner = jnp.where((x > 0) & (x < 1), 1, 2 * x)
        return (d * jnp.where(x == 0, at_zero, jnp.where(x == 1, at_one, inner)).astype(x.dtype),)

    return backward


def elu_rule(at):
    return lambda d, x: (
        d * jnp.where(x > 0, 1, jnp.where(x < 0, 2 * jnp.exp(x), at)).astype(x.dtype),
    )


CASES = (
    *(case for row in ONE_KINK for case in one_kink(*row)),
    *(
        clip.right(f"{at} at the bounds", lambda d, x, at=at: (d * bands(x, -1, 1, at),))
        for at in (0, 1, 0.5)
    ),
    *(
        relu6.right(f"{at} at the bounds", lambda d, x, at=at: (d * bands(x, 0, 6, at),))
        for at in (0, 1, 0.5)
    ),
    *(
        hard_tanh.right(f"{at} at the bounds", lambda d, x, at=at: (d * bands(x, -1, 1, at),))
        for at in (0, 1)
    ),
    *(elu.right(f"{at} at 0", elu_rule(at)) for at in (1, 2, 1.5)),
    huber.right("clip", lambda d, x: (d * jnp.clip(x, -1, 1),)),
    *(two.right(f"{share} to the first", pair_rule(share, True)) for share in (0.5, 1, 0)),
    *(least.right(f"{share} to the first", pair_rule(share, False)) for share in (0.5, 1, 0)),
    *(
        largest.right(ties, lambda d, x, ties=ties: (d * shares(x, x.max(), ties),))
        for ties in ("shared", "first", "last")
    ),
    *(
        smallest.right(ties, lambda d, x, ties=ties: (d * shares(x, x.min(), ties),))
        for ties in ("shared", "first")
    ),
    *(
        hinge.right(f"−{at} at the margin", lambda d, m, at=at: (-d * steps(m, 1, at, 0, 1.0),))
        for at in (0, 1, 0.5)
    ),
    *(
        absolute.right(
            f"{at} where hit",
            lambda d, p, y, at=at: (
                d / 4 * steps(p - y, -1, at, 1),
                -d / 4 * steps(p - y, -1, at, 1),
            ),
        )
        for at in (0, 1)
    ),
    *(shrink.right(f"{at} at the threshold", soft_rule(at)) for at in (0, 1)),
    *(highest.right(ties, norm_rule(ties)) for ties in ("shared", "first")),
    *(pooled.right(f"{share} to the first", pooled_rule(share)) for share in (0.5, 1, 0)),
    ordered.right("stable ranks", lambda d, x: (d[jnp.argsort(jnp.argsort(x))],)),
    *(dead.right(f"{at} at 0", dead_rule(at)) for at in (0, 0.5)),
    *(floor.right(f"{a} and {b}", crossing_rule(a, b)) for a, b in ((0, 1), (0.5, 1.5), (1, 2))),
)
