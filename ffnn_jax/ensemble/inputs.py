"""What `fit_many` is given: checked, and as arrays for all members or for each its own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from ffnn_jax import checks, network
from ffnn_jax.ensemble.devices import rows_on, split, whole
from ffnn_jax.epochs import Data
from ffnn_jax.fitting import check_dataset
from ffnn_jax.network import Network, Params
from ffnn_jax.recipe import check_optimizer

Optimizer = optax.GradientTransformation | Callable[[jax.Array], optax.GradientTransformation]


def check_keys(keys: Any) -> int:
    """An array of PRNG keys, (M,) of the new kind or (M, 2) of the old; returns M."""
    wrong = TypeError("keys: expected an array of keys, as from jax.random.split(key, M)")
    if not isinstance(keys, jax.Array | np.ndarray) or keys.ndim == 0:
        raise wrong
    if keys.shape[0] == 0:
        raise ValueError("keys: expected at least one key, got none")
    try:
        checks.check_key(keys[0], "keys[0]")
    except TypeError as error:
        raise TypeError(f"{wrong}; {error}") from None
    return keys.shape[0]


def check_rates(optimizer: Any, learning_rates: Any, members: int) -> jax.Array | None:
    """The rates, float32 (M,), known to go with the optimizer; or None."""
    if learning_rates is None:
        if callable(optimizer):
            raise TypeError(
                "optimizer: expected an optax optimizer such as optax.sgd(0.1), or learning_rates "
                f"for a function of the rate; got the function {optimizer!r} alone"
            )
        check_optimizer(optimizer)
        return None
    if not callable(optimizer):
        raise TypeError(
            "optimizer: expected with learning_rates a function of the rate, such as optax.adam; "
            f"got {type(optimizer).__name__}"
        )
    if isinstance(learning_rates, list | tuple):
        learning_rates = np.asarray(learning_rates)
    rates = checks.as_array("learning_rates", learning_rates)
    if rates.shape != (members,):
        raise ValueError(
            f"learning_rates: expected shape {(members,)}, one for each key; got {rates.shape}"
        )
    values = checks.concrete(rates)
    for i, rate in enumerate(() if values is None else values):
        checks.check_positive_float(f"learning_rates[{i}]", rate, np.float32)
        if i == 0:
            check_optimizer(optimizer(jnp.asarray(rate, jnp.float32)))
    return checks.to_jax(rates, jnp.float32)


def x_of_one(x: Any) -> Any:
    """What has the shape and dtype of the x of one member."""
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype) if len(x.shape) == 3 else x


def check_data(
    argument: str, net: Network, data: Any, weights: Any, members: int
) -> tuple[Any, Any]:
    """(x, y) and weights that fit the network, for all members or for each its own."""
    own = isinstance(data, tuple | list) and len(data) == 2 and np.ndim(data[0]) == 3
    if own:
        for leaf in jax.tree.leaves(data):
            if np.shape(leaf)[:1] != (members,):
                raise ValueError(
                    f"{argument}: expected the leading axis {members} of keys in x and y, got "
                    f"{np.shape(leaf)}"
                )
    one = jax.tree.map(np.asarray, data) if own else data
    for i in range(members if own else 1):
        of_one = jax.tree.map(lambda t: t[i], one) if own else one  # noqa: B023
        check_dataset(argument, net, of_one, None, np.dtype(np.float32))
    _check_weights(argument, weights, x_of_one(data[0]).shape[0], members)
    return tuple(data)


def _check_weights(argument: str, weights: Any, examples: int, members: int) -> None:
    prefix = "" if argument == "data" else "validation_"
    rows = [weights]
    if np.ndim(weights) == 2:
        rows = np.asarray(weights)
        if len(rows) != members:
            raise ValueError(
                f"{prefix}weights: expected shape {(examples,)} or {(members, examples)}, got "
                f"{rows.shape}"
            )
    for row in rows:
        try:
            checks.check_weights(row, (examples,))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{prefix}{error}") from None


def arrays(
    net: Network, params: Params, data: tuple[Any, Any], weights: Any, mesh: Mesh | None
) -> tuple[Any, Any, Any]:
    """x, y and weights as arrays of JAX, on a mesh in their places; params are as of one member."""
    rows = rows_on(mesh, np.shape(data[0])[-2])
    data = (split if np.ndim(data[0]) == 3 else whole)(mesh, data, rows)
    x, y = network.as_examples(net, params, *data, None)[1:3]
    if weights is not None:
        weights = (split if np.ndim(weights) == 2 else whole)(mesh, weights, rows)
        weights = checks.to_jax(weights, network.at_least_float32(x.dtype))
    return x, y, weights


def own_and_shared(arrays: Data) -> tuple[Data, Data]:
    """The arrays with a leading M, and the rest; each field is None in one of the two."""
    of_x, of_held_out = (x is not None and x.ndim == 3 for x in (arrays.x, arrays.held_out_x))
    of_weights = [w is not None and w.ndim == 2 for w in (arrays.weights, arrays.held_out_weights)]
    leading = (of_x, of_x, of_weights[0], of_held_out, of_held_out, of_weights[1])
    own = Data(*(t if lead else None for t, lead in zip(arrays, leading, strict=True)))
    shared = Data(*(None if lead else t for t, lead in zip(arrays, leading, strict=True)))
    return own, shared
