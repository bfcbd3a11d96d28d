"""The room itself: nothing of it is needed by the core, and a network goes to JSON and back."""

import inspect
import json
import subprocess
import sys
import types

import jax.numpy as jnp
import pytest
from cases import NETWORKS, name_of

import ffnn_jax as ffnn
from ffnn_jax import interop
from ffnn_jax.interop import packages

OPTIONAL = (
    "onnx",
    "onnxruntime",
    "safetensors",
    "flatbuffers",
    "torch",
    "flax",
    "haiku",
    "equinox",
    "keras",
    "sklearn",
    "scipy.optimize",
)


def test_import_takes_none_of_the_other_libraries():
    script = (
        f"import sys; before = set(sys.modules); import jax; given = set(sys.modules); "
        f"import ffnn_jax; assert not any(m.startswith('ffnn_jax.interop') for m in sys.modules); "
        f"from ffnn_jax import interop; "
        f"new = set(sys.modules) - given; print([m for m in {OPTIONAL!r} if m in new])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_name_is_there_and_says_what_it_takes():
    assert sorted(interop.__all__) == interop.__all__
    for name in set(interop.__all__) - set(interop.ESTIMATORS):
        thing = getattr(interop, name)
        doc = inspect.getdoc(thing)
        assert doc, name
        if isinstance(thing, types.FunctionType):
            assert "Raises:" in doc or "returns and raises" in doc, name


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ffnn_jax\[export\]'"):
        packages.require("no_such_package.helper", "ffnn_jax[export]")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="FFNNClasifier"):
        interop.FFNNClasifier  # noqa: B018


@pytest.mark.parametrize("net", NETWORKS, ids=name_of)
def test_a_network_goes_to_json_and_back(net):
    assert interop.network_of(json.loads(json.dumps(interop.describe(net)))) == net


def absolute(yhat, y):
    return jnp.sum(jnp.abs(yhat - y), axis=-1)


def test_a_loss_of_the_users_own_is_asked_for_by_name():
    own = ffnn.Loss("mine", absolute)
    net = ffnn.Network((2, 3), loss=own)
    description = interop.describe(net)
    assert interop.network_of(description, loss=own) == net
    with pytest.raises(ValueError, match="pass it as loss=; got none"):
        interop.network_of(description)
    with pytest.raises(ValueError, match="'mine', pass it as loss=; got 'other'"):
        interop.network_of(description, loss=ffnn.Loss("other", absolute))


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [3, 0]},
        {"sizes": "3"},
        {"output": None},
        {"activation": ["relu"] * 9},
        {"activation": {}},
        {"more": 1},
    ],
)
def test_what_describes_no_network_is_refused(change):
    description = interop.describe(ffnn.Network((3, 4, 2)))
    with pytest.raises(ValueError, match="description"):
        interop.network_of({**description, **change})
    with pytest.raises(TypeError, match="description"):
        interop.network_of([description])
