"""A fingerprint is the same wherever the arrays lie, and another when anything in them is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ffnn_jax.sharding.examples import Split
from ffnn_jax.sharding.fingerprint import fingerprint, rows_fingerprint

P = jax.P
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((12, 6)).astype(np.float32)
Y = DRAW.integers(0, 3, 12).astype(np.int32)
AUTO = (jax.sharding.AxisType.Auto,)
LINE = jax.make_mesh((4,), ("data",), axis_types=AUTO)
SQUARE = jax.make_mesh((2, 2), ("data", "model"), axis_types=AUTO * 2)


def on(mesh, *spec):
    return jax.NamedSharding(mesh, P(*spec))


@pytest.mark.parametrize(
    "home", [on(LINE, "data"), on(SQUARE, "data"), on(SQUARE, None, "model"), on(SQUARE)], ids=str
)
def test_the_same_on_every_layout(home):
    x = jax.device_put(X, home)
    assert fingerprint({"x": x}) == fingerprint({"x": X})
    y = jax.device_put(Y, on(home.mesh, *home.spec[:1]))
    assert rows_fingerprint((x, y, None)) == rows_fingerprint((X, Y, None))


def test_what_fills_up_does_not_count():
    split = Split(10, 12)
    filled = X.copy()
    filled[10:] = 99
    expected = rows_fingerprint((X[:10], Y[:10]))
    assert rows_fingerprint((X, Y), split=split) == expected
    assert rows_fingerprint((jax.device_put(filled, on(LINE, "data")), Y), split=split) == expected
    assert rows_fingerprint((X, Y)) != expected


def test_rows_of_several_processes():
    """Rows 0 to 2 and 3, of one process, on two devices; 4 to 6 of another, before them."""
    split = Split(7, 9, first=(0, 3, 4), at=(3, 6, 0))
    places = [4, 5, 6, 0, 1, 2, 3, 8, 8]
    assert rows_fingerprint(X[places], split=split) == rows_fingerprint(X[:7])


def test_rows_without_an_order():
    def of(x, y, weights=None):
        return rows_fingerprint((x, y), weights=weights, ordered=False)

    turned = DRAW.permutation(12)
    assert of(X[turned], Y[turned]) == of(X, Y)
    assert of(X[turned], Y) != of(X, Y)
    weights = np.array([1] * 10 + [0] * 2, np.float32)
    assert of(X, Y, weights) == of(X[:10], Y[:10])
    assert rows_fingerprint((X[turned], Y[turned])) != rows_fingerprint((X, Y))


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint16", "int32", "float16", "bfloat16", "float32", "float64", "int64"],
)
def test_one_bit_counts(dtype, x64):
    del x64
    values = DRAW.integers(0, 2, (3, 5)).astype(jnp.dtype(dtype))
    seen = {fingerprint(values)}
    for i in range(values.size):
        changed = values.copy()
        changed.view(np.uint8).reshape(-1)[i * values.itemsize] ^= 1
        seen.add(fingerprint(changed))
        assert rows_fingerprint(changed) != rows_fingerprint(values)
    assert len(seen) == 1 + values.size


def test_what_else_counts():
    x = X[:4, :4]
    others = [x, x.T, x[::-1], x[:, ::-1], x.reshape(2, 8), x.view(np.int32), {"x": x}, [x, x], -x]
    assert len({fingerprint(other) for other in others}) == len(others)
    assert rows_fingerprint((x, x + 1)) != rows_fingerprint((x + 1, x))
    assert rows_fingerprint((None, None)) == rows_fingerprint(()) != rows_fingerprint((x,))


def test_keys_and_numbers():
    keys = [
        jax.random.key(0),
        jax.random.key(1),
        jax.random.key(0, impl="rbg"),
        1,
        2,
        np.float32(1),
    ]
    assert len({fingerprint(key) for key in keys}) == len(keys)
    whole = jax.device_put(jax.random.key(0), on(SQUARE))
    assert fingerprint(whole) == fingerprint(jax.random.key(0))
