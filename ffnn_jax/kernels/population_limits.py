"""What the kernel `population` takes, and the tile that it is compiled for.

All that a network carries from step to step lies in registers: the parameters, and the moments of
the optimizer. The table was compiled for an H100 (sm_90a, ptxas of CUDA 13), for batches of 16, 32
and 64, by `scripts/compile-for-hopper`: nothing spills. What is absent spilled, or was not tried.
More warps are not always better: with fewer each has more registers. A product of full float32 is
compiled to other instructions than one of TF32, and to other needs.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax.kernels import tiles
from ffnn_jax.kernels.updates import Rule
from ffnn_jax.network import Network

WIDEST = LARGEST_BATCH = tiles.SIDES[-1]
ACTIVATIONS = ("relu", "tanh")
REMEMBERED = ("sgd without momentum", "sgd with momentum", "adam")  # of 0, 1 and 2 moments
PAIRS = (("softmax", "cross_entropy"), ("linear", "squared_error"))


class Row(NamedTuple):
    """What fits into the registers of one program.

    Attributes:
      columns: of a tile.
      full: whether the products are of full float32, or of TF32.
      warps: with 0, with 1 and with 2 moments: of the program for 1, 2, … layers.
    """

    columns: int
    full: bool
    warps: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


TABLE = (
    Row(16, False, ((1, 1, 1), (1, 2), (1, 1))),
    Row(64, False, ((8, 8, 8, 8), (8, 8, 8), (8, 8))),
    Row(16, True, ((2, 2, 2, 2), (2, 2, 2, 2), (1, 1, 1, 2))),
    Row(32, True, ((4, 8, 2, 4), (8, 8), (2, 8, 4))),
    Row(64, True, ((8,), (8, 8), ())),
)


def tile_of(net: Network, rule: Rule) -> tuple[int, int] | None:
    """(columns of a tile, warps) of the first row with room for the network, or None."""
    for row in TABLE:
        warps = row.warps[rule.moments]
        fits = row.columns >= max(net.sizes) and net.depth <= len(warps)
        if row.full == tiles.in_full() and fits:
            return row.columns, warps[net.depth - 1]
    return None


def reason_against(net: Network, rule: Rule, batch_size: int, dtype: DTypeLike) -> str | None:
    """Why the kernel does not take a network, to go after its name; None where it does."""
    if jnp.dtype(dtype) != jnp.float32:
        return f"computes in float32, got parameters of {jnp.dtype(dtype).name}"
    if max(net.sizes) > WIDEST:
        return f"takes at most {WIDEST} inputs, units and outputs, got sizes {net.sizes}"
    if batch_size > LARGEST_BATCH:
        return f"takes at most {LARGEST_BATCH} examples a batch, got {batch_size}"
    strange = sorted(set(net.activations) - {*ACTIVATIONS})
    if strange:
        return f"takes the activations {' and '.join(ACTIVATIONS)}, got {', '.join(strange)}"
    if (net.output, net.loss) not in PAIRS:
        pairs = " and ".join(map(" with ".join, PAIRS))
        return f"takes {pairs}, got {net.output} with {net.loss}"
    if any(net.dropouts):
        return f"leaves no unit out, got dropout={net.dropout}"
    return _reason_of_plan(net) or tiles.why_not_the_precision() or _reason_of_size(net, rule)


def _reason_of_plan(net: Network) -> str | None:
    plan = net.plan
    if plan.compute_dtype is not None:
        return f"computes in float32, got Plan(compute_dtype={plan.compute_dtype!r})"
    if plan.keep_every != 1:
        return f"keeps every layer, got Plan(keep_every={plan.keep_every})"
    if plan.class_blocks:
        return "has all classes in one block, got Plan(class_blocks=True)"
    return None


def _reason_of_size(net: Network, rule: Rule) -> str | None:
    if tile_of(net, rule) is not None:
        return None
    products = "full float32" if tiles.in_full() else "TF32"
    return (
        f"would need more registers than there are, got {net.depth} layer{'s' * (net.depth > 1)}, "
        f"the widest of {max(net.sizes)} units, {REMEMBERED[rule.moments]}, products of {products}"
    )
