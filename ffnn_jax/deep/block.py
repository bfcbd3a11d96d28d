"""A block: equal hidden layers that run as one, and trees of layers with those of it stacked.

The parameters of a network, and whatever an optimizer keeps for each of them, are tuples of L
layers. `Stacked`, the n layers of the block are one, of arrays with a leading axis n:

  (…, Layer(W (m, m), b (m,)), n times, …)   →   Stacked((…), Layer(W (n, m, m), b (n, m)), (…))

XLA on CPU compiles each slice of a stack as a function of its own. So a stack is made and taken
apart by NumPy, outside of the compiled loop that works on it.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.network import Layer, Network


class Block(NamedTuple):
    """Layers below + 1, …, below + size of a network: `params[below : below + size]`.

    They and hidden layer `below` have one width and one activation.

    Attributes:
      below: how many layers are below it, at least 1.
      size: n.
      depth: L.
    """

    below: int
    size: int
    depth: int


class Stacked(NamedTuple):
    """A tuple of L layers with those of a block in one.

    Attributes:
      below: the layers below the block.
      block: those of it, each array with a leading axis n.
      above: the layers above it.
    """

    below: tuple[Layer, ...]
    block: Layer
    above: tuple[Layer, ...]


def block_of(net: Network) -> Block | None:
    """The longest row of hidden layers of one width and one activation, but for its first.

    What comes into the first may be of another width. None where there are fewer than three.
    """
    kinds = list(zip(net.sizes[1:-1], net.activations, strict=True))
    rows = [list(row) for _, row in itertools.groupby(range(len(kinds)), kinds.__getitem__)]
    longest = max(rows, key=len, default=[])
    if len(longest) < 3:
        return None
    return Block(longest[0] + 1, len(longest) - 1, net.depth)


def refusal(reason: str) -> NotImplementedError:
    """The error where a plan asks for one compiled layer, and it cannot be."""
    return NotImplementedError(
        f"Plan(scan_layers=True): {reason}; with scan_layers=False each layer is compiled by itself"
    )


def _join(layers: tuple[Layer, ...]) -> Layer:
    """One layer of stacks."""

    def join(*leaves: Any) -> jax.Array:
        return jax.device_put(np.stack([np.asarray(t) for t in leaves]), _home(leaves[0]))

    return jax.tree.map(join, *layers)


def _part(layer: Layer, count: int) -> list[Layer]:
    """The layers of which this one was made."""

    def part(t: jax.Array) -> list[jax.Array]:
        rows = np.asarray(t)
        return jax.device_put([np.array(rows[i]) for i in range(count)], _home(t))

    parts, structure = [part(t) for t in jax.tree.leaves(layer)], jax.tree.structure(layer)
    return [structure.unflatten([leaves[i] for leaves in parts]) for i in range(count)]


def _home(t: Any) -> jax.sharding.Sharding | None:
    """Where it was put; None where it merely is."""
    return t.sharding if getattr(t, "committed", False) else None


def stacked(block: Block, tree: Any, join: Callable[[tuple[Layer, ...]], Layer] = _join) -> Any:
    """A tree with each tuple of L layers in it `Stacked`.

    Args:
      block: which layers.
      tree: any pytree, such as a `TrainState`.
      join: makes one layer of those of the block.
    """
    below, top = block.below, block.below + block.size

    def is_layers(node: Any) -> bool:
        return (
            type(node) is tuple
            and len(node) == block.depth
            and all(isinstance(layer, Layer) for layer in node)
        )

    def of_layers(node: Any) -> Any:
        if not is_layers(node):
            return node
        return Stacked(node[:below], join(node[below:top]), node[top:])

    return jax.tree.map(of_layers, tree, is_leaf=is_layers)


def unstacked(block: Block, tree: Any, part: Callable[[Layer, int], list[Layer]] = _part) -> Any:
    """What was `stacked`, as it was.

    Args:
      block: which layers.
      tree: from `stacked`.
      part: makes n layers of one.
    """

    def is_stacked(node: Any) -> bool:
        return isinstance(node, Stacked)

    def of_stacked(node: Any) -> Any:
        if not is_stacked(node):
            return node
        return *node.below, *part(node.block, block.size), *node.above

    return jax.tree.map(of_stacked, tree, is_leaf=is_stacked)


def kinds_of(tree: Any) -> Any:
    """Shape, dtype and weak type of each leaf, which may be an array, a number or those alone."""
    return jax.eval_shape(lambda tree: tree, tree)


def stacked_kinds(block: Block, tree: Any) -> Any:
    """`kinds_of` a tree of layers, stacked.

    Raises:
      NotImplementedError: a stack of what belongs to the layers of the block would be another
        thing, for it has another shape in one of them, no dtype of its own, or is a key.
    """

    def join(layers: tuple[Layer, ...]) -> Layer:
        if any(layer != layers[0] for layer in layers):
            raise refusal("what the optimizer keeps is not of one shape for all of these layers")
        if any(map(_is_no_stack, jax.tree.leaves(layers[0]))):
            raise refusal("the state of these layers has keys or weakly typed numbers in it")
        return jax.tree.map(
            lambda t: jax.ShapeDtypeStruct((len(layers), *t.shape), t.dtype), layers[0]
        )

    return stacked(block, kinds_of(tree), join)


def _is_no_stack(t: jax.ShapeDtypeStruct) -> bool:
    return t.weak_type or jnp.issubdtype(t.dtype, jax.dtypes.extended)


def unstacked_kinds(block: Block, tree: Any) -> Any:
    """The kinds of which `stacked_kinds` is."""

    def part(layer: Layer, count: int) -> list[Layer]:
        one = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape[1:], t.dtype), layer)
        return [one] * count

    return unstacked(block, tree, part)
