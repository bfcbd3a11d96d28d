"""The sweep against autodiff of the same forward pass: every network, dtype and batch shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweep_checks
from cases import BATCHES, DTYPES, NETWORKS, ROUNDING, assert_close, examples, name_of

import ffnn_jax as ffnn

SMALL = ffnn.Network((3, 4, 5, 2), activation=("tanh", "gelu"), output="softmax")


@pytest.fixture(autouse=True)
def _double(request):
    """64-bit types where a test's dtype asks for them."""
    params = getattr(request.node, "callspec", None)
    with jax.enable_x64(params is not None and params.params.get("dtype") == "float64"):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_loss_gradients(net, dtype):
    point = examples(net, dtype=dtype)
    sweep_checks.check_loss_gradients(ffnn, net, point, ROUNDING[dtype], weighted=True)


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
@pytest.mark.parametrize("classes", [False, True], ids=["distribution", "class"])
def test_batches_weights_and_classes(dtype, batch, weighted, classes):
    point = examples(SMALL, dtype=dtype, batch=batch, classes=classes)
    sweep_checks.check_loss_gradients(ffnn, SMALL, point, 1e-13, weighted)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_apply_gradients(net, dtype):
    sweep_checks.check_apply_gradients(ffnn, net, examples(net, dtype=dtype), ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_every_gradient(net, dtype, weighted):
    point = examples(net, dtype=dtype)
    sweep_checks.check_every_gradient(ffnn, net, point, 1e-12, weighted)


def test_gradients_are_the_rule():
    sweep_checks.check_gradients_are_the_rule(ffnn, SMALL, examples(SMALL))


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_central_differences(net, dtype):
    """(ℒ(θ + εd) − ℒ(θ − εd)) / 2ε = ⟨∇ℒ, d⟩: no automatic differentiation anywhere."""
    point = examples(net, dtype=dtype)
    draw = np.random.default_rng(3)
    d = jax.tree.map(lambda p: draw.standard_normal(p.shape), point.params)
    run = jax.jit(ffnn.gradients)

    def moved(step):
        params = jax.tree.map(lambda p, d: np.asarray(p) + step * d, point.params, d)
        return run(net, params, point.x, point.y)[0]

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    grads = run(net, point.params, point.x, point.y)[1].params
    expected = sum(map(np.vdot, jax.tree.leaves(grads), jax.tree.leaves(d)))
    np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-9)


def test_value_under_differentiation_is_the_value():
    point = examples(SMALL)
    value, _ = jax.value_and_grad(ffnn.loss, argnums=1)(SMALL, point.params, point.x, point.y)
    assert value == ffnn.loss(SMALL, point.params, point.x, point.y)
    np.testing.assert_allclose(
        value, ffnn.loss_autodiff(SMALL, point.params, point.x, point.y), rtol=1e-6
    )


def test_loss_is_the_weighted_mean_over_examples():
    point = examples(SMALL, batch=(2, 3))
    each = [
        [float(ffnn.loss(SMALL, point.params, point.x[i, j], point.y[i, j])) for j in range(3)]
        for i in range(2)
    ]
    value = ffnn.loss(SMALL, point.params, point.x, point.y)
    np.testing.assert_allclose(value, np.mean(each), rtol=1e-6)
    weighted = ffnn.loss(SMALL, point.params, point.x, point.y, weights=point.weights)
    np.testing.assert_allclose(weighted, np.average(each, weights=point.weights), rtol=1e-6)


