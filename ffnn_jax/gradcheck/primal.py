"""The primal of a function: what it computes, its custom rules taken away, also in float64.

A function is traced to a jaxpr, once, in the dtypes it is used in, and the jaxpr is run equation by
equation. In place of a `custom_vjp_call` or `custom_jvp_call` its own forward computation is run,
also inside jit, scan, cond, while, checkpoint and shard_map. The rules that JAX ships (relu's value
at 0, logsumexp, …) stay: they are the convention against which a user's rule is measured.

Run `wide`, every floating number is float64, whatever dtype the function has for it: a cast to
bfloat16 inside it is a rounding like any other, and random numbers are those that it really draws.
With `Noise`, each result is off by a rounding of the dtype that the function has for it: what
comes out then differs from the truth as much as computing in that dtype may.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

CLOSED: Any = getattr(core, "ClosedJaxpr")  # noqa: B009 (newer versions of JAX have one class)
JAX_FOLDER = str(pathlib.Path(jax.__file__).parent) + os.sep
RULES = frozenset({"custom_vjp_call", "custom_vjp_call_jaxpr", "custom_jvp_call"})
INLINED = frozenset({"jit", "pjit", "closed_call", "remat2", "checkpoint", "custom_vmap_call"})
# What has a meaning in its own dtype only, or cannot be opened: it runs as it is written.
AS_WRITTEN = frozenset(
    {
        "bitcast_convert_type",
        "nextafter",
        "random_gamma",
        "pallas_call",
        "pure_callback",
        "io_callback",
        "ffi_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
    }
)
OPAQUE = AS_WRITTEN - RULES  # runs in its own dtype, even where no rule is needed any more
QUICK = {  # options of XLA, each known to some versions
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE",
}
DTYPES = frozenset({"new_dtype", "preferred_element_type", "dtype"})  # parameters of equations
SPARE = 4096  # draws of noise beyond the size of the largest array
OPENED = frozenset({"scan", "cond"})  # noise goes into them; in a while it might never end
# Operations that round nothing; what they give may be compared with what they were given.
EXACT = frozenset(
    {
        *("abs", "argmax", "argmin", "broadcast_in_dim", "ceil", "clamp", "concatenate", "copy"),
        *("cummax", "cummin", "dynamic_slice", "dynamic_update_slice", "expand_dims", "floor"),
        *("gather", "iota", "max", "min", "neg", "optimization_barrier", "pad", "real"),
        *("reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "reshape", "rev"),
        *("round", "scatter", "select_and_gather_add", "select_n", "sign", "slice", "sort"),
        *("split", "squeeze", "stop_gradient", "top_k", "transpose"),
    }
)
# Sums: what is lost in them is in proportion to their terms, not to their result.
SUMS = frozenset(
    {"dot_general", "reduce_sum", "conv_general_dilated", "cumsum", "scatter-add", "add_any"}
)


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """A function of one list of arrays, as a jaxpr.

    Attributes:
      jaxpr: the jaxpr, closed.
      keeps_rules: whether custom rules of others than JAX are to be left in it.
      final: whether nothing will be differentiated any more, so that no rule is needed.
    """

    jaxpr: Any
    keeps_rules: bool = False
    final: bool = False

    @staticmethod
    def of(fn: Callable[[list], list], leaves: list[Any], keeps_rules=False, final=False):
        """fn traced at these leaves (or their shapes); its result is a list of arrays too."""
        return Traced(jax.make_jaxpr(fn)(leaves), keeps_rules, final)

    def __call__(self, leaves: list[jax.Array]) -> list[jax.Array]:
        """The function, in the dtypes in which it was traced."""
        return _run(self.jaxpr, leaves, _Mode(False, self.keeps_rules or self.final))

    def wide(self, leaves: list[jax.Array], noise: "Noise | None" = None) -> list[jax.Array]:
        """The function in float64, of float64 leaves; to be called with 64-bit types on."""
        return _run(self.jaxpr, leaves, _Mode(True, self.keeps_rules, self.final, noise))

    def spelled_out(self) -> Any:
        """A jaxpr of it without jit, checkpoint or a custom rule: what is in them stands there."""
        if not self.holds(RULES | INLINED):
            return self.jaxpr
        avals = [variable.aval for variable in opened(self.jaxpr)[0].invars]
        return jax.make_jaxpr(lambda *leaves: _run(self.jaxpr, leaves, _Mode(False, True, True)))(
            *avals
        )

    def compiled(self, run: Callable[..., Any], jit: Callable[..., Any]) -> Callable[..., Any]:
        """run(self, *args) under jit; constants are arguments, for XLA folds them, at length."""
        jaxpr, constants = opened(self.jaxpr)

        def on(constants: list[Any], *args: Any) -> Any:
            return run(dataclasses.replace(self, jaxpr=CLOSED(jaxpr, constants)), *args)

        return functools.partial(jit(on), list(constants))

    def holds(self, names: frozenset[str]) -> bool:
        """Whether an operation of one of these names is anywhere in it."""
        return _holds(self.jaxpr, names)


class Noise:
    """Errors of rounding for a `wide` run, made anew for each trace.

    Attributes:
      draws: numbers from −1 to 1, as many as `noise_size` says; zeros for no noise.
    """

    def __init__(self, draws: jax.Array):
        self.draws = draws
        self._places = itertools.count()

    def on(self, value: Any, aval: Any) -> Any:
        """value · (1 + u ε/2), u one of the draws, ε the unit of the dtype of aval."""
        if not jnp.issubdtype(aval.dtype, jnp.floating):
            return value
        start = next(self._places) * 37 % SPARE
        u = self.draws[start : start + np.size(value)].reshape(np.shape(value))
        return value * (1 + u * (float(jnp.finfo(aval.dtype).eps) / 2))


def quick_jit(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn under jit, compiled in a third of the time, for what is run a few times only."""
    return jax.jit(fn, compiler_options=quick_options())


