"""A training in a run folder: what `ffnn train` does, from the settings to the report.

Each step leaves its file whole before the next begins, so a run that was stopped anywhere goes on
from there.
"""

import dataclasses
import importlib.util
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax.backprop import loss
from ffnn_jax.checkpoint import save
from ffnn_jax.checkpoint.archive import libraries
from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.gradcheck import Report, check_gradients
from ffnn_jax.metrics import append_metrics, read_metrics
from ffnn_jax.network import Network, Params
from ffnn_jax.report import Target as Quantity
from ffnn_jax.report import write_report
from ffnn_jax.tabular.experiment import (
    Fitted,
    Rows,
    Setup,
    batch_size_of,
    epochs_on_all_rows,
    fit_rows,
    l2_of,
    rows_at,
)
from ffnn_jax.tabular.figures import in_words, prediction_figures
from ffnn_jax.tabular.models import outputs_of
from ffnn_jax.tabular.preparation import Number
from ffnn_jax.tabular.run_folder import RunFolder
from ffnn_jax.tabular.values import is_missing
from ffnn_jax.units import unit_statistics

LOOKED_AT = 256  # training rows whose a and ∇a are followed over the epochs
CHECKED = 16  # rows on which the gradient is checked
MOST_COLUMNS = 200  # of the report's table
ROWS_BETWEEN = 20_000  # examples trained on from one checkpoint to the next, about


def train_in(
    folder: RunFolder,
    setup: Setup,
    *,
    resume: bool,
    report: bool,
    say: Callable[[str], None],
    show: Callable[[str, int, int, dict[str, Any]], None],
    mesh: jax.sharding.Mesh | None = None,
) -> None:
    """Trains, and writes everything into the folder; of several processes the first does.

    Args:
      folder: new, or with `resume` that of a run that was begun.
      setup: what to train on what, from `set_up`.
      resume: whether to go on.
      report: whether to write the report.
      say: takes a line for a person.
      show: takes the name of the fit, the epoch, how many at most, and its record.
      mesh: of the devices of all processes; None: there is one.

    Raises:
      OSError, TableError, CheckpointError, ProcessError, ValueError: with one line that says why.
      NonFiniteLossError: the loss became NaN or infinite.
    """
    began, settings, parts = time.perf_counter(), setup.settings, setup.parts
    first = mesh is None or jax.process_index() == 0
    if not resume and first:
        _write_text(folder.config, settings.to_toml())
    for line in _opening(setup):
        say(line)
    every = max(1, ROWS_BETWEEN // len(parts.train))
    fitting = {"every": every, "resume": resume, "show": show, "mesh": mesh, "first": first}
    chosen = _on_training_rows(folder, setup, say=say, **fitting)
    measured = _measure(setup, chosen)
    for line in (_ending(chosen), *_told(setup, measured)):
        say(line)
    kept = chosen
    if settings.refit and len(parts.train) < len(setup.source.target):
        kept = _on_all_rows(folder, setup, chosen, **fitting)
        epochs = len(kept.fit.history.loss)
        say(f"the model is trained anew on all {len(kept.rows.x)} rows, {epochs} epochs")
    if not first:
        return
    _save(folder, settings, kept, measured.figures)
    say(f"{folder.model}  ({time.perf_counter() - began:.1f} s)")
    if report:
        _report(folder, setup, chosen, measured, say)


# The two fits ------------------------------------------------------------------------------------


def _on_training_rows(folder, setup, *, every, resume, say, show, mesh, first) -> Fitted:
    """The network of the training rows, stopped by the validation rows; its epochs are recorded."""
    settings, parts = setup.settings, setup.parts

    def watch(records: list[dict[str, Any]], net: Network, params: Params, rows: Rows) -> None:
        looked_at = rows.x[:LOOKED_AT], rows.y[:LOOKED_AT]
        records[-1]["layers"] = unit_statistics(net, params, *looked_at)
        append_metrics(folder.metrics, records)
        show("fit", records[-1]["epoch"], settings.epochs, records[-1])

    return fit_rows(
        setup,
        parts.train,
        parts.validation,
        epochs=settings.epochs,
        note=say,
        checkpoints=folder.checkpoints(every=every, joint=mesh is not None),
        resume=resume,
        on_epochs=watch if first else None,
        mesh=mesh,
    )


def _on_all_rows(folder, setup, chosen, *, every, resume, show, mesh, first) -> Fitted:
    """The network of all rows; the first fit told the notes."""
    every_row, nobody = np.arange(len(setup.source.target)), np.arange(0)
    epochs = epochs_on_all_rows(setup.settings, chosen, len(every_row))

    def watch(records: list[dict[str, Any]], *_: Any) -> None:
        show("fit on all rows", records[-1]["epoch"], epochs, records[-1])

    return fit_rows(
        setup,
        every_row,
        nobody,
        epochs=epochs,
        checkpoints=folder.checkpoints("fit-all", every=every, joint=mesh is not None),
        resume=resume,
        on_epochs=watch if first else None,
        mesh=mesh,
    )


# The figures -------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What a network is worth, on rows that it was not trained on.

    Attributes:
      places: of the rows.
      rows: as the network sees them.
      figures: of `prediction_figures`, and "on", what the rows are.
    """

    places: np.ndarray
    rows: Rows
    figures: dict[str, Any]


def _measure(setup: Setup, fitted: Fitted) -> Measured:
    """On the test rows; without any on those of validation, and without those on the training's."""
    parts, model = setup.parts, fitted.model
    on = "test" if len(parts.test) else "validation" if len(parts.validation) else "training"
    places = {"test": parts.test, "validation": parts.validation, "training": parts.train}[on]
    rows = rows_at(setup, model.preparation, places)
    yhat = outputs_of(model.net, model.params, rows.x)
    return Measured(places, rows, {"on": on, **prediction_figures(setup.target, yhat, rows.y)})


def _told(setup: Setup, measured: Measured) -> list[str]:
    figures = measured.figures
    lines = [f"{figures['on']} rows: {in_words(setup.target, figures)}"]
    if setup.target.classes and figures["accuracy"] <= figures["baseline"]:
        lines.append("that is no better than always saying their most frequent class")
    return lines


def _opening(setup: Setup) -> list[str]:
    """What there is to learn, and from what."""
    target, parts = setup.target, setup.parts
    kind = f"{len(target.classes)} classes" if target.classes else "a quantity"
    sizes = (len(part) for part in parts)
    return [
        f"{setup.source.name}: {len(setup.source.target)} rows; target {target.name!r}, {kind}",
        *setup.notes,
        "rows to train on {}, to stop by {}, to test on {}".format(*sizes),
    ]


def _ending(fitted: Fitted) -> str:
    net, history = fitted.model.net, fitted.fit.history
    sizes = " → ".join(map(str, net.sizes))
    best = fitted.fit.best_epoch
    which = "" if best is None else f", of which epoch {best + 1} was best"
    return f"network {sizes}, {net.activation}: {len(history.loss)} epochs{which}"


def _save(folder, settings, fitted, figures) -> None:
    """The model file: the network, and all that has to be known of it."""
    net, params, preparation, _ = fitted.model
    metadata = {
        "preparation": preparation.to_dict(),
        "settings": dataclasses.asdict(settings),
        "figures": figures,
        "trained_on": len(fitted.rows.x),
    }
    save(folder.model, net, params, metadata=metadata)


def _write_text(path: pathlib.Path, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))


