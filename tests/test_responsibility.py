"""Who is responsible: every figure against gradients that autodiff takes one example at a time."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import examples

import ffnn_jax as ffnn
from ffnn_jax.explain import responsibility
from ffnn_jax.units import unit_statistics

MIXED = ffnn.Network((4, 5, 6, 5, 3), activation=("gelu", "relu", "elu"), output="softmax")
SMALL = ffnn.Network((5, 6, 4, 3), activation=("tanh", "relu"), output="softmax")


def layers(*pairs, dtype="float32"):
    return tuple(ffnn.Layer(*(jnp.asarray(t, dtype) for t in pair)) for pair in pairs)


def by_autodiff(net, params, x, y):
    """g_n of each example in float64: [(∇W_k, ∇b_k) of shapes (N, …)]; ∇b_k is ∇a_k too."""
    with jax.enable_x64(True):
        params, x, y = jax.tree.map(
            lambda t: t if t.dtype == jnp.int32 else np.asarray(t, np.float64), (params, x, y)
        )
        own = jax.vmap(jax.grad(ffnn.loss_autodiff, argnums=1), in_axes=(None, None, 0, 0))
        return jax.tree.map(np.asarray, jax.jit(own)(net, params, x, y))


def norm(*parts):
    return math.sqrt(sum(float(np.sum(np.square(part))) for part in parts))


@pytest.fixture(scope="module")
def case():
    """The network with mixed activations, and five examples, one of weight 0: g_n, s_n, what is
    found, and y."""
    params, x, y, weights = examples(MIXED, seed=1, batch=(5,))
    weights = weights.at[2].set(0)
    share = np.asarray(weights, np.float64)
    found = responsibility(MIXED, params, x, y, weights=weights)
    return by_autodiff(MIXED, params, x, y), share / share.sum(), found, y


def test_layers_and_units(case):
    own, share, found, _ = case
    for k, (layer, g) in enumerate(zip(found.layers, own, strict=True), start=1):
        grad_a = share[:, None] * g.b
        grad_W = np.tensordot(share, g.W, 1)
        assert layer.layer == k
        assert layer.grad_a == pytest.approx(norm(grad_a), rel=1e-10)
        assert layer.grad_W == pytest.approx(norm(grad_W), rel=1e-10)
        assert layer.grad_b == pytest.approx(norm(grad_a.sum(axis=0)), rel=1e-10)
        np.testing.assert_allclose(layer.sizes, np.abs(grad_a).sum(axis=0), rtol=1e-10)
        np.testing.assert_allclose(found.gradients.a[k - 1], grad_a, rtol=1e-9, atol=1e-16)
        np.testing.assert_allclose(found.gradients.params[k - 1].W, grad_W, rtol=1e-9, atol=1e-16)
        sizes = np.abs(grad_W)
        strongest = [(one.i - 1, one.j - 1) for one in layer.weights]
        assert [sizes[at] for at in strongest] == pytest.approx(sorted(sizes.ravel())[:-6:-1])
        for one in layer.weights:
            place = one.i - 1, one.j - 1
            assert one.gradient == pytest.approx(grad_W[place])
            assert one.share == pytest.approx(sizes[place] / sizes.sum())
    for layer, above in itertools.pairwise(found.layers):
        assert layer.ratio == pytest.approx(layer.grad_a / above.grad_a)


def test_units_are_ranked_and_add_up(case):
    own, share, found, _ = case
    for layer, g in zip(found.layers[:-1], own[:-1], strict=True):
        assert sum(unit.share for unit in layer.units) == pytest.approx(1)
        assert [u.size for u in layer.units] == sorted((u.size for u in layer.units), reverse=True)
        for unit in layer.units:
            assert unit.grad_a == pytest.approx(share @ g.b[:, unit.unit - 1], abs=1e-15)
            assert unit.size == layer.sizes[unit.unit - 1]


def test_outputs(case):
    own, share, found, y = case
    for j, one in enumerate(found.outputs):
        assert one.output == j + 1
        assert one.y == pytest.approx(share @ np.asarray(y, np.float64)[:, j])
        assert one.grad_a == pytest.approx(share @ own[-1].b[:, j], abs=1e-15)
        assert one.grad_a == pytest.approx(one.yhat - one.y, abs=1e-7)  # Σ y is 1 in float32
        assert one.size == pytest.approx(share @ np.abs(own[-1].b[:, j]))


def test_examples(case):
    own, share, found, _ = case
    at = found.examples
    flat = np.concatenate([t.reshape(5, -1) for t in jax.tree.leaves(own)], axis=1)
    norms, mean = np.linalg.norm(flat, axis=1), share @ flat
    np.testing.assert_allclose(at.norms, norms, rtol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(at.pulls, axis=0), share * norms, rtol=1e-10)
    assert at.agreement == pytest.approx(norm(mean) / (share @ norms))
    assert at.unrelated == pytest.approx(norm(share * norms) / (share @ norms))
    np.testing.assert_allclose(at.along, share * (flat @ mean) / norm(mean), rtol=1e-9)
    assert at.along.sum() == pytest.approx(norm(mean))
    ranked = np.argsort(-share * norms)[: np.count_nonzero(share)] + 1
    assert at.hardest == tuple(ranked.tolist())
    for k, g in enumerate(own):
        both = np.concatenate([g.W.reshape(5, -1), g.b], axis=1)
        left, pulls = norm(share @ both), share @ np.linalg.norm(both, axis=1)
        assert at.layer_agreement[k] == pytest.approx(left / pulls)


def test_loss_and_shapes_are_those_of_the_library():
    net = ffnn.Network((5, 4, 3), activation="tanh", output="softmax")
    params, x, y, weights = examples(net, batch=(2, 3))
    found = responsibility(net, params, x, y, weights=weights)
    value, grads = jax.jit(ffnn.gradients)(net, params, x, y, weights=weights)
    assert found.loss == pytest.approx(float(value), rel=1e-5)
    assert jax.tree.map(jnp.shape, found.gradients) == jax.tree.map(jnp.shape, grads)
    assert {t.dtype for t in jax.tree.leaves(found.gradients)} == {np.dtype("float64")}
    flat = responsibility(net, params, x.reshape(6, 5), y.reshape(6, 3), weights=weights.reshape(6))
    assert str(flat) == str(found)
    assert (flat.examples.norms == found.examples.norms).all()


def test_no_weights_are_equal_weights():
    params, x, y, _ = examples(SMALL)
    found, equal = (responsibility(SMALL, params, x, y, weights=w) for w in (None, np.full(6, 3.0)))
    assert str(found) == str(equal)
    assert ", the mean over 6 examples." in str(found)


def test_quiet_units_are_those_of_unit_statistics():
    params, x, y, _ = examples(SMALL, seed=3)
    first = ffnn.Layer(50 * params[0].W, params[0].b)
    second = ffnn.Layer(params[1].W, params[1].b.at[1].set(-20).at[3].set(-20))
    params = (first, second, params[2])
    found = responsibility(SMALL, params, x, y)
    for layer, row in zip(found.layers, unit_statistics(SMALL, params, x, y), strict=False):
        assert len(layer.dead) / len(layer.sizes) == row["dead"]
        assert layer.saturated_share == pytest.approx(row["saturated"])
    assert found.layers[1].dead == (2, 4)
    assert found.layers[0].saturated
    assert "off at each of these examples, h and g′ 0: 2 of 4 units (h_22, h_24)" in str(found)


def test_an_example_of_weight_0_wakes_nobody():
    net = ffnn.Network((1, 1, 1))
    params = layers(([[1.0]], [0.0]), ([[1.0]], [0.0]))
    x, y = jnp.array([[-1.0], [1.0]]), jnp.zeros((2, 1))
    for weights, dead in ((None, ()), (jnp.array([1.0, 0.0]), (1,))):
        assert responsibility(net, params, x, y, weights=weights).layers[0].dead == dead


# Where it dies, explodes and cancels -------------------------------------------------------------


@pytest.mark.parametrize(
    ("W", "x", "flows", "flow"),
    [
        ((1.0, 0.5, 1.0), 1.0, ("steady", "steady", "steady"), "steady"),
        ((1.0, 0.05, 0.2), 1.0, ("dies", "steady", "steady"), "steady"),
        ((1.0, 0.11, 0.09), 1.0, ("steady", "dies", "steady"), "dies"),
        ((1.0, 11.0, 10.0), 1.0, ("explodes", "steady", "steady"), "explodes"),
        ((1.0, 1.0, 1.0), -1.0, ("silent", "stops", "steady"), "stops"),
    ],
)
def test_flow(W, x, flows, flow):
    net = ffnn.Network((1, 1, 1, 1), activation=("relu", "relu"))
    params = layers(*(([[w]], [0.0]) for w in W))
    if flows[0] == "silent":
        params = (params[0], ffnn.Layer(params[1].W, jnp.array([-5.0])), params[2])
    found = responsibility(net, params, jnp.array([1.0]), jnp.array([9.0]))
    assert tuple(layer.flow for layer in found.layers) == flows
    assert found.flow == flow
    for layer in found.layers:
        if layer.flow in ("dies", "explodes", "stops"):
            assert f"the gradient {layer.flow} at layer {layer.layer}" in str(found)


def test_an_overflow_is_told_and_is_no_warning():
    net = ffnn.Network((1, 1, 1), activation="identity", loss="poisson")
    found = responsibility(
        net, layers(([[1e3]], [0.0]), ([[1.0]], [0.0])), jnp.ones(1), jnp.ones(1)
    )
    assert found.loss == math.inf
    assert found.layers[0].flow == "overflows"
    assert "ℒ = ∞" in str(found)


LINE = ffnn.Network((2, 1))


@pytest.mark.parametrize(
    ("x", "y", "agreement", "unrelated"),
    [
        ([[1.0, 0.0]] * 4, [1.0] * 4, 1.0, 0.5),
        ([[1.0, 0.0]] * 2, [1.0, -1.0], 0.0, 2**-0.5),
        ([[1.0, 1.0], [1.0, -2.0]], [1.0, 1.0], None, None),
    ],
    ids=["as one", "opposite", "apart"],
)
def test_what_is_left_of_the_pulls(x, y, agreement, unrelated):
    params = layers(([[0.0, 0.0]], [0.0]))
    at = responsibility(LINE, params, jnp.array(x), jnp.array(y)).examples
    if agreement is None:  # g_n = −2 (x, 1): ⟨g_1, g_2⟩ = 4 (1 − 2 + 1) = 0
        assert at.agreement == pytest.approx(at.unrelated)
        return
    assert (at.agreement, at.unrelated) == pytest.approx((agreement, unrelated))


def test_an_example_that_pulls_against_the_others():
    x, y = jnp.ones((3, 2)), jnp.array([1.0, 1.0, -0.5])
    found = responsibility(LINE, layers(([[0.0, 0.0]], [0.0])), x, y)
    assert (found.examples.along < 0).tolist() == [False, False, True]
    assert "against the mean: 1 of 3; a small step down ℒ raises their loss" in str(found)


def test_nothing_to_answer_for():
    found = responsibility(LINE, layers(([[1.0, 0.0]], [0.0])), jnp.ones((2, 2)), jnp.ones(2))
    assert found.loss == 0
    assert found.layers[0].weights == found.examples.hardest == ()
    assert found.examples.agreement == 1
    assert "“Nothing is asked of me" in str(found)


# In words ----------------------------------------------------------------------------------------

STORY = """\
ℒ = 1. Who is responsible?
The output layer, L = 2: ŷ = a_2, loss squared_error
  ∇a_2 = 2(ŷ − y)
  ŷ = 6 and it ought to be 5: ∂ℒ/∂ŷ = 2, ∂ℒ/∂a_L1 = 2
  “I take responsibility for my part. But I am only as good as W_2, b_2 and h_1.”
