"""`train`: from a file to a model and a report, in a run folder."""

import argparse
import dataclasses
import os
import pathlib
import sys
from typing import Any

import jax

from ffnn_jax.cli.joined import add_processes, all_devices, join
from ffnn_jax.cli.progress import Progress
from ffnn_jax.processes import Preempted, agree, all_or_none, exchange, from_first
from ffnn_jax.tabular.experiment import Setup, set_up
from ffnn_jax.tabular.run_folder import RunFolder, new_run, open_run
from ffnn_jax.tabular.settings import NAMES, Settings, read_settings
from ffnn_jax.tabular.sources import read_source
from ffnn_jax.tabular.tables import TableError
from ffnn_jax.tabular.trainer import train_in

EXAMPLES = """\
examples:
  ffnn train titanic.csv --target survived
  ffnn train houses.parquet --target price --hidden 256 128 --epochs 500
  ffnn train train-images-idx3-ubyte.gz          the labels are found by their name
  ffnn train digits                              one of scikit-learn's real sets
  ffnn train --config runs/titanic/config.toml --seed 1
  ffnn train --resume --run runs/titanic         goes on after a crash or Ctrl-C
  srun ffnn train big.parquet --target y --processes      one training on several hosts
"""


def add(commands: Any) -> None:
    """The command and its words: those of its own, and one for each setting."""
    parser = commands.add_parser(
        "train",
        help="a network from the rows of a file, with a report",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for field in dataclasses.fields(Settings):
        _add_setting(parser, field)
    parser.add_argument("--run", metavar="DIR", dest="folder", help="the run folder (runs/NAME)")
    parser.add_argument("--config", metavar="TOML", help="a file of settings; flags go before it")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run")
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    add_processes(parser)
    parser.set_defaults(run=_train, failed=1)


def _add_setting(parser: argparse.ArgumentParser, field: Any) -> None:
    """A flag for a setting; one that is not given is not among the arguments."""
    about, flag = field.metadata["help"], "--" + field.name.replace("_", "-")
    options: dict[str, Any] = {"help": about, "default": argparse.SUPPRESS}
    if field.name == "file":
        parser.add_argument("file", nargs="?", metavar="FILE", **options)
        return
    names = [name for name in NAMES.get(field.name, ()) if name]
    if isinstance(field.default, bool):
        options["action"] = argparse.BooleanOptionalAction
    elif isinstance(field.default, tuple):
        numbers = field.name == "hidden"
        options |= {"nargs": "*", "type": int if numbers else str}
        options["metavar"] = "N" if numbers else "COLUMN"
    else:
        kind = type(field.default)
        options |= {"type": kind, "metavar": {int: "N", float: "X", str: "NAME"}[kind]}
    if names:
        options |= {"choices": names, "help": f"{about}: {', '.join(names)}"}
    options["help"] += f" ({_written(field.default)})" if field.default != "" else ""
    parser.add_argument(flag, **options)


def _written(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(map(str, default)) or "none"
    return {True: "yes", False: "no"}[default] if isinstance(default, bool) else f"{default}"


def _train(arguments: argparse.Namespace) -> int:
    joint = join(arguments)
    with all_or_none("train", joint=joint):
        settings, setup = _setup(arguments)
    first = not joint or jax.process_index() == 0
    if joint:
        agree("train", {**dataclasses.asdict(settings), "threads": None})
    with all_or_none("train", joint=joint):
        folder = _folder(arguments, settings, first)
    folder = RunFolder(pathlib.Path(from_first(str(folder and folder.path))))
    options = {"resume": arguments.resume, "report": not arguments.no_report}
    again = f"ffnn train --resume --run {folder.path}"
    try:
        with Progress(quiet=arguments.quiet or not first) as progress:
            options |= {"say": progress.say, "show": progress.show}
            train_in(folder, setup, **options, mesh=all_devices() if joint else None)
        exchange("end of train", None)  # the first writes the report
    except KeyboardInterrupt:
        if first:
            print(f"ffnn train: interrupted; {again} goes on from here", file=sys.stderr)
        return 130
    except Preempted:
        if first:
            print(f"ffnn train: told to end, and saved; {again} goes on from here", file=sys.stderr)
        return 0
    return 0


def _setup(arguments: argparse.Namespace) -> tuple[Settings, Setup]:
    """What to do, and with which rows; read by every process."""
    names = [field.name for field in dataclasses.fields(Settings)]
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    settings = _begun(arguments, given) if arguments.resume else _new(arguments, given)
    os.environ["NPROC"] = str(settings.threads)  # XLA reads it when it starts
    return settings, set_up(settings, read_source(settings.file, settings.target or None))


def _new(arguments: argparse.Namespace, given: dict[str, Any]) -> Settings:
    settings = read_settings(arguments.config, given)
    if not settings.file:
        raise TableError("give the FILE to learn from; ffnn train --help has examples")
    return dataclasses.replace(settings, threads=settings.threads or _cores())


def _folder(arguments: argparse.Namespace, settings: Settings, first: bool) -> RunFolder | None:
    """The run folder; a new one is made by the first process."""
    if arguments.resume:
        return open_run(arguments.folder)
    if first:
        return new_run(arguments.folder, pathlib.Path(settings.file).name.split(".")[0])
    return None


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begun(arguments: argparse.Namespace, given: dict[str, Any]) -> Settings:
    """The settings of the run in --run, of which only the number of epochs can change."""
    if arguments.folder is None:
        raise TableError("--resume goes on with the run in --run DIR")
    folder = open_run(arguments.folder)
    before = read_settings(folder.config, {})
    settings = read_settings(folder.config, given)
    for field in dataclasses.fields(Settings):
        was, now = getattr(before, field.name), getattr(settings, field.name)
        if was != now and field.name != "epochs":
            raise TableError(
                f"--resume: {folder.path} was begun with {field.name} = {was!r}, not {now!r}; "
                "only --epochs can change"
            )
    return settings
