"""The one door to Pallas: kernels by its Triton route.

A kernel is a body that reads from and writes to refs. Lowered for CUDA it is compiled by Triton;
for anything else Pallas interprets it, by JAX's own operations on whole arrays. Which of the two is
known only when the program is lowered, so both are traced.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu


def call(
    body: Callable[..., None],
    arrays: Sequence[jax.Array],
    outputs: Any,
    *,
    name: str,
    warps: int,
    grid: tuple[int, ...] = (),
    **options: Any,
) -> Any:
    """What the kernel writes.

    Args:
      body: of the refs of the arrays, then of the outputs.
      arrays: what it reads.
      outputs: a tuple of ShapeDtypeStruct, what it writes.
      name: what a profile calls it.
      warps: of 32 threads, for each program.
      grid: how many programs along each axis.
      options: `in_specs` and `out_specs`, as of `pallas_call`.
    """

    def run(*arrays: jax.Array, interpret: bool) -> Any:
        compiled = plgpu.CompilerParams(num_warps=warps, num_stages=1)
        kernel = pl.pallas_call(
            body,
            out_shape=outputs,
            grid=grid,
            interpret=interpret,
            compiler_params=compiled,
            name=name,
            **options,
        )
        return kernel(*arrays)

    def compiled(*arrays: jax.Array) -> Any:
        return run(*arrays, interpret=False)

    def interpreted(*arrays: jax.Array) -> Any:
        return run(*arrays, interpret=True)

    return jax.lax.platform_dependent(*arrays, cuda=compiled, default=interpreted)
