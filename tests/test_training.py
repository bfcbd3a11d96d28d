"""Steps, epochs, fit and gradient descent: against plain loops, bit for bit, and when stopped."""

import pickle
import signal
import subprocess
import sys
import textwrap

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close, examples

import ffnn_jax as ffnn
from ffnn_jax import epochs as epochs_module
from ffnn_jax import fitting, network, training

NET = ffnn.Network((4, 8, 3), activation="tanh", output="softmax")
KEY = jax.random.key(0)
SGD = optax.sgd(0.1)
step = jax.jit(ffnn.train_step, static_argnames=("optimizer", "objective"))
loss = jax.jit(ffnn.loss)


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        yield


def data(n=50, net=NET, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, net.sizes[0])).astype(np.float32)
    return x, draw.integers(0, net.sizes[-1], n).astype(np.int32)


def leaves_equal(one, other):
    chex.assert_trees_all_equal(
        *(jax.tree.map(as_numbers, tree) for tree in (one, other)), strict=True
    )


def as_numbers(t):
    is_key = isinstance(t, jax.Array) and jnp.issubdtype(t.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(t) if is_key else t)


# A step ------------------------------------------------------------------------------------------


def test_step_is_the_formula():
    point = examples(NET, classes=True)
    state = ffnn.init_state(NET, SGD, KEY, params=point.params)
    after, value = step(NET, SGD, state, point.x, point.y, weights=point.weights)
    expected, grads = jax.jit(ffnn.gradients)(
        NET, point.params, point.x, point.y, weights=point.weights
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    moved = jax.tree.map(lambda p, g: p - 0.1 * g, point.params, grads.params)
    assert_close(after.params, moved, 1e-6)
    assert after.step == 1
    leaves_equal(after.key, state.key)


def test_step_without_jit():
    point = examples(NET, classes=True)
    state = ffnn.init_state(NET, SGD, KEY, params=point.params)
    after, value = ffnn.train_step(NET, SGD, state, point.x, point.y)
    expected, expected_value = step(NET, SGD, state, point.x, point.y)
    assert_close((after.params, value), (expected.params, expected_value), 1e-6)
    assert after.key is state.key


def test_step_on_autodiff():
    point = examples(NET, classes=True)
    state = ffnn.init_state(NET, SGD, KEY, params=point.params)
    ours, _ = step(NET, SGD, state, point.x, point.y)
    theirs, _ = step(NET, SGD, state, point.x, point.y, objective=ffnn.loss_autodiff)
    assert_close(ours.params, theirs.params, 1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(1e-2),
        optax.adamw(optax.cosine_decay_schedule(1e-2, 100)),
        optax.sgd(optax.exponential_decay(0.1, 10, 0.9), momentum=0.9, nesterov=True),
        optax.chain(optax.clip_by_global_norm(1.0), optax.rmsprop(1e-2)),
        optax.lbfgs(),
        optax.polyak_sgd(),
        optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
        optax.MultiSteps(optax.sgd(0.1), 2),
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.05)),
    ],
    ids=["adam", "adamw", "momentum", "chain", "lbfgs", "polyak", "plateau", "multi", "sam"],
)
def test_any_optimizer(optimizer):
    x, y = ffnn.load_iris()
    x = ffnn.standardize(x)[0]
    state = ffnn.init_state(NET, optimizer, KEY)
    before = loss(NET, state.params, x, y)
    for _ in range(2):
        state, losses = ffnn.train_epoch(NET, optimizer, state, x, y, batch_size=50)
    assert losses.shape == (3,)
    assert loss(NET, state.params, x, y) < before
    assert state.step == 6


