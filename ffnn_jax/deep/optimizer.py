"""The update of an optimizer for stacked layers, where it provably treats the layers alike.

An optax optimizer is a function of whole trees, and may do anything with them. So its update is
traced once, for the true shapes, and read: it can be run for one layer of the block, under
`jax.vmap` for all of them, if and only if

  what it gives for layer k is made of what belongs to layer k, and of what belongs to no layer of
  the block, such as the number of the step;
  it is made of it in the same way for each layer of the block;
  and what it gives for all else is made of nothing that belongs to a layer of the block.

The update of one layer is then the part of that very program which makes what belongs to it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from ffnn_jax.deep.block import Block, kinds_of, refusal, stacked, unstacked_kinds
from ffnn_jax.deep.expressions import Source, Sources
from ffnn_jax.gradcheck.primal import Traced, bind, opened
from ffnn_jax.network import Layer
from ffnn_jax.update import updated

SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision")  # what a trace depends on as well
# Operations that `jax.vmap` may not take, or that draw other numbers or are another function of
# their user's under it.
UNSURE = frozenset(
    {
        *("pure_callback", "io_callback", "ffi_call", "pallas_call", "custom_partitioning"),
        *("random_bits", "random_gamma", "rng_bit_generator", "rng_uniform", "custom_vmap_call"),
    }
)


class _AskedError(Exception):
    """The optimizer called the function whose value is minimised."""


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """An optimizer's update on stacked trees.

    Attributes:
      tree: the structure of (params, opt_state), stacked.
      of_block: which of the stacked leaves of (params, opt_state, grads, ℒ) are stacks.
      layer: the part for one layer of the block, a function of its leaves and those of none.
      rest: the part for everything else, a function of the leaves of none.
    """

    tree: Any
    of_block: tuple[bool, ...]
    layer: "_Part"
    rest: "_Part"

    def __call__(self, params: Any, opt_state: Any, grads: Any, value: Any) -> tuple[Any, Any]:
        """(params, opt_state) after a step, of stacked trees."""
        leaves = jax.tree.leaves((params, opt_state, grads, value))
        stacks = [t for t, is_stack in zip(leaves, self.of_block, strict=True) if is_stack]
        others = [t for t, is_stack in zip(leaves, self.of_block, strict=True) if not is_stack]
        stacks = iter(jax.vmap(self.layer, in_axes=(0, None))(stacks, others))
        others = iter(self.rest([], others))
        is_stack = self.of_block[: self.tree.num_leaves]
        return self.tree.unflatten([next(stacks if of else others) for of in is_stack])


class _Part:
    """The equations of a jaxpr that some of its outputs need."""

    def __init__(self, jaxpr: Any, stacks: Sequence[int], others: Sequence[int], outputs: Any):
        """The function takes the inputs with these numbers, and gives the outputs with those."""
        jaxpr, constants = opened(jaxpr)
        self.constants = dict(zip(jaxpr.constvars, constants, strict=True))
        self.stacks = [jaxpr.invars[i] for i in stacks]
        self.others = [jaxpr.invars[i] for i in others]
        self.outputs = [jaxpr.outvars[i] for i in outputs]
        needed, self.equations = {id(atom) for atom in self.outputs}, []
        for eqn in reversed(jaxpr.eqns):
            if needed & {id(variable) for variable in eqn.outvars}:
                self.equations.insert(0, eqn)
                needed |= {id(atom) for atom in eqn.invars}

    def __call__(self, stacks: Sequence[Any], others: Sequence[Any]) -> list[Any]:
        values = dict(self.constants)
        values.update(zip(self.stacks, stacks, strict=True))
        values.update(zip(self.others, others, strict=True))

        def read(atom: Any) -> Any:
            if isinstance(atom, core.Literal):
                aval: Any = atom.aval
                return np.asarray(atom.val, aval.dtype)
            return values[atom]

        for eqn in self.equations:
            outputs = bind(eqn, [read(atom) for atom in eqn.invars], eqn.params)
            values.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in self.outputs]


def update_for(optimizer: Any, block: Block, params: Any, opt_state: Any, value: Any) -> Update:
    """The update of an optimizer for stacked params and opt_state; value is ℒ.

    The arrays may be shapes alone. It is traced once for each optimizer and shapes.

    Raises:
      NotImplementedError: there is none.
    """
    leaves, tree = jax.tree.flatten((params, opt_state))
    kinds = tuple(kinds_of((*leaves, value)))
    settings = tuple(getattr(jax.config, name) for name in SETTINGS)
    found = _read(optimizer, block, tree, kinds, settings)
    if isinstance(found, str):
        raise refusal(found)
    return found


@functools.lru_cache(maxsize=16)
def _read(optimizer: Any, block: Block, tree: Any, kinds: Any, settings: Any) -> Update | str:
    """The update, or why there is none."""
    del settings
    *kinds, value = kinds
    params, opt_state = unstacked_kinds(block, tree.unflatten(kinds))
    given = params, opt_state, params, value
    try:
        traced = _traced(optimizer, given)
    except _AskedError:
        return "the optimizer calls the function whose value is minimised"
    if opened(traced.jaxpr)[0].effects or traced.holds(UNSURE):
        return "the optimizer draws random numbers, or does what `jax.vmap` may change"
    inputs, outputs = (_numbers(block, t) for t in (given, given[:2]))
    jaxpr = traced.jaxpr
    reason = _why_not(jaxpr, inputs, outputs)
    if reason is not None:  # perhaps within a jit the layers are apart
        jaxpr = traced.spelled_out()
        reason = _why_not(jaxpr, inputs, outputs)
    if reason is not None:
        return reason
    others = [int(i) for i in inputs if np.ndim(i) == 0]
    layer = _Part(jaxpr, _firsts(inputs), others, _firsts(outputs))
    rest = _Part(jaxpr, [], others, [int(i) for i in outputs if np.ndim(i) == 0])
    return Update(tree, tuple(np.ndim(i) > 0 for i in inputs), layer, rest)


def _firsts(numbers: list[Any]) -> list[int]:
    return [int(i[0]) for i in numbers if np.ndim(i) > 0]


def _traced(optimizer: Any, given: Any) -> Traced:
    """(params, opt_state, grads, ℒ) -> (params, opt_state), in lists of leaves."""
    leaves, tree = jax.tree.flatten(given)
    before = jax.tree.structure(given[:2])

    def value_of(params: Any) -> Any:
        raise _AskedError

    def change(leaves: list[Any]) -> list[Any]:
        params, opt_state, grads, value = tree.unflatten(leaves)
        after = updated(optimizer, params, opt_state, grads, value, value_of)
        return before.flatten_up_to(after)

    return Traced.of(change, leaves, final=True)


def _numbers(block: Block, tree: Any) -> list[Any]:
    """The number of each leaf of a tree of layers, in the order of the stacked leaves.

    Where that leaf is a stack it is the numbers of all layers, (n,).
    """
    leaves, structure = jax.tree.flatten(tree)
    numbers = structure.unflatten(range(len(leaves)))

    def join(layers: tuple[Layer, ...]) -> Layer:
        return jax.tree.map(lambda *numbers: np.array(numbers), *layers)

    return jax.tree.leaves(stacked(block, numbers, join))


def _why_not(jaxpr: Any, inputs: list[Any], outputs: list[Any]) -> str | None:
    """Why the program does not treat the layers alike and each by itself; None where it does."""
    roles: dict[int, tuple[int, int]] = {}
    for role, numbers in enumerate(inputs):
        if np.ndim(numbers) == 0:
            roles[int(numbers)] = role, 0
        else:
            roles.update({int(number): (role, 1 << i) for i, number in enumerate(numbers)})
    made = Sources().of(jaxpr, [roles[i] for i in range(len(roles))])
    for numbers in outputs:
        if np.ndim(numbers) == 0:
            if made[int(numbers)].members:
                return "the optimizer does not treat each layer by itself"
            continue
        of_layers = [made[int(number)] for number in numbers]
        if any(source.members & ~(1 << i) for i, source in enumerate(of_layers)):
            return "the optimizer does not treat each layer by itself"
        if not _one_expression(of_layers):
            return "the optimizer does not treat these layers alike"
    return None


def _one_expression(sources: list[Source]) -> bool:
    return len({source.expression for source in sources}) == 1
