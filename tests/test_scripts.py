"""The scripts and benchmarks run, and end with the JSON object they promise."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def last_line(*words, status=0):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_agreement():
    record = last_line("scripts/agreement.py", "--networks", "6", "--seed", "3")
    assert record["ok"]
    assert [row["dtype"] for row in record["dtypes"]] == [
        "float64",
        "float32",
        "bfloat16",
        "float16",
    ]
    for row in record["dtypes"]:
        assert 0.3 < row["median_error_ratio"] < 3


def test_memory():
    words = "--layers 6 --width 64 --batch 512 --rounds 2"
    record = last_line("benchmarks/memory.py", *words.split(), status=1)
    assert record["table"]["relu"]["by hand"] < record["table"]["relu"]["autodiff"]
    assert record["keep_every"]["layers"] == 12
    assert record["keep_every"]["memory_ratio"] < 1
    assert record["keep_every"]["time_ratio"] > 0


def test_compile_time():
    words = "--layers 2 --only autodiff --rounds 2"
    record = last_line("benchmarks/compile_time.py", *words.split())
    (depth,) = record["depths"]
    assert depth["variants"]["autodiff"]["ratio"] == 1
    assert set(depth["variants"]) == {"by hand", "autodiff"}
    for variant in depth["variants"].values():
        assert variant["trace_s"] > 0
        assert variant["compile_s"] > 0


def test_classes():
    words = "--classes 16384 --width 16 --batch 256 --rounds 2"  # a_L just large enough for blocks
    record = last_line("benchmarks/classes.py", *words.split())
    assert record["blocks"]["memory_ratio"] < record["whole"]["memory_ratio"] < 1
    assert record["autodiff"]["ratio"] == record["autodiff"]["memory_ratio"] == 1
    assert record["blocks"]["ratio"] > 0


def test_tables():
    record = last_line("benchmarks/tables.py", "--sets", "iris", "--seeds", "1")
    (row,) = record["sets"]
    assert set(row["score"]) == {"scikit-learn", "ffnn", "with report"}
    assert row["score"]["ffnn"] > 0.7
    assert row["seconds"]["ffnn"] > 0


def test_products():
    record = last_line("benchmarks/products.py", "--shapes", "64,64,10:8,8,2", "--rounds", "2")
    small, large = record["shapes"]
    assert (small["work"], large["work"]) == (128, 40960)
    assert set(small["products"]) == {"W h", "Wᵀ∇a", "∇a hᵀ"}
    for name in small["products"]:
        assert small["products"][name]["sum"]
        assert not large["products"][name]["sum"]
        assert large["products"][name]["ratio"] > 0


def test_throughput():
    record = last_line("benchmarks/throughput.py", "--only", "A", "--rounds", "2")
    (network,) = record["networks"]
    assert network["sizes"] == [4, 16, 3]
    for loop in ("step", "scan"):
        assert network[f"ratio {loop}"] > 0
        for rule in ("by hand", "autodiff"):
            assert network[f"{rule} {loop}"]["us"] > 0


def test_per_example():
    record = last_line("benchmarks/per_example.py", "--only", "C", "--rounds", "2")
    (network,) = record["networks"]
    assert network["difference"] < 1e-5
    assert network["norms"]["temp_bytes"] < network["vmap"]["temp_bytes"] / 20


def test_peers():
    words = "--only A --quick --rounds 2 --optimizer adam --peers autodiff,sklearn,numpy,C"
    record = last_line("benchmarks/peers.py", *words.split())
    (network,) = record["networks"]
    expected = {"ours", "autodiff", "sklearn", "numpy"} | ({"C"} if shutil.which("cc") else set())
    assert set(network["peers"]) == expected
    assert set(network["out"]) == {"C"} - expected
    for peer in network["peers"].values():
        assert peer["us"] > 0
        assert peer["ratio"] > 0
        assert peer["change_difference"] < 1e-3


def test_peers_that_do_other_work_or_none_are_thrown_out(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import peers

    numpy_peer = peers.PEERS["numpy"]

    class TwiceTheBias(numpy_peer):
        def update(self, k, grads, t):
            super().update(k, (grads[0], 2 * grads[1]), t)

    class Broken(numpy_peer):
        def epoch(self, steps):
            raise RuntimeError("it does not run here")

    class Absent(numpy_peer):
        module = "a_library_that_is_not_there"

    planted = {"wrong": TwiceTheBias, "broken": Broken, "absent": Absent}
    for name, peer in planted.items():
        monkeypatch.setitem(peers.PEERS, name, peer)
    case = peers.CASES["A"]._replace(steps=20)
    record = peers.measure("A", case, "sgd", ["numpy", *planted], rounds=2)
    assert set(record["peers"]) == {"ours", "numpy"}
    assert record["out"]["wrong"].startswith("computes something else")
    assert record["out"]["broken"] == "failed: RuntimeError: it does not run here"
    assert record["out"]["absent"].startswith("not installed")
    peers.show(record)
    assert "!!!wrong" in capsys.readouterr().out


def test_streaming():
    record = last_line("benchmarks/streaming.py", "--rows", "3000", "--rounds", "2")
    assert record["rows"] == 3000
    for variant in ("on device", "streamed"):
        assert record[variant]["ratio"] > 0
        assert record[variant]["peak_mib"] >= 0


def test_many():
    record = last_line("benchmarks/many.py", "--only", "tiny", "--networks", "4", "--rounds", "2")
    (network,) = record["networks"]
    assert network["networks"] == 4
    assert network["many_ratio"] > 0
    assert network["patience_speed"] > 0


def test_alarms():
    record = last_line("scripts/alarms.py", "--draws", "6", "--short", "0", "--width", "16")
    assert record["draws"] == 6
    assert record["alarms"] == record["unsure"] == 0


@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--quik", 1)])
def test_options_of_bench(option, status):
    done = subprocess.run(
        ["bash", "scripts/bench", option], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status
    assert "--quick" in done.stdout or "--quik is no option" in done.stderr


def test_help():
    """Of one script after the other, in one process."""
    scripts = [
        "scripts/agreement.py",
        "scripts/bench_tables.py",
        "scripts/fashion_mnist.py",
        "benchmarks/memory.py",
    ]
    program = """
import contextlib, io, json, pathlib, runpy, sys
def said(script):
    sys.argv, out = [script, "--help"], io.StringIO()
    sys.path.insert(0, str(pathlib.Path(script).parent))
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return end.code, out.getvalue()
print(json.dumps([said(script) for script in sys.argv[1:]]))
"""
    for status, text in last_line("-c", program, *scripts):
        assert status == 0
        assert "--" in text


def test_private_digits():
    record = last_line("scripts/private_digits.py", "--steps", "60", "--epsilon", "8")
    assert record["accuracy"]["clipped, no noise"] > record["accuracy"]["private"] > 0.5
    assert record["sigma"] > 0.5
