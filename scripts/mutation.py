"""Does the checker find the planted mistakes, and does it leave right rules alone?

    python scripts/mutation.py [--jobs 2] [--sample 40 --seed 0] [--only PATTERN] [--no-peers]

Every case of tests/corpus, a wrong rule or a right one that looks odd, in each of its dtypes, is
put to `check_gradients` twice: alone, and with the plain function as reference=. The tables give

  killed        wrong rules found wrong; unsure and a crash of the checker are misses
  false alarms  right rules found wrong, and crashes; each is listed
  unsure        rules it could not decide; each is listed
  named         of the rules killed, those whose planted mistake was named, by its leaf's diagnosis

for each pass, a row for each fault with the words that were said in its place, and then the same
for jax.test_util.check_grads (reverse mode, order 1, default tolerances, on all outputs) and for
chex.assert_numerical_grads. Exit status 1 unless in both passes the kill rate is at least 99 %, no
right rule alarms and 85 % of the mistakes are named. The last line of stdout is one JSON object.
"""

import argparse
import collections
import concurrent.futures
import json
import multiprocessing
import pathlib
import random
import sys
import time
import warnings
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import jax  # noqa: E402
from corpus import CASES  # noqa: E402
from corpus.judging import CRASH, PEERS, UNSURE, WRONG, Outcome, judge, peer  # noqa: E402

PASSES = ("alone", "with reference")
BARS = {"killed": 0.99, "alarms": 0, "named": 0.85}
CHUNK = 12  # cases a process takes at a time; the compiled functions go with each chunk


class Result(NamedTuple):
    """One case in one dtype, put to one judge."""

    name: str
    fault: str | None
    dtype: str
    judge: str
    outcome: Outcome


def run_chunk(names: list[str], peers: bool) -> list[Result]:
    """Every judge's outcome on some cases."""
    warnings.simplefilter("ignore")
    cases = {case.name: case for case in CASES}
    found = []
    for case in (cases[name] for name in names):
        for dtype in case.dtypes:
            outcomes = {which: judge(case, dtype, which == PASSES[1]) for which in PASSES}
            if peers:
                outcomes |= {name: peer(name, case, dtype) for name in PEERS}
            found += [Result(case.name, case.fault, dtype, *item) for item in outcomes.items()]
    jax.clear_caches()
    return found


