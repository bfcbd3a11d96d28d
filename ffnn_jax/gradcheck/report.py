"""What a check found: a verdict for each leaf, and the table to read."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

WIDTH = 100  # columns of a table

FAULTS = (
    "raises",
    "wrong-shape",
    "noise",
    "value-changes",
    "non-finite",
    "zero",
    "ignores-cotangent",
    "nonlinear-cotangent",
    "sign",
    "scaled",
    "transposed",
    "permuted",
    "swapped",
    "missing-sum",
    "formula",
    "entries",
    "precision",
    "second-order",
    "wrong",
)


class Diagnosis(NamedTuple):
    """What is wrong with a leaf.

    Attributes:
      fault: one word, one of `FAULTS`.
      message: a sentence with the number; `str()` gives both.
    """

    fault: str
    message: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.message}"


class LeafReport(NamedTuple):
    """The verdict on the gradient of one argument leaf, or on one output.

    Attributes:
      path: which leaf, such as `args[1][0].W`.
      ok: True (right), False (wrong), or None where nothing can decide.
      error: ‖rule − truth‖ / ‖truth‖, truth being autodiff of the reference in float64, or
        differences where autodiff cannot go; the numerator alone where the truth is 0. The worst
        over the random cotangents.
      autodiff: the same for autodiff of the reference in the dtype of the arguments.
      allowed: what is allowed for error: a small factor above what autodiff, or the rounding of
        the dtype, achieves.
      diagnosis: None where ok.
      kinks: how many entries lie at a kink where the rule has another value between the two slopes
        than autodiff.
      note: what else there is to say, or "".
    """

    path: str
    ok: bool | None
    error: float
    autodiff: float
    allowed: float
    diagnosis: Diagnosis | None
    kinks: int = 0
    note: str = ""

    @property
    def verdict(self) -> str:
        """right, wrong or unsure."""
        return {True: "right", False: "wrong", None: "unsure"}[self.ok]


class TransformReport(NamedTuple):
    """Whether a rule does under a transform what it does alone.

    Attributes:
      name: the transform.
      verdict: right, wrong, unsure, or not supported.
      reason: a sentence with the number where it is wrong, JAX's own reason where it is not
        supported, "" where it is right.
    """

    name: str
    verdict: str
    reason: str


class Report(NamedTuple):
    """The result of `check_gradients`; `str(report)` is a table.

    Attributes:
      ok: True when every leaf, value and transform is right; False when one is wrong; None when
        none is wrong but a leaf is unsure.
      leaves: one `LeafReport` for each floating leaf that was checked.
      reference: in words, what the rule was held against.
      values: the same verdict on each floating output, as it is under differentiation: a rule's
        forward pass may not change it.
      transforms: a row for each transform that was tried, empty where a leaf is wrong.
      notes: sentences about the whole.
    """

    ok: bool | None
    leaves: tuple[LeafReport, ...]
    reference: str
    values: tuple[LeafReport, ...] = ()
    transforms: tuple[TransformReport, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """The fault of everything that is wrong, in the order of the table."""
        parts = (*self.leaves, *self.values)
        return tuple(part.diagnosis.fault for part in parts if part.diagnosis)

    def raise_if_wrong(self) -> None:
        """Raises AssertionError with the table if anything is wrong; unsure is not wrong."""
        if self.ok is False:
            raise AssertionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The report as what JSON has: dicts, lists, strings and numbers; None for no number."""
        return plain_data(self)

    def __str__(self) -> str:
        shown = (*self.leaves, *(value for value in self.values if value.ok is not True))
        width = max(4, *(len(leaf.path) for leaf in shown), *(len(t.name) for t in self.transforms))
        width = min(width, WIDTH - 40)
        lines = [
            f"gradient rule against {self.reference}; errors relative to float64",
            f"{'leaf':{width}}  {'verdict':7}  {'rule':>8}  {'autodiff':>8}  {'allowed':>8}",
        ]
        for leaf in shown:
            lines.extend(_rows(leaf, width))
        for row in self.transforms:
            lines.append(f"{row.name:{width}}  {_loud(row.verdict)}")
            lines.extend(_wrapped(row.reason))
        for note in self.notes:
            lines.extend(_wrapped(note, indent=""))
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        wrong = sum(leaf.ok is False for leaf in self.leaves)
        unsure = sum(leaf.ok is None for leaf in self.leaves)
        changed = sum(value.ok is False for value in self.values)
        broken = [row.name for row in self.transforms if row.verdict == "wrong"]
        if self.ok is True:
            return "all right"
        parts = [f"{wrong} of {len(self.leaves)} wrong"]
        if unsure:
            parts.append(f"{unsure} unsure")
        if changed:
            parts.append(f"{changed} of {len(self.values)} outputs changed")
        if broken:
            parts.append(f"wrong under {', '.join(broken)}")
        return ", ".join(parts)


def plain_data(value: Any) -> Any:
    """NamedTuples as dicts, sequences as lists, numbers that JSON does not have as None."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain_data(part) for name, part in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [plain_data(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rows(leaf: LeafReport, width: int) -> Iterable[str]:
    numbers = f"{leaf.error:8.1e}  {leaf.autodiff:8.1e}  {leaf.allowed:8.1e}"
    yield f"{_cut(leaf.path, width):{width}}  {_loud(leaf.verdict):7}  {numbers}"
    if leaf.diagnosis:
        yield from _wrapped(str(leaf.diagnosis))
    if leaf.kinks:
        entries = "entry" if leaf.kinks == 1 else "entries"
        yield from _wrapped(f"kink at {leaf.kinks} {entries}: {leaf.note}")
    elif leaf.note:
        yield from _wrapped(leaf.note)


def _loud(verdict: str) -> str:
    return "WRONG" if verdict == "wrong" else verdict


def _cut(path: str, width: int) -> str:
    return path if len(path) <= width else f"…{path[1 - width :]}"


def _wrapped(text: str, indent: str = "    ") -> list[str]:
    """Lines of at most `WIDTH` columns."""
    lines, line = [], indent
    for word in text.split():
        if len(line) + len(word) > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    return [*lines, line.rstrip()] if line.strip() else lines