# The report --------------------------------------------------------------------------------------


def _report(folder, setup, chosen, measured, say) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        say("no report: it needs matplotlib: pip install 'ffnn_jax[plot]'")
        return
    net, params, preparation, _ = chosen.model
    target, pictures = setup.target, preparation.pixels
    quantity = Quantity(target.name, target.mean, target.scale)
    write_report(
        folder.report,
        net,
        params,
        train=chosen.rows[:2],
        held_out=measured.rows[:2],
        records=read_metrics(folder.metrics),
        columns=None if pictures else preparation.groups,
        values=None if pictures else setup.source.rows[measured.places].to_dict(as_series=False),
        row_names=[str(number) for number in setup.source.numbers[measured.places]],
        classes=list(target.classes) or None,
        image_shape=pictures and pictures.shape,
        target=None if target.classes else quantity,
        gradients=check_gradient(chosen),
        reproduce=f"ffnn train --config {folder.config}",
        details=_details(setup, chosen, measured.figures),
    )
    say(f"{folder.report}")


def check_gradient(fitted: Fitted) -> Report:
    """The gradient of the trained network on a few of its rows, held against float64."""
    net, params = fitted.model[:2]
    x, y = fitted.rows.x[:CHECKED], fitted.rows.y[:CHECKED]
    return check_gradients(loss, (net, params, x, y), argnums=1, transforms=())


def _details(setup, chosen, figures) -> dict[str, Any]:
    parts, source, settings = setup.parts, setup.source, setup.settings
    shape = source.rows.shape
    return {
        "Data": {
            "file": source.name,
            "rows": f"{len(source.target)}",
            "columns" if len(shape) == 2 else "pixels": " × ".join(map(str, shape[1:])),
            "left out": _left_out(setup, chosen),
            "target": setup.target.name,
            "inputs of the network": f"{chosen.model.net.sizes[0]}",
            "split": "{} to train, {} to stop by, {} to test".format(*map(len, parts)),
            "figures": f"on the {figures['on']} rows",
        },
        **({"Columns": _columns(setup, chosen)} if chosen.model.preparation.columns else {}),
        "Settings": {
            **{name: _in_words(value) for name, value in dataclasses.asdict(settings).items()},
            "batch_size": f"{batch_size_of(settings, len(parts.train))}",
            "loss": f"{chosen.model.net.loss}",
            "l2": f"{l2_of(settings, setup.target, len(parts.train)):.3g}",
        },
        "Versions": {**libraries(), "device": jax.devices()[0].device_kind},
    }


def _columns(setup: Setup, chosen: Fitted) -> list[dict[str, Any]]:
    """What each column is, by the training rows."""
    rows = setup.source.rows[setup.parts.train]
    return [
        {
            "column": column.name,
            "kind": "number" if isinstance(column, Number) else "category",
            "mean, or how many": column.mean if isinstance(column, Number) else len(column.values),
            "standard deviation": column.scale if isinstance(column, Number) else "",
            "missing": f"{is_missing(rows[column.name]).mean():.1%}",
        }
        for column in chosen.model.preparation.columns[:MOST_COLUMNS]
    ]


def _left_out(setup: Setup, chosen: Fitted) -> str:
    """The columns that are not used."""
    if isinstance(setup.source.rows, np.ndarray):
        return "none"
    used = {column.name for column in chosen.model.preparation.columns}
    return _in_words(tuple(name for name in setup.source.rows.columns if name not in used))


def _in_words(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}" or "none"
