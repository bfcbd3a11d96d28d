"""Arrays on many devices, whole in NumPy; over processes see process_worker.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ffnn_jax as ffnn

MESH = jax.make_mesh((2, 2), ("data", "model"))


def test_what_is_split_comes_whole():
    split = jax.NamedSharding(MESH, jax.P("data", "model"))
    W = np.arange(8, dtype=np.float32).reshape(4, 2)
    tree = {"split": jax.device_put(W, split), "numpy": W, "number": 2.5, "none": None}
    found = ffnn.gathered({**tree, "half": jnp.asarray(W, jnp.bfloat16), "key": jax.random.key(3)})
    assert all(type(found[name]) is np.ndarray for name in ("split", "numpy", "number", "half"))
    np.testing.assert_array_equal(found["split"], W)
    assert found["half"].dtype == jnp.bfloat16
    assert found["number"] == 2.5
    assert found["none"] is None
    assert jax.random.key_data(found["key"]).tolist() == [0, 3]


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match=r"tree\['a'\]\[0\]: expected .*str"):
        ffnn.gathered({"a": ["words"]})
    with pytest.raises(TypeError, match="tree: expected an array with values"):
        jax.jit(ffnn.gathered)(jnp.ones(2))
