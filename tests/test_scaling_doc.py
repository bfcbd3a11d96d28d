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


def test_python():
    scope, shown = {}, iter(BLOCKS[1:])
    for (kind, body), (after, text) in zip(BLOCKS, [*shown, ("", "")], strict=True):
        if kind != "python":
            continue
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            exec(compile(body, "scaling.md", "exec"), scope)
        if written.getvalue():
            assert (after, text) == ("text", written.getvalue())
    assert scope["both"].params[0].W.addressable_shards[0].data.shape == (32, 16)
    assert scope["state"].params[0].W.addressable_shards[0].data.shape == (32, 16)


def test_the_benchmark():
    """It runs, its layouts move what they must, and the figures on paper are those of the page."""
    words = "scaling.py --quick --devices 2 --processes 1 --rounds 1"
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


def test_job_files():
    (bash,) = of("bash")
    done = subprocess.run(["bash", "-n"], input=bash, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in re.findall("#SB.*", bash))
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
