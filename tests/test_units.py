"""The figures of hidden layers, against sums written out."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import examples

import ffnn_jax as ffnn
from ffnn_jax.units import QUIET, unit_statistics

NET = ffnn.Network((5, 6, 4, 3), activation=("tanh", "relu"), output="softmax")
PARAMS, X, Y, WEIGHTS = examples(NET, seed=3)


def by_hand(weights):
    """The four figures from the gradient of each example's own loss."""
    own = jax.jit(jax.vmap(ffnn.gradients, in_axes=(None, None, 0, 0)))(NET, PARAMS, X, Y)[1]
    tape = jax.jit(ffnn.forward)(NET, PARAMS, X)
    weights = np.asarray(weights, np.float64)
    share = weights / weights.sum()
    rows = []
    for k, name in enumerate(NET.activations):
        a, h, grad_a = (np.asarray(t, np.float64) for t in (tape.a[k], tape.h[k + 1], own.a[k]))
        slope = 1 - h**2 if name == "tanh" else (a > 0).astype(float)
        quiet = np.abs(slope) < QUIET
        rows.append(
            {
                "mean_abs_a": share @ np.abs(a).mean(axis=1),
                "mean_abs_grad_a": share @ np.abs(grad_a).mean(axis=1),
                "dead": np.mean(np.all(quiet & (np.abs(h) < QUIET), axis=0)),
                "saturated": share @ quiet.mean(axis=1),
            }
        )
    return rows


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_figures(weights):
    found = unit_statistics(NET, PARAMS, X, Y, weights=weights)
    expected = by_hand(np.ones(len(X)) if weights is None else weights)
    assert [(row["layer"], row["activation"]) for row in found] == [(1, "tanh"), (2, "relu")]
    for row, figures in zip(found, expected, strict=True):
        for name, value in figures.items():
            assert row[name] == pytest.approx(value, rel=1e-5), name
    assert 0 < found[1]["saturated"] < 1
    assert json.loads(json.dumps(found)) == found


def test_a_dead_unit_and_one_that_a_single_example_wakes():
    net = ffnn.Network((1, 2, 1))
    layers = (([[1.0], [-1.0]], [-2.0, -2.0]), ([[1.0, 1.0]], [0.0]))
    params = tuple(ffnn.Layer(*(jnp.array(t, jnp.float32) for t in layer)) for layer in layers)
    x, y = jnp.array([[0.5], [3.0]]), jnp.zeros((2, 1))
    assert unit_statistics(net, params, x, y)[0]["dead"] == 0.5
    assert unit_statistics(net, params, x, y, weights=jnp.array([1.0, 0.0]))[0]["dead"] == 1.0


def test_no_hidden_layer_has_no_figures():
    net = ffnn.Network((5, 3), output="softmax")
    assert unit_statistics(net, examples(net).params, X, Y) == []


def test_batch_of_any_shape_and_short_dtypes():
    found = unit_statistics(NET, PARAMS, X.reshape(2, 3, 5), Y.reshape(2, 3, 3))
    for row, flat in zip(found, unit_statistics(NET, PARAMS, X, Y), strict=True):
        assert row["mean_abs_grad_a"] == pytest.approx(flat["mean_abs_grad_a"], rel=1e-5)
    short = jax.tree.map(lambda t: t.astype(jnp.bfloat16), PARAMS)
    assert unit_statistics(NET, short, X, Y)[0]["mean_abs_a"] == pytest.approx(
        found[0]["mean_abs_a"], rel=0.05
    )


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match="x: expected shape"):
        unit_statistics(NET, PARAMS, X[:, :2], Y)
