"""The one door to Pallas: kernels by its Triton route.

A kernel is a body that reads from and writes to refs. Lowered for CUDA it is compiled by Triton;
for anything else Pallas interprets it, by JAX's own operations on whole arrays. Which of the two is
known only when the program is lowered, so both are traced.

Triton's blocks have 2^n numbers; arrays have any size. `read` and `write` go between the two: a
block may reach over the edge of its array, where it reads 0 and writes nothing. No array is padded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
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
) -> Any:
    """What the kernel writes.

    Args:
      body: of the refs of the arrays, then of the outputs.
      arrays: what it reads.
      outputs: a tuple of ShapeDtypeStruct, what it writes.
      name: what a profile calls it.
      warps: of 32 threads, for each program.
      grid: how many programs along its one axis; () is one program.
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
        )
        return kernel(*arrays)

    def compiled(*arrays: jax.Array) -> Any:
        return run(*arrays, interpret=False)

    def interpreted(*arrays: jax.Array) -> Any:
        return run(*arrays, interpret=True)

    return jax.lax.platform_dependent(*arrays, cuda=compiled, default=interpreted)


def program() -> jax.Array:
    """Which of the programs of the grid this is."""
    return pl.program_id(0)


Start = tuple[jax.Array | int, ...]


def read(ref: Any, block: tuple[int, ...], start: Start) -> jax.Array:
    """The block of an array that starts there; 0 where it reaches over the edge."""
    at, mask = _place(ref, block, start)
    return plgpu.load(ref.at[at], mask=mask, other=None if mask is None else 0.0)


def write(ref: Any, value: jax.Array, start: Start) -> None:
    """The block goes to where it starts, in the array's dtype; nothing over the edge."""
    at, mask = _place(ref, value.shape, start)
    plgpu.store(ref.at[at], value.astype(ref.dtype), mask=mask)


def _place(
    ref: Any, block: tuple[int, ...], start: Start
) -> tuple[tuple[jax.Array, ...], jax.Array | None]:
    """The indices of a block, and where they are inside of the array; None where all are."""
    indices, mask = [], None
    for axis, (n, side, first) in enumerate(zip(ref.shape, block, start, strict=True)):
        index = first + jax.lax.broadcasted_iota(jnp.int32, block, axis)
        indices.append(index)
        whole = first + side <= n if isinstance(first, int) else n % side == 0
        if not whole:  # a traced start is a multiple of the side
            mask = index < n if mask is None else mask & (index < n)
    return tuple(indices), mask
