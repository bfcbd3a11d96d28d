"""Whole networks with one rule for all layers, wrong at one place.

a_k = h_{k−1} W_kᵀ + b_k, h_k = g(a_k), ℒ the mean of squares of a_L − y over the batch. Sizes are
equal from layer to layer, so that a misplaced matrix is a wrong number, not an error of shapes.
"""

import jax
import jax.numpy as jnp

from corpus.base import Operation

DERIVATIVES = {  # g′ written from a
    "tanh": (jnp.tanh, lambda a: 1 - jnp.tanh(a) ** 2),
    "sigmoid": (jax.nn.sigmoid, lambda a: jax.nn.sigmoid(a) * jax.nn.sigmoid(-a)),
    "softplus": (jax.nn.softplus, jax.nn.sigmoid),
    "relu": (jax.nn.relu, lambda a: (a > 0).astype(a.dtype)),
}


def forward(g, params, x):
    """The lists a_1 … a_L and h_0 … h_{L−1}."""
    a, h = [], [x]
    for k, (W, b) in enumerate(params):
        a.append(h[k] @ W.T + b)
        if k + 1 < len(params):
            h.append(g(a[k]))
    return a, h


def loss(name):
    g = DERIVATIVES[name][0]
    return lambda params, x, y: jnp.sum((forward(g, params, x)[0][-1] - y) ** 2) / len(x)


def sweep(name, d, params, x, y, change=lambda what, k, value, tape: value):
    """Backprop by hand. `change` may change each gradient on its way: that is where mistakes go.

    what is "a", "W", "b" or "h" for ∇a_k, ∇W_k, ∇b_k and ∇h_{k−1}; the tape is (a, h, ∇a_k, W_k).
    """
    g, derivative = DERIVATIVES[name]
    a, h = forward(g, params, x)
    grad_a = 2 * d * (a[-1] - y) / len(x)
    grad_y, layers = -grad_a, []
    for k in reversed(range(len(params))):
        W, _ = params[k]
        grad_a = change("a", k, grad_a, (a, h, grad_a, W))
        tape = (a, h, grad_a, W)
        grad_W, grad_b = change("W", k, grad_a.T @ h[k], tape), change("b", k, grad_a.sum(0), tape)
        layers.insert(0, (grad_W, grad_b))
        grad_h = change("h", k, grad_a @ W, tape)
        if k:
            grad_a = grad_h * change("g", k, derivative(a[k - 1]), tape)
    return layers, grad_h, grad_y


def network(name, depth, width=4, batch=6):
    def args(draw):
        params = [(draw(width, width) * 0.7, draw(width) * 0.3) for _ in range(depth)]
        return params, draw(batch, width), draw(batch, width)

    return Operation("networks", f"{depth} layers of {name}", loss(name), args)


def planted(operation, name, what, fault, leaf, change):
    """The network with change(what, k, value, tape) applied on the way back."""
    rule = lambda d, params, x, y: sweep(name, d, params, x, y, change)  # noqa: E731
    return operation.wrong(what, fault, leaf, rule)


def at(place, layer, new):
    """A change at one place: new(value, tape) for ∇place of that layer."""
    return lambda what, k, value, tape: new(value, tape) if (what, k) == (place, layer) else value


def everywhere(place, new):
    return lambda what, k, value, tape: new(value, tape) if what == place else value


def stale_derivative(what, k, value, tape):
    """g′ of the layer above's a."""
    return 1 - jnp.tanh(tape[0][k]) ** 2 if what == "g" else value


def from_h(what, k, value, tape):
    """tanh′ taken of h, as if h were a."""
    return 1 - jnp.tanh(tape[1][k]) ** 2 if what == "g" else value


def same_layer(what, k, value, tape):
    """∇W_k with h_k for h_{k−1}; the first layer's stays right."""
    return tape[2].T @ tape[1][k - 1] if what == "W" and k else value


four, three, two = network("tanh", 4), network("tanh", 3), network("sigmoid", 2)
plus, rectified = network("softplus", 3), network("relu", 3)

