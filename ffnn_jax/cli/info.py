"""`info`: what is in a model file or a run folder."""

import argparse
import json
import pathlib
from typing import Any

from ffnn_jax.checkpoint import Checkpoints
from ffnn_jax.checkpoint.archive import read_manifest
from ffnn_jax.metrics import read_metrics
from ffnn_jax.tabular.figures import in_words
from ffnn_jax.tabular.models import load_model, model_file
from ffnn_jax.tabular.preparation import Category
from ffnn_jax.tabular.run_folder import RunFolder


def add(commands: Any) -> None:
    """The command and its words."""
    parser = commands.add_parser("info", help="what is in a model file or a run folder")
    parser.add_argument("model", metavar="MODEL", help="a run folder, or a model.npz")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=_info, failed=1)


def _info(arguments: argparse.Namespace) -> int:
    path = pathlib.Path(arguments.model)
    found = {}
    if path.is_dir():
        found["run"] = _run(RunFolder(path))
    if not path.is_dir() or model_file(path).exists():
        found["model"] = _model(path)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for part in found.values():
        for name, value in part.items():
            if name == "inputs":  # of pictures, one a pixel
                continue
            shown = value if not isinstance(value, list | dict) else _listed(value)
            print(f"{name:14} {shown}")
    return 0


def _run(folder: RunFolder) -> dict[str, Any]:
    """How far a run is, and which of its checkpoints verify."""
    records = read_metrics(folder.metrics) if folder.metrics.exists() else []
    checkpoints = Checkpoints(folder.path / "checkpoints")
    files = checkpoints.files()
    newest = checkpoints.newest(files) if files else None
    step = "none" if newest is None else f"step {newest.manifest['step']}"
    return {
        "folder": str(folder.path),
        "epochs": len(records),
        "checkpoints": f"{len(files)}, the newest that verifies: {step}",
        "skipped": list(newest.skipped) if newest else [],
    }


def _model(path: pathlib.Path) -> dict[str, Any]:
    model = load_model(path)
    net, target = model.net, model.preparation.target
    file = model_file(path)
    loss = net.loss if isinstance(net.loss, str) or net.loss is None else net.loss.name
    return {
        "file": str(file),
        "network": " → ".join(map(str, net.sizes)),
        "activation": ", ".join(dict.fromkeys(net.activations)) or "none",
        "output": f"{net.output}, {loss}",
        "target": target.name,
        "classes": list(target.classes),
        "columns": _columns(model),
        "inputs": list(model.preparation.input_names),
        "figures": in_words(target, model.metadata["figures"]),
        "measured on": f"{model.metadata['figures']['on']} rows",
        "trained on": f"{model.metadata['trained_on']} rows",
        "versions": read_manifest(file)["libraries"],
    }


def _columns(model: Any) -> list[str]:
    if model.preparation.pixels is not None:
        return [
            "pictures of {} pixels".format(" × ".join(map(str, model.preparation.pixels.shape)))
        ]
    return [
        f"{column.name} ({len(column.values)} categories)"
        if isinstance(column, Category)
        else column.name
        for column in model.preparation.columns
    ]


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return ", ".join(map(str, value)) or "none"
