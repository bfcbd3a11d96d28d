"""Whether a training runs over equal hidden layers as one: `Plan(scan_layers=True)`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ffnn_jax.backprop import FEWEST_CLASSES, loss
from ffnn_jax.deep.block import Block, block_of, refusal, stacked_kinds
from ffnn_jax.deep.optimizer import update_for
from ffnn_jax.network import Network, Params
from ffnn_jax.sharding.alike import is_traced


def chosen(
    net: Network,
    optimizer: Any,
    begin: Callable[[], tuple[Params, Any]],
    *,
    objective: Any,
    accumulate: int,
    on_mesh: bool,
    data: Any = (),
) -> Block | None:
    """The layers that are to run as one; None where the plan does not ask for it.

    Args:
      net: the network, with its plan.
      optimizer: an optax optimizer.
      begin: gives (params, opt_state) before the first step, or their shapes; called only where
        the plan asks.
      objective, accumulate: of the recipe.
      on_mesh: whether the training has a mesh.
      data: the arrays that the loop is given beside.

    Raises:
      NotImplementedError: the plan asks for it, and it cannot be done.
    """
    if not net.plan.scan_layers:
        return None
    state = begin()
    traced = is_traced((state, data, jnp.zeros(())))  # inside a jit whatever is made is traced
    reason = _hindrance(net, objective, accumulate, on_mesh, traced)
    if reason is not None:
        raise refusal(reason)
    block = block_of(net)
    if block is None:
        raise refusal("there are no three hidden layers in a row of one width and one activation")
    if any(isinstance(t, jax.Array) and len(t.devices()) > 1 for t in jax.tree.leaves(state)):
        raise refusal("not for arrays on several devices")
    params, opt_state = stacked_kinds(block, state)
    value = jax.ShapeDtypeStruct((), params.block.W.dtype)
    update_for(optimizer, block, params, opt_state, value)
    return block


def check_not_asked(net: Network, name: str) -> None:
    """The plan does not ask for one compiled layer where a function has none.

    Raises:
      NotImplementedError: it does.
    """
    if net.plan.scan_layers:
        raise refusal(f"not in {name}")


def _hindrance(
    net: Network, objective: Any, accumulate: int, on_mesh: bool, traced: bool
) -> str | None:
    """What is in the way, the layers and the optimizer apart."""
    plan = net.plan
    blocks = plan.class_blocks
    if blocks is None:
        blocks = net.output == "softmax" and net.sizes[-1] >= FEWEST_CLASSES
    hindrances = {
        "not inside a jit, vmap or grad of yours, where the layers cannot be stacked first": traced,
        "not on a mesh": on_mesh,
        "not with an objective other than `loss`": objective is not loss,
        "not with accumulate": accumulate != 1,
        "not with dropout": any(net.dropouts),
        "not with keep_every": plan.keep_every != 1,
        "not with the last layer in blocks of classes": bool(blocks),
        'not with implementation="pallas"': plan.implementation == "pallas",
    }
    return next((reason for reason, holds in hindrances.items() if holds), None)
