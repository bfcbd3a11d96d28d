"""The report as one file."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.gradcheck import Report
from ffnn_jax.network import Network, Params
from ffnn_jax.report import about, classification, influence, learning, regression
from ffnn_jax.report.arguments import Examples, Target
from ffnn_jax.report.importance import Columns
from ffnn_jax.report.looks import STYLE
from ffnn_jax.report.material import Material, gather
from ffnn_jax.report.page import Section, document
from ffnn_jax.report.worst import worst


def write_report(
    path: str | os.PathLike[str],
    net: Network,
    params: Params,
    *,
    train: Examples,
    held_out: Examples,
    records: Iterable[Mapping[str, Any]] = (),
    columns: Columns | None = None,
    values: Mapping[str, Sequence[Any]] | None = None,
    row_names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    image_shape: tuple[int, ...] | None = None,
    target: Target | None = None,
    gradients: Report | None = None,
    reproduce: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Writes one HTML page about a trained network: no network, no scripts, nothing beside it.

    Equal arguments give equal bytes. The file is there whole or not at all.

    Args:
      path: where to; the folder exists, and a file that is there is replaced.
      net: the network.
      params: its parameters.
      train, held_out: (x, y), NumPy arrays as the network sees them: x (N, n_0), y as for `loss`.
        What is said about the network is measured on held_out.
      records: a dict an epoch, with "epoch" and, where known, "loss", "validation_loss",
        "validation_accuracy", "seconds", and "layers" (of `unit_statistics`).
      columns: (name, inputs) of each column of the table that x was made from, so that a one-hot
        group is shuffled as one. None: each input, or each patch of an image, by itself.
      values: by the name of a column, what the held-out rows have there, N of them, as it stands in
        the table. None: the worst errors are shown with what the network sees.
      row_names: of the held-out rows, N of them, for instance their numbers in the file.
      classes: names of the classes, or of the labels. None: their numbers.
      image_shape: (height, width) or (height, width, 1 or 3) where x are images.
      target: for quantities, how y was standardised; predictions are shown in their own unit.
      gradients: what `check_gradients` found.
      reproduce: commands, as lines.
      details: by heading, a mapping of names to values, a list of such mappings with equal keys (a
        table), or a text: where the data come from, the settings, a digest.

    Raises:
      TypeError, ValueError: an argument of the wrong structure or shape, before anything runs.
      ModuleNotFoundError: matplotlib is not installed.
      OSError: the file cannot be written.
    """
    material = gather(
        net,
        params,
        train,
        held_out,
        records=records,
        columns=columns,
        values=values,
        row_names=row_names,
        classes=classes,
        image_shape=image_shape,
        target=target,
        gradients=gradients,
        reproduce=reproduce,
        details=details,
    )
    page = document("Training report", about.describe(material), STYLE, _sections(material))
    replace_file(path, lambda file: file.write(page.encode()))


def _sections(material: Material) -> list[Section]:
    found = influence.importance_of(material)
    if material.kind == "quantities":
        judged = [regression.result(material), about.data(material)]
        shown = [regression.residuals(material)]
    else:
        judged = [classification.result(material), about.data(material)]
        shown = [classification.classes(material), classification.calibration(material)]
    sections = [
        *judged,
        learning.learning(material),
        *shown,
        worst(material, found),
        influence.importance(material, found),
        learning.layers(material),
        about.gradient_check(material),
        about.reproduce(material),
    ]
    return [section for section in sections if section is not None]
