"""What a training is given, as a record: its state, its recipe, and the checks of both."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.deep.block import Block
from ffnn_jax.deep.choice import chosen
from ffnn_jax.kernels import narrow
from ffnn_jax.network import Network, Params
from ffnn_jax.sharding.examples import Split, split_of
from ffnn_jax.sharding.placement import Layout, check_batches

Objective = Callable[..., jax.Array]


class TrainState(NamedTuple):
    """Everything a training run goes on from.

    Attributes:
      params: the parameters.
      opt_state: the optimizer's own state, a pytree.
      key: the PRNG key from which the next epoch's order is drawn, and with step the masks of
        dropout of the next step.
      step: how many steps were taken, an int32 scalar.
    """

    params: Params
    opt_state: Any
    key: jax.Array
    step: jax.Array


class Recipe(NamedTuple):
    """How an epoch is trained: the arguments of `train_epoch` that are fixed in what is compiled.

    Attributes:
      optimizer: an optax optimizer.
      batch_size: B.
      objective: what is minimised.
      accumulate: in how many parts each batch is worked off.
      layout: on which mesh, and where on it the parameters live; None without a mesh.
      split: where on the mesh the rows of the data lie.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    objective: Objective = loss
    accumulate: int = 1
    layout: Layout | None = None
    split: Split | None = None

    def check_kernels(self, net: Network, dtype: Any) -> None:
        """The kernels of the sweep, where the plan asks for them, take this training of `loss`.

        Args:
          net: the network.
          dtype: of the parameters.

        Raises:
          NotImplementedError: they do not.
        """
        if self.objective is loss:
            on_mesh = self.layout is not None and self.layout.mesh.size > 1
            narrow.check_asked(net, dtype, on_mesh=on_mesh)

    def block(
        self,
        net: Network,
        begin: Callable[[], TrainState],
        data: Any = (),
    ) -> Block | None:
        """The layers that are to run as one, as `Plan(scan_layers=True)` asks; or None.

        Args:
          net: the network.
          begin: gives the state before the first step, or its shapes.
          data: the arrays that the loop is given beside.

        Raises:
          NotImplementedError: the plan asks for it, and it cannot be done.
        """
        return chosen(
            net,
            self.optimizer,
            lambda: begin()[:2],
            objective=self.objective,
            accumulate=self.accumulate,
            on_mesh=self.layout is not None,
            data=data,
        )


def objective_value(net, objective, key, x, y, weights, params):
    """The objective at these parameters, known to be one number; with a key for dropout or None."""
    options = {} if key is None else {"dropout_key": key}
    value = objective(net, params, x, y, weights=weights, **options)
    if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise TypeError(
            "objective: expected it to return one floating number, got "
            f"{jnp.result_type(value)}{list(jnp.shape(value))}"
        )
    return value


# Checks ------------------------------------------------------------------------------------------


def check_optimizer(optimizer: Any) -> None:
    """optimizer has the two functions of an optax optimizer."""
    if not callable(getattr(optimizer, "init", None)) or not callable(
        getattr(optimizer, "update", None)
    ):
        raise TypeError(
            f"optimizer: expected an optax optimizer such as optax.sgd(0.1), got {optimizer!r}"
        )


def check_state(net: Network, optimizer: Any, state: Any) -> None:
    """state is a TrainState with parameters of the network and a state of the optimizer."""
    network.check_network(net)
    check_optimizer(optimizer)
    if not isinstance(state, TrainState):
        raise TypeError(f"state: expected a TrainState, got {type(state).__name__}")
    checks.check_params(net.sizes, state.params)
    if not isinstance(state.params, tuple):
        raise TypeError(
            f"state.params: expected a tuple of Layer, got {type(state.params).__name__}"
        )
    checks.check_key(state.key, "state.key")
    step = checks.as_array("state.step", state.step)
    if step.shape != () or not jnp.issubdtype(step.dtype, jnp.integer):
        raise TypeError(f"state.step: expected an int, got {step.dtype}{list(step.shape)}")
    expected = jax.eval_shape(optimizer.init, jax.tree.map(_shape_of, state.params))
    trees = jax.tree.structure(expected), jax.tree.structure(state.opt_state)
    if trees[0] != trees[1] or jax.tree.map(jnp.shape, expected) != jax.tree.map(
        jnp.shape, state.opt_state
    ):
        raise ValueError(
            "state.opt_state: expected the state of this optimizer for these parameters, as "
            f"from init_state, {trees[0]}; got {trees[1]}"
        )


def _shape_of(t: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype alone: where the array lives may be another mesh than the caller works on."""
    return jax.ShapeDtypeStruct(t.shape, t.dtype)


def check_objective(objective: Any, *, dropout: bool = False) -> None:
    """objective can be called as `loss` is, of a network with dropout with a dropout_key too."""
    if not callable(objective):
        raise TypeError(f"objective: expected a function as `loss` is one, got {objective!r}")
    options = {"weights": None} | ({"dropout_key": None} if dropout else {})
    try:
        inspect.signature(objective).bind(None, None, None, None, **options)
    except TypeError as error:
        raise TypeError(
            f"objective: expected a function of (net, params, x, y, *, {', '.join(options)}); got "
            f"one with {inspect.signature(objective)}: {error}"
        ) from None
    except ValueError:  # it has no signature to look at
        pass


def check_batch_size(batch_size: Any, x: Any) -> int:
    """An int from 1 to the number of rows of x, which is (N, n_0)."""
    batch_size = checks.check_positive_int("batch_size", batch_size)
    if len(x.shape) != 2:
        raise ValueError(f"x: expected shape (N, {x.shape[-1]}), got {x.shape}")
    if batch_size > x.shape[0]:
        raise ValueError(
            f"batch_size: expected at most the number of examples, {x.shape[0]}; got {batch_size}"
        )
    return batch_size


def check_divides(accumulate: int, examples: int, of: str = "the number of examples") -> None:
    """The examples of a batch can be worked off in so many parts of equal length."""
    if examples % accumulate:
        raise ValueError(f"accumulate: expected a divisor of {of}, {examples}; got {accumulate}")


def check_recipe(
    net: Network, optimizer: Any, batch_size: Any, objective: Any, accumulate: Any, x: Any
) -> Recipe:
    """The four as a `Recipe` for data of the shape of x, (N, n_0); optimizer is known to be one."""
    check_objective(objective, dropout=any(net.dropouts))
    batch_size = check_batch_size(batch_size, x)
    accumulate = checks.check_positive_int("accumulate", accumulate)
    check_divides(accumulate, batch_size, of="batch_size")
    return Recipe(optimizer, batch_size, objective, accumulate)


def recipe_on(
    layout: Layout | None,
    net: Network,
    optimizer: Any,
    batch_size: Any,
    objective: Any,
    accumulate: Any,
    x: Any,
) -> Recipe:
    """`check_recipe`; with a layout for data whose rows are split over its mesh."""
    if layout is None:
        return check_recipe(net, optimizer, batch_size, objective, accumulate, x)
    check_batch_size(1, x)
    split = split_of(layout, x)
    whole = jax.ShapeDtypeStruct((split.rows, *x.shape[1:]), x.dtype)
    recipe = check_recipe(net, optimizer, batch_size, objective, accumulate, whole)
    check_batches(layout, recipe.batch_size)
    return recipe._replace(layout=layout, split=split)
