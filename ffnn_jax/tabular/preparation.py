"""From the columns of a table to the inputs of a network, by figures of the training rows alone.

  a number      (v − μ) / σ                                   where missing: 0, which is the mean
  a category    one input a value: 1(v = c)                   where missing: all 0
  an indicator  1(v is missing), where the training rows have missing values

The figures travel with the model and are applied again when it meets new rows. Everything here is
frozen and plain: `to_dict` and `from_dict` go through JSON.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ffnn_jax.tabular.tables import TableError

if TYPE_CHECKING:
    import polars

MOST_CATEGORIES = 100  # of a column of text; more are names or free text
FARTHEST = 1e6  # standard deviations from the mean of the training rows
MOST_CLASSES = 20  # of a target of whole numbers; more are a quantity


@dataclasses.dataclass(frozen=True)
class Number:
    """A column of numbers.

    Attributes:
      name: of the column.
      mean: μ of the training rows that have a value.
      scale: σ of them.
      indicator: whether there is a second input, 1 where the value is missing.
    """

    name: str
    mean: float
    scale: float
    indicator: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that the column becomes."""
        return (self.name, *_missing(self))

    def encode(self, values: "polars.Series", *, unknown: str) -> np.ndarray:
        """(N, inputs), float32."""
        del unknown
        numbers = as_numbers(values)
        missing = np.isnan(numbers)
        if missing.any() and not self.indicator and missing.all():
            raise TableError(f"column {self.name!r}: every value is missing")
        scaled = np.where(missing, 0.0, (numbers - self.mean) / self.scale)
        if (far := np.abs(scaled) > FARTHEST).any():
            row = int(np.argmax(far))
            raise TableError(
                f"column {self.name!r}, row {row + 1}: {numbers[row]:g} is too far from the "
                f"training rows, whose mean is {self.mean:g}"
            )
        return _columns(scaled, missing, self.indicator)


@dataclasses.dataclass(frozen=True)
class Category:
    """A column of categories.

    Attributes:
      name: of the column.
      values: those of the training rows, in order.
      indicator: as of a `Number`.
    """

    name: str
    values: tuple[str, ...]
    indicator: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that the column becomes."""
        return (*(f"{self.name} = {value}" for value in self.values), *_missing(self))

    def encode(self, values: "polars.Series", *, unknown: str) -> np.ndarray:
        """(N, inputs), float32; a value that is not known is an error, or counts as missing."""
        text = as_text(values)
        known = {value: k for k, value in enumerate(self.values)}
        place = np.array([-1 if value is None else known.get(value, -2) for value in text])
        if unknown == "error" and (place == -2).any():
            row = int(np.argmax(place == -2))
            raise TableError(
                f"column {self.name!r}, row {row + 1}: {text[row]!r} was not among the training "
                f"rows, which have {_listed(self.values)}; --unknown missing takes it as missing"
            )
        one_hot = (place[:, None] == np.arange(len(self.values))).astype(np.float32)
        return _columns(one_hot, place < 0, self.indicator)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Pictures: every pixel by the same figures, (v − shift) / scale.

    Attributes:
      shape: of one picture, (height, width).
      shift: 0 for uint8, else the mean over all.
      scale: 255 for uint8, else the standard deviation over all.
    """

    shape: tuple[int, ...]
    shift: float
    scale: float

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """(N, Π shape), float32."""
        if pictures.shape[1:] != self.shape:
            raise TableError(
                f"pictures: expected shape (N, {', '.join(map(str, self.shape))}), "
                f"got {pictures.shape}"
            )
        if pictures.dtype.kind == "f" and not np.isfinite(pictures).all():
            number = int(np.argmax(~np.isfinite(pictures).all(axis=(1, 2))))
            raise TableError(f"picture {number + 1}: expected finite pixels")
        flat = pictures.reshape(len(pictures), -1).astype(np.float32)
        return (flat - np.float32(self.shift)) / np.float32(self.scale)


