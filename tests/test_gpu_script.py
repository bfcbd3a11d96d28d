"""scripts/gpu: a dry run leaves what it promises, and what goes wrong with a part is said."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
DRIVER = '''
"""Stands for the parts: each does what its name says."""
import pathlib, sys, time
sys.path.insert(0, {benchmarks!r})
from gpu_parts.part import Part, collect

def points(allowed):
    name = sys.argv[2]
    yield {{"what": name, "platform": "gpu" if name != "card" else "cpu", "bytes_per_s": 1e9}}
    if name == "crash":
        sys.exit(3)
    if name == "error":
        yield {{"error": "ValueError: no"}}
    if name == "hang":
        time.sleep(60)
    if name == "slow":
        time.sleep(0.6)
        yield {{"what": "another"}}
        yield {{"what": "too late"}}
    yield {{"flops_per_s": 1e9, "arithmetic": "tf32"}}

file, seconds = pathlib.Path(sys.argv[4]), float(sys.argv[6])
sys.exit(collect(Part(points, 0, 0), file, seconds, "--dry" in sys.argv))
'''


def script(*words, **environment):
    return subprocess.run(
        ["bash", "scripts/gpu", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """The module, its parts' processes replaced by those of DRIVER."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(benchmarks=str(ROOT / "benchmarks")))
    monkeypatch.setattr(gpu.running, "DRIVER", driver)
    monkeypatch.setattr(gpu.running, "GRACE", 1.0)
    return gpu


def run(gpu, monkeypatch, folder, limits, *, minutes=9.0, dry=False):
    """gpu.json after parts with these limits, and what run_all returned."""
    parts = {name: ("part", "write", limit, 0.1, ()) for name, limit in limits.items()}
    monkeypatch.setattr(gpu, "PARTS", parts)
    folder.mkdir()
    record = gpu.run_all(folder, list(parts), minutes, dry, [])
    assert json.loads((folder / "gpu.json").read_text()) == record
    return record


def test_a_dry_run(tmp_path):
    """Its shortest form, with a library that cannot be imported."""
    stub = tmp_path / "stubs" / "pytest"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('broken')\n")
    folder = tmp_path / "new" / "folder"
    done = script(
        folder, "--dry", "--only", "card,narrow,suite", PYTHONPATH=str(tmp_path / "stubs")
    )
    assert done.returncode == 1, done.stdout + done.stderr + (folder / "log.txt").read_text()
    summary = json.loads(done.stdout.splitlines()[-1])
    assert not summary["ok"]  # a part was left out
    assert summary["parts"] == {"card": "ok", "narrow": "ok", "suite": "skipped"}
    assert "pytest" in done.stdout.splitlines()[0]
    assert sorted(path.name for path in folder.iterdir()) == ["gpu.json", "log.txt"]
    record = json.loads((folder / "gpu.json").read_text())
    assert record["dry"]
    assert "pytest" in record["missing"]
    assert record["parts"]["suite"]["why"] == "not there: pytest"
    rates = [p["flops_per_s"] for p in record["parts"]["card"]["points"] if "flops_per_s" in p]
    assert len(rates) == 3
    assert min(rates) > 0
    for point in record["parts"]["narrow"]["points"]:
        for name in ("xla", "pallas"):
            found = point["variants"][name]
            low, high = found["us_interval"]
            assert 0 < low <= found["us"] <= high
            assert found["of_ceiling"] == pytest.approx(point["least_us"] / found["us"])


def test_one_part_that_fails_leaves_the_others(gpu, monkeypatch, tmp_path):
    limits = {"fine": 60, "crash": 60, "error": 60, "slow": 0.5, "last": 60}
    record = run(gpu, monkeypatch, tmp_path / "out", limits)
    parts = record["parts"]
    assert {name: part["status"] for name, part in parts.items()} == {
        "fine": "ok",
        "crash": "failed",
        "error": "failed",
        "slow": "stopped",
        "last": "ok",
    }
    assert "status 3" in parts["crash"]["why"]
    assert "ValueError: no" in parts["error"]["why"]
    assert [point.get("what") for point in parts["slow"]["points"]] == ["slow", "another"]
    assert parts["crash"]["points"][0]["what"] == "crash"
    assert not list((tmp_path / "out").glob(".*"))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"gpu.json", "log.txt"}


def test_a_part_beyond_its_limit_is_killed(gpu, monkeypatch, tmp_path):
    parts = run(gpu, monkeypatch, tmp_path / "out", {"hang": 0.2, "fine": 60})["parts"]
    assert parts["hang"]["status"] == "killed"
    assert [point["what"] for point in parts["hang"]["points"]] == ["hang"]
    assert parts["fine"]["status"] == "ok"


def test_a_part_that_does_not_fit_is_left_out(gpu, monkeypatch, tmp_path):
    parts = run(gpu, monkeypatch, tmp_path / "out", {"fine": 60}, minutes=1e-3)["parts"]
    assert parts["fine"]["status"] == "skipped"
    assert "it needs" in parts["fine"]["why"]


def test_longer_runs_have_longer_parts(gpu):
    assert gpu.part_of("narrow", 18.0).limit == 2 * gpu.part_of("narrow").limit
    assert gpu.part_of("narrow", 18.0).least == gpu.part_of("narrow").least


