"""The README's tables come from the results, between their markers, and nothing else changes."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MACHINE = {"platform": "cpu", "device": "cpu", "cores": 2, "jax": "1.2.3"}


def timed(ratio):
    spread = {"ratio": ratio, "ratio_quartiles": [0.4, 0.6]}
    return {**spread, "ms": 7.0, "s": 0.7, "peak_mib": 30.0, "temp_bytes": 2**20, "memory_ratio": 1}


def results():
    """One object of each benchmark, with the keys that the tables read."""
    a, peer = {"temp_bytes": 2**20}, {"network": "A", "optimizer": "sgd", "ratios": {"C": 1.5}}
    ratio = {"ratio scan": 0.5, "ratio scan quartiles": [0.4, 0.6]}
    keep = {"layers": 4, "keep_every": [1, 8], "temp_bytes": [2**22, 2**20], "s": [1.0, 1.25]}
    keep |= {"memory_ratio": 0.25, "time_ratio": 1.25, "time_ratio_quartiles": [1.2, 1.3]}
    row = {"by hand": 1.03, "autodiff": 2.03, "checkpoint": 2.05}
    many = {"network": "tiny", "sizes": [4, 3], "batch": 16, "networks": 64}
    many |= {"us_a_step": {"autodiff": 8.0, "sequential": 4.0, "many": 2.0}, "many_ratio": 0.5}
    many |= {"many_to_autodiff": 0.25}
    many |= {"many_ratio_quartiles": [0.4, 0.6], "patience_speed": 0.9}
    many |= {"patience_speed_quartiles": [0.8, 1.0]}
    both = {"ours": {"us": 4.5}, "C": {"us": 3.0}}
    step = {"trace_s": 0.2, "compile_s": 0.8, "ratio": 0.75}
    found = {
        "throughput": {
            "networks": [{"network": "A", **ratio, "by hand step": a, "autodiff step": a}],
            "median_ratio": 0.5,
            "worst_ratio": 0.5,
        },
        "peers": {
            "networks": [
                {**peer, "peers": both},
                {**peer, "network": "B", "peers": {"ours": {"us": 5.5}}},
            ]
        },
        "memory": {"layers": 2, "width": 8, "batch": 4, "table": {"relu": row}, "keep_every": keep},
        "compile_time": {"depths": [{"layers": 8, "base": "linen", "variants": {"by hand": step}}]},
        "classes": {
            "batch": 512,
            "width": 256,
            "classes": 50000,
            **{label: timed(0.5) for label in ("blocks", "whole", "autodiff")},
        },
        "per_example": {
            "networks": [
                {"network": "C", "batch": 512}
                | {label: timed(0.5) for label in ("gradient", "norms", "clipped", "vmap")}
            ]
        },
        "many": {"networks": [many]},
        "streaming": {
            "sizes": [784, 10],
            "rows": 60000,
            "batch": 128,
            **{label: timed(1.0) for label in ("on device", "streamed")},
        },
    }
    return {name: {"machine": MACHINE, **record} for name, record in found.items()}


TABLES = [*results(), "keep_every"]


def blocks(names):
    return "".join(f"text of {n}\n<!-- bench:{n} -->\nold\n<!-- /bench:{n} -->\n\n" for n in names)


@pytest.fixture
def place(tmp_path):
    for name, record in results().items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "README.md").write_text(
        f"# head\n\n| a | table |\n\n{blocks(TABLES)}tail, no newline"
    )
    return tmp_path


def rewrite(place):
    words = ["scripts/bench_tables.py", "--results", place, "--readme", place / "README.md"]
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_only_what_is_between_the_markers_changes(place):
    (place / "README.md").chmod(0o640)
    assert rewrite(place).returncode == 0
    text = (place / "README.md").read_text()
    outside = text
    for name in TABLES:
        start, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->\n"
        inside = text.partition(start)[2].partition(end)[0]
        assert "2 CPU cores, jax 1.2.3" in inside.splitlines()[0]
        outside = outside.replace(inside, "old\n")
    assert outside == f"# head\n\n| a | table |\n\n{blocks(TABLES)}tail, no newline"
    assert "old" not in text
    assert "| with jax.checkpoint | 2.05 |\n" in text
    assert "| 8 | 1 | 1.25 | 0.25 | 1.25 (1.20–1.30) |\n" in text
    assert "| a program in C | 3.0 | – |\n" in text
    assert (place / "README.md").stat().st_mode & 0o777 == 0o640
    assert {path.suffix for path in place.iterdir()} == {".json", ".md"}


def test_twice_is_once(place):
    rewrite(place)
    once = (place / "README.md").read_bytes()
    assert rewrite(place).returncode == 0
    assert (place / "README.md").read_bytes() == once


@pytest.mark.parametrize(
    "marker", ["<!-- bench:many -->\n", "<!-- /bench:many -->\n", "<!-- bench:classes -->\n"]
)
@pytest.mark.parametrize("times", [0, 2])
def test_a_marker_that_is_missing_or_there_twice_is_refused(place, marker, times):
    text = (place / "README.md").read_text().replace(marker, marker * times)
    (place / "README.md").write_text(text)
    done = rewrite(place)
    assert done.returncode == 1
    assert "bench_tables: not one <!-- bench:" in done.stderr
    assert (place / "README.md").read_text() == text


@pytest.mark.parametrize("content", [None, "", '{"machine": '])
def test_a_result_that_is_missing_or_cut_off_is_refused(place, content):
    path, before = place / "streaming.json", (place / "README.md").read_text()
    path.unlink() if content is None else path.write_text(content)
    done = rewrite(place)
    assert done.returncode == 1
    assert "streaming.json is " in done.stderr
    assert (place / "README.md").read_text() == before


def test_the_readme_has_all_markers():
    text = (ROOT / "README.md").read_text()
    for name in TABLES:
        assert text.count(f"<!-- bench:{name} -->") == text.count(f"<!-- /bench:{name} -->") == 1
