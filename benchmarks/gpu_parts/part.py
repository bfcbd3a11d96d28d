"""What a part of gpu.py is, and how what it found reaches the disk.

A part yields points, dictionaries that JSON can hold. After each of them the file of the part is
written anew, whole: what ends the process, a limit or a crash, leaves all points before it.
"""

import json
import os
import pathlib
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Point = dict[str, Any]


class Time(NamedTuple):
    """How long a part may go on, and in which form.

    Attributes:
      end: of `time.monotonic`, when to begin nothing more.
      dry: a short form, to see that it runs: no figure of it means anything.
    """

    end: float
    dry: bool

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


class Part(NamedTuple):
    """A part by what it needs.

    Attributes:
      points: takes the `Time` there is, and yields points.
      limit: seconds, after which it is ended.
      least: seconds; with less left than that it is not begun.
      needs: names of the modules it cannot do without.
    """

    points: Callable[[Time], Iterator[Point]]
    limit: float
    least: float
    needs: tuple[str, ...] = ()


def write(path: pathlib.Path, record: Any) -> None:
    """JSON, whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)


def collect(part: Part, path: pathlib.Path, seconds: float, dry: bool) -> int:
    """Runs a part in this process; exit status 1 where a point of it is an error."""
    allowed = Time(time.monotonic() + seconds, dry)
    record: dict[str, Any] = {"points": [], "complete": False}
    write(path, record)
    for point in part.points(allowed):
        record["points"].append(point)
        print(json.dumps(point), flush=True)
        write(path, record)
        if allowed.left() <= 0:
            break
    else:
        record["complete"] = True
        write(path, record)
    return int(any("error" in point for point in record["points"]))


def attempt(what: Point, measure: Callable[..., Point], *args: Any) -> Point:
    """The point `what` with what was measured, or with the error: the others go on."""
    try:
        return what | measure(*args)
    except Exception as error:  # whatever it is, it belongs to this point
        traceback.print_exc()
        return what | {"error": f"{type(error).__name__}: {error}"[:600]}
