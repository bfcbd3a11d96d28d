"""The lines of ffnn_jax/kernels/measured.py that a result of scripts/gpu gives.

    python benchmarks/gpu_record.py benchmarks/results/gpu-….json

Prints one `*of_run(card, source, …),` for its RECORD: a row of each shape at which a kernel was
timed beside XLA, wins and losses alike, for a kernel is chosen only between points that won. Of
parts that did not come to their end nothing is taken, and a result without the parts that show
that the kernels are right on that card is refused, as one of `--dry` is.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ffnn_jax.kernels.measured import Measurement, of_run

FIRST = ("card", "kernels", "gradients")  # on which card, and are the kernels right there
FIELDS = Measurement._fields[: Measurement._fields.index("ratio")]  # those that say what it is


def rows_of(result: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Of each comparison of a kernel with XLA the fields of a `Measurement` before its card."""
    for part in complete(result).values():
        for point in part["points"]:
            speedup = point.get("speedups", {}).get("pallas")
            if speedup:
                # rounded down: 1.1996 is no 1.2
                figures = (int(speedup[end] * 1000) / 1000 for end in ("ratio", "lower"))
                yield (*(point[field] for field in FIELDS), *figures)


def complete(result: dict[str, Any]) -> dict[str, Any]:
    """The parts that came to their end without an error."""
    return {name: part for name, part in result["parts"].items() if part["status"] == "ok"}


def card_of(result: dict[str, Any]) -> str:
    """The device_kind of the card."""
    if result["dry"]:
        raise ValueError("a result of --dry says nothing about a GPU")
    parts = complete(result)
    absent = [name for name in FIRST if name not in parts]
    if absent:
        raise ValueError(f"not complete: {', '.join(absent)}")
    for point in parts["card"]["points"]:
        if point.get("platform") == "gpu":
            return point["device"]
    raise ValueError("there is no card in it")


def measurements(path: pathlib.Path) -> tuple[Measurement, ...]:
    """All of a file."""
    result = json.loads(path.read_text(encoding="utf-8"))
    return of_run(card_of(result), path.name, *rows_of(result))


def lines(path: pathlib.Path) -> str:
    """The same as text for the table; of what is not taken a comment."""
    result = json.loads(path.read_text(encoding="utf-8"))
    states = {name: part["status"] for name, part in result["parts"].items()}
    left = (f"    # {path.name}: {n} is {s}: not taken\n" for n, s in states.items() if s != "ok")
    return "".join(left) + table(path.name, measurements(path))


def table(name: str, found: tuple[Measurement, ...]) -> str:
    """The lines of one file's measurements."""
    if not found:
        return f"    # {name}: no kernel was timed beside XLA\n"
    head = f'    *of_run(\n        "{found[0].card}",\n        "{found[0].source}",\n'
    rows = (f"        {shown(m[:-2])},\n" for m in found)
    return f"{head}{''.join(rows)}    ),\n"


def shown(row: tuple[Any, ...]) -> str:
    return f"({', '.join(json.dumps(value) for value in row)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, nargs="+")
    for path in parser.parse_args().results:
        try:
            print(lines(path), end="")
        except (OSError, ValueError, KeyError) as error:
            raise SystemExit(f"gpu_record: {path}: {error}") from None


if __name__ == "__main__":
    main()
