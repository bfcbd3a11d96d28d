"""The sections on what the training was like: its curves, and its layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ffnn_jax import plots
from ffnn_jax.report.embed import figure, side_by_side
from ffnn_jax.report.material import Material
from ffnn_jax.report.page import (
    Markup,
    Section,
    Share,
    heading,
    number,
    paragraph,
    percent,
    plural,
    table,
)
from ffnn_jax.units import QUIET, unit_statistics

MOST_LAYERS = 6
STATISTICS_ROWS = 1000
NOTE = (
    "The training loss is that of the steps as they were taken, with penalties, weights and "
    "dropout where there are any; the validation loss is without them, after the epoch."
)


def learning(material: Material) -> Section:
    """Losses and accuracy over the epochs."""
    title = "Learning curves"
    records = material.records
    if not records:
        return Section(title, (paragraph("No record of the epochs was kept."),))
    epochs = [record["epoch"] for record in records]
    lines = {
        "training": _column(records, "loss"),
        "validation": _column(records, "validation_loss"),
    }
    lines = {name: line for name, line in lines.items() if _known(line)}
    accuracy = _column(records, "validation_accuracy")
    said = _learned(records, lines)
    figures = []
    if lines:
        alt = f"Line chart of the loss over {plural(len(epochs), 'epoch')}. {said}"
        figures.append(figure("loss", plots.curves(epochs, lines, "loss"), alt))
    if _known(accuracy):
        best = max(_known(accuracy))
        alt = (
            f"Line chart of the validation accuracy over {plural(len(epochs), 'epoch')}: the best "
            f"is {percent(best)}, the last {percent(_known(accuracy)[-1])}."
        )
        drawing = plots.curves(epochs, {"validation": accuracy}, "validation accuracy", share=True)
        figures.append(figure("accuracy", drawing, alt))
    return Section(title, (paragraph(said), side_by_side(*figures), paragraph(NOTE, note=True)))


def _column(records: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    """A value an epoch; None where there is none, or it is not finite."""
    values = [record.get(name) for record in records]
    return [None if v is None or not np.isfinite(v) else float(v) for v in values]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _learned(records: Sequence[Mapping[str, Any]], lines: dict[str, list[float | None]]) -> str:
    """The curves in words."""
    seconds = sum(_known(_column(records, "seconds")))
    took = f" in {seconds:.{1 if seconds < 100 else 0}f} seconds" if seconds else ""
    be = "was" if len(records) == 1 else "were"
    said = [f"There {be} {plural(len(records), 'epoch')}{took}."]
    for name, line in lines.items():
        values = _known(line)
        lowest = records[int(np.nanargmin(np.array(line, np.float64)))]["epoch"]
        said.append(
            f"The {name} loss went from {number(values[0])} to {number(values[-1])}"
            f" and was lowest, {number(min(values))}, in epoch {lowest}."
            if len(values) > 1
            else f"The {name} loss was {number(values[0])}."
        )
    return " ".join(said)


# Layers ------------------------------------------------------------------------------------------

MEASURES = (
    ("mean_abs_a", "mean |a|", False),
    ("mean_abs_grad_a", "mean |∇a|", False),
    ("dead", "dead units", True),
    ("saturated", f"entries with |g′| < {QUIET:g}", True),
)


def layers(material: Material) -> Section:
    """What goes on in the hidden layers: now, in a table, and over the epochs."""
    title = "Layers"
    x, y = (t[:STATISTICS_ROWS] for t in material.train)
    now = unit_statistics(material.net, material.params, x, y)
    if not now:
        return Section(title, (paragraph("The network has no hidden layer."),))
    dead = sum(round(row["dead"] * n) for row, n in zip(now, material.net.sizes[1:], strict=False))
    units = sum(material.net.sizes[1:-1])
    said = (
        f"Of {plural(units, 'hidden unit')} {'none is' if dead == 0 else plural(dead, 'is', 'are')}"
        f" dead: such a unit gives nothing, and learns nothing, at all of {plural(len(x), 'row')} "
        "of the training data."
    )
    rows = [
        [f"{row['layer']} ({row['activation']})", row["mean_abs_a"], row["mean_abs_grad_a"],
         Share(row["dead"]), Share(row["saturated"])]
        for row in now
    ]  # fmt: skip
    headers = ["layer", *(label for _, label, _ in MEASURES)]
    note = (
        "∇a is of each row's own loss. Where |g′| is that small no gradient comes through: for "
        "relu those are the entries that are off, commonly about half."
    )
    parts = [paragraph(said), table("The layers as they are now", headers, rows)]
    return Section(title, (*parts, *_over_epochs(material), paragraph(note, note=True)))


def _over_epochs(material: Material) -> list[Markup]:
    """The four measures over the epochs, of at most `MOST_LAYERS` layers."""
    records = [record for record in material.records if record.get("layers")]
    depth = min((len(record["layers"]) for record in records), default=0)
    if not depth:
        return []
    chosen = sorted(set(np.linspace(0, depth - 1, min(depth, MOST_LAYERS)).round().astype(int)))
    epochs = [record["epoch"] for record in records]
    figures = []
    for key, label, share in MEASURES:
        lines = {
            f"layer {k + 1}": _column([record["layers"][k] for record in records], key)
            for k in chosen
        }
        if not any(_known(line) for line in lines.values()):
            continue
        ends = "; ".join(
            f"{name} from {_as(known[0], share)} to {_as(known[-1], share)}"
            for name, line in lines.items()
            if (known := _known(line))
        )
        alt = f"Line chart of {label} over {plural(len(epochs), 'epoch')}: {ends}."
        figures.append(figure(key, plots.curves(epochs, lines, label, share=share), alt))
    some = f"Drawn are {len(chosen)} of {depth} layers." if len(chosen) < depth else ""
    return [
        heading("Over the epochs"),
        side_by_side(*figures),
        *([paragraph(some)] if some else []),
    ]


def _as(value: float, share: bool) -> str:
    return percent(value) if share else number(value)
