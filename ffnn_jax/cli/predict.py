"""`predict` and `evaluate`: what a model says of rows, and how right it is."""

import argparse
import csv
import io
import json
import sys
from typing import Any, TextIO

import numpy as np

from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.tabular.figures import in_words, prediction_figures
from ffnn_jax.tabular.models import Model, load_model
from ffnn_jax.tabular.sources import Source, read_source
from ffnn_jax.tabular.tables import TableError
from ffnn_jax.tabular.values import is_missing


def add(commands: Any) -> None:
    """Both commands and their words."""
    predict = commands.add_parser(
        "predict",
        help="what a model says of the rows of a file",
        description="Writes a CSV: for each row the prediction, and of classes their "
        "probabilities if asked.",
    )
    _add_model_and_rows(predict)
    predict.add_argument("-o", "--output", metavar="CSV", help="where to (standard output)")
    predict.add_argument(
        "--probabilities", action="store_true", help="of every class, a column each"
    )
    predict.set_defaults(run=_predict, failed=1)
    evaluate = commands.add_parser(
        "evaluate", help="how right a model is on the rows of a file that has the target"
    )
    _add_model_and_rows(evaluate)
    evaluate.add_argument("--target", help="the column (as in training), or IDX file of labels")
    evaluate.add_argument("--json", action="store_true", help="print the figures as JSON")
    evaluate.set_defaults(run=_evaluate, failed=1)


def _add_model_and_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a run folder, or its model.npz")
    parser.add_argument("file", metavar="FILE", help="a CSV, Parquet, npz or IDX file, or a set")
    parser.add_argument(
        "--unknown",
        choices=("error", "missing"),
        default="error",
        help="what a category is that training did not have: an error, or a missing value (error)",
    )


def _predict(arguments: argparse.Namespace) -> int:
    model = load_model(arguments.model)
    source = read_source(arguments.file, required=False)
    check_kind(model, source)
    yhat = model.outputs(source.rows, unknown=arguments.unknown)
    if arguments.output is None:
        _write(sys.stdout, model, yhat, arguments.probabilities)
        return 0
    text = io.StringIO()
    _write(text, model, yhat, arguments.probabilities)
    content = text.getvalue().encode()
    replace_file(arguments.output, lambda file: file.write(content))
    print(f"{len(yhat)} predictions in {arguments.output}", file=sys.stderr)
    return 0


def check_kind(model: Model, source: Source) -> None:
    """Pictures for a model of pictures, columns for one of columns."""
    pictures = isinstance(source.rows, np.ndarray)
    if pictures != (model.preparation.pixels is not None):
        expected = "pictures" if not pictures else "a table of columns"
        raise TableError(f"{source.name}: the model was trained on {expected}")


def _write(file: TextIO, model: Model, yhat: np.ndarray, probabilities: bool) -> None:
    target = model.preparation.target
    writer = csv.writer(file, lineterminator="\n")
    if probabilities and not target.classes:
        raise TableError(f"--probabilities: {target.name!r} is a quantity, and has none")
    columns = [f"p({name})" for name in target.classes] if probabilities else []
    writer.writerow([target.name, *columns])
    for value, row in zip(target.decode(yhat), yhat, strict=True):
        prediction = value if target.classes else f"{value:.7g}"
        writer.writerow([prediction, *(f"{p:.6g}" for p in row[: len(columns)])])


def _evaluate(arguments: argparse.Namespace) -> int:
    model = load_model(arguments.model)
    target = model.preparation.target
    pictures = model.preparation.pixels is not None
    name = arguments.target or (None if pictures else target.name)
    source = read_source(arguments.file, name)
    check_kind(model, source)
    source = source.take(np.flatnonzero(~is_missing(source.target)))
    if not len(source.target):
        raise TableError(f"{source.name}: no row has a target")
    y = target.encode(source.target)
    figures = prediction_figures(target, model.outputs(source.rows, unknown=arguments.unknown), y)
    print(json.dumps(figures) if arguments.json else in_words(target, figures))
    return 0