@dataclasses.dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
      name: of the column.
      classes: their names in order, or () where it is a quantity.
      mean: μ of a quantity's training rows; 0 where the network gives its logarithm.
      scale: σ of them; 1 where it does.
      log: whether the network gives the logarithm of the quantity, as the Poisson loss has it.
    """

    name: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    log: bool = False

    def encode(self, values: "polars.Series") -> np.ndarray:
        """Classes, int32 (N,); or a quantity, (v − μ)/σ, float32 (N, 1). No value is missing."""
        if not self.classes:
            return ((as_numbers(values) - self.mean) / self.scale).astype(np.float32)[:, None]
        known = {name: k for k, name in enumerate(self.classes)}
        text = as_text(values)
        places = [-1 if value is None else known.get(value, -1) for value in text]
        if -1 in places:
            row = places.index(-1)
            raise TableError(
                f"target {self.name!r}, row {row + 1}: {text[row]!r} is none of the classes "
                f"{_listed(self.classes)}"
            )
        return np.array(places, np.int32)

    def decode(self, yhat: np.ndarray) -> np.ndarray:
        """From ŷ (N, n_L) the names of the most likely classes, or the quantity in its units."""
        if self.classes:
            return np.array(self.classes, object)[np.argmax(yhat, axis=-1)]
        outputs = yhat[:, 0].astype(np.float64)
        return np.exp(outputs) if self.log else outputs * self.scale + self.mean


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How rows become x and y.

    Attributes:
      columns: of a table, in order; or () for pictures.
      target: what is predicted.
      pixels: how pictures are scaled, or None for a table.
    """

    columns: tuple[Number | Category, ...]
    target: Target
    pixels: Pixels | None = None

    @property
    def groups(self) -> list[tuple[str, tuple[int, ...]]]:
        """Of each column, its name and the places of its inputs in x."""
        groups, start = [], 0
        for column in self.columns:
            end = start + len(column.inputs)
            groups.append((column.name, tuple(range(start, end))))
            start = end
        return groups

    @property
    def input_names(self) -> tuple[str, ...]:
        """What each entry of x is, n_0 of them."""
        if self.pixels is not None:
            return tuple(f"pixel {k}" for k in range(math.prod(self.pixels.shape)))
        return tuple(name for column in self.columns for name in column.inputs)

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """μ and σ of each entry of x, float64 (n_0,); 0 and 1 where it is not scaled."""
        if self.pixels is not None:
            inputs = math.prod(self.pixels.shape)
            return np.full(inputs, self.pixels.shift), np.full(inputs, self.pixels.scale)
        mean, scale = np.zeros(len(self.input_names)), np.ones(len(self.input_names))
        for column, (_, places) in zip(self.columns, self.groups, strict=True):
            if isinstance(column, Number):
                mean[places[0]], scale[places[0]] = column.mean, column.scale
        return mean, scale

    def encode(self, rows: Any, *, unknown: str = "error") -> np.ndarray:
        """x, float32 (N, n_0), of a table or of pictures.

        Args:
          rows: a polars DataFrame with the columns by name, in any order, others beside them; or
            pictures (N, height, width).
          unknown: what a category is that the training rows did not have: an "error", or
            "missing".

        Raises:
          TableError: a column is not there, a number is none, a category was never seen.
        """
        if self.pixels is not None:
            return self.pixels.encode(rows)
        there = set(rows.columns)
        absent = [column.name for column in self.columns if column.name not in there]
        if absent:
            raise TableError(
                f"the table lacks {_listed(absent)}, which the model was trained on; it has "
                f"{_listed(rows.columns)}"
            )
        blocks = [column.encode(rows[column.name], unknown=unknown) for column in self.columns]
        return np.concatenate(blocks, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        kinds = {Number: "number", Category: "category"}
        columns = [{"kind": kinds[type(c)], **dataclasses.asdict(c)} for c in self.columns]
        pixels = None if self.pixels is None else dataclasses.asdict(self.pixels)
        return {"columns": columns, "target": dataclasses.asdict(self.target), "pixels": pixels}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Preparation":
        """From what `to_dict` gave, or ValueError."""
        kinds: dict[str, Any] = {"number": Number, "category": Category}
        try:
            columns = []
            for fields in given["columns"]:
                fields = dict(fields)
                columns.append(_record(kinds[fields.pop("kind")], fields))
            pixels = given["pixels"] and _record(Pixels, given["pixels"])
            return cls(tuple(columns), _record(Target, given["target"]), pixels)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"preparation: {type(error).__name__}: {error}") from None


# From the training rows --------------------------------------------------------------------------


