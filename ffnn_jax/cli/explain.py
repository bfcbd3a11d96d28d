"""`explain`: the chain rule of a weight of a trained network, and who is responsible for a loss."""

import argparse
import sys
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax.cli.predict import check_kind
from ffnn_jax.diagram import write_backward_page
from ffnn_jax.explain import explain_weight, responsibility
from ffnn_jax.tabular.models import Model, load_model
from ffnn_jax.tabular.preparation import Number
from ffnn_jax.tabular.sources import Source, read_source
from ffnn_jax.tabular.tables import TableError
from ffnn_jax.tabular.values import is_missing

MOST_ROWS = 1000  # of a table that is explained as one batch
MOST_CLASSES = 20  # that are named

EXAMPLES = """\
examples:
  ffnn explain runs/iris --example 7                 who is responsible for the loss of row 7
  ffnn explain runs/iris --example 7 --weight 1,1,2  and the chain rule of W_112 (layer, i, j)
  ffnn explain runs/iris --example 7 --weight 2,3    that of the bias b_23
  ffnn explain runs/iris --example 7 --html out.html the backward pass as a page, step by step
  ffnn explain runs/iris new.csv --example 1         a row of another table, which has the target
  ffnn explain runs/iris                             the rows of the table as one batch
"""


def add(commands: Any) -> None:
    """The command and its words."""
    parser = commands.add_parser(
        "explain",
        help="the chain rule of a weight with its numbers, and who is responsible for a loss",
        description="The loss is the network's own: a penalty of the weights is not in it, and "
        "nothing is dropped\nout. Everything is counted from 1, as in the lecture.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="RUN", help="a run folder, or its model.npz")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="another table than it learned from"
    )
    parser.add_argument(
        "--example",
        type=int,
        metavar="N",
        help="a row of the table; none: the first 1,000 as a batch",
    )
    parser.add_argument(
        "--weight", type=_indices, metavar="K,I,J", help="W_kij of layer k; K,I is the bias b_ki"
    )
    parser.add_argument("--html", metavar="FILE", help="write the backward pass there, as a page")
    parser.add_argument(
        "--strongest", type=int, default=5, metavar="N", help="how many of a kind are named (5)"
    )
    parser.add_argument("--target", help="the column (as in training), or IDX file of labels")
    parser.add_argument(
        "--unknown",
        choices=("error", "missing"),
        help="what a category is that training did not have (of FILE an error, else missing)",
    )
    parser.set_defaults(run=_explain, failed=1)


