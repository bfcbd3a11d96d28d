"""Tables from files: what a CSV says, and what a person reads where it says nothing of use."""

import gzip

import polars as pl
import pytest

from ffnn_jax.tabular.tables import TableError, read_table


def written(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found(tmp_path, separator):
    lines = [
        separator.join(row) for row in (("a", "b", "c"), ("1", "2,5" * (separator != ","), "x"))
    ]
    frame = read_table(written(tmp_path, "\n".join(lines)))
    assert frame.columns == ["a", "b", "c"]
    assert frame["c"].to_list() == ["x"]


def test_blanks_missing_values_and_names(tmp_path):
    frame = read_table(written(tmp_path, "\ufeff a ,b,\n 1 , NA,?\n, two words ,-\n"))
    assert frame.columns == ["a", "b", "column 3"]
    assert frame["a"].to_list() == ["1", None]
    assert frame["b"].to_list() == [None, "two words"]
    assert frame["column 3"].null_count() == 2


def test_quotes_lines_inside_and_gzip(tmp_path):
    text = 'a,b\n"one, ""two""\nthree",4\n'
    for path in (
        written(tmp_path, text),
        written(tmp_path, gzip.compress(text.encode()), "t.csv.gz"),
    ):
        assert read_table(path)["a"].to_list() == ['one, "two"\nthree']


def test_parquet_keeps_its_types(tmp_path):
    frame = pl.DataFrame({"a": [1, None], "b": [True, False], "c": ["x", None]})
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").equals(frame)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("a,a\n1,2\n", "t.csv", "two columns are called 'a'"),
        ("1,2\n3,4\n", "t.csv", "has to name the columns"),
        ("\n1,2\n", "t.csv", "first line is empty"),
        ("a,b\n", "t.csv", "expected columns and rows"),
        ("", "t.csv", "first line is empty"),
        ("a,b\n1,2,3\n", "t.csv", "t.csv: "),
        (b"a,b\n\xff\xfe,2\n", "t.csv", "t.csv: "),
        (b"\xff\xfe,b\n1,2\n", "t.csv", "utf-8"),
        (b"\x1f\x8b\x00\x00rubbish", "t.csv.gz", "t.csv.gz: "),
        (b"PAR1rubbish", "t.parquet", "t.parquet: "),
        ("a,b\n1,2\n", "t.xlsx", "expected a file that ends in .csv"),
    ],
)
def test_what_is_no_table(tmp_path, text, name, words):
    with pytest.raises(TableError) as caught:
        read_table(written(tmp_path, text, name))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "t.csv")


def test_numbers_as_people_write_them(tmp_path):
    text = "a;b;c\n1 234,5;1 000 000;x,y\n2,25;-12;1 2\n"
    frame = read_table(written(tmp_path, text))
    assert frame["a"].to_list() == ["1234.5", "2.25"]
    assert frame["b"].to_list() == ["1000000", "-12"]
    assert frame["c"].to_list() == ["x,y", "1 2"]
    frame = read_table(written(tmp_path, 'a,b\n1 234.5,"1,5"\n3,2\n'))
    assert frame["a"].to_list() == ["1234.5", "3"]
    assert frame["b"].to_list() == ["1,5", "2"]  # a thousand, or a half? It stays text


def test_what_a_compressed_file_may_become(tmp_path):
    path = written(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 1000), "t.csv.gz")
    assert len(read_table(path)) == 1000
    with pytest.raises(TableError, match="becomes more than 1000 bytes"):
        read_table(path, max_bytes=1000)
    pl.DataFrame({"a": [0] * 1000}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="1000 rows of 1 columns"):
        read_table(tmp_path / "t.parquet", max_bytes=1000)
