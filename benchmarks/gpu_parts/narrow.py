"""Narrow networks: the kernel, XLA, and jax.grad of the plain forward pass.

Hidden widths 16, 64 and 128, two to eight hidden layers, 2^14 to 2^20 rows; the forward pass
(`narrow_forward`) and a step of SGD (`narrow_mlp`). Shapes come in order of worth, a whole box of
depths and rows of one width and arithmetic before the next.
"""

from collections.abc import Iterator
from typing import Any

import jax

import ffnn_jax as ffnn
from gpu_parts.ceiling import forward_work, step_work
from gpu_parts.part import Point, Time, attempt
from gpu_parts.programs import (
    PRECISION,
    examples,
    forward_passes,
    planned,
    steps_of_training,
)
from gpu_parts.timing import compile_all, microseconds, speedup, take_turns

CLASSES = 10
SHAPES = [  # arithmetic, width, hidden layers, rows
    (arithmetic, width, hidden, 2**log_rows)
    for width, arithmetic in (
        (64, "tf32"),
        (64, "bfloat16"),
        (128, "bfloat16"),
        (128, "tf32"),
        (16, "tf32"),
        (64, "float32"),
        (16, "bfloat16"),
        (128, "float32"),
        (16, "float32"),
    )
    for hidden in (4, 2, 8)
    for log_rows in (17, 20, 14)
]
DRY = [("tf32", 16, 1, 64)]
KINDS = {  # of each kernel: its variants, (implementation, loss)
    "narrow_forward": {"xla": ("xla", None), "pallas": ("pallas", None)},
    "narrow_mlp": {
        "xla": ("xla", ffnn.loss),
        "pallas": ("pallas", ffnn.loss),
        "autodiff": ("xla", ffnn.loss_autodiff),
    },
}


def lowered(kernel: str, sizes: tuple[int, ...], arithmetic: str, steps: int, point: Any) -> Any:
    """The program of each variant; and of those that the kernel does not take, the reason."""
    programs, refused = {}, {}
    for name, (implementation, loss) in KINDS[kernel].items():
        net = planned(sizes, implementation)
        run = forward_passes(net, steps) if loss is None else steps_of_training(net, loss, steps)
        try:
            with jax.default_matmul_precision(PRECISION[arithmetic]):
                programs[name] = jax.jit(run).lower(*point)
        except NotImplementedError as reason:
            refused[name] = str(reason)
    return programs, refused


def measure(kernel: str, sizes: tuple[int, ...], rows: int, arithmetic: str, dry: bool) -> Point:
    steps = 2 if dry else max(4, min(256, 2**22 // rows))
    params, x, y = examples(sizes, rows, arithmetic)
    point = (params, x) if kernel == "narrow_forward" else (params, x, y)
    programs, refused = lowered(kernel, sizes, arithmetic, steps, point)
    runs, compile_s = compile_all(programs)
    calls = {name: (lambda run=run: run(*point)) for name, run in runs.items()}
    times = take_turns(calls, 2 if dry else 11)
    work = forward_work if kernel == "narrow_forward" else step_work
    variants = {
        name: microseconds(times[name], steps)
        | {"compile_s": compile_s[name]}
        | {"temp_bytes": runs[name].memory_analysis().temp_size_in_bytes}
        for name in runs
    }
    return {
        "steps": steps,
        "variants": variants,
        "refused": refused,
        "speedups": {n: speedup(times["xla"], times[n]) for n in runs if n != "xla"},
        "work": work(sizes, rows, arithmetic),
    }


def points(allowed: Time) -> Iterator[Point]:
    for arithmetic, width, hidden, rows in DRY if allowed.dry else SHAPES:
        sizes = (width,) * (hidden + 1) + (CLASSES,)
        for kernel in KINDS:
            what = {"kernel": kernel, "arithmetic": arithmetic, "activation": "relu"}
            what |= {"inputs": width, "width": width, "outputs": CLASSES, "depth": hidden + 1}
            what |= {"batch": 0, "rows": rows}
            yield attempt(what, measure, kernel, sizes, rows, arithmetic, allowed.dry)