def _indices(text: str) -> tuple[int, ...]:
    """K,I,J or K,I as numbers."""
    try:
        numbers = tuple(map(int, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 3):
        raise argparse.ArgumentTypeError(f"expected K,I,J, or K,I for a bias; got {text!r}")
    return numbers


def _explain(arguments: argparse.Namespace) -> int:
    if arguments.html == "":
        raise TableError("--html: expected the name of a file, got an empty one")
    for option in ("weight", "html"):
        if getattr(arguments, option) is not None and arguments.example is None:
            raise TableError(f"--{option}: it explains one example; give its row by --example N")
    model = load_model(arguments.model)
    rows = _rows(arguments, model)
    net, params, x, y = model.net, model.params, rows.x, rows.y
    parts = list(rows.about)
    if arguments.weight is not None:
        parts += _weight(arguments, model, rows)
    story = responsibility(net, params, x, y, strongest=arguments.strongest)
    if arguments.html is not None:
        write_backward_page(arguments.html, net, params, x, y, weight=arguments.weight)
    print("\n".join([*parts, "", str(story)]))
    if arguments.html is not None:
        print(f"the backward pass, step by step: {arguments.html}", file=sys.stderr)
    return 0


def _weight(arguments: argparse.Namespace, model: Model, rows: "_Rows") -> list[str]:
    """The chain rule of the weight; of layer 1, which input it is of."""
    layer, i, *rest = arguments.weight
    j = rest[0] if rest else None
    explanation = explain_weight(
        model.net,
        model.params,
        rows.x,
        rows.y,
        layer=layer,
        i=i,
        j=j,
        strongest=arguments.strongest,
    )
    about = []
    if layer == 1 and j is not None:
        name = model.preparation.input_names[j - 1]
        about.append(f"x_{j} is {name!r}{_standardised(model, rows.frame, name)}")
    return [*about, "", str(explanation)]


def _standardised(model: Model, frame: Any, name: str) -> str:
    """What the table has of a number, of which the network sees (value − mean) / scale."""
    for column in model.preparation.columns:
        if isinstance(column, Number) and column.name == name:
            value = frame[name][0]
            return " (standardised)" if value is None else f" (standardised; {value} in the table)"
    return ""


# Rows --------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """What is explained: x and y of one example or of a batch, and lines that say what it is."""

    x: np.ndarray
    y: Any
    about: list[str]
    frame: Any  # the rows as the table has them


def _rows(arguments: argparse.Namespace, model: Model) -> _Rows:
    source = _source(arguments, model)
    check_kind(model, source)
    unknown = arguments.unknown or ("missing" if arguments.file is None else "error")
    if arguments.example is None:
        return _batch(model, source, unknown)
    return _one(model, source, arguments.example, unknown)


def _source(arguments: argparse.Namespace, model: Model) -> Source:
    """The rows of FILE, or those that the run learned from."""
    pictures = model.preparation.pixels is not None
    if arguments.file is not None:
        name = None if pictures else model.preparation.target.name
        return read_source(arguments.file, arguments.target or name)
    settings = model.metadata["settings"]
    try:
        return read_source(settings["file"], arguments.target or settings["target"] or None)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{settings['file']}: the run learned from it, and it is not there; give FILE instead"
        ) from None


def _one(model: Model, source: Source, number: int, unknown: str) -> _Rows:
    """One row of the table."""
    count, target = len(source.target), model.preparation.target
    if not 1 <= number <= count:
        raise TableError(
            f"--example: expected 1 to {count} (rows of {source.name}, counted from 1), "
            f"got {number}"
        )
    row = source.take(np.array([number - 1]))
    if is_missing(row.target).any():
        raise TableError(f"--example {number}: {source.name} has no {target.name!r} in that row")
    try:
        x, y = model.preparation.encode(row.rows, unknown=unknown), target.encode(row.target)
    except TableError as error:  # which knows one row
        raise TableError(str(error).replace(", row 1:", f", row {number}:")) from None
    truth = row.target[0]
    predicted = model.predict(row.rows, unknown=unknown)[0]
    said = predicted if target.classes else f"{predicted:.4g}"
    about = f"example {number} of {source.name}: {target.name} is {truth}, predicted {said}"
    return _Rows(x[0], y[0], [about, _outputs(model)], row.rows)


def _batch(model: Model, source: Source, unknown: str) -> _Rows:
    """The first rows of the table that have a target."""
    there = np.flatnonzero(~is_missing(source.target))
    if not len(there):
        raise TableError(f"{source.name}: no row has a target")
    rows, target = source.take(there[:MOST_ROWS]), model.preparation.target
    count, of = len(rows.target), len(source.target)
    about = f"{count:,} of the {of:,} rows of {source.name} as one batch"
    left_out = f"; rows without {target.name!r} are not counted" if len(there) < of else ""
    x = model.preparation.encode(rows.rows, unknown=unknown)
    return _Rows(x, target.encode(rows.target), [about + left_out, _outputs(model)], rows.rows)


def _outputs(model: Model) -> str:
    """What the outputs stand for."""
    target = model.preparation.target
    if target.classes:
        named = [
            f"ŷ_{k} of {name}" for k, name in enumerate(target.classes[:MOST_CLASSES], start=1)
        ]
        more = ", …" if len(target.classes) > MOST_CLASSES else ""
        return f"probabilities: {', '.join(named)}{more}"
    if target.log:
        return f"ŷ is the logarithm of {target.name}"
    return f"ŷ is ({target.name} − {target.mean:.4g}) / {target.scale:.4g}"
