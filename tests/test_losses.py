"""The losses beside the three old ones: values, kinks, names, and the sweep with each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sweep_checks
from cases import DTYPES, ROUNDING, examples, name_of

import ffnn_jax as ffnn
from ffnn_jax import losses, outputs
from ffnn_jax.losses import find_loss, huber, quantile, smoothed_cross_entropy

NAMES = ("absolute_error", "huber(0.5)", "quantile(0.9)", "poisson", "smoothed_cross_entropy(0.1)")
NETWORKS = [
    ffnn.Network((5, 6, 3), activation="tanh", output=output, loss=name)
    for name, output in [
        *((name, "linear") for name in NAMES[:4]),
        ("smoothed_cross_entropy(0.1)", "softmax"),
        ("smoothed_cross_entropy(0.1)", "logistic"),
        ("huber(0.2)", "softmax"),
    ]
]
DRAW = np.random.default_rng(0)
YHAT = DRAW.uniform(0.05, 0.9, (6, 4))
Y = DRAW.dirichlet(np.ones(4), 6)
CLASSES = np.array([0, 1, 2, 3, 3, 0], np.int32)


def by_definition(name, yhat, y):
    """ℓ in plain NumPy, straight from the formulas."""
    r = yhat - y
    s = 0.9 * y + 0.1 / y.shape[-1]
    return {
        "absolute_error": lambda: np.abs(r).sum(-1),
        "huber(0.5)": lambda: np.where(abs(r) <= 0.5, r**2 / 2, 0.5 * (abs(r) - 0.25)).sum(-1),
        "quantile(0.9)": lambda: np.where(r < 0, -0.9 * r, 0.1 * r).sum(-1),
        "poisson": lambda: (np.exp(yhat) - y * yhat).sum(-1),
        "smoothed_cross_entropy(0.1)": lambda: -(s * np.log(yhat)).sum(-1),
    }[name]()


@pytest.fixture(autouse=True)
def _double(request):
    """64-bit types where a test's dtype asks for them."""
    params = getattr(request.node, "callspec", None)
    with jax.enable_x64(params is not None and params.params.get("dtype") == "float64"):
        yield


# Values and gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "class"])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_by_definition(name, classes, dtype):
    loss, y = find_loss(name), np.eye(4)[CLASSES] if classes else Y
    given = jnp.asarray(CLASSES if classes else Y)
    found = loss.value(jnp.asarray(YHAT, dtype), given)
    np.testing.assert_allclose(found, by_definition(name, YHAT, y), rtol=1e-13)
    slopes = np.empty_like(YHAT)
    for j in range(4):
        step = 1e-6 * np.eye(4)[j]
        up, down = (by_definition(name, YHAT + s, y) for s in (step, -step))
        slopes[:, j] = (up - down) / 2e-6
    found = loss.gradient(jnp.asarray(YHAT, dtype), given)
    np.testing.assert_allclose(found, slopes, atol=1e-7)


def test_both_branches_of_huber_are_met():
    size = np.abs(YHAT - Y)
    assert size.min() < 0.4 < 0.6 < size.max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_at_and_near_the_kinks_are_those_of_autodiff(dtype):
    """|r| at 0, Huber at δ, the pinball at 0: what `jax.grad` of the plain form says."""
    r = np.array([[-2.0], [-0.5], [-0.25], [0.0], [0.25], [0.5], [2.0]])
    yhat, y = jnp.asarray(1 + r, dtype), jnp.ones((7, 1), dtype)
    for name in NAMES[:3]:
        loss = find_loss(name)
        expected = jax.grad(lambda p, value=loss.value: jnp.sum(value(p, y)))(yhat)
        found = loss.gradient(yhat, y)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(
            *(t.astype(np.float32) for t in (found, expected)), atol=2 * jnp.finfo(dtype).eps
        )


def test_values_at_the_kinks():
    at, beside = jnp.zeros((1, 1)), jnp.full((1, 1), 0.5)
    assert find_loss("absolute_error").gradient(at, at) == 0
    assert find_loss("huber(0.5)").gradient(beside, at) == 0.5
    assert find_loss("quantile(0.75)").gradient(at, at) == -0.25


def test_the_minimum_is_what_each_is_for():
    """Over one number ŷ: the median, the quantile, the logarithm of the mean."""
    y = jnp.asarray([[0.0], [1.0], [2.0], [3.0], [14.0]])
    grid = np.linspace(-1, 15, 161)

    def best(name):
        value = find_loss(name).value
        return grid[np.argmin([float(jnp.sum(value(jnp.full((5, 1), t), y))) for t in grid])]

    assert best("absolute_error") == pytest.approx(2)
    assert best("quantile(0.5)") == pytest.approx(2)
    assert best("quantile(0.9)") == pytest.approx(14)
    assert best("poisson") == pytest.approx(np.log(4), abs=0.06)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_the_sweep_against_autodiff(net, dtype):
    point = examples(net, dtype=dtype)
    sweep_checks.check_loss_gradients(ffnn, net, point, ROUNDING[dtype], weighted=dtype[0] == "f")


