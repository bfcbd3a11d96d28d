"""safetensors files: bit for bit both ways, named as PyTorch names them, and torn ones refused."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import examples

import ffnn_jax as ffnn
from ffnn_jax import interop

safetensors = pytest.importorskip("safetensors")
from safetensors.numpy import save_file  # noqa: E402

NET = ffnn.Network((5, 12, 7, 3), activation=("tanh", "gelu"), output="softmax")


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_bit_for_bit(tmp_path, dtype):
    with jax.enable_x64(dtype == "float64"):
        params = examples(NET, dtype=dtype).params
        interop.save_safetensors(tmp_path / "file", NET, params)
        net, loaded = interop.load_safetensors(tmp_path / "file")
        assert net == NET
        assert_equal(loaded, params)


def test_transposed_arrays_are_not_scrambled(tmp_path):
    params = examples(NET).params
    turned = tuple(ffnn.Layer(np.asfortranarray(W), np.asarray(b)) for W, b in params)
    interop.save_safetensors(tmp_path / "file", NET, turned)
    assert_equal(interop.load_safetensors(tmp_path / "file")[1], params)


def test_more_than_ten_layers_come_back_in_order(tmp_path):
    net = ffnn.Network((3,) * 14)
    params = examples(net).params
    interop.save_safetensors(tmp_path / "file", net, params)
    assert_equal(interop.load_safetensors(tmp_path / "file"), (net, params))


def test_what_stands_in_the_file(tmp_path):
    params = examples(NET).params
    interop.save_safetensors(tmp_path / "file", NET, params)
    with safetensors.safe_open(tmp_path / "file", framework="numpy") as file:
        assert sorted(file.keys()) == sorted(
            f"layers.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")
        )
        np.testing.assert_array_equal(file.get_tensor("layers.2.weight"), params[1].W)
        assert json.loads(file.metadata()["network"]) == interop.describe(NET)


def test_a_file_of_other_make(tmp_path):
    params = examples(NET).params
    tensors = {}
    for k, (W, b) in enumerate(params):
        tensors |= {f"fc{k}.weight": np.asarray(W), f"fc{k}.bias": np.asarray(b)}
    save_file(tensors, tmp_path / "file")
    with pytest.raises(interop.SafetensorsError, match="pass net="):
        interop.load_safetensors(tmp_path / "file")
    assert_equal(interop.load_safetensors(tmp_path / "file", net=NET)[1], params)
    with pytest.raises(interop.SafetensorsError, match=r"file: PyTorch: expected 1 layers"):
        interop.load_safetensors(tmp_path / "file", net=ffnn.Network((5, 3)))
    with pytest.raises(TypeError, match="net comes first"):
        interop.load_safetensors(tmp_path / "file", net="relu")


def test_torn_files(tmp_path):
    net = ffnn.Network((2, 3))
    params = examples(net).params
    interop.save_safetensors(tmp_path / "file", net, params)
    data = (tmp_path / "file").read_bytes()
    for end in range(len(data)):
        (tmp_path / "torn").write_bytes(data[:end])
        with pytest.raises(interop.SafetensorsError, match="torn"):
            interop.load_safetensors(tmp_path / "torn")
    with pytest.raises(FileNotFoundError):
        interop.load_safetensors(tmp_path / "absent")


def test_a_flipped_bit_is_never_another_network(tmp_path):
    net = ffnn.Network((2, 3))
    params = examples(net).params
    interop.save_safetensors(tmp_path / "file", net, params)
    data = (tmp_path / "file").read_bytes()
    refused = 0
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        (tmp_path / "flipped").write_bytes(flipped)
        try:
            loaded = interop.load_safetensors(tmp_path / "flipped")
        except interop.SafetensorsError:
            refused += 1
        else:
            assert_equal(loaded, (net, params))
    assert refused > 0.9 * len(data)


@pytest.mark.parametrize("text", ["", "nul", "[" * 100_000, '{"sizes": 3}', "[]"])
def test_a_description_that_is_none(tmp_path, text):
    arrays = {"layers.0.weight": np.ones((3, 2), np.float32)}
    save_file(arrays, tmp_path / "file", metadata={"network": text})
    with pytest.raises(interop.SafetensorsError, match=r"description|JSON"):
        interop.load_safetensors(tmp_path / "file")


def test_numbers_that_are_no_parameters(tmp_path):
    for dtype in (np.int32, bool):
        save_file({"0.weight": np.ones((3, 2), dtype)}, tmp_path / "file")
        with pytest.raises(interop.SafetensorsError, match="expected one of float64"):
            interop.load_safetensors(tmp_path / "file", net=ffnn.Network((2, 3)))
    mixed = {"0.weight": np.ones((3, 2), np.float32), "0.bias": np.ones(3, np.float16)}
    save_file(mixed, tmp_path / "file")
    with pytest.raises(interop.SafetensorsError, match="one dtype for all"):
        interop.load_safetensors(tmp_path / "file", net=ffnn.Network((2, 3)))


def test_a_read_only_folder(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        interop.save_safetensors(tmp_path / "file", NET, examples(NET).params)


def own(yhat, y):
    return jnp.sum((yhat - y) ** 4, axis=-1)


def test_a_loss_of_the_users_own(tmp_path):
    loss = ffnn.Loss("fourth_power", own)
    net = ffnn.Network((2, 3), loss=loss)
    interop.save_safetensors(tmp_path / "file", net, examples(net).params)
    assert interop.load_safetensors(tmp_path / "file", loss=loss)[0] == net
    with pytest.raises(interop.SafetensorsError, match="pass it as loss=; got none"):
        interop.load_safetensors(tmp_path / "file")
