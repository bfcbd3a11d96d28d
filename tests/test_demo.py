"""The demonstration and the command line, as a newcomer runs them."""

import os
import subprocess
import sys

import jax
import pytest

import ffnn_jax
from ffnn_jax import cli, demo
from ffnn_jax.cli import commands


def test_demo(capsys):
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        assert cli.main(["demo", "--quick"]) == 0
    out, err = capsys.readouterr()
    for heading in ("1. The data", "2. The gradient", "3. Training", "4. Speed"):
        assert heading in out
    for leaf in ("∇W_1", "∇b_3", "∇x"):
        assert leaf in out
    assert "WRONG" not in out
    accuracy = float(out.split("test accuracy ")[-1].split(":")[0])
    assert accuracy > 0.9
    assert "epoch   5: loss" in out
    assert err == ""  # the progress line is for a terminal


def test_a_wrong_gradient_would_be_shown(monkeypatch):
    import jax.numpy as jnp

    @jax.custom_vjp
    def wrong(net, params, x, y):
        return ffnn_jax.loss_autodiff(net, params, x, y)

    wrong.defvjp(
        lambda net, params, x, y: (wrong(net, params, x, y), (params, x)),
        lambda saved, g: (None, saved[0], g * saved[1], None),
    )
    monkeypatch.setattr(demo, "loss", wrong)
    x, y = ffnn_jax.load_digits()
    with pytest.raises(AssertionError, match="the hand-written gradient is wrong"):
        demo._show_gradients(jax.random.key(0), jnp.asarray(x), jnp.asarray(y))


def test_no_scikit_learn(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert cli.main(["demo"]) == 1
    assert "pip install 'ffnn_jax[data]'" in capsys.readouterr().err


def test_interrupted(monkeypatch, capsys):
    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run_demo", interrupt)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "ffnn: interrupted\n"


def test_output_that_nobody_reads():
    """As in `python -m ffnn_jax demo | head -1`: no traceback, with more to print at the end."""
    program = """
import sys
from ffnn_jax.cli import commands

def demo(**_):
    print("read", flush=True)
    input()
    print("not read")

commands.run_demo = demo
sys.exit(commands.main(["demo"]))
"""
    options = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | {"text": True}
    options["env"] = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, "-c", program], **options) as process:
        assert process.stdout.readline() == "read\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stderr.read() == ""
        assert process.wait(timeout=120) == 1


def test_module_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "ffnn_jax", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"ffnn_jax {ffnn_jax.__version__}\n"
    with pytest.raises(SystemExit) as caught:
        cli.main(["train-everything"])
    assert caught.value.code == 2
