"""A batch in parts is the batch: weights, ragged ends, penalties, every kind of y."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close, examples

import ffnn_jax as ffnn

NET = ffnn.Network((4, 8, 3), activation="tanh", output="softmax")
KEY = jax.random.key(0)
SGD = optax.sgd(0.5)


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        yield


def penalised(net, params, x, y, *, weights=None):
    penalty = sum(jnp.sum(layer.W**2) for layer in params)
    return ffnn.loss(net, params, x, y, weights=weights) + 0.5 * penalty


def steps(point, k, net=NET, optimizer=SGD, **options):
    """A step in one part and one in k."""
    state = ffnn.init_state(net, optimizer, KEY, params=point.params)
    step = jax.jit(ffnn.train_step, static_argnames=("optimizer", "objective", "accumulate"))
    for accumulate in (k, 1):
        after, value = step(
            net, optimizer, state, point.x, point.y, accumulate=accumulate, **options
        )
        yield after.params, after.opt_state, value


@pytest.mark.parametrize("objective", [ffnn.loss, penalised])
@pytest.mark.parametrize("weights", [None, "uneven", "some parts 0", "all 0"])
def test_a_step_in_parts_is_the_step(weights, objective):
    point = examples(NET, batch=(12,), classes=True)
    given = {
        None: None,
        "uneven": jnp.linspace(0.01, 5, 12),
        "some parts 0": jnp.where(jnp.arange(12) < 5, 2.0, 0.0),
        "all 0": jnp.zeros(12),
    }[weights]
    found, expected = steps(point, 4, weights=given, objective=objective)
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        point = examples(NET, batch=(12,), dtype=dtype)
        rounding = {"float64": 1e-14, "bfloat16": 2e-2, "float16": 2e-3}
        for weights in (point.weights, None):
            found, expected = steps(point, 3, weights=weights)
            assert_close(found, expected, rounding[dtype])


def test_two_batch_axes_and_a_y_of_ones_own():
    def value(yhat, y):
        return jnp.sum((yhat - y["t"]) ** 2, axis=-1)

    net = ffnn.Network((4, 8, 3), loss=ffnn.Loss("mine", value))
    point = examples(net, batch=(4, 3))
    point = point._replace(y={"t": point.y})
    found, expected = steps(point, 2, net, weights=point.weights)
    assert_close(found, expected, 1e-6)


def test_a_line_search_sees_the_whole_batch():
    point = examples(NET, batch=(12,), classes=True)
    found, expected = steps(point, 3, optimizer=optax.lbfgs(), weights=point.weights)
    assert_close(found[0], expected[0], 1e-4)


@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
def test_fit_with_a_ragged_end(weighted):
    """Of 50 examples in batches of 16 the last batch has two, and parts with none."""
    draw = np.random.default_rng(0)
    data = draw.standard_normal((50, 4)).astype(np.float32), draw.integers(0, 3, 50)
    options = {
        "key": KEY,
        "optimizer": SGD,
        "batch_size": 16,
        "epochs": 3,
        "weights": draw.uniform(0, 3, 50) if weighted else None,
    }
    expected = ffnn.fit(NET, data, **options)
    found = ffnn.fit(NET, data, accumulate=8, **options)
    assert_close(found.params, expected.params, 1e-5)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-5)


def test_memory_is_that_of_a_part():
    net = ffnn.Network((16, 64, 64, 3), output="softmax")
    state = ffnn.init_state(net, SGD, KEY)
    x, y = jnp.ones((4096, 16)), jnp.zeros(4096, jnp.int32)
    step = jax.jit(ffnn.train_step, static_argnames=("optimizer", "accumulate"))
    temp = {
        k: step.lower(net, SGD, state, x, y, accumulate=k)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for k in (1, 16)
    }
    assert temp[16] < temp[1] / 4


def test_one_part_is_compiled_to_what_it_was():
    point = examples(NET, batch=(12,), classes=True)
    state = ffnn.init_state(NET, SGD, KEY, params=point.params)
    plain, one = (
        str(
            jax.make_jaxpr(lambda s, k=k: ffnn.train_step(NET, SGD, s, point.x, point.y, **k))(
                state
            )
        )
        for k in ({}, {"accumulate": 1})
    )
    assert plain == one
    assert "scan" not in plain


@pytest.mark.parametrize(
    ("accumulate", "error", "message"),
    [
        (0, ValueError, "accumulate: expected at least 1, got 0"),
        (2.0, TypeError, "accumulate: expected an int"),
        (5, ValueError, "accumulate: expected a divisor of .*, 12; got 5"),
    ],
)
def test_bad_input(accumulate, error, message):
    point = examples(NET, batch=(12,), classes=True)
    state = ffnn.init_state(NET, SGD, KEY, params=point.params)
    args, options = (point.x, point.y), {"accumulate": accumulate}
    with pytest.raises(error, match=message):
        ffnn.train_step(NET, SGD, state, *args, **options)
    with pytest.raises(error, match=message):
        ffnn.train_epoch(NET, SGD, state, *args, batch_size=12, **options)
    with pytest.raises(error, match=message):
        ffnn.fit(NET, args, state=state, optimizer=SGD, batch_size=12, epochs=1, **options)


def test_an_objective_of_ones_own_sees_y_as_it_came():
    """With y (N, 1) in place of (N,) this would be the mean over all pairs."""

    def squared_error(net, params, x, y, *, weights=None):
        return jnp.mean((ffnn.apply(net, params, x)[:, 0] - y) ** 2)

    net = ffnn.Network((4, 8, 1), activation="tanh")
    point = examples(net, batch=(8,))._replace(y=jnp.sin(jnp.arange(8.0)))
    in_parts, whole = steps(point, 4, net, objective=squared_error)
    assert_close(in_parts, whole, 1e-6)
