"""A block: equal hidden layers that run as one, and trees of layers with those of it stacked.

The parameters of a network, and whatever an optimizer keeps for each of them, are tuples of L
layers. Stacked, the n layers of the block are one entry of such a tuple, with a leading axis n:

  (…, Layer(W (m, m), b (m,)), n times, …)   →   (…, Layer(W (n, m, m), b (n, m)), …)

XLA on CPU compiles each slice of a stack as a function of its own. So a stack is made and taken
apart outside of the loop that works on it: by NumPy on a CPU, elsewhere by one small program for
each shape, which is called once a layer.
"""

import itertools
from collections.abc import Callable
from functools import partial
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

    @property
    def top(self) -> int:
        """k of its last layer."""
        return self.below + self.size


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


_stack = jax.jit(lambda leaves: jnp.stack(leaves))
_at = jax.jit(lambda t, index: jax.lax.dynamic_index_in_dim(t, index, keepdims=False))


def _join(layers: tuple[Layer, ...]) -> Layer:
    """One layer of stacks."""

    def join(*leaves: jax.Array) -> jax.Array:
        if not _in_memory(leaves[0]):
            return _stack(leaves)
        return jax.device_put(np.stack([np.asarray(t) for t in leaves]), _home(leaves[0]))

    return jax.tree.map(join, *layers)


def _part(layer: Layer, count: int) -> list[Layer]:
    """The layers of which this one was made."""

    def part(t: jax.Array) -> list[jax.Array]:
        if not _in_memory(t):
            return [_at(t, np.int32(i)) for i in range(count)]
        return jax.device_put([np.array(row) for row in np.asarray(t)], _home(t))

    parts, structure = [part(t) for t in jax.tree.leaves(layer)], jax.tree.structure(layer)
    return [structure.unflatten(leaves) for leaves in zip(*parts, strict=True)]


def _in_memory(t: jax.Array) -> bool:
    """Whether NumPy sees the array without a copy; then nothing has to be compiled."""
    return all(device.platform == "cpu" for device in t.devices())


def _home(t: jax.Array) -> jax.sharding.Sharding | None:
    """Where it was put; None where it merely is."""
    return t.sharding if t.committed else None


def stacked(block: Block, tree: Any, join: Callable[[tuple[Layer, ...]], Layer] = _join) -> Any:
    """A tree with each tuple of L layers in it stacked.

    Args:
      block: which layers.
      tree: any pytree, such as a `TrainState`.
      join: makes one layer of those of the block.
    """
    below, top = block.below, block.top

    def of_layers(node: Any) -> Any:
        if not _is_layers(block.depth, node):
            return node
        return *node[:below], join(node[below:top]), *node[top:]

    return jax.tree.map(of_layers, tree, is_leaf=partial(_is_layers, block.depth))


def unstacked(block: Block, tree: Any, part: Callable[[Layer, int], list[Layer]] = _part) -> Any:
    """What was `stacked`, as it was.

    Args:
      block: which layers.
      tree: from `stacked`.
      part: makes n layers of one.
    """
    below, depth = block.below, block.depth - block.size + 1

    def of_layers(node: Any) -> Any:
        if not _is_layers(depth, node):
            return node
        return *node[:below], *part(node[below], block.size), *node[below + 1 :]

    return jax.tree.map(of_layers, tree, is_leaf=partial(_is_layers, depth))


def _is_layers(length: int, node: Any) -> bool:
    """Whether it is a tuple of so many layers."""
    return (
        type(node) is tuple
        and len(node) == length
        and all(isinstance(layer, Layer) for layer in node)
    )