def run(cases, jobs: int, peers: bool) -> list[Result]:
    """All results, in the order of the cases; progress on stderr."""
    names = [case.name for case in cases]
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    results, began = [], time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        for n, done in enumerate(pool.map(run_chunk, chunks, [peers] * len(chunks)), start=1):
            results += done
            spent = time.perf_counter() - began
            print(f"\r{n}/{len(chunks)} chunks, {spent:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def label(result: Result) -> str:
    return f"{result.name} [{result.dtype}]"


def summary(results: list[Result]) -> dict:
    """The figures of one judge."""
    wrong = [r for r in results if r.fault is not None]
    right = [r for r in results if r.fault is None]
    killed = [r for r in wrong if r.outcome.verdict == WRONG]
    named = [r for r in killed if r.outcome.faults[:1] == (r.fault,)]
    return {
        "wrong": len(wrong),
        "killed": len(killed),
        "kill rate": share(len(killed), len(wrong)),
        "right": len(right),
        "alarms": [label(r) for r in right if r.outcome.verdict in (WRONG, CRASH)],
        "missed": [label(r) for r in wrong if r.outcome.verdict != WRONG],
        "unsure": [label(r) for r in results if r.outcome.verdict == UNSURE],
        "crashes": [f"{label(r)}: {r.outcome.note}" for r in results if r.outcome.verdict == CRASH],
        "refused": sum(r.outcome.verdict == "refused" for r in results),
        "named": share(len(named), len(killed)),
    }


def counts(figures: dict) -> dict:
    """The figures with the length of each list in its place."""
    return {what: len(of) if isinstance(of, list) else of for what, of in figures.items()}


def by_fault(results: list[Result]) -> dict[str, dict]:
    """For each planted fault: how many, how many killed, and what was said instead of its name."""
    rows = {}
    for fault in sorted({r.fault for r in results if r.fault is not None}):
        mine = [r for r in results if r.fault == fault]
        killed = [r for r in mine if r.outcome.verdict == WRONG]
        said = collections.Counter((r.outcome.faults or ("nothing",))[0] for r in killed)
        rows[fault] = {
            "planted": len(mine),
            "killed": len(killed),
            "named": said.pop(fault, 0),
            "instead": dict(said.most_common()),
        }
    return rows


def passes(figures: dict) -> bool:
    """Whether one pass meets the bars; a figure with nothing to count does."""
    killed, named = figures["kill rate"], figures["named"]
    return (
        (killed is None or killed >= BARS["killed"])
        and len(figures["alarms"]) <= BARS["alarms"]
        and (named is None or named >= BARS["named"])
    )


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def print_judges(figures: dict[str, dict]) -> None:
    columns = ("wrong", "killed", "%", "right", "alarms", "unsure", "refused", "named %")
    print(f"\n{'judge':16}" + "".join(f"{column:>9}" for column in columns))
    for name, row in figures.items():
        named = percent(row["named"]) if name in PASSES else "–"
        cells = (
            row["wrong"], row["killed"], percent(row["kill rate"]), row["right"],
            len(row["alarms"]), len(row["unsure"]), row["refused"], named,
        )  # fmt: skip
        print(f"{name:16}" + "".join(f"{cell:>9}" for cell in cells))


def print_faults(which: str, rows: dict[str, dict]) -> None:
    print(f"\n{which}: by planted fault\n{'fault':20}  planted  killed  named  said instead")
    for fault, row in rows.items():
        instead = ", ".join(f"{word} {count}" for word, count in row["instead"].items())
        print(f"{fault:20}  {row['planted']:7}  {row['killed']:6}  {row['named']:5}  {instead}")


def print_lists(which: str, figures: dict) -> None:
    for what in ("alarms", "missed", "unsure", "crashes"):
        if figures[what]:
            print(f"\n{which}: {what}")
            print("\n".join(f"  {line}" for line in figures[what]))


def print_unnamed(which: str, results: list[Result]) -> None:
    """Each planted fault that was found, under another name."""
    print(f"\n{which}: named otherwise")
    for r in results:
        words = r.outcome.faults
        if r.fault is not None and r.outcome.verdict == WRONG and words[:1] != (r.fault,):
            print(f"  {label(r)}: {r.fault}, said {(words or ('nothing',))[0]}")


def chosen(arguments) -> list:
    cases = [c for c in CASES if arguments.only in c.name or arguments.only == c.fault]
    if not cases:
        raise SystemExit(f"no case's name contains {arguments.only!r}, and no fault is called so")
    if arguments.sample is not None and arguments.sample < len(cases):
        keep = set(random.Random(arguments.seed).sample(range(len(cases)), arguments.sample))
        cases = [case for i, case in enumerate(cases) if i in keep]
    return cases


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=positive, help="so many cases, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=positive, default=1, help="processes")
    parser.add_argument("--only", default="", help="cases whose name contains this, or of a fault")
    parser.add_argument("--no-peers", action="store_true", help="without check_grads and chex")
    arguments = parser.parse_args()
    cases, began = chosen(arguments), time.perf_counter()
    results = run(cases, arguments.jobs, not arguments.no_peers)
    judges = PASSES if arguments.no_peers else (*PASSES, *PEERS)
    per_judge = {name: [r for r in results if r.judge == name] for name in judges}
    figures = {name: summary(some) for name, some in per_judge.items()}
    faults = {which: by_fault(per_judge[which]) for which in PASSES}
    planted = sum(case.fault is not None for case in cases)
    print(f"{planted} planted faults and {len(cases) - planted} right rules; jax {jax.__version__}")
    for which in PASSES:
        print_faults(which, faults[which])
        print_lists(which, figures[which])
        print_unnamed(which, per_judge[which])
    print_judges(figures)
    ok = all(passes(figures[which]) for which in PASSES)
    print("the bars are met" if ok else f"the bars are not met: {BARS}")
    record = {
        "ok": ok,
        "jax": jax.__version__,
        "planted": planted,
        "right rules": len(cases) - planted,
        "judges": {name: figures[name] for name in PASSES}
        | {name: counts(figures[name]) for name in judges if name in PEERS},
        "faults": faults,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(record, ensure_ascii=False))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
