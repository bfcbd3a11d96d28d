"""docs/errors.md: every mistake on the page is made, and what is read is what stands there."""

import importlib.util
import pathlib

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("error_table", ROOT / "scripts" / "error_table.py")
error_table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(error_table)
OTHERS_WORDS = (
    "a row with too many values",
    "no Parquet",
    "a torn gzip",
    "a TOML file that is none",
)


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def lines(text):
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_the_page_says_what_is_read(tmp_path):
    error_table.make_run(tmp_path)
    made = lines(error_table.table(tmp_path))
    shown = lines((ROOT / "docs" / "errors.md").read_text())
    assert len(made) == len(shown) > 40
    for one, other in zip(made, shown, strict=True):
        if any(
            f"| {what} |" in one for what in OTHERS_WORDS
        ):  # of polars, of Python, of the optimizer
            one, other = (row.rpartition(": ")[0] for row in (one, other))
        assert one == other
