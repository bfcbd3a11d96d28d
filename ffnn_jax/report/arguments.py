"""The arguments of `write_report`, checked before anything is compiled."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax import checks, network
from ffnn_jax.gradcheck import Report
from ffnn_jax.network import Network
from ffnn_jax.report.importance import Columns
from ffnn_jax.report.outcomes import Kind

Examples = tuple[np.ndarray, np.ndarray]


class Target(NamedTuple):
    """The quantities that are predicted: y of the network is (quantity − mean) / scale.

    Attributes:
      name: of the quantity, with its unit; or a name for each output.
      mean, scale: a number, or one for each output.
    """

    name: str | Sequence[str]
    mean: float | Sequence[float] | np.ndarray = 0.0
    scale: float | Sequence[float] | np.ndarray = 1.0


def check_examples(net: Network, name: str, pair: Any) -> Examples:
    """One of train and held_out as NumPy arrays, x (N, n_0), all finite."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"{name}: expected (x, y), got {checks.kind(pair)}")
    x, y = (np.asarray(checks.as_array(f"{name}[{i}]", t)) for i, t in enumerate(pair))
    if x.ndim != 2:
        raise ValueError(f"{name}: expected x of shape (N, {net.sizes[0]}), got {x.shape}")
    try:
        network.check_examples(net, x, y, None)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    checks.check_finite(f"{name}[0]", x)
    checks.check_finite(f"{name}[1]", y)
    return x, y


def check_records(records: Any) -> tuple[Mapping[str, Any], ...]:
    """A tuple of mappings, each with the number of its epoch."""
    if not isinstance(records, Iterable) or isinstance(records, str | Mapping):
        raise TypeError(f"records: expected a list of dicts, got {checks.kind(records)}")
    records = tuple(records)
    for i, record in enumerate(records):
        if not isinstance(record, Mapping) or not isinstance(record.get("epoch"), int):
            raise TypeError(f'records[{i}]: expected a dict with an int "epoch", got {record!r}')
    return records


def check_names(
    net: Network, kind: Kind, classes: Any, target: Any
) -> tuple[tuple[str, ...], Any, Any]:
    """(the names of the outputs, the mean and the scale of the quantities)."""
    if kind != "quantities":
        if target is not None:
            raise ValueError(f"target: expected None for {kind}, got {target!r}")
        K = max(net.sizes[-1], 2) if kind == "classes" else net.sizes[-1]
        return _names("classes", classes, K, [str(c) for c in range(K)]), 0.0, 1.0
    if classes is not None:
        raise ValueError(f"classes: expected None for quantities, got {classes!r}")
    n_L = net.sizes[-1]
    given = (
        Target("y" if n_L == 1 else [f"y {j + 1}" for j in range(n_L)])
        if target is None
        else target
    )
    if not isinstance(given, tuple) or len(given) != 3:
        raise TypeError(f"target: expected a Target(name, mean, scale), got {given!r}")
    name, mean, scale = given
    numbers = [np.asarray(t, np.float64) for t in (mean, scale)]
    for part, t in zip(("mean", "scale"), numbers, strict=True):
        if t.shape not in ((), (n_L,)) or not np.all(np.isfinite(t)):
            raise ValueError(
                f"target: expected a finite {part}, or {n_L} of them; got {t.tolist()!r}"
            )
    if np.any(numbers[1] <= 0):
        raise ValueError(f"target: expected a scale above 0, got {scale!r}")
    names = [name] if isinstance(name, str) else name
    mean, scale = (np.broadcast_to(t, n_L) for t in numbers)
    return _names("target", names, n_L, []), mean, scale


def _names(argument: str, names: Any, count: int, otherwise: list[str]) -> tuple[str, ...]:
    names = otherwise if names is None else names
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{argument}: expected {count} names, got {names!r}")
    names = tuple(str(name) for name in names)
    if len(names) != count:
        raise ValueError(f"{argument}: expected {count} names, got {len(names)}")
    return names


def check_columns(width: int, columns: Any) -> Columns:
    """(name, inputs) of each column, every input one of the network's."""
    checked = []
    for c, column in enumerate(columns):
        if not isinstance(column, tuple | list) or len(column) != 2:
            raise TypeError(f"columns[{c}]: expected (name, inputs), got {column!r}")
        name, inputs = column
        inputs = [checks.check_int_from(0, f"columns[{c}]", i) for i in inputs]
        if not inputs or max(inputs) >= width:
            raise ValueError(
                f"columns[{c}] ({name}): expected inputs from 0 to {width - 1}, got {inputs}"
            )
        checked.append((str(name), inputs))
    if not checked:
        raise ValueError("columns: expected at least one, got none; None is for no names")
    return checked


def check_values(values: Any, columns: Columns | None, rows: int) -> None:
    """For each column, a value of each held-out row."""
    if values is None:
        return
    if columns is None or not isinstance(values, Mapping):
        raise TypeError(f"values: expected a mapping of columns, with columns; got {values!r:.60}")
    for name, _ in columns:
        if name not in values or len(values[name]) != rows:
            raise ValueError(f"values: expected {rows} values of column {name!r}")


def check_row_names(row_names: Any, rows: int) -> None:
    """A name of each held-out row, or None."""
    if row_names is not None and len(row_names) != rows:
        raise ValueError(f"row_names: expected {rows} names, got {len(row_names)}")


def check_image_shape(width: int, image_shape: Any) -> tuple[int, ...]:
    """(height, width) or (height, width, 1 or 3), of as many numbers as one x has."""
    shape = tuple(
        checks.check_positive_int(f"image_shape[{i}]", n) for i, n in enumerate(image_shape)
    )
    colours = shape[2:] in ((), (1,), (3,))
    if len(shape) not in (2, 3) or not colours or math.prod(shape) != width:
        raise ValueError(
            f"image_shape: expected (height, width), or (height, width, 1 or 3), of {width} "
            f"numbers; got {shape}"
        )
    return shape


def check_rest(gradients: Any, reproduce: Any, details: Any) -> None:
    """What is shown as it comes."""
    if gradients is not None and not isinstance(gradients, Report):
        raise TypeError(
            f"gradients: expected the Report of check_gradients or None, got {gradients!r}"
        )
    if not isinstance(reproduce, str):
        raise TypeError(f"reproduce: expected a string, got {reproduce!r}")
    if details is not None and not isinstance(details, Mapping):
        raise TypeError(f"details: expected a mapping of headings, got {checks.kind(details)}")
