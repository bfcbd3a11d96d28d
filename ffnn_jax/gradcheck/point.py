"""Where a gradient is taken: any function as one of a list of floating arrays."""

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.primal import Traced, count_rules


class Point(NamedTuple):
    """Where the gradient is taken: the leaves that vary, and all there is to call the function."""

    leaves: list[jax.Array]
    paths: list[str]
    positions: list[int]
    everything: list[Any]
    tree: Any

    @staticmethod
    def of(args: tuple[Any, ...], argnums: int | Sequence[int] | None) -> "Point":
        """The floating leaves of the chosen arguments. Raises TypeError where there is none."""
        wanted = chosen(argnums, len(args))
        found, tree = jax.tree_util.tree_flatten_with_path(tuple(args))
        positions = [
            i for i, (path, leaf) in enumerate(found) if path[0].idx in wanted and is_floating(leaf)
        ]
        if not positions:
            raise TypeError("args: expected a floating leaf to differentiate, found none")
        paths = ["args" + jax.tree_util.keystr(found[i][0]) for i in positions]
        leaves = [jnp.asarray(found[i][1]) for i in positions]
        return Point(leaves, paths, positions, [leaf for _, leaf in found], tree)

    def whole(self, fn: Callable[..., Any]) -> tuple[Callable[[list, list], list], list] | None:
        """(a function of the leaves and of all other arrays, those arrays), for the transforms."""
        others = [
            i
            for i, leaf in enumerate(self.everything)
            if i not in self.positions and isinstance(leaf, jax.Array | np.ndarray)
        ]
        if not others:
            return None

        def function(leaves: list, arrays: list) -> list:
            everything = list(self.everything)
            for position, array in zip(others, arrays, strict=True):
                everything[position] = array
            return on_leaves(fn, self._replace(everything=everything), leaves)

        return function, [jnp.asarray(self.everything[i]) for i in others]


def on_leaves(fn: Callable[..., Any], point: Point, leaves: list[jax.Array]) -> Any:
    """The floating outputs of fn as a list."""
    everything = list(point.everything)
    for position, leaf in zip(point.positions, leaves, strict=True):
        everything[position] = leaf
    outputs = fn(*jax.tree.unflatten(point.tree, everything))
    return [t for t in jax.tree.leaves(outputs) if is_floating(t)]


def primal_of(
    rule: Callable[[list], list], reference: Any, deliberate: Any, point: Point
) -> tuple[Traced, str]:
    """What the rule is held against, and that in words."""
    if callable(deliberate):
        of = partial(on_leaves, deliberate, point)
        return Traced.of(of, point.leaves, keeps_rules=True), "the gradient that is meant"
    if reference is not None:
        of = partial(on_leaves, reference, point)
        return Traced.of(of, point.leaves, keeps_rules=True), "the reference given"
    plain = Traced.of(rule, point.leaves)
    met = count_rules(plain.jaxpr)
    if met == 0:
        return plain, "autodiff of itself: no custom rule was met (0 met)"
    return plain, f"the function without its custom rules ({met} met)"


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is a floating array or a Python float."""
    return isinstance(leaf, float) or (
        hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    )


def chosen(argnums: int | Sequence[int] | None, count: int) -> set[int]:
    """The numbers of the arguments that are to vary, of `count`."""
    numbers = range(count) if argnums is None else argnums
    try:
        numbers = list(map(operator.index, numbers if isinstance(numbers, Iterable) else [numbers]))
    except TypeError:
        raise TypeError(f"argnums: expected an int or a tuple of ints, got {argnums!r}") from None
    for number in numbers:
        if not -count <= number < count:
            raise ValueError(f"argnums: expected numbers of the {count} arguments, got {number}")
    return {number % count for number in numbers}