h_1 = relu(a_1)
  ‖∇h_1‖ = 6.32, and through g′ ‖∇a_1‖ = 6, 3 times ‖∇a_2‖
  h_11 = 2: ∂ℒ/∂h_11 = 6, times g′(a_11) = 1 is ∂ℒ/∂a_11 = 6
  off at this example, h and g′ 0: 1 of 2 units (h_12)
  “I am only as good as W_1, b_1 and x.”
And now the weights and biases, which take full responsibility
  ‖∇ℒ‖ = 14.1, over all weights and biases
  ‖∇W_2‖ = 4, ‖∇b_2‖ = 2: 10 % of ‖∇ℒ‖²
  ∂ℒ/∂W_L11 = 4; all others are 0
  ‖∇W_1‖ = 12, ‖∇b_1‖ = 6: 90 % of ‖∇ℒ‖²
  ∂ℒ/∂W_111 = 12; all others are 0
On the way down
  ‖∇a_2‖ = 2 → ‖∇a_1‖ = 6
  ‖∇a_1‖ is 3 times ‖∇a_2‖"""


def test_the_story_of_one_example():
    net = ffnn.Network((1, 2, 1))
    params = layers(([[1.0], [-1.0]], [0.0, 0.0]), ([[3.0, -1.0]], [0.0]))
    found = responsibility(net, params, jnp.array([2.0]), jnp.array([5.0]))
    assert str(found) == STORY
    words = [line.removeprefix("- ").strip("*").strip() for line in found.markdown().splitlines()]
    assert [word for word in words if word] == [line.strip() for line in STORY.splitlines()]


def test_the_output_of_the_notes():
    net = ffnn.Network((1, 1, 1, 2), activation="tanh", output="softmax")
    h_2 = math.tanh(math.tanh(1))
    last = [[1.0], [2.0]], [math.log(0.89) - h_2, math.log(0.11) - 2 * h_2]
    params = layers(([[1.0]], [0.0]), ([[1.0]], [0.0]), last)
    said = str(responsibility(net, params, jnp.ones(1), jnp.array(1)))
    assert "ŷ_1 = 0.89 and it ought to be 0: ∂ℒ/∂ŷ_1 = 0, ∂ℒ/∂a_L1 = 0.89" in said
    assert "ŷ_2 = 0.11 and it ought to be 1: ∂ℒ/∂ŷ_2 = −9.09, ∂ℒ/∂a_L2 = −0.89" in said
    for k, below in ((3, "h_2"), (2, "h_1"), (1, "x")):
        assert f"only as good as W_{k}, b_{k} and {below}.”" in said


def test_numbers_in_words_multiply():
    net = ffnn.Network((4, 5, 5, 5, 3), activation=("gelu", "softplus", "tanh"), output="softmax")
    params, x, y, _ = examples(net, seed=1, batch=())
    said = str(responsibility(net, params, x, y)).replace("−", "-")
    number = r"(-?[\d.]+(?:e[-+]\d+)?)"
    told = re.findall(
        rf"∂ℒ/∂(h_\S+) = {number}, times g′\(\S+\) = {number} is \S+ = {number}", said
    )
    assert len(told) == 15
    for _, grad_h, slope, grad_a in told:
        assert float(grad_h) * float(slope) == pytest.approx(float(grad_a), rel=0.016)
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize(
    ("output", "loss", "y", "told"),
    [
        ("linear", "squared_error", [2.0, 3.0], "∇a_1 = 2(ŷ − y)\n  ŷ_1 = 0 and it ought to be 2:"),
        ("linear", "huber(0.5)", [2.0, 3.0], "∇a_1 = ∇ŷ\n  ŷ_1 = 0 and it ought to be 2: "),
        ("linear", "quantile(0.9)", [2.0, 3.0], "ŷ_1 = 0 and it ought to be 2: ∂ℒ/∂ŷ_1 = −0.9"),
        ("linear", "absolute_error", [2.0, 3.0], "ought to be 2: ∂ℒ/∂ŷ_1 = −1"),
        ("linear", "poisson", [2.0, 3.0], "ŷ_1 = 0, so e^ŷ_1 = 1, and it ought to be 2:"),
        ("logistic", "binary_cross_entropy", [1.0, 0.0], "∇a_1 = ŷ − y\n  ŷ_1 = 0.5 and"),
        ("logistic", "cross_entropy", [1.0, 0.0], "ŷ_2 = 0.5 and y_2 = 0: ∂ℒ/∂ŷ_2 = 0"),
        ("softmax", "smoothed_cross_entropy(0.2)", [1.0, 0.0], "ŷ_1 = 0.5 and it ought to be 0.9"),
        ("softmax", "squared_error", [1.0, 0.0], "∇a_1 = J_Oᵀ ∇ŷ, J_O = diag(ŷ) − ŷŷᵀ"),
    ],
)
def test_each_output_and_loss_is_told_as_it_is(output, loss, y, told):
    net = ffnn.Network((1, 2), output=output, loss=loss)
    params = layers(([[0.0], [0.0]], [0.0, 0.0]))
    found = responsibility(net, params, jnp.ones(1), jnp.array(y))
    assert told in str(found)
    value, grads = ffnn.gradients(net, params, jnp.ones(1), jnp.array(y))
    assert found.loss == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose([one.grad_a for one in found.outputs], grads.a[0], rtol=1e-6)


@pytest.mark.parametrize("y", [[0.5, 0.7], [0.0, 0.0]])
def test_targets_that_are_no_distribution_are_told_as_they_are(y):
    net = ffnn.Network((1, 2), output="softmax")
    params = layers(([[0.5], [-0.5]], [0.0, 0.0]))
    found = responsibility(net, params, jnp.ones(1), jnp.array(y))
    said = str(found)
    assert "∇a_1 = ŷ Σ_c y_c − y\n" in said
    assert f"ŷ_1 = 0.731 and y_1 = {y[0]:g}: " in said
    assert "ought to be" not in said
    for one in found.outputs:
        assert one.grad_a == pytest.approx(one.yhat * sum(y) - one.y, abs=1e-7)


def test_one_example_of_a_batch_that_is_no_distribution_changes_the_rule():
    net = ffnn.Network((1, 2), output="softmax")
    params, x = layers(([[0.5], [-0.5]], [0.0, 0.0])), jnp.ones((3, 1))
    mean_is_one = jnp.array([[0.5, 0.75], [0.5, 0.25], [0.25, 0.75]])
    assert "∇a_1 = (ŷ Σ_c y_c − y)/N" in str(responsibility(net, params, x, mean_is_one))
    third = responsibility(net, params, x, mean_is_one, weights=jnp.array([0.0, 0.0, 1.0]))
    assert "∇a_1 = (ŷ − y) · w/Σw" in str(third)


def test_a_loss_of_ones_own():
    def far(yhat, y):
        return jnp.sum(jnp.abs(yhat), axis=-1) * y["size"]

    net = ffnn.Network((2, 2), loss=ffnn.Loss("far", far))
    params = layers(([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]))
    found = responsibility(net, params, jnp.ones(2), {"size": jnp.array(3.0)})
    assert found.outputs[0].y is None
    assert "ŷ_1 = 1: ∂ℒ/∂ŷ_1 = 3, ∂ℒ/∂a_L1 = 3" in str(found)


def test_of_many_the_strongest_are_named_and_what_they_hold():
    net = ffnn.Network((30, 20, 12), activation="tanh", output="softmax")
    params, x, y, weights = examples(net, classes=True)
    found = responsibility(net, params, x, y, weights=weights, strongest=3)
    said = str(found)
    units = found.layers[0].units
    share = f"{100 * sum(unit.share for unit in units):.3g} %"
    assert len(units) == 3
    assert f"the strongest 3 of 20 units, with {share} of Σ|∇a_1|:" in said
    assert "the strongest 3 of 12 outputs" in said
    assert "the strongest 3 of 600, with" in said
    assert "∇a_2 = (ŷ − y) · w/Σw" in said
    assert "the weighted mean over 6 examples" in said
    assert said.count("% of the pull of all;") == 3
    assert re.search(r"W_1,\d+,\d+ = ", said)


# Dtypes and bad input ----------------------------------------------------------------------------


def test_of_short_parameters_with_dropout_and_a_plan():
    net = ffnn.Network(
        (5, 6, 3), output="softmax", dropout=0.5, plan=ffnn.Plan(compute_dtype="bfloat16")
    )
    params, x, y, _ = examples(net, dtype="bfloat16")
    found = responsibility(net, params, x, y)
    exact = np.asarray(x, np.float64) @ np.asarray(params[0].W, np.float64).T
    h = np.maximum(exact + np.asarray(params[0].b, np.float64), 0)
    for unit in found.layers[0].units:
        assert unit.h == pytest.approx(h[:, unit.unit - 1].mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"net": 3}, TypeError, "net: expected a Network"),
        ({"x": np.ones((6, 4), np.float32)}, ValueError, "x: expected shape"),
        ({"x": np.full((6, 5), np.nan, np.float32)}, ValueError, "x: expected finite numbers"),
        ({"y": np.full((6, 3), np.inf, np.float32)}, ValueError, "y: expected finite numbers"),
        ({"y": np.ones((4, 3), np.float32)}, ValueError, "y: expected shape"),
        ({"weights": np.zeros(6)}, ValueError, "weights: expected a sum above 0"),
        ({"strongest": 0}, ValueError, "strongest: expected at least 1"),
        ({"strongest": 2.0}, TypeError, "strongest: expected an int"),
    ],
)
def test_bad_input(change, error, words):
    params, x, y, _ = examples(SMALL)
    given = {"net": SMALL, "params": params, "x": x, "y": y, **change}
    with pytest.raises(error, match=words):
        responsibility(**given)


def test_parameters_that_are_not_finite_and_tracers():
    params, x, y, _ = examples(SMALL)
    broken = (params[0], ffnn.Layer(params[1].W.at[1, 2].set(jnp.nan), params[1].b), params[2])
    with pytest.raises(ValueError, match=r"params\[1\].W: expected finite numbers, got nan at \[1"):
        responsibility(SMALL, broken, x, y)
    with pytest.raises(TypeError, match="outside jit and grad"):
        jax.jit(lambda x: responsibility(SMALL, params, x, y).loss)(x)
    with pytest.raises(TypeError, match="outside jit and grad"):
        jax.jit(lambda t: t * responsibility(SMALL, params, x, y).loss)(1.0)
