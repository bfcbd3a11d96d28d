"""What must hold of the sweep, as functions of the package under test.

`test_backprop` and `test_mesh` run them on ffnn_jax; `test_planted` on copies of it with a bug
planted, each of which has to fail at least one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from cases import assert_close, relative_error
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P


def options_of(net):
    """A key for dropout where the network has it."""
    return {"dropout_key": jax.random.key(5)} if any(net.dropouts) else {}


def check_loss_gradients(ffnn, net, point, tolerance, weighted):
    """jax.grad of `loss` against jax.grad of `loss_autodiff`, for every argument there is."""
    floating_y = jnp.issubdtype(point.y.dtype, jnp.floating)
    argnums = (0, 1, *((2,) if floating_y else ()), *((3,) if weighted else ()))
    weights = point.weights if weighted else None

    def gradients_of(loss):
        def value(params, x, y, weights):
            value = loss(net, params, x, y, weights=weights, **options_of(net))
            return value * jnp.asarray(1.7, x.dtype)

        return jax.value_and_grad(value, argnums)(point.params, point.x, point.y, weights)

    (value, found), (right, expected) = jax.jit(
        lambda: (gradients_of(ffnn.loss), gradients_of(ffnn.loss_autodiff))
    )()
    if weighted:  # (ℓ_i − ℒ) / Σ_i w_i may cancel: held against the size of ℒ / Σ_i w_i
        scale = abs(float(right)) / float(np.sum(point.weights.astype(np.float32)))
        off = np.asarray(found[-1], np.float64) - np.asarray(expected[-1], np.float64)
        assert np.max(np.abs(off)) <= 10 * tolerance * scale
        found, expected = found[:-1], expected[:-1]
    assert_close((value, found), (right, expected), tolerance)


def check_apply_gradients(ffnn, net, point, tolerance):
    """The pullback of `apply` from a random cotangent against that of `apply_autodiff`."""
    shape = (*point.x.shape[:-1], net.sizes[-1])
    cotangent = np.random.default_rng(9).standard_normal(shape).astype(point.x.dtype)

    def pulled(apply):
        value, pullback = jax.vjp(
            lambda *a: apply(net, *a, **options_of(net)), point.params, point.x
        )
        return value, pullback(jnp.asarray(cotangent))

    assert_close(*jax.jit(lambda: (pulled(ffnn.apply), pulled(ffnn.apply_autodiff)))(), tolerance)


def check_every_gradient(ffnn, net, point, tolerance, weighted):
    """Each ∇ of `gradients` against autodiff with respect to that very quantity.

    A zero is added to every a_k, h_k and ŷ on the way through a forward pass written out here;
    the gradient with respect to the zero is the gradient with respect to the quantity.
    """
    weights = point.weights if weighted else None
    outputs, activations = ffnn.outputs.OUTPUTS, ffnn.activations.ACTIVATIONS
    tape = jax.eval_shape(ffnn.forward, net, point.params, point.x)
    zeros = jax.tree.map(lambda t: np.zeros(t.shape, t.dtype), (tape.a, tape.h, tape.yhat))

    def loss_of(params, zeros):
        zeros_a, zeros_h, zero_yhat = zeros
        h = point.x + zeros_h[0]
        for k, (W, b) in enumerate(params, start=1):
            a = jnp.einsum("...j,ij->...i", h, W) + jnp.reshape(b, (1,) * (h.ndim - 1) + b.shape)
            a = a + zeros_a[k - 1]
            if k < net.depth:
                h = activations[net.activations[k - 1]].value(a) + zeros_h[k]
        yhat = outputs[net.output].value(a) + zero_yhat
        losses = ffnn.network.loss_of(net).value(yhat, point.y)
        share = jnp.ones_like(losses) if weights is None else weights
        return jnp.sum(share / jnp.sum(share) * losses)

    value, (params, (a, h, yhat)) = jax.jit(jax.value_and_grad(loss_of, (0, 1)))(
        point.params, zeros
    )
    found_value, found = jax.jit(ffnn.gradients)(
        net, point.params, point.x, point.y, weights=weights
    )
    expected = ffnn.Gradients(params, a, h, yhat)
    assert_close((found_value, found), (value, expected), tolerance)


def check_gradients_are_the_rule(ffnn, net, point):
    """`gradients` and `jax.grad(loss)` are one sweep: the same numbers, bit for bit, eagerly."""
    grads = jax.grad(ffnn.loss, argnums=(1, 2))(net, point.params, point.x, point.y)
    _, shown = ffnn.gradients(net, point.params, point.x, point.y)
    for ours, theirs in zip(
        jax.tree.leaves((shown.params, shown.h[0])), jax.tree.leaves(grads), strict=True
    ):
        assert relative_error(ours, theirs) < 1e-6


def check_shard_map(ffnn, net, point):
    """Inside shard_map, parameters on every device and examples split, as without it.

    Each device differentiates its own mean, times its share of the batch; what JAX sums over the
    devices for autodiff the rule has to sum itself.
    """
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))

    def local(params, x, y):
        def total(params):
            return jax.lax.psum(ffnn.loss(net, params, x, y), "data") / 2

        return jax.value_and_grad(total)(params)

    split = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P())
    )
    expected = jax.value_and_grad(lambda p: ffnn.loss_autodiff(net, p, point.x, point.y))(
        point.params
    )
    assert_close(split(point.params, point.x, point.y), expected, 2e-6)


def check_explicit_mesh(ffnn, net, point):
    """On an Explicit mesh with the batch split, gradients live where their primals live."""
    mesh = jax.make_mesh(
        (2,), ("data",), devices=jax.devices()[:2], axis_types=(AxisType.Explicit,)
    )
    expected = jax.grad(ffnn.loss_autodiff, argnums=(1, 2))(net, point.params, point.x, point.y)
    with jax.set_mesh(mesh):
        params = jax.device_put(point.params, P())
        x, y = jax.device_put(point.x, P("data")), jax.device_put(point.y, P("data"))
        found = jax.jit(jax.grad(ffnn.loss, argnums=(1, 2)))(net, params, x, y)
        assert jax.typeof(found[1]).sharding == jax.typeof(x).sharding
        assert jax.typeof(found[0][0].W).sharding == jax.typeof(params[0].W).sharding
        found = jax.tree.map(np.asarray, found)
    assert_close(found, jax.tree.map(np.asarray, expected), 2e-6)
