"""What a report is made of: the arguments of `write_report`, checked, and what the network says."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax import checks, network
from ffnn_jax.gradcheck import Report
from ffnn_jax.network import Network, Params
from ffnn_jax.report.importance import Columns
from ffnn_jax.report.outcomes import Kind, Outcomes, kind_of, outcomes_of
from ffnn_jax.report.page import number

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


class Material(NamedTuple):
    """Everything that the sections are written from.

    Attributes:
      net, params: the network.
      train, held_out: (x, y), NumPy, as the network sees them.
      learned, outcomes: what it says about both; quantities are in their own unit.
      records: one an epoch.
      names: of the classes, the labels, or the quantities.
      columns: names and inputs of each, or None.
      image_shape: of one x, or None.
      gradients: the report of a gradient check, or None.
      reproduce: how to have the same again.
      details: more to tell, by heading.
    """

    net: Network
    params: Params
    train: Examples
    held_out: Examples
    learned: Outcomes
    outcomes: Outcomes
    records: tuple[Mapping[str, Any], ...]
    names: tuple[str, ...]
    columns: Columns | None
    image_shape: tuple[int, ...] | None
    gradients: Report | None
    reproduce: str
    details: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        """Classes, labels or quantities."""
        return self.outcomes.kind


def gather(
    net, params, *, train, held_out, records, columns, classes, image_shape, target, gradients,
    reproduce, details,
) -> Material:  # fmt: skip
    """The arguments of `write_report`, checked before anything is compiled, and the outcomes."""
    network.check_network(net)
    checks.check_params(net.sizes, params)
    train, held_out = (
        _check_examples(net, name, pair)
        for name, pair in (("train", train), ("held_out", held_out))
    )
    kind = kind_of(net, held_out[1])
    if kind_of(net, train[1]) != kind:
        raise ValueError(
            f"train: expected y of the same kind as held_out's, {kind}; got {train[1].dtype} "
            f"{train[1].shape}"
        )
    records = _check_records(records)
    names, mean, scale = _check_names(net, kind, classes, target)
    columns = None if columns is None else _check_columns(net.sizes[0], columns)
    image_shape = None if image_shape is None else _check_image_shape(net.sizes[0], image_shape)
    if gradients is not None and not isinstance(gradients, Report):
        raise TypeError(
            f"gradients: expected the Report of check_gradients or None, got {gradients!r}"
        )
    if not isinstance(reproduce, str):
        raise TypeError(f"reproduce: expected a string, got {reproduce!r}")
    if not isinstance(details or {}, Mapping):
        raise TypeError(f"details: expected a mapping of headings, got {checks.kind(details)}")
    learned, outcomes = (
        _in_own_unit(outcomes_of(net, params, *pair), mean, scale) for pair in (train, held_out)
    )
    return Material(
        net, params, train, held_out, learned, outcomes, records, names, columns, image_shape,
        gradients, reproduce, details or {},
    )  # fmt: skip


def _check_examples(net: Network, name: str, pair: Any) -> Examples:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"{name}: expected (x, y), got {checks.kind(pair)}")
    x, y = (np.asarray(checks.as_array(f"{name}'s {part}", t)) for part, t in zip("xy", pair))  # noqa: B905
    if x.ndim != 2:
        raise ValueError(f"{name}: expected x of shape (N, {net.sizes[0]}), got {x.shape}")
    try:
        network.check_examples(net, x, y, None)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    checks.check_finite(f"{name}'s x", x)
    checks.check_finite(f"{name}'s y", y)
    return x, y


def _check_records(records: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(records, Iterable) or isinstance(records, str | Mapping):
        raise TypeError(f"records: expected a list of dicts, got {checks.kind(records)}")
    records = tuple(records)
    for i, record in enumerate(records):
        if not isinstance(record, Mapping) or not isinstance(record.get("epoch"), int):
            raise TypeError(f'records[{i}]: expected a dict with an int "epoch", got {record!r}')
    return records


def _check_names(
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
    return _names("target", names, n_L, []), *(np.broadcast_to(t, n_L) for t in numbers)


def _names(argument: str, names: Any, count: int, otherwise: list[str]) -> tuple[str, ...]:
    names = otherwise if names is None else names
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{argument}: expected {count} names, got {names!r}")
    names = tuple(str(name) for name in names)
    if len(names) != count:
        raise ValueError(f"{argument}: expected {count} names, got {len(names)}")
    return names


def _check_columns(width: int, columns: Any) -> Columns:
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


def _check_image_shape(width: int, image_shape: Any) -> tuple[int, ...]:
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


def _in_own_unit(outcomes: Outcomes, mean: Any, scale: Any) -> Outcomes:
    """Quantities as they were before they were standardised."""
    if outcomes.kind != "quantities":
        return outcomes
    truth, predicted = (mean + scale * t for t in (outcomes.truth, outcomes.predicted))
    return outcomes._replace(truth=truth, predicted=predicted)


def value_of(material: Material, column: tuple[str, Sequence[int]], row: int) -> str:
    """What one held-out row has in a column, as the network sees it."""
    values = material.held_out[0][row, list(column[1])].astype(np.float64)
    if len(values) <= 3:
        return ", ".join(number(float(value)) for value in values)
    if np.count_nonzero(values) == 1:
        return f"input {int(np.flatnonzero(values)[0]) + 1} of {len(values)}"
    return f"{len(values)} inputs"
