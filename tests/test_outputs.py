"""Outputs and losses: each pair against its definition, and where the definition overflows."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LOSSES, OUTPUTS

from ffnn_jax import outputs
from ffnn_jax.losses import LOSSES as TABLE
from ffnn_jax.outputs import OUTPUTS as O

PAIRS = list(itertools.product(OUTPUTS, LOSSES))
DRAW = np.random.default_rng(0)
A = DRAW.standard_normal((6, 4))
Y = DRAW.dirichlet(np.ones(4), 6)
CLASSES = np.array([0, 1, 2, 3, 3, 0], np.int32)


def by_definition(output, loss, a, y):
    """ℓ in plain NumPy, straight from the formulas."""
    yhat = {
        "linear": lambda: a,
        "softmax": lambda: np.exp(a) / np.exp(a).sum(-1, keepdims=True),
        "logistic": lambda: 1 / (1 + np.exp(-a)),
    }[output]()
    return {
        "squared_error": lambda: ((yhat - y) ** 2).sum(-1),
        "cross_entropy": lambda: -(y * np.log(yhat)).sum(-1),
        "binary_cross_entropy": lambda: -(y * np.log(yhat) + (1 - y) * np.log(1 - yhat)).sum(-1),
    }[loss]()


def pre_activations(output, loss):
    """a_L; for a linear output before a logarithm it must be a probability."""
    return 0.1 + 0.8 / (1 + np.exp(-A)) if output == "linear" and loss != "squared_error" else A


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_value_is_the_definition(output, loss):
    a = pre_activations(output, loss)
    found = outputs.example_losses(output, TABLE[loss], jnp.asarray(a), jnp.asarray(Y))
    np.testing.assert_allclose(found, by_definition(output, loss, a, Y), rtol=1e-12)
    one_hot = np.eye(4)[CLASSES]
    found = outputs.example_losses(output, TABLE[loss], jnp.asarray(a), jnp.asarray(CLASSES))
    np.testing.assert_allclose(found, by_definition(output, loss, a, one_hot), rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("classes", [False, True], ids=["distribution", "class"])
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_gradients(output, loss, classes):
    """∇a_L and ∇ŷ against central differences of the definition; J_Oᵀ∇ŷ is ∇a_L."""
    a, y = pre_activations(output, loss), np.eye(4)[CLASSES] if classes else Y
    given = jnp.asarray(CLASSES if classes else Y)
    found = outputs.grad_a(output, TABLE[loss], jnp.asarray(a), given)
    slopes = np.empty_like(a)
    for j in range(4):
        step = 1e-6 * np.eye(4)[j]
        up, down = (by_definition(output, loss, a + s, y) for s in (step, -step))
        slopes[:, j] = (up - down) / 2e-6
    np.testing.assert_allclose(found, slopes, atol=1e-8)
    yhat = O[output].value(jnp.asarray(a))
    general = O[output].pullback(yhat, outputs.grad_yhat(TABLE[loss], yhat, given))
    np.testing.assert_allclose(found, general, atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("output", OUTPUTS)
def test_pullback_is_the_transposed_jacobian(output):
    a, g = jnp.asarray(A[0]), jnp.asarray(A[1])
    jacobian = jax.jacobian(O[output].value)(a)
    np.testing.assert_allclose(
        O[output].pullback(O[output].value(a), g), jacobian.T @ g, rtol=1e-12
    )


@pytest.mark.usefixtures("x64")
def test_targets_that_are_no_distribution():
    """∇a_L = ŷ Σy − y is the gradient for any y, not only for sums of 1."""
    y = 3 * jnp.asarray(Y) - 1
    for output, loss in PAIRS:
        a = jnp.asarray(pre_activations(output, loss))
        _, pull = jax.vjp(partial(outputs.example_losses, output, TABLE[loss], y=y), a)
        expected = pull(jnp.ones(6))[0]
        np.testing.assert_allclose(outputs.grad_a(output, TABLE[loss], a, y), expected, atol=1e-12)


EXTREME = np.array(
    [
        [1e30, -1e30, 0, 1],
        [-1e30, -1e30, -1e30, 1e30],
        [1e30] * 4,
        [0, 0, 0, -1e30],
        [88, -104, 0, 5],
    ]
)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("output", "loss"), [p for p in PAIRS if p[0] != "linear"])
def test_extreme_logits(output, loss, dtype):
    """Logits of ±1e30 and probabilities of 0: value and gradient as in exact arithmetic."""
    for y in (np.eye(4)[CLASSES[:5]], np.full((5, 4), 0.25), CLASSES[:5]):
        a = jnp.asarray(EXTREME.astype(jnp.dtype(dtype)))
        given = jnp.asarray(y if y.ndim == 1 else y.astype(jnp.dtype(dtype)))
        chex.assert_tree_all_finite(outputs.example_losses(output, TABLE[loss], a, given))
        found = outputs.grad_a(output, TABLE[loss], a, given)
        chex.assert_tree_all_finite(found)
        with jax.enable_x64(True):
            exact = jnp.asarray(np.asarray(a, np.float64))
            given = jnp.asarray(y if y.ndim == 1 else y.astype(np.float64))
            right = outputs.grad_a(output, TABLE[loss], exact, given)
        np.testing.assert_allclose(found.astype(np.float32), right, atol=4e-2, rtol=4e-2)


@pytest.mark.parametrize(
    ("label", "value", "gradient", "binary_value", "binary_gradient"),
    [
        (0, 0.0, [0, 0, 0], 0.0, [0, 0, 0]),
        (1, 2e30, [1, -1, 0], 3e30, [2, -1, -1]),
        (2, 1e30, [1, 0, -1], 2e30, [2, 0, -2]),
    ],
)
def test_extreme_logits_by_hand(label, value, gradient, binary_value, binary_gradient):
    """a = (1e30, −1e30, 0): ŷ = (1, 0, 0), log ŷ = (0, −2e30, −1e30), log(1 − ŷ_1) = −1e30."""
    a, y = jnp.array([[1e30, -1e30, 0.0]]), jnp.array([label])
    for loss, expected, slope in [
        ("cross_entropy", value, gradient),
        ("binary_cross_entropy", binary_value, binary_gradient),
    ]:
        found = outputs.example_losses("softmax", TABLE[loss], a, y)
        np.testing.assert_allclose(found, [expected], rtol=1e-6)
        found = outputs.grad_a("softmax", TABLE[loss], a, y)
        np.testing.assert_allclose(found, [slope], atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "a", "expected"),
    [
        ("float32", (0.0, 0.0, 1e30), (-1.5, -0.5, 2)),
        ("float32", (0.0, 0.0, 1e4), (-1.5, -0.5, 2)),
        ("float32", (0.0, -1e4, 1e30), (-2, 0, 2)),
        ("float32", (-1.0, -1.0, 90.0), (-1.5, -0.5, 2)),
        ("bfloat16", (0.0, 0.0, 20.0), (-1.5, -0.5, 2)),
        ("float16", (0.0, 0.0, 90.0), (-1.5, -0.5, 2)),
        ("float16", (-1.0, 1.0, 1e4), (-1.119203, -0.880797, 2)),
    ],
)
def test_the_ratio_of_small_probabilities_keeps_its_digits(dtype, a, expected):
    """Softmax of a logit far above the others, with binary cross-entropy, y the first class."""
    loss = TABLE["binary_cross_entropy"]
    found = outputs.grad_a("softmax", loss, jnp.asarray([a], dtype), jnp.array([0]))
    digits = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found[0].astype(np.float32), expected, rtol=digits, atol=digits)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_gradient_by_one_hot_targets(output, loss):
    """∂ℓ/∂y_j at y_j = 0 and 1 is the slope of the definition: linear or quadratic in y."""
    a, y = pre_activations(output, loss), np.eye(4)[CLASSES]
    of_y = partial(outputs.example_losses, output, TABLE[loss], jnp.asarray(a))
    found = jax.grad(lambda y: jnp.sum(of_y(y)))(jnp.asarray(y))
    for j in range(4):
        up, down = (by_definition(output, loss, a, y + s * np.eye(4)[j]) for s in (0.5, -0.5))
        np.testing.assert_allclose(found[:, j], up - down, rtol=1e-10)


def test_probability_0_of_a_class_that_did_not_happen():
    """0 · log 0 = 0, also in the gradient by ŷ."""
    yhat, y = jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 1.0]])
    for loss in ("cross_entropy", "binary_cross_entropy"):
        assert TABLE[loss].value(yhat, y) == 0
        chex.assert_tree_all_finite(TABLE[loss].gradient(yhat, y))
        chex.assert_tree_all_finite(jax.grad(lambda p, f=TABLE[loss].value: f(p, y)[0])(yhat))


def test_probability_0_of_the_class_that_happened():
    yhat, y = jnp.array([[0.0, 1.0]]), jnp.array([0])
    assert TABLE["cross_entropy"].value(yhat, y) == np.inf
    assert TABLE["cross_entropy"].gradient(yhat, y)[0, 0] == -np.inf
    assert TABLE["cross_entropy"].gradient(yhat, y)[0, 1] == 0


def test_confident_logistic_keeps_its_digits():
    """At a = 40, y = 1 the loss is e^{−40} and its gradient −e^{−40}; ŷ − y would be 0."""
    a, y = jnp.array([[40.0]]), jnp.array([[1.0]])
    loss = TABLE["binary_cross_entropy"]
    np.testing.assert_allclose(
        outputs.example_losses("logistic", loss, a, y), np.exp(-40), rtol=1e-6
    )
    np.testing.assert_allclose(outputs.grad_a("logistic", loss, a, y)[0], -np.exp(-40), rtol=1e-6)


def test_hits():
    yhat = jnp.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    assert outputs.example_hits("softmax", yhat, jnp.array([1, 2])).tolist() == [1, 0]
    assert outputs.example_hits("linear", yhat, jnp.array([1, 2])).tolist() == [1, 0]
    y = jnp.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    assert outputs.example_hits("softmax", yhat, y).tolist() == [1, 0]
    np.testing.assert_allclose(outputs.example_hits("logistic", yhat, y), [2 / 3, 1 / 3], rtol=1e-6)
    assert outputs.example_hits("linear", yhat, y) is None
    assert outputs.example_hits("linear", yhat, {"of": "one's own"}) is None


def test_hits_of_one_output():
    yhat = jnp.array([[0.2], [0.9]])
    for y in (jnp.array([0, 1]), jnp.array([0.0, 1.0]), jnp.array([[0.0], [1.0]])):
        assert outputs.example_hits("logistic", yhat, y).tolist() == [1, 1]
        assert outputs.example_hits("linear", yhat, y) is None
