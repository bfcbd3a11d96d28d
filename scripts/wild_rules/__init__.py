"""The catalogue of `scripts/wild`: which rules, called how, and what was found.

Everything is a string of Python, evaluated only when it is its turn: a package that does not import
costs its own rows and no others, and the lines stand in the note as they are. They may use jax,
jnp, np, f32 (jnp.float32), c64 (jnp.complex64), slope (differences in float64) and what their
`setup` imports; 64-bit types are on.
"""

from typing import NamedTuple

SEVERITIES = {
    "first": "Wrong first derivative",
    "hard": "Wrong at a hard input",
    "order2": "Wrong second derivative",
    "transform": "Breaks under a transform, a dtype or an integer",
    "value": "Changes the value of its function",
    "imprecise": "Imprecise",
}

# The modules of this folder, and the package that each row of theirs is about unless it says so.
MODULES = (
    "of_jax",
    "of_jax_linalg",
    "of_tfp",
    "of_distributions",
    "of_ott",
    "of_solvers",
    "others",
)


class Rule(NamedTuple):
    """One rule: how to meet it.

    Attributes:
      package: the distribution it comes in, as pip calls it.
      where: the file, and the line that the rule is on.
      setup: what to import.
      call: an expression, the function.
      ordinary: expressions, each a tuple of arguments.
      hard: the same, where it is hard.
      plain: an expression, the formula: the reference for a rule of JAX, which check_rules
        does not list. Empty: the function without its rules.
      argnums: which arguments are judged; None: all.
      deliberate: why its gradient is not that of its function, where that is meant.
    """

    package: str
    where: str
    setup: str
    call: str
    ordinary: tuple[str, ...]
    hard: tuple[str, ...] = ()
    plain: str = ""
    argnums: tuple[int, ...] | None = None
    deliberate: str = ""


class Finding(NamedTuple):
    """One finding: the line that shows it, and what is right.

    Attributes:
      severity: a key of `SEVERITIES`.
      package: the distribution, as pip calls it.
      rule: what a user calls it.
      where: the file, and the line that the rule is on.
      setup: what to import.
      line: an expression that shows it.
      got: what it gives: an expression, or the name of the exception that it raises.
      expected: an expression, what is right.
      how: where that comes from.
      known: issue numbers, or "".
      check: (function, arguments): expressions, where to point the checker; None: it has no word
        for this.
      plain: a reference for it, as in `Rule`.
    """

    severity: str
    package: str
    rule: str
    where: str
    setup: str
    line: str
    got: str
    expected: str
    how: str
    known: str = ""
    check: tuple[str, str] | None = None
    plain: str = ""


class Listed(NamedTuple):
    """A rule that was read and not run.

    Attributes:
      package: the distribution, as pip calls it.
      where: the file.
      rule: its name.
      why: why it was not run.
    """

    package: str
    where: str
    rule: str
    why: str
