"""How long a step takes on many H100s: a calculation from bytes, FLOPs and published speeds.

Nothing here was run. Peak speeds, of a GPU and of its links, each way:

  495 TFLOP/s  TF32, dense             NVIDIA, H100 GPU datasheet, SXM: 989 with sparsity
  450 GB/s     NVLink, hosts of 8      the same: 900 GB/s, both ways together
  50 GB/s      InfiniBand NDR, a GPU   NVIDIA, DGX H100 datasheet: eight adapters of 400 Gb/s

A sum over all devices goes first within each host, then between hosts, each GPU its own part over
its own adapter, and back (as NCCL does); rows go straight to the GPU that needs them. Axes of a
mesh are laid out with the last within a host. Latency, and everything but products, is left out, so
what comes out is a bound on the part of a step in which products are computed: "in turn" if nothing
is moved meanwhile, "at once" if all is.
"""

import math
from typing import NamedTuple

from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn
from ffnn_jax.sharding.arithmetic import expected_collectives
from ffnn_jax.sharding.collectives import Collective

FLOPS = 494.7e12
NVLINK, INFINIBAND = 450e9, 50e9  # bytes a second, each way
HOST = 8  # GPUs


class Calculated(NamedTuple):
    """A step on paper.

    Attributes:
      layout: its name.
      shape: data × model.
      state_bytes: parameters and the state of Adam on each device.
      compute_ms: products at the peak.
      moved_ms: exchanges at the speed of the links.
      rows_ms: those of them that bring each row of the batch to its device.
      moved_bytes: sent by each device.
      in_turn, at_once: part of the step in which products are computed.
    """

    layout: str
    shape: tuple[int, int]
    state_bytes: int
    compute_ms: float
    moved_ms: float
    rows_ms: float
    moved_bytes: int
    in_turn: float
    at_once: float


def calculate(net: ffnn.Network, layout: str, shape: tuple[int, int], each: int) -> Calculated:
    """A step of `fit` on a mesh (data, model) of this shape, with so many examples a device."""
    batch_size, placement = each * math.prod(shape), PLACEMENTS[layout](net)
    mesh = AbstractMesh(shape, ("data", "model"))
    moved = [  # rows of one round, which is nearly always enough
        each
        for each in expected_collectives(net, mesh, placement, batch_size)
        if each.times is not None
    ]
    compute = flops(net.sizes, batch_size) / mesh.size / FLOPS
    time = sum(seconds(each, shape[1]) for each in moved)
    rows = sum(seconds(each, shape[1]) for each in moved if each.source in ("x", "y"))
    return Calculated(
        layout,
        shape,
        state_bytes(net, mesh, placement),
        compute * 1e3,
        time * 1e3,
        rows * 1e3,
        round(sum(each.sent for each in moved)),
        compute / (compute + time),
        compute / max(compute, time),
    )


def whole(net: ffnn.Network) -> tuple[ffnn.Layer, ...]:
    """Every parameter on every device."""
    return (ffnn.Layer(P(), P()),) * net.depth


def in_pairs(net: ffnn.Network) -> tuple[ffnn.Layer, ...]:
    """Layers by rows and by columns, an odd last one whole."""
    pair = (ffnn.Layer(P("model", None), P("model")), ffnn.Layer(P(None, "model"), P()))
    return pair * (net.depth // 2) + whole(net)[: net.depth % 2]


def zero(net: ffnn.Network) -> tuple[ffnn.Layer, ...]:
    """W of all but the last layer split over data."""
    return (ffnn.Layer(P("data", None), P()),) * (net.depth - 1) + whole(net)[:1]


PLACEMENTS = {"data": whole, "model": in_pairs, "data × model": in_pairs, "ZeRO": zero}

LAYOUTS = (
    ("data", (8, 1)),
    ("model", (1, 8)),
    ("data", (256, 1)),
    ("ZeRO", (256, 1)),
    ("data × model", (32, 8)),
)


def state_bytes(net: ffnn.Network, mesh: AbstractMesh, placement) -> int:
    """Parameters and two moments, float32, on one device."""
    total = 0
    for k, layer in enumerate(placement, start=1):
        for spec, shape in zip(
            layer, ((net.sizes[k], net.sizes[k - 1]), (net.sizes[k],)), strict=True
        ):
            parts = math.prod(mesh.shape[axis] for axis in spec if axis is not None)
            total += 3 * 4 * math.prod(shape) // parts
    return total


def flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Of a step: 2 B n m for each of three products a layer; ∇x is not taken."""
    products = [m * n for m, n in zip(sizes[1:], sizes[:-1], strict=True)]
    return 2 * batch_size * (3 * sum(products) - products[0])


def seconds(each: Collective, model: int) -> float:
    """An exchange, within hosts and then between them."""
    within = HOST if each.axes == ("model",) else max(1, HOST // model)
    d = min(each.devices, within)  # in one host
    hosts = each.devices // d
    if each.kind == "all-to-all":
        one = each.bytes / each.devices  # to each of the others
        return one * (d - 1) / NVLINK + one * (each.devices - d) / INFINIBAND
    passes = 2 if each.kind == "all-reduce" else 1
    in_host = passes * each.bytes * (d - 1) / d / NVLINK
    between = passes * each.bytes / d * (hosts - 1) / hosts / INFINIBAND
    return in_host + between


def show(name: str, rows: list[Calculated]) -> None:
    print(f"{name}: calculated, not measured")
    figures = "state GB  compute ms  moved ms  rows ms  MB sent  in turn  at once"
    print(f"   layout        data × model  {figures}")
    for row in rows:
        print(
            f"   {row.layout:13}{row.shape[0]:6} ×{row.shape[1]:2}{row.state_bytes / 1e9:14.2f}"
            f"{row.compute_ms:12.3f}{row.moved_ms:10.3f}{row.rows_ms:9.3f}"
            f"{row.moved_bytes / 1e6:9.1f}{row.in_turn:9.2f}{row.at_once:9.2f}"
        )
