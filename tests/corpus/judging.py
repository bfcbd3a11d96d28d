"""Puts one case to the checker, or to one of its peers, and says how it ended."""

import contextlib
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads

from corpus.base import DOUBLE, Case
from ffnn_jax import check_gradients

RIGHT, WRONG, UNSURE, CRASH, REFUSED = "right", "wrong", "unsure", "crash", "refused"
DERIVED_AGAIN = ("grad of grad", "forward over reverse")  # the rows of the second derivative


class Outcome(NamedTuple):
    """What was said of a case.

    Attributes:
      verdict: right, wrong, unsure, crash (the checker raised) or refused (a peer did).
      faults: the fault words named, those of the case's own leaf first.
      note: the error where it raised.
    """

    verdict: str
    faults: tuple[str, ...] = ()
    note: str = ""


@contextlib.contextmanager
def as_users_have_it(dtype: str):
    """JAX's default promotion, and 64-bit types where the dtype needs them."""
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        jax.enable_x64(dtype == DOUBLE),
    ):
        yield


def judge(case: Case, dtype: str, with_reference: bool) -> Outcome:
    """The checker's verdict on a case; with_reference: the plain function is handed over."""
    with as_users_have_it(dtype):
        fn, args, primal = case.make(dtype)
        options: dict[str, Any] = {"reference": primal} if with_reference else {}
        if case.theme != "second order":
            options["transforms"] = ()
        try:
            report = check_gradients(fn, args, **options)
            str(report)
        except Exception as error:  # a crash of the checker is one of its mistakes
            return Outcome(CRASH, (), last_line(error))
    verdict = {True: RIGHT, False: WRONG, None: UNSURE}[report.ok]
    return Outcome(verdict, faults_named(report, case.leaf), "")


def faults_named(report: Any, leaf: str | None) -> tuple[str, ...]:
    """The fault words in a report: of the leaves under the path `leaf` first, then the others."""
    wrong = [one for one in report.leaves if one.diagnosis is not None and one.ok is False]
    own = [one for one in wrong if leaf is not None and one.path.startswith(leaf)]
    rest = [one for one in wrong if one not in own]
    values = [one for one in report.values if one.diagnosis is not None and one.ok is False]
    rows = [r for r in report.transforms if r.verdict == WRONG and r.name in DERIVED_AGAIN]
    words = [one.diagnosis.fault for one in (*own, *values, *rest)]
    return (*words, *("second-order" for _ in rows))


def last_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:100] if said else ''}"


def on_vectors(fn: Any, args: Any) -> tuple[Any, list[jax.Array]]:
    """fn as a function of its floating leaves alone, to the list of its floating outputs."""
    leaves, tree = jax.tree.flatten(args)
    places = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def on_leaves(*moving):
        whole = list(leaves)
        for i, leaf in zip(places, moving, strict=True):
            whole[i] = leaf
        outputs = jax.tree.leaves(fn(*jax.tree.unflatten(tree, whole)))
        return [out for out in outputs if jnp.issubdtype(out.dtype, jnp.floating)]

    return on_leaves, [leaves[i] for i in places]


def peer(name: str, case: Case, dtype: str) -> Outcome:
    """The verdict of jax's check_grads or of chex, with the tolerances they come with."""
    with as_users_have_it(dtype):
        fn, args, _ = case.make(dtype)
        on_leaves, leaves = on_vectors(fn, args)
        try:
            if name == "check_grads":
                check_grads(on_leaves, leaves, order=1, modes=["rev"])
            else:
                chex.assert_numerical_grads(on_leaves, leaves, order=1)
        except AssertionError as error:
            return Outcome(WRONG, (), last_line(error))
        except Exception as error:
            verdict = WRONG if case.fault in ("raises", "wrong-shape") else REFUSED
            return Outcome(verdict, (), last_line(error))
    return Outcome(RIGHT)


PEERS = ("check_grads", "chex")
