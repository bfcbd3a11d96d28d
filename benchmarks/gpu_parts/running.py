"""A part in a process of its own, within its time: how it ended, and what it found."""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from gpu_parts.part import Part

GRACE = 10.0  # seconds for a part to finish the point it is at, and to write it
DRY_LIMIT = 150.0  # seconds: a busy machine is as right
DRIVER = pathlib.Path(__file__).resolve().parent.parent / "gpu.py"


ASK = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        print(name)
"""


def platform() -> str | None:
    """What JAX calls the devices it has, asked in another process; None where there is no JAX."""
    if importlib.util.find_spec("jax") is None:
        return None
    command = [sys.executable, "-c", "import jax; print(jax.devices()[0].platform)"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "none"


def absent(modules: tuple[str, ...]) -> list[str]:
    """Those that cannot be imported; asked in another process, so that none stays here."""
    there = [name for name in modules if importlib.util.find_spec(name)]
    command = [sys.executable, "-c", ASK, *there]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise RuntimeError(f"importing {', '.join(there)} ended Python: {done.returncode}")
    broken = done.stdout.split("\n")
    return [name for name in modules if name not in there or name in broken]


def run(name: str, part: Part, folder: pathlib.Path, left: float, dry: bool) -> dict[str, Any]:
    """One part; the file it leaves, name.json, is read, and then removed.

    Returns:
      status (ok; failed: a point is an error or the process ended by itself before its end;
      stopped: its time was over between two points; killed: in the middle of one; skipped),
      why, seconds, and points.
    """
    missing = absent(part.needs) if part.needs else []
    if missing:
        return outcome("skipped", f"not there: {', '.join(missing)}")
    seconds = min((DRY_LIMIT if dry else part.limit), left - GRACE)
    if seconds < part.least:
        return outcome("skipped", f"{left:.0f} s left; it needs {part.least + GRACE:.0f}")
    path = folder / f"{name}.json"
    path.unlink(missing_ok=True)
    words = [sys.executable, DRIVER, "--part", name, "--file", path, "--seconds", seconds]
    start = time.monotonic()
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        print(f"\n==== {name}, at most {seconds:.0f} s", file=log, flush=True)
        status = ended([*map(str, words), *["--dry"] * dry], log, seconds + GRACE)
    found = {"points": [], "complete": False}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    word, why = verdict(status, found)
    return outcome(word, why, time.monotonic() - start, found["points"])


def outcome(
    status: str, why: str = "", seconds: float = 0.0, points: list[Any] | None = None
) -> dict[str, Any]:
    return {
        "status": status,
        "why": why,
        "seconds": round(seconds, 1),
        "points": points or [],
    }


def ended(words: list[str], log: Any, seconds: float) -> int | None:
    """The exit status of a command, or None where it was killed, with all that it started."""
    process = subprocess.Popen(
        words,
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also where this process itself is interrupted
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def verdict(status: int | None, found: dict[str, Any]) -> tuple[str, str]:
    errors = [point["error"] for point in found["points"] if "error" in point]
    if status is None:
        return "killed", "it went on beyond its limit"
    if errors:
        return "failed", f"{len(errors)} of {len(found['points'])} points: {errors[0]}"
    if status:
        return "failed", f"its process ended with status {status}; see log.txt"
    if not found["complete"]:
        return "stopped", f"its time was over after {len(found['points'])} points"
    return "ok", ""
