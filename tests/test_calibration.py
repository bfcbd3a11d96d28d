"""Temperature scaling against a grid and against scipy, and reliability by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from cases import examples

import ffnn_jax as ffnn
from ffnn_jax.calibration import fit_temperature, reliability, with_temperature

DRAW = np.random.default_rng(0)


def drawn(output, scale=3.0, N=400, K=4):
    """Logits `scale` times too far apart, with what happened."""
    a = DRAW.standard_normal((N, K))
    if output == "softmax":
        y = np.argmax(a + DRAW.gumbel(size=a.shape), axis=1)
    else:
        y = (DRAW.random(a.shape) < 1 / (1 + np.exp(-a))).astype(int)
    return scale * a, y


def mean_loss(T, a, y, weights, output):
    """The weighted mean −log ŷ, by scipy's own functions."""
    if output == "softmax":
        losses = scipy.special.logsumexp(a / T, axis=1) - (a / T)[np.arange(len(y)), y]
    else:
        losses = (np.logaddexp(0, a / T) - y * a / T).sum(axis=1)
    return np.average(losses, weights=weights)


@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
@pytest.mark.parametrize("scale", [0.01, 3.0, 1e20])
@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_the_temperature_is_the_best(output, scale, weighted):
    a, y = drawn(output, scale)
    weights = DRAW.uniform(0, 2, len(y)) if weighted else None
    found = fit_temperature(a, y, weights=weights, output=output)

    def of_log(t):
        return mean_loss(np.exp(t), a, y, weights, output)

    best = scipy.optimize.minimize_scalar(of_log, np.log(scale) + np.array([-1, 1]), tol=1e-12)
    assert found == pytest.approx(np.exp(best.x), rel=1e-6)
    step = 1e-4  # both sides of it are worse
    assert of_log(np.log(found)) < min(of_log(np.log(found) + s) for s in (-step, step))


def test_the_temperature_by_hand():
    """(t, 0) and a share p of the first class: σ(t/T) = p, so T = t / log(p / (1 − p))."""
    a, y = np.array([[5.0, 0.0]] * 10), np.array([0] * 8 + [1] * 2)
    assert fit_temperature(a, y) == pytest.approx(5 / np.log(4), rel=1e-12)
    one = fit_temperature(a[:, 0], 1 - y, output="logistic")
    assert one == pytest.approx(5 / np.log(4), rel=1e-12)
    weights = np.where(y == 0, 1.0, 8.0)  # as if 1 : 2
    with pytest.raises(ValueError, match="no better than chance"):
        fit_temperature(a, y, weights=weights)
    almost = np.array([[1.0, 0.0]] * 10_000)  # one wrong in ten thousand
    rare = np.zeros(10_000, int)
    rare[0] = 1
    assert fit_temperature(almost, rare) == pytest.approx(1 / np.log(9_999), rel=1e-9)


def test_where_no_temperature_is_best():
    a = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    with pytest.raises(ValueError, match="every example is right"):
        fit_temperature(a, np.array([0, 1]))
    with pytest.raises(ValueError, match="no better than chance"):
        fit_temperature(a, np.array([1, 0]))
    with pytest.raises(ValueError, match="no temperature is best"):
        fit_temperature(np.zeros((2, 3)), np.array([1, 0]))
    with pytest.raises(ValueError, match="every example is right"):
        fit_temperature(np.array([-1.0, 2.0]), np.array([0, 1]), output="logistic")


@pytest.mark.parametrize("output", ["softmax", "logistic"])
def test_a_network_with_its_temperature_inside(output):
    """ŷ of the new parameters is O(a_L / T), exactly what was fitted."""
    net = ffnn.Network((4, 5, 3), output=output)
    point = examples(net)
    params = with_temperature(point.params, 2.5)
    a = ffnn.forward(net, point.params, point.x).a[-1] / 2.5
    expected = jax.nn.softmax(a) if output == "softmax" else jax.nn.sigmoid(a)
    np.testing.assert_allclose(ffnn.apply(net, params, point.x), expected, rtol=1e-5)
    assert params[0] is point.params[0]
    assert params[1].W.dtype == jnp.float32


def test_calibrated_is_less_off():
    a, y = drawn("softmax", N=4000)

    def ece(a):
        return reliability(np.asarray(jax.nn.softmax(a)), y).ece

    T = fit_temperature(a[:2000], y[:2000])
    assert 2.7 < T < 3.3
    assert ece(a / T) < 0.3 * ece(a)


def test_reliability_by_hand():
    """Confidences 0.75, 0.75, 0.5, 1 in two bins: 0.5 belongs to the first."""
    yhat = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    found = reliability(yhat, np.array([0, 0, 0, 1]), bins=2)
    assert found.count.tolist() == [1, 3]
    np.testing.assert_allclose(found.confidence, [0.5, 2.5 / 3])
    np.testing.assert_allclose(found.accuracy, [1, 1 / 3])
    assert found.ece == pytest.approx(1 / 4 * 0.5 + 3 / 4 * 0.5)


def test_reliability_of_logistic_outputs():
    """Each output is an answer: 0.2 is a no with confidence 0.8."""
    yhat, y = np.array([[0.2, 0.9]]), np.array([[0, 0]])
    found = reliability(yhat, y, bins=10, output="logistic")
    assert found.count.tolist() == [0] * 7 + [1, 1, 0]
    assert found.accuracy[7:9].tolist() == [1, 0]
    assert np.isnan(found.confidence[0])
    assert found.ece == pytest.approx((0.2 + 0.9) / 2)
    flat = reliability(yhat[0], y[0], bins=10, output="logistic")
    assert flat.ece == found.ece


A, Y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit_temperature(A, Y.astype(float)), TypeError, "y: expected classes, integers"),
        (lambda: fit_temperature(A, Y + 2), ValueError, "y: expected classes from 0 to 1"),
        (lambda: fit_temperature(A, Y[:1]), ValueError, "y: expected shape"),
        (lambda: fit_temperature(A[0], Y), ValueError, r"logits: expected shape \(N, n_L\)"),
        (
            lambda: fit_temperature(np.full((2, 2), np.inf), Y),
            ValueError,
            "logits: expected finite numbers",
        ),
        (lambda: fit_temperature(A.tolist(), Y), TypeError, "logits: expected an array"),
        (lambda: fit_temperature(A, Y, weights=-Y - 1.0), ValueError, "weights: expected finite"),
        (lambda: fit_temperature(A, Y, output="linear"), ValueError, "output: 'linear' is not one"),
        (
            lambda: fit_temperature(A, Y, output="logistic"),
            ValueError,
            r"y: expected shape \(2, 2\)",
        ),
        (lambda: reliability(A + 1, Y), ValueError, "yhat: expected probabilities from 0 to 1"),
        (lambda: reliability(A, A + 1, output="logistic"), ValueError, "y: expected probabilities"),
        (lambda: reliability(A, Y, bins=0), ValueError, "bins: expected at least 1, got 0"),
        (lambda: with_temperature((), 1.0), TypeError, "params: expected a tuple of Layer"),
        (lambda: with_temperature(A, 1.0), TypeError, "params: expected a tuple of Layer"),
        (lambda: with_temperature((), 0.0), ValueError, "temperature: expected a finite number"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
