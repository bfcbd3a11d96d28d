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
from ffnn_jax.tabular.values import as_numbers, as_text, listed

if TYPE_CHECKING:
    import polars

FARTHEST = 1e6  # standard deviations from the mean of the training rows


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
                f"rows, which have {listed(self.values)}; --unknown missing takes it as missing"
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
                f"{listed(self.classes)}"
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
                f"the table lacks {listed(absent)}, which the model was trained on; it has "
                f"{listed(rows.columns)}"
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


def _columns(scaled: np.ndarray, missing: np.ndarray, indicator: bool) -> np.ndarray:
    """(N, inputs), float32, the indicator last."""
    parts = (scaled, missing) if indicator else (scaled,)
    return np.column_stack(parts).astype(np.float32)


def _missing(column: Number | Category) -> tuple[str, ...]:
    return (f"{column.name} is missing",) if column.indicator else ()


def _record(kind: Any, fields: dict[str, Any]) -> Any:
    """A frozen record from JSON, whose lists were tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
