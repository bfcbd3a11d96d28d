"""Where parameters live on a mesh: the rule, the checks, and the state of a training in its place.

Over `data` parameters are whole. Over `model` layers are split in pairs (Megatron-LM, Shoeybi et
al. 2019, section 3), W_k by rows and W_{k+1} by columns:

  a_k = W_k h_{k−1} + b_k            each device its rows of W_k and b_k: its part of a_k, h_k
  a_{k+1} = Σ_devices W_{k+1} h_k    each device its columns of W_{k+1}: one sum over devices
  ∇h_{k−1} = Σ_devices W_kᵀ ∇a_k     one sum over devices on the way back, none for k = 1

so that a pair moves N n_{k+1} and N n_{k−1} numbers in a batch of N examples, and what lies
between its two layers moves nothing.
"""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from ffnn_jax import checks, network
from ffnn_jax.network import Layer, Network

DATA, MODEL, MEMBER = "data", "model", "member"
MEANINGS = {DATA: "rows of the batch", MODEL: "wide layers", MEMBER: "networks"}
WIDE = 512  # layers with fewer units stay whole: their sum over devices takes longer than they do

Placement = tuple[Layer, ...]  # of PartitionSpecs


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh and where on it the parameters live: static, and part of what is compiled.

    Attributes:
      mesh: as it came.
      placement: a `Layer(W, b)` of PartitionSpecs for each layer.
    """

    mesh: Mesh
    placement: Placement

    @property
    def auto(self) -> Any:
        """The same devices with axes of the kind Auto.

        Training runs on this one, and hands its result back on the mesh as it came: an optimizer
        and an objective need to know nothing of Explicit axes. Inside a `jax.shard_map` over some
        of its axes it is the mesh there, of which the others are left.
        """
        here = jax.sharding.get_abstract_mesh()
        return here if here.manual_axes else automatic(self.mesh)

    @property
    def free_axes(self) -> frozenset[str]:
        """The axes over which a `jax.shard_map` can be taken here."""
        return frozenset(self.auto.axis_names) - frozenset(self.auto.manual_axes)

    @property
    def data_size(self) -> int:
        """D, in how many parts a batch is split."""
        return self.mesh.shape.get(DATA, 1)

    def sharding(self, *spec: Any) -> NamedSharding:
        """Where an array with this PartitionSpec lives."""
        return NamedSharding(self.auto, PartitionSpec(*spec))

    def rows(self, *before: Any) -> NamedSharding:
        """Where an array lives whose axis after those before it is the rows of a batch."""
        return self.sharding(*before, DATA if self.data_size > 1 else None)

    def splits_parameters(self, axis: str) -> bool:
        """Whether some parameter is split over the axis."""
        specs = jax.tree.leaves(self.placement, is_leaf=_is_spec)
        return any(axis in axes_of(entry) for spec in specs for entry in spec)


def placement(net: Network, mesh: Mesh, *, wide: int = WIDE) -> Placement:
    """Where each W_k and b_k lives: split in pairs over `model`, whole over every other axis.

    A pair is W_k by rows with its b_k, and W_{k+1} by columns with a whole b_{k+1}. It is split
    where n_k ≥ wide and the size of `model` divides n_k; otherwise layer k is whole on each device,
    and the next pair may start at k + 1. A last layer without a partner is split by rows on the
    same conditions.

    Args:
      net: the network.
      mesh: a mesh, as from `jax.make_mesh`, with axes named data, model or member.
      wide: from how many units on a layer is split.

    Returns:
      A tuple of L `Layer(W, b)` of PartitionSpecs; change it as you like, and pass it as
      `placement=` to `init_state`, `train_epoch` or `fit`.

    Raises:
      TypeError: net is no Network, mesh no Mesh, or wide no int.
      ValueError: an axis of the mesh has another name, or wide is below 1.

    Example:
      >>> import jax
      >>> from ffnn_jax import Network
      >>> from ffnn_jax.sharding.placement import placement
      >>> mesh = jax.make_mesh((1, 1), ("data", "model"))
      >>> first, second, last = placement(Network((784, 512, 512, 10)), mesh)
      >>> first == (jax.P("model", None), jax.P("model"))
      True
      >>> second == (jax.P(None, "model"), jax.P()) and last == (jax.P(), jax.P())
      True
    """
    network.check_network(net)
    check_mesh(mesh)
    wide = checks.check_positive_int("wide", wide)
    P, layers, k = PartitionSpec, [], 1
    rows = _of_layer(P(MODEL, None), P(MODEL))
    columns, whole = _of_layer(P(None, MODEL), P()), _of_layer(P(), P())
    while k <= net.depth:
        n = net.sizes[k]
        if MODEL in mesh.shape and n >= wide and n % mesh.shape[MODEL] == 0:
            pair = [rows, columns][: net.depth - k + 1]
        else:
            pair = [whole]
        layers += pair
        k += len(pair)
    return tuple(layers)


def _of_layer(W: Any, b: Any) -> Layer:
    """Where the parameters of a layer live."""
    return Layer(W, b)


# Checks ------------------------------------------------------------------------------------------


def check_mesh(mesh: Any, known: tuple[str, ...] = (DATA, MODEL, MEMBER)) -> None:
    """mesh is one of devices, and each of its axes is known."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            "mesh: expected a mesh of devices, as from jax.make_mesh((4,), ('data',)); got "
            f"{checks.kind(mesh)}"
        )
    expected = ", ".join(f"{name} ({MEANINGS[name]})" for name in known)
    for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True):
        if name not in known:
            hint = "; many networks are for fit_many" if name == MEMBER else ""
            raise ValueError(f"mesh: expected axes named {expected}; got {name!r}{hint}")
        if kind == AxisType.Manual:
            raise ValueError(f"mesh: expected Auto or Explicit axes, got {name!r}, which is Manual")
    if not mesh.axis_names:
        raise ValueError(f"mesh: expected axes named {expected}; got a mesh without axes")


