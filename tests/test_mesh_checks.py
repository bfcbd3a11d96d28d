"""Networks A to E of benchmarks/throughput.py, every leaf held to autodiff, also on meshes."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import ffnn_jax as ffnn

MESHES = ("shard_map", "Explicit mesh")
SIZES = {  # and the batch
    "A": ((4, 16, 3), 16),
    "B": ((64, 64, 64, 10), 32),
    "C": ((64, 128, 128, 10), 128),
    "D": ((784, 128, 10), 64),
    "E": ((784, 512, 512, 10), 128),
}


@pytest.mark.parametrize("name", SIZES)
def test_every_leaf_on_meshes(name):
    sizes, batch = SIZES[name]
    net = ffnn.Network(sizes, activation="relu", output="softmax")
    draw = np.random.default_rng(0)
    params = tuple(
        ffnn.Layer(
            jnp.asarray(draw.standard_normal((n, m)) * (2 / m) ** 0.5, jnp.float32),
            jnp.asarray(draw.standard_normal(n) * 0.1, jnp.float32),
        )
        for m, n in itertools.pairwise(sizes)
    )
    x = jnp.asarray(draw.standard_normal((batch, sizes[0])), jnp.float32)
    y = jnp.asarray(draw.integers(0, sizes[-1], batch), jnp.int32)

    def value(params, x, y):
        return ffnn.loss(net, params, x, y)

    report = ffnn.check_gradients(value, (params, x, y), transforms=MESHES)
    rows = {row.name: row.verdict for row in report.transforms}
    assert rows == dict.fromkeys(MESHES, "right"), report
    assert len(report.leaves) == 2 * net.depth + 1
    assert report.ok, report
