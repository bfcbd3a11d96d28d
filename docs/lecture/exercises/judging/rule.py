"""Exercise 13: a custom_vjp for the whole network.

With g = 1 `compare_gradients` says in which line a mistake is; then `check_gradients` judges the
rule as it judges any, with random g, each argument by itself.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ffnn_jax as ffnn
from judging.attempt import attempt, described
from judging.layers import TANH
from judging.points import Point, points
from judging.sweep import agreed, compared, is_wrong
from judging.verdict import Finding


def rule(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    loss: Callable[..., Any],
    draw: np.random.Generator,
) -> list[Finding]:
    """The verdicts on exercise 13."""
    group = points(TANH, draw, 7, weighted=False)
    with jax.enable_x64(True):
        saved = []
        for at in group:
            one = attempt(forward, _args(at))
            said = one.trouble or _wrong_forward(at, one.value)
            if said:
                return [Finding("forward", False, said)]
            saved.append(one.value[1])
        return [
            Finding("forward", True, f"{len(group)} networks; the value is ℒ"),
            _backward(backward, group, saved) or _of_loss(loss, backward, group[0]),
        ]


def _args(at: Point) -> tuple[Any, ...]:
    params = tuple((jnp.asarray(W), jnp.asarray(b)) for W, b in at.params)
    return params, jnp.asarray(at.x), jnp.asarray(at.y)


def _wrong_forward(at: Point, value: Any) -> str:
    if not isinstance(value, tuple) or len(value) != 2:
        return f"expected (ℒ, saved), a tuple of two; got {type(value).__name__}"
    right = float(ffnn.loss(at.net, at.params, at.x, at.y))
    if jnp.shape(value[0]) != () or abs(float(value[0]) - right) > 1e-9 * right:
        return f"the first of the two has to be ℒ, which is {right:.6g} here; got {value[0]}"
    return ""


def _backward(backward: Callable[..., Any], group: list[Point], saved: list[Any]) -> Finding | None:
    """What is wrong with the backward pass where g is 1."""
    found = []
    for at, kept in zip(group, saved, strict=True):
        one = attempt(backward, (kept, jnp.asarray(1.0)))
        said = one.trouble or _wrong_structure(at, one.value)
        if said:
            return Finding("backward", False, said)
        found.append(compared(at, {"params": one.value[0], "x": one.value[1]}))
    wrong = [one for one in found if is_wrong(one)]
    return Finding("backward", False, agreed(wrong)) if wrong else None


def _wrong_structure(at: Point, value: Any) -> str:
    params = tuple((0, 0) for _ in at.params)
    if isinstance(value, tuple) and jax.tree.structure(value) == jax.tree.structure(
        (params, 0, None)
    ):
        return ""
    came = f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
    if isinstance(value, tuple) and len(value) == 3:
        came = f"{jax.tree.structure(value)}"[len("PyTreeDef(") : -1]
    return (
        "expected (grads, ∇x, None), one for each argument of loss, where grads is a tuple of the "
        f"{len(params)} pairs (∇W_k, ∇b_k) for k = 1 … {len(params)}; got {came}"
    )


def _of_loss(loss: Callable[..., Any], backward: Callable[..., Any], at: Point) -> Finding:
    """The verdict on `loss`: whether it has a rule, and whether it is right."""
    code = getattr(backward, "__code__", None)
    missing = "loss = jax.custom_vjp(plain), and then loss.defvjp(forward, backward)"
    try:
        if "custom_vjp" not in str(jax.make_jaxpr(loss)(*_args(at))):
            said = "it has no rule of yours, so that JAX differentiates it itself: "
            return Finding("loss", False, said + missing)
        return _in_jax(loss, at)
    except Exception as error:
        if "No VJP defined" in str(error):
            return Finding("loss", False, f"it has no rule yet: {missing}")
        said = described(error, code.co_filename if code else "")
        return Finding("loss", False, f"jax.grad(loss) raises. {said[0].upper()}{said[1:]}")


def _in_jax(loss: Callable[..., Any], at: Point) -> Finding:
    """The verdict of `check_gradients`, on the two upper layers, which are a network too."""
    upper = at._replace(params=at.params[1:], x=at.h[1])
    report = ffnn.check_gradients(loss, _args(upper), transforms=())
    wrong = next((leaf for leaf in report.leaves if leaf.ok is False), None)
    if wrong is None or wrong.diagnosis is None:
        worst = max(leaf.error for leaf in report.leaves)
        return Finding("backward", True, f"check_gradients: right; the worst is off by {worst:.1e}")
    said = wrong.diagnosis.message
    if wrong.diagnosis.fault == "ignores-cotangent":
        said += ": g is left out; ∇a_L, and with it all the rest, is to be multiplied by g"
    return Finding("backward", False, f"{_name(wrong.path)}, with g not 1: {said}")


def _name(path: str) -> str:
    """The lecture's name of a leaf: args[0][1][0] is ∇W_2, args[1] is ∇x."""
    match = re.fullmatch(r"args\[0\]\[(\d+)\]\[(\d+)\]", path)
    return f"∇{'Wb'[int(match[2])]}_{int(match[1]) + 1}" if match else "∇x"
