"""What a check found: a verdict for each leaf, and the table to read."""

from typing import NamedTuple


class Diagnosis(NamedTuple):
    """What is wrong with a leaf.

    Attributes:
      fault: one word: raises, non-finite, zero, sign, scaled, transposed, wrong or value-changes.
      message: a sentence with the number; `str()` gives both.
    """

    fault: str
    message: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.message}"


class LeafReport(NamedTuple):
    """The verdict on the gradient of one argument leaf.

    Attributes:
      path: which leaf, such as `args[1][0].W`.
      ok: whether error ≤ allowed.
      error: ‖rule − truth‖ / ‖truth‖, truth being autodiff of the reference in float64; the
        numerator alone where the truth is 0. The worst over the random cotangents.
      autodiff: the same for autodiff of the reference in the dtype of the arguments.
      allowed: what is allowed for error: a small factor above what autodiff, or the rounding of
        the dtype, achieves.
      diagnosis: None where ok.
    """

    path: str
    ok: bool
    error: float
    autodiff: float
    allowed: float
    diagnosis: Diagnosis | None


class Report(NamedTuple):
    """The result of `check_gradients`; `str(report)` is a table.

    Attributes:
      ok: whether every leaf and every value is.
      leaves: one `LeafReport` for each floating leaf that was checked.
      reference: in words, what the rule was held against.
      values: the same verdict on each floating output, as it is under differentiation: a rule's
        forward pass may not change it.
    """

    ok: bool
    leaves: tuple[LeafReport, ...]
    reference: str
    values: tuple[LeafReport, ...] = ()

    def raise_if_wrong(self) -> None:
        """Raises AssertionError with the table unless every leaf is right."""
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        width = max(4, *(len(leaf.path) for leaf in self.leaves))
        lines = [
            f"gradient rule against {self.reference}; errors relative to float64",
            f"{'leaf':{width}}  {'verdict':7}  {'rule':>8}  {'autodiff':>8}  {'allowed':>8}",
        ]
        for leaf in (*self.leaves, *(value for value in self.values if not value.ok)):
            verdict = "right" if leaf.ok else "WRONG"
            numbers = f"{leaf.error:8.1e}  {leaf.autodiff:8.1e}  {leaf.allowed:8.1e}"
            lines.append(f"{leaf.path:{width}}  {verdict:7}  {numbers}")
            if leaf.diagnosis:
                lines.append(f"    {leaf.diagnosis}")
        wrong, changed = (sum(not t.ok for t in part) for part in (self.leaves, self.values))
        lines.append("all right" if self.ok else f"{wrong} of {len(self.leaves)} wrong")
        if changed:
            lines[-1] += f", {changed} of {len(self.values)} outputs changed"
        return "\n".join(lines)