@functools.cache
def quick_options() -> dict[str, Any]:
    """Those of XLA's options that this version of it has."""
    known = {}
    for name, value in QUICK.items():
        try:
            jax.jit(lambda: 0, compiler_options={name: value})()
        except Exception:  # no such option
            continue
        known[name] = value
    return known


def noise_size(jaxpr: Any) -> int:
    """How many draws a run of the jaxpr with `Noise` needs."""
    jaxpr = opened(jaxpr)[0]
    sizes = [int(np.prod(v.aval.shape)) for eqn in jaxpr.eqns for v in (*eqn.invars, *eqn.outvars)]
    inner = [noise_size(part) - SPARE for eqn in jaxpr.eqns for part in _inner(eqn)]
    return max([1, *sizes, *inner]) + SPARE


def count_rules(jaxpr: Any) -> int:
    """How many calls of custom rules, JAX's own apart, there are in a jaxpr as it is written."""
    return sum(_is_rule(eqn) + sum(map(count_rules, _inner(eqn))) for eqn in opened(jaxpr)[0].eqns)


def _holds(jaxpr: Any, names: frozenset[str]) -> bool:
    return any(
        eqn.primitive.name in names or any(_holds(part, names) for part in _inner(eqn))
        for eqn in opened(jaxpr)[0].eqns
    )


# Running a jaxpr ---------------------------------------------------------------------------------


class _Mode(NamedTuple):
    """How a jaxpr is run: in float64 or not, rules of others or all rules left out, with noise."""

    wide: bool
    keeps_rules: bool
    final: bool = False
    noise: Noise | None = None

    def widened(self, value: Any) -> Any:
        """The value, in float64 (complex128) if it is floating (complex) and the mode is wide."""
        dtype = getattr(value, "dtype", None)
        if not self.wide or dtype is None or _wide_dtype(dtype) == dtype:
            return value
        return jnp.asarray(value, _wide_dtype(dtype))

    def runs_through(self, eqn: Any) -> bool:
        """Whether what is inside the equation is run in its place."""
        name = eqn.primitive.name
        if name in RULES and self.final:
            return True
        return name in INLINED or (_is_rule(eqn) and not self.keeps_rules)

    def noisy(self, values: list[Any], atoms: Sequence[Any]) -> list[Any]:
        """The values with an error of rounding each, where the mode has noise."""
        if self.noise is None:
            return values
        return [self.noise.on(value, a.aval) for value, a in zip(values, atoms, strict=True)]


