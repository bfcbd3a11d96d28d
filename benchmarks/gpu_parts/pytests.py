"""Tests on the device: those of the kernels, and what of the suite says something about a GPU.

Full float32 throughout: under TF32 the bounds of float32 do not hold, and `gradients` records the
errors instead. Tests that need several devices of one kind, signals or XLA's figures for a CPU are
left out; everything else is as it stands, warnings as errors and all.
"""

import glob
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections.abc import Iterator

from gpu_parts.part import Point, Time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KERNELS = ("kernel", "narrow", "population", "tiles")  # what the names of their tests begin with
SUITE = [
    *("activations", "losses", "outputs", "network", "backprop", "transforms", "training"),
    *("dropout", "ensemble"),
]
LEFT_OUT = ("mesh", "shard_map", "devices", "ctrl_c", "one_array_a_layer", "lower")
DRY = {True: "extreme_logits", False: "value_is_that_of_jax"}  # of the kernels, and of the suite
WORKERS = 8


def files(kernels: bool) -> list[str]:
    if not kernels:
        return [f"tests/test_{name}.py" for name in SUITE]
    found = [glob.glob(f"tests/test_{name}*.py", root_dir=ROOT) for name in KERNELS]
    return sorted({file for each in found for file in each})


def selection(kernels: bool, dry: bool) -> str:
    """Which of their tests, as pytest's -k has it; in the short form a few."""
    words = [DRY[kernels]] * dry + [f"not {name}" for name in LEFT_OUT]
    return " and ".join(words)


def run(kernels: bool, allowed: Time) -> Point:
    """The files and the selection of tests, the counts of pytest, and which of them failed."""
    chosen, which = files(kernels), selection(kernels, allowed.dry)
    asked: Point = {"what": "pytest", "precision": "highest", "files": chosen, "selection": which}
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
        words += ["-p", "no:benchmark"]  # under xdist that plugin warns, and warnings are errors
        words += ["-k", which, f"--junitxml={report}"]
        if importlib.util.find_spec("xdist") and not allowed.dry:
            words += ["-n", str(min(WORKERS, os.cpu_count() or 1))]
        environment = os.environ | {
            "JAX_DEFAULT_MATMUL_PRECISION": "highest",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip(),
        }
        try:
            done = subprocess.run(
                [*words, *chosen], cwd=ROOT, env=environment, timeout=max(allowed.left(), 1)
            )
        except subprocess.TimeoutExpired:
            return asked | {"error": "not done within its time; the log has what ran"}
        if not report.exists():
            return asked | {"error": f"pytest ended with status {done.returncode}"}
        return asked | counted(report, done.returncode)


def counted(report: pathlib.Path, status: int) -> Point:
    root = xml.etree.ElementTree.parse(report).getroot()
    suites = list(root.iter("testsuite"))
    record: Point = {
        kind: sum(int(suite.get(kind, 0)) for suite in suites)
        for kind in ("tests", "failures", "errors", "skipped")
    }
    record["failed"] = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in root.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    if status:
        bad = record["failures"] + record["errors"]
        record["error"] = f"{bad} of {record['tests']} tests failed: pytest's status is {status}"
    return record


def points_of_kernels(allowed: Time) -> Iterator[Point]:
    yield run(True, allowed)


def points_of_suite(allowed: Time) -> Iterator[Point]:
    yield run(False, allowed)