def test_without_a_gpu_it_ends_before_any_part(tmp_path):
    done = script(tmp_path / "out", JAX_PLATFORMS="cpu")
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/gpu: JAX has no GPU here, but cpu")
    assert sys.executable in done.stderr
    assert "PYTHON=" in done.stderr
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    ("parts", "minutes", "status"),
    [
        (("fine",), 9, 0),
        (("fine", "error"), 9, 1),
        (("fine", "slow"), 0.09, 1),
        (("fine",), 1e-3, 1),
    ],
)
def test_the_exit_status_and_the_last_line(
    gpu, monkeypatch, tmp_path, capsys, parts, minutes, status
):
    """Of parts that are complete, failed, stopped, and skipped."""
    monkeypatch.setattr(gpu, "PARTS", dict.fromkeys(parts, ("part", "write", 60, 0.1, ())))
    monkeypatch.setattr(gpu.running, "absent", lambda modules: [])
    monkeypatch.setattr(gpu.running, "platform", lambda: "gpu")
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    for name in ("PYTHONPATH", "XLA_PYTHON_CLIENT_PREALLOCATE", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that they are put back
    words = ["gpu.py", str(tmp_path / "out"), "--minutes", str(minutes)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == status
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["ok"] == (status == 0)
    assert set(summary["parts"]) == set(parts)


def test_what_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    done = script(tmp_path / "file" / "folder", "--dry")
    assert done.returncode == 1
    assert f"cannot write to {tmp_path / 'file' / 'folder'}" in done.stderr
    done = script()
    assert done.returncode == 1
    assert "where to?" in done.stderr
    done = script(tmp_path, "--only", "nothing")
    assert done.returncode == 2
    assert "'nothing' is not one of card" in done.stderr
    assert script("--help").stdout.startswith("usage: scripts/gpu FOLDER")
    assert script(tmp_path, PYTHON="nowhere").returncode == 1


def test_intervals_and_speedups(gpu):
    from gpu_parts import timing

    values = [float(v) for v in range(1, 12)]
    assert timing.interval(values[:6]) == (1, 6)  # 2 · (1/2)^6 = 3 % outside
    assert timing.interval(values) == (2, 10)  # 2 · 12/2^11 = 1.2 %; (3, 9) would be 6.5 %
    assert timing.interval([2.0, 1.0]) == (1.0, 2.0)
    found = timing.speedup([3.0, 6.0, 9.0], [1.0, 3.0, 9.0])
    assert found == {"ratio": 2.0, "lower": 1.0, "upper": 3.0}


def test_the_ceiling_is_the_slower_of_two(gpu):
    from gpu_parts import ceiling

    assert ceiling.forward_work((3, 5, 2), 10, "bfloat16") == {
        "bytes": 2 * (10 * 5 + 15 + 10 + 7),
        "flops": 2 * 10 * 25,
        "arithmetic": "bfloat16",
    }
    step = ceiling.step_work((3, 5, 2), 10, "tf32")
    assert step["flops"] == 500 + 500 + 200  # a, ∇W, and ∇h of the upper layer alone
    cards = [{"bytes_per_s": 1e6}, {"flops_per_s": 1e9, "arithmetic": "tf32"}]
    point = {"work": step, "variants": {"xla": {"us": 2 * step["bytes"]}, "none": {}}}
    found = ceiling.with_fractions(point, ceiling.ceilings_of(cards))
    assert found["bound"] == "bandwidth"
    assert found["variants"]["xla"]["of_ceiling"] == pytest.approx(0.5)
    assert ceiling.with_fractions(point, ceiling.ceilings_of([])) == point


def test_the_tests_that_failed_have_their_names(gpu, tmp_path):
    from gpu_parts import pytests

    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="3" failures="1" errors="0" skipped="1">'
        '<testcase classname="tests.test_a" name="test_x"><failure/></testcase>'
        '<testcase classname="tests.test_a" name="test_y"/>'
        "</testsuite></testsuites>"
    )
    found = pytests.counted(report, 1)
    assert found["failed"] == ["tests.test_a::test_x"]
    assert (found["tests"], found["failures"], found["skipped"]) == (3, 1, 1)
    assert "error" in found
    assert all((ROOT / name).exists() for name in pytests.files(False))


def test_quartiles_lie_between_the_values(gpu):
    """Also of two, beyond which an extrapolation would go, and of one."""
    import throughput

    assert throughput.quartiles([1.0, 9.0]) == (3.0, 7.0)
    assert throughput.quartiles([2.0]) == (2.0, 2.0)
    assert throughput.quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == (2.0, 4.0)


@pytest.mark.parametrize("kernels", [True, False])
def test_the_short_form_has_tests_of_those_files(gpu, kernels):
    """Its word is in the name of some test of them, and what is left out is not in that test's."""
    from gpu_parts import pytests

    *words, _ = pytests.selection(kernels, True).split(" and ", 1)
    names = [
        name
        for file in pytests.files(kernels)
        for name in re.findall(r"^def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE)
        if words[0] in name or words[0] in file
    ]
    assert [n for n in names if not any(out in n for out in pytests.LEFT_OUT)]
