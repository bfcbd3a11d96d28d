"""scripts/compile-for-hopper reads what ptxas says, and would fail on a kernel that spills."""

import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Said by ptxas 13.5 -v and by XLA (jax 0.11.2) of a product of 64 × 64 and of one of 128 × 128.
LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'product' for 'sm_90a'
ptxas info    : Function properties for product
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 90 registers, used 1 barriers
ptxas info    : Compile time = 85.783 ms
ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized due\
 to insufficient register resources for the wgmma pipeline in the function 'product__1' in line 2083
ptxas warning : Registers are spilled to local memory in function 'product__1', 24 bytes spill\
 stores, 24 bytes spill loads
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'product__1' for 'sm_90a'
ptxas info    : Function properties for product__1
    24 bytes stack frame, 24 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 24 bytes cumulative stack size
ptxas info    : Compile time = 686.475 ms
"""
PLAN = """\
003: kWhile        [prev=002 (1) | next=008 (1)]
  body:
    006: kCustomKernel [source       | next=007 (1)] product grid: [1, 1, 1] threads: [128, 1, 1]\
  shared_memory: 16384 bytes
    007: kCustomKernel [prev=006 (1) | sink        ] wrapped_tanh grid: [32, 1, 1] threads: [64, 1,\
 1]  shared_memory: 0 bytes
009: kCustomKernel [prev=003 (2) | next=010 (1)] product__1 grid: [1, 1, 1] threads: [256, 1, 1]\
  shared_memory: 65536 bytes
"""


@pytest.fixture(scope="module")
def scripts():
    """The modules compile_for_hopper and hopper."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "scripts")
        import compile_for_hopper

        yield compile_for_hopper, compile_for_hopper.hopper


def test_what_ptxas_says_is_read(scripts):
    _, hopper = scripts
    first, second = hopper.resources(LOG, PLAN, {"product"})
    assert first == hopper.Kernel("product", 128, 90, 0, 0, 0, 16384)
    assert second == hopper.Kernel("product__1", 256, 255, 24, 24, 20, 65536)
    assert (first.spills, second.spills) == (False, True)


@pytest.mark.parametrize("field", ["stack", "spill_stores", "spill_loads"])
def test_each_kind_of_spilling_counts(scripts, field):
    _, hopper = scripts
    kernel = hopper.Kernel("product", 128, 90, 0, 0, 0, 0)
    assert not kernel.spills
    assert kernel._replace(**{field: 8}).spills


@pytest.mark.parametrize(
    ("log", "plan"),
    [
        (LOG, PLAN.replace("product__1", "other")),
        (LOG.replace("Used 255 registers", ""), PLAN),
        (LOG.replace("24 bytes stack frame", ""), PLAN),
    ],
)
def test_half_an_account_is_an_error(scripts, log, plan):
    with pytest.raises(ValueError, match="product__1: no whole account"):
        scripts[1].resources(log, plan, {"product"})


def test_a_kernel_that_ptxas_never_saw_is_an_error(scripts):
    with pytest.raises(ValueError, match="not asked about population"):
        scripts[1].resources(LOG, PLAN, {"product", "population"})


def test_what_xla_only_tried_does_not_matter(scripts):
    tried = LOG.replace("product__1", "gemm_fusion")
    (kernel,) = scripts[1].resources(tried, PLAN.replace("product__1", "other"), {"product"})
    assert kernel.name == "product"


def record(**parts):
    good = {"spills": False}
    return {"shape": "16", "kernels": [good], **parts}


@pytest.mark.parametrize(
    ("records", "ok"),
    [
        ([record()], True),
        ([record(), record(kernels=[], refused="too wide")], True),
        ([record(), record(kernels=[{"spills": False}, {"spills": True}])], False),
        ([record(), record(kernels=[], failed="no")], False),
        ([record(kernels=[], refused="too wide")], False),  # nothing was compiled
        ([], False),
    ],
)
def test_the_verdict(scripts, monkeypatch, records, ok):
    script, _ = scripts
    monkeypatch.setattr(script, "ptxas_version", lambda: "ptxas")
    assert script.verdict(records)["ok"] is ok


def test_a_case_becomes_its_row(scripts, monkeypatch, tmp_path, capsys):
    script, hopper = scripts
    case = script.Case("narrow", "16-16", None, None, ())

    def found(fn, *args, folder):
        return hopper.resources(LOG, PLAN, {"product"})

    def refused(fn, *args, folder):
        raise NotImplementedError("too wide")

    def failed(fn, *args, folder):
        raise ValueError("there is no kernel")

    rows = []
    for compiled in (found, refused, failed):
        monkeypatch.setattr(hopper, "compiled_kernels", compiled)
        rows.append(script.compile_case(case, tmp_path))
        script.show(rows[-1])
    assert [row["name"] for row in rows[0]["kernels"]] == ["product", "product__1"]
    assert rows[1]["refused"] == "too wide"
    assert rows[2]["failed"] == "there is no kernel"
    said = capsys.readouterr().out
    assert [line.split()[-1] for line in said.splitlines() if "product" in line] == ["4", "SPILLS"]
    assert json.dumps(rows)


def test_without_the_plugin_it_says_so(scripts, monkeypatch, capsys):
    script, hopper = scripts

    def absent(**options):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(hopper.topologies, "get_topology_desc", absent)
    monkeypatch.setattr("sys.argv", ["compile_for_hopper.py"])
    hopper.device.cache_clear()
    assert script.main() == 2
    said = capsys.readouterr()
    assert "no CUDA plugin" in said.err
    assert "jax[cuda13]" in said.err
    assert not said.out


def test_ptxas_is_asked_and_what_it_says_is_kept(scripts, monkeypatch, tmp_path):
    _, hopper = scripts
    cuda, folder = tmp_path / "cuda", tmp_path / "a folder"
    (cuda / "bin").mkdir(parents=True)
    (cuda / "nvvm").mkdir()
    ptxas = cuda / "bin" / "ptxas"
    ptxas.write_text('#!/bin/sh\necho "said of $*" >&2\nexit 3\n')
    ptxas.chmod(0o755)
    (cuda / "bin" / "nvlink").write_text("")
    monkeypatch.setattr(hopper, "tools", lambda: cuda)
    folder.mkdir()
    place = hopper._telling(folder)
    assert (place / "bin" / "nvlink").exists()
    assert (place / "nvvm").exists()
    source = tmp_path / "source.ptx"
    source.write_text("what XLA wrote")
    command = [place / "bin" / "ptxas", source, "-arch=sm_90a"]
    assert subprocess.run(command, check=False).returncode == 3  # XLA hears what ptxas says
    (log,), (kept,) = folder.glob("*.log"), folder.glob("*.ptx")
    assert log.read_text() == f"said of -v {source} -arch=sm_90a\n"
    assert kept.read_text() == "what XLA wrote"
