"""What was learned from, the gradient check, and how to have it all again."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from ffnn_jax import __version__
from ffnn_jax.report.material import Material
from ffnn_jax.report.page import (
    Markup,
    Section,
    code,
    facts,
    heading,
    paragraph,
    plural,
    table,
)


def describe(material: Material) -> str:
    """The network in one line."""
    net, sizes = material.net, material.net.sizes
    hidden = [f"{n} {g}" for n, g in zip(sizes[1:-1], net.activations, strict=True)]
    if len(hidden) > 6:
        hidden = [*hidden[:3], f"… ({len(hidden)} hidden layers)", hidden[-1]]
    loss = net.loss if isinstance(net.loss, str) else getattr(net.loss, "name", "")
    count = sum(layer.W.size + layer.b.size for layer in material.params)
    shape = " → ".join([plural(sizes[0], "input"), *hidden, f"{sizes[-1]} {net.output}"])
    return f"{shape}; loss {str(loss).replace('_', ' ')}; {plural(count, 'parameter')}."


def data(material: Material) -> Section:
    """How many rows, what is in both parts, and what the caller has to tell."""
    (x, _), (x_held, _) = material.train, material.held_out
    both = _in_both(x, x_held)
    said = (
        f"The network learned from {plural(len(x), 'row')} of {plural(x.shape[1], 'input')}; "
        f"{plural(len(x_held), 'row')} were held out, and every figure below is of those unless it "
        "says training."
    )
    seen = (
        f"{plural(both, 'held-out row is', 'held-out rows are')}, input for input, also among the "
        "training rows: the figures are better than they would be on new data."
        if both
        else "No held-out row is, input for input, among the training rows."
    )
    parts = [paragraph(said, seen)]
    for title, content in (material.details or {}).items():
        parts += [heading(str(title)), _detail(str(title), content)]
    return Section("Data and settings", tuple(parts))


def _in_both(x: np.ndarray, x_held: np.ndarray) -> int:
    """How many held-out rows are training rows too."""
    known = {row.tobytes() for row in np.ascontiguousarray(x)}
    return sum(row.tobytes() in known for row in np.ascontiguousarray(x_held.astype(x.dtype)))


def _detail(title: str, content: Any) -> Markup:
    """A mapping as names and values, mappings of the same keys as a table, the rest as text."""
    if isinstance(content, Mapping):
        return facts(title, content.items())
    if isinstance(content, Sequence) and content and all(isinstance(c, Mapping) for c in content):
        headers = list(dict.fromkeys(key for row in content for key in row))
        rows = [[row.get(key) for key in headers] for row in content]
        return table(title, [str(header) for header in headers], rows)
    return paragraph(str(content))


def gradient_check(material: Material) -> Section | None:
    """The table of `check_gradients`, where there is one."""
    report = material.gradients
    if report is None:
        return None
    wrong = [leaf.path for leaf in report.leaves if leaf.ok is False]
    unsure = sum(leaf.ok is None for leaf in report.leaves)
    right = len(report.leaves) - len(wrong) - unsure
    more = f", {len(wrong)} wrong" * bool(wrong) + f", {unsure} unsure" * bool(unsure)
    said = (
        f"Of {plural(len(report.leaves), 'gradient')} {plural(right, 'is', 'are')} right{more}, "
        f"held against {report.reference}."
    )
    rows = [
        [leaf.path, leaf.verdict, f"{leaf.error:.1e}", f"{leaf.autodiff:.1e}",
         f"{leaf.allowed:.1e}", str(leaf.diagnosis or leaf.note)]
        for leaf in report.leaves
    ]  # fmt: skip
    headers = ["leaf", "verdict", "rule", "autodiff", "allowed", "diagnosis"]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    note = "Errors are relative to the gradient in float64."
    parts = [paragraph(said), table("Gradient check", headers, rows), paragraph(note, note=True)]
    if report.transforms:
        rows = [[row.name, row.verdict, row.reason] for row in report.transforms]
        parts += [
            heading("Under transforms"),
            table("Transforms", ["transform", "verdict", "reason"], rows),
        ]
    parts += [paragraph(text, note=True) for text in report.notes]
    return Section("Gradient check", tuple(parts))


def reproduce(material: Material) -> Section:
    """Commands, and the versions that this page was made with."""
    import matplotlib

    versions = [
        ("ffnn_jax", __version__),
        ("jax", jax.__version__),
        ("optax", optax.__version__),
        ("numpy", np.__version__),
        ("matplotlib", matplotlib.__version__),
        ("Python", platform.python_version()),
    ]
    said = (
        "The same versions, data and seed give the same network and the same page, on the same "
        "kind of machine bit for bit."
    )
    parts = [paragraph(said)]
    if material.reproduce.strip():
        parts.append(code(material.reproduce.strip("\n")))
    return Section("How to reproduce", (*parts, facts("Versions", versions)))
