"""What stands in a column, as numbers or as text, whatever program wrote it.

Numbers may be written as text, dates count as days, true and false are spelled in one way, and a
whole number has no decimal point: so a column means the same in a CSV, in Parquet and in a frame
of the user's own, and a value means the same whatever the other rows hold.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ffnn_jax.tabular.tables import TableError

if TYPE_CHECKING:
    import polars


def holds_numbers(values: "polars.Series") -> bool:
    """Whether every value that is there is a number or a date, also one written as text."""
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        return True
    return is_text(values) and _from_text(values).null_count() == values.null_count()


def _from_text(values: "polars.Series") -> "polars.Series":
    """Numbers, and of dates and times in ISO 8601 the days since 1970; null where it is neither."""
    import polars as pl

    text = values.cast(pl.String).str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if not (numbers.is_null() & text.is_not_null()).any():
        return numbers
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        times = text.str.to_datetime(form, strict=False, time_unit="us", exact=True)
        numbers = numbers.fill_null(times.dt.epoch("us").cast(pl.Float64) / 86_400e6)
    return numbers


def is_missing(values: "polars.Series") -> np.ndarray:
    """Which values are not there, booleans (N,)."""
    missing = values.is_null()
    if values.dtype.is_float():
        missing |= values.is_nan().fill_null(True)
    return missing.to_numpy()


def as_numbers(values: "polars.Series") -> np.ndarray:
    """float64 (N,), NaN where missing; of dates and times the days since 1970, or of a day."""
    import polars as pl

    if values.dtype.is_temporal():
        return _as_days(values)
    if not values.dtype.is_numeric() and not is_text(values):
        raise TableError(f"column {values.name!r}: expected numbers, got {values.dtype}")
    numbers = _from_text(values) if is_text(values) else values.cast(pl.Float64)
    lost = numbers.is_null() & values.is_not_null()
    if lost.any():
        row = int(lost.arg_max() or 0)
        raise TableError(
            f"column {values.name!r}, row {row + 1}: expected a number, got {values[row]!r}"
        )
    array = numbers.fill_null(np.nan).to_numpy()
    if np.isinf(array).any():
        row = int(np.argmax(np.isinf(array)))
        raise TableError(
            f"column {values.name!r}, row {row + 1}: expected a finite number, got {array[row]}"
        )
    return array


def _as_days(values: "polars.Series") -> np.ndarray:
    """Of dates and times the days since 1970, of durations and times of day the days."""
    import polars as pl

    kind = values.dtype.base_type().__name__
    if kind in ("Date", "Datetime"):
        units, day = values.dt.epoch("us"), 86_400e6
    elif kind == "Duration":
        units, day = values.dt.total_microseconds(), 86_400e6
    else:
        units, day = values.cast(pl.Int64), 86_400e9  # a time of day, in ns
    return units.cast(pl.Float64).fill_null(np.nan).to_numpy() / day


def as_text(values: "polars.Series") -> list[str | None]:
    """Each value as text, None where missing; a whole number without a decimal point."""
    import polars as pl

    if values.dtype.is_float():
        values = values.fill_nan(None)
        whole = (values == values.round()) & (values.abs() < 2**53)
        as_whole = values.cast(pl.Int64, strict=False).cast(pl.String)
        return as_whole.zip_with(whole.fill_null(False), values.cast(pl.String)).to_list()
    text = values.cast(pl.String).str.strip_chars()
    logical = text.str.to_lowercase().is_in(["true", "false"])  # as each program writes it
    return text.zip_with(~logical.fill_null(False), text.str.to_lowercase()).to_list()


def is_text(values: "polars.Series") -> bool:
    """Whether the column is of text, or of names that polars keeps as numbers."""
    return values.dtype.base_type().__name__ in ("String", "Categorical", "Enum")


def is_readable(values: "polars.Series") -> bool:
    """Whether each value is one thing: no list, no record, no bytes, no object of Python."""
    dtype = values.dtype
    return not (dtype.is_nested() or dtype.base_type().__name__ in ("Binary", "Object"))


def listed(names: Any, most: int = 8) -> str:
    """Names in one line, the first few of them."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
