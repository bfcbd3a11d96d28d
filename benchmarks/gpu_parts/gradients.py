"""Are the gradients right on this card: networks A to H by hand and by jax.grad, beside float64.

The truth is `loss_autodiff` in float64, on the same device. Of each arithmetic (full float32, TF32,
bfloat16) the worst ‖found − truth‖ / ‖truth‖ over ∇W_k and ∇b_k is recorded, by hand, by jax.grad,
and by the kernel where it takes the network. No bound is held against TF32 or bfloat16; full
float32 is an error of this part where by hand is more than 1e-5 off and eight times as far as
jax.grad. `check_gradients` comes last, of networks by XLA and by kernel, with `loss_autodiff` for
its reference: autodiff does not go through a kernel.
"""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from throughput import CASES

import ffnn_jax as ffnn
from gpu_parts.part import Point, Time, attempt
from gpu_parts.programs import PRECISION, dtype_of, examples, planned
from gpu_parts.timing import compile_all

NARROW = {"narrow 16": ((16,) * 3 + (10,), 1000), "narrow 64": ((64,) * 5 + (10,), 1000)}
WAYS = {"by hand": ("xla", ffnn.loss), "autodiff": ("xla", ffnn.loss_autodiff)}
WAYS |= {"kernel": ("pallas", ffnn.loss)}
CHECKED = [  # network, implementation, precision
    ("A", "xla", "highest"),
    ("A", "pallas", "highest"),
    ("C", "xla", "highest"),
    ("A", "xla", "default"),
    ("A", "pallas", "default"),
    ("C", "xla", "default"),
]


def gradients(sizes: tuple[int, ...], loss: Any, implementation: str) -> Any:
    net = planned(sizes, implementation)
    return jax.jit(lambda params, x, y: jax.value_and_grad(loss, argnums=1)(net, params, x, y))


def error(found: Any, truth: Any) -> float:
    """The worst over the leaves; NaN counts as worst."""
    worst = 0.0
    for leaf, right in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        leaf, right = np.asarray(leaf, np.float64), np.asarray(right, np.float64)
        off = np.linalg.norm(leaf - right) / (np.linalg.norm(right) or 1.0)
        worst = float(off) if not off <= worst else worst
    return worst


def compare(sizes: tuple[int, ...], rows: int) -> Point:
    """Errors of all arithmetics and ways, the program of each compiled at the same time.

    `compile_s` is that of all of them together.
    """
    programs, inputs, refused = {}, {}, {}
    for arithmetic, precision in PRECISION.items():
        inputs[arithmetic] = examples(sizes, rows, arithmetic)
        for way, (implementation, loss) in WAYS.items():
            with jax.default_matmul_precision(precision):
                try:
                    run = gradients(sizes, loss, implementation).lower(*inputs[arithmetic])
                except NotImplementedError as reason:
                    refused[way] = str(reason)
                    continue
            programs[arithmetic, way] = run
    with jax.enable_x64(True):
        wide = {
            dtype: jax.tree.map(as_float64, inputs[arithmetic])
            for dtype, arithmetic in (("float32", "float32"), ("bfloat16", "bfloat16"))
        }
        run = gradients(sizes, ffnn.loss_autodiff, "xla")
        programs["truth", ""] = run.lower(*wide["float32"])
    start = time.perf_counter()
    runs, _, failed = compile_all(programs)
    compile_s = time.perf_counter() - start
    if ("truth", "") in failed:
        return {"error": failed["truth", ""]}
    with jax.enable_x64(True):
        truth = {dtype: runs["truth", ""](*at) for dtype, at in wide.items()}
    table: dict[str, dict[str, float]] = {arithmetic: {} for arithmetic in PRECISION}
    for (arithmetic, way), run in runs.items():
        if way:
            found = run(*inputs[arithmetic])
            table[arithmetic][way] = error(found, truth[dtype_of(arithmetic)])
    record = {"errors": table, "refused": refused, "compile_s": compile_s}
    return record | ({"error": str(failed)} if failed else verdict(table["float32"]))


def as_float64(t: jax.Array) -> jax.Array:
    return t.astype(jnp.float64) if jnp.issubdtype(t.dtype, jnp.floating) else t


def verdict(full: dict[str, float]) -> Point:
    """Nothing, or an error where full float32 is further off than rounding explains."""
    bad = [w for w in full if not full[w] <= max(1e-5, 8 * full["autodiff"])]
    return {"error": f"full float32: {', '.join(bad)} is off, {full}"} if bad else {}


def checked(sizes: tuple[int, ...], rows: int, implementation: str, precision: str) -> Point:
    """`check_gradients` of the loss beside its reference, without transforms."""
    params, x, y = examples(sizes, rows, "float32")
    with jax.default_matmul_precision(precision):
        arguments = (planned(sizes, implementation), params, x, y)
        report = ffnn.check_gradients(
            ffnn.loss, arguments, reference=ffnn.loss_autodiff, transforms=()
        )
    leaves = [leaf for leaf in report.leaves if leaf.error is not None]
    result: Point = {"ok": report.ok, "error_of_rule": max(float(f.error) for f in leaves)}
    if not report.ok:
        result["says"] = str(report)
        if precision == "highest":
            result["error"] = "check_gradients says that the rule is wrong in full float32"
    return result


def points(allowed: Time) -> Iterator[Point]:
    networks = NARROW | {name: (case.sizes, case.batch) for name, case in CASES.items()}
    if allowed.dry:
        networks = {"A": networks["A"]}
    for name, (sizes, rows) in networks.items():
        what = {"what": "errors", "network": name, "sizes": sizes, "rows": rows}
        yield attempt(what, compare, sizes, rows)
    for name, *how in [CHECKED[1]] if allowed.dry else CHECKED:
        implementation, precision = how
        what = {"what": "check_gradients", "network": name, "implementation": implementation}
        sizes, rows, _ = CASES[name]
        yield attempt(what | {"precision": precision}, checked, sizes, rows, *how)
