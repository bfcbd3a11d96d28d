"""ONNX models: valid by ONNX's own check, and equal in onnxruntime, row by row of the tables."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, OUTPUTS, examples

import ffnn_jax as ffnn
from ffnn_jax import interop
from ffnn_jax.interop import onnx_file

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-2}


def run(model, x, name="x"):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {name: np.asarray(x)})[0]


def assert_same(net, params, x, found):
    """Within the tolerance, relative plus absolute, of the numbers a_L for large weights."""
    tape = jax.tree.map(lambda t: np.asarray(t, np.float64), ffnn.forward(net, params, x))
    tolerance = TOLERANCE[str(found.dtype)]
    scale = max(1, np.abs(tape.a[-1]).max())
    assert found.dtype == params[0].W.dtype
    np.testing.assert_allclose(found.astype(np.float64), tape.yhat, tolerance, tolerance * scale)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("g", ACTIVATIONS)
def test_every_activation_and_output(g, dtype):
    with jax.enable_x64(dtype == "float64"):
        for output, seed in zip(OUTPUTS, range(3), strict=True):
            net = ffnn.Network((5, 8, 4), activation=g, output=output)
            point = examples(net, seed=seed, dtype=dtype)
            x = 3 * point.x
            assert_same(net, point.params, x, run(interop.to_onnx(net, point.params), x))


@pytest.mark.parametrize("g", ACTIVATIONS)
def test_weights_that_are_large(g):
    for output in OUTPUTS:
        net = ffnn.Network((5, 8, 4), activation=g, output=output)
        point = examples(net, seed=7)
        params = jax.tree.map(lambda t: 30 * t, point.params)
        assert_same(net, params, point.x, run(interop.to_onnx(net, params), point.x))


def test_the_tables_have_every_row():
    assert set(onnx_file.ACTIVATION_NODES) == set(ACTIVATIONS)
    assert set(onnx_file.OUTPUT_NODES) == set(OUTPUTS)


def test_no_hidden_layer_mixed_layers_and_any_batch():
    for net in (
        ffnn.Network((5, 3), output="softmax"),
        ffnn.Network((1, 1)),
        ffnn.Network((3, 8, 2, 9, 3), activation=("relu", "gelu", "identity"), output="logistic"),
    ):
        point = examples(net)
        model = interop.to_onnx(net, point.params)
        for rows in (1, 6):
            assert_same(net, point.params, point.x[:rows], run(model, point.x[:rows]))


def test_the_oldest_opset_that_will_do():
    def opset(g, dtype=jnp.float32):
        net = ffnn.Network((3, 4, 2), activation=g)
        model = interop.to_onnx(net, examples(net, dtype=dtype).params)
        return model.opset_import[0].version, model.ir_version

    assert {opset(g) for g in ACTIVATIONS if g != "gelu"} == {(17, 8)}
    assert opset("gelu") == (20, 9)


def test_names_and_metadata(tmp_path):
    net = ffnn.Network((3, 4, 2), output="softmax")
    point = examples(net)
    given = {"columns": ["a", "b", "c"], "mean": [0.5, 1, 2]}
    interop.save_onnx(
        tmp_path / "model.onnx",
        net,
        point.params,
        input_name="features",
        output_name="probabilities",
        metadata=given,
    )
    model = onnx.load(tmp_path / "model.onnx")
    assert [t.name for t in model.graph.input] == ["features"]
    assert [t.name for t in model.graph.output] == ["probabilities"]
    stored = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert stored == {"network": interop.describe(net), "metadata": given}
    assert_same(net, point.params, point.x, run(model, point.x, "features"))


def test_bfloat16_is_written_as_float32_and_says_so():
    net = ffnn.Network((3, 4, 2))
    point = examples(net, dtype="bfloat16")
    with pytest.warns(UserWarning, match="bfloat16 parameters are written as float32"):
        model = interop.to_onnx(net, point.params)
    params = jax.tree.map(lambda t: t.astype(jnp.float32), point.params)
    x = point.x.astype(jnp.float32)
    assert_same(net, params, x, run(model, x))


def test_random_networks():
    draw = np.random.default_rng(3)
    for seed in range(5):
        sizes = tuple(int(n) for n in draw.integers(1, 9, draw.integers(2, 6)))
        activation = tuple(str(g) for g in draw.choice(ACTIVATIONS, len(sizes) - 2))
        net = ffnn.Network(sizes, activation=activation, output=OUTPUTS[seed % 3])
        point = examples(net, seed=seed)
        params = tuple(
            ffnn.Layer(*(np.asarray(t) for t in layer)) for layer in point.params
        )  # NumPy's too
        assert_same(net, params, point.x, run(interop.to_onnx(net, params), point.x))


def test_bad_arguments(tmp_path):
    net = ffnn.Network((3, 4, 2))
    params = examples(net).params
    with pytest.raises(TypeError, match="net comes first"):
        interop.to_onnx(params, net)
    with pytest.raises(ValueError, match="params: expected 2 layers"):
        interop.to_onnx(net, params[:1])
    for name in ("", "a b", None, 3):
        with pytest.raises(ValueError, match="input_name: expected a name"):
            interop.to_onnx(net, params, input_name=name)
    with pytest.raises(ValueError, match="output_name: expected another"):
        interop.to_onnx(net, params, output_name="x")
    with pytest.raises(TypeError, match="metadata: expected a dict"):
        interop.to_onnx(net, params, metadata="{}")
    for bad in (np.zeros(3), float("nan")):
        with pytest.raises((TypeError, ValueError), match="metadata: expected what JSON can hold"):
            interop.to_onnx(net, params, metadata={"mean": bad})
    with pytest.raises(OSError, match="absent"):
        interop.save_onnx(tmp_path / "absent" / "model.onnx", net, params)


def test_too_large_for_a_file(monkeypatch):
    net = ffnn.Network((3, 4, 2))
    monkeypatch.setattr(onnx_file, "LARGEST", 2**20 + sum(itertools.chain(net.sizes)))
    with pytest.raises(ValueError, match="less than 2 GiB"):
        interop.to_onnx(net, examples(net).params)
