"""The README's first use, every docstring's example, and what the documents promise."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import jax
import pytest

import ffnn_jax

ROOT = pathlib.Path(__file__).parent.parent
MODULES = ["ffnn_jax"] + [
    module.name
    for module in pkgutil.walk_packages(ffnn_jax.__path__, "ffnn_jax.")
    if not module.name.endswith("__main__")
]


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_docstring_examples_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        t for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples
    ]
    assert len(found) >= 10


def test_readme_first_use(capsys, tmp_path, monkeypatch):
    """The python blocks of the README run one after the other, with the results it promises."""
    monkeypatch.chdir(tmp_path)  # a page is written
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    scope = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["result"].history.validation_accuracy[-1] > 0.95
    assert scope["regression"].history.validation_loss[-1] < 0.7
    assert scope["losses"].shape == (10, 12)
    assert scope["report"].ok
    assert not scope["mine"].ok
    assert (tmp_path / "backprop.html").exists()


def test_what_the_readme_names_is_there():
    readme = (ROOT / "README.md").read_text()
    for path in re.findall(r"(?:scripts|benchmarks|docs|tests)/[\w./-]+\w", readme):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"ffnn\.(\w+)", readme):
        assert hasattr(ffnn_jax, name), name
