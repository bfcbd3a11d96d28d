"""Pytrees, several outputs, integer arguments, keys."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from corpus.base import Operation


class Layer(NamedTuple):
    W: jax.Array
    b: jax.Array


def affine(layer, x):
    return x @ layer.W + layer.b


def parts(d, layer, x):
    return Layer(x.T @ d, d.sum(0)), d @ layer.W.T


def two_heads(p, x):
    """A dict of two outputs of one trunk."""
    h = jnp.tanh(x @ p["trunk"])
    return {"mean": h @ p["mean"], "scale": jnp.exp(h @ p["scale"])}


def heads_rule(change=lambda g: g, use=("mean", "scale"), scale_factor=lambda y: y):
    def backward(d, p, x):
        h, y = jnp.tanh(x @ p["trunk"]), two_heads(p, x)
        by_mean, by_scale = d["mean"], d["scale"] * scale_factor(y["scale"])
        by_h = sum(
            t @ p[name].T for name, t in (("mean", by_mean), ("scale", by_scale)) if name in use
        )
        a = by_h * (1 - h * h)
        grads = {"trunk": x.T @ a, "mean": h.T @ by_mean, "scale": h.T @ by_scale}
        return change(grads), a @ p["trunk"].T

    return backward


def polar(x, y):
    """(r, θ)."""
    return jnp.sqrt(x * x + y * y), jnp.arctan2(y, x)


def polar_rule(of_x, of_y):
    """of_x(dr, dθ, x, y, r)."""

    def backward(d, x, y):
        r = jnp.sqrt(x * x + y * y)
        return of_x(*d, x, y, r), of_y(*d, x, y, r)

    return backward


def by_x(dr, da, x, y, r):
    return dr * x / r - da * y / r**2


def by_y(dr, da, x, y, r):
    return dr * y / r + da * x / r**2


def moments(x):
    return x.mean(), ((x - x.mean()) ** 2).mean()


def dropout(key, x):
    """Half of x, twice as large; the same key gives the same half."""
    return jnp.where(mask(key, x), 2 * x, 0)


def mask(key, x):
    """The top bit of 32 random ones: bernoulli draws others when 64-bit types are on."""
    return jax.random.bits(key, x.shape, jnp.uint32) >> 31 == 1


def gather(x, i, scale):
    return scale * x[i]


record = Operation("trees", "layer", affine, lambda draw: (Layer(draw(3, 3), draw(3)), draw(4, 3)))
tree = Operation(
    "trees",
    "two heads",
    two_heads,
    lambda draw: ({"trunk": draw(3, 4), "mean": draw(4, 2), "scale": draw(4, 2) / 2}, draw(5, 3)),
)
circle = Operation(
    "trees", "polar", polar, lambda draw: (draw.between(0.4, 2, 5), draw.between(0.3, 2, 5))
)
stats = Operation("trees", "moments", moments, lambda draw: (draw(8),))
random = Operation("trees", "dropout", dropout, lambda draw: (jax.random.key(3), draw(12)))
picks = Operation(
    "trees",
    "gather and scale",
    gather,
    lambda draw: (draw(6), jnp.array([3, 0, 0, 5]), draw.of(1.7)),
)


def without(tree, **changes):
    return {**tree, **changes}


def scatter(d, x, i, scale):
    return jnp.zeros_like(x).at[i].add(d * scale)


def gather_rule(change):
    """change(∇x, ∇scale) with None for the integers."""

    def backward(d, x, i, scale):
        by_x, by_scale = change(scatter(d, x, i, scale), jnp.sum(d * x[i]), d, x, i)
        return by_x, None, by_scale

    return backward


CASES = (
    record.wrong(
        "∇b in W's scale",
        "scaled",
        "args[0].b",
        lambda d, p, x: (Layer(x.T @ d, d.mean(0)), d @ p.W.T),
    ),
    record.wrong(
        "∇W transposed",
        "transposed",
        "args[0].W",
        lambda d, p, x: (Layer(d.T @ x, d.sum(0)), d @ p.W.T),
    ),
    record.wrong(
        "record of zeros",
        "zero",
        "args[0]",
        lambda d, p, x: (jax.tree.map(jnp.zeros_like, p), d @ p.W.T),
    ),
    record.wrong(
        "record negative",
        "sign",
        "args[0]",
        lambda d, p, x: (jax.tree.map(jnp.negative, parts(d, p, x)[0]), d @ p.W.T),
    ),
    record.right("textbook", parts),
    tree.wrong(
        "trunk without the second head", "wrong", "args[0]['trunk']", heads_rule(use=("mean",))
    ),
    tree.wrong(
        "heads swapped",
        "swapped",
        "args[0]['mean']",
        heads_rule(lambda g: without(g, mean=g["scale"], scale=g["mean"])),
    ),
    tree.wrong(
        "exp not derived", "wrong", "args[0]['scale']", heads_rule(scale_factor=lambda y: 1)
    ),
    tree.wrong(
        "trunk zero",
        "zero",
        "args[0]['trunk']",
        heads_rule(lambda g: without(g, trunk=0 * g["trunk"])),
    ),
    tree.wrong(
        "scale negative",
        "sign",
        "args[0]['scale']",
        heads_rule(lambda g: without(g, scale=-g["scale"])),
    ),
    tree.wrong(
        "mean over N",
        "scaled",
        "args[0]['mean']",
        heads_rule(lambda g: without(g, mean=g["mean"] / 5)),
    ),
    tree.wrong(
        "columns swapped",
        "permuted",
        "args[0]['mean']",
        heads_rule(lambda g: without(g, mean=g["mean"][:, ::-1])),
    ),
    tree.wrong(
        "two rows zero",
        "entries",
        "args[0]['trunk']",
        heads_rule(lambda g: without(g, trunk=g["trunk"].at[:2].set(0))),
    ),
    tree.right("textbook", heads_rule()),
    circle.wrong(
        "θ's sign",
        "wrong",
        "args[0]",
        polar_rule(lambda dr, da, x, y, r: dr * x / r + da * y / r**2, by_y),
    ),
    circle.wrong(
        "θ left out", "wrong", "args[1]", polar_rule(by_x, lambda dr, da, x, y, r: dr * y / r)
    ),
    circle.wrong(
        "1/r for 1/r²",
        "wrong",
        "args[0]",
        polar_rule(lambda dr, da, x, y, r: dr * x / r - da * y / r, by_y),
    ),
    circle.wrong(
        "outputs' cotangents swapped",
        "wrong",
        "args[0]",
        polar_rule(lambda dr, da, *a: by_x(da, dr, *a), by_y),
    ),
    circle.wrong("∇y negative", "sign", "args[1]", polar_rule(by_x, lambda *a: -by_y(*a))),
    circle.wrong("∇x and ∇y swapped", "swapped", "args[0]", polar_rule(by_y, by_x)),
    circle.right("textbook", polar_rule(by_x, by_y)),
    stats.wrong(
        "variance without 2",
        "wrong",
        "args[0]",
        lambda d, x: (d[0] / 8 + d[1] * (x - x.mean()) / 8,),
    ),
    stats.wrong(
        "variance left out", "wrong", "args[0]", lambda d, x: (jnp.broadcast_to(d[0] / 8, x.shape),)
    ),
    stats.wrong(
        "N − 1 for both",
        "scaled",
        "args[0]",
        lambda d, x: (d[0] / 7 + d[1] * 2 * (x - x.mean()) / 7,),
    ),
    stats.right("textbook", lambda d, x: (d[0] / 8 + d[1] * 2 * (x - x.mean()) / 8,)),
    random.wrong(
        "another key",
        "entries",
        "args[1]",
        lambda d, k, x: (None, jnp.where(mask(jax.random.key(4), x), 2 * d, 0)),
    ),
    random.wrong(
        "not scaled up", "scaled", "args[1]", lambda d, k, x: (None, jnp.where(mask(k, x), d, 0))
    ),
    random.wrong(
        "mask inverted", "wrong", "args[1]", lambda d, k, x: (None, jnp.where(mask(k, x), 0, 2 * d))
    ),
    random.wrong("mask forgotten", "entries", "args[1]", lambda d, k, x: (None, 2 * d)),
    random.right("same key", lambda d, k, x: (None, jnp.where(mask(k, x), 2 * d, 0))),
    picks.wrong(
        "scale forgotten",
        "scaled",
        "args[0]",
        gather_rule(lambda g, s, d, x, i: (jnp.zeros_like(x).at[i].add(d), s)),
    ),
    picks.wrong(
        "set for add",
        "entries",
        "args[0]",
        lambda d, x, i, s: (jnp.zeros_like(x).at[i].set(d * s), None, jnp.sum(d * x[i])),
    ),
    picks.wrong(
        "∇scale of the first",
        "missing-sum",
        "args[2]",
        gather_rule(lambda g, s, d, x, i: (g, d[0] * x[i[0]])),
    ),
    picks.wrong(
        "∇scale a mean", "scaled", "args[2]", gather_rule(lambda g, s, d, x, i: (g, s / 4))
    ),
    picks.wrong("∇scale zero", "zero", "args[2]", gather_rule(lambda g, s, d, x, i: (g, 0 * s))),
    picks.right("scatter", gather_rule(lambda g, s, d, x, i: (g, s))),
)
