"""What the epochs of a training showed, as arrays and as records."""

from typing import Any, NamedTuple

import numpy as np

from ffnn_jax.epochs import Row, Table


class History(NamedTuple):
    """What `fit` saw, as NumPy arrays with one entry an epoch.

    Attributes:
      loss: ℒ on the training data while it was trained on: the mean over the epoch's examples.
      validation_loss: ℒ on the validation data after the epoch, or None without such data, or
        without a whole epoch.
      validation_accuracy: the share of right classes in [0, 1], or None as validation_loss, and
        where the outputs are no classes.
      seconds: wall time; the first entry holds the compilation. From the third epoch on several
        are done in one call, and its time is spread evenly over them.
    """

    loss: np.ndarray
    validation_loss: np.ndarray | None
    validation_accuracy: np.ndarray | None
    seconds: np.ndarray


def history_of(tables: list[Table], epochs: int) -> History:
    """The first so many epochs of the tables, in one array for each field."""

    def column(name: str) -> Any:
        parts = [getattr(table.rows, name) for table in tables]
        if name != "loss" and (epochs == 0 or parts[0] is None):
            return None
        return np.concatenate(parts)[:epochs] if parts else np.zeros(0)

    seconds = np.concatenate([np.zeros(0), *(table.seconds for table in tables)])
    loss, validation_loss, accuracy = map(column, Row._fields)
    return History(loss, validation_loss, accuracy, seconds[:epochs])


def table_of(history: History) -> Table:
    """A history as one table."""
    return Table(Row(*history[: len(Row._fields)]), history.seconds)


def records_of(tables: list[Table], epochs: int) -> list[dict[str, Any]]:
    """The rows of the last table as dicts, up to the epoch of this number, counted from 1."""
    *before, last = tables
    first = sum(len(table.seconds) for table in before) + 1
    columns = {**last.rows._asdict(), "seconds": last.seconds}
    return [
        {"epoch": e, **{k: None if t is None else float(t[e - first]) for k, t in columns.items()}}
        for e in range(first, epochs + 1)
    ]
