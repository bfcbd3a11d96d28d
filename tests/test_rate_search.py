"""The search for the rate: its schedule, where it ends, what it suggests, and its picture."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import examples

import ffnn_jax as ffnn
from ffnn_jax import rate_search
from ffnn_jax.rate_search import find_learning_rate, plot_learning_rates

NET = ffnn.Network((4, 5, 3), activation="tanh", output="softmax")
DATA = examples(NET, batch=(40,), classes=True)[1:3]
OPTIONS = {"key": jax.random.key(0), "batch_size": 8, "optimizer": optax.sgd}


@pytest.fixture(scope="module")
def search():
    return find_learning_rate(NET, DATA, highest=1e3, **OPTIONS)


def test_the_rates_grow_by_one_factor_and_the_losses_are_those_of_the_steps(search):
    rates = np.geomspace(1e-6, 1e3, 100)
    np.testing.assert_allclose(search.rates, rates[: len(search.rates)], rtol=1e-12)
    assert {part.dtype for part in search[:3]} == {np.dtype(np.float64)}
    assert search.losses[0] == pytest.approx(search.smoothed[0])
    # nothing happens at 1e-6: every loss of the first steps is that of the start
    np.testing.assert_allclose(search.losses[:20], search.losses[0], rtol=1e-3)
    assert search.losses.min() < 0.9 * search.losses[0]
    again = find_learning_rate(NET, DATA, highest=1e3, **OPTIONS)
    np.testing.assert_array_equal(again.losses, search.losses)


def test_the_losses_by_the_public_step():
    """The same steps one by one, with a new optimizer for each rate."""
    options = OPTIONS | {"batch_size": 40}  # every batch is all the data
    found = find_learning_rate(NET, DATA, lowest=0.01, highest=0.1, steps=10, **options)
    start_key, *_ = jax.random.split(OPTIONS["key"], 3)
    state = ffnn.init_state(NET, optax.sgd(1.0), start_key)
    losses = []

    @jax.jit
    def step(state, rate):
        return ffnn.train_step(NET, optax.sgd(rate), state, *DATA)

    for rate in np.geomspace(0.01, 0.1, 10):
        state, value = step(state, jnp.float32(rate))
        losses.append(float(value))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)


def test_it_ends_where_the_loss_is_too_large_or_none():
    rates = np.geomspace(1e-3, 1, 12)
    losses = np.array([1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 99, 0.5, 0.5])
    found = rate_search._judged(rates, losses)
    assert len(found.losses) == 9
    assert found.suggestion == pytest.approx(rates[8] / 10)
    for bad in (np.inf, np.nan):
        losses[5] = bad
        assert len(rate_search._judged(rates, losses).losses) == 5
    below_0 = rate_search._judged(rates, np.linspace(-1, -2, 12))  # Poisson's may be
    assert len(below_0.losses) == 12
    losses[0] = np.nan
    with pytest.raises(ValueError, match="data: the loss is nan before the first step"):
        rate_search._judged(rates, losses)


def test_the_moving_mean_starts_without_bias():
    found = rate_search._judged(np.geomspace(1e-3, 1, 3), np.array([2.0, 2.0, 1.0]))
    np.testing.assert_allclose(found.smoothed[:2], 2)
    m = 0.7 * (0.7 * 0.6 + 0.6) + 0.3  # β = 0.7
    np.testing.assert_allclose(found.smoothed[2], m / (1 - 0.7**3))


def test_a_quantity_far_away_needs_a_larger_rate():
    """Training at the suggestion gets most of the way down, whatever the unit of x."""
    net = ffnn.Network((3, 1))
    draw = np.random.default_rng(0)
    x = draw.standard_normal((64, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)
    found = []
    for unit in (1.0, 10.0):
        data = (unit * x, y)
        search = find_learning_rate(net, data, **OPTIONS | {"batch_size": 16})
        found.append(search.suggestion)
        params = ffnn.init(net, jax.random.key(1))
        options = {"learning_rate": search.suggestion, "max_iterations": 50}
        losses = ffnn.gradient_descent(net, params, *data, **options).losses
        assert losses[-1] < 0.2 * losses[0]
    assert found[1] < found[0] / 10  # the curvature is 100 times as large


def test_weights_and_objective_are_heard():
    weights = np.where(np.arange(40) < 20, 1.0, 0.0)
    nothing = find_learning_rate(NET, DATA, weights=weights, steps=10, **OPTIONS)
    other = find_learning_rate(NET, DATA, steps=10, **OPTIONS)
    assert nothing.losses[0] != other.losses[0]

    def doubled(*args, weights=None):
        return 2 * ffnn.loss(*args, weights=weights)

    twice = find_learning_rate(NET, DATA, steps=10, objective=doubled, **OPTIONS)
    assert twice.losses[0] == pytest.approx(2 * other.losses[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lowest": 0.0}, ValueError, "lowest: expected a finite number above 0, got 0.0"),
        ({"highest": 1e-6}, ValueError, "highest: expected more than lowest, 1e-06; got 1e-06"),
        ({"steps": 9}, ValueError, "steps: expected at least 10, got 9"),
        ({"steps": 20.0}, TypeError, "steps: expected an int"),
        ({"optimizer": optax.adam(0.1)}, TypeError, "optimizer: expected a function of the rate"),
        ({"optimizer": float}, TypeError, "optimizer: expected an optax optimizer"),
        ({"batch_size": 41}, ValueError, "batch_size: expected at most the number of examples, 40"),
        ({"key": 0}, TypeError, "key: expected one key"),
        ({"objective": 0}, TypeError, "objective: expected a function"),
        ({"weights": np.ones(3)}, ValueError, r"weights: expected shape \(40,\)"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        find_learning_rate(NET, DATA, **OPTIONS | options)


def test_the_picture(search, tmp_path):
    pytest.importorskip("matplotlib")
    figure = plot_learning_rates(search)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "learning rate"
    dots, mean, line = axes.get_lines()
    np.testing.assert_array_equal(dots.get_ydata(), search.losses)
    np.testing.assert_array_equal(mean.get_ydata(), search.smoothed)
    assert line.get_xdata()[0] == search.suggestion
    figure.savefig(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5000


def test_the_picture_without_matplotlib(search, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ffnn_jax\[plot\]'") as caught:
        plot_learning_rates(search)
    assert caught.value.name == "matplotlib"
