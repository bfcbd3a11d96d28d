"""Penalties, the bound on each unit's weights, class weights, and gradients of inputs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close, examples, name_of
from sklearn.utils.class_weight import compute_sample_weight

import ffnn_jax as ffnn
from ffnn_jax.penalties import max_norm, penalized
from ffnn_jax.saliency import input_gradients
from ffnn_jax.training import init_state, train_step
from ffnn_jax.weights import class_weights

NET = ffnn.Network((4, 5, 3), activation="tanh", output="softmax")
POINT = examples(NET)
KEY = jax.random.key(0)


# Penalties ---------------------------------------------------------------------------------------


def test_penalties_by_their_formula():
    """ℒ + λ₁ Σ|W| + λ₂ ΣW²; ∇W = sweep + λ₁ sign W + 2 λ₂ W, sign 0 = 0; ∇b as without."""
    W = POINT.params[0].W.at[0, 0].set(0.0)
    params = (ffnn.Layer(W, POINT.params[0].b), POINT.params[1])
    objective = penalized(l1=0.3, l2=0.7)

    @jax.jit
    def both(params):
        args = (NET, params, POINT.x, POINT.y)
        return [jax.value_and_grad(fn, argnums=1)(*args) for fn in (ffnn.loss, objective)]

    (plain, grads), (value, found) = both(params)
    sizes = sum(np.abs(layer.W).sum() for layer in params)
    squares = sum((np.asarray(layer.W) ** 2).sum() for layer in params)
    np.testing.assert_allclose(value, plain + 0.3 * sizes + 0.7 * squares, rtol=1e-6)
    expected = tuple(
        ffnn.Layer(g.W + 0.3 * np.sign(p.W) + 1.4 * p.W, g.b)
        for g, p in zip(grads, params, strict=True)
    )
    assert_close(found, expected, 1e-6)


def test_check_gradients_of_a_penalized_loss():
    report = ffnn.check_gradients(
        penalized(l1=0.3, l2=0.7), (NET, *POINT[:3]), argnums=1, transforms=()
    )
    assert report.ok, str(report)


def test_penalties_are_counted_once_however_a_batch_is_cut():
    objective, optimizer = penalized(l1=0.3, l2=0.7), optax.sgd(0.1)
    state = init_state(NET, optimizer, KEY, params=POINT.params)

    @jax.jit
    def steps(state):
        options = {"weights": POINT.weights, "objective": objective}
        args = (NET, optimizer, state, POINT.x, POINT.y)
        return [train_step(*args, accumulate=k, **options) for k in (1, 3)]

    (whole, value), (parts, same) = steps(state)
    assert_close((parts.params, same), (whole.params, value), 1e-5)


def test_equal_penalties_compile_once():
    assert penalized(l1=0.1) == penalized(ffnn.loss, l1=0.1)
    assert hash(penalized(l1=0.1)) == hash(penalized(l1=0.1))
    assert len({penalized(l1=0.1), penalized(l2=0.1), penalized(ffnn.loss_autodiff, l1=0.1)}) == 3
    epoch = jax.jit(
        lambda net, objective, params: objective(net, params, POINT.x, POINT.y),
        static_argnames="objective",
    )
    for _ in range(2):
        epoch(NET, objective=penalized(l2=1e-3), params=POINT.params)
    assert epoch._cache_size() == 1


def test_options_of_the_objective_are_passed_on():
    def scaled(net, params, x, y, *, weights=None, factor=1.0):
        return factor * ffnn.loss(net, params, x, y, weights=weights)

    one, three = (penalized(scaled)(NET, *POINT[:3], factor=k) for k in (1.0, 3.0))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"l1": -0.1}, ValueError, "l1: expected a finite number of at least 0, got -0.1"),
        ({"l2": np.inf}, ValueError, "l2: expected a finite number of at least 0"),
        ({"l2": "0.1"}, TypeError, "l2: expected a number of at least 0"),
        ({"objective": "loss"}, TypeError, "objective: expected a function"),
    ],
)
def test_penalties_that_are_none(options, error, message):
    with pytest.raises(error, match=message):
        penalized(**options)


# Max-norm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_max_norm_is_the_projection_of_each_row(dtype):
    """P(W + u) − W: rows that are too long come down to c, the others and b move by u."""
    point = examples(NET, dtype=dtype)
    updates = jax.tree.map(lambda t: 3 * t[::-1], point.params)
    optimizer = optax.chain(optax.identity(), max_norm(1.5))

    @jax.jit
    def step(updates, params):
        moved, _ = optimizer.update(updates, optimizer.init(params), params)
        return optax.apply_updates(params, moved)

    found = step(updates, point.params)
    digits = 4 * float(jnp.finfo(dtype).eps)
    scaled = 0
    for layer, start, update in zip(found, point.params, updates, strict=True):
        free = np.asarray(start.W, np.float64) + np.asarray(update.W, np.float64)
        length = np.linalg.norm(free, axis=1, keepdims=True)
        scaled += np.sum(length > 1.5)
        expected = free * np.minimum(1, 1.5 / length)
        np.testing.assert_allclose(np.asarray(layer.W, np.float64), expected, atol=8 * digits)
        np.testing.assert_array_equal(layer.b, start.b + update.b)
    assert 0 < scaled < 8


def test_max_norm_in_training():
    optimizer = optax.chain(optax.sgd(1.0), max_norm(0.5))
    state = init_state(NET, optimizer, KEY, params=POINT.params)
    state, _ = jax.jit(train_step, static_argnums=1)(NET, optimizer, state, POINT.x, POINT.y)
    lengths = [np.linalg.norm(layer.W, axis=1) for layer in state.params]
    assert max(map(np.max, lengths)) <= 0.5 * (1 + 1e-6)


def test_max_norm_of_bad_input():
    for limit, error in ((0, ValueError), (np.nan, ValueError), ("3", TypeError)):
        with pytest.raises(error, match="limit: expected a"):
            max_norm(limit)
    with pytest.raises(ValueError, match="params: expected the parameters"):
        max_norm(1.0).update(POINT.params, optax.EmptyState())


# Class weights -----------------------------------------------------------------------------------

CLASSES = np.array([2, 0, 0, 5, 0, 2, 0], np.int32)


def test_balanced_weights_are_those_of_scikit_learn():
    found = class_weights(CLASSES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, compute_sample_weight("balanced", CLASSES), rtol=1e-6)
    np.testing.assert_allclose(found.mean(), 1, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(jnp.asarray(CLASSES)), found)


def test_weights_of_classes_as_given():
    expected = [3, 1, 1, 0, 1, 3, 1]
    assert class_weights(CLASSES, {0: 1, 2: 3.0, 5: 0, 9: 7}).tolist() == expected
    assert class_weights(CLASSES, (1, 9, 3, 9, 9, 0)).tolist() == expected
    assert class_weights(CLASSES, np.array([1, 9, 3, 9, 9, 0.0])).tolist() == expected


@pytest.mark.parametrize(
    ("y", "weights", "error", "message"),
    [
        (CLASSES, {0: 1, 2: 1}, ValueError, r"weights: expected one for each .*none for \[5\]"),
        (CLASSES, [1, 1, 1], ValueError, r"none for \[5\], got those of \[0, 1, 2\]"),
        (CLASSES - 1, [1] * 9, ValueError, r"none for \[-1\]"),
        (CLASSES, "balancd", ValueError, "weights: .*Did you mean 'balanced'"),
        (CLASSES, {0: 1, 2: -1, 5: 1}, ValueError, r"weights\[2\]: expected .* at least 0, got -1"),
        (CLASSES, {0: 0, 2: 0, 5: 0}, ValueError, "weights: expected a sum above 0"),
        (CLASSES, 3.0, TypeError, "weights: expected 'balanced', a mapping or a sequence"),
        (CLASSES, [[1, 2]], TypeError, "weights: expected 'balanced', a mapping or a sequence"),
        (CLASSES.astype(float), "balanced", TypeError, "y: expected classes, integers"),
        (CLASSES[None], "balanced", ValueError, r"y: expected shape \(N,\)"),
        (
            CLASSES[:0],
            "balanced",
            ValueError,
            r"y: expected shape \(N,\), N at least 1; got \(0,\)",
        ),
        ([0, 1], "balanced", TypeError, "y: expected an array"),
    ],
)
def test_class_weights_of_bad_input(y, weights, error, message):
    with pytest.raises(error, match=message):
        class_weights(y, weights)


# Gradients of inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "net",
    [NET, ffnn.Network((4, 5, 3), loss="huber(0.5)"), ffnn.Network((4, 2), output="logistic")],
    ids=name_of,
)
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_input_gradients_of_each_examples_own_loss(net, batch):
    point = examples(net, batch=batch)

    def own(x, y):
        return ffnn.loss_autodiff(net, point.params, x, y)

    by_autodiff = jax.grad(own)
    for _ in batch:
        by_autodiff = jax.vmap(by_autodiff)
    found = jax.jit(input_gradients)(net, point.params, point.x, point.y)
    assert_close(found, jax.jit(by_autodiff)(point.x, point.y), 2e-6)


@pytest.mark.parametrize("output", [0, 2])
def test_input_gradients_of_one_output(output):
    def of_output(x):
        return ffnn.apply_autodiff(NET, POINT.params, x)[..., output]

    def ours(params, x):
        return input_gradients(NET, params, x, output=output)

    found = jax.jit(ours)(POINT.params, POINT.x)
    assert_close(found, jax.jit(jax.vmap(jax.grad(of_output)))(POINT.x), 2e-6)


def test_input_gradients_of_bad_input():
    cases = [
        ({}, ValueError, "y, output: expected one of the two, got neither"),
        ({"y": POINT.y, "output": 0}, ValueError, "expected one of the two, got both"),
        ({"output": 3}, ValueError, "output: expected at most 2, got 3"),
        ({"output": -1}, ValueError, "output: expected at least 0, got -1"),
        ({"output": 1.0}, TypeError, "output: expected an int"),
        ({"y": POINT.y[:2]}, ValueError, "y: expected shape"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            input_gradients(NET, POINT.params, POINT.x, **options)
    chex.assert_shape(input_gradients(NET, POINT.params, POINT.x, output=np.int64(1)), (6, 4))
