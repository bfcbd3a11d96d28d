"""What a report is made of: the arguments of `write_report`, and what the network says."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax import checks, network
from ffnn_jax.gradcheck import Report
from ffnn_jax.network import Network, Params
from ffnn_jax.report import arguments
from ffnn_jax.report.arguments import Examples
from ffnn_jax.report.importance import Columns
from ffnn_jax.report.outcomes import Kind, Outcomes, kind_of, outcomes_of
from ffnn_jax.report.page import number


class Material(NamedTuple):
    """Everything that the sections are written from.

    Attributes:
      net, params: the network.
      train, held_out: (x, y), NumPy, as the network sees them.
      learned, outcomes: what it says about both; quantities are in their own unit.
      records: one an epoch.
      names: of the classes, the labels, or the quantities.
      columns: names and inputs of each, or None.
      values: by the name of a column, what the held-out rows have there, or None.
      row_names: of the held-out rows, or None.
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
    values: Mapping[str, Sequence[Any]] | None
    row_names: Sequence[str] | None
    image_shape: tuple[int, ...] | None
    gradients: Report | None
    reproduce: str
    details: Mapping[str, Any] | None

    @property
    def kind(self) -> Kind:
        """Classes, labels or quantities."""
        return self.outcomes.kind


def gather(
    net: Network,
    params: Params,
    train: Any,
    held_out: Any,
    *,
    records: Any,
    columns: Any,
    values: Any,
    row_names: Any,
    classes: Any,
    image_shape: Any,
    target: Any,
    **shown: Any,
) -> Material:
    """The arguments of `write_report`, checked, and the outcomes; `shown` goes on as it is."""
    network.check_network(net)
    checks.check_params(net.sizes, params)
    train = arguments.check_examples(net, "train", train)
    held_out = arguments.check_examples(net, "held_out", held_out)
    kind, learned_kind = kind_of(net, held_out[1]), kind_of(net, train[1])
    if learned_kind != kind:
        raise ValueError(f"train: expected y of the kind of held_out's, {kind}; got {learned_kind}")
    records = arguments.check_records(records)
    names, mean, scale = arguments.check_names(net, kind, classes, target)
    if columns is not None:
        columns = arguments.check_columns(net.sizes[0], columns)
    arguments.check_values(values, columns, len(held_out[1]))
    arguments.check_row_names(row_names, len(held_out[1]))
    if image_shape is not None:
        image_shape = arguments.check_image_shape(net.sizes[0], image_shape)
    arguments.check_rest(**shown)
    learned, outcomes = (
        _in_own_unit(outcomes_of(net, params, *pair), mean, scale) for pair in (train, held_out)
    )
    if not (np.isfinite(learned.yhat).all() and np.isfinite(outcomes.yhat).all()):
        raise ValueError("params: expected finite predictions, got NaN or infinite ones")
    whole = (net, params, train, held_out, learned, outcomes, records, names)
    return Material(*whole, columns, values, row_names, image_shape, **shown)


def _in_own_unit(outcomes: Outcomes, mean: Any, scale: Any) -> Outcomes:
    """Quantities as they were before they were standardised."""
    if outcomes.kind != "quantities":
        return outcomes
    truth, predicted = (mean + scale * t for t in (outcomes.truth, outcomes.predicted))
    return outcomes._replace(truth=truth, predicted=predicted)


def value_of(
    material: Material, column: tuple[str, Sequence[int] | np.ndarray], row: int
) -> float | str:
    """What one held-out row has in a column, in the table or, without that, for the network."""
    if material.values is not None:
        value = material.values[column[0]][row]
        return "missing" if value is None else value
    values = material.held_out[0][row, list(column[1])].astype(np.float64)
    if len(values) == 1:
        return float(f"{values[0]:.3g}")
    if len(values) <= 3:
        return ", ".join(number(float(value)) for value in values)
    if np.count_nonzero(values) == 1:
        return f"input {int(np.flatnonzero(values)[0]) + 1} of {len(values)}"
    return f"{len(values)} inputs"
