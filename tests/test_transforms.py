"""The rules under jit, vmap, scan, checkpoint and every second order that reverse mode allows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, assert_close, examples

import ffnn_jax as ffnn

NET = ffnn.Network((3, 4, 4, 2), activation=("softplus", "silu"), output="softmax")
PAIRS = [
    (ffnn.loss, ffnn.loss_autodiff),
    (
        lambda net, p, x, y: jnp.sum(ffnn.apply(net, p, x) ** 2 * y),
        lambda net, p, x, y: jnp.sum(ffnn.apply_autodiff(net, p, x) ** 2 * y),
    ),
]
pytestmark = [
    pytest.mark.usefixtures("x64"),
    pytest.mark.parametrize("pair", PAIRS, ids=["loss", "apply"]),
]


def compare(pair, transform, tolerance=1e-12, net=NET, jit=True):
    """transform(value(params, x, y)) of our rule and of autodiff are the same."""
    point = examples(net, dtype="float64", batch=(4,))

    def both():
        return [
            transform(lambda p, x, y, fn=fn: fn(net, p, x, y))(point.params, point.x, point.y)
            for fn in pair
        ]

    assert_close(*(jax.jit(both) if jit else both)(), tolerance)


def test_eager(pair):
    compare(pair, lambda f: jax.grad(f, (0, 1, 2)), jit=False)


def test_jit_inside(pair):
    compare(pair, lambda f: jax.grad(jax.jit(f), (0, 1, 2)))


def test_vmap_over_parameters(pair):
    def transform(f):
        def many(p, x, y):
            stacked = jax.tree.map(lambda t: jnp.stack([t, 1.1 * t, -t]), p)
            return jax.vmap(jax.grad(f), (0, None, None))(stacked, x, y)

        return many

    compare(pair, transform)


def test_vmap_over_examples(pair):
    """Per-example gradients."""
    compare(pair, lambda f: jax.vmap(jax.grad(f, (0, 1)), (None, 0, 0)))


def test_grad_of_vmap(pair):
    compare(
        pair, lambda f: jax.grad(lambda p, x, y: jnp.sum(jax.vmap(f, (None, 0, 0))(p, x, y) ** 2))
    )


def test_scan(pair):
    def transform(f):
        def descend(p, x, y):
            def body(p, _):
                value, g = jax.value_and_grad(f)(p, x, y)
                return jax.tree.map(lambda p, g: p - 0.1 * g, p, g), value

            return jax.lax.scan(body, p, None, length=3)

        return descend

    compare(pair, transform)


def test_grad_through_scan(pair):
    def transform(f):
        def total(p, x, y):
            return jax.lax.scan(lambda s, x: (s + f(p, x, y[0]), None), 0.0, x)[0]

        return jax.grad(total)

    compare(pair, transform)


def test_checkpoint(pair):
    compare(pair, lambda f: jax.grad(jax.checkpoint(f), (0, 1, 2)))


def test_grad_of_grad(pair):
    """The gradient of ‖∇ℒ‖², reverse over reverse."""

    def transform(f):
        def norm(p, x, y):
            return sum(jnp.vdot(g, g) for g in jax.tree.leaves(jax.grad(f, (0, 1))(p, x, y)))

        return jax.grad(norm, (0, 1, 2))

    compare(pair, transform)


@pytest.mark.parametrize("g", ACTIVATIONS)
def test_forward_over_reverse(pair, g):
    """Hessian-vector products, for every activation: the rule itself is differentiated."""
    net = ffnn.Network((3, 4, 4, 2), activation=g, output="logistic")

    def transform(f):
        return lambda p, x, y: jax.jvp(lambda q: jax.grad(f, (0, 1))(q, x, y), (p,), (p,))

    compare(pair, transform, net=net)


def test_hessian(pair):
    compare(pair, lambda f: jax.hessian(f, 1))


def test_jacobians(pair):
    compare(pair, lambda f: jax.jacrev(jax.grad(f, 1), 1))
    compare(pair, lambda f: jax.jacfwd(jax.grad(f, 1), 1))


def test_linear_in_the_cotangent(pair):
    point = examples(NET, dtype="float64")
    _, pull = jax.vjp(lambda p: pair[0](NET, p, point.x, point.y), point.params)
    one, three = (jax.tree.leaves(pull(jnp.asarray(c))) for c in (1.0, -3.0))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_allclose(-3 * np.asarray(a), b, rtol=1e-11, atol=1e-15)
    assert not any(np.any(t) for t in jax.tree.leaves(pull(jnp.asarray(0.0))))


def test_forward_mode_has_its_own_door(pair):
    point = examples(NET, dtype="float64")

    def slope(fn):
        return jax.jvp(lambda p: fn(NET, p, point.x, point.y), (point.params,), (point.params,))[1]

    with pytest.raises(TypeError, match="forward-mode"):
        slope(pair[0])
    grads = jax.grad(lambda p: pair[1](NET, p, point.x, point.y))(point.params)
    expected = sum(map(jnp.vdot, jax.tree.leaves(grads), jax.tree.leaves(point.params)))
    np.testing.assert_allclose(slope(pair[1]), expected, rtol=1e-12)
