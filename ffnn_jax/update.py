"""One change of the parameters by an optax optimizer, with everything that its update asks for."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import optax

from ffnn_jax.network import Params


def updated(
    optimizer: optax.GradientTransformation,
    params: Params,
    opt_state: Any,
    grads: Params,
    value: jax.Array,
    value_of: Callable[[Params], jax.Array],
) -> tuple[Params, Any]:
    """The parameters and the optimizer's state after a step.

    Args:
      optimizer: any optax optimizer; one that takes the value, the gradient or the function after
        (updates, state, params) is given them.
      params: before the step.
      opt_state: before the step.
      grads: ∇ℒ at params.
      value: ℒ at params.
      value_of: ℒ as a function of the parameters.

    Returns:
      (params, opt_state).
    """
    extra = _extra_arguments(optimizer, value=value, grad=grads, value_fn=value_of)
    updates, opt_state = optimizer.update(grads, opt_state, params, **extra)
    changed: Any = optax.apply_updates(params, updates)
    return changed, opt_state


def _extra_arguments(optimizer: optax.GradientTransformation, **arguments: Any) -> dict[str, Any]:
    """Those of the arguments that the optimizer's update takes after (updates, state, params)."""
    takes = list(inspect.signature(optimizer.update).parameters.values())[3:]
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in takes):
        return arguments
    return {
        parameter.name: arguments[parameter.name]
        for parameter in takes
        if parameter.name in arguments
    }
