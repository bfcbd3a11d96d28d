"""Narrow networks: the kernel, XLA, and jax.grad of the plain forward pass.

Hidden widths 16, 64 and 128, two to eight hidden layers, 2^14 to 2^20 rows; the forward pass
(`narrow_forward`) and a step of SGD (`narrow_mlp`). Shapes come in order of worth; the programs of
all rows of one are compiled together, and then timed.
"""

import traceback
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

CLASSES, ROWS = 10, (2**17, 2**20, 2**14)
SHAPES = [  # width, arithmetic, hidden layers
    (width, arithmetic, hidden)
    for width, arithmetic in (
        (64, "tf32"),
        (64, "bfloat16"),
        (128, "bfloat16"),
        (128, "tf32"),
        (16, "tf32"),
        (64, "float32"),
        (16, "bfloat16"),
        (16, "float32"),
    )
    for hidden in (4, 2, 8)
]
WAYS = {  # of each kernel: (implementation, loss)
    "narrow_forward": {"xla": ("xla", None), "pallas": ("pallas", None)},
    "narrow_mlp": {
        "xla": ("xla", ffnn.loss),
        "pallas": ("pallas", ffnn.loss),
        "autodiff": ("xla", ffnn.loss_autodiff),
    },
}


class Shape:
    """One network and arithmetic: the programs of all rows, kernels and ways, and their inputs."""

    def __init__(self, width: int, arithmetic: str, hidden: int, rows: tuple[int, ...], dry: bool):
        self.arithmetic, self.dry = arithmetic, dry
        self.sizes = (width,) * (hidden + 1) + (CLASSES,)
        self.inputs = {n: examples(self.sizes, n, arithmetic) for n in rows}
        self.steps = {n: 2 if dry else max(4, min(256, 2**22 // n)) for n in rows}
        self.refused: dict[tuple[str, int, str], str] = {}
        with jax.default_matmul_precision(PRECISION[arithmetic]):
            self.programs = compile_all(self.lowered())

    def lowered(self) -> dict[tuple[str, int, str], Any]:
        """By kernel, rows and way; what the kernel does not take goes to `refused`."""
        found = {}
        for name, rows in ((kernel, n) for n in self.inputs for kernel in WAYS):
            for way, (implementation, loss) in WAYS[name].items():
                net, steps = planned(self.sizes, implementation), self.steps[rows]
                run = steps_of_training(net, loss, steps) if loss else forward_passes(net, steps)
                try:
                    found[name, rows, way] = jax.jit(run).lower(*self.arguments(name, rows))
                except NotImplementedError as reason:
                    self.refused[name, rows, way] = str(reason)
        return found

    def arguments(self, kernel: str, rows: int) -> Any:
        return self.inputs[rows][: 2 if kernel == "narrow_forward" else 3]

    def measure(self, kernel: str, rows: int) -> Point:
        """All ways of one kernel at so many rows."""
        runs, seconds, failed = (self.of(kernel, rows, each) for each in self.programs)
        arguments, steps = self.arguments(kernel, rows), self.steps[rows]
        calls = {way: (lambda run=run: run(*arguments)) for way, run in runs.items()}
        times = take_turns(calls, 2 if self.dry else 11)
        variants = {
            way: microseconds(times[way], steps)
            | {"compile_s": seconds[way]}
            | {"temp_bytes": run.memory_analysis().temp_size_in_bytes}
            for way, run in runs.items()
        }
        others = [way for way in runs if way != "xla" and "xla" in runs]
        work = forward_work if kernel == "narrow_forward" else step_work
        return {
            "steps": steps,
            "variants": variants,
            "refused": self.of(kernel, rows, self.refused),
            "speedups": {way: speedup(times["xla"], times[way]) for way in others},
            "work": work(self.sizes, rows, self.arithmetic),
        } | ({"error": str(failed)} if failed else {})

    def of(self, kernel: str, rows: int, table: dict[Any, Any]) -> dict[str, Any]:
        """By way alone."""
        return {way: value for (*key, way), value in table.items() if key == [kernel, rows]}


def points(allowed: Time) -> Iterator[Point]:
    for width, arithmetic, hidden in [(16, "tf32", 1)] if allowed.dry else SHAPES:
        rows = (64,) if allowed.dry else ROWS
        what = {"arithmetic": arithmetic, "activation": "relu", "inputs": width, "width": width}
        what |= {"outputs": CLASSES, "depth": hidden + 1, "batch": 0, "optimizer": ""}
        try:
            shape = Shape(width, arithmetic, hidden, rows, allowed.dry)
        except Exception as error:  # of this shape; the others go on
            traceback.print_exc()
            yield what | {"error": f"{type(error).__name__}: {error}"[:600]}
            continue
        for kernel, n in ((kernel, n) for n in rows for kernel in WAYS):
            yield attempt({"kernel": kernel, "rows": n} | what, shape.measure, kernel, n)
