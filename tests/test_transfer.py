"""Rows that are fetched from the devices that have them are those of the whole array."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close, examples
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn
from ffnn_jax.sharding.placement import Layout
from ffnn_jax.sharding.transfer import capacity, fetch

N, EACH = 800, 200  # rows of the whole, and of each of 4 devices
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((N, 3)).astype(np.float32)
TREE = {
    "x": X,
    "half": X.astype(np.float16),
    "bool": X[:, 0] > 0,
    "int": np.arange(N).astype(np.int8),
    "none": None,
}


def layout_of(**axes):
    kinds = (AxisType.Auto,) * len(axes)
    return Layout(jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=kinds), ())


@pytest.mark.parametrize(
    ("rows", "devices", "expected"),
    [
        (1, 4, 1),
        (16, 4, 16),
        (17, 4, 17),
        (100, 4, 49),  # 25 + 4 · 5 + 4
        (1024, 256, 16),  # 4 + 4 · 2 + 4
        (8192, 32, 324),
    ],
)
def test_capacity(rows, devices, expected):
    assert capacity(rows, devices) == expected


@pytest.mark.parametrize("shape", [(1, 12), (3, 8), (1, 400), (2, 200)])
def test_every_draw(shape):
    """In the last two a pair exchanges 49 rows a round, and has up to 100."""
    layout, size = layout_of(data=4), shape[0] * shape[1]
    tree = jax.device_put(TREE, jax.NamedSharding(layout.mesh, P("data")))
    take = jax.jit(lambda tree, rows: fetch(layout, tree, rows))
    draws = {
        "random": DRAW.permutation(N)[:size],
        "all on the third device": 2 * EACH + np.arange(size)[::-1] % EACH,
        "in order": np.arange(size),
        "each has its own": np.arange(size) % (size // 4) + np.arange(size) * 4 // size * EACH,
        "the same one": np.full(size, N - 1),
    }
    for name, numbers in draws.items():
        rows = numbers.reshape(shape).astype(np.int32)
        found = take(tree, jnp.asarray(rows))
        for leaf, whole in zip(jax.tree.leaves(found), jax.tree.leaves(TREE), strict=True):
            assert leaf.dtype == whole.dtype
            np.testing.assert_array_equal(leaf, whole[rows], name)
            assert {shard.data.shape[1] for shard in leaf.addressable_shards} == {shape[1] // 4}


def test_networks_that_need_more_rounds_than_others():
    """Two on each of two places, with rows and draws of their own; one place needs one round."""
    layout = layout_of(member=2, data=2)
    x = jnp.asarray(DRAW.standard_normal((4, N, 3)).astype(np.float32))
    numbers = [DRAW.permutation(N)[:200] for _ in range(3)] + [np.arange(200)]
    rows = jnp.asarray(np.stack(numbers)[:, None].astype(np.int32))
    assert capacity(100, 2) == 83
    of_place = jax.shard_map(
        jax.vmap(lambda x, rows: fetch(layout, x, rows)),
        mesh=layout.mesh,
        in_specs=(P("member"), P("member")),
        out_specs=P("member"),
        axis_names={"member"},
    )
    found = jax.jit(of_place)(x, rows)
    expected = jnp.take_along_axis(x, rows[:, 0, :, None], axis=1)[:, None]
    np.testing.assert_array_equal(found, expected)


def test_a_large_batch_trains_as_on_one_device():
    """100 rows a device; the last batch has one of its own, and is filled up with rows of all."""
    net, optimizer = ffnn.Network((3, 4, 2), output="softmax", dropout=0.3), optax.sgd(0.1)
    params = jax.tree.map(np.asarray, examples(net).params)
    y = (X[:, 1] > 0).astype(np.int32)

    def epoch(mesh):
        state = ffnn.init_state(net, optimizer, jax.random.key(1), params=params, mesh=mesh)
        x, classes = X[:401], y[:401]
        return ffnn.train_epoch(net, optimizer, state, x, classes, batch_size=400, mesh=mesh)

    with jax.numpy_dtype_promotion("standard"):
        results = [epoch(mesh) for mesh in (None, layout_of(data=4).mesh)]
    found, expected = (jax.tree.map(np.asarray, (s.params, losses)) for s, losses in results)
    assert_close(found, expected, 5e-6)
