"""The section on what the columns, or the parts of an image, are worth."""

import numpy as np

from ffnn_jax import plots
from ffnn_jax.report.embed import figure, image, side_by_side
from ffnn_jax.report.importance import (
    REPEATS,
    Columns,
    Importance,
    as_map,
    patches,
    permutation_importance,
)
from ffnn_jax.report.material import Material
from ffnn_jax.report.page import Markup, Section, Share, number, paragraph, plural, table

MOST_BARS = 20
MOST_PATCHES = 8


def importance_of(material: Material) -> Importance | None:
    """The permutation importance of what there is: columns, patches of images, or inputs."""
    x, y = material.held_out
    if len(x) < 2:
        return None
    return permutation_importance(
        material.net, material.params, x, y, columns_of(material), material.kind
    )


def columns_of(material: Material) -> Columns:
    """Names and inputs of each column; patches of an image; or the inputs by number."""
    if material.columns is not None:
        return material.columns
    if material.image_shape is not None:
        return patches(material.image_shape)
    return [(f"input {i + 1}", [i]) for i in range(material.net.sizes[0])]


def importance(material: Material, found: Importance | None) -> Section:
    """What is lost when a column is shuffled."""
    title = "Permutation importance"
    if found is None:
        said = "One held-out row alone cannot be shuffled, so nothing is known about its columns."
        return Section(title, (paragraph(said),))
    share = material.kind == "classes"
    is_map = material.columns is None and material.image_shape is not None
    most = MOST_PATCHES if is_map else MOST_BARS
    order = np.argsort(-found.means, kind="stable")[:most]
    names = [found.names[i] for i in order]
    means, spreads = found.means[order], found.spreads[order]
    measure = "the accuracy falls" if share else "the loss rises"
    where = f"{'the pixels of ' if is_map else ''}{names[0]}"
    said = (
        f"Most is lost when {where} {'are' if is_map else 'is'} shuffled among the rows: {measure} "
        f"by {_amount(means[0], share)}."
        if means[0] > 0
        else "Whichever column is shuffled among the rows, nothing is lost."
    )
    drawn = _map(material, found) if is_map else _bars(names, means, spreads, share)
    as_number = Share if share else float
    rows = zip(names, map(as_number, means), map(as_number, spreads), strict=True)
    headers = ["patch" if is_map else "column", _measure(share), "standard deviation"]
    listed = table("Permutation importance", headers, rows)
    shown = side_by_side(drawn, Markup(f"<div>{listed}</div>"))
    return Section(title, (paragraph(said), shown, _note(found, most)))


def _measure(share: bool) -> str:
    return "drop of accuracy" if share else "rise of the loss"


def _amount(value: float, share: bool) -> str:
    return f"{100 * value:.1f} percentage points" if share else number(value)


def _bars(names: list[str], means: np.ndarray, spreads: np.ndarray, share: bool) -> Markup:
    top = ", ".join(
        f"{name} {_amount(mean, share)}" for name, mean in zip(names[:5], means[:5], strict=True)
    )
    alt = f"Bar chart of the {_measure(share)} when a column is shuffled, the largest first: {top}."
    drawing = plots.importance(names, means, spreads, _measure(share), share=share)
    return figure("importance", drawing, alt)


def _map(material: Material, found: Importance) -> Markup:
    assert material.image_shape is not None
    share = material.kind == "classes"
    values = as_map(found, material.image_shape)
    most = max(float(values.max()), 0.0)
    best = found.names[int(found.means.argmax())]
    drawing = plots.picture(values, 0.0, most, map_name="viridis")
    said = f"The brighter a patch, the more is lost: up to {_amount(most, share)}, at {best}."
    return Markup(f'<div class="map">{image(drawing, f"Map of the image. {said}", said)}</div>')


def _note(found: Importance, most: int) -> Markup:
    some = (
        f"Listed are the {most} most important of {len(found.names)}."
        if len(found.names) > most
        else ""
    )
    return paragraph(
        some,
        f"Mean and standard deviation over {REPEATS} shuffles of "
        f"{plural(found.rows, 'held-out row')}, the same ones each time the report is made. "
        "Inputs that say the same stand in for each other: both can look unimportant.",
        note=True,
    )
