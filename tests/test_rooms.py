"""The house: each module imports only earlier ones, and the public face is names only."""

import ast
import inspect
import pathlib
import types

import pytest

import ffnn_jax as ffnn

PACKAGE = pathlib.Path(ffnn.__file__).parent

# In reading order; a module may import those above it and no others.
ROOMS = [
    "checks",
    "activations",
    "losses",
    "outputs",
    "tiny",
    "dense",
    "dropout",
    "plan",
    "network",
    "kernels",
    "sweep",
    "classes",
    "backprop",
    "update",
    "gradcheck",
    "comparison",
    "idx",
    "data",
    "weights",
    "rows",
    "description",
    "processes",
    "checkpoint",
    "metrics",
    "shuffle",
    "sharding",
    "batches",
    "deep",
    "recipe",
    "training",
    "descent",
    "penalties",
    "streaming",
    "epochs",
    "progress",
    "history",
    "resuming",
    "fitting",
    "rate_search",
    "ensemble",
    "per_example",
    "saliency",
    "calibration",
    "units",
    "plots",
    "explain",
    "diagram",
    "report",
    "interop",
    "tabular",
    "demo",
    "cli",
    "__main__",
]
GRADCHECK = [
    "report",
    "primal",
    "point",
    "voices",
    "draw",
    "differences",
    "settling",
    "judge",
    "formulas",
    "diagnosis",
    "rows",
    "calls",
    "dtypes",
    "orders",
    "meshes",
    "transforms",
    "examine",
    "check",
    "hard",
    "rules",
    "__init__",
]


def imported(path):
    """The modules of this package that a file imports, by their first name after ffnn_jax."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ffnn_jax":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ffnn_jax."):
            name = node.module.removeprefix("ffnn_jax.")
            folder = (PACKAGE / name.replace(".", "/")).is_dir()
            yield from (f"{name}.{alias.name}" for alias in node.names) if folder else (name,)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("ffnn_jax") for alias in node.names)


def test_every_module_has_its_place():
    files = {path.stem for path in PACKAGE.glob("*.py")} | {
        p.parent.name for p in PACKAGE.glob("*/*.py")
    }
    assert files == {*ROOMS, "__init__"}
    assert {path.stem for path in (PACKAGE / "gradcheck").glob("*.py")} == set(GRADCHECK)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room):
    earlier = ROOMS[: ROOMS.index(room)]
    files = (PACKAGE / room).glob("*.py") if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]
    for path in files:
        for name in imported(path):
            assert name.split(".")[0] in (*earlier, room), f"{path.name} imports {name}"


def test_gradcheck_imports_nothing_of_ours():
    for i, name in enumerate(GRADCHECK):
        allowed = {f"gradcheck.{earlier}" for earlier in GRADCHECK[:i]}
        assert set(imported(PACKAGE / "gradcheck" / f"{name}.py")) <= allowed


def test_no_exported_name_is_a_module():
    assert not set(ffnn.__all__) & {*ROOMS, "kernels"}
    assert sorted(ffnn.__all__) == ffnn.__all__


def test_everything_public_says_what_it_takes_and_raises():
    for name in ffnn.__all__:
        thing = getattr(ffnn, name)
        doc = inspect.getdoc(thing)
        assert doc, name
        if isinstance(thing, types.FunctionType):
            assert "Raises:" in doc or "raises as" in doc or "returns and raises" in doc, name
            parameters = [p for p in inspect.signature(thing).parameters if p != "others"]
            if "Args:" in doc:
                assert all(f"{p}" in doc for p in parameters), name
