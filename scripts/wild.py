"""Runs the checker over custom rules that other libraries ship.

    python scripts/wild.py [--only PATTERN] [--lines] [--note FILE]

Each rule of the catalogue (`scripts/wild_rules`) is checked at ordinary inputs, by `check_rules`,
or by `check_gradients` where it is one of JAX's own, which `check_rules` leaves alone; then at hard
ones.
Each finding's line is run: does it still give what is stated, and is that still not what is right?
And the checker is pointed at it: does it see it? A package that does not import costs its own rows.
A child process does one package. The last line of stdout is one JSON object.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import time
import warnings
from typing import Any

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.getcwd()]

from wild_note import write_note  # noqa: E402
from wild_rules import MODULES, Finding, Listed, Rule  # noqa: E402

CHILD_SECONDS = 1500
ROWS = {  # which transforms show a finding of this kind
    "order2": ("grad of grad", "forward over reverse"),
    "transform": ("integer arguments", "float32 with x64 on", "jvp"),
    "hard": ("jvp",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="packages and rules to run")
    parser.add_argument("--note", metavar="FILE", help="write the note anew, from what was seen")
    parser.add_argument("--lines", action="store_true", help="only the findings' lines, no checker")
    parser.add_argument("--package", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rules, findings, listed = catalogue(options.only)
    if options.lines:
        findings = [row._replace(check=None) for row in findings]
    if options.package:
        part = one_package(options.package, [] if options.lines else rules, findings)
        print(json.dumps(part))
        return
    began = time.perf_counter()
    packages = list(dict.fromkeys(row.package for row in (*rules, *findings)))
    arguments = ["--only", options.only, *(["--lines"] if options.lines else [])]
    parts = {package: in_a_child(package, arguments) for package in packages}
    for package in parts if options.lines else ():
        parts[package]["rules"] = [unjudged(row) for row in rules if row.package == package]
    summary = summed(parts, listed, time.perf_counter() - began)
    if options.note:
        write_note(options.note, parts, findings, listed, summary)
    print(json.dumps({**summary, "packages": parts}))


def catalogue(only: str) -> tuple[list[Rule], list[Finding], list[Listed]]:
    """The rows that the pattern is found in."""
    modules = [importlib.import_module(f"wild_rules.{name}") for name in MODULES]

    def chosen(kind: str) -> list[Any]:
        rows = [row for module in modules for row in getattr(module, kind, ())]
        return [row for row in rows if re.search(only, " ".join(map(str, row)))]

    return chosen("RULES"), chosen("FINDINGS"), chosen("LISTED")


def unjudged(row: Rule) -> dict[str, Any]:
    """A rule in the note, where only the findings' lines were run."""
    return {"where": row.where, "call": row.call, "ordinary": "", "hard": ""}


