"""The record of measurements: what it concludes, and what it does not."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import ffnn_jax as ffnn
from ffnn_jax.ensemble import population
from ffnn_jax.kernels import measured
from ffnn_jax.recipe import Recipe

GRID = [(depth, rows) for depth in (2, 4) for rows in (2**14, 2**16, 2**18)]


@pytest.fixture(autouse=True)
def _own_setting():
    """JAX's own, whatever the environment says."""
    with jax.default_matmul_precision(None):
        yield


def point(depth, rows, *, lower=1.3, card=None, **others):
    card = jax.devices()[0].device_kind if card is None else card
    m = measured.Measurement(
        *("narrow_mlp", "tf32", "relu", 64, 64, 10, depth, 0, "", rows),
        *(lower + 0.1, lower, card, "a.json"),
    )
    return m._replace(**others)


def wins(monkeypatch, record, net=None, dtype="float32", rows=2**15, **others):
    monkeypatch.setattr(measured, "RECORD", tuple(record))
    return measured.wins("narrow_mlp", net or network(3), dtype, rows, **others)


def network(depth, inputs=64, outputs=10, width=64, **others):
    return ffnn.Network((inputs, *[width] * (depth - 1), outputs), **others)


def test_nothing_wins_where_nothing_was_measured(monkeypatch):
    assert not wins(monkeypatch, [])


@pytest.mark.parametrize(
    ("depth", "rows", "expected"),
    [
        (2, 2**14, True),  # a corner
        (3, 2**15, True),  # between
        (4, 2**18, True),
        (5, 2**15, False),  # deeper than any
        (3, 2**13, False),
        (3, 2**18 + 1, False),
    ],
)
def test_between_recorded_points(monkeypatch, depth, rows, expected):
    record = [point(*corner) for corner in GRID]
    assert wins(monkeypatch, record, network(depth), rows=rows) == expected


def test_every_corner_has_to_win(monkeypatch):
    for lost in GRID[:2]:
        record = [point(*c, lower=1.19 if c == lost else 1.2) for c in GRID]
        assert not wins(monkeypatch, record)
        assert wins(monkeypatch, record, rows=2**17) == (lost == GRID[0])
        assert not wins(monkeypatch, [point(*c) for c in GRID if c != lost])
    twice = [*(point(*c) for c in GRID), point(2, 2**14, lower=1.0, source="b.json")]
    assert not wins(monkeypatch, twice)


def test_of_another_kind_nothing_is_concluded(monkeypatch):
    record = [point(*corner) for corner in GRID]
    assert wins(monkeypatch, record, network(3, inputs=3, outputs=1))
    assert wins(monkeypatch, record, network(3, output="softmax"))
    mixed = ffnn.Plan(compute_dtype="bfloat16")
    for net in (
        network(3, inputs=65),
        network(3, outputs=11),
        network(3, width=63),
        network(3, activation="tanh"),
        network(3, plan=mixed),
        network(1),
        ffnn.Network((64, 64, 32, 10)),
    ):
        assert not wins(monkeypatch, record, net)
    assert not wins(monkeypatch, record, dtype="bfloat16")
    assert not wins(monkeypatch, record, batch=32)
    assert not wins(monkeypatch, record, optimizer="adam")
    assert not wins(monkeypatch, [m._replace(card="another card") for m in record])
    monkeypatch.setattr(measured, "RECORD", tuple(record))
    assert not measured.wins("narrow_forward", network(3), "float32", 2**15)


def test_full_float32_and_tf32_are_two_things(monkeypatch):
    record = [point(*corner, arithmetic="float32") for corner in GRID]
    assert not wins(monkeypatch, record)
    with jax.default_matmul_precision("highest"):
        assert wins(monkeypatch, record)
    with jax.default_matmul_precision("BF16_BF16_F32_X3"):
        assert not wins(monkeypatch, record)
    mixed = network(3, plan=ffnn.Plan(compute_dtype="bfloat16"))
    record = [m._replace(arithmetic="float32, factors in bfloat16") for m in record]
    assert wins(monkeypatch, record, mixed)


def test_of_an_optimizer_that_was_not_timed_nothing_is_concluded(monkeypatch):
    momentum = functools.partial(optax.sgd, momentum=0.9)
    optimizers = {
        "sgd": optax.sgd,
        "momentum": momentum,
        "nesterov": functools.partial(momentum, nesterov=True),
        "adam": optax.adam,
    }
    shape = ("population", "tf32", "relu", 4, 16, 3, 2, 16)
    card = jax.devices()[0].device_kind
    net = ffnn.Network((4, 16, 3), "relu", "softmax")
    chosen = []
    monkeypatch.setattr(population, "chosen", lambda *_, **how: chosen.append(how["wins"]))

    for timed in optimizers:
        record = measured.of_run(card, "a.json", (*shape, timed, 64, 2.0, 1.5))
        monkeypatch.setattr(measured, "RECORD", record)
        optimizer: Any
        for optimizer in optimizers.values():
            rate = jnp.float32(0.1)
            population.epoch_of(net, Recipe(optimizer, 16), rate, jnp.float32, 64)
        assert chosen == [name == timed for name in optimizers]
        chosen.clear()