# An epoch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
@pytest.mark.parametrize(("n", "batch_size"), [(48, 16), (50, 16), (5, 5), (7, 1), (5, 4)])
def test_epoch_is_a_loop_over_batches(n, batch_size, weighted):
    """The scan, its shuffle and its padding, against a Python loop with a short last batch."""
    x, y = data(n)
    weights = np.linspace(0.5, 2, n).astype(np.float32) if weighted else None
    state = ffnn.init_state(NET, SGD, KEY)
    after, losses = ffnn.train_epoch(NET, SGD, state, x, y, batch_size=batch_size, weights=weights)
    next_key, order_key = jax.random.split(state.key)
    order = np.asarray(jax.random.permutation(order_key, n))
    expected = []
    for start in range(0, n, batch_size):
        rows = order[start : start + batch_size]
        w = None if weights is None else weights[rows]
        state, value = step(NET, SGD, state, x[rows], y[rows], weights=w)
        expected.append(value)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_close(after.params, state.params, 1e-5)
    leaves_equal(after.key, next_key)
    assert after.step == -(-n // batch_size)


def test_epochs_shuffle_anew():
    x, y = data()
    state = ffnn.init_state(NET, optax.sgd(1e-12), KEY)
    state, first = ffnn.train_epoch(NET, optax.sgd(1e-12), state, x, y, batch_size=10)
    _, second = ffnn.train_epoch(NET, optax.sgd(1e-12), state, x, y, batch_size=10)
    assert not np.allclose(first, second, rtol=1e-4)
    np.testing.assert_allclose(np.mean(first), np.mean(second), rtol=1e-4)


def test_state_passed_in_stays_usable():
    x, y = data()
    state = ffnn.init_state(NET, SGD, KEY)
    one = ffnn.train_epoch(NET, SGD, state, x, y, batch_size=10)
    two = ffnn.train_epoch(NET, SGD, state, x, y, batch_size=10)
    leaves_equal(one, two)


@pytest.mark.optimized
def test_epoch_in_a_jit_that_donates():
    x, y = map(jnp.asarray, data())
    epoch = jax.jit(
        ffnn.train_epoch, static_argnames=("optimizer", "batch_size"), donate_argnames="state"
    )
    state = ffnn.init_state(NET, SGD, KEY)
    expected = ffnn.train_epoch(NET, SGD, state, x, y, batch_size=10)
    found = epoch(NET, SGD, state, x, y, batch_size=10)
    leaves_equal(found, expected)
    assert state.params[0].W.is_deleted()


def test_epoch_under_vmap_is_many_networks():
    x, y = data(20)
    keys = jax.random.split(KEY, 3)

    def train(key):
        state = ffnn.init_state(NET, SGD, key)
        return ffnn.train_epoch(NET, SGD, state, x, y, batch_size=5)[1]

    many, one = jax.jit(jax.vmap(train))(keys), jax.jit(train)
    for i in range(3):
        np.testing.assert_allclose(many[i], one(keys[i]), rtol=1e-5)


def test_epoch_is_compiled_once():
    x, y = data(51)
    state = ffnn.init_state(NET, SGD, KEY)
    ffnn.train_epoch(NET, SGD, state, x, y, batch_size=17)
    before = training.compiled_epoch._cache_size()
    for _ in range(3):
        state, _ = ffnn.train_epoch(NET, SGD, state, x, y, batch_size=17)
    assert training.compiled_epoch._cache_size() == before


# fit ---------------------------------------------------------------------------------------------


def fit(**changes):
    arguments = {"key": KEY, "optimizer": SGD, "batch_size": 16, "epochs": 3, **changes}
    return ffnn.fit(arguments.pop("net", NET), arguments.pop("data", data()), **arguments)


@pytest.mark.optimized
def test_fit_is_epochs():
    x, y = data()
    state, losses = ffnn.init_state(NET, SGD, KEY), []
    for _ in range(3):
        state, epoch = ffnn.train_epoch(NET, SGD, state, x, y, batch_size=16)
        losses.append(np.average(epoch, weights=[16, 16, 16, 2]))
    result = fit(validation=(x, y))
    leaves_equal(result.state, state)
    leaves_equal(result.params, state.params)
    np.testing.assert_allclose(result.history.loss, losses, rtol=1e-6)
    right = np.argmax(ffnn.apply(NET, result.params, x), axis=-1) == y
    assert result.history.validation_accuracy[-1] == pytest.approx(np.mean(right))
    assert result.history.validation_loss[-1] == pytest.approx(
        float(ffnn.loss(NET, result.params, x, y)), rel=1e-5
    )
    assert [column.shape for column in result.history] == [(3,)] * 4
    assert np.all(result.history.seconds > 0)


@pytest.mark.optimized
def test_same_key_same_result_bit_for_bit():
    one, two, other = fit(), fit(), fit(key=jax.random.key(1))
    leaves_equal(one.state, two.state)
    np.testing.assert_array_equal(one.history.loss, two.history.loss)
    assert not np.array_equal(one.params[0].W, other.params[0].W)


@pytest.mark.optimized
def test_fit_goes_on_from_a_state_bit_for_bit():
    whole, half = fit(epochs=4), fit(epochs=2)
    leaves_equal(fit(epochs=2, key=None, state=half.state).state, whole.state)


def test_fit_compiles_once():
    optimizer, before = optax.sgd(0.05), fitting.compiled_epochs._cache_size()
    state = fit(optimizer=optimizer, epochs=5, data=data(53)).state
    fit(optimizer=optimizer, epochs=9, data=data(53), key=None, state=state)
    assert fitting.compiled_epochs._cache_size() == before + 1


@pytest.mark.optimized
def test_fit_compiled_in_another_way():
    plain = fit(epochs=3)
    quick = fit(epochs=3, compiler_options={"xla_backend_optimization_level": 0})
    chex.assert_trees_all_close(quick.params, plain.params, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(quick.history.loss, plain.history.loss, rtol=1e-5)


@pytest.mark.parametrize("options", [["a"], {"a": []}, {1: 2}, "a"])
def test_compiler_options_that_are_none(options):
    with pytest.raises(TypeError, match="compiler_options: expected numbers, words"):
        fit(compiler_options=options)


def test_init_is_one_program():
    """Of about ten operations a layer."""
    before = network._draw._cache_size()
    for activation, key in (("relu", 0), ("gelu", 1)):
        ffnn.init(ffnn.Network((11, 5, 3), activation=activation), jax.random.key(key))
    assert network._draw._cache_size() == before + 1


def test_validation_in_blocks(monkeypatch):
    x, y = map(jnp.asarray, data(50))
    params, weights = ffnn.init(NET, KEY), jnp.linspace(0, 2, 50)
    whole = [jax.jit(epochs_module.evaluate)(NET, params, x, y, w) for w in (None, weights)]
    monkeypatch.setattr(epochs_module, "EVALUATION_ROWS", 16)
    jax.clear_caches()
    blocks = [jax.jit(epochs_module.evaluate)(NET, params, x, y, w) for w in (None, weights)]
    np.testing.assert_allclose(blocks, whole, rtol=1e-5)
    np.testing.assert_allclose(whole[1][0], ffnn.loss(NET, params, x, y, weights=weights), 1e-5)


def test_regression_has_no_accuracy():
    x, y = ffnn.load_linnerud()
    x, y = ffnn.standardize(x)[0], ffnn.standardize(y)[0]
    net = ffnn.Network((3, 8, 3), activation="tanh")
    result = fit(net=net, data=(x, y), validation=(x, y), batch_size=20)
    assert result.history.validation_accuracy is None
    assert fit(net=net, data=(x, y), batch_size=20).history.validation_loss is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        x, y = ffnn.load_iris()
        x = ffnn.standardize(x)[0]
        optimizer = optax.adam(0.02, eps=1e-4)
        params = ffnn.init(NET, KEY, dtype=dtype)
        state = ffnn.init_state(NET, optimizer, KEY, params=params)
        result = fit(
            data=(x, y), state=state, key=None, optimizer=optimizer, epochs=10, validation=(x, y)
        )
        assert result.params[0].W.dtype == dtype
        assert result.history.loss[-1] < 0.7 * result.history.loss[0]
        assert result.history.validation_accuracy[-1] > 0.8


def test_mixed_precision():
    x, y = ffnn.load_iris()
    net = ffnn.Network((4, 8, 3), "tanh", "softmax", plan=ffnn.Plan(compute_dtype="bfloat16"))
    result = fit(net=net, data=(ffnn.standardize(x)[0], y), optimizer=optax.adam(0.02), epochs=20)
    assert result.params[0].W.dtype == jnp.float32
    assert result.history.loss[-1] < 0.4


def test_the_history_of_weights_beyond_float16():
    """The weight of a batch is summed in float32 at least."""
    state = ffnn.init_state(NET, SGD, KEY, params=ffnn.init(NET, KEY, dtype="float16"))
    weights = np.full(50, 1e4)
    heavy = fit(key=None, state=state, weights=weights).history.loss
    np.testing.assert_allclose(heavy, fit(key=None, state=state).history.loss, rtol=1e-2)


def test_no_accuracy_of_a_single_quantity():
    net = ffnn.Network((4, 1), loss=ffnn.Loss("mine", lambda yhat, y: (yhat[:, 0] - y) ** 2))
    x, y = data()
    result = fit(net=net, data=(x, y.astype(np.float32)), validation=(x, y.astype(np.float32)))
    assert result.history.validation_accuracy is None


@pytest.mark.parametrize(
    ("result", "got"), [(lambda p: p[0].b, r"float32\[8\]"), (lambda p: 3, "int32")]
)
def test_an_objective_that_is_not_one_number(result, got):
    def objective(net, params, x, y, weights=None):
        return result(params)

    with pytest.raises(TypeError, match=f"objective: .* one floating number, got {got}"):
        fit(objective=objective)


def test_penalty_as_objective():
    def penalised(net, params, x, y, *, weights=None):
        penalty = sum(jnp.sum(layer.W**2) for layer in params)
        return ffnn.loss(net, params, x, y, weights=weights) + 0.5 * penalty

    small, free = fit(objective=penalised, epochs=20), fit(epochs=20)
    assert np.linalg.norm(small.params[0].W) < 0.5 * np.linalg.norm(free.params[0].W)


def test_weights_of_examples():
    """Examples of weight 0 might as well not be there: only one class is learnt."""
    x, y = data()
    result = fit(weights=(y == 1).astype(np.float32), epochs=40, optimizer=optax.adam(0.05))
    assert np.all(np.argmax(ffnn.apply(NET, result.params, x), -1) == 1)


def test_a_loss_that_is_no_number_stops_fit():
    rate, good = float("inf"), fit(epochs=2, optimizer=optax.sgd(0.1))
    state = ffnn.init_state(NET, optax.sgd(rate), KEY, params=good.params)
    with pytest.raises(ffnn.NonFiniteLossError, match=r"at step (\d) \(epoch 1, batch") as caught:
        fit(optimizer=optax.sgd(rate), key=None, state=state, epochs=5)
    assert f"at step {caught.value.step} " in str(caught.value)
    assert 0 < caught.value.step < 8
    leaves_equal(caught.value.fit.params, good.params)


def test_the_step_of_a_loss_that_is_no_number_is_the_right_one():
    """y = 1e30 in one example of a later epoch's batch overflows where that batch is met."""
    net = ffnn.Network((1, 1))
    x, y = np.ones((6, 1), np.float32), np.zeros((6, 1), np.float32)
    y[3] = 1e30
    state = ffnn.init_state(net, SGD, KEY)
    order = np.asarray(jax.random.permutation(jax.random.split(state.key)[1], 6))
    with pytest.raises(ffnn.NonFiniteLossError) as caught:
        fit(net=net, data=(x, y), batch_size=1)
    assert caught.value.step == np.flatnonzero(order == 3)[0]


def test_advice_on_a_loss_that_is_no_number():
    """A linear output below 0 has no logarithm, at any learning rate."""
    net = ffnn.Network((4, 3), loss="cross_entropy")
    with pytest.raises(ffnn.NonFiniteLossError, match="cross_entropy needs outputs from 0 to 1"):
        fit(net=net)


def test_the_error_of_a_loss_that_is_no_number_can_be_sent_to_another_process():
    with pytest.raises(ffnn.NonFiniteLossError) as caught:
        fit(net=ffnn.Network((4, 3), loss="cross_entropy"), key=jax.random.PRNGKey(0))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.step == caught.value.step
    leaves_equal(copy.fit, caught.value.fit)
    assert copy.fit.history.validation_loss is None


def test_ctrl_c_gives_back_the_state_so_far(monkeypatch):
    """Interrupted in the third epoch: the state after two, and a warning that says so."""
    call, calls = fitting.compiled_epochs, []

    def third_is_interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return call(*args)

    expected = fit(epochs=2)
    monkeypatch.setattr(fitting, "compiled_epochs", third_is_interrupted)
    with pytest.warns(UserWarning, match="interrupted in epoch 3 of 9"):
        result = fit(epochs=9)
    leaves_equal(result.state, expected.state)
    assert result.history.loss.shape == (2,)


def test_a_real_signal():
    """SIGINT to a process inside fit: it goes on after fit with the result in hand."""
    program = textwrap.dedent(
        """
        import signal, warnings, jax, numpy as np, optax
        import ffnn_jax as ffnn
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" ignores it
        net = ffnn.Network((64, 256, 10), output="softmax")
        x, y = np.ones((4000, 64), np.float32), np.zeros(4000, np.int32)
        warnings.simplefilter("ignore")
        result = ffnn.fit(net, (x, y), key=jax.random.key(0), optimizer=optax.sgd(1e-6),
                          batch_size=20, epochs=10**6, progress=True)
        print("epochs", len(result.history.loss), bool(np.all(np.isfinite(result.params[0].W))))
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said = ""
    while "epoch" not in said and process.poll() is None:  # compiled, and in the middle of it
        said += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, said + err
    assert out.startswith("epochs ")
    assert out.endswith("True\n")


def test_progress_is_a_line_on_stderr(capsys):
    x, y = data()
    fit(progress=True, validation=(x, y))
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 3/3  loss " in err
    assert "accuracy " in err
    assert err.endswith("\n")
    fit()  # pytest's stderr is no terminal
    assert capsys.readouterr() == ("", "")


def test_no_stderr_at_all(monkeypatch):
    """As in a program without a console on Windows."""
    monkeypatch.setattr(sys, "stderr", None)
    assert fit(progress=True).history.loss.shape == (3,)


# Gradient descent --------------------------------------------------------------------------------


def test_gradient_descent_is_the_lecture_s_loop():
    point = examples(NET)
    result = ffnn.gradient_descent(
        NET, point.params, point.x, point.y, learning_rate=0.3, max_iterations=7
    )
    theta, gradients = point.params, jax.jit(ffnn.gradients)
    for t in range(7):
        value, grads = gradients(NET, theta, point.x, point.y)
        np.testing.assert_allclose(result.losses[t], value, rtol=1e-5)
        theta = jax.tree.map(lambda p, g: p - 0.3 * g, theta, grads.params)
    assert_close(result.params, theta, 1e-5)


def test_gradient_descent_takes_1000_steps_unless_told():
    point = examples(NET)
    result = ffnn.gradient_descent(NET, point.params, point.x, point.y, learning_rate=0.1)
    assert result.losses.shape == (1000,)
    assert result.losses[-1] < result.losses[0]


# Real data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes", "accuracy"),
    [("iris", (4, 16, 3), 0.93), ("wine", (13, 16, 3), 0.93), ("breast_cancer", (30, 16, 2), 0.93)],
)
def test_real_classes(name, sizes, accuracy):
    x, y = getattr(ffnn, f"load_{name}")()
    (x, y), (xv, yv) = ffnn.split(x, y, fraction=0.3, seed=0)
    x, xv = ffnn.standardize(x, xv)
    net = ffnn.Network(sizes, output="softmax")
    result = fit(net=net, data=(x, y), optimizer=optax.adam(1e-2), epochs=40, validation=(xv, yv))
    assert result.history.validation_accuracy[-1] >= accuracy


@pytest.mark.parametrize(("name", "sizes"), [("diabetes", (10, 16, 1)), ("linnerud", (3, 16, 3))])
def test_real_quantities_beat_the_mean_predictor(name, sizes):
    """In standardized y the mean predictor's squared error is the number of outputs."""
    x, y = (ffnn.standardize(t)[0] for t in getattr(ffnn, f"load_{name}")())
    net = ffnn.Network(sizes, activation="tanh")
    result = fit(net=net, data=(x, y), optimizer=optax.adam(1e-2), batch_size=20, epochs=60)
    assert result.history.loss[-1] < 0.7 * sizes[-1]


def test_a_fit_under_debug_nans():
    with jax.debug_nans(True):
        result = fit(optimizer=optax.sgd(0.123), epochs=3)
    assert len(result.history.loss) == 3
