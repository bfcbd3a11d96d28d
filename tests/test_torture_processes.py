"""scripts/torture-processes: one of two processes is killed, and nothing is lost."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from compiling import as_for_a_user

from ffnn_jax.checkpoint import CheckpointError, together

pytest.importorskip("orbax.checkpoint")
ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_the_short_form():
    done = subprocess.run(
        [sys.executable, "scripts/torture_processes.py", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env=as_for_a_user(PYTHONPATH=str(ROOT), JAX_DISABLE_MOST_OPTIMIZATIONS="1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["ok"]
    assert record["kills"] == 1
    assert record["slowest"] < 30
    assert record["last"] >= 3
    assert record["apart"] < 1e-4


def test_the_wrapper_explains_itself():
    words = ["bash", "scripts/torture-processes", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--kills" in done.stdout


@pytest.fixture(scope="module")
def script():
    """The module scripts/torture_processes.py."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "scripts")
        import torture_processes

        yield torture_processes


def test_every_row_is_with_one_process(script):
    whole = script.own_rows(0, 1)
    parts = [script.own_rows(i, 2) for i in range(2)]
    assert len(parts[0][0]) != len(parts[1][0])
    for i in range(2):
        np.testing.assert_array_equal(whole[i], np.concatenate([part[i] for part in parts]))


@pytest.mark.parametrize(
    ("program", "hung", "wrong"),
    [
        ("raise RuntimeError('ProcessError')", False, False),
        ("raise RuntimeError('another')", False, True),
        ("print('ProcessError')", False, True),  # as if nothing had happened
        ("import os; print('ProcessError', flush=True); os.abort()", False, True),
        ("import time; time.sleep(60)", True, False),
    ],
)
def test_a_survivor_that_ends_otherwise_is_noticed(
    program, hung, wrong, script, monkeypatch, tmp_path
):
    class Training(script.Training):
        def __init__(self):
            self.processes, self.logs = [], [tmp_path / "0.log", tmp_path / "1.log"]
            for words, log in zip(("import time; time.sleep(60)", program), self.logs, strict=True):
                with open(log, "wb") as file:
                    command = [sys.executable, "-c", words]
                    self.processes.append(subprocess.Popen(command, stdout=file, stderr=file))
            if "sleep" not in program:
                self.processes[1].wait()

    monkeypatch.setattr(script, "SECONDS", 2.0)
    outcome = script.kill_one(Training(), 0)
    assert (outcome["hung"], outcome["wrong"]) == (hung, wrong)


# What fails in one fails in all ------------------------------------------------------------------


@pytest.fixture
def as_second(monkeypatch):
    """This process takes itself for the second of two; heard is what the first says, in order."""
    heard = []
    monkeypatch.setattr(together.jax, "process_count", lambda: 2)
    monkeypatch.setattr(together.jax, "process_index", lambda: 1)
    monkeypatch.setattr(together, "exchange", lambda name, value: [heard.pop(0), value])
    return heard


def test_the_first_works_for_all(as_second):
    as_second[:] = [None, {"step": 3}]
    assert together.first("runs", pytest.fail) == {"step": 3}


def test_each_works(as_second):
    as_second[:] = [None, "a"]
    assert together.each("runs", lambda: "b") == ["a", "b"]


def test_an_error_of_another_process_is_raised_here(as_second):
    as_second[:] = ["OSError: the disk is full"]
    with pytest.raises(CheckpointError, match="runs: process 0: OSError: the disk is full"):
        together.own("runs", lambda: 1)


def test_an_error_of_this_process_is_heard_and_raised(as_second, monkeypatch):
    said = []
    monkeypatch.setattr(
        together, "exchange", lambda name, value: said.append(value) or [None, value]
    )
    with pytest.raises(ZeroDivisionError):
        together.own("runs", lambda: 1 / 0)
    assert said == ["ZeroDivisionError: division by zero"]
