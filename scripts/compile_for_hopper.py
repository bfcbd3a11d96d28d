"""What does every kernel take on an H100, compiled for it on a machine without one?

    python scripts/compile_for_hopper.py [--only narrow,population] [--quick] [--keep FOLDER]

Each row is one kernel in one program, of one shape of its contract, called as users call it and
compiled by XLA, Triton and ptxas for sm_90a: registers and stack of a thread, spill stores and
loads, and shared memory of a block (of 227 KiB there are). A stack is memory where registers were
meant. Exit status 1 if a kernel has a stack or spills, or does not compile. What a kernel does not
take is shown with its reason, and does not fail. The last line of stdout is one JSON object.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import hopper
import jax
from hopper_cases import FAMILIES, Case, cases

COLUMNS = ("registers", "stack", "stores", "loads", "shared")


def row_of(kernel: hopper.Kernel) -> dict[str, Any]:
    """A row of the table, as the JSON object has it."""
    return {**kernel._asdict(), "spills": kernel.spills}


def compile_case(case: Case, folder: pathlib.Path) -> dict[str, Any]:
    """The kernels of a case, or why there are none."""
    record: dict[str, Any] = {"family": case.family, "shape": case.label, "kernels": []}
    began = time.perf_counter()
    try:
        with jax.default_matmul_precision(case.precision):
            found = hopper.compiled_kernels(case.fn, *case.args, folder=folder)
        record["kernels"] = [row_of(kernel) for kernel in found]
    except NotImplementedError as reason:
        record["refused"] = str(reason)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        record["failed"] = str(error)
    record["seconds"] = time.perf_counter() - began
    return record


def show(record: dict[str, Any]) -> None:
    """The lines of a case."""
    print(f"{record['shape']}   {record['seconds']:.1f} s")
    for row in record["kernels"]:
        print(
            f"   {row['name']:26}{row['registers']:10}{row['stack']:10}{row['spill_stores']:10}"
            f"{row['spill_loads']:10}{row['shared']:10}{row['threads'] // 32:7}"
            f"{'   SPILLS' if row['spills'] else ''}"
        )
    for word in ("refused", "failed"):
        if word in record:
            print(f"   {word}: {record[word]}")
    sys.stdout.flush()


def verdict(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON object: it is well if there are kernels, and all compile without spilling."""
    spilling = [r["shape"] for r in records if any(row["spills"] for row in r["kernels"])]
    failed = [r["shape"] for r in records if "failed" in r]
    compiled = sum(len(record["kernels"]) for record in records)
    return {
        "target": "sm_90a",
        "jax": jax.__version__,
        "ptxas": ptxas_version(),
        "rows": records,
        "kernels": compiled,
        "refused": sum("refused" in record for record in records),
        "spilling": spilling,
        "failed": failed,
        "ok": compiled > 0 and not spilling and not failed,
    }


def ptxas_version() -> str:
    """As ptxas says it: release and build."""
    words = [str(hopper.tools() / "bin" / "ptxas"), "--version"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return said.strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(FAMILIES), metavar="NAME,...")
    parser.add_argument("--quick", action="store_true", help="a part of the shapes")
    parser.add_argument("--keep", metavar="FOLDER", type=pathlib.Path, help="for PTX and logs")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if not set(only) <= set(FAMILIES):
        parser.error(f"--only: some of {', '.join(FAMILIES)}")
    if arguments.keep is not None and arguments.keep.exists():
        parser.error(f"--keep: {arguments.keep} is there already")
    if missing := hopper.missing():
        print(f"compile_for_hopper: {missing}", file=sys.stderr)
        return 2
    print("   " + f"{'kernel':26}" + "".join(f"{word:>10}" for word in COLUMNS) + f"{'warps':>7}")
    records = []
    with tempfile.TemporaryDirectory() as scratch:
        place = arguments.keep or pathlib.Path(scratch)
        for i, case in enumerate(cases(only, arguments.quick)):
            records.append(compile_case(case, place / f"{i:03}"))
            show(records[-1])
    record = verdict(records)
    print(json.dumps(record))
    return 0 if record["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
