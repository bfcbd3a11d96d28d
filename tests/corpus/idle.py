"""Right rules of unused arguments, of constants, and of operands that were broadcast."""

import jax
import jax.numpy as jnp

from corpus.base import Operation

first = Operation(
    "idle", "second argument unused", lambda x, y: jnp.sin(x), lambda draw: (draw(5), draw(3))
)
none = Operation("idle", "constant output", lambda x: jnp.ones_like(x), lambda draw: (draw(5),))
rounded = Operation("idle", "round", jnp.round, lambda draw: (draw.between(0.1, 0.4, 5) + 3,))
floor = Operation("idle", "floor", jnp.floor, lambda draw: (draw.between(0.1, 0.9, 5),))
sign = Operation("idle", "sign", jnp.sign, lambda draw: (draw.of([1, -2, 0.5]),))
sliced = Operation("idle", "part of an argument", lambda x: x[1:3] ** 2, lambda draw: (draw(6),))
tree = Operation(
    "idle",
    "unused leaves of a tree",
    lambda p, x: x * p["used"],
    lambda draw: ({"used": draw(3), "idle": (draw(2), draw(2, 2))}, draw(3)),
)
empty = Operation(
    "idle",
    "integer argument unused",
    lambda x, i: x * 2,
    lambda draw: (draw(4), jnp.arange(3)),
)
masked = Operation(
    "idle",
    "all masked",
    lambda x, m: jnp.where(m, x, 0),
    lambda draw: (draw(4), jnp.zeros(4, bool)),
)
one_used = Operation(
    "idle",
    "where of a constant",
    lambda x, y: jnp.where(x > -100, x, y),
    lambda draw: (draw(4), draw(4)),
)
dead = Operation(
    "idle",
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
added = Operation("idle", "row plus column", jnp.add, lambda draw: (draw(1, 4), draw(3, 1)))
times = Operation(
    "idle", "number times matrix", jnp.multiply, lambda draw: (draw.of(1.7), draw(3, 4))
)
outer = Operation("idle", "row times column", jnp.multiply, lambda draw: (draw(1, 4), draw(3, 1)))
missing = Operation("idle", "matrix plus row", jnp.add, lambda draw: (draw(3, 4), draw(4)))
divided = Operation(
    "idle",
    "matrix over column",
    jnp.divide,
    lambda draw: (draw(3, 4), draw.between(0.5, 2, 3, 1)),
)
spread = Operation(
    "idle", "broadcast_to", lambda x: jnp.broadcast_to(x, (5, 3)), lambda draw: (draw(3),)
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

CASES = UNUSED + BROADCAST
