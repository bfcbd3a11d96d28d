"""Whether a training runs over equal hidden layers as one: `Plan(scan_layers=…)`."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from ffnn_jax.backprop import FEWEST_CLASSES, loss
from ffnn_jax.deep.block import Block, block_of
from ffnn_jax.deep.optimizer import NotAlikeError, stacked_kinds, update_for
from ffnn_jax.network import Layer, Network, Params

# Without being asked for it is done from so many equal hidden layers on, for so many steps times m²
# at most: a step takes a quarter more time (docs/log.md), so it pays where most is compiling.
FEWEST = 64
SHORT = 2**22


def chosen(
    net: Network,
    optimizer: Any,
    dtype: Any,
    opt_state: Any,
    *,
    objective: Any,
    accumulate: int,
    on_mesh: bool,
    traced: bool = False,
    steps: int | None = None,
) -> Block | None:
    """The layers that are to run as one, or None.

    Args:
      net: the network, with its plan.
      optimizer: an optax optimizer.
      dtype: of the parameters.
      opt_state: the optimizer's state, or None for a new one.
      objective, accumulate: of the recipe.
      on_mesh: whether the parameters live on a mesh.
      traced: whether the loop is part of a program that is not ours.
      steps: how many steps the loop is for, or None where that is not known.

    Raises:
      NotImplementedError: the plan asks for it, and it cannot be done.
    """
    wanted, block = net.plan.scan_layers, block_of(net)
    if wanted is False or (wanted is None and not _pays(net, block, steps)):
        return None
    reason = _hindrance(net, objective, accumulate, on_mesh, traced)
    if reason is None and block is None:
        reason = "there are no three hidden layers in a row of one width and one activation"
    if reason is None and block is not None:
        try:
            _check_optimizer(net, optimizer, block, dtype, opt_state)
        except NotAlikeError as error:
            reason = str(error)
    if reason is None:
        return block
    if wanted:
        raise NotImplementedError(f"Plan(scan_layers=True): {reason}")
    return None


def _pays(net: Network, block: Block | None, steps: int | None) -> bool:
    """Whether it is worth it: many layers to compile, and few steps."""
    if block is None or steps is None:
        return False
    return block.size + 1 >= FEWEST and steps * net.sizes[block.below] ** 2 <= SHORT


def check_not_asked(net: Network, name: str) -> None:
    """The plan does not ask for one compiled layer where a function has none.

    Raises:
      NotImplementedError: it does.
    """
    if net.plan.scan_layers:
        raise NotImplementedError(f"Plan(scan_layers=True): {name} compiles each layer by itself")


def _hindrance(
    net: Network, objective: Any, accumulate: int, on_mesh: bool, traced: bool
) -> str | None:
    """What is in the way, the layers and the optimizer apart."""
    plan = net.plan
    blocks = plan.class_blocks
    if blocks is None:
        blocks = net.output == "softmax" and net.sizes[-1] >= FEWEST_CLASSES
    hindrances = {
        "a loop inside a jit of yours would stack the layers in your program": traced,
        "not on a mesh": on_mesh,
        "an objective other than `loss` needs each layer by itself": objective is not loss,
        "not with accumulate": accumulate != 1,
        "not with dropout": any(net.dropouts),
        "not with keep_every": plan.keep_every != 1,
        "not with the last layer in blocks of classes": bool(blocks),
        'not with implementation="pallas"': plan.implementation == "pallas",
    }
    return next((reason for reason, holds in hindrances.items() if holds), None)


def _check_optimizer(
    net: Network, optimizer: Any, block: Block, dtype: Any, opt_state: Any
) -> None:
    """The optimizer treats the layers of the block alike, and each by itself."""

    def zeros() -> Params:
        pairs = itertools.pairwise(net.sizes)
        return tuple(Layer(jnp.zeros((n, m), dtype), jnp.zeros(n, dtype)) for m, n in pairs)

    params = jax.eval_shape(zeros)
    if opt_state is None:
        opt_state = jax.eval_shape(optimizer.init, params)
    params, opt_state = stacked_kinds(block, (params, opt_state))
    update_for(optimizer, block, params, opt_state, jax.ShapeDtypeStruct((), dtype))
