"""`export`: a model as a file that runs elsewhere."""

import argparse
import pathlib
from typing import Any

from ffnn_jax import interop
from ffnn_jax.tabular.models import load_model, model_file, raw_network

SUFFIXES = {"onnx": ".onnx", "jax": ".jax", "safetensors": ".safetensors"}


def add(commands: Any) -> None:
    """The command and its words."""
    parser = commands.add_parser(
        "export",
        help="a model as a file that runs elsewhere",
        description="The exported network has the scaling of the columns inside: its inputs are "
        "numbers as they stand in the table (the column's mean where one is missing), and 1 or 0 "
        "for each category and for “is missing”, in the order that ffnn info --json lists.",
    )
    parser.add_argument("model", metavar="MODEL", help="a run folder, or a model.npz")
    parser.add_argument("--format", choices=list(SUFFIXES), default="onnx")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to (beside the model)")
    parser.set_defaults(run=_export, failed=1)


def _export(arguments: argparse.Namespace) -> int:
    file = model_file(arguments.model)
    model = load_model(file)
    net, params = raw_network(model)
    output = pathlib.Path(arguments.output or file.with_suffix(SUFFIXES[arguments.format]))
    if arguments.format == "onnx":
        about = {"preparation": model.preparation.to_dict()}
        interop.save_onnx(output, net, params, metadata=about)
    elif arguments.format == "jax":
        interop.save_exported(output, interop.export_apply(net, params))
    else:
        interop.save_safetensors(output, net, params)
    names = model.preparation.input_names
    print(
        f"{output}: {len(names)} inputs, {net.sizes[-1]} outputs ({', '.join(_outputs(model)[:8])})"
    )
    return 0


def _outputs(model: Any) -> list[str]:
    target = model.preparation.target
    one = f"log({target.name})" if target.log else target.name
    return [f"p({name})" for name in target.classes] or [one]