@pytest.mark.parametrize("whole", NETWORKS[:5], ids=name_of)
def test_check_gradients(whole):
    net = ffnn.Network((3, 2), output=whole.output, loss=whole.loss)
    point = examples(net, batch=(3,), classes=net.output == "softmax")
    args = (net, point.params, point.x, point.y)
    report = ffnn.check_gradients(ffnn.loss, args, argnums=(1, 2), transforms=("vmap",))
    assert report.ok, str(report)


# Smoothed labels ---------------------------------------------------------------------------------

EXTREME = np.array([[1e30, -1e30, 0, 1], [-1e30, -1e30, -1e30, 1e30], [1e30] * 4, [0, 0, 0, -1e30]])


@pytest.mark.parametrize("low", ["float32", "bfloat16"])
@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_extreme_logits(output, low):
    """Logits of ±1e30: value and gradient as in float64."""
    loss = smoothed_cross_entropy(0.1)
    for y in (np.full((4, 4), 0.25), CLASSES[:4]):

        def both(dtype, y=y):
            a = jnp.asarray(jnp.asarray(EXTREME, low), dtype)
            given = jnp.asarray(y if y.ndim == 1 else y.astype(jnp.dtype(dtype)))
            parts = (
                outputs.example_losses(output, loss, a, given),
                outputs.grad_a(output, loss, a, given),
            )
            return [np.asarray(part, np.float64) for part in parts]

        with jax.enable_x64(True):
            right = both("float64")
        for found, expected in zip(both(low), right, strict=True):
            assert np.all(np.isfinite(found))
            np.testing.assert_allclose(found, expected, rtol=4e-2, atol=4e-2)


def test_a_class_that_no_output_stands_for():
    """Its loss and gradient are 0, as with cross_entropy."""
    a, y = jnp.asarray([[1.0, 2.0], [0.5, 0.0]]), jnp.asarray([2, -1])
    for loss in (find_loss("cross_entropy"), smoothed_cross_entropy(0.1)):
        for output in ("softmax", "logistic"):
            assert not np.any(outputs.example_losses(output, loss, a, y))
            assert not np.any(outputs.grad_a(output, loss, a, y))


def test_no_smoothing_is_cross_entropy_itself():
    a, y = jnp.asarray(DRAW.standard_normal((6, 4)), jnp.float32), jnp.asarray(CLASSES)
    for function in (outputs.example_losses, outputs.grad_a):
        found = function("softmax", smoothed_cross_entropy(0), a, y)
        expected = function("softmax", find_loss("cross_entropy"), a, y)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_smoothed_labels_are_checked_as_those_of_cross_entropy():
    one, key = ffnn.Network((3, 1), output="softmax", loss=NAMES[4]), jax.random.key(0)
    net = ffnn.Network((3, 2), output="softmax", loss=NAMES[4])
    x, params = jnp.ones((4, 3)), ffnn.init(net, key)
    with pytest.raises(ValueError, match="y: expected classes from 0 to 1, got from 0 to 2"):
        ffnn.loss(net, params, x, jnp.asarray([0, 1, 2, 0]))
    with pytest.raises(ValueError, match="y: expected classes from 0 to 0"):
        ffnn.loss(one, ffnn.init(one, key), x, jnp.asarray([0, 1, 0, 0]))
    options = {"key": key, "optimizer": optax.sgd(0.1), "batch_size": 2, "epochs": 1}
    with pytest.raises(ValueError, match="y: expected distributions, each with the sum 1"):
        ffnn.fit(net, (x, jnp.ones((4, 2))), **options)


def test_counts_below_0_are_no_counts():
    net, x = ffnn.Network((3, 1), loss="poisson"), jnp.ones((4, 3))
    options = {"optimizer": optax.sgd(0.1), "batch_size": 2, "epochs": 1}
    with pytest.raises(ValueError, match="y: expected numbers of at least 0, got -1"):
        ffnn.fit(net, (x, jnp.asarray([0, 3, -1, 2])), key=jax.random.key(0), **options)


