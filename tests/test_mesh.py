"""Gradients on meshes: Auto and Explicit axes, data × model, shard_map inside and out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sweep_checks
from cases import assert_close, examples
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn

NETWORKS = [
    ffnn.Network((4, 8, 6, 2), activation=("relu", "tanh"), output="softmax"),
    ffnn.Network((4, 8, 6, 2), activation="gelu", output="logistic"),
    ffnn.Network((4, 2)),
]
LOSSES = {"ours": ffnn.loss, "autodiff": ffnn.loss_autodiff}


def on_host(tree):
    return jax.tree.map(np.asarray, tree)


def gradients(loss, net, point, weights=None):
    grad = jax.grad(lambda p, x, y, w: loss(net, p, x, y, weights=w), (0, 1, 2))
    return jax.jit(grad)(point.params, point.x, point.y, weights)


@pytest.mark.parametrize("net", NETWORKS, ids=["mixed", "gelu", "linear"])
def test_shard_map_inside(net):
    sweep_checks.check_shard_map(ffnn, net, examples(net, batch=(8,)))


@pytest.mark.parametrize("net", NETWORKS, ids=["mixed", "gelu", "linear"])
def test_explicit_mesh(net):
    sweep_checks.check_explicit_mesh(ffnn, net, examples(net, batch=(8,)))


@pytest.mark.parametrize("loss", LOSSES)
def test_shard_map_with_everything_split(loss):
    """x, y and weights split, all of them differentiated, the gradient taken outside."""
    net, point = NETWORKS[0], examples(NETWORKS[0], batch=(8,))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def value(params, x, y, weights):
        def local(params, x, y, weights):
            part = LOSSES[loss](net, params, x, y, weights=weights) * jnp.sum(weights)
            return jax.lax.psum(part, "data") / jax.lax.psum(jnp.sum(weights), "data")

        specs = (P(), P("data"), P("data"), P("data"))
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())(params, x, y, weights)

    found = jax.jit(jax.value_and_grad(value, (0, 1, 2, 3)))(*point)
    expected = jax.jit(
        jax.value_and_grad(
            lambda p, x, y, w: ffnn.loss_autodiff(net, p, x, y, weights=w), (0, 1, 2, 3)
        )
    )(*point)
    assert_close(on_host(found), on_host(expected), 5e-6)


@pytest.mark.parametrize("apply", [ffnn.apply, ffnn.apply_autodiff])
def test_apply_in_shard_map(apply):
    net, point = NETWORKS[1], examples(NETWORKS[1], batch=(8,))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def total(apply, params, x):
        return jnp.sum(apply(net, params, x) ** 3)

    def split(params, x):
        def local(params, x):
            return jax.lax.psum(total(apply, params, x), "data")

        return jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())(params, x)

    found = jax.jit(jax.value_and_grad(split, (0, 1)))(point.params, point.x)
    expected = jax.value_and_grad(lambda p, x: total(ffnn.apply_autodiff, p, x), (0, 1))(
        point.params, point.x
    )
    assert_close(on_host(found), on_host(expected), 5e-6)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
def test_data_split(axis_type, weighted):
    net, point = NETWORKS[0], examples(NETWORKS[0], batch=(8,))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    expected = on_host(
        gradients(ffnn.loss_autodiff, net, point, point.weights if weighted else None)
    )
    with jax.set_mesh(mesh):
        params = jax.device_put(point.params, NamedSharding(mesh, P()))
        x, y, w = (jax.device_put(t, NamedSharding(mesh, P("data"))) for t in point[1:])
        placed = point._replace(params=params, x=x, y=y)
        found = gradients(ffnn.loss, net, placed, w if weighted else None)
        assert_close(on_host(found), expected, 5e-6)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_y_and_weights_on_every_device_while_x_is_split(axis_type):
    """Cotangents come back where their primals live, also when those are not split."""
    net, point = NETWORKS[0], examples(NETWORKS[0], batch=(8,))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    expected = on_host(gradients(ffnn.loss_autodiff, net, point))
    with jax.set_mesh(mesh):
        x = jax.device_put(point.x, NamedSharding(mesh, P("data")))
        params, y = jax.device_put((point.params, point.y), NamedSharding(mesh, P()))
        found = gradients(ffnn.loss, net, point._replace(params=params, x=x, y=y))
        assert_close(on_host(found), expected, 5e-6)


@pytest.mark.parametrize(
    "inside", [("x", "y", "weights"), ("x",), ("weights",), ("params",)], ids=str
)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_explicit_mesh_and_arrays_made_outside_it(inside, jit):
    """What was made before the mesh, or by NumPy, is the same on each device of it."""
    net, point = NETWORKS[0], examples(NETWORKS[0], batch=(8,))
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    rows = ffnn.Layer(NamedSharding(mesh, P("model", None)), NamedSharding(mesh, P("model")))
    whole = ffnn.Layer(NamedSharding(mesh, P()), NamedSharding(mesh, P()))
    split = NamedSharding(mesh, P("data"))
    placement = {"params": (rows, whole, whole), "x": split, "y": split, "weights": split}
    placed = {name: jax.device_put(getattr(point, name), placement[name]) for name in inside}

    def all_gradients(loss, point):
        def value(params, x, y, weights):
            return loss(net, params, x, y, weights=weights)

        grad = jax.grad(value, (0, 1, 2, 3))
        return on_host((jax.jit(grad) if jit else grad)(*point))

    expected = all_gradients(ffnn.loss_autodiff, point)
    with jax.set_mesh(mesh):
        point = point._replace(**placed)
        assert_close(all_gradients(ffnn.loss_autodiff, point), expected, 5e-6)
        assert_close(all_gradients(ffnn.loss, point), expected, 5e-6)


def test_shard_map_where_the_weights_alone_vary():
    net, point = NETWORKS[0], examples(NETWORKS[0], batch=(8,))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    many = jnp.stack([point.weights * k for k in jnp.arange(1.0, 5.0)])
    many = many.at[:, 0].set(jnp.arange(4.0))

    def value(loss, params, y, weights):
        def local(params, y, weights):
            here = loss(net, params, point.x, y, weights=weights[0])
            return jax.lax.psum(here, "data")

        specs = (P(), P(), P("data"))
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())(params, y, weights)

    found, expected = (
        jax.jit(jax.grad(partial(value, loss), (0, 1, 2)))(point.params, point.y, many)
        for loss in (ffnn.loss, ffnn.loss_autodiff)
    )
    assert_close(on_host(found), on_host(expected), 5e-6)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("batch_size", [16, 10], ids=["even", "ragged"])
def test_fit_on_data_that_are_split(axis_type, batch_size):
    """The data over four devices; a batch that does not divide stands on each of them."""
    net, draw = ffnn.Network((4, 8, 3), output="softmax"), np.random.default_rng(0)
    x = draw.standard_normal((48, 4)).astype(np.float32)
    y, weights = draw.integers(0, 3, 48).astype(np.int32), draw.random(48).astype(np.float32)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    optimizer = optax.sgd(0.1)

    def fit(x, y, weights):
        state = ffnn.init_state(net, optimizer, jax.random.key(0))
        options = {"optimizer": optimizer, "batch_size": batch_size, "epochs": 2}
        result = ffnn.fit(net, (x, y), state=state, validation=(x, y), weights=weights, **options)
        return on_host(result.params), result.history[:3]

    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        expected = fit(x, y, weights)
        with jax.set_mesh(mesh):
            found = fit(*jax.device_put((x, y, weights), NamedSharding(mesh, P("data"))))
    assert_close(found, expected, 5e-6)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
    ("layers", "g"),
    [
        ((0,), ("relu", "tanh")),
        ((0, 2), ("tanh", "relu")),
        ((2,), ("tanh", "relu")),
        ((2,), ("relu", "tanh")),
        ((0, 1, 2), ("relu", "tanh")),
    ],
    ids=str,
)
def test_data_and_model_split(axis_type, layers, g):
    """Some W_k split by rows over `model`, the batch over `data`, where jax.grad itself runs."""
    net = ffnn.Network((4, 8, 6, 2), activation=g, output="softmax")
    point = examples(net, batch=(8,))
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(axis_type,) * 2)
    expected = on_host(gradients(ffnn.loss_autodiff, net, point, point.weights))
    rows = ffnn.Layer(NamedSharding(mesh, P("model", None)), NamedSharding(mesh, P("model")))
    whole = ffnn.Layer(NamedSharding(mesh, P()), NamedSharding(mesh, P()))
    placement = tuple(rows if k in layers else whole for k in range(3))
    with jax.set_mesh(mesh):
        params = jax.device_put(point.params, placement)
        x, y, w = (jax.device_put(t, NamedSharding(mesh, P("data"))) for t in point[1:])
        placed = point._replace(params=params, x=x, y=y)
        reference = gradients(ffnn.loss_autodiff, net, placed, w)
        assert_close(on_host(reference), expected, 5e-6)
        found = gradients(ffnn.loss, net, placed, w)
        assert_close(on_host(found), expected, 5e-6)
        for k in range(3) if axis_type == AxisType.Explicit else ():  # Auto: XLA decides
            assert found[0][k].W.sharding.is_equivalent_to(params[k].W.sharding, 2)


PAIRS = (ffnn.Layer(P("model", None), P("model")), ffnn.Layer(P(None, "model"), P()))
OVER_DATA = (ffnn.Layer(P("data", None), P("data")), ffnn.Layer(P(None, "data"), P()))


@pytest.mark.parametrize(
    ("layers", "spec"),
    [(PAIRS, P()), (PAIRS, P("data")), (OVER_DATA, P("data"))],
    ids=["pairs, rows whole", "pairs", "ZeRO"],
)
def test_columns_of_W_split_on_explicit_axes(layers, spec):
    """A mesh as `jax.make_mesh` makes it, parameters as `fit` hands them back, and no mesh=."""
    net = NETWORKS[0]
    point = examples(net, batch=(8,))
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    homes = jax.tree.map(
        partial(NamedSharding, mesh),
        (*layers, ffnn.Layer(P(), P())),
        is_leaf=lambda leaf: isinstance(leaf, P),
    )
    x, y, w = jax.device_put(point[1:], NamedSharding(mesh, spec))
    placed = point._replace(params=jax.device_put(point.params, homes), x=x, y=y)
    assert_close(on_host(all_values(net, placed)), on_host(all_values(net, point)), 5e-6)
    expected = on_host(gradients(ffnn.loss_autodiff, net, point, point.weights))
    for loss in LOSSES.values():
        found = gradients(loss, net, placed, w)
        assert_close(on_host(found), expected, 5e-6)
        for grad, home in zip(jax.tree.leaves(found[0]), jax.tree.leaves(homes), strict=True):
            assert grad.sharding.is_equivalent_to(home, grad.ndim)


def all_values(net, point):
    """What is computed from parameters, each as it is called, with no mesh and no jit around it."""
    params, x, y = point[:3]
    return (
        ffnn.apply(net, params, x),
        ffnn.forward(net, params, x),
        ffnn.loss(net, params, x, y),
        ffnn.input_gradients(net, params, x, y=y),
        ffnn.input_gradients(net, params, x, output=1),
    )


def test_an_epoch_from_parameters_on_explicit_axes():
    """`train_epoch` without mesh=, from what a fit on a mesh gave."""
    net, mesh = ffnn.Network((4, 8, 3), output="softmax"), jax.make_mesh((2, 2), ("data", "model"))
    draw, optimizer = np.random.default_rng(0), optax.sgd(0.1)
    x, y = draw.standard_normal((16, 4)).astype(np.float32), draw.integers(0, 3, 16)
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        alone = ffnn.init_state(net, optimizer, jax.random.key(0))
        state = ffnn.init_state(net, optimizer, jax.random.key(0), mesh=mesh, placement=PAIRS)
        expected, found = (
            ffnn.train_epoch(net, optimizer, state, x, y, batch_size=8) for state in (alone, state)
        )
    found, expected = (on_host((state.params, losses)) for state, losses in (found, expected))
    assert_close(found, expected, 5e-6)
