"""Exported programs: the values are ours, and so is the derivative, read back by JAX alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_close, examples

import ffnn_jax as ffnn
from ffnn_jax import backprop, interop

pytest.importorskip("flatbuffers")

NET = ffnn.Network((5, 7, 6, 4), activation=("gelu", "tanh"), output="softmax")


def plain(params):
    return tuple(map(tuple, params))


def reread(program, folder):
    """The program as a process without this library reads it."""
    interop.save_exported(folder / "program", program)
    return jax.export.deserialize(bytearray((folder / "program").read_bytes()))


def test_apply_and_its_derivative_for_any_batch(tmp_path):
    point = examples(NET)
    program = reread(interop.export_apply(NET, point.params), tmp_path)
    for rows in (1, 6):
        x = point.x[:rows]
        assert_close(program.call(x), ffnn.apply(NET, point.params, x), 2e-6)

    def squares(apply):
        return jax.jit(jax.grad(lambda x: jnp.sum(apply(x) ** 2)))(point.x)

    expected = squares(lambda x: ffnn.apply(NET, point.params, x))
    assert_close(squares(program.call), expected, 2e-6)


@pytest.mark.parametrize("classes", [True, False])
def test_the_exported_gradient_is_ours(tmp_path, classes):
    point = examples(NET, classes=classes)
    program = reread(interop.export_loss(NET, classes=classes), tmp_path)
    value, grads = jax.jit(jax.value_and_grad(program.call))(plain(point.params), point.x, point.y)
    expected, ours = ffnn.gradients(NET, point.params, point.x, point.y)
    assert_close(value, expected, 2e-6)
    assert_close(grads, plain(ours.params), 2e-6)


def test_a_rule_with_a_bug_is_exported_with_its_bug(tmp_path, monkeypatch):
    """What is in the file is the hand-written rule, and not JAX's derivative of the values."""
    point = examples(NET, classes=True)
    right = backprop.sweep

    def planted(*args):
        params, grads_a, grads_h = right(*args)
        return jax.tree.map(lambda t: 3 * t, params), grads_a, grads_h

    monkeypatch.setattr(backprop, "sweep", planted)
    program = reread(interop.export_loss(NET), tmp_path)
    monkeypatch.undo()
    found = jax.jit(jax.grad(program.call))(plain(point.params), point.x, point.y)
    ours = ffnn.gradients(NET, point.params, point.x, point.y)[1].params
    assert_close(found, jax.tree.map(lambda t: 3 * t, plain(ours)), 2e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(tmp_path, dtype):
    with jax.enable_x64(dtype == "float64"):
        net = ffnn.Network((3, 4, 1), output="logistic")
        point = examples(net, dtype=dtype)
        program = reread(interop.export_loss(net, dtype=dtype), tmp_path)
        grads = jax.grad(program.call)(plain(point.params), point.x, point.y)
        ours = ffnn.gradients(net, point.params, point.x, point.y)[1].params
        assert_close(grads, plain(ours), 1e-13 if dtype == "float64" else 3e-2)


def test_a_fixed_batch(tmp_path):
    point = examples(NET, classes=True)
    program = reread(interop.export_loss(NET, batch=6), tmp_path)
    grads = jax.jit(jax.grad(program.call))(plain(point.params), point.x, point.y)
    ours = ffnn.gradients(NET, point.params, point.x, point.y)[1].params
    assert_close(grads, plain(ours), 2e-6)
    assert interop.export_apply(NET, point.params, batch=2).in_avals[0].shape == (2, 5)


def test_a_program_is_that_of_xla():
    """Whatever the plan asks for here: a kernel is for one kind of device."""
    net = dataclasses.replace(NET, plan=ffnn.Plan(implementation="pallas"))
    params = examples(net).params
    for batch in (None, 7):
        options: Any = {"batch": batch, "platforms": ("cpu", "cuda")}
        asked, by_xla = (interop.export_apply(n, params, **options) for n in (net, NET))
        assert asked.mlir_module() == by_xla.mlir_module()
        assert interop.export_loss(net, **options).platforms == ("cpu", "cuda")


def test_for_machines_that_are_not_here():
    net = ffnn.Network((3, 2))
    program = interop.export_apply(net, examples(net).params, platforms=("cpu", "cuda", "tpu"))
    assert program.platforms == ("cpu", "cuda", "tpu")


def test_a_torn_file_is_one_clear_error(tmp_path):
    net = ffnn.Network((3, 2))
    interop.save_exported(tmp_path / "file", interop.export_apply(net, examples(net).params))
    data = (tmp_path / "file").read_bytes()
    assert interop.load_exported(tmp_path / "file").in_avals[0].shape[1] == 3
    for torn in (b"", b"none", data[: len(data) // 2], data[:-1][5:], bytes(len(data))):
        (tmp_path / "torn").write_bytes(torn)
        with pytest.raises(interop.ExportedError, match="torn"):
            interop.load_exported(tmp_path / "torn")
    with pytest.raises(FileNotFoundError):
        interop.load_exported(tmp_path / "absent")


def test_bad_arguments(tmp_path):
    net = ffnn.Network((3, 2))
    params = examples(net).params
    with pytest.raises(ValueError, match="platforms: 'gpu' is not one of"):
        interop.export_apply(net, params, platforms=("gpu",))
    with pytest.raises(TypeError, match="platforms: expected a tuple"):
        interop.export_apply(net, params, platforms="cpu")
    with pytest.raises(TypeError, match="net comes first"):
        interop.export_apply(params, net)
    with pytest.raises(ValueError, match="expected 1 layers"):
        interop.export_apply(net, params * 2)
    with pytest.raises(TypeError, match="dtype: expected float64"):
        interop.export_loss(net, dtype="int32")
    with pytest.raises(TypeError, match="dtype: float64 needs 64-bit"):
        interop.export_loss(net, dtype="float64")
    with pytest.raises(TypeError, match="classes: expected True"):
        interop.export_loss(net, classes=1)
    with pytest.raises(ValueError, match="batch: expected at least 1"):
        interop.export_loss(net, batch=0)
    with pytest.raises(TypeError, match="program: expected one of jax"):
        interop.save_exported(tmp_path / "file", np.zeros(3))
