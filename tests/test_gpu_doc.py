"""docs/gpu.md: its Python runs and prints what is shown, and it names what there is."""

import contextlib
import io
import pathlib
import re

import jax
import pytest

import ffnn_jax as ffnn
from ffnn_jax.kernels import measured

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gpu.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_python():
    scope, written = {}, ""
    for kind, body in BLOCKS:
        if kind == "text":
            assert body == written
            written = ""
        elif kind == "python":
            assert not written, "printed and not shown"
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(body, PAGE.name, "exec"), scope)
            written = output.getvalue()
    by_xla = jax.grad(ffnn.loss, argnums=1)(
        ffnn.Network((3, 16, 2)), scope["params"], scope["x"], scope["y"]
    )
    leaves = zip(jax.tree.leaves(scope["grads"]), jax.tree.leaves(by_xla), strict=True)
    assert all(abs(a - b).max() <= 1e-5 * abs(b).max() for a, b in leaves)


def test_it_says_that_there_are_no_figures_as_long_as_there_are_none():
    results = (ROOT / "benchmarks" / "results" / "README.md").read_text()
    none_yet = "No figure here was measured on a GPU" in TEXT, "There are none yet" in results
    assert none_yet == (not measured.RECORD,) * 2


def test_the_parts_are_those_of_the_script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    table = TEXT[TEXT.index("| part |") :]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(gpu.PARTS)
    assert all(f"  {name} " in gpu.__doc__ for name in gpu.PARTS)
