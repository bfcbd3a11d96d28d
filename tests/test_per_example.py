"""Norms, clipping and privacy of per-example gradients, against vmap of jax.grad."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import NETWORKS, assert_close, examples, name_of, relative_error
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn

NET = ffnn.Network((5, 7, 6, 4), activation=("relu", "gelu"), output="softmax")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}


norms_of = jax.jit(ffnn.per_example_gradient_norms)
clip = jax.jit(ffnn.clipped_gradients)
make_private = jax.jit(ffnn.private_gradients)


def flat_gradients(net, params, x, y):
    """(N, all parameters): g_i by autodiff of the primal, example by example."""
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, *y.shape[x.ndim - 1 :])
    grads = jax.vmap(jax.grad(lambda p, x, y: ffnn.loss_autodiff(net, p, x, y)), (None, 0, 0))
    leaves = jax.tree.leaves(jax.jit(grads)(params, x, y))
    return np.concatenate([np.asarray(t, np.float64).reshape(len(x), -1) for t in leaves], 1)


def flat(params):
    return np.concatenate([np.asarray(t, np.float64).ravel() for t in jax.tree.leaves(params)])


def clipped_by_hand(each, max_norm):
    norms = np.linalg.norm(each, axis=1)
    return np.mean(each * np.minimum(1, max_norm / norms)[:, None], 0)


@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_every_network(net):
    point = examples(net)
    each = flat_gradients(net, point.params, point.x, point.y)
    norms = np.linalg.norm(each, axis=1)

    @jax.jit
    def both(params, x, y, max_norm):
        found = ffnn.per_example_gradient_norms(net, params, x, y)
        return found, ffnn.clipped_gradients(net, params, x, y, max_norm=max_norm)

    max_norm = float(np.median(norms))
    found, clipped = both(*point[:3], max_norm)
    assert relative_error(found, norms) <= 1e-5
    assert relative_error(flat(clipped), clipped_by_hand(each, max_norm)) <= 1e-5
    unclipped = jax.jit(jax.grad(ffnn.loss, 1), static_argnums=0)(net, *point[:3])
    assert_close(both(*point[:3], 2 * float(norms.max()))[1], unclipped, 2e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("classes", [True, False])
def test_dtypes(dtype, classes):
    with jax.enable_x64(dtype == "float64"):
        point = examples(NET, dtype=dtype, classes=classes)
        found = norms_of(NET, *point[:3])
        clipped = clip(NET, *point[:3], max_norm=0.5)
    with jax.enable_x64(True):
        wide = [jax.tree.map(lambda t: t.astype(jnp.float64), t) for t in point[:2]]
        y = point.y if classes else point.y.astype(jnp.float64)
        each = flat_gradients(NET, *wide, y)
    assert found.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
    assert relative_error(found, np.linalg.norm(each, axis=1)) <= TOLERANCE[dtype]
    assert all(t.dtype == dtype for t in jax.tree.leaves(clipped))
    assert relative_error(flat(clipped), clipped_by_hand(each, 0.5)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_batch_shapes(batch):
    point = examples(NET, batch=batch)
    found = norms_of(NET, *point[:3])
    assert found.shape == batch
    each = flat_gradients(NET, point.params, point.x.reshape(-1, 5), point.y.reshape(-1, 4))
    assert relative_error(found.ravel(), np.linalg.norm(each, axis=1)) <= 1e-5
    clipped = clip(NET, *point[:3], max_norm=0.3)
    assert relative_error(flat(clipped), clipped_by_hand(each, 0.3)) <= 1e-5


def test_no_example_is_heavier_than_max_norm():
    """One example, scaled up without bound, moves the result by at most 2C/N."""
    point = examples(NET, batch=(8,))
    results = []
    for scale in (1.0, 1e4, 1e15):
        x = point.x.at[3].multiply(scale)
        results.append(flat(clip(NET, point.params, x, point.y, max_norm=0.1)))
    assert np.all(np.isfinite(results))
    assert all(np.linalg.norm(r - results[0]) <= 2 * 0.1 / 8 + 1e-6 for r in results)


def test_examples_of_weight_0_are_not_there():
    point = examples(NET)
    weights = jnp.asarray([1.0, 0.0, 1.0, 0.25, 0.0, 1.0])
    each = flat_gradients(NET, *point[:3])
    factors = np.minimum(1, 0.3 / np.linalg.norm(each, axis=1)) * np.asarray(weights)
    found = clip(NET, *point[:3], max_norm=0.3, weights=weights)
    assert relative_error(flat(found), factors @ each / len(each)) <= 1e-5
    noise = {"max_norm": 0.3, "noise_multiplier": 2.0, "key": jax.random.key(1)}
    private = make_private(NET, *point[:3], weights=weights, **noise)
    nothing = make_private(NET, *point[:3], weights=jnp.zeros(6), **noise)
    assert relative_error(flat(private) - flat(nothing), flat(found)) <= 1e-4


def test_an_example_without_gradient():
    """‖g_i‖ = 0 is not divided by."""
    net = ffnn.Network((3, 2))
    params = ffnn.init(net, jax.random.key(0))
    x = jnp.ones((2, 3))
    y = ffnn.apply(net, params, x).at[1].add(1.0)
    clipped = clip(net, params, x, y, max_norm=1.0)
    assert np.all(np.isfinite(flat(clipped)))
    assert math.isclose(np.linalg.norm(flat(clipped)), 0.5, rel_tol=1e-5)


def test_mixed_precision():
    plan = ffnn.Plan(compute_dtype="bfloat16")
    net = ffnn.Network((5, 7, 4), activation="tanh", output="softmax", plan=plan)
    point = examples(net)
    clipped = clip(net, *point[:3], max_norm=1e6)
    assert_close(clipped, jax.jit(jax.grad(ffnn.loss, 1))(net, *point[:3]), 2e-2)


def test_a_loss_of_ones_own():
    loss = ffnn.Loss("absolute", lambda yhat, y: jnp.sum(jnp.abs(yhat - y), -1))
    net = ffnn.Network((5, 7, 4), activation="tanh", loss=loss)
    point = examples(net)
    each = flat_gradients(net, *point[:3])
    found = norms_of(net, *point[:3])
    assert relative_error(found, np.linalg.norm(each, axis=1)) <= 1e-5


# Privacy -----------------------------------------------------------------------------------------


def test_noise_has_the_right_variance():
    """z = (private − clipped) N / (σ C) is N(0, 1): mean, variance and fourth moment of 40,000."""
    net = ffnn.Network((100, 300, 30), activation="tanh", output="softmax")
    point = examples(net, batch=(16,))
    settings = {"max_norm": 0.7, "noise_multiplier": 1.3}
    clipped = clip(net, *point[:3], max_norm=0.7)
    private = make_private(net, *point[:3], **settings, key=jax.random.key(3))
    for right, noisy in zip(jax.tree.leaves(clipped), jax.tree.leaves(private), strict=True):
        z = (np.asarray(noisy, np.float64) - np.asarray(right, np.float64)).ravel()
        z *= 16 / (1.3 * 0.7)
        assert abs(z.mean()) * math.sqrt(z.size) < 4  # of its standard deviations
        assert abs(z.var() - 1) * math.sqrt(z.size / 2) < 4
        assert abs((z**4).mean() - 3) * math.sqrt(z.size / 96) < 5
    W_1, W_2 = (np.asarray(n.W - c.W) for n, c in zip(private, clipped, strict=True))
    correlation = np.corrcoef(W_1.ravel()[:9000], W_2.ravel())[0, 1]
    assert abs(correlation) * math.sqrt(9000) < 4


def test_keys():
    point = examples(NET)

    def private(seed):
        key = jax.random.key(seed)
        return flat(make_private(NET, *point[:3], max_norm=1.0, noise_multiplier=1.0, key=key))

    assert np.array_equal(private(0), private(0))
    assert not np.any(private(0) == private(1))


def test_no_noise_is_clipping():
    point = examples(NET)
    options = {"max_norm": 0.4, "noise_multiplier": 0.0, "key": jax.random.key(0)}
    private = make_private(NET, *point[:3], **options)
    assert_close(private, clip(NET, *point[:3], max_norm=0.4), 0.0)


# The noise scale ---------------------------------------------------------------------------------


def test_noise_scale():
    point = examples(NET, batch=(64,))
    each = flat_gradients(NET, *point[:3])
    found = jax.jit(ffnn.gradient_noise_scale, static_argnums=0)(NET, *point[:3])
    variance = np.sum(np.var(each, axis=0, ddof=1))
    signal = np.sum(np.mean(each, 0) ** 2) - variance / 64
    assert math.isclose(found.variance, variance, rel_tol=1e-4)
    assert math.isclose(found.signal, signal, rel_tol=1e-3)
    assert math.isclose(found.scale, variance / signal, rel_tol=1e-3)
    assert found.layers.scale.shape == (3,)
    assert math.isclose(found.variance, float(jnp.sum(found.layers.variance)), rel_tol=1e-6)


def test_noise_scale_of_equal_examples():
    """Nothing scatters."""
    point = examples(NET, batch=(1,))
    x, y = jnp.tile(point.x, (8, 1)), jnp.tile(point.y, (8, 1))
    assert float(jax.jit(ffnn.gradient_noise_scale)(NET, point.params, x, y).scale) < 1e-5


# Under transforms --------------------------------------------------------------------------------


def test_vmap_over_parameters():
    point = examples(NET)
    other = jax.tree.map(lambda t: 1.5 * t, point.params)
    both = jax.tree.map(lambda *t: jnp.stack(t), point.params, other)
    found = jax.vmap(lambda p: norms_of(NET, p, point.x, point.y))(both)
    for norms, params in zip(found, (point.params, other), strict=True):
        expected = norms_of(NET, params, point.x, point.y)
        assert relative_error(norms, expected) <= 1e-6


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_mesh(axis_type):
    """The batch on four devices, the parameters on each; the noise is that of one device."""
    point = examples(NET, batch=(8,))
    options = {"max_norm": 0.3, "noise_multiplier": 1.0, "key": jax.random.key(0)}
    expected = make_private(NET, *point[:3], **options)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    params = jax.device_put(point.params, everywhere)
    x, y = jax.device_put((point.x, point.y), rows)
    with jax.set_mesh(mesh):
        found = jax.jit(lambda *args: ffnn.private_gradients(NET, *args, **options))(params, x, y)
    assert_close(jax.tree.map(np.asarray, found), jax.tree.map(np.asarray, expected), 1e-5)


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan"), float("inf")])
def test_max_norm(max_norm):
    with pytest.raises(ValueError, match="max_norm: expected a finite number above 0"):
        ffnn.clipped_gradients(NET, *examples(NET)[:3], max_norm=max_norm)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (
            np.ones(5),
            ValueError,
            r"weights: expected shape \(6,\), one for each example; got \(5,\)",
        ),
        (np.full(6, 1.5), ValueError, "weights: expected numbers from 0 to 1, got"),
        (np.full(6, -0.5), ValueError, "weights: expected numbers from 0 to 1, got"),
        (np.full(6, np.nan), ValueError, "weights: expected numbers from 0 to 1, got"),
        (np.ones(6) + 0j, TypeError, "weights: expected real numbers, got complex128"),
    ],
)
def test_bad_weights(weights, error, message):
    point = examples(NET)
    with pytest.raises(error, match=message):
        ffnn.clipped_gradients(NET, *point[:3], max_norm=1.0, weights=weights)


def test_bad_arguments_of_privacy():
    point, key = examples(NET), jax.random.key(0)

    def private(**options):
        options = {"max_norm": 1.0, "noise_multiplier": 1.0, "key": key} | options
        return ffnn.private_gradients(NET, *point[:3], **options)

    with pytest.raises(ValueError, match="noise_multiplier: expected a finite number of at least"):
        private(noise_multiplier=-0.1)
    with pytest.raises(TypeError, match="noise_multiplier: expected a number"):
        private(noise_multiplier="1")
    with pytest.raises(ValueError, match="max_norm"):
        private(max_norm=0.0)
    with pytest.raises(TypeError, match="key: expected one key"):
        private(key=0)


def test_noise_scale_needs_two_examples():
    with pytest.raises(ValueError, match="x: expected at least two examples"):
        ffnn.gradient_noise_scale(NET, *examples(NET, batch=(1,))[:3])


def test_other_arguments_are_those_of_loss():
    point = examples(NET)
    with pytest.raises(ValueError, match="x: "):
        ffnn.per_example_gradient_norms(NET, point.params, point.x[:, :3], point.y)