def test_weight_0_takes_an_example_out():
    point = examples(SMALL)
    weights = jnp.asarray([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    rows = jnp.asarray([0, 1, 3, 5])
    masked = ffnn.gradients(SMALL, point.params, point.x, point.y, weights=weights)
    without = ffnn.gradients(SMALL, point.params, point.x[rows], point.y[rows])
    assert_close((masked[0], masked[1].params), (without[0], without[1].params), 1e-6)
    assert not np.any(masked[1].h[0][2])


def test_weights_that_sum_to_0_while_traced_give_0():
    """A padded batch may be all padding; it must not turn the parameters into NaN."""
    point = examples(SMALL)
    value, grads = jax.jit(jax.value_and_grad(ffnn.loss, argnums=1))(
        SMALL, point.params, point.x, point.y, weights=jnp.zeros(6)
    )
    assert value == 0
    assert not any(np.any(g) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compute_dtype(dtype):
    """Factors of products in bfloat16, everything else in the dtype of the parameters."""
    net = ffnn.Network(
        SMALL.sizes,
        activation=SMALL.activation,
        output="softmax",
        plan=ffnn.Plan(compute_dtype="bfloat16"),
    )
    point = examples(net, dtype=dtype)
    tape = ffnn.forward(net, point.params, point.x)
    assert {t.dtype for t in jax.tree.leaves(tape)} == {jnp.dtype(dtype)}

    def rounded(t):
        return np.asarray(t.astype(jnp.bfloat16), np.float64)

    (W, b), h = point.params[0], point.x
    np.testing.assert_allclose(tape.a[0], rounded(h) @ rounded(W).T + np.asarray(b), rtol=1e-5)
    value, grads = ffnn.gradients(net, point.params, point.x, point.y)
    assert {t.dtype for t in jax.tree.leaves(grads)} == {jnp.dtype(dtype)}
    by_hand = rounded(grads.a[0]).T @ rounded(point.x)
    np.testing.assert_allclose(grads.params[0].W, by_hand, rtol=1e-4, atol=1e-7)
    plain = jax.jit(ffnn.gradients)(SMALL, point.params, point.x, point.y)
    assert_close((value, grads.params), (plain[0], plain[1].params), 3e-2)
    autodiff = jax.jit(jax.grad(ffnn.loss_autodiff, 1))
    assert_close(grads.params, autodiff(net, point.params, point.x, point.y), 3e-2)


@pytest.mark.parametrize("given", [False, True], ids=["automatic", "given"])
@pytest.mark.parametrize("dtype", ["float64"])
def test_loss_of_ones_own(given, dtype):
    def value(yhat, y):
        return jnp.sum(jnp.log(jnp.cosh(yhat - y["target"])) * y["scale"], axis=-1)

    def gradient(yhat, y):
        return jnp.tanh(yhat - y["target"]) * y["scale"]

    loss = ffnn.Loss("log_cosh", value, gradient if given else None)
    net = ffnn.Network((3, 4, 2), "tanh", loss=loss)
    point = examples(net, dtype=dtype)
    y = {"target": point.y, "scale": jnp.abs(point.y) + 1, "name": jnp.arange(6)}
    grads = jax.grad(ffnn.loss, argnums=(1, 3), allow_int=True)(net, point.params, point.x, y)
    expected = jax.grad(ffnn.loss_autodiff, argnums=(1, 3), allow_int=True)(
        net, point.params, point.x, y
    )
    assert grads[1]["name"].dtype == expected[1]["name"].dtype == jax.dtypes.float0
    for tree in (grads[1], expected[1]):
        del tree["name"]
    assert_close(grads, expected, 1e-13)
    yhat = ffnn.apply(net, point.params, point.x)
    shown = ffnn.gradients(net, point.params, point.x, y)[1].yhat
    np.testing.assert_allclose(shown, gradient(yhat, y) / 6, rtol=1e-12)


def test_user_loss_may_bear_a_known_name():
    """A loss of one's own called cross_entropy is not taken for the library's."""

    def halved(yhat, y):
        return 0.5 * jnp.sum((yhat - y) ** 2, axis=-1)

    net = ffnn.Network((3, 2), output="softmax", loss=ffnn.Loss("cross_entropy", halved))
    point = examples(net)
    grads = jax.grad(ffnn.loss, 1)(net, point.params, point.x, point.y)
    assert_close(grads, jax.grad(ffnn.loss_autodiff, 1)(net, point.params, point.x, point.y), 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_of_any_size(dtype):
    """Only the ratios of the weights count, also where the dtype could not hold them."""
    point = examples(SMALL, dtype=dtype)
    weights = np.array([1.0, 2.0, 0.5, 3.0, 1.5, 1.0])

    def gradients(weights):
        return ffnn.gradients(SMALL, point.params, point.x, point.y, weights=weights)

    def of_weights(loss):
        return jax.jit(
            jax.value_and_grad(lambda w: loss(SMALL, point.params, point.x, point.y, weights=w))
        )

    ours = of_weights(ffnn.loss)
    _, right = of_weights(ffnn.loss_autodiff)(jnp.asarray(weights, jnp.float32))
    expected = gradients(weights)
    for size in (1e-9, 1e5, 1e29):
        found = gradients(size * weights)
        assert_close((found[0], found[1].params), (expected[0], expected[1].params), 2e-2)
        value, slope = ours(jnp.asarray(size * weights, jnp.float32))
        assert_close(value, expected[0], 2e-2)
        assert_close(slope * np.float32(size), right, 5e-2)


def test_the_weighted_loss_of_many_float16_examples():
    """1/N is below the normal range of float16; the mean is taken in float32."""
    net = ffnn.Network((1, 1))
    params = (ffnn.Layer(jnp.ones((1, 1), jnp.float16), jnp.zeros(1, jnp.float16)),)
    x, y = np.ones((10**6, 1), np.float16), np.zeros(10**6, np.float16)
    assert ffnn.loss(net, params, x, y, weights=np.ones(10**6)) == 1


@pytest.mark.parametrize("given", [False, True], ids=["automatic", "given"])
def test_a_loss_of_ones_own_of_another_float_dtype(given):
    """A loss that computes in float32 belongs to a network in bfloat16."""

    def value(yhat, y):
        return jnp.sum((yhat.astype(jnp.float32) - y) ** 2, axis=-1)

    def gradient(yhat, y):
        return 2 * (yhat.astype(jnp.float32) - y)

    net = ffnn.Network((3, 2), loss=ffnn.Loss("mine", value, gradient if given else None))
    point = examples(net, dtype="bfloat16")
    y = point.y.astype(jnp.float32)
    grads = jax.grad(ffnn.loss, (1, 3))(net, point.params, point.x, y)
    expected = jax.grad(ffnn.loss_autodiff, (1, 3))(net, point.params, point.x, y)
    assert_close(grads, expected, 2e-2)
    assert ffnn.loss(net, point.params, point.x, y).dtype == jnp.bfloat16


def test_a_scaled_loss_of_many_float16_examples():
    """Loss scaling: 2¹⁵ / N is a number of float16 where 1/N is hardly one."""
    net = ffnn.Network((1, 1))
    params = (ffnn.Layer(jnp.ones((1, 1), jnp.float16), jnp.zeros(1, jnp.float16)),)
    x, y = np.ones((10**6, 1), np.float16), np.full(10**6, 0.5, np.float16)
    slope = jax.grad(lambda x: 2**15 * ffnn.loss(net, params, x, y))(x)
    np.testing.assert_allclose(slope[0, 0].astype(np.float32), 2**15 / 10**6, rtol=2e-3)
