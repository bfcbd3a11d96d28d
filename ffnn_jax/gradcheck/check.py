"""`check_gradients`: is the gradient rule of a function right, leaf by leaf, and under transforms?

Voices on the same function, for the same random cotangents:

  rule         reverse mode through fn, which runs its custom rules, in the dtypes it has
  autodiff     reverse mode through the reference, in the dtypes it has
  truth        reverse mode through the reference, every number in it in float64
  rule, wide   the formulas of the rule, every number in them in float64
  differences  of the reference, in float64

`judge` weighs them; `diagnosis` names what is wrong; `transforms` tries the rule elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.draw import Draw
from ffnn_jax.gradcheck.examine import Examined, notes, ok, raised, with_second_order
from ffnn_jax.gradcheck.judge import Judge
from ffnn_jax.gradcheck.point import Point, on_leaves, primal_of
from ffnn_jax.gradcheck.primal import Traced, quick_jit
from ffnn_jax.gradcheck.report import LeafReport, Report, TransformReport
from ffnn_jax.gradcheck.transforms import check_transforms, chosen_transforms
from ffnn_jax.gradcheck.voices import Voices, widened

COTANGENTS = 2  # random cotangents tried; the worse counts, so that no lucky draw decides


def check_gradients(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    argnums: int | Sequence[int] | None = None,
    reference: Callable[..., Any] | None = None,
    transforms: Sequence[str] | None = None,
    deliberate: Callable[..., Any] | Sequence[str] | None = None,
    key: jax.Array | None = None,
) -> Report:
    """Whether the gradient rule of fn is right, leaf by leaf.

    Args:
      fn: any function of pytrees that JAX can differentiate in reverse; its outputs any pytree.
      args: the arguments, a tuple. Leaves that are no floating arrays are passed through.
      argnums: which arguments to check; None: all that have a floating leaf.
      reference: a function of the same arguments and outputs that JAX differentiates correctly.
        None: fn itself, its custom rules taken away; that has no derivative where it computes by a
        kernel, so for `loss` with `Plan(implementation="pallas")` it takes `loss_autodiff`. Not
        together with a function as deliberate.
      transforms: under which transforms to try a rule that is right alone, of `TRANSFORMS`;
        None: all; (): none.
      deliberate: a gradient that is meant to differ from that of fn (straight-through, clipped,
        scaled): a function of the same arguments whose gradient it is meant to be; or the paths
        of the leaves that are not to be judged, such as `"args[0]"`.
      key: a PRNG key for the random cotangents; None: always the same ones.

    Returns:
      A `Report`: `.ok`, `.leaves`, `.values`, `.transforms`, and a table as `str(report)`. An
      exception inside the rule is a verdict, with the exception's last line.

    Raises:
      TypeError: fn, reference or deliberate is no function, args is no tuple, no floating leaf to
        differentiate, no floating output, a reference of another structure or shape, or both a
        reference and a function as deliberate.
      ValueError: argnums out of range, an unknown transform or path, or outputs that are not finite
        at args.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> @jax.custom_vjp
      ... def double(x):
      ...     return 2 * x
      >>> double.defvjp(lambda x: (2 * x, None), lambda _, g: (-2 * g,))
      >>> report = ffnn.check_gradients(double, (jnp.ones(3),))
      >>> report.ok, report.leaves[0].diagnosis.fault
      (False, 'sign')
    """
    _check_functions(fn, args, reference, deliberate)
    names = chosen_transforms(transforms)
    point = Point.of(args, argnums)
    spared = _spared(deliberate, point.paths)
    rule = partial(on_leaves, fn, point)
    plain, against = primal_of(rule, reference, deliberate, point)
    _check_outputs(rule, plain, point.leaves)
    voices = Voices(rule, plain, point.leaves)
    cotangents = cotangents_of(voices.outputs, jax.random.key(0) if key is None else key)
    wide = widened(point.leaves)
    draws = [Draw(voices, point.leaves, wide, c) for c in cotangents]
    error = _raised_by(draws)
    if error is not None:
        return raised(error, point, against)
    leaves, values = _judged(voices, point, wide, draws, spared)
    del draws, wide  # and all that was heard: a large function needs the room for the rows
    if callable(deliberate):
        values = ()
    rows: tuple[TransformReport, ...] = ()
    if all(part.ok is not False for part in (*leaves, *values)) and not deliberate:
        rows = check_transforms(
            rule,
            plain,
            point.leaves,
            [jnp.asarray(c, o.dtype) for c, o in zip(cotangents[0], voices.outputs, strict=True)],
            names=names,
            whole=point.whole(fn),
            paths=point.paths,
        )
        leaves = with_second_order(leaves, rows)
    return Report(ok(leaves, values, rows), leaves, against, values, rows, notes(leaves))


def _raised_by(draws: list[Draw]) -> Exception | None:
    """What the rule raises for one of the cotangents: whatever it is, it is a verdict."""
    try:
        for draw in draws:
            draw.listen("rule")
    except Exception as error:
        return error
    return None


def _judged(
    voices: Voices, point: Point, wide: list[jax.Array], draws: list[Draw], spared: set[str]
) -> tuple[tuple[LeafReport, ...], tuple[LeafReport, ...]]:
    """The reports on the leaves and on the outputs."""
    judge = Judge(voices, wide, draws)
    verdicts = [judge.verdict(i) for i in range(len(point.leaves))]
    examined = Examined(voices, point, judge, verdicts)
    leaves = tuple(
        LeafReport(path, True, np.nan, np.nan, np.nan, None, 0, "deliberate: not judged")
        if path in spared
        else examined.leaf(i)
        for i, path in enumerate(point.paths)
    )
    return leaves, examined.values()


def cotangents_of(shapes: list[jax.ShapeDtypeStruct], key: jax.Array) -> list[list[np.ndarray]]:
    """Random cotangents, a few draws."""
    return [
        [
            np.asarray(jax.random.normal(k, s.shape, s.dtype), np.float64)
            for k, s in zip(jax.random.split(draw, len(shapes)), shapes, strict=True)
        ]
        for draw in jax.random.split(key, COTANGENTS)
    ]


# Bad input ---------------------------------------------------------------------------------------


def _check_functions(fn: Any, args: Any, reference: Any, deliberate: Any) -> None:
    if not callable(fn):
        raise TypeError(f"fn: expected a function, got {fn!r}")
    if not isinstance(args, tuple):
        raise TypeError(f"args: expected a tuple of arguments, got {type(args).__name__}")
    if reference is not None and not callable(reference):
        raise TypeError(f"reference: expected a function or None, got {reference!r}")
    if callable(deliberate) and reference is not None:
        raise TypeError("deliberate: expected one of deliberate and reference, got two functions")


def _spared(deliberate: Any, paths: list[str]) -> set[str]:
    """The paths of the leaves whose gradient is meant to differ."""
    if deliberate is None or callable(deliberate):
        return set()
    if isinstance(deliberate, str) or not isinstance(deliberate, Iterable):
        raise TypeError(f"deliberate: expected a function or paths of leaves, got {deliberate!r}")
    for path in (deliberate := list(deliberate)):
        if path not in paths:
            raise ValueError(f"deliberate: expected paths of {', '.join(paths)}, got {path!r}")
    return set(deliberate)


def _check_outputs(rule: Callable[..., Any], plain: Traced, leaves: list[jax.Array]) -> None:
    """The floating outputs are those of the reference, and finite."""
    shapes, other = jax.eval_shape(rule, leaves), jax.eval_shape(plain, leaves)
    if not shapes:
        raise TypeError("fn: expected a floating output to differentiate, found none")
    if [(s.shape, s.dtype) for s in shapes] != [(s.shape, s.dtype) for s in other]:
        raise TypeError(f"reference: expected the outputs of fn, {shapes}; got {other}")
    for value in plain.compiled(Traced.__call__, quick_jit)(leaves):
        if not np.all(np.isfinite(np.asarray(value, np.float64))):
            raise ValueError("args: expected a point where fn is finite; its outputs are not")
