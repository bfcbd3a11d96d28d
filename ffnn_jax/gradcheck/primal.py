"""The primal of a function: what it computes, its custom rules taken away.

A function is traced to a jaxpr, and the jaxpr is run equation by equation; in place of a
`custom_vjp_call` or `custom_jvp_call` its own forward computation is run, also inside jit, scan,
cond, while and checkpoint. The rules that JAX ships (relu's value at 0, logsumexp, …) stay: they
are the convention against which a user's rule is measured.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

JAX_FOLDER = str(pathlib.Path(jax.__file__).parent) + os.sep
RULES = frozenset({"custom_vjp_call", "custom_vjp_call_jaxpr", "custom_jvp_call"})
INLINED = frozenset({"jit", "pjit", "closed_call", "remat2", "checkpoint"})


def without_rules(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn with no custom rule of anyone but JAX; the arguments are pytrees of arrays."""

    def primal(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
        outputs = _run(closed, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return primal


def count_rules(fn: Callable[..., Any], args: tuple[Any, ...]) -> int:
    """How many calls of custom rules, JAX's own apart, fn makes as it is written."""

    def count(jaxpr: Any) -> int:
        total = 0
        for eqn in _open(jaxpr)[0].eqns:
            total += _is_rule(eqn)
            total += sum(count(inner) for inner in _inner(eqn))
        return total

    return count(jax.make_jaxpr(fn)(*args))


def _run(jaxpr: Any, args: list[Any]) -> list[Any]:
    """The outputs of a jaxpr at args, rules replaced by their primal."""
    jaxpr, consts = _open(jaxpr)
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        outputs = _run_equation(eqn, [read(atom) for atom in eqn.invars], jaxpr.debug_info)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _run_equation(eqn: Any, args: list[Any], debug_info: Any) -> list[Any]:
    if _is_rule(eqn) or eqn.primitive.name in INLINED:
        return _run(_inner(eqn)[0], args)
    if any(_has_rule(inner) for inner in _inner(eqn)):
        eqn = eqn.replace(params={name: _strip(value) for name, value in eqn.params.items()})
    inputs = {
        atom: arg
        for atom, arg in zip(eqn.invars, args, strict=True)
        if not isinstance(atom, core.Literal)
    }
    alone = core.Jaxpr((), [*inputs], eqn.outvars, [eqn], eqn.effects, debug_info)
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*inputs.values())


def _strip(value: Any) -> Any:
    """A parameter of an equation with the rules taken out of the jaxprs in it."""
    if _is_jaxpr(value):
        if not _has_rule(value):
            return value
        return jax.make_jaxpr(lambda *args: _run(value, list(args)))(*value.in_avals)
    if isinstance(value, tuple) and any(map(_is_jaxpr, value)):
        stripped = map(_strip, value)
        return type(value)(*stripped) if hasattr(value, "_fields") else tuple(stripped)
    return value


def _has_rule(jaxpr: Any) -> bool:
    return any(
        _is_rule(eqn) or any(_has_rule(inner) for inner in _inner(eqn))
        for eqn in _open(jaxpr)[0].eqns
    )


def _is_rule(eqn: Any) -> bool:
    return eqn.primitive.name in RULES and not _comes_with_jax(eqn)


def _comes_with_jax(eqn: Any) -> bool:
    """Whether the rule itself, and not only the function it is for, is one of JAX's own."""
    rule = eqn.params.get("bwd") or eqn.params.get("jvp_jaxpr_fun")
    sources = (getattr(rule, "debug_info", None), _open(_inner(eqn)[0])[0].debug_info)
    return all(info and JAX_FOLDER in (info.func_src_info or "") for info in sources)


def _inner(eqn: Any) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in eqn.params.values():
        parts = value if isinstance(value, tuple | list) else (value,)
        found.extend(part for part in parts if _is_jaxpr(part))
    return found


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def _open(jaxpr: Any) -> tuple[Any, Any]:
    """(the jaxpr, its constants), closed or not; newer versions of JAX have one class for both."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())
