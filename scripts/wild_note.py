# ruff: noqa: E501 (the prose is the note's)
"""Writes docs/rules-in-the-wild.md from what `scripts/wild.py` saw."""

import pathlib
from typing import Any

from wild_rules import SEVERITIES, Finding, Listed

HEAD = """# Rules in the wild

Custom rules (`custom_vjp`, `custom_jvp`, `custom_gradient`) that libraries on the package index ship,
run and looked at. Written by `scripts/wild --note docs/rules-in-the-wild.md`; the catalogue is
`scripts/wild_rules`. {rules_run} rules are in it to be run, and {rules_read_only} more lines were read.
{findings} findings: {by_severity}.

A finding is stated only with a line that reproduces it and with what is right from elsewhere: a closed
form, a series, or differences of the value in float64. In the lines `f32` is `jnp.float32`, `c64`
`jnp.complex64`, `slope(f, x)` differences by Richardson's extrapolation; 64-bit types are on. All of it is on CPU,
Python 3.11, at the versions given. *Known* means that an issue or a change request says so already; where
nothing is said, none is known to us: issues were searched for most of the rules whose first derivative is wrong.

These are good libraries. Most of what is below lies at the border of a domain, or in a second derivative
that few ask for; it is written down so that whoever meets it knows, and as the checker's homework.
"""

LINES = """This copy is of a run with `--lines`: each finding's line was run, and nothing was put to the checker. Without
it the script fills in the verdicts of the table of rules, and what the checker says of each finding.
"""

DELIBERATE = """## Deliberate, and no finding

Straight-through (flax's float8), clipped (rlax, kfac-jax's `stable_sqrt` near 0, brax's arcs), scaled (optax), projected (jax-md's
quaternions, its forces in real space), sampled (jaxopt's perturbations), relaxed on purpose
(jaxnnls and qpax with a large `target_kappa`), implicit reparameterization of samples (tfp, distrax: right for
expectations). Gradients by the order of Bessel functions (tfp) and by a, b, c of its hypergeometric function
are zero because its code says that there are none. And nothing is said where the value itself is an
approximation or overflows: `fresnel` beyond [−10, 10], `hyp2f1` below −1, `two_norm` in float32 at 1e30 or
1e−30, von Mises beyond a concentration of 10.5 (its value is an approximation, its derivative by x exact).
"""


def write_note(
    path: str,
    parts: dict[str, Any],
    findings: list[Finding],
    listed: list[Listed],
    summary: dict[str, Any],
) -> None:
    """The note, from the rows of each package."""
    counts = summary["findings_by_severity"]
    by_severity = ", ".join(
        f"{SEVERITIES[key].lower()} {counts[key]}" for key in SEVERITIES if key in counts
    )
    text = [HEAD.format(**summary, by_severity=by_severity)]
    asked = set(summary["checker"]) != {"not asked"}
    if not asked:
        text.append(LINES)
    text += [_section(key, parts, findings) for key in SEVERITIES if key in counts]
    text += [_checker(summary)] if asked else []
    text += [DELIBERATE, _rules(parts), _listed(listed)]
    pathlib.Path(path).write_text("\n".join(text))


def _section(key: str, parts: dict[str, Any], findings: list[Finding]) -> str:
    lines = [f"## {SEVERITIES[key]}", ""]
    for row in findings:
        if row.severity != key:
            continue
        part = parts[row.package]
        unseen = {"got": "?", "expected": "?", "reproduces": False, "checker": "not asked"}
        seen = next((r for r in part["findings"] if r["rule"] == row.rule), unseen)
        lines += [
            f"**{row.package} {part['version']}: {row.rule}** (`{row.where}`)",
            "",
            "```python",
            *([row.setup] if row.setup else []),
            row.line,
            "```",
            f"Got {_number(seen['got'])}, right is {_number(seen['expected'])}: {row.how}."
            + (f" Known: {row.known}." if row.known else "")
            + ("" if seen["reproduces"] else " *Does not reproduce here.*")
            + (
                ""
                if seen["checker"] == "not asked"
                else f" The checker {seen['checker']}{_said(seen)}."
            ),
            "",
        ]
    return "\n".join(lines)


def _number(text: str) -> str:
    return f"`{text}`"


def _said(seen: dict[str, Any]) -> str:
    said = seen.get("said") or []
    return f" (“{said[0][:110].rstrip()}”)" if said and seen["checker"] != "misses it" else ""


def _checker(summary: dict[str, Any]) -> str:
    counts = ", ".join(f"{word} {count}" for word, count in summary["checker"].items())
    return (
        "## What the checker says of them\n\nPointed at each finding: "
        f"{counts}. “Refuses” is an error before any verdict, such as a value that is not finite.\n"
    )


def _rules(parts: dict[str, Any]) -> str:
    lines = ["## All rules that were run", "", "| package | rule | called | ordinary | hard |"]
    lines.append("|---|---|---|---|---|")
    for package, part in parts.items():
        for row in part["rules"]:
            call = row["call"].replace("|", "\\|").replace("\n", " ")
            call = call if len(call) < 70 else call[:67] + "…"
            lines.append(
                f"| {package} {part['version']} | `{row['where']}` | `{call}` "
                f"| {row['ordinary']} | {row['hard']} |"
            )
    return "\n".join(lines) + "\n"


def _listed(listed: list[Listed]) -> str:
    lines = ["## Read, and not run", "", "| package | where | rule | why |", "|---|---|---|---|"]
    lines += [f"| {row.package} | `{row.where}` | {row.rule} | {row.why} |" for row in listed]
    return "\n".join(lines) + "\n"
