"""The section on the worst errors: as pictures, or as rows of a table."""

import numpy as np

from ffnn_jax import plots
from ffnn_jax.report.embed import image
from ffnn_jax.report.importance import Importance
from ffnn_jax.report.influence import columns_of
from ffnn_jax.report.material import Material, value_of
from ffnn_jax.report.page import Markup, Section, number, paragraph, percent, table

MOST = 12
MOST_COLUMNS = 6


def worst(material: Material, found: Importance | None) -> Section:
    """The held-out examples that are wrong with the highest loss, or have the highest loss.

    Args:
      material: what the report is made of.
      found: the importance of the columns, to show those that matter.
    """
    outcomes = material.outcomes
    wrong = outcomes.wrong
    order = np.lexsort((-outcomes.losses, ~wrong))
    chosen = order[: min(MOST, int(wrong.sum()) or MOST)]
    parts = [paragraph(_sentence(material, chosen))]
    if material.image_shape is not None:
        parts.append(_pictures(material, chosen))
    else:
        parts += _rows(material, chosen, found)
    return Section("Worst errors", tuple(parts))


def _sentence(material: Material, chosen: np.ndarray) -> str:
    outcomes, n = material.outcomes, len(chosen)
    name = _name_of(material, int(chosen[0]))
    first = f"the highest loss is {number(outcomes.losses[chosen[0]])}, that of row {name}"
    mean = f"the mean is {number(float(outcomes.losses.mean()))}"
    if material.kind == "quantities":
        shown = "the only held-out row" if n == 1 else f"the {n} held-out rows of the highest loss"
        return f"Shown here: {shown}; {first}; {mean}."
    wrong = int(outcomes.wrong.sum())
    if wrong == 0:
        return (
            "No held-out example is wrong. Shown are those that come nearest to it, by their "
            f"loss: {first}; {mean}."
        )
    if wrong == 1:
        return f"One held-out example is wrong; {first}; {mean}."
    which = "all of them" if n == wrong else f"the {n} of the highest loss"
    return f"{number(wrong)} held-out examples are wrong; shown are {which}: {first}; {mean}."


def _name_of(material: Material, i: int) -> str:
    """Which row of held_out it is, for a person."""
    return f"{i}" if material.row_names is None else material.row_names[i]


def _pictures(material: Material, chosen: np.ndarray) -> Markup:
    x = material.train[0]
    low, high = float(x.min()), float(x.max())
    figures = []
    for i in chosen:
        pixels = material.held_out[0][i].astype(np.float64).reshape(material.image_shape)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 and pixels.ndim == 3 else pixels
        said = _told(material, int(i))
        alt = f"Held-out image {_name_of(material, int(i))}: {said}."
        figures.append(image(plots.picture(pixels, low, high), alt, said))
    return Markup('<div class="pictures">\n' + "\n".join(figures) + "\n</div>")


def _told(material: Material, i: int) -> str:
    """True and predicted of one example, short enough to stand below a small picture."""
    true, predicted, sure = _verdict(material, i)
    more = f" ({sure})" if sure and material.net.output != "linear" else ""
    return f"true {true}, predicted {predicted}{more}"


def _verdict(material: Material, i: int) -> tuple[str, str, str]:
    """(what is true, what is predicted, and how surely) of one example."""
    outcomes, names = material.outcomes, material.names
    if material.kind == "classes":
        true, predicted = int(outcomes.truth[i]), int(outcomes.predicted[i])
        sure = percent(float(outcomes.yhat[i, predicted]), 0)
        return plots.shortened(names[true], 24), plots.shortened(names[predicted], 24), sure
    if material.kind == "labels":
        true, predicted = (
            ", ".join(plots.shortened(names[j]) for j in np.flatnonzero(t[i])[:5]) or "none"
            for t in (outcomes.truth, outcomes.predicted)
        )
        return true, predicted, ""
    true, predicted = (
        ", ".join(number(float(v)) for v in t[i][:5]) for t in (outcomes.truth, outcomes.predicted)
    )
    return true, predicted, ""


def _rows(material: Material, chosen: np.ndarray, found: Importance | None) -> list[Markup]:
    outcomes, columns = material.outcomes, list(columns_of(material))
    if found is not None:
        order = np.argsort(-found.means, kind="stable")
        columns = [columns[i] for i in order]
    columns = columns[:MOST_COLUMNS]
    surely = material.kind == "classes" and material.net.output != "linear"
    headers = ["row", "true", "predicted", *(["probability"] if surely else []), "loss"]
    rows = []
    for i in chosen:
        true, predicted, sure = _verdict(material, int(i))
        if material.kind == "quantities" and len(material.names) == 1:  # numbers stand right
            true, predicted = (float(t[i, 0]) for t in (outcomes.truth, outcomes.predicted))
        row = [_name_of(material, int(i)), true, predicted, *([sure] if surely else [])]
        row.append(float(outcomes.losses[i]))
        rows.append([*row, *(value_of(material, column, int(i)) for column in columns)])
    listed = table(
        "Worst errors", [*headers, *(plots.shortened(name, 18) for name, _ in columns)], rows
    )
    few = len(columns) < len(columns_of(material))
    which = f"The {len(columns)} most important columns" if few else "The columns"
    seen = "as the network sees them" if material.values is None else "as they stand in the table"
    counted = "counted from 0" if material.row_names is None else "by their names"
    return [listed, paragraph(f"{which} are shown {seen}; rows are {counted}.", note=True)]