def _run(jaxpr: Any, args: Sequence[Any], mode: _Mode) -> list[Any]:
    """The outputs of a jaxpr at args, which are in the dtypes of the mode."""
    jaxpr, consts = opened(jaxpr)
    values = dict(zip(jaxpr.constvars, map(mode.widened, consts), strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        if isinstance(atom, core.Literal):
            aval: Any = atom.aval
            return mode.widened(np.asarray(atom.val, aval.dtype))
        return values[atom]

    for eqn in jaxpr.eqns:
        outputs = _run_equation(eqn, [read(atom) for atom in eqn.invars], mode)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _run_equation(eqn: Any, args: list[Any], mode: _Mode) -> list[Any]:
    name = eqn.primitive.name
    if mode.runs_through(eqn):
        return _run(_inner(eqn)[0], args, mode)
    if not mode.wide and (mode.keeps_rules or not any(map(count_rules, _inner(eqn)))):
        return bind(eqn, args, eqn.params)
    if name == "shard_map":
        return _run_sharded(eqn, args, mode)
    if name in OPENED and mode.noise is not None:
        return _run_opened(eqn, args, mode)
    if not mode.wide:
        return bind(eqn, args, _rewritten(eqn.params, mode))
    if name in SUMS:
        args = mode.noisy(args, eqn.invars)
    outputs = _run_wide(eqn, args, mode._replace(noise=None))
    return outputs if name in EXACT else mode.noisy(outputs, eqn.outvars)


def _run_wide(eqn: Any, args: list[Any], mode: _Mode) -> list[Any]:
    """One equation, everything floating in it in float64."""
    name = eqn.primitive.name
    if name == "custom_jvp_call":
        return _run_with_its_jvp(eqn, args, mode)
    if name in AS_WRITTEN:
        atoms = zip(args, eqn.invars, strict=True)
        args = [jnp.asarray(t, a.aval.dtype) if _is_inexact(a.aval) else t for t, a in atoms]
        return [mode.widened(output) for output in bind(eqn, args, eqn.params)]
    if name == "reduce_precision":
        return args
    return bind(eqn, args, _rewritten(eqn.params, mode))


def bind(eqn: Any, args: list[Any], params: dict[str, Any]) -> list[Any]:
    """The equation's own operation on args."""
    bound = eqn.primitive.get_bind_params(params)
    functions, params = (
        bound if isinstance(bound, tuple) else ((), bound)
    )  # before jax 0.10, since it
    with eqn.ctx.manager:
        outputs = eqn.primitive.bind(*functions, *args, **params)
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def _rewritten(params: dict[str, Any], mode: _Mode) -> dict[str, Any]:
    """The parameters of an equation for the mode: the jaxprs and the dtypes in them."""

    def rewrite(name: str, value: Any) -> Any:
        if is_jaxpr(value):
            return _retraced(value, mode)
        if isinstance(value, tuple) and any(map(is_jaxpr, value)):
            parts = (rewrite("", part) for part in value)
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return _wide_dtype(value) if mode.wide and name in DTYPES and value is not None else value

    return {name: rewrite(name, value) for name, value in params.items()}


def _retraced(jaxpr: Any, mode: _Mode) -> Any:
    """A jaxpr that computes what `_run` does of this one."""
    if not mode.wide and not count_rules(jaxpr):
        return jaxpr
    avals = [atom.aval for atom in opened(jaxpr)[0].invars]
    if mode.wide:
        avals = [jax.ShapeDtypeStruct(t.shape, _wide_dtype(t.dtype)) for t in avals]
    closed = jax.make_jaxpr(lambda *args: _run(jaxpr, args, mode))(*avals)
    return closed if isinstance(jaxpr, CLOSED) else opened(closed)[0]


def _run_opened(eqn: Any, args: list[Any], mode: _Mode) -> list[Any]:
    """scan or cond, as a function of JAX: what is inside may then use the noise outside."""
    p = eqn.params
    if eqn.primitive.name == "cond":
        branches = [lambda *args, b=branch: _run(b, args, mode) for branch in p["branches"]]
        return list(jax.lax.switch(args[0], branches, *args[1:]))
    inner = opened(p["jaxpr"])[0]
    carried = _of_equal_rank(eqn.outvars, inner.outvars)  # what is stacked has an axis more outside
    second = _of_equal_rank(eqn.invars, inner.invars)
    first = second - carried

    def body(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = _run(p["jaxpr"], [*args[:first], *carry, *xs], mode)
        return outputs[:carried], outputs[carried:]

    settings = {name: p[name] for name in ("length", "reverse", "unroll")}
    carry, ys = jax.lax.scan(body, args[first:second], args[second:], **settings)
    return [*carry, *ys]


def _of_equal_rank(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many of the variables have the same rank outside a scan and inside it."""
    pairs = zip(outside, inside, strict=True)
    return sum(len(one.aval.shape) == len(other.aval.shape) for one, other in pairs)


def _run_sharded(eqn: Any, args: list[Any], mode: _Mode) -> list[Any]:
    params = eqn.params
    axes = params.get("newly_manual_axes", params.get("manual_axes"))  # since jax 0.10, before
    mapped = jax.shard_map(
        lambda *args: tuple(_run(params["jaxpr"], args, mode)),
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]),
        out_specs=tuple(params["out_specs"]),
        axis_names=set(axes),
        check_vma=params["check_vma"],
    )
    return list(mapped(*args))


def _run_with_its_jvp(eqn: Any, args: list[Any], mode: _Mode) -> list[Any]:
    """A function with a rule for its tangents, both of them run in the mode."""
    consts = eqn.params["num_consts"]

    @jax.custom_jvp
    def function(*args: Any) -> list[Any]:
        return _run(eqn.params["call_jaxpr"], args, mode)

    @function.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[list, list]:
        count = len(primals) - consts
        jaxpr, closed_over, zeros = eqn.params["jvp_jaxpr_fun"].call_wrapped(*[False] * count)
        rule = CLOSED(jaxpr, closed_over)
        outputs = _run(rule, [*primals[consts:], *tangents[consts:]], mode)
        values, slopes = outputs[: len(zeros)], iter(outputs[len(zeros) :])
        return values, [
            jnp.zeros_like(t) if zero else next(slopes)
            for t, zero in zip(values, zeros, strict=True)
        ]

    return function(*args)


# What a jaxpr holds ------------------------------------------------------------------------------


def _is_rule(eqn: Any) -> bool:
    return eqn.primitive.name in RULES and not _comes_with_jax(eqn)


def _comes_with_jax(eqn: Any) -> bool:
    """Whether the rule itself, and not only the function it is for, is one of JAX's own."""
    rule = eqn.params.get("bwd") or eqn.params.get("jvp_jaxpr_fun")
    sources = (getattr(rule, "debug_info", None), opened(_inner(eqn)[0])[0].debug_info)
    return all(info and JAX_FOLDER in (info.func_src_info or "") for info in sources)


def _inner(eqn: Any) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in eqn.params.values():
        parts = value if isinstance(value, tuple | list) else (value,)
        found.extend(part for part in parts if is_jaxpr(part))
    return found


def is_jaxpr(value: Any) -> bool:
    """Whether it is a jaxpr, closed or not."""
    return isinstance(value, core.Jaxpr | CLOSED)


def opened(jaxpr: Any) -> tuple[Any, Any]:
    """(the jaxpr, its constants), closed or not; newer versions of JAX have one class for both."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def _wide_dtype(dtype: Any) -> Any:
    """float64 for floating, complex128 for complex, anything else as it is."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else dtype


def _is_inexact(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.inexact)
