"""Programs are kept for the like alone, and forgotten by any run; no variable is overwritten."""

import os
import pathlib

import compiling
import pytest


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder of programs that is too large."""
    (tmp_path / "cores-2").mkdir()
    (tmp_path / "cores-2" / "program").write_bytes(b"12345")
    monkeypatch.setattr(compiling, "PROGRAMS", tmp_path)
    monkeypatch.setattr(compiling, "KEPT", 4)
    return tmp_path


def test_many_programs_are_forgotten(programs):
    compiling.forget_if_many()
    assert not programs.exists()
    compiling.forget_if_many()


def test_few_are_kept(programs, monkeypatch):
    monkeypatch.setattr(compiling, "KEPT", 2**20)
    compiling.forget_if_many()
    assert (programs / "cores-2" / "program").exists()


def test_what_another_run_removes_meanwhile_is_no_error(programs, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "rglob", lambda folder, _: [folder / "it was here"])
    compiling.forget_if_many()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_other_numbers_of_cores_and_threads_have_other_programs(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        found.append(compiling.folder())
    monkeypatch.setenv("NPROC", "1")
    found.append(compiling.folder())
    assert len(set(found)) == 3


def test_variables_are_added_to_once(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    for _ in range(2):
        compiling.add("PYTHONWARNINGS", ",", "ignore:a")
    assert os.environ["PYTHONWARNINGS"] == "error,ignore:a"
    monkeypatch.delenv("PYTHONWARNINGS")
    compiling.add("PYTHONWARNINGS", ",", "ignore:a")
    assert os.environ["PYTHONWARNINGS"] == "ignore:a"


def test_as_for_a_user(monkeypatch):
    """Nothing of what the tests have set, and all else."""
    kept = {"XLA_FLAGS": "--xla_dump_to=a", "JAX_PLATFORMS": "cpu"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    for flag in (compiling.ONE_PIECE, compiling.OLDER_WAY):
        compiling.add("XLA_FLAGS", " ", flag)
    for name in compiling.QUICK:
        monkeypatch.setenv(name.upper(), "something")
    found = compiling.as_for_a_user(ONE="1")
    assert not {name.upper() for name in compiling.QUICK} & set(found)
    assert found.items() >= {**kept, "ONE": "1"}.items()
