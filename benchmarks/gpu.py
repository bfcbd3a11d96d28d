"""What holds on a GPU, and what is faster there: one run of less than nine minutes on one card.

    python benchmarks/gpu.py FOLDER [--dry] [--minutes 9] [--only card,narrow]      (scripts/gpu)

Nothing is installed: it needs jax, numpy, optax and chex, uses what is there of flax, equinox,
torch, pytest, hypothesis and xdist, and says what is not. The parts come in order of worth, each in
a process of its own with a limit of its own; one that fails or takes too long leaves the others to
run, and one that would not fit into the time is left out.

  card       the card as it is, versions; a copy and large products: the ceilings of this run
  kernels    the tests of the kernels, in full float32
  gradients  by hand, jax.grad and kernel beside float64: errors in full float32, TF32, bfloat16
  narrow     narrow networks: kernel, XLA, jax.grad; forward pass and training step
  many       1 to 16,384 networks: kernel and vmap
  networks   A to H: ours, jax.grad, flax, equinox, torch, torch.compile
  memory     temporary bytes, and the most that the device held
  suite      a part of the test suite, in full float32

Times: variants take turns, in an order drawn anew each round; all are warm; every call is waited
for; medians with a 95 % interval by order statistics; compile time apart. `of_ceiling` is the least
time that the work can take on this card ÷ the time it took. FOLDER/gpu.json is written anew, whole,
after each part; FOLDER/log.txt has what the parts said. `--dry` runs all of it in a short form on
the CPU; no figure of that means anything. The limits of the parts grow with `--minutes`. The last
line of stdout is one JSON object; its `ok`, and the exit status, say whether every part that was
asked for came to its end without an error.
"""

import argparse
import datetime
import hashlib
import importlib
import json
import os
import pathlib
import signal
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from gpu_parts import ceiling, running
from gpu_parts.part import Part, collect, write

PARTS = {  # module, points, limit, least, needs
    "card": ("card", "points", 40, 5, ()),
    "kernels": ("pytests", "points_of_kernels", 75, 20, ("pytest",)),
    "gradients": ("gradients", "points", 60, 20, ()),
    "narrow": ("narrow", "points", 120, 20, ()),
    "many": ("many", "points", 80, 20, ()),
    "networks": ("networks", "points", 90, 20, ()),
    "memory": ("memory", "points", 40, 15, ()),
    "suite": ("pytests", "points_of_suite", 90, 30, ("pytest",)),
}
NEEDED = ("jax", "numpy", "optax", "chex")  # by ffnn_jax itself
USED = ("flax", "equinox", "torch", "pytest", "hypothesis", "xdist")
MINUTES = 9.0  # for which the limits are
ROOT = pathlib.Path(__file__).resolve().parent.parent
ME = "scripts/gpu"
HINT = f"this is {sys.executable}, and PYTHON=path names another"


def part_of(name: str, minutes: float = MINUTES) -> Part:
    """The part in a run of so long; its module is imported only where its points are asked for."""
    module, points, limit, least, needs = PARTS[name]

    def imported(allowed: Any) -> Any:
        return getattr(importlib.import_module(f"gpu_parts.{module}"), points)(allowed)

    return Part(imported, limit * minutes / MINUTES, least, needs)


def source() -> str:
    """A digest of the library's files: what was measured."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "ffnn_jax").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run_all(
    folder: pathlib.Path, names: list[str], minutes: float, dry: bool, missing: list[str]
) -> dict[str, Any]:
    """Every part, and after each of them gpu.json."""
    end = time.monotonic() + 60 * minutes
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dry": dry,
        "source": source(),
        "missing": missing,
        "parts": {},
    }
    for name in names:
        part = running.run(name, part_of(name, minutes), folder, end - time.monotonic(), dry)
        found = ceiling.ceilings_of(record["parts"].get("card", part)["points"])
        part["points"] = [ceiling.with_fractions(p, found) for p in part["points"]]
        record["parts"][name] = part
        write(folder / "gpu.json", record)
        print(
            f"{name:10}{part['status']:9}{part['seconds']:6.1f} s"
            f"{len(part['points']):5} points  {part['why']}".rstrip(),
            flush=True,
        )
    return record


def look_around(dry: bool) -> list[str]:
    """The libraries that are not here; ends where nothing goes without one, or without a GPU."""
    platform = None if dry else running.platform()
    if platform not in (None, "gpu"):
        raise SystemExit(f"{ME}: JAX has no GPU here, but {platform}; {HINT}; --dry runs on a CPU")
    needed = running.absent(NEEDED)
    if needed:
        raise SystemExit(f"{ME}: nothing goes without {', '.join(needed)}; {HINT}")
    missing = running.absent(USED)
    print(f"not here: {', '.join(missing) or 'nothing'}", flush=True)
    return missing


def prepare(folder: pathlib.Path, dry: bool) -> None:
    """The folder, seen to be writable; the log begun; and what every part's process is told."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("", encoding="utf-8")
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes share the card
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    if dry:
        os.environ["JAX_PLATFORMS"] = "cpu"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=ME, description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, nargs="?", help="for gpu.json and log.txt")
    parser.add_argument("--dry", action="store_true", help="a short form, on the CPU")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    parser.add_argument("--only", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.names = arguments.only.split(",") if arguments.only else list(PARTS)
    unknown = [name for name in arguments.names if name not in PARTS]
    if unknown:
        parser.error(f"--only: {unknown[0]!r} is not one of {', '.join(PARTS)}")
    if arguments.folder is None and arguments.part is None:
        parser.error("FOLDER: where to write")
    if not arguments.minutes > 0:
        parser.error("--minutes: above 0")
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.part:
        part = part_of(arguments.part)
        raise SystemExit(collect(part, arguments.file, arguments.seconds, arguments.dry))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part ends too
    start, folder = time.monotonic(), arguments.folder.resolve()
    try:
        prepare(folder, arguments.dry)
    except OSError as error:
        raise SystemExit(f"{ME}: cannot write to {folder}: {error.strerror}") from None
    missing = look_around(arguments.dry)
    record = run_all(folder, arguments.names, arguments.minutes, arguments.dry, missing)
    statuses = {name: part["status"] for name, part in record["parts"].items()}
    ok = {*statuses.values()} == {"ok"}
    summary = {"ok": ok, "dry": arguments.dry, "seconds": round(time.monotonic() - start, 1)}
    print(json.dumps(summary | {"parts": statuses, "file": str(folder / "gpu.json")}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
