"""What the judge says."""

import textwrap
from typing import NamedTuple

WIDTH = 96


class Finding(NamedTuple):
    """The verdict on one function.

    Attributes:
      name: of the function.
      ok: whether it is right.
      said: the figures where it is right, otherwise the hint.
      shown: the numbers where it went wrong, a line each.
    """

    name: str
    ok: bool
    said: str
    shown: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.name}: {'right' if self.ok else 'not yet'}"
        lines = textwrap.wrap(self.said, WIDTH, initial_indent="    ", subsequent_indent="    ")
        return "\n".join([head, *lines, *(f"    {line}" for line in self.shown)])


class Verdict(NamedTuple):
    """The verdict on a file.

    Attributes:
      title: of the exercise.
      findings: one for each function.
      trouble: why the file could not be judged, or "".
    """

    title: str
    findings: tuple[Finding, ...]
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether every function is right."""
        return not self.trouble and all(finding.ok for finding in self.findings)

    def __str__(self) -> str:
        last = "right" if self.ok else "not yet right"
        body = [f"    {self.trouble}"] if self.trouble else list(map(str, self.findings))
        return "\n".join([self.title, *body, last])
