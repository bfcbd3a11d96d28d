"""What a layout must move in a training step, from its sizes alone.

B examples a step on D devices of `data` are ⌈B/D⌉ = r on each. A pair of layers (k, k+1) is split
over `model`: W_k by rows, so that each device has some units of layer k, and W_{k+1} by columns, so
that it needs no others. What each device moves:

  over model   a_{k+1} = Σ_devices W_{k+1} h_k       all-reduce of r n_{k+1} numbers, forward
               ∇h_{k−1} = Σ_devices W_kᵀ ∇a_k        all-reduce of r n_{k−1} numbers, back, k > 1
  over data    x, y, weights of the batch            all-to-all of D c rows, see `transfer`
               weights, for their sum                all-gather of D r numbers
               ∇W_k, ∇b_k and ℒ: sums over examples  all-reduce of what one device has of them
               W_k that is split over data (ZeRO)    all-gather of it, before it is used
               ∇W_k of such                          reduce-scatter, in place of the all-reduce

Sources: Shoeybi et al. 2019, "Megatron-LM", section 3; Rajbhandari et al. 2020, "ZeRO", section 7.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jax.typing import DTypeLike

from ffnn_jax import checks, network
from ffnn_jax.losses import is_cross_entropy
from ffnn_jax.network import Layer, Network
from ffnn_jax.sharding.collectives import Collective
from ffnn_jax.sharding.placement import DATA, MODEL, Placement, axes_of, check_spec
from ffnn_jax.sharding.transfer import capacity

Moved = tuple[str, str, int, str]  # kind, axis, bytes, source
MORE = "more rounds"  # in the source of what only some draws move


def expected_collectives(
    net: Network,
    mesh: Mesh | AbstractMesh,
    placement: Placement,
    batch_size: int,
    *,
    weighted: bool = False,
    dtype: DTypeLike = "float32",
    steps: int = 1,
) -> tuple[Collective, ...]:
    """What a step of `fit` must move between devices, with an optimizer that works entry by entry.

    Args:
      net: the network. y is taken for classes where its loss is a cross-entropy with softmax, and
        for n_L numbers elsewhere.
      mesh: with axes `data`, `model` or both.
      placement: a `Layer(W=PartitionSpec, b=PartitionSpec)` of each layer: whole, or in pairs by
        rows and then by columns over `model`; any of them split over `data` too.
      batch_size: B, of the whole batch.
      weighted: whether examples have weights of yours.
      dtype: of the parameters.
      steps: how many are taken: `times` of each exchange.

    Returns:
      A `Collective` for each quantity. XLA joins those that can wait for each other, so compare
      their `collective_totals`. Rows of more rounds than one, of which it depends on the draw
      whether there are any, have None for `times`.

    Raises:
      TypeError: net is no Network, mesh no mesh, placement no tuple of Layer, dtype not floating.
      ValueError: batch_size or steps below 1; a placement that does not fit the network or the
        mesh, or one that is none of the above, where what is moved is up to XLA.

    Example:
      >>> from jax.sharding import AbstractMesh, PartitionSpec as P
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.sharding.arithmetic import expected_collectives
      >>> net = ffnn.Network((4, 8, 3), output="softmax")
      >>> pair = (ffnn.Layer(P("model", None), P("model")), ffnn.Layer(P(None, "model"), P()))
      >>> moved = expected_collectives(net, AbstractMesh((2,), ("model",)), pair, 32)
      >>> ffnn.collective_totals(moved)  # a_2 of 32 examples, 3 numbers of 4 bytes each
      {('all-reduce', ('model',)): 384}
    """
    network.check_network(net)
    if not isinstance(mesh, Mesh | AbstractMesh):
        raise TypeError(f"mesh: expected a mesh, got {checks.kind(mesh)}")
    size = checks.check_float_dtype("dtype", dtype).itemsize
    batch_size = checks.check_positive_int("batch_size", batch_size)
    steps = checks.check_positive_int("steps", steps)
    roles = _roles(net, mesh, placement)
    parts = mesh.shape.get(DATA, 1)
    examples = -(-batch_size // parts)
    moved = [
        *_rows(net, examples, parts, size, weighted),
        *_over_model(net, roles, examples * size),
        *_over_data(net, mesh, placement, size),
    ]

    def times(source: str) -> int | None:
        return None if source.endswith(MORE) else steps

    return tuple(
        Collective(kind, (axis,), n, mesh.shape[axis], times(source), source)
        for kind, axis, n, source in moved
        if mesh.shape.get(axis, 1) > 1
    )


def _rows(net: Network, r: int, parts: int, size: int, weighted: bool) -> Iterator[Moved]:
    """The batch, each row from the device that has it; weights go to all, for their sum."""
    classes = net.output == "softmax" and is_cross_entropy(net.loss)
    c = capacity(r, parts)
    a_row = {"x": net.sizes[0] * size, "y": 4 if classes else net.sizes[-1] * size}
    if weighted:
        a_row["w"] = max(size, 4)
        yield "all-gather", DATA, parts * r * a_row["w"], "w"
    for name, n in a_row.items():
        yield "all-to-all", DATA, parts * c * n, name
        if c < r:
            yield "all-to-all", DATA, parts * c * n, f"{name}, {MORE}"


def _over_model(net: Network, roles: tuple[str, ...], bytes_a_unit: int) -> Iterator[Moved]:
    """The sums that a pair of layers needs; bytes_a_unit is one number for each example here."""
    for k, role in enumerate(roles, start=1):
        if role == "by columns":
            yield "all-reduce", MODEL, net.sizes[k] * bytes_a_unit, f"a_{k}"
        if role == "by rows" and k > 1:
            yield "all-reduce", MODEL, net.sizes[k - 1] * bytes_a_unit, f"∇h_{k - 1}"


def _over_data(
    net: Network, mesh: Mesh | AbstractMesh, placement: Placement, size: int
) -> Iterator[Moved]:
    """Parameters where they are split over data, their gradients, and the loss."""
    for k, layer in enumerate(placement, start=1):
        shapes = (net.sizes[k], net.sizes[k - 1]), (net.sizes[k],)
        for name, spec, shape in zip("Wb", layer, shapes, strict=True):
            axes = _axes(spec)
            here = math.prod(shape) * size // (mesh.shape[MODEL] if MODEL in axes else 1)
            if DATA in axes:
                yield "all-gather", DATA, here, f"{name}_{k}"
                yield "reduce-scatter", DATA, here, f"∇{name}_{k}"
            else:
                yield "all-reduce", DATA, here, f"∇{name}_{k}"
    yield "all-reduce", DATA, size, "ℒ"


# The placement -----------------------------------------------------------------------------------


def _roles(net: Network, mesh: Mesh | AbstractMesh, placement: Any) -> tuple[str, ...]:
    """What each layer is over model: by rows, always followed by columns, or whole."""
    if not isinstance(placement, tuple | list) or len(placement) != net.depth:
        raise TypeError(
            f"placement: expected a tuple of {net.depth} Layer, got {checks.kind(placement)}"
        )
    roles = []
    for k, layer in enumerate(placement, start=1):
        roles.append(_role(k, layer))
        check_spec(f"placement[{k - 1}].W", layer.W, (net.sizes[k], net.sizes[k - 1]), mesh)
        check_spec(f"placement[{k - 1}].b", layer.b, (net.sizes[k],), mesh)
    for k, (before, role) in enumerate(itertools.pairwise(("", *roles, "")), start=1):
        if (before == "by rows") != (role == "by columns"):
            got = [f"layer {j} {words}" for j, words in ((k - 1, before), (k, role)) if words]
            raise ValueError(
                "placement: expected layers over model in pairs, by rows, W=P('model', None), and "
                f"then by columns, W=P(None, 'model'); got {' and '.join(got)} of {net.depth} "
                "layers. What another layout moves is up to XLA: `collectives` reads it from the "
                "program"
            )
    return tuple(roles)


def _role(k: int, layer: Any) -> str:
    """What layer k is over model."""
    if not isinstance(layer, Layer) or not all(isinstance(s, PartitionSpec) for s in layer):
        raise TypeError(f"placement[{k - 1}]: expected a Layer of PartitionSpec, got {layer!r}")
    by_rows, by_columns = (MODEL in _axes(layer.W[i : i + 1]) for i in range(2))
    if (MODEL in _axes(layer.b)) != by_rows:
        raise ValueError(
            f"placement[{k - 1}]: expected b split over model as the rows of W are; got {layer}"
        )
    return "by rows" if by_rows else "by columns" if by_columns else "whole"


def _axes(spec: Any) -> tuple[str, ...]:
    """The names of the mesh axes in (entries of) a PartitionSpec."""
    return tuple(axis for entry in spec for axis in axes_of(entry))