def in_a_child(package: str, arguments: list[str]) -> dict[str, Any]:
    """What a process of its own says of one package."""
    command = [sys.executable, "-P", __file__, "--package", package, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_SECONDS)
        part = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        part = {"version": version(package), "error": f"took over {CHILD_SECONDS} s"}
    except (json.JSONDecodeError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        part = {"version": version(package), "error": f"the process ended: {last}"}
    part = {"rules": [], "findings": [], **part}
    show(package, part)
    return part


def show(package: str, part: dict[str, Any]) -> None:
    print(f"\n{package} {part['version']}{'  ' + part['error'] if part.get('error') else ''}")
    for row in part["rules"]:
        print(
            f"  {row['ordinary']:10} {row['hard']:10} {row['where'][-44:]:44}  {row['call'][:40]}"
        )
    for row in part["findings"]:
        state = "reproduces" if row["reproduces"] else "DOES NOT REPRODUCE"
        print(f"  {state}, checker {row['checker']}: {row['rule']}: {row['got']}", flush=True)


def summed(parts: dict[str, Any], listed: list[Listed], seconds: float) -> dict[str, Any]:
    """The counts of everything."""
    rules = [row for part in parts.values() for row in part["rules"]]
    findings = [row for part in parts.values() for row in part["findings"]]
    return {
        "rules_run": len(rules),
        "rules_read_only": len(listed),
        "verdicts": _counts(row["ordinary"] for row in rules),
        "hard_verdicts": _counts(row["hard"] for row in rules),
        "findings": len(findings),
        "findings_by_severity": _counts(row["severity"] for row in findings),
        "reproduced": sum(row["reproduces"] for row in findings),
        "checker": _counts(row["checker"] for row in findings),
        "seconds": round(seconds),
    }


def _counts(words: Any) -> dict[str, int]:
    words = list(words)
    return {word: words.count(word) for word in dict.fromkeys(words)}


# One package -------------------------------------------------------------------------------------


def one_package(package: str, rules: list[Rule], findings: list[Finding]) -> dict[str, Any]:
    """The rows of one package, run; what libraries print goes nowhere."""
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        return {
            "version": version(package),
            "rules": [run_rule(row) for row in rules if row.package == package],
            "findings": [run_finding(row) for row in findings if row.package == package],
        }


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def names(setup: str) -> dict[str, Any]:
    """What the expressions of a row may use."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    found = {"jax": jax, "jnp": jnp, "np": np, "f32": jnp.float32, "c64": jnp.complex64}
    found["slope"] = slope
    exec(setup, found)
    return found


def slope(fn: Any, x: float, h: float = 1e-3) -> Any:
    """(f(x + h) − f(x − h)) / 2h, taken to h → 0 by Richardson's extrapolation, in float64."""
    import jax.numpy as jnp
    import numpy as np

    table = []
    for k in range(4):
        step = h / 2**k
        row = [np.asarray((fn(jnp.float64(x + step)) - fn(jnp.float64(x - step))) / (2 * step))]
        for j in range(1, k + 1):
            row.append((4**j * row[j - 1] - table[-1][j - 1]) / (4**j - 1))
        table.append(row)
    return table[-1][-1]


def run_rule(row: Rule) -> dict[str, Any]:
    """One rule, at its ordinary inputs and at its hard ones."""
    began = time.perf_counter()
    try:
        found = names(row.setup)
        fn = eval(row.call, found)
        plain = eval(row.plain, found) if row.plain else None
        ordinary = [judged(fn, eval(args, found), row, plain) for args in row.ordinary]
        hard = [judged(fn, eval(args, found), row, plain) for args in row.hard]
    except Exception as error:  # it does not import, or is not what it was
        ordinary, hard = [("not run", [_last(error)], [])], []
    special = [text for _, _, texts in ordinary for text in texts]
    return {
        "where": row.where,
        "call": row.call,
        "ordinary": "deliberate" if row.deliberate else _worst(word for word, _, _ in ordinary),
        "hard": _worst([word for word, _, _ in hard] + ["WRONG"] * bool(special)),
        "said": [text for _, texts, _ in (*ordinary, *hard) for text in texts] + special,
        "deliberate": row.deliberate,
        "seconds": round(time.perf_counter() - began, 1),
    }


def judged(fn: Any, args: tuple, row: Rule, plain: Any) -> tuple[str, list[str], list[str]]:
    """(verdict, what is wrong, what is wrong at hard inputs) at one point."""
    import ffnn_jax as ffnn

    try:
        if row.package == "jax" or row.argnums is not None or plain is not None:
            report = ffnn.check_gradients(
                fn, args, argnums=row.argnums, reference=plain, transforms=()
            )
            return _word(report.ok), _wrong(report), []
        report = ffnn.check_rules(fn, args, hard=True)
    except Exception as error:
        return "not run", [_last(error)], []
    texts = [text for rule in report.rules for part in rule.reports for text in _wrong(part)]
    texts += [rule.reason for rule in report.rules if rule.reason]
    oks = [rule.ok for rule in report.rules]
    verdict = False if False in oks else True if True in oks else None
    hard = [f"{rule.name}: {finding}" for rule in report.rules for finding in rule.findings]
    return _word(verdict), texts, hard


def run_finding(row: Finding) -> dict[str, Any]:
    """Does its line still show it, and does the checker?"""
    result = {"rule": row.rule, "severity": row.severity, "reproduces": False, "expected": ""}
    try:
        found = names(row.setup)
    except Exception as error:
        return {**result, "got": f"does not import: {_last(error)}", "checker": "not run"}
    got = value_of(row.line, found)
    expected = value_of(row.expected, found)
    wrong = isinstance(got, str) or not _close(got, expected)
    same = row.severity == "imprecise" or _same(got, value_of(row.got, found))
    checker, said = pointed(row, found)
    shown = {"got": _shown(got), "expected": _shown(expected), "checker": checker, "said": said}
    return {**result, **shown, "reproduces": bool(same and wrong)}


def value_of(expression: str, found: dict[str, Any]) -> Any:
    """What an expression gives; the name of the exception, as a string, if it raises one."""
    try:
        value = eval(expression, found)
    except NameError:
        return expression  # the name of an exception itself
    except Exception as error:
        return type(error).__name__.lstrip("_")
    return value.__name__ if isinstance(value, type) else value  # as is TypeError


def pointed(row: Finding, found: dict[str, Any]) -> tuple[str, list[str]]:
    """(sees it, misses it, …; what it says) of the checker, pointed at a finding."""
    import ffnn_jax as ffnn

    if row.check is None:
        return "not asked", []
    try:
        fn, args = (eval(expression, found) for expression in row.check)
        plain = eval(row.plain, found) if row.plain else None
        rows = ROWS.get(row.severity, ())
        report = ffnn.check_gradients(fn, args, reference=plain, transforms=rows)
    except Exception as error:
        return "refuses", [_last(error)]
    word = {True: "misses it", False: "sees it", None: "is unsure"}[report.ok]
    texts = [f"{part.name}: {part.reason}" for part in report.transforms if part.verdict != "right"]
    if word == "misses it" and texts:
        word = "sees it"
    return word, _wrong(report) + texts


# Words -------------------------------------------------------------------------------------------


def _word(ok: bool | None) -> str:
    return {True: "right", False: "WRONG", None: "unsure"}[ok]


def _worst(words: Any) -> str:
    words = list(words)
    return next((w for w in ("WRONG", "unsure", "not run", "right") if w in words), "")


def _wrong(report: Any) -> list[str]:
    parts = (*report.leaves, *report.values)
    return [f"{part.path}: {part.diagnosis or part.note}" for part in parts if part.ok is not True]


def _last(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"


def _same(got: Any, stated: Any) -> bool:
    return got == stated if isinstance(got, str) else _close(got, stated)


def _close(got: Any, expected: Any) -> bool:
    import jax
    import numpy as np

    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=False)
    return all(
        not isinstance(b, str)
        and np.allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=0, equal_nan=True)
        for a, b in pairs
    )


def _shown(value: Any) -> str:
    import jax
    import numpy as np

    if isinstance(value, str):
        return f"raises {value}"
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(value)]
    texts = [" ".join(f"{x:.6g}" for x in np.ravel(leaf)) for leaf in leaves]
    return ", ".join(f"[{t}]" if a.ndim else t for t, a in zip(texts, leaves, strict=True))


if __name__ == "__main__":
    main()
