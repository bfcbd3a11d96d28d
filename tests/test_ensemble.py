"""Many networks in one program: each is what `fit` gives for it alone."""

import warnings

import jax
import numpy as np
import optax
import pytest
from cases import assert_close
from test_training import KEY, NET, SGD, _standard_promotion, data  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax.ensemble import cores
from ffnn_jax.ensemble import many as ensemble

M, EPOCHS = 5, 6
KEYS = jax.random.split(KEY, M)
RATES = np.logspace(-3, 0, M)


def fit_many(**changes):
    options = {"keys": KEYS, "optimizer": SGD, "batch_size": 16, "epochs": EPOCHS, **changes}
    return ffnn.fit_many(options.pop("net", NET), options.pop("data", data()), **options)


def fit(i, **changes):
    options = {"key": KEYS[i], "optimizer": SGD, "batch_size": 16, "epochs": EPOCHS, **changes}
    return ffnn.fit(options.pop("net", NET), options.pop("data", data()), **options)


def assert_same(found, expected, tolerance=1e-4):
    """Two `Fit`s, but for the time they took."""
    assert len(found.history.loss) == len(expected.history.loss) == len(found.history.seconds)
    assert found.best_epoch == expected.best_epoch
    assert_close(found.params, expected.params, tolerance)
    assert_close(found.state.params, expected.state.params, tolerance)
    np.testing.assert_array_equal(*(jax.random.key_data(r.state.key) for r in (found, expected)))
    assert_close(found.history[:3], expected.history[:3], tolerance)


STOPPING = {"validation": data(20, seed=1), "patience": 1, "epochs": 12}


@pytest.fixture(scope="module")
def alone():
    with jax.numpy_dtype_promotion("standard"):
        return {i: fit(i, optimizer=optax.sgd(float(RATES[i])), **STOPPING) for i in (0, 3, 4)}


@pytest.mark.parametrize("group_size", [None, 1, 2])
def test_each_has_its_own_key_rate_and_stop(group_size, alone):
    """In one group, one by one, and in groups of two with one left over."""
    rates = {"optimizer": optax.sgd, "learning_rates": RATES}
    many = fit_many(group_size=group_size, **rates, **STOPPING)
    assert len(set(many.epochs.tolist())) > 2  # they do stop apart
    for i, expected in alone.items():
        assert_same(many.member(i), expected)
    assert many.params[0].W.shape == (M, 8, 4)
    assert many.history.loss.shape == (M, max(many.epochs))
    ended = np.arange(max(many.epochs)) >= many.epochs[:, None]
    np.testing.assert_array_equal(np.isnan(many.history.loss), ended)
    assert np.all(many.bad_step == -1)


@pytest.mark.parametrize("shares", [1, 2, 3, 5])
def test_shares_on_cores(shares, alone, monkeypatch):
    """Five members as one, as 3 + 2, as 2 + 2 + 1, and each by itself."""
    monkeypatch.setattr(cores, "_cores", lambda: shares)
    rates = {"optimizer": optax.sgd, "learning_rates": RATES}
    many = fit_many(**rates, **STOPPING)
    for i, expected in alone.items():
        assert_same(many.member(i), expected)
    assert many.params[0].W.shape == (M, 8, 4)
    assert many.history.loss.shape == (M, max(many.epochs))


def test_shares_with_all_that_each_may_have_its_own(monkeypatch):
    own = [data(48, seed=i) for i in range(M)]
    x, y = (np.stack(t) for t in zip(*own, strict=True))
    weights = np.random.default_rng(0).uniform(0.5, 2, (M, 48))
    options = {"data": (x, y), "weights": weights, "validation": data(20, seed=1)}
    found = []
    for count in (1, 2):
        monkeypatch.setattr(cores, "_cores", lambda count=count: count)
        found.append(fit_many(**options))
    assert_close(*(jax.tree.map(np.asarray, many.params) for many in found), 1e-6)
    assert_close(*(many.history[:3] for many in found), 1e-6)


def test_shares_know_the_settings_in_force(monkeypatch):
    monkeypatch.setattr(cores, "_cores", lambda: 2)
    with jax.enable_x64(True):
        many = fit_many(epochs=2)
    assert_close(*(jax.tree.map(np.asarray, r.params) for r in (many, fit_many(epochs=2))), 1e-6)


