"""How each layer fares over the training: three strips, one above the other, on one axis of epochs.

mean |a_k|      mean |∇a_k|      ‖ΔW_k‖ / ‖W_k‖, beside 1e-3, about which it is healthy
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ffnn_jax import checks
from ffnn_jax.plots.canvas import COLOURS, INK, canvas, log_ticks, plain_numbers, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEALTHY = 1e-3  # of a step: Karpathy, CS231n, "Ratio of weights:updates"
STRIP = 130.0  # points, the height of one
MARKERS, DASHES = "os^Dvp", ("-", "--", "-.")
OF_LAYER = ("mean_abs_a", "mean_abs_grad_a")  # what is drawn of `unit_statistics`
MOST_NAMED = 6  # layers with a colour and a sign of their own

Lines = dict[int, np.ndarray]  # layer -> a value for each record, NaN for none


def layer_strips(records: Sequence[Mapping[str, Any]]) -> "Figure":
    """|a_k|, |∇a_k| and the update ratio of each layer over the epochs.

    Args:
      records: of the epochs, in order, each a dict with "epoch" and "layers", what
        `unit_statistics` gives, and perhaps "update_ratio", what `update_ratios` gives. A record
        without one of the two, a number that is not finite, or one of 0, leaves a gap.

    Returns:
      The figure, with two or three strips. Up to six layers are told apart by colour, dash and
      sign; of more, the first is the darkest and the last the brightest.

    Raises:
      TypeError: a record is no dict, or what stands in it is of the wrong kind.
      ValueError: no record, a record or a layer without what it needs, epochs that do not grow, or
        nothing in any of them to be drawn.
      ModuleNotFoundError: matplotlib is not installed.
    """
    _check(records)
    epochs = [record["epoch"] for record in records]
    strips = {
        "mean |a|": _of_layers(records, "mean_abs_a"),
        "mean |∇a|": _of_layers(records, "mean_abs_grad_a"),
        "‖ΔW‖ / ‖W‖": _of_ratios(records),
    }
    strips = {name: lines for name, lines in strips.items() if lines}
    if not strips:
        raise ValueError(
            'records: expected "layers" (of unit_statistics) or "update_ratio" in some, got neither'
        )
    count = max(layer for lines in strips.values() for layer in lines)
    with style():
        figure, every = _panels(len(strips))
        for axes, (name, lines) in zip(every, strips.items(), strict=True):
            axes.set_ylabel(name, parse_math=False)
            for layer, values in lines.items():
                axes.plot(epochs, values, label=f"layer {layer}", **_look(layer, count, epochs))
            ratio = name.startswith("‖")
            if ratio:
                axes.axhline(
                    HEALTHY, color=INK, linewidth=1.0, linestyle=":", label="1e−3: healthy"
                )
            _scale(axes, lines, ratio=ratio)
        _epochs(every, epochs)
        _legend(figure, every)
        return figure


def _check(records: Any) -> None:
    if not isinstance(records, Sequence) or not all(isinstance(r, Mapping) for r in records):
        raise TypeError(f"records: expected a list of dicts, one an epoch; got {records!r:.200}")
    if not records:
        raise ValueError("records: expected at least one, got an empty list")
    for number, record in enumerate(records):
        if "epoch" not in record:
            raise ValueError(f'records[{number}]: expected an "epoch", got {sorted(record)}')
        _check_record(f"records[{number}]", record)
    epochs = [record["epoch"] for record in records]
    if not all(before < after for before, after in itertools.pairwise(epochs)):
        raise ValueError(f"records: expected epochs that grow, got {epochs!r:.200}")


def _check_record(name: str, record: Mapping[str, Any]) -> None:
    """The epoch is a number, and layers and ratios are what `units` gives."""
    _check_number(f'{name}["epoch"]', record["epoch"])
    if not np.isfinite(record["epoch"]):
        raise ValueError(f'{name}["epoch"]: expected a finite number, got {record["epoch"]}')
    for key in ("layers", "update_ratio"):
        rows = record.get(key)
        if rows is not None and not isinstance(rows, list | tuple):
            raise TypeError(f'{name}["{key}"]: expected a list, one entry a layer; got {rows!r}')
    for place, row in enumerate(record.get("layers") or ()):
        _check_layer(f'{name}["layers"][{place}]', row)
    for place, ratio in enumerate(record.get("update_ratio") or ()):
        if ratio is not None:
            _check_number(f'{name}["update_ratio"][{place}]', ratio)


def _check_layer(name: str, row: Any) -> None:
    if not isinstance(row, Mapping):
        raise TypeError(f"{name}: expected a dict, as unit_statistics gives; got {row!r}")
    for key in ("layer", *OF_LAYER):
        if key not in row:
            raise ValueError(f'{name}: expected "{key}", got {sorted(row)}')
        if row[key] is not None:
            _check_number(f'{name}["{key}"]', row[key])
    checks.check_positive_int(f'{name}["layer"]', row["layer"])


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected a number, got {value!r}")


def _of_layers(records: Sequence[Mapping[str, Any]], key: str) -> Lines:
    """One figure of `unit_statistics`."""
    rows = [{row["layer"]: row[key] for row in record.get("layers") or ()} for record in records]
    return _lines(rows)


def _of_ratios(records: Sequence[Mapping[str, Any]]) -> Lines:
    """The ratios of `update_ratios`."""
    return _lines([dict(enumerate(record.get("update_ratio") or (), 1)) for record in records])


def _lines(rows: Sequence[Mapping[int, float | None]]) -> Lines:
    layers = sorted({layer for row in rows for layer in row})
    return {layer: np.array([_positive(row.get(layer)) for row in rows]) for layer in layers}


def _positive(value: float | None) -> float:
    """A number that a logarithmic scale has, or NaN."""
    return float(value) if value is not None and 0 < value < np.inf else np.nan


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    """So many axes, one above the other, that share the one of epochs."""
    figure, axes = canvas(STRIP * count + 60, "", "")
    axes.remove()
    return figure, list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])


def _look(layer: int, count: int, epochs: Sequence[float]) -> dict[str, Any]:
    """Colour, dash and sign of a layer's line."""
    few = count <= MOST_NAMED
    if few:
        colour: Any = COLOURS[layer - 1]
    else:
        import matplotlib

        colour = matplotlib.colormaps["cividis"](0.9 * (layer - 1) / (count - 1))
    marker = MARKERS[(layer - 1) % len(MARKERS)] if few and len(epochs) <= 30 else ""
    lone = "o" if len(epochs) == 1 and not few else marker
    return {"color": colour, "linestyle": DASHES[(layer - 1) % len(DASHES)], "marker": lone}


def _scale(axes: "Axes", lines: Lines, *, ratio: bool) -> None:
    """A logarithmic scale for ratios, and for what spans more than a factor of 20."""
    axes.grid(True)
    axes.set_axisbelow(True)
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values)]
    if values.size and (ratio or values.max() > 20 * values.min()):
        axes.set_yscale("log")
        log_ticks(axes)
    else:
        axes.yaxis.set_major_formatter(plain_numbers())


def _epochs(every: Sequence["Axes"], epochs: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    last = every[-1]
    last.set_xlabel("epoch")
    last.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if len(epochs) == 1:
        last.set_xlim(epochs[0] - 1, epochs[0] + 1)


def _legend(figure: "Figure", every: Sequence["Axes"]) -> None:
    """Each line once; of many layers the first, some between and the last."""
    found: dict[str, Any] = {}
    for axes in every:
        handles, names = axes.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    layers = [name for name in found if name.startswith("layer")]
    if len(layers) > MOST_NAMED:
        kept = {layers[i] for i in np.linspace(0, len(layers) - 1, MOST_NAMED).round().astype(int)}
        found = {name: h for name, h in found.items() if name in kept or name not in layers}
    figure.legend(found.values(), found.keys(), loc="outside upper left", ncols=3)