def test_classes_in_blocks_are_not_for_smoothed_labels():
    nets = [
        ffnn.Network((3, 5), output="softmax", loss=NAMES[4], plan=ffnn.Plan(class_blocks=wanted))
        for wanted in (True, False)
    ]
    point = examples(nets[0], classes=True)
    texts = [str(jax.make_jaxpr(ffnn.loss)(net, point.params, point.x, point.y)) for net in nets]
    assert texts[0] == texts[1]


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (huber(0.5), "huber(0.5)"),
        (huber(), "huber"),
        (huber(2), "huber(2)"),
        (huber(np.float32(0.5)), "huber( 5e-1 )"),
        (quantile(0.1), "quantile(0.1)"),
        (smoothed_cross_entropy(0), "smoothed_cross_entropy(0)"),
        (losses.LOSSES["poisson"], "poisson"),
    ],
)
def test_a_loss_and_its_name_make_the_same_network(loss, name):
    by_loss, by_name = (ffnn.Network((2, 3, 2), loss=given) for given in (loss, name))
    assert by_loss == by_name
    assert hash(by_loss) == hash(by_name)
    assert by_loss.loss == loss.name
    assert find_loss(loss.name) == loss
    assert ffnn.Network((2, 3, 2), loss=by_name.loss) == by_name


def test_equal_parameters_are_equal_losses():
    assert huber(0.3) == huber(0.3)
    assert hash(huber(0.3)) == hash(huber(0.3))
    assert len({huber(0.3), huber(0.4), quantile(0.3), smoothed_cross_entropy(0.3)}) == 4


def test_one_compilation_for_equal_losses():
    compiled = jax.jit(lambda net, params, x, y: ffnn.loss(net, params, x, y))
    for loss in (huber(0.5), "huber(0.5)", huber(0.5)):
        net = ffnn.Network((2, 1), loss=loss)
        compiled(net, ffnn.init(net, jax.random.key(0)), jnp.ones((3, 2)), jnp.ones((3, 1)))
    assert compiled._cache_size() == 1


def test_a_loss_of_ones_own_keeps_its_place():
    """Also under a name of ours: what it computes is what counts."""
    mine = ffnn.Loss("huber(0.5)", lambda yhat, y: jnp.sum((yhat - y) ** 4, axis=-1))
    net = ffnn.Network((2, 1), loss=mine)
    assert net.loss is mine
    assert net != ffnn.Network((2, 1), loss="huber(0.5)")
    odd = ffnn.Loss("huber(of mine", mine.value)
    assert ffnn.Network((2, 1), loss=odd).loss is odd


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("hubber", ValueError, "loss: 'hubber' is not one of .*Did you mean 'huber'"),
        ("mae", ValueError, "Did you mean 'absolute_error'"),
        ("l1", ValueError, "Did you mean 'absolute_error'"),
        ("pinball(0.5)", ValueError, "'pinball' is not one of .*Did you mean 'quantile'"),
        ("smooth_l1", ValueError, "Did you mean 'huber'"),
        ("quantile", ValueError, r"loss: expected quantile\(number\), got 'quantile'"),
        ("smoothed_cross_entropy", ValueError, r"expected smoothed_cross_entropy\(number\)"),
        ("huber(wide)", ValueError, r"loss: expected huber\(number\), got 'huber\(wide\)'"),
        ("huber()", ValueError, r"loss: expected huber\(number\), got 'huber\(\)'"),
        ("poisson(2)", ValueError, r"loss: poisson has no parameter, got 'poisson\(2\)'"),
        ("huber(0)", ValueError, r"loss: 'huber\(0\)': delta: expected a finite number above 0"),
        ("huber(inf)", ValueError, "delta: expected a finite number above 0"),
        ("quantile(1)", ValueError, "level: expected a number between 0 and 1, got 1.0"),
        ("quantile(nan)", ValueError, "level: expected"),
        ("smoothed_cross_entropy(1)", ValueError, "smoothing: expected at least 0 and below 1"),
        ("smoothed_cross_entropy(-0.1)", ValueError, "smoothing: expected"),
        (huber, TypeError, "loss: expected a name or a Loss, got <function huber.*call it"),
    ],
)
def test_names_that_are_none(loss, error, message):
    with pytest.raises(error, match=message):
        ffnn.Network((2, 1), loss=loss)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: huber(-1), ValueError, "delta: expected a finite number above 0, got -1"),
        (lambda: huber("1"), TypeError, "delta: expected a number above 0, got '1'"),
        (lambda: quantile(1.5), ValueError, "level: expected a number between 0 and 1, got 1.5"),
        (lambda: quantile(True), TypeError, "level: expected"),
        (lambda: smoothed_cross_entropy(None), TypeError, "smoothing: expected"),
    ],
)
def test_parameters_that_are_none(call, error, message):
    with pytest.raises(error, match=message):
        call()