def check_processes(mesh: Mesh) -> None:
    """The mesh has devices of each process: the rows of one that has none would be left out."""
    found = {device.process_index for device in mesh.devices.flat}
    missing = [str(i) for i in range(jax.process_count()) if i not in found]
    if missing:
        raise ValueError(
            f"mesh: expected devices of each of the {jax.process_count()} processes, as "
            f"jax.devices() lists them; got none of process {', '.join(missing)}"
        )


def check_layout(net: Network, mesh: Any, given: Any) -> Layout | None:
    """The arguments mesh= and placement= of a training; None where there is no mesh."""
    if mesh is None:
        if given is not None:
            raise ValueError("placement: expected None without a mesh; pass mesh= as well")
        return None
    check_mesh(mesh, (DATA, MODEL))
    check_processes(mesh)
    if given is None:
        return Layout(mesh, placement(net, mesh))
    if not isinstance(given, tuple | list) or not all(
        isinstance(getattr(layer, name, None), PartitionSpec) for layer in given for name in "Wb"
    ):
        raise TypeError(
            "placement: expected a tuple of Layer(W, b) of PartitionSpecs, as from "
            f"placement(net, mesh); got {checks.kind(given)}"
        )
    if len(given) != net.depth:
        raise ValueError(f"placement: expected {net.depth} layers, got {len(given)}")
    for k, layer in enumerate(given, start=1):
        check_spec(f"placement[{k - 1}].W", layer.W, (net.sizes[k], net.sizes[k - 1]), mesh)
        check_spec(f"placement[{k - 1}].b", layer.b, (net.sizes[k],), mesh)
    return Layout(mesh, tuple(_of_layer(layer.W, layer.b) for layer in given))


def check_batches(layout: Layout | None, batch_size: int) -> None:
    """A batch has at least one row for each device of the data axis."""
    if layout is not None and batch_size < layout.data_size:
        raise ValueError(
            f"batch_size: expected at least {layout.data_size}, the size of the mesh's data axis; "
            f"got {batch_size}"
        )


def check_spec(
    argument: str, spec: PartitionSpec, shape: tuple[int, ...], mesh: Mesh | AbstractMesh
) -> None:
    """An array of the shape can be split so on the mesh."""
    if len(spec) > len(shape):
        raise ValueError(f"{argument}: expected at most {len(shape)} entries, got {spec}")
    odd = spec.unreduced or spec.reduced or PartitionSpec.UNCONSTRAINED in tuple(spec.partitions)
    names = [] if odd else [name for entry in spec for name in axes_of(entry)]
    if odd or any(name not in mesh.shape or names.count(name) > 1 for name in names):
        raise ValueError(
            f"{argument}: expected axes of the mesh, {', '.join(mesh.axis_names)}, each at most "
            f"once; got {spec}"
        )
    for n, parts in zip(shape, _parts(mesh, spec), strict=False):
        if n % parts:
            raise ValueError(f"{argument}: {n} does not divide into {parts} parts, as {spec} has")


def axes_of(entry: Any) -> tuple[str, ...]:
    """The mesh axes of one entry of a PartitionSpec."""
    if entry is None:
        return ()
    return tuple(entry) if isinstance(entry, tuple | list) else (entry,)


def _parts(mesh: Mesh | AbstractMesh, spec: PartitionSpec) -> list[int]:
    """In how many parts each axis of an array is split."""
    return [math.prod(mesh.shape[name] for name in axes_of(entry)) for entry in spec]


# Arrays in their place ---------------------------------------------------------------------------


@functools.cache
def automatic(mesh: Mesh) -> Mesh:
    """The mesh with axes of the kind Auto."""
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)


