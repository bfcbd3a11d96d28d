"""scripts/torture runs in its short form, loses nothing, and would say so if it did."""

import json
import pathlib
import random
import subprocess
import sys

import pytest
from compiling import as_for_a_user

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def files():
    """The module scripts/torture_files.py."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "scripts")
        import torture_files

        yield torture_files


def test_the_short_form():
    done = subprocess.run(
        [sys.executable, "scripts/torture.py", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        env=as_for_a_user(PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["ok"]
    rows = record["rows"]
    assert rows["kill -9 of a training"]["trials"] == 4
    assert rows["damaged checkpoint"]["trials"] == 120
    fuzzed = [row for name, row in rows.items() if name.startswith("fuzz")]
    assert sum(row["trials"] for row in fuzzed) == 4000
    assert all(row["note"] for row in fuzzed)
    assert len([name for name in rows if name.startswith("bomb")]) == 15


def test_a_reader_that_crashes_or_takes_memory_is_noticed(files, monkeypatch):
    kept = []

    def read(path):
        if len(kept) < 5:  # each so large that no memory that was freed before holds it
            kept.append(bytearray(b"1") * (40 << 20))
        if len(path.read_bytes()) % 2:
            raise KeyError("planted")

    monkeypatch.setitem(files.READERS, "planted", files.Reader(read, (ValueError,), [b"1234"], 1.0))
    found = files.feed("planted", 200, seed=0)
    assert 0 < found["crashes"] < 200
    assert found["examples"] == ["KeyError: 'planted'"] * 5
    if sys.platform == "linux":
        assert found["memory"] == 1


def test_a_reader_that_reads_something_else_is_noticed(files, monkeypatch):
    reader = files.Reader(pathlib.Path.read_bytes, (ValueError,), [b"1234"], 1.0, exact=True)
    monkeypatch.setitem(files.READERS, "planted", reader)
    assert files.feed("planted", 20, seed=0)["silent"] > 10


def test_the_same_seed_gives_the_same_files(files):
    one, two = ([files.change(draw, b"0123456789" * 9) for _ in range(50)]
                for draw in (random.Random(1), random.Random(1)))  # fmt: skip
    assert one == two
    assert len(set(one)) > 40


def test_the_wrapper_explains_itself():
    words = ["bash", "scripts/torture", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--short" in done.stdout