def test_one_share_where_xla_keeps_the_cores_busy(monkeypatch):
    monkeypatch.setattr(cores, "_cores", lambda: 4)
    assert cores.shares_for(NET, 3, KEYS) == 3
    assert cores.shares_for(NET, 9, KEYS) == 3  # of three each: a fourth would have none
    assert cores.shares_for(NET, 11, KEYS) == 4
    assert cores.shares_for(ffnn.Network((784, 1000, 500, 10)), 9, KEYS) == 1
    mesh = jax.make_mesh((4,), ("member",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.device_put(jax.random.split(KEY, 8), jax.NamedSharding(mesh, jax.P("member")))
    assert cores.shares_for(NET, 8, {"keys": split}) == 1


def test_an_error_in_a_share_is_raised(monkeypatch):
    """Here by the optimizer, once the program runs."""
    monkeypatch.setattr(cores, "_cores", lambda: 2)

    def fails(loss):
        raise ValueError("of the optimizer")

    def update(updates, state, params=None):
        b = updates[0].b
        b = jax.pure_callback(
            fails, jax.ShapeDtypeStruct(b.shape, b.dtype), b, vmap_method="sequential"
        )
        return (updates[0]._replace(b=b), *updates[1:]), state

    broken = optax.GradientTransformation(lambda params: (), update)
    with pytest.raises(Exception, match="of the optimizer"):
        fit_many(optimizer=broken)


def test_masks_make_folds():
    """k-fold cross-validation: a mask for training, its complement for validation."""
    x, y = data()
    fold = np.arange(50) % M
    train = (fold != np.arange(M)[:, None]).astype(np.float32)
    many = fit_many(weights=train, validation=(x, y), validation_weights=1 - train)
    assert many.best_epoch is None
    for i in (0, M - 1):
        out = fold == i
        alone = fit(i, weights=train[i], validation=(x[out], y[out]))
        assert_same(many.member(i), alone)


def test_each_has_its_own_data():
    own = [data(48, seed=i) for i in range(M)]
    x, y = (np.stack(t) for t in zip(*own, strict=True))
    weights = np.linspace(0.5, 2, 48)
    options = {"weights": weights, "accumulate": 2}
    many = fit_many(data=(x, y), validation=(x, y), group_size=2, **options)
    assert_same(many.member(3), fit(3, data=own[3], validation=own[3], **options))


def test_a_loss_that_is_no_number_stops_one():
    """Member 2 diverges, keeps what it had, and the others do not notice."""
    rates = np.array([0.1, 0.2, 1e38, 0.3, 0.1])
    many = fit_many(optimizer=optax.sgd, learning_rates=rates)
    calm = fit_many(optimizer=optax.sgd, learning_rates=np.where(rates > 1, 0.1, rates))
    with pytest.raises(ffnn.NonFiniteLossError) as caught:
        fit(2, optimizer=optax.sgd(1e38))
    assert many.bad_step.tolist() == [-1, -1, caught.value.step, -1, -1]
    assert_same(many.member(2), caught.value.fit)
    assert many.epochs.tolist() == [EPOCHS, EPOCHS, 0, EPOCHS, EPOCHS]
    for i in (0, 1, 3, 4):
        np.testing.assert_array_equal(many.history.loss[i], calm.history.loss[i])
        assert np.all(np.isfinite(many.params[0].W[i]))


@pytest.mark.parametrize("changes", [{}, STOPPING, {**STOPPING, "patience": None}])
def test_the_best(changes):
    """By the loss of the parameters that it has; the diverged member is not it."""
    rates = np.array([1e-3, 0.2, 1e38, 0.3, 1e-4])
    many = fit_many(optimizer=optax.sgd, learning_rates=rates, **changes)
    x, y = data(20, seed=1) if changes else data()
    losses = [float(ffnn.loss(NET, many.member(i).params, x, y)) for i in range(M)]
    losses[2] = np.inf
    assert many.best() == np.argmin(losses) if changes else many.best() in (1, 3)
    assert many.epochs[2] == 0


def test_all_diverge():
    many = fit_many(optimizer=optax.sgd, learning_rates=np.full(M, 1e38))
    with pytest.raises(ValueError, match="no member has an epoch with a finite loss"):
        many.best()
    assert np.all(many.bad_step >= 1)
    assert many.history.loss.shape == (M, 0)
    assert many.member(0).history.loss.shape == (0,)


def test_a_member_goes_on_alone():
    many = fit_many(epochs=2)
    more = fit(1, key=None, state=many.member(1).state, epochs=EPOCHS - 2)
    assert_close(more.params, fit(1).params, 1e-5)


def test_compiled_once():
    optimizer = optax.sgd(0.2)
    fit_many(optimizer=optimizer, epochs=3)
    before = ensemble.compiled_many._cache_size()
    fit_many(optimizer=optimizer, epochs=7, keys=jax.random.split(jax.random.key(9), M))
    assert ensemble.compiled_many._cache_size() == before


def test_keys_on_several_devices():
    """Members live where their keys do: the work is split over them."""
    mesh = jax.make_mesh((4,), ("member",), axis_types=(jax.sharding.AxisType.Auto,))
    keys = jax.random.split(KEY, 8)
    placed = jax.device_put(keys, jax.NamedSharding(mesh, jax.P("member")))
    many, expected = fit_many(keys=placed, epochs=2), fit_many(keys=keys, epochs=2)
    assert_close(*(jax.tree.map(np.asarray, r.params) for r in (many, expected)), 1e-6)
    assert len(many.params[0].W.sharding.device_set) == 4


def test_ctrl_c_gives_back_the_state_so_far(monkeypatch):
    call, calls = ensemble.many_on_cores, []

    def third_is_interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return call(*args, **options)

    monkeypatch.setattr(ensemble, "many_on_cores", third_is_interrupted)
    with pytest.warns(UserWarning, match="fit_many: interrupted in epoch 3 of 6"):
        many = fit_many()
    assert many.history.loss.shape == (M, 2)


def test_ctrl_c_twice(monkeypatch):
    """Once interrupted, nothing is compiled any more that a second one could interrupt."""
    monkeypatch.setattr(cores, "_cores", lambda: 2)
    call, calls, compiled = ensemble.many_on_cores, [], []

    def second_is_interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            jax.monitoring.register_event_duration_secs_listener(listener)
            raise KeyboardInterrupt
        return call(*args, **options)

    def listener(event, seconds, **_):
        if "backend_compile" in event:
            compiled.append(event)

    monkeypatch.setattr(ensemble, "many_on_cores", second_is_interrupted)
    net = ffnn.Network((4, 7, NET.sizes[-1]), output=NET.output)  # that no other test has
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            fit_many(net=net)
    finally:
        jax.monitoring.clear_event_listeners()
    assert not compiled


def test_progress(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_many(progress=True, validation=data(), epochs=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 3/3  loss " in err
    assert err.endswith("5 of 5 networks\n")


X, Y = data()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keys": KEY}, TypeError, "keys: expected an array of keys"),
        ({"keys": jax.random.PRNGKey(0)}, TypeError, "keys: expected an array of keys"),
        ({"keys": [KEY]}, TypeError, "keys: expected an array of keys"),
        ({"keys": KEYS[:0]}, ValueError, "keys: expected at least one key"),
        (
            {"learning_rates": RATES},
            TypeError,
            "optimizer: expected with learning_rates",
        ),
        (
            {"optimizer": optax.adam},
            TypeError,
            "optimizer: expected an optax optimizer such as optax.sgd",
        ),
        (
            {"optimizer": optax.adam, "learning_rates": RATES[:3]},
            ValueError,
            r"learning_rates: expected shape \(5,\), one for each key; got \(3,\)",
        ),
        (
            {"optimizer": optax.adam, "learning_rates": RATES - 1},
            ValueError,
            r"learning_rates\[0\]: expected a finite number above 0",
        ),
        ({"optimizer": abs, "learning_rates": RATES}, TypeError, "optimizer: expected an optax"),
        (
            {"weights": np.ones((3, 50))},
            ValueError,
            r"weights: .* \(50,\) or \(5, 50\)",
        ),
        ({"weights": np.eye(5, 50) * [[1], [0], [1], [1], [1]]}, ValueError, "weights: .* sum"),
        ({"data": (np.stack([X] * 3), np.stack([Y] * 3))}, ValueError, "data: .* leading axis 5"),
        ({"data": (np.stack([X] * M), Y)}, ValueError, "data: .* leading axis 5"),
        ({"data": X}, TypeError, r"data: expected \(x, y\)"),
        ({"validation": (X, Y + 3)}, ValueError, "validation: y: expected classes"),
        ({"validation_weights": np.ones(50)}, ValueError, "validation_weights: .* without valid"),
        (
            {"validation": (X, Y), "validation_weights": -np.ones(50)},
            ValueError,
            "validation_weights: expected finite and none negative",
        ),
        ({"patience": -1}, ValueError, "patience: expected at least 0"),
        ({"group_size": 0}, ValueError, "group_size: expected at least 1"),
        ({"batch_size": 51}, ValueError, "batch_size: expected at most"),
        ({"progress": 3}, TypeError, "progress: expected True"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        fit_many(**options)


def test_no_such_member():
    many = fit_many(epochs=1)
    assert_close(many.member(-1).params, many.member(M - 1).params, 0)
    with pytest.raises(IndexError, match="member from 0 to 4, got 5"):
        many.member(M)


def test_inside_jit():
    with pytest.raises(TypeError, match=r"fit_many: .* being traced"):
        jax.jit(lambda x: fit_many(data=(x, Y)).params)(X)
