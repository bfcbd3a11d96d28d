"""The order of the examples: a permutation, and by no statistic here other than a uniform one."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ffnn_jax import shuffle
from ffnn_jax.shuffle import permutation

N, DRAWS = 1100, 1000


@pytest.fixture(scope="module")
def orders():
    """(DRAWS, N), each from its own key."""
    draw = jax.jit(jax.vmap(lambda key: permutation(key, N)))
    return np.asarray(draw(jax.random.split(jax.random.key(3), DRAWS)))


@pytest.mark.parametrize("n", [1, 2, 1023, 1024, 1025, 1089, 1090, 70_000])
def test_every_row_once(n):
    order = jax.jit(lambda key: permutation(key, n))(jax.random.key(0))
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_the_key_decides():
    draw = jax.jit(lambda key: permutation(key, N))
    chex.assert_trees_all_equal(draw(jax.random.key(5)), draw(jax.random.key(5)))
    assert np.any(draw(jax.random.key(5)) != draw(jax.random.key(6)))


def normal_score(values, mean, variance):
    """(average − mean) in standard errors."""
    return (np.mean(values) - mean) / math.sqrt(variance / len(values))


def statistics(orders):
    """Scores that are about N(0, 1) for uniform orders."""
    _, n = orders.shape
    fixed = (orders == np.arange(n)).sum(1)  # mean 1, variance 1
    adjacent = (np.abs(np.diff(orders, axis=1)) == 1).sum(1)  # mean 2 (n−1)/n, variance ≈ 2
    ascents = (np.diff(orders, axis=1) > 0).sum(1)  # mean (n−1)/2, variance (n+1)/12
    scores = {
        "fixed points": normal_score(fixed, 1, 1),
        "neighbours stay": normal_score(adjacent, 2 * (n - 1) / n, 2),
        "ascents": normal_score(ascents, (n - 1) / 2, (n + 1) / 12),
        "variance of ascents": (np.var(ascents) * 12 / (n + 1) - 1) / math.sqrt(2 / len(orders)),
    }
    standard = (orders - (n - 1) / 2) / math.sqrt((n * n - 1) / 12)
    for lag in (1, 2, math.isqrt(n - 1) + 1):
        product = standard[:, :-lag] * standard[:, lag:]
        scores[f"correlation at {lag}"] = float(product.mean() * math.sqrt(product.size))
    place = np.argsort(orders, axis=1)
    counts, _, _ = np.histogram2d(place[:, 0], place[:, 1], bins=7, range=[[0, n], [0, n]])
    expected = len(orders) / counts.size
    chi = ((counts - expected) ** 2 / expected).sum()
    scores["places of a pair"] = (chi - (counts.size - 1)) / math.sqrt(2 * (counts.size - 1))
    return scores


def test_no_statistic_tells_it_from_a_uniform_order(orders):
    scores = statistics(orders)
    assert max(map(abs, scores.values())) < 4, scores


def test_the_statistics_can_tell(monkeypatch):
    """Two rounds in place of eight are not enough, and it shows."""
    monkeypatch.setattr(shuffle, "ROUNDS", 2)
    draw = jax.jit(jax.vmap(lambda key: permutation(key, N)))
    scores = statistics(np.asarray(draw(jax.random.split(jax.random.key(3), 200))))
    assert max(map(abs, scores.values())) > 10, scores
