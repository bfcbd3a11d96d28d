"""Early stop inside the compiled loop: at the epoch at which a plain loop stops, best kept."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_training import KEY, NET, SGD, _standard_promotion, data, fit, leaves_equal  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax import epochs as epochs_module
from ffnn_jax import fitting

NOISY = optax.adam(0.3)  # a loss that goes up and down


def by_a_plain_loop(validation, patience, min_delta, epochs):
    """(epochs taken, index of the best, its params) by calls of `train_epoch`, as one writes it."""
    x, y = data()
    state = ffnn.init_state(NET, NOISY, KEY)
    best, best_epoch, params, waited = float("inf"), None, state.params, 0
    for epoch in range(epochs):
        state, losses = ffnn.train_epoch(NET, NOISY, state, x, y, batch_size=16)
        monitored = np.average(losses, weights=[16, 16, 16, 2])
        if validation is not None:
            monitored = float(ffnn.loss(NET, state.params, *validation))
        if monitored < best - min_delta:
            best, best_epoch, params, waited = monitored, epoch, state.params, 0
        else:
            waited += 1
            if waited >= max(patience, 1):
                break
    return epoch + 1, best_epoch, params, state


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
@pytest.mark.parametrize("held_out", [False, True], ids=["training loss", "validation"])
def test_stops_where_a_plain_loop_stops(held_out, min_delta, patience):
    validation = data(20, seed=1) if held_out else None
    taken, best_epoch, params, state = by_a_plain_loop(validation, patience, min_delta, 30)
    assert taken < 30
    result = fit(
        optimizer=NOISY, epochs=30, validation=validation, patience=patience, min_delta=min_delta
    )
    assert len(result.history.loss) == len(result.history.seconds) == taken
    assert result.best_epoch == best_epoch
    leaves_equal(result.params, params)
    leaves_equal(result.state, state)


def test_best_parameters_without_a_stop():
    result = fit(optimizer=NOISY, epochs=8, patience=100, validation=data(20, seed=1))
    assert len(result.history.loss) == 8
    assert result.best_epoch == np.argmin(result.history.validation_loss)
    assert result.best_epoch < 7
    short = fit(optimizer=NOISY, epochs=result.best_epoch + 1)
    leaves_equal(result.params, short.params)
    assert short.best_epoch is None


def test_goes_on_from_where_it_stopped():
    stopped = fit(optimizer=NOISY, epochs=30, patience=1, validation=data(20, seed=1))
    taken = len(stopped.history.loss)
    more = fit(optimizer=NOISY, epochs=2, key=None, state=stopped.state)
    leaves_equal(more.state, fit(optimizer=NOISY, epochs=taken + 2).state)


def test_neither_patience_nor_epochs_compile_again():
    """The number of epochs, patience and min_delta are arguments of what is compiled."""
    fit(optimizer=NOISY, epochs=2, patience=1)
    before = fitting.compiled_epochs._cache_size()
    fit(optimizer=NOISY, epochs=5, patience=4, min_delta=0.1)
    assert fitting.compiled_epochs._cache_size() == before


def test_a_call_takes_many_epochs(monkeypatch):
    """One epoch, one, two, four, and so on: the host is asked now and then, not each epoch."""
    counts, call = [], fitting.compiled_epochs

    def counted(*args):
        counts.append(args[-1])
        return call(*args)

    monkeypatch.setattr(epochs_module, "SECONDS", 60.0)
    monkeypatch.setattr(fitting, "compiled_epochs", counted)
    result = fit(optimizer=NOISY, epochs=12)
    assert counts == [1, 1, 2, 4, 4]
    assert np.all(result.history.seconds[4:8] == result.history.seconds[4])


def test_more_epochs_than_a_table_has_rows(monkeypatch):
    expected = fit(optimizer=NOISY, epochs=12).history.loss
    monkeypatch.setattr(epochs_module, "SECONDS", 60.0)
    monkeypatch.setattr(epochs_module, "MOST_EPOCHS", 3)
    jax.clear_caches()
    np.testing.assert_array_equal(fit(optimizer=NOISY, epochs=12).history.loss, expected)


def test_no_finite_validation_loss():
    """Nothing is better than infinity: the parameters are those of the start."""
    net = ffnn.Network((1, 1))
    x, y = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    huge = np.full((4, 1), 1e30, np.float32)
    options = {"net": net, "data": (x, y), "batch_size": 4, "epochs": 9}
    result = fit(validation=(x, huge), patience=2, **options)
    assert result.best_epoch is None
    assert np.all(np.isinf(result.history.validation_loss))
    assert len(result.history.loss) == 2
    leaves_equal(result.params, ffnn.init_state(net, SGD, KEY).params)


def test_a_loss_that_is_no_number_keeps_the_best():
    def rate(step):  # infinite from the second last step of the third epoch on
        return jnp.where(step < 10, 0.1, jnp.inf)

    optimizer, message = optax.sgd(rate), r"at step 11 \(epoch 3, batch 4 of 4"
    with pytest.raises(ffnn.NonFiniteLossError, match=message) as caught:
        fit(optimizer=optimizer, epochs=9, patience=5)
    assert caught.value.step == 11
    expected = fit(optimizer=optimizer, epochs=2, patience=5)
    leaves_equal(caught.value.fit.params, expected.params)
    assert caught.value.fit.best_epoch == expected.best_epoch == 1
    np.testing.assert_array_equal(caught.value.fit.history.loss, expected.history.loss)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patience": -1}, ValueError, "patience: expected at least 0, got -1"),
        ({"patience": 1.5}, TypeError, "patience: expected an int, got 1.5"),
        ({"patience": True}, TypeError, "patience: expected an int, got True"),
        ({"patience": 1, "min_delta": -0.1}, ValueError, "min_delta: expected .* at least 0"),
        ({"patience": 1, "min_delta": "no"}, TypeError, "min_delta: expected a number"),
        ({"min_delta": 0.1}, ValueError, "min_delta: expected 0 without patience"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        fit(**options)