# (network, g, mistake, fault, the leaf where it starts, change)
MISTAKES = (
    (
        four,
        "tanh",
        "W₃ not transposed",
        "wrong",
        "args[0][1]",
        at("h", 2, lambda v, t: t[2] @ t[3].T),
    ),
    (four, "tanh", "∇W₂ transposed", "transposed", "args[0][1][0]", at("W", 1, lambda v, t: v.T)),
    (four, "tanh", "∇b₃ zero", "zero", "args[0][2][1]", at("b", 2, lambda v, t: 0 * v)),
    (
        four,
        "tanh",
        "g′ left out",
        "wrong",
        "args[0][2]",
        everywhere("g", lambda v, t: jnp.ones_like(v)),
    ),
    (
        four,
        "tanh",
        "g′ left out at layer 2",
        "wrong",
        "args[0][1]",
        at("g", 2, lambda v, t: 1 + 0 * v),
    ),
    (four, "tanh", "g′ of h", "wrong", "args[0][2]", from_h),
    (four, "tanh", "∇h of layer 2 doubled", "scaled", "args[0][0]", at("h", 1, lambda v, t: 2 * v)),
    (four, "tanh", "sign lost at layer 2", "sign", "args[0][0]", at("h", 1, lambda v, t: -v)),
    (
        four,
        "tanh",
        "gradient stops at layer 2",
        "zero",
        "args[0][0]",
        at("h", 1, lambda v, t: 0 * v),
    ),
    (
        four,
        "tanh",
        "∇b₁ of one example",
        "missing-sum",
        "args[0][0][1]",
        at("b", 0, lambda v, t: t[2][0]),
    ),
    (three, "tanh", "g′ of the layer above", "wrong", "args[0][1]", stale_derivative),
    (three, "tanh", "h of the wrong layer", "wrong", "args[0][1][0]", same_layer),
    (three, "tanh", "∇W₃ over N", "scaled", "args[0][2][0]", at("W", 2, lambda v, t: v / 6)),
    (
        three,
        "tanh",
        "∇b a mean everywhere",
        "scaled",
        "args[0]",
        everywhere("b", lambda v, t: v / 6),
    ),
    (
        three,
        "tanh",
        "∇W₁ rows in reverse",
        "permuted",
        "args[0][0][0]",
        at("W", 0, lambda v, t: v[::-1]),
    ),
    (
        three,
        "tanh",
        "∇W₁ unit 2 zero",
        "entries",
        "args[0][0][0]",
        at("W", 0, lambda v, t: v.at[1].set(0)),
    ),
    (
        three,
        "tanh",
        "∇b₂ not summed",
        "wrong-shape",
        "args[0][1][1]",
        at("b", 1, lambda v, t: t[2]),
    ),
    (three, "tanh", "∇x zero", "zero", "args[1]", at("h", 0, lambda v, t: 0 * v)),
    (
        two,
        "sigmoid",
        "g′ = s",
        "wrong",
        "args[0][0]",
        everywhere("g", lambda v, t: jax.nn.sigmoid(t[0][0])),
    ),
    (
        two,
        "sigmoid",
        "∇x transposed weights",
        "wrong",
        "args[1]",
        at("h", 0, lambda v, t: t[2] @ t[3].T),
    ),
    (
        two,
        "sigmoid",
        "∇a₂ of one example",
        "missing-sum",
        "args[0][1][1]",
        at("b", 1, lambda v, t: t[2][-1]),
    ),
    (plus, "softplus", "sigmoid of −a", "wrong", "args[0][1]", everywhere("g", lambda v, t: 1 - v)),
    (
        plus,
        "softplus",
        "half a layer",
        "entries",
        "args[0][1][0]",
        at("W", 1, lambda v, t: v.at[2:].set(0)),
    ),
    (plus, "softplus", "∇b₁ negative", "sign", "args[0][0][1]", at("b", 0, lambda v, t: -v)),
    (
        rectified,
        "relu",
        "mask inverted",
        "wrong",
        "args[0][1]",
        everywhere("g", lambda v, t: 1 - v),
    ),
    (
        rectified,
        "relu",
        "mask left out at layer 1",
        "wrong",
        "args[0][0]",
        at("g", 1, lambda v, t: 1 + 0 * v),
    ),
    (
        rectified,
        "relu",
        "∇W₃ with ∇a₃ᵀ swapped",
        "transposed",
        "args[0][2][0]",
        at("W", 2, lambda v, t: v.T),
    ),
)


def layers_swapped(d, params, x, y):
    layers, grad_x, grad_y = sweep("tanh", d, params, x, y)
    return layers[::-1], grad_x, grad_y


def first_two_swapped(d, params, x, y):
    (first, second, *rest), grad_x, grad_y = sweep("tanh", d, params, x, y)
    return [second, first, *rest], grad_x, grad_y


CASES = (
    *(planted(*row) for row in MISTAKES),
    four.wrong("layers in the wrong order", "swapped", "args[0]", layers_swapped),
    three.wrong("first two layers swapped", "swapped", "args[0][0]", first_two_swapped),
)
