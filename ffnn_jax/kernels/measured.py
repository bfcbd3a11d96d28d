"""Where a kernel was measured to be faster than XLA: the record, and the question to it.

A speed-up is the time of XLA ÷ the time of the kernel, both in the same run and taking turns;
`lower` is the lower end of its 95 % interval. A kernel wins where `lower` is at least 1.2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax.network import Network

BAR = 1.2
PRECISION = "jax_default_matmul_precision"


class Measurement(NamedTuple):
    """One comparison of a kernel with XLA.

    Attributes:
      kernel: population, narrow_forward or narrow_mlp.
      arithmetic: of the products, as `arithmetic` says it.
      activation: of all hidden layers.
      inputs: n_0.
      width: n_k of every hidden layer.
      outputs: n_L.
      depth: L.
      batch: B of population, or 0.
      optimizer: of population, the name of its rule: sgd, momentum, nesterov or adam; or "".
      rows: how many examples; of population how many networks.
      ratio: the speed-up, a median.
      lower: the lower end of its 95 % interval.
      card: the device_kind of the GPU.
      source: the file in benchmarks/results.
    """

    kernel: str
    arithmetic: str
    activation: str
    inputs: int
    width: int
    outputs: int
    depth: int
    batch: int
    optimizer: str
    rows: int
    ratio: float
    lower: float
    card: str
    source: str


def of_run(card: str, source: str, *rows: tuple[Any, ...]) -> tuple[Measurement, ...]:
    """The measurements of one run from the fields before its card and source."""
    return tuple(Measurement._make((*row, card, source)) for row in rows)


# What benchmarks/gpu_record.py prints of each result in benchmarks/results, wins and losses.
RECORD: tuple[Measurement, ...] = ()


def wins(
    kernel: str,
    net: Network,
    dtype: DTypeLike,
    rows: int,
    *,
    batch: int = 0,
    optimizer: str = "",
) -> bool:
    """Whether the record says that the kernel is faster here, on the GPU of this process.

    Between recorded points it is careful. The card, the arithmetic, the activation, the width of
    every hidden layer, the batch and the optimizer have to be those of a measurement: a tile of 2^n
    that is partly empty does work that XLA does not, so a width in between is not covered. Inputs
    and outputs may be fewer than measured: what both have to read and write is then less. Depth and
    rows may lie between measured ones if each of the nearest on either side is on record and won;
    outside of what was measured, nothing is concluded.

    Args:
      kernel: population, narrow_forward or narrow_mlp.
      net: the network.
      dtype: that of its parameters.
      rows: how many examples; of population how many networks.
      batch: B of population.
      optimizer: of population, the name of its rule.
    """
    asked = (kernel, batch, optimizer)
    near = [m for m in RECORD if (m.kernel, m.batch, m.optimizer) == asked and _like(m, net, dtype)]
    if not near:  # as long as this is so, no device is asked for
        return False
    card = jax.devices()[0].device_kind
    return _surrounded([m for m in near if m.card == card], net.depth, rows)


def arithmetic(net: Network, dtype: DTypeLike) -> str | None:
    """How products are taken: the dtype of the parameters, and of factors where that is another.

    float32 is full float32 under `jax.default_matmul_precision("highest")`, and "tf32" under JAX's
    own setting; of any other setting nothing is known.
    """
    name = jnp.dtype(dtype).name
    factors = net.plan.compute_dtype or name
    if factors != name:
        return f"{name}, factors in {factors}"
    if name == "float32":
        precision = getattr(jax.config, PRECISION)
        if precision in (None, "default", "tensorfloat32"):
            return "tf32"
        return name if precision in ("highest", "float32") else None
    return name


def _like(m: Measurement, net: Network, dtype: DTypeLike) -> bool:
    """Whether the network is of the kind that was measured, depth apart."""
    inputs, *hidden, outputs = net.sizes
    return (
        m.arithmetic == arithmetic(net, dtype)
        and {m.width} == {*hidden}
        and {m.activation} == {*net.activations}
        and inputs <= m.inputs
        and outputs <= m.outputs
    )


def _surrounded(near: list[Measurement], depth: int, rows: int) -> bool:
    """Whether all corners of the smallest recorded box around the point are there and won."""
    corners = [
        (d, r)
        for d in _sides({m.depth for m in near}, depth)
        for r in _sides({m.rows for m in near}, rows)
    ]
    found = {corner: [m.lower for m in near if (m.depth, m.rows) == corner] for corner in corners}
    return bool(found) and all(lower and min(lower) >= BAR for lower in found.values())


def _sides(measured: set[int], value: int) -> set[int]:
    """The nearest measured values on either side, or none where it is outside of them."""
    below, above = [v for v in measured if v <= value], [v for v in measured if v >= value]
    return {max(below), min(above)} if below and above else set()
