"""kernels/measured.py says what the results in benchmarks/results say, and that decides."""

import json
import pathlib
import subprocess
import sys

import jax
import pytest

import ffnn_jax as ffnn
from ffnn_jax.kernels import measured

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def gpu_record(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_record

    return gpu_record


def point(rows, lower, **others):
    shape = {"kernel": "narrow_mlp", "arithmetic": "tf32", "activation": "relu", "inputs": 64}
    shape |= {"width": 64, "outputs": 10, "depth": 5, "batch": 0, "optimizer": "", "rows": rows}
    speedups = {"pallas": {"ratio": lower + 0.25, "lower": lower, "upper": lower + 0.5}}
    return shape | {"speedups": speedups} | others


def result(*points, dry=False, platform="gpu", **statuses):
    """A made-up result of a card that is the device of this process."""
    card = {"what": "card", "platform": platform, "device": jax.devices()[0].device_kind}
    parts = {"card": [card], "kernels": [], "gradients": [], "narrow": [*points]}
    found = {n: {"status": statuses.get(n, "ok"), "points": p} for n, p in parts.items()}
    return {"dry": dry, "parts": found}


MADE_UP = result(
    point(2**14, 1.1999),
    point(2**17, 1.2),
    point(2**20, 1.875),
    point(2**14, 3.0, speedups={"autodiff": {"ratio": 3.0, "lower": 2.0}}, arithmetic="float32"),
)


def test_the_table_is_what_the_results_say(gpu_record):
    found = [
        m for path in sorted(RESULTS.glob("gpu-*.json")) for m in gpu_record.measurements(path)
    ]
    assert found == list(measured.RECORD)


def test_the_lines_of_the_table_are_its_measurements(gpu_record, tmp_path):
    path = tmp_path / "gpu-made-up.json"
    path.write_text(json.dumps(MADE_UP))
    found = gpu_record.measurements(path)
    text = f"RECORD = (\n{gpu_record.lines(path)})\n"
    scope = {"of_run": measured.of_run}
    exec(text, scope)
    assert scope["RECORD"] == found
    assert [(m.rows, m.ratio, m.lower) for m in found] == [
        (2**14, 1.449, 1.199),
        (2**17, 1.45, 1.2),
        (2**20, 2.125, 1.875),
    ]
    assert max(map(len, text.splitlines())) <= 100


def test_what_does_not_beat_xla_by_the_bar_is_not_chosen(gpu_record, tmp_path, monkeypatch):
    path = tmp_path / "gpu-made-up.json"
    path.write_text(json.dumps(MADE_UP))
    monkeypatch.setattr(measured, "RECORD", gpu_record.measurements(path))
    net = ffnn.Network((64,) * 5 + (10,), output="softmax")
    with jax.default_matmul_precision(None):
        chosen = [rows for rows in range(0, 2**21, 2**13) if wins(net, rows)]
        assert chosen == list(range(2**17, 2**20 + 1, 2**13))
        assert not measured.wins("narrow_forward", net, "float32", 2**18)
    with jax.default_matmul_precision("highest"):
        assert not wins(net, 2**18)


def wins(net, rows):
    return measured.wins("narrow_mlp", net, "float32", rows)


@pytest.mark.parametrize("status", ["stopped", "failed", "killed"])
def test_of_a_part_that_is_not_complete_nothing_is_taken(gpu_record, tmp_path, status):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(result(point(2**14, 2.0), narrow=status)))
    assert not gpu_record.measurements(path)
    assert f"narrow is {status}" in gpu_record.lines(path)


@pytest.mark.parametrize(
    ("made_up", "reason"),
    [
        (result(point(2**14, 2.0), dry=True), "--dry"),
        (result(point(2**14, 2.0), platform="cpu"), "no card"),
        ({"dry": False, "parts": {}}, "not complete: card, kernels, gradients"),
        (result(point(2**14, 2.0), kernels="killed"), "not complete: kernels"),
        (result(point(2**14, 2.0), gradients="skipped"), "not complete: gradients"),
    ],
)
def test_what_is_no_result_of_a_gpu_is_refused(gpu_record, tmp_path, made_up, reason):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(made_up))
    with pytest.raises(ValueError, match=reason):
        gpu_record.measurements(path)


def test_the_command(tmp_path):
    path = tmp_path / "gpu-made-up.json"
    path.write_text(json.dumps(MADE_UP))
    command = [sys.executable, "benchmarks/gpu_record.py"]
    done = [
        subprocess.run([*command, str(p)], cwd=ROOT, capture_output=True, text=True, timeout=60)
        for p in (path, tmp_path / "nowhere.json")
    ]
    assert done[0].stdout.count("narrow_mlp") == 3
    assert done[1].returncode == 1
    assert "nowhere.json" in done[1].stderr
