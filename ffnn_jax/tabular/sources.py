"""Where rows come from: a table, arrays in an npz, pictures in an IDX file, or a named real set.

Whatever it was, rows are a polars DataFrame of columns by name, or pictures (N, height, width).
"""

import os
import pathlib
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax.data import BUNDLED
from ffnn_jax.idx import read_idx
from ffnn_jax.tabular.decisions import prepare_column, prepare_target
from ffnn_jax.tabular.preparation import Preparation
from ffnn_jax.tabular.tables import MOST_BYTES, TABLES, TableError, read_table, suffix_of
from ffnn_jax.tabular.values import as_numbers, is_missing

DAMAGED = (  # what zipfile and NumPy raise at bytes that are no npz
    *(ValueError, TypeError, KeyError, OverflowError, MemoryError, SyntaxError, RecursionError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, struct.error),
    OSError,  # a place before the start of the file
)
PICTURES = ("digits",)  # named sets that are such


class Source(NamedTuple):
    """Rows, and what is known of each.

    Attributes:
      name: of the file or the set.
      rows: a polars DataFrame without the target, or pictures (N, height, width).
      target: a polars Series (N,), or None where it is not there.
      target_name: its name, or "".
      weights: float64 (N,), of a column of sample weights, or None.
      numbers: (N,), of the rows in the file, from 1 on, or None.
    """

    name: str
    rows: Any
    target: Any
    target_name: str
    weights: np.ndarray | None = None
    numbers: np.ndarray | None = None

    def take(self, places: np.ndarray) -> "Source":
        """Some of the rows."""
        return self._replace(
            rows=self.rows[places],
            target=None if self.target is None else self.target[places],
            weights=None if self.weights is None else self.weights[places],
            numbers=None if self.numbers is None else self.numbers[places],
        )


def read_source(
    name: str | os.PathLike[str], target: str | None = None, *, required: bool = True
) -> Source:
    """Rows from wherever they are.

    Args:
      name: a file that ends in .csv, .tsv, .txt, .parquet or .npz; an IDX file of pictures; or the
        name of one of scikit-learn's real sets: digits, iris, wine, breast_cancer, diabetes.
      target: the column (of a table), the array (of an npz; "y" if not given) or the IDX file with
        the labels (found by its name if not given) that holds what is predicted.
      required: whether the target has to be there.

    Raises:
      ModuleNotFoundError: polars, or for a named set scikit-learn, is not installed.
      OSError: a file cannot be opened.
      TableError: what is in it cannot be used.
    """
    path = pathlib.Path(name)
    if not path.is_file() and str(name) in BUNDLED:  # a folder of that name is no table
        return _named(str(name), target)
    suffix = suffix_of(path)
    if suffix == ".npz":
        return _from_arrays(path, target, required)
    if suffix in TABLES:
        return _from_table(path, target, required)
    if path.is_file() and _is_idx(path):
        return _from_idx(path, target, required)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file, and no set of that name ({', '.join(BUNDLED)})"
        )
    raise TableError(f"{path}: expected .csv, .tsv, .txt, .parquet, .npz, or IDX")


