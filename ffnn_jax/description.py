"""A network as plain JSON, the form in which a file says what its numbers belong to.

  {"sizes": [n_0, …, n_L], "activation": name or names, "output": name, "dropout": rate or rates,
   "loss": name, "own_loss": whether it is one of the user's own}

The plan is no part of it: it says how to compute, not what.
"""

import dataclasses
from typing import Any

from ffnn_jax import network
from ffnn_jax.network import Network
from ffnn_jax.outputs import Loss

FIELDS = ("sizes", "activation", "output", "dropout", "loss", "own_loss")
YOUNGER = {"dropout": 0.0}  # fields that descriptions of the first version do not have


def describe(net: Network) -> dict[str, Any]:
    """The network as a dict that JSON can hold.

    A loss of the user's own is described by its name alone: its functions cannot be stored.

    Args:
      net: the network.

    Returns:
      Its fields but for the plan, as strings, numbers and lists.

    Raises:
      TypeError: net is no Network.

    Example:
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.description import describe
      >>> describe(ffnn.Network((4, 3), output="softmax"))["loss"]
      'cross_entropy'
    """
    network.check_network(net)
    loss = network.loss_of(net)
    values = {**vars(net), "loss": loss.name, "own_loss": not _is_named(net, loss)}
    described = {name: values[name] for name in FIELDS}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in described.items()}


def network_of(description: Any, *, loss: Loss | None = None) -> Network:
    """The network of such a dict.

    Args:
      description: as from `describe`.
      loss: the `Loss` of that name, where the network had one of the user's own.

    Returns:
      A `Network`, equal to the one described.

    Raises:
      TypeError: the description is no dict, or loss no Loss.
      ValueError: a field is missing or unknown, or has a value that no network has; the loss is one
        of the user's own and none is given, or one is given that has another name.
    """
    return with_loss(without_loss(description), description, loss)


def without_loss(description: Any) -> Network:
    """The network of a description, with the output's own loss in place of one of the user's own.

    Raises:
      TypeError, ValueError: as of `network_of`, for the description.
    """
    if not isinstance(description, dict):
        raise TypeError(f"description: expected a dict, got {type(description).__name__}")
    fields = {**YOUNGER, **description}
    if set(fields) != set(FIELDS):
        raise ValueError(
            f"description: expected the fields {', '.join(FIELDS)}; got {', '.join(description)}"
        )
    if not isinstance(fields.pop("own_loss"), bool) or not isinstance(fields["loss"], str):
        raise ValueError("description: expected a loss's name, and whether it is one's own")
    if description["own_loss"]:
        del fields["loss"]
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()
    }
    try:
        return Network(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"description: {error}") from None


def with_loss(net: Network, description: dict[str, Any], loss: Loss | None) -> Network:
    """The network with the loss given, which is that of the description.

    Raises:
      TypeError, ValueError: as of `network_of`, for the loss.
    """
    name, own = description["loss"], description["own_loss"]
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(f"loss: expected a Loss, got {loss!r}")
    if (own and loss is None) or (loss is not None and loss.name != name):
        came = "none" if loss is None else repr(loss.name)
        raise ValueError(f"loss: the network has the Loss {name!r}, pass it as loss=; got {came}")
    return net if loss is None else dataclasses.replace(net, loss=loss)


def _is_named(net: Network, loss: Loss) -> bool:
    """Whether the name of a loss is enough to have it again."""
    try:
        named = dataclasses.replace(net, loss=loss.name)
    except ValueError:
        return False
    return network.loss_of(named) == loss
