"""docs/using.md: every command and block runs, and ends with the words that the page shows."""

import contextlib
import io
import pathlib
import re
import shlex

import jax
import pytest

from ffnn_jax import cli

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "using.md"
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", PAGE.read_text(), re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
SECONDS = re.compile(r" +\(\d+\.\d s\)")


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def commands(block):
    """(words, the lines below them) of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, below = part.partition("\n")
        yield shlex.split(command), below.splitlines()


def run(words):
    """What a command writes, to both streams."""
    assert words[0] == "ffnn"
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
        assert cli.main(words[1:]) == 0, written.getvalue()
    return [SECONDS.sub("", line) for line in written.getvalue().splitlines()]


def alike(shown, written):
    """The same words, and numbers of the same size."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", written):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(written), strict=True)
    return all(abs(float(a) - float(b)) <= 0.1 + 0.6 * float(a) for a, b in pairs)


def test_the_page(tmp_path):
    scope = {}
    with contextlib.chdir(tmp_path):
        for kind, block in BLOCKS:
            if kind == "python":
                exec(compile(block, "using.md", "exec"), scope)
                continue
            for words, below in commands(block):
                written = [line for line in run(words) if not line.startswith("fit")]
                for shown, line in zip(below, written, strict=False):
                    assert alike(shown, line), f"{shown}\n{line}"
                assert len(written) >= len(below)
        for name in ("report.html", "model.onnx", "model.jax", "model.safetensors"):
            assert (tmp_path / "runs" / "wine" / name).stat().st_size > 1000
    assert scope["probabilities"].shape == (38, 3)
    assert set(scope["growers"]) == {"class_0", "class_1", "class_2"}


def test_the_comparison_can_fail():
    assert alike("accuracy 0.90 on 38 rows", "accuracy 0.95 on 38 rows")
    assert not alike("accuracy 0.90 on 38 rows", "accuracy 0.20 on 38 rows")
    assert not alike("accuracy 0.90 on 38 rows", "r2 0.90 on 38 rows")
