"""`check_transforms`: a rule that is right alone, under every transform that a user may put on it.

Each row asks whether the gradient under the transform equals what the rule gives alone: in `calls`
the ways to call it, in `orders` the second order, in `dtypes` 64-bit types and integers, in
`meshes` devices. What the rows share is in `rows`.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ffnn_jax.gradcheck.calls import checkpoint, jit, one_argument, one_output, scan, vmap
from ffnn_jax.gradcheck.dtypes import integers, x64
from ffnn_jax.gradcheck.meshes import explicit, sharded
from ffnn_jax.gradcheck.orders import bend, forward, forward_over_reverse, reverse_over_reverse
from ffnn_jax.gradcheck.primal import Traced
from ffnn_jax.gradcheck.report import TransformReport
from ffnn_jax.gradcheck.rows import Function, Subject, Verdict, said

TRANSFORMS: tuple[str, ...] = (
    "jit",
    "vmap",
    "scan",
    "checkpoint",
    "jvp",
    "grad of grad",
    "forward over reverse",
    "one argument at a time",
    "one output at a time",
    "float32 with x64 on",
    "integer arguments",
    "shard_map",
    "Explicit mesh",
)

SECOND_ORDER = ("grad of grad", "forward over reverse")


def chosen_transforms(names: Any) -> tuple[str, ...]:
    """The names of rows, all of them for None. Raises where one is none."""
    if names is None:
        return TRANSFORMS
    if isinstance(names, str):
        raise TypeError(f"transforms: expected a sequence of names, got {names!r}")
    for name in names:
        if name not in TRANSFORMS:
            near = difflib.get_close_matches(str(name), TRANSFORMS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"transforms: expected names of {', '.join(TRANSFORMS)}; got {name!r}{hint}"
            )
    return tuple(names)


def check_transforms(
    rule: Function,
    plain: Traced,
    leaves: list[jax.Array],
    cotangent: list[jax.Array],
    *,
    names: Sequence[str] | None = None,
    whole: tuple[Callable[[list, list], list], list] | None = None,
    paths: Sequence[str] | None = None,
) -> tuple[TransformReport, ...]:
    """Whether a rule that is right alone is right under each transform.

    Args:
      rule: from a list of floating arrays to one of floating arrays, custom rules running.
      plain: the same function, its custom rules taken away.
      leaves: the floating arrays at which it was found right.
      cotangent: one array for each output, of its shape and dtype.
      names: which rows, of `TRANSFORMS`; None: all.
      whole: None, or (function, others): function(leaves, others) is rule(leaves), and others are
        the arrays that rule holds fixed, integers among them.
      paths: what to call each leaf; None: "leaf 0", "leaf 1", …

    Returns:
      One `TransformReport` a row. A row that has no meaning here is left out: one argument at a
      time where there is one, a mesh where there is one device.

    Raises:
      ValueError: a name that is no row.
    """
    names = chosen_transforms(names)
    paths = [f"leaf {i}" for i in range(len(leaves))] if paths is None else paths
    subject = Subject(rule, plain, list(leaves), list(cotangent), whole, paths)
    reports = []
    bent = bend(subject) if any(name in SECOND_ORDER for name in names) else subject
    for name in names:
        try:
            verdict = ROWS[name](bent if name in SECOND_ORDER else subject)
        except Exception as error:  # whatever the rule raises under a transform is a verdict
            verdict = Verdict("not supported", said(error))
        if verdict is not None:
            reports.append(TransformReport(name, *verdict))
    return tuple(reports)


ROWS: dict[str, Callable[[Subject], Verdict | None]] = {
    "jit": jit,
    "vmap": vmap,
    "scan": scan,
    "checkpoint": checkpoint,
    "jvp": forward,
    "grad of grad": reverse_over_reverse,
    "forward over reverse": forward_over_reverse,
    "one argument at a time": one_argument,
    "one output at a time": one_output,
    "float32 with x64 on": x64,
    "integer arguments": integers,
    "shard_map": sharded,
    "Explicit mesh": explicit,
}
