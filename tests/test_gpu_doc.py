"""docs/gpu.md: its Python runs and prints what is shown, and it names what there is."""

import contextlib
import dataclasses
import inspect
import io
import operator
import pathlib
import re
import tomllib

import jax
import optax
import pytest

import ffnn_jax as ffnn
from ffnn_jax.ensemble import population
from ffnn_jax.kernels import measured, population_limits
from ffnn_jax.kernels.updates import SGD

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


def test_the_names_in_it_are_there(monkeypatch):
    """Each `word`, `word=value`, `path/to`, `jax.name`, `optax.name`, `Plan(…)`."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu
    from gpu_parts import narrow

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = {*dir(ffnn), *inspect.signature(ffnn.fit_many).parameters, *gpu.PARTS}
    words |= {field.name for field in dataclasses.fields(ffnn.Plan)}
    words |= {*narrow.WAYS, population.NAME, *project["optional-dependencies"], "python3"}
    found = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```$", "", TEXT))
    assert len(found) > 80
    for name in found:
        if word := re.fullmatch(r"([a-z]\w*)(=\w+)?", name):
            assert word[1] in words, name
        elif re.fullmatch(r"[\w-]+(/[\w.-]+)+", name):
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"(jax|optax)(\.\w+)+", name):
            module, _, rest = name.partition(".")
            operator.attrgetter(rest)({"jax": jax, "optax": optax}[module])
        elif re.fullmatch(r"Plan\(.*=[^…]+\)", name):
            eval(name, {"Plan": ffnn.Plan})


def test_the_kernels_take_the_precisions_that_it_names():
    table = TEXT[TEXT.index("| setting |") :].split("\n\n")[0]
    rows = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:])
    net = ffnn.Network((4, 16, 3), "relu", "softmax")
    for names, products in rows.items():
        for name in re.findall(r'"(\w+)"', names.partition("(")[0]):
            with jax.default_matmul_precision(name):
                reason = population_limits.reason_against(net, SGD(), 16, jax.numpy.float32)
            assert (reason is not None) == ("refuse" in products), name


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
