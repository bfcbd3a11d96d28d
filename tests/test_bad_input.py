"""Bad input: an error that names the argument, what came and what was expected, uncompiled."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from cases import examples

import ffnn_jax as ffnn

NET = ffnn.Network((3, 4, 2), output="softmax")
POINT = examples(NET)
P, X, Y = POINT.params, POINT.x, POINT.y
CLASSES = np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture(autouse=True)
def _nothing_is_compiled(monkeypatch):
    """A refusal comes before any compilation, and nothing here is accepted."""

    def compiled(*_, **__):
        raise AssertionError("something was compiled")

    from jax._src import compiler

    monkeypatch.setattr(compiler, "compile_or_get_cached", compiled)


def refused(error, message, fn, *args, **kwargs):
    with pytest.raises(error) as caught:
        fn(*args, **kwargs)
    assert type(caught.value) is error
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((), ValueError, r"sizes: expected at least .* got \(\)"),
        ((3,), ValueError, r"sizes: expected at least .* got \(3,\)"),
        ((3, 0, 2), ValueError, r"sizes\[1\]: expected at least 1, got 0"),
        ((3, 4, -2), ValueError, r"sizes\[2\]: expected at least 1, got -2"),
        ((3, 4.0, 2), TypeError, r"sizes\[1\]: expected an int, got 4.0"),
        ((3, True, 2), TypeError, r"sizes\[1\]: expected an int, got True"),
        ((3, "4", 2), TypeError, r"sizes\[1\]: expected an int, got '4'"),
        (5, TypeError, r"sizes: expected .* a tuple of ints; got 5"),
        ("34", TypeError, r"sizes: expected .* got '34'"),
        (None, TypeError, r"sizes: expected .* got None"),
        (np.array(3), TypeError, r"sizes: expected .* got array\(3\)"),
        ((3, 10**20), ValueError, r"sizes\[1\]: expected at most 2147483647, got 1000"),
        ({3, 4}, TypeError, r"sizes: expected .* got \{3, 4\}"),
        (b"34", TypeError, r"sizes: expected .* got b'34'"),
    ],
)
def test_sizes(sizes, error, message):
    refused(error, message, ffnn.Network, sizes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"activation": "rellu"}, ValueError, "activation: 'rellu' .*Did you mean 'relu'"),
        ({"activation": "Sigmoid"}, ValueError, "Did you mean 'sigmoid'"),
        ({"activation": ("relu", "thanh")}, ValueError, r"activation\[1\].*Did you mean 'tanh'"),
        ({"activation": ("relu",)}, ValueError, "activation: expected one name, or 2 .*; got 1"),
        ({"activation": ("relu",) * 3}, ValueError, "activation: .*got 3"),
        ({"activation": jnp.tanh}, TypeError, "activation: expected a name or a tuple of 2"),
        ({"activation": ("relu", jnp.tanh)}, TypeError, r"activation\[1\]: expected a name"),
        ({"output": "sofmax"}, ValueError, "output: 'sofmax' .*Did you mean 'softmax'"),
        ({"output": None}, TypeError, "output: expected a name"),
        ({"loss": "crossentropy"}, ValueError, "loss: .*Did you mean 'cross_entropy'"),
        ({"loss": jnp.sum}, TypeError, "loss: expected a name"),
        ({"output": "zzz"}, ValueError, "output: 'zzz' is not one of linear, softmax, logistic.$"),
        ({"plan": "fast"}, TypeError, "plan: expected a Plan, got 'fast'"),
    ],
)
def test_names(arguments, error, message):
    refused(error, message, ffnn.Network, (3, 4, 4, 2), **arguments)


def test_plan_and_loss():
    refused(TypeError, "compute_dtype: expected float64, .* got 'int8'", ffnn.Plan, "int8")
    refused(TypeError, "compute_dtype: .* got 'half-ish'", ffnn.Plan, "half-ish")
    refused(TypeError, "compute_dtype: float64 needs 64-bit", ffnn.Plan, "float64")
    refused(TypeError, "compute_dtype: expected float64, .* got 'float8_", ffnn.Plan, "float8_e5m2")
    refused(TypeError, "value must be a function", ffnn.Loss, "mine", 3)
    refused(TypeError, "gradient must be a function or None", ffnn.Loss, "mine", jnp.sum, 3)
    refused(TypeError, "name must be a string", ffnn.Loss, jnp.sum, jnp.sum)


@pytest.mark.parametrize("key", [0, None, jnp.zeros(2), np.zeros((3, 2), np.uint32), "seed"])
def test_key(key):
    refused(TypeError, "key: expected one key", ffnn.init, NET, key)


def test_init():
    key = np.zeros(2, np.uint32)
    refused(TypeError, "dtype: expected .* got 'int32'", ffnn.init, NET, key, dtype="int32")
    refused(TypeError, "dtype: float64 needs 64-bit", ffnn.init, NET, key, dtype=float)
    refused(
        ValueError, "initializer: .*Did you mean 'he_normal'", ffnn.init, NET, key, initializer="he"
    )
    refused(TypeError, "net: expected a Network, got tuple; net comes first", ffnn.init, P, key)


OTHER = examples(ffnn.Network((3, 5, 2))).params
BAD_PARAMS = [
    (OTHER, ValueError, r"params\[0\].W: expected shape \(4, 3\), got \(5, 3\)"),
    (P[:1], ValueError, "params: expected 2 layers .* got 1"),
    ((P[0], tuple(P[1])), TypeError, r"params: expected a tuple of 2 Layer\(W, b\)"),
    (P[0], TypeError, "params: expected a tuple of 2"),
    ({"W": 1}, TypeError, "params: expected a tuple of 2 Layer.* got builtins.dict"),
    ((P[0], P[1]._replace(b=np.zeros((2, 1), np.float32))), ValueError, r"params\[1\].b: .*\(2,\)"),
    ((P[0], P[1]._replace(b=np.zeros(2, int))), TypeError, r"params\[1\].b: expected one of"),
    ((P[0], P[1]._replace(b=np.zeros(2, np.float16))), TypeError, "params: expected one dtype"),
    ((P[0], P[1]._replace(b="zero")), TypeError, r"params\[1\].b: expected an array"),
]
BAD_X = [
    (np.ones((6, 4), np.float32), ValueError, r"x: expected shape \(\*batch, 3\), got \(6, 4\)"),
    (np.ones((3, 6), np.float32), ValueError, r"x: expected shape \(\*batch, 3\), got \(3, 6\)"),
    (np.float32(1), ValueError, r"x: expected shape \(\*batch, 3\), got \(\)"),
    (np.ones((6, 3), int), TypeError, "x: expected a floating dtype, got int64"),
    (np.ones((6, 3), bool), TypeError, "x: expected a floating dtype, got bool"),
    (np.ones((6, 3), complex), TypeError, "x: expected a floating dtype, got complex"),
    (np.ones((0, 3), np.float32), ValueError, r"x: .* empty batch, shape \(0, 3\)"),
    ([[1.0, 2.0, 3.0]], TypeError, "x: expected an array, got a list of 1"),
    (np.array([["a"] * 3]), TypeError, "x: expected an array of numbers"),
    (None, TypeError, "x: expected an array"),
    (
        scipy.sparse.csr_matrix(np.ones((6, 3))),
        TypeError,
        r"x: expected an array.*use .toarray\(\)",
    ),
    (np.ones((6, 3)).astype("m8[s]"), TypeError, "x: expected an array of numbers, got dtype time"),
]
BAD_Y = [
    (CLASSES[:5], ValueError, r"y: expected shape \(6, 2\) or, .* \(6,\) .*got int\d+ \(5,\)"),
    (Y[:5], ValueError, r"y: expected shape \(6, 2\)"),
    (np.ones((6, 3), np.float32), ValueError, r"y: expected shape \(6, 2\)"),
    (np.ones(6, np.float32), ValueError, r"y: .* got float32 \(6,\); .* make them integers"),
    (CLASSES - 1, ValueError, "y: expected classes from 0 to 1, got from -1 to 0"),
    (CLASSES + 1, ValueError, "y: expected classes from 0 to 1, got from 1 to 2; subtract 1"),
    (CLASSES[:, None], ValueError, r"y: .* for classes pass y\[..., 0\]"),
    (CLASSES * 1j, TypeError, "y: expected integers or floats, got complex"),
    ([0, 1, 0, 1, 0, 1], TypeError, "y: expected an array"),
    (CLASSES.astype("m8[s]"), TypeError, "y: expected an array of numbers"),
]
BAD_WEIGHTS = [
    (np.ones(5, np.float32), ValueError, r"weights: expected shape \(6,\).*got \(5,\)"),
    (np.ones((6, 1), np.float32), ValueError, r"weights: expected shape \(6,\)"),
    (np.array([1, 1, 1, 1, 1, -1.0]), ValueError, "weights: .* none negative, .* -1 to 1"),
    (np.zeros(6), ValueError, "weights: expected a sum above 0, got 0"),
    (np.full(6, np.nan), ValueError, "weights: expected finite"),
    (np.ones(6, complex), TypeError, "weights: expected real"),
]


@pytest.mark.parametrize(("params", "error", "message"), BAD_PARAMS)
def test_params(params, error, message):
    for fn in (ffnn.loss, ffnn.loss_autodiff, ffnn.gradients):
        refused(error, message, fn, NET, params, X, Y)
    for fn in (ffnn.apply, ffnn.apply_autodiff, ffnn.forward):
        refused(error, message, fn, NET, params, X)
    refused(error, message, ffnn.init_state, NET, optax.sgd(0.1), KEY, params=params)


@pytest.mark.parametrize(("x", "error", "message"), BAD_X)
def test_x(x, error, message):
    for fn in (ffnn.loss, ffnn.loss_autodiff, ffnn.gradients):
        refused(error, message, fn, NET, P, x, Y)
    for fn in (ffnn.apply, ffnn.apply_autodiff, ffnn.forward):
        refused(error, message, fn, NET, P, x)


@pytest.mark.parametrize(("y", "error", "message"), BAD_Y)
def test_y(y, error, message):
    for fn in (ffnn.loss, ffnn.loss_autodiff, ffnn.gradients):
        refused(error, message, fn, NET, P, X, y)


@pytest.mark.parametrize(("weights", "error", "message"), BAD_WEIGHTS)
def test_weights(weights, error, message):
    for fn in (ffnn.loss, ffnn.loss_autodiff, ffnn.gradients):
        refused(error, message, fn, NET, P, X, Y, weights=weights)


def test_shapes_are_refused_while_tracing_too():
    refused(
        ValueError, r"x: expected shape", jax.jit(ffnn.loss), NET, P, np.ones((6, 2), np.float32), Y
    )
    refused(ValueError, r"y: expected shape", jax.vmap(ffnn.loss, (None, None, 0, 0)), NET, P, X, X)


def test_arguments_after_y_are_keyword_only():
    refused(TypeError, "positional", ffnn.loss, NET, P, X, Y, POINT.weights)


def test_y_of_a_loss_of_ones_own():
    net = ffnn.Network((3, 4, 2), loss=ffnn.Loss("mine", lambda yhat, y: yhat[..., 0] - y["t"]))
    message = r"y: expected the leading shape \(6,\) of x, got \(4, 2\)"
    refused(ValueError, message, ffnn.loss, net, P, X, {"t": np.ones((4, 2))})
    refused(TypeError, "y: expected an array", ffnn.loss, net, P, X, {"t": "text"})


# fit and its kin ---------------------------------------------------------------------------------

KEY = np.zeros(2, np.uint32)
SGD = optax.sgd(0.1)
WITH_NAN = np.where(np.arange(18).reshape(6, 3) == 7, np.nan, 1.0).astype(np.float32)


HUGE = np.where(np.isnan(WITH_NAN), 1e300, np.asarray(X, np.float64))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"data": (WITH_NAN, CLASSES)},
            ValueError,
            r"x: expected finite numbers, got nan at \[2, 1\]",
        ),
        (
            {"data": (np.asarray(X) * np.inf, CLASSES)},
            ValueError,
            "x: expected finite numbers, got -?inf",
        ),
        ({"data": (X, np.asarray(Y) * np.nan)}, ValueError, "y: expected finite numbers, got nan"),
        ({"data": (X, 2 * np.asarray(Y))}, ValueError, "y: expected distributions, .* sum of 2"),
        ({"data": (X, np.asarray(Y) - 0.5)}, ValueError, "y: expected distributions, .* below 0"),
        ({"data": (X, CLASSES + 5)}, ValueError, "y: expected classes from 0 to 1"),
        ({"data": (X, CLASSES[:4])}, ValueError, "y: expected shape"),
        ({"data": X}, TypeError, "data: expected"),
        ({"data": (X[0], CLASSES[0])}, ValueError, r"x: expected shape \(N, 3\), got \(3,\)"),
        ({"batch_size": 7}, ValueError, "batch_size: expected at most .* 6; got 7"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected an int"),
        ({"epochs": 0}, ValueError, "epochs: expected at least 1, got 0"),
        ({"epochs": "ten"}, TypeError, "epochs: expected an int"),
        ({"optimizer": 0.1}, TypeError, "optimizer: expected an optax optimizer .* got 0.1"),
        ({"key": None}, ValueError, "key, state: expected one of the two, got neither"),
        ({"state": 3}, ValueError, "key, state: expected one of the two, got both"),
        ({"state": 3, "key": None}, TypeError, "state: expected a TrainState, got int"),
        ({"weights": -np.ones(6)}, ValueError, "weights: .* none negative"),
        ({"validation": (X, CLASSES + 5)}, ValueError, "validation: y: expected classes"),
        ({"validation": (WITH_NAN, CLASSES)}, ValueError, "validation: x: expected finite"),
        ({"validation": X}, TypeError, r"validation: expected \(x, y\), got"),
        ({"validation": ()}, TypeError, r"validation: expected \(x, y\), got a tuple of 0"),
        ({"validation": (X[0], CLASSES[0])}, ValueError, r"validation: x: expected shape \(N, 3\)"),
        ({"data": (X, CLASSES, X)}, TypeError, r"data: expected \(x, y\), got a tuple of 3"),
        ({"data": (HUGE, CLASSES)}, ValueError, "x: .* got 1e.300 at .* infinite in float32"),
        ({"progress": "yes"}, TypeError, "progress: expected True, False or None, got 'yes'"),
    ],
)
def test_fit(change, error, message):
    arguments = {
        "data": (X, CLASSES),
        "key": KEY,
        "optimizer": optax.sgd(0.1),
        "batch_size": 2,
        "epochs": 1,
        **change,
    }
    refused(error, message, ffnn.fit, NET, **arguments)


def test_binary_targets():
    net = ffnn.Network((3, 4, 2), output="logistic")
    state = ffnn.TrainState(P, optax.sgd(0.1).init(P), KEY, np.int32(0))
    refused(
        ValueError,
        "y: expected probabilities from 0 to 1, got values from 0 to 3",
        ffnn.fit,
        net,
        (X, np.arange(12).reshape(6, 2) % 4),
        state=state,
        optimizer=optax.sgd(0.1),
        batch_size=2,
        epochs=1,
    )


def test_state():
    for fn, more in ((ffnn.train_step, {}), (ffnn.train_epoch, {"batch_size": 2})):
        for state in (P, None, "state"):
            refused(
                TypeError, "state: expected a TrainState", fn, NET, SGD, state, X, CLASSES, **more
            )
        state = ffnn.TrainState(OTHER, (), KEY, np.int32(0))
        refused(ValueError, r"params\[0\].W", fn, NET, SGD, state, X, CLASSES, **more)
        refused(TypeError, "optimizer: expected", fn, NET, 0.1, state, X, CLASSES, **more)
        good = ffnn.TrainState(P, SGD.init(P), KEY, np.int32(0))
        for change, message in (
            ({"key": None}, "state.key: expected one key"),
            ({"key": 3}, "state.key: expected one key"),
            ({"step": 3.5}, "state.step: expected an int, got float64"),
            ({"step": np.zeros(2, int)}, r"state.step: expected an int, got int64\[2\]"),
            ({"step": "a"}, "state.step: expected an array, got builtins.str"),
        ):
            bad = good._replace(**change)
            refused(TypeError, message, fn, NET, SGD, bad, X, CLASSES, **more)
        as_list = good._replace(params=list(P))
        refused(
            TypeError, "state.params: expected a tuple", fn, NET, SGD, as_list, X, CLASSES, **more
        )
        more = {**more, "objective": "loss"}
        refused(TypeError, "objective: expected a function", fn, NET, SGD, good, X, CLASSES, **more)
        more = {**more, "objective": lambda net, p, x, y: 0.0}
        message = r"objective: expected a function of \(net, params, x, y"
        refused(TypeError, message, fn, NET, SGD, good, X, CLASSES, **more)


def test_the_state_of_another_optimizer():
    momentum = optax.sgd(0.1, momentum=0.9)
    of_all, of_one = (
        jax.tree.map(lambda t: np.zeros(t.shape, t.dtype), jax.eval_shape(momentum.init, params))
        for params in (P, P[:1])
    )
    for optimizer, opt_state in ((SGD, of_all), (momentum, of_one)):
        state = ffnn.TrainState(P, opt_state, KEY, np.int32(0))
        for fn, more in ((ffnn.train_step, {}), (ffnn.train_epoch, {"batch_size": 2})):
            refused(
                ValueError,
                "state.opt_state: expected the state of this optimizer",
                *(fn, NET, optimizer, state, X, CLASSES),
                **more,
            )


def test_train_epoch():
    sgd = optax.sgd(0.1)
    state = ffnn.TrainState(P, sgd.init(P), KEY, np.int32(0))
    epoch = ffnn.train_epoch
    refused(TypeError, "optimizer", epoch, NET, "sgd", state, X, CLASSES, batch_size=2)
    refused(ValueError, "batch_size: .* 7", epoch, NET, sgd, state, X, CLASSES, batch_size=7)
    refused(
        ValueError,
        "x: expected",
        epoch,
        NET,
        sgd,
        state,
        np.ones((6, 2), np.float32),
        CLASSES,
        batch_size=2,
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"learning_rate": 0.0}, ValueError, "learning_rate: expected a finite number above 0"),
        ({"learning_rate": -1}, ValueError, "learning_rate: .* got -1"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate: .* got nan"),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate: .* got inf"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate: expected a number above 0"),
        ({"learning_rate": np.ones(2)}, TypeError, "learning_rate: expected a number above 0"),
        ({"max_iterations": 0}, ValueError, "max_iterations: expected at least 1, got 0"),
        ({"max_iterations": 1.5}, TypeError, "max_iterations: expected an int"),
        ({"learning_rate": 1e39}, ValueError, "learning_rate: .* which is inf in float32"),
        ({"learning_rate": 1e-60}, ValueError, "learning_rate: .* which is 0.0 in float32"),
    ],
)
def test_gradient_descent(change, error, message):
    arguments = {"learning_rate": 0.1, **change}
    refused(error, message, ffnn.gradient_descent, NET, P, X, CLASSES, **arguments)


@pytest.mark.parametrize("size", [1e38, 1e-40, 1e-60])
def test_weights_whose_sum_float32_cannot_hold(size):
    weights = np.full(6, size)
    refused(
        ValueError,
        "weights: expected the largest from 1e-30 to 1e30, got",
        *(ffnn.loss, NET, P, X, CLASSES),
        weights=weights,
    )


def test_arrays_without_values():
    for x in (jax.ShapeDtypeStruct((6, 3), np.float32), np.ma.masked_less(X, 0)):
        refused(TypeError, "x: expected an array, got", ffnn.loss, NET, P, x, CLASSES)
    refused(TypeError, "key: expected one key", ffnn.init, NET, np.zeros(3, np.uint32))


def test_fit_inside_jit():
    def train(x):
        return ffnn.fit(NET, (x, CLASSES), key=KEY, optimizer=SGD, batch_size=2, epochs=1)

    refused(TypeError, "fit: .* being traced; fit is a loop of its own", jax.jit(train), X)

    def seeds(key):
        return ffnn.fit(NET, (X, CLASSES), key=key, optimizer=SGD, batch_size=2, epochs=1)

    refused(TypeError, "fit: .* use train_epoch", jax.vmap(seeds), np.zeros((3, 2), np.uint32))


ONE_OUTPUT = examples(ffnn.Network((3, 1))).params


def mine(value, gradient=None):
    return ffnn.Network((3, 4, 2), loss=ffnn.Loss("mine", value, gradient))


def squares(yhat, y):
    return jnp.sum((yhat - y) ** 2, axis=-1)


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (mine(lambda yhat, y: yhat), ValueError, r"Loss 'mine': expected one loss .* got \(6, 2\)"),
        (mine(lambda yhat, y: jnp.argmax(yhat, -1)), TypeError, "one loss .* floating; got int32"),
        (mine(lambda yhat, y: yhat[:, 0] > y[:, 0]), TypeError, "one loss .* floating; got bool"),
        (
            mine(squares, lambda yhat, y: (yhat - y)[:, :1]),
            ValueError,
            r"expected a gradient for each output, shape \(6, 2\); got \(6, 1\)",
        ),
        (
            mine(squares, lambda yhat, y: yhat > y),
            TypeError,
            "expected a gradient for each output, floating; got bool",
        ),
    ],
)
def test_a_loss_of_ones_own_of_the_wrong_kind(net, error, message):
    refused(error, message, jax.eval_shape, jax.grad(ffnn.loss, 1), net, P, X, Y)


def test_a_loss_of_every_pair_of_examples():
    """(N, 1) − (N,) is (N, N), and its sum over outputs has the shape of right losses."""
    with jax.numpy_rank_promotion("allow"):
        for net in (
            ffnn.Network((3, 1), loss=ffnn.Loss("mine", squares)),
            ffnn.Network((3, 1), loss=ffnn.Loss("mine", lambda p, y: p[:, 0] - y, squares)),
        ):
            message = r"Loss 'mine': ŷ is \(6, 1\) and y is \(6,\), .* take yhat\[..., 0\]"
            grad = jax.grad(ffnn.loss, 1)
            y = CLASSES.astype(np.float32)
            refused(ValueError, message, jax.eval_shape, grad, net, ONE_OUTPUT, X, y)


def test_complex_y():
    net = mine(lambda yhat, y: jnp.sum(jnp.abs(yhat - y), axis=-1))
    y = np.ones((6, 2), np.complex64)
    refused(
        TypeError,
        "y: expected real numbers, got complex64",
        ffnn.loss,
        net,
        P,
        X,
        y,
    )
