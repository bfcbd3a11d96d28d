"""docs/scaling.md: its Python runs and prints what is shown, and its job files are well formed."""

import contextlib
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

from ffnn_jax import cli

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scaling.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def of(language):
    return [body for kind, body in BLOCKS if kind == language]


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_python(tmp_path, monkeypatch):
    scope, shown = {}, iter(BLOCKS[1:])
    for (kind, body), (after, text) in zip(BLOCKS, [*shown, ("", "")], strict=True):
        if kind != "python":
            continue
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            exec(compile(body, "scaling.md", "exec"), scope)
        if written.getvalue():
            assert (after, text) == ("text", written.getvalue())
    check_parts(scope, tmp_path, monkeypatch)
    assert scope["both"].params[0].W.addressable_shards[0].data.shape == (32, 16)
    assert scope["state"].params[0].W.addressable_shards[0].data.shape == (32, 16)


def check_parts(scope, folder, monkeypatch):
    """Each process reads rows of its own, and together they read all."""
    monkeypatch.chdir(folder)
    x, y = scope["x"][:101], scope["y"][:101]
    np.save("x.npy", x)
    np.save("y.npy", y)
    columns = {f"x{k}": column for k, column in enumerate(x.T)}
    pl.DataFrame({**columns, "y": y}).write_parquet("big.parquet")
    for read in (scope["read_part"], scope["read_part_of_table"]):
        parts = [read(rank, 3) for rank in range(3)]
        assert [len(part) for part, _ in parts] == [33, 34, 34]
        for whole, pieces in zip((x, y), zip(*parts, strict=True), strict=True):
            assert pieces[0].dtype == whole.dtype
            np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_benchmark(processes):
    """It runs, its layouts move what they must, and the figures on paper are those of the page."""
    words = f"scaling.py --quick --devices 2 --processes {processes} --rounds 1"
    done = subprocess.run(
        [sys.executable, *words.split()],
        cwd=ROOT / "benchmarks",
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (table,) = (body for body in of("text") if "calculated, not measured" in body)
    assert table in done.stdout
    measured = json.loads(done.stdout.splitlines()[-1])["measured"]
    assert [record["layout"] for record in measured] == ["data", "model"]
    for record in measured:
        assert record["strong"]["as_expected"], record["strong"]["table"]
        assert record["weak"]["as_expected"], record["weak"]["table"]
    whole, half = (record["strong"]["state_bytes"] for record in measured)
    assert half < 0.6 * whole


def words_after(command, text):
    """The words of each `ffnn COMMAND` in a text, up to the end of its line."""
    for line in text.splitlines():
        if f"ffnn {command} " in line:
            yield shlex.split(line.partition(f"ffnn {command} ")[2])


def test_command_lines(capsys):
    """Every flag on the page is one of `ffnn train`."""
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    (console,) = of("console")
    (bash,) = of("bash")
    (yaml,) = of("yaml")
    folded = re.sub(r"\n +--", " --", yaml)
    found = [*words_after("train", console), *words_after("train", folded)]
    for line in re.findall(r'words="(.*)"', bash):
        found.append([*shlex.split(line), "--processes"])
    assert len(found) == 4
    for words in found:
        assert {word for word in words if word.startswith("--")} <= known
        assert "--processes" in words


def fake(folder, name, body):
    """A command of that name, first in the path of `folder`."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("does", "status", "again"),
    [("", 0, True), ("touch runs/big/model.npz", 0, False), ("exit 1", 1, False)],
)
def test_the_job_of_slurm_comes_again_until_there_is_a_model(tmp_path, does, status, again):
    (tmp_path / "runs/big").mkdir(parents=True)
    fake(tmp_path, "srun", does)
    fake(tmp_path, "scontrol", 'echo "$@" > again')
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    job = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "8"}
    done = subprocess.run(
        ["bash", "-u"], input=of("bash")[0], cwd=tmp_path, env=path | job, text=True, timeout=20
    )
    assert done.returncode == status
    assert (tmp_path / "again").exists() == again


@pytest.mark.parametrize("finishes", [True, False])
def test_the_job_of_kubernetes_is_complete_only_with_a_model(tmp_path, finishes):
    yaml = pytest.importorskip("yaml")
    _, job = yaml.safe_load_all(of("yaml")[0])
    container = job["spec"]["template"]["spec"]["containers"][0]
    model = tmp_path / "runs/big/model.npz"
    model.parent.mkdir(parents=True)
    end = (
        f"touch {model}"
        if finishes
        else "trap 'touch saved; exit 0' TERM; echo on; while :; do sleep 0.05; done"
    )
    fake(tmp_path, "ffnn", end)
    words = container["args"][0].replace("/data/", f"{tmp_path}/")
    process = subprocess.Popen(
        [*container["command"], words],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "0"},
        stdout=subprocess.PIPE,
    )
    if not finishes:
        assert process.stdout.readline() == b"on\n"
        process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == (0 if finishes else 1)
    assert (tmp_path / "saved").exists() != finishes


def test_job_files():
    (bash,) = of("bash")
    done = subprocess.run(["bash", "-n"], input=bash, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    options = re.findall("#SB.*", bash)
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in options)
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all(of("yaml")[0])
    spec = job["spec"]
    words = spec["template"]["spec"]["containers"][0]["args"][0]
    assert f"--num-processes {spec['completions']} " in words
    assert spec["completions"] == spec["parallelism"]
    host = f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert f"--coordinator {host}:" in words
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