def read_csv(
    path: str | os.PathLike[str], *, target: str, task: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """x and y from a CSV or Parquet file, ready for a network.

    Numbers are standardised, categories one-hot, missing values imputed with an indicator, columns
    of no use left out: all by the figures of these rows. `ffnn train` does the same by the figures
    of its training rows alone, and keeps them with the model.

    Args:
      path: the file, see `tables.read_table`.
      target: the column of y; rows without it are left out.
      task: "classification" or "regression"; None: as the column says.

    Returns:
      x, float32 (N, n_0), and y: classes in the order of their names, int32 (N,), or a quantity as
      it stands, float32 (N, 1).

    Raises:
      ModuleNotFoundError: polars is not installed.
      OSError: the file cannot be opened.
      TableError: it is no table, has no such column, or no column of use.

    Example:
      >>> import pathlib, tempfile
      >>> import ffnn_jax as ffnn
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "t.csv")
      ...     _ = path.write_text("size,colour,kind\\n1,red,a\\n3,blue,b\\n1,red,a\\n3,blue,b\\n")
      ...     x, y = ffnn.read_csv(path, target="kind")
      >>> x.tolist()[0], y.tolist()
      ([-1.0, 0.0, 1.0], [0, 1, 0, 1])
    """
    source = read_source(path, target)
    source = source.take(np.flatnonzero(~is_missing(source.target)))
    found = prepare_target(target, source.target, task=task)
    columns = (prepare_column(name, source.rows[name])[0] for name in source.rows.columns)
    preparation = Preparation(tuple(column for column in columns if column), found)
    if not preparation.columns:
        raise TableError(f"{source.name}: no column is left to learn from")
    y = found.encode(source.target)
    if not found.classes:
        y = as_numbers(source.target).astype(np.float32)[:, None]
    return preparation.encode(source.rows), y


def with_weights(source: Source, column: str) -> Source:
    """The source with one of its columns taken as sample weights."""
    if isinstance(source.rows, np.ndarray) or column not in source.rows.columns:
        raise TableError(f"{source.name}: there is no column {column!r} for sample weights")
    weights = as_numbers(source.rows[column])
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise TableError(f"column {column!r}: sample weights are numbers from 0 on, none missing")
    return source._replace(rows=source.rows.drop(column), weights=weights)


def _from_table(path: pathlib.Path, target: str | None, required: bool) -> Source:
    frame = read_table(path)
    if target is None or target not in frame.columns:
        if not required:
            return Source(str(path), frame, None, "")
        asked = (
            "give the target by --target" if target is None else f"there is no column {target!r}"
        )
        raise TableError(f"{path}: {asked}; the columns are {', '.join(frame.columns)}")
    return Source(str(path), frame.drop(target), frame[target], target)


def _from_arrays(path: pathlib.Path, target: str | None, required: bool) -> Source:
    """x, and y under the target's name."""
    arrays = read_arrays(path)
    target = target or "y"
    if "x" not in arrays or (required and target not in arrays):
        raise TableError(
            f"{path}: expected the arrays x and {target}; it has {', '.join(arrays) or 'none'}"
        )
    x, y = arrays["x"], arrays.get(target)
    if x.ndim not in (2, 3) or not len(x) or x.dtype.kind not in "uif":
        raise TableError(
            f"{path}: x: expected numbers (N, n) or (N, height, width), got "
            f"{x.dtype}{list(x.shape)}"
        )
    if y is not None and (y.shape not in ((len(x),), (len(x), 1)) or y.dtype.kind not in "uifbU"):
        raise TableError(
            f"{path}: {target}: expected one value for each of {len(x)} rows, got "
            f"{y.dtype}{list(y.shape)}"
        )
    return _source(str(path), x, y, target)


def read_arrays(path: pathlib.Path, *, max_bytes: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an npz by name; it may become max_bytes, and holds no objects.

    Raises:
      OSError: it cannot be opened.
      TableError: it is no such file.
    """
    with open(path, "rb"):  # the plain OSError, where it cannot be
        pass
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
        if declared > max_bytes:
            raise TableError(f"{path}: it becomes {declared} bytes; expected at most {max_bytes}")
        with np.load(path, allow_pickle=False) as archive:
            return {name: _array(archive, name) for name in archive.files}
    except TableError:
        raise
    except DAMAGED as error:
        words = str(error).partition("\n")[0] or type(error).__name__
        raise TableError(f"{path}: no npz of plain arrays: {words}") from None


def _array(archive: Any, name: str) -> np.ndarray:
    array = archive[name]
    if not isinstance(array, np.ndarray):  # an entry that is no npy file comes as bytes
        raise TypeError(f"{name} is no array")
    return array


def _is_idx(path: pathlib.Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(2)
    return start in (b"\0\0", b"\x1f\x8b")


def _from_idx(path: pathlib.Path, target: str | None, required: bool) -> Source:
    """Pictures, and the labels from the file that goes with them."""
    labels = pathlib.Path(target or str(path).replace("images-idx3", "labels-idx1"))
    try:
        x = read_idx(path)
        y = read_idx(labels) if labels != path and labels.exists() else None
    except ValueError as error:
        raise TableError(str(error).removeprefix("path: ")) from None
    if x.ndim != 3 or not len(x):
        raise TableError(f"{path}: expected pictures (N, height, width), got {x.shape}")
    if y is None and required:
        raise TableError(f"{path}: give the IDX file of the labels by --target")
    if y is not None and y.shape != x.shape[:1]:
        raise TableError(f"{labels}: expected {len(x)} labels, got {y.shape}")
    return _source(str(path), x, y, "label")


def _named(name: str, target: str | None) -> Source:
    """One of scikit-learn's sets, its columns and classes by name."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} comes with scikit-learn ({error}): pip install 'ffnn_jax[data]'",
            name=error.name,
        ) from error
    bunch = getattr(datasets, f"load_{name}")(**dict(BUNDLED[name].options))
    y = bunch.target
    if name in PICTURES:
        return _source(name, bunch.images, y, "digit")
    if y.ndim == 2:
        columns = list(bunch.target_names)
        if target not in columns:
            raise TableError(f"{name}: give one of its targets by --target: {', '.join(columns)}")
        y = y[:, columns.index(target)]
    elif hasattr(bunch, "target_names"):
        y = np.asarray(bunch.target_names)[y]
    return _source(name, bunch.data, y, target or "target", list(bunch.feature_names))


def _source(
    name: str, x: np.ndarray, y: Any, target: str, columns: list[str] | None = None
) -> Source:
    import polars as pl

    series = None if y is None else pl.Series(target, np.ravel(y))
    if x.ndim == 3:
        return Source(name, x, series, target)
    names = columns or [f"x{k}" for k in range(x.shape[1])]
    return Source(name, pl.DataFrame(dict(zip(names, x.T, strict=True))), series, target)