def on(layout: Layout | None) -> contextlib.AbstractContextManager[Any]:
    """The context to trace and call in: another mesh that the caller works on is put aside.

    Inside a jit, vmap or grad JAX does not set a mesh of devices, only an abstract one, of the size
    of the one before it.
    """
    if layout is None:
        return contextlib.nullcontext()
    try:
        return jax.set_mesh(layout.auto)
    except ValueError:
        here, mesh = jax.sharding.get_abstract_mesh(), layout.auto.abstract_mesh
    if not here.empty and here.size != mesh.size:
        raise ValueError(
            f"mesh: expected {here.size} devices, as has the mesh of the jax.set_mesh around this "
            f"jit, vmap or grad, {here.axis_names}; got {mesh.size}; leave that jax.set_mesh, or "
            "give it this mesh"
        )
    return jax.sharding.use_abstract_mesh(mesh)


def computed_on(layout: Layout | None, net: Network) -> Network:
    """The network with a plan for the mesh: a_L in blocks of classes only where that is asked for.

    Blocks are cut out of a W_L that is whole, and their gradients are summed over `data` twice.
    """
    if layout is None:
        return net
    split = any(axes_of(entry) for entry in layout.placement[-1].W)
    blocks = bool(net.plan.class_blocks) and not split
    return dataclasses.replace(net, plan=dataclasses.replace(net.plan, class_blocks=blocks))


def shardings_of(layout: Layout, tree: Any) -> Any:
    """Where each leaf of a tree lives: what belongs to a parameter where that does, others whole.

    To a parameter belongs a leaf that is found as the parameter is, (…)[k].W or (…)[k].b, and has
    its shape or, as the memory of L-BFGS has, its shape behind other axes. This holds for every
    optimizer whose state has trees like the parameters; `optax.tree_map_params` stops at some.
    """
    specs = jax.tree_util.tree_flatten_with_path(layout.placement, is_leaf=_is_spec)[0]
    by_path = dict(specs)

    def sharding(path, leaf):
        spec = by_path.get(path[-2:])
        if spec is None or not _fits(layout, spec, path, np.shape(leaf)):
            return layout.sharding()
        return layout.sharding(*[None] * (np.ndim(leaf) - _rank(path)), *spec)

    return jax.tree_util.tree_map_with_path(sharding, tree)


def parameters_sharding(layout: Layout, *before: Any) -> Placement:
    """Where the parameters live, or arrays with other axes before theirs."""
    return jax.tree.map(
        lambda spec: layout.sharding(*before, *spec), layout.placement, is_leaf=_is_spec
    )


def _is_spec(value: Any) -> bool:
    return isinstance(value, PartitionSpec)


def _rank(path: tuple[Any, ...]) -> int:
    """How many axes the parameter at the end of the path has."""
    return 2 if path[-1].name == "W" else 1


def _fits(layout: Layout, spec: PartitionSpec, path: tuple[Any, ...], shape: Any) -> bool:
    """Whether the last axes of the shape can be split as the parameter is."""
    shape = shape[len(shape) - _rank(path) :]
    if len(shape) < _rank(path):
        return False
    parts = _parts(layout.mesh, spec)
    return all(n % part == 0 for n, part in zip(shape, parts, strict=False))


def constrained(layout: Layout | None, tree: Any) -> Any:
    """The tree, inside a compiled function, with every leaf where it lives."""
    if layout is None:
        return tree
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, shardings_of(layout, tree))


def placed(layout: Layout, tree: Any) -> Any:
    """The tree with every leaf where it lives; each device gets its own part."""
    return jax.tree.map(put, tree, shardings_of(layout, tree))


def put(value: Any, sharding: NamedSharding) -> jax.Array:
    """What every process has whole, or an array that is on the devices already, in its place."""
    if isinstance(value, Tracer):
        return jax.lax.with_sharding_constraint(value, sharding)
    if isinstance(value, jax.Array):
        if value.sharding == sharding:
            return value
        if value.is_fully_addressable and sharding.is_fully_addressable:
            return jax.device_put(value, sharding)
        if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
            words = put(jax.random.key_data(value), sharding)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(value))
        if not value.is_fully_addressable:
            return jax.jit(_same, out_shardings=sharding)(_relabelled(value, sharding.mesh))
    array = np.asarray(value)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _same(t: jax.Array) -> jax.Array:
    return t


def returned(layout: Layout | None, tree: Any) -> Any:
    """The tree on the mesh as it came, of Explicit axes if it had such; nothing is moved."""
    if layout is None or layout.mesh == layout.auto:
        return tree

    def back(leaf, home):
        if isinstance(leaf, Tracer):
            return jax.sharding.reshard(leaf, NamedSharding(layout.mesh, home.spec))
        return _relabelled(leaf, layout.mesh)

    return jax.tree.map(back, tree, shardings_of(layout, tree))


def _relabelled(t: jax.Array, mesh: Any) -> jax.Array:
    """The same parts on the same devices, said to be of this mesh."""
    if not isinstance(t.sharding, NamedSharding) or t.sharding.mesh == mesh:
        return t
    if jax.numpy.issubdtype(t.dtype, jax.dtypes.prng_key):
        words = _relabelled(jax.random.key_data(t), mesh)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(t))
    parts = [shard.data for shard in t.addressable_shards]
    home = NamedSharding(mesh, t.sharding.spec)
    return jax.make_array_from_single_device_arrays(t.shape, home, parts)
