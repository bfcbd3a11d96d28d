"""Tables from files: CSV and Parquet, read by polars, every value of a CSV as it stands there.

What a column means is not decided here but in `preparation`, from the training data alone: so a
CSV is read as text, and the same column is read in the same way when a model meets it again.
"""

import csv
import gzip
import os
import pathlib
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars

SEPARATORS = ",;\t|"
MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none", "-", "#N/A")
GROUPED = r"^[+-]?(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d+)"
WITH_POINT = GROUPED + r"(?:\.\d*)?$"
WITH_COMMA = GROUPED + r"(?:,\d*)?$"
MOST_BYTES = 1 << 33  # of a file once it is not compressed any more
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")


class TableError(ValueError):
    """A table that cannot be used: one line that says where and why."""


def read_table(path: str | os.PathLike[str], *, max_bytes: int = MOST_BYTES) -> "polars.DataFrame":
    """A table from a CSV or Parquet file.

    Args:
      path: the file. Its name's end says what it is: .csv, .tsv, .txt (each also with .gz), or
        .parquet. The separator of a CSV is the one of `, ; tab |` that stands most often in its
        first line, which names the columns.
      max_bytes: what a compressed file may become, at most.

    Returns:
      A polars DataFrame. Every column of a CSV is text, without blanks at its ends, and null where
      the value is missing: empty, ?, NA, N/A, NaN, null, None or -. Numbers in groups (1 234.50),
      and beside semicolons with a comma (1 234,50), stand there as 1234.50.

    Raises:
      ModuleNotFoundError: polars is not installed.
      OSError: the file cannot be opened.
      TableError: it is no such table, has no rows or two columns of one name, or becomes too large.
    """
    pl = _polars()
    path = pathlib.Path(path)
    with open(path, "rb"):  # the plain OSError, where it cannot be
        pass
    suffix = suffix_of(path)
    if suffix not in TABLES:
        raise TableError(f"{path}: expected a file that ends in {', '.join(TABLES)}")
    try:
        read = _read_parquet if suffix in (".parquet", ".pq") else _read_text
        frame = read(pl, path, max_bytes)
    except (OSError, EOFError, zlib.error, *_errors(pl)) as error:
        raise TableError(f"{path}: {_first_line(error)}") from None
    if not frame.width or not frame.height:
        raise TableError(f"{path}: expected columns and rows, got {frame.width} × {frame.height}")
    return frame


def suffix_of(path: pathlib.Path) -> str:
    """The end of the file's name in lower case, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read_parquet(pl: Any, path: pathlib.Path, max_bytes: int) -> "polars.DataFrame":
    """A Parquet file, once its rows and columns are known to fit."""
    lazy = pl.scan_parquet(path)
    rows, width = lazy.select(pl.len()).collect().item(), len(lazy.collect_schema())
    if 8 * rows * width > max_bytes:
        raise TableError(f"{path}: it declares {rows} rows of {width} columns, which is too large")
    return pl.read_parquet(path)


def _read_text(pl: Any, path: pathlib.Path, max_bytes: int) -> "polars.DataFrame":
    """A CSV as text, blanks at the ends taken off, missing values null."""
    separator, names = _header(path)
    source = path if path.suffix.lower() != ".gz" else _inflated(path, max_bytes)
    frame = pl.read_csv(source, separator=separator, infer_schema=False)
    frame.columns = names
    text = pl.all().str.strip_chars()
    frame = frame.select(pl.when(text.is_in(MISSING)).then(None).otherwise(text).name.keep())
    return frame.with_columns(_plain_numbers(column, separator) for column in frame)


def _plain_numbers(column: "polars.Series", separator: str) -> "polars.Series":
    """A column all of numbers such as 1 234.50, or beside semicolons 1 234,50, as 1234.50."""
    comma = separator == ";" and column.str.contains(",", literal=True).any()
    written = WITH_COMMA if comma else WITH_POINT
    if not column.str.contains(written).all():
        return column
    column = column.str.replace_all(r"[ \u00a0\u202f]", "")
    return column.str.replace(",", ".", literal=True) if comma else column


def _header(path: pathlib.Path) -> tuple[str, list[str]]:
    """The separator, and the names of the columns: each once, and none a number."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            line = file.readline(1 << 20)
            separator = max(SEPARATORS, key=line.count)
            names = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error, gzip.BadGzipFile) as error:
        raise TableError(f"{path}: {_first_line(error)}") from None
    if not names:
        raise TableError(f"{path}: the first line is empty; it has to name the columns")
    for k, name in enumerate(names):
        if not name:
            names[k] = f"column {k + 1}"  # pandas writes its index so
        elif name in names[:k]:
            raise TableError(f"{path}: two columns are called {name!r}")
    if all(_is_number(name) for name in names):
        raise TableError(
            f"{path}: the first line has to name the columns, and is all numbers: {line.strip()!r}"
        )
    return separator, names


def _inflated(path: pathlib.Path, max_bytes: int) -> bytes:
    with gzip.open(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise TableError(f"{path}: it becomes more than {max_bytes} bytes")
    return content


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _errors(pl: Any) -> tuple[type[BaseException], ...]:
    return pl.exceptions.PolarsError, pl.exceptions.PanicException


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _polars() -> Any:
    try:
        import polars
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading a table needs polars ({error}): pip install 'ffnn_jax[data]'",
            name=error.name,
        ) from error
    return polars
