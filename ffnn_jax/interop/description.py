"""A network as plain JSON, the form in which a file says what its numbers belong to.

  {"sizes": [n_0, …, n_L], "activation": name or [names], "output": name, "loss": name}

The plan is no part of it: it says how to compute, not what.
"""

from typing import Any

from ffnn_jax import network
from ffnn_jax.network import Network
from ffnn_jax.outputs import Loss

FIELDS = ("sizes", "activation", "output", "loss")


def describe(net: Network) -> dict[str, Any]:
    """The network as a dict that JSON can hold.

    A loss of the user's own is described by its name alone: its functions cannot be stored.

    Raises:
      TypeError: net is no Network.

    Example:
      >>> import ffnn_jax as ffnn
      >>> describe(ffnn.Network((4, 3), output="softmax"))["loss"]
      'cross_entropy'
    """
    network.check_network(net)
    activation = net.activation if isinstance(net.activation, str) else list(net.activation)
    loss = net.loss.name if isinstance(net.loss, Loss) else net.loss
    return dict(zip(FIELDS, (list(net.sizes), activation, net.output, loss), strict=True))


def network_of(description: Any, *, loss: Loss | None = None) -> Network:
    """The network of such a dict.

    Args:
      description: as from `describe`.
      loss: the `Loss` of that name, where the network had one of the user's own.

    Raises:
      TypeError: the description is no dict, or loss no Loss.
      ValueError: a field is missing or unknown, has a value that no network has, or names a loss
        other than the one given, or one that the library does not know.
    """
    if not isinstance(description, dict):
        raise TypeError(f"description: expected a dict, got {type(description).__name__}")
    if set(description) != set(FIELDS):
        raise ValueError(
            f"description: expected the fields {', '.join(FIELDS)}; got {', '.join(description)}"
        )
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(f"loss: expected a Loss, got {loss!r}")
    if loss is not None and loss.name != description["loss"]:
        raise ValueError(f"loss: expected one named {description['loss']!r}, got {loss.name!r}")
    try:
        return Network(**{**description, "loss": loss or description["loss"]})
    except (TypeError, ValueError) as error:
        hint = "; pass a loss of your own as loss=" if str(error).startswith("loss") else ""
        raise ValueError(f"description: {error}{hint}") from None
