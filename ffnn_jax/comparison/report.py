"""What a comparison found: a verdict for each gradient, and the table to read."""

import math
import textwrap
from typing import Any, NamedTuple

from ffnn_jax.gradcheck import Diagnosis

WIDTH = 100
RIGHT = ("exact", "equal")


class ComparisonRow(NamedTuple):
    """The verdict on one gradient.

    Attributes:
      name: such as `W_2`; `yhat` for ∇ŷ.
      symbol: the lecture's, such as ∇W_2.
      verdict: `exact`, bit for bit this library's gradient in the dtype of the parameters; `equal`,
        within `allowed`; `wrong`; `follows`, wrong for the only reason that a wrong one above went
        into it; `unsure`, off by less than rounding alone may cost where so much cancels.
      error: ‖mine − truth‖ / ‖truth‖, truth in float64; ∞ where it is not finite.
      allowed: the bound on the error that rounding explains.
      diagnosis: what is wrong, or None.
      note: a sentence more, or "".
    """

    name: str
    symbol: str
    verdict: str
    error: float
    allowed: float
    diagnosis: Diagnosis | None = None
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """True where exact or equal, None where unsure."""
        return None if self.verdict == "unsure" else self.verdict in RIGHT

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON; what is not finite is None."""
        fields = self._asdict() | {"ok": self.ok}
        if self.diagnosis is not None:
            fields["diagnosis"] = {
                "fault": self.diagnosis.fault,
                "message": self.diagnosis.message,
            }
        finite = {"error": self.error, "allowed": self.allowed}
        return fields | {k: v if math.isfinite(v) else None for k, v in finite.items()}


class Comparison(NamedTuple):
    """The result of `compare_gradients`; `str(comparison)` is a table.

    Attributes:
      rows: one `ComparisonRow` for each gradient given, in the order of the sweep, from ∇ŷ down.
      rule: the formula of the first wrong one, "" where none is wrong.
    """

    rows: tuple[ComparisonRow, ...]
    rule: str

    @property
    def ok(self) -> bool | None:
        """True where all are exact or equal, False where one is wrong, None where undecided."""
        verdicts = {row.ok for row in self.rows}
        return False if False in verdicts else None if None in verdicts else True

    @property
    def first_wrong(self) -> ComparisonRow | None:
        """The first wrong one in the order of the sweep, which is where to look."""
        return next((row for row in self.rows if row.verdict == "wrong"), None)

    def to_dict(self) -> dict[str, Any]:
        """The comparison for JSON."""
        first = self.first_wrong
        return {
            "ok": self.ok,
            "first_wrong": None if first is None else first.name,
            "rule": self.rule,
            "rows": [row.to_dict() for row in self.rows],
        }

    def raise_if_wrong(self) -> None:
        """Raises AssertionError with the table if a gradient is wrong."""
        if self.ok is False:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = ["your gradients against float64; errors relative to the norm of each"]
        lines.append(f"{'gradient':8}  {'verdict':7}  {'error':>8}  {'allowed':>8}")
        for row in self.rows:
            verdict = "WRONG" if row.verdict == "wrong" else row.verdict
            numbers = f"{row.error:8.1e}  {row.allowed:8.1e}"
            lines.append(f"{row.symbol:8}  {verdict:7}  {numbers}")
            for said in filter(None, (row.diagnosis and str(row.diagnosis), row.note)):
                lines += textwrap.wrap(said, WIDTH, initial_indent="    ", subsequent_indent="    ")
        return "\n".join([*lines, *self._summary()])

    def _summary(self) -> list[str]:
        count, first = len(self.rows), self.first_wrong
        if first is not None:
            wrong = sum(row.verdict == "wrong" for row in self.rows)
            follow = sum(row.verdict == "follows" for row in self.rows)
            also = f", {follow} more only because of what went into them" if follow else ""
            return [f"{wrong} of {count} wrong{also}", f"look first at {self.rule}"]
        unsure = sum(row.ok is None for row in self.rows)
        return [f"{unsure} of {count} undecided" if unsure else "all right"]