def prepare_column(
    name: str, values: "polars.Series", *, categorical: bool = False
) -> tuple[Number | Category | None, str]:
    """What a column of the training rows is, and a word about it where it is left out.

    Args:
      name: of the column.
      values: of the training rows.
      categorical: whether numbers in it are names.

    Returns:
      (the column, "") or (None, why it is of no use).
    """
    if values.dtype.is_nested() or values.dtype.base_type().__name__ in ("Binary", "Object"):
        return None, f"values of type {values.dtype}"
    if values.null_count() == len(values):
        return None, "every value is missing"
    if not categorical and holds_numbers(values):
        numbers = as_numbers(values)
        present = numbers[~np.isnan(numbers)]
        if not len(present):
            return None, "every value is missing"
        indicator = len(present) < len(numbers)
        if (present == present[0]).all() and not indicator:
            return None, f"it is {present[0]:g} everywhere"
        mean, scale = float(present.mean()), float(present.std())
        if not np.isfinite(scale):
            raise TableError(f"column {name!r}: its numbers are too large: {present.max():g}")
        return Number(name, mean, scale or 1.0, indicator), ""
    text = as_text(values)
    distinct = sorted({value for value in text if value is not None})
    indicator = None in text
    if len(distinct) > min(MOST_CATEGORIES, max(2, (len(text) - text.count(None)) // 2)):
        return None, (
            f"{len(distinct)} different texts in {len(text)} training rows, such as {distinct[0]!r}"
        )
    if len(distinct) < 2 and not indicator:
        return None, f"it is {distinct[0]!r} everywhere"
    return Category(name, tuple(distinct), indicator), ""


def prepare_target(
    name: str, values: "polars.Series", *, task: str | None = None, log: bool = False
) -> Target:
    """What is predicted: classes, or a quantity.

    Numbers are a quantity, unless they are whole and there are no more than MOST_CLASSES
    different ones, each twice at least on average; everything else is classes.

    Args:
      name: of the column.
      values: of the training rows, none missing.
      task: "classification" or "regression" decides instead.
      log: whether the network is to give the logarithm of a quantity; it is one then.

    Raises:
      TableError: a single class or value; a quantity that is not of numbers, or below 0 where it
        has a logarithm.
    """
    task = "regression" if log else task
    if values.dtype.is_nested() or values.dtype.base_type().__name__ in ("Binary", "Object"):
        raise TableError(f"target {name!r}: expected numbers or text, got {values.dtype}")
    numeric = holds_numbers(values)
    if task == "regression" and not numeric:
        raise TableError(f"target {name!r}: a quantity is made of numbers, got {_sample(values)}")
    if task == "regression" or (task is None and numeric and not _few_whole_numbers(values)):
        numbers = as_numbers(values)
        if (numbers == numbers[0]).all():
            raise TableError(f"target {name!r}: it is {numbers[0]:g} everywhere")
        if log and numbers.min() < 0:
            raise TableError(f"target {name!r}: expected no numbers below 0, got {numbers.min():g}")
        if log:
            return Target(name, log=True)
        with np.errstate(over="ignore"):
            mean, scale = float(numbers.mean()), float(numbers.std())
        if not (np.isfinite(scale) and scale > 0 and np.isfinite(mean / scale)):
            raise TableError(f"target {name!r}: its numbers are too far apart, or too near")
        return Target(name, mean=mean, scale=scale)
    text = {value for value in as_text(values) if value is not None}
    classes = sorted(text, key=_by_number)
    if len(classes) < 2:
        raise TableError(f"target {name!r}: it is {classes[0]!r} everywhere")
    if len(classes) > max(2, len(values) // 2):
        raise TableError(
            f"target {name!r}: {len(classes)} different classes in {len(values)} rows, such as "
            f"{classes[0]!r}; expected classes that come back, or numbers"
        )
    return Target(name, classes=tuple(classes))


def prepare_pictures(pictures: np.ndarray) -> Pixels:
    """The figures of pictures (N, height, width)."""
    if pictures.dtype == np.uint8:
        return Pixels(pictures.shape[1:], 0.0, 255.0)
    mean, scale = float(pictures.mean()), float(pictures.std())
    return Pixels(pictures.shape[1:], mean, scale or 1.0)


# Values ------------------------------------------------------------------------------------------


def holds_numbers(values: "polars.Series") -> bool:
    """Whether every value that is there is a number or a date, also one written as text."""
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        return True
    return _is_text(values) and _from_text(values).null_count() == values.null_count()


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
    if values.dtype.is_temporal():
        return _as_days(values)
    if not values.dtype.is_numeric() and not _is_text(values):
        raise TableError(f"column {values.name!r}: expected numbers, got {values.dtype}")
    numbers = _from_text(values) if _is_text(values) else values.cast(_float64())
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
    kind = values.dtype.base_type().__name__
    if kind in ("Date", "Datetime"):
        units, day = values.dt.epoch("us"), 86_400e6
    elif kind == "Duration":
        units, day = values.dt.total_microseconds(), 86_400e6
    else:
        units, day = values.cast(_int64()), 86_400e9  # a time of day, in ns
    return units.cast(_float64()).fill_null(np.nan).to_numpy() / day


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


def _by_number(text: str) -> tuple[bool, float, str]:
    """Numbers first, in their order; then words."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _few_whole_numbers(values: "polars.Series") -> bool:
    """Whether they may stand for classes: dates do not."""
    if not all(_by_number(text) < (True,) for text in as_text(values) if text is not None):
        return False
    numbers = as_numbers(values)
    distinct = np.unique(numbers)
    few = len(distinct) <= MOST_CLASSES and 2 * len(distinct) <= len(numbers)
    return few and bool((distinct == np.round(distinct)).all())


def _is_text(values: "polars.Series") -> bool:
    return values.dtype.base_type().__name__ in ("String", "Categorical", "Enum")


def _int64() -> Any:
    import polars as pl

    return pl.Int64


def _float64() -> Any:
    import polars as pl

    return pl.Float64


def _columns(scaled: np.ndarray, missing: np.ndarray, indicator: bool) -> np.ndarray:
    """(N, inputs), float32, the indicator last."""
    parts = (scaled, missing) if indicator else (scaled,)
    return np.column_stack(parts).astype(np.float32)


def _missing(column: Number | Category) -> tuple[str, ...]:
    return (f"{column.name} is missing",) if column.indicator else ()


def _record(kind: Any, fields: dict[str, Any]) -> Any:
    """A frozen record from JSON, whose lists were tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def _sample(values: "polars.Series") -> str:
    return _listed(
        [repr(value) for value in values.drop_nulls().unique(maintain_order=True).head(4).to_list()]
    )


def _listed(names: Any, most: int = 8) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
