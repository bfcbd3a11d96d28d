"""Training: one step, one epoch as one compiled scan, and the lecture's gradient descent.

  θ_{t+1} = θ_t − η ∇θ_t        (gradient descent; other optimizers are optax's)

A step and an epoch are pure functions of a `TrainState`. `train_epoch` and `gradient_descent` are
loops and own their compilation; inside a `jit` of yours they are part of it. The same key gives
the same result, bit for bit.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.batches import Batches, Parts, shuffled
from ffnn_jax.network import Network, Params, init
from ffnn_jax.sharding import examples as sharded
from ffnn_jax.sharding.batches import SplitBatches, SplitParts, in_parts
from ffnn_jax.sharding.placement import (
    Layout,
    Placement,
    check_batches,
    check_layout,
    computed_on,
    constrained,
    on,
    placed,
    returned,
)

Objective = Callable[..., jax.Array]
OF_DROPOUT = 0xD809  # the child of a state's key that masks come from; its own splits are 0, 1, 2


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
    split: sharded.Split | None = None


class Descent(NamedTuple):
    """The result of `gradient_descent`.

    Attributes:
      params: θ after the last iteration.
      losses: (max_iterations,); entry t is ℒ(θ_t), before the t-th change of θ.
    """

    params: Params
    losses: jax.Array


def init_state(
    net: Network,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    params: Params | None = None,
    mesh: jax.sharding.Mesh | None = None,
    placement: Placement | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
      net: the network.
      optimizer: any optax optimizer.
      key: a PRNG key for the parameters and for the order of the data.
      params: parameters to start from; None draws them with `init`.
      mesh: on which the state is to live; nothing of it that is split is ever whole on a device.
        None: on no mesh.
      placement: where on it, as for `fit`.

    Returns:
      A `TrainState` at step 0.

    Raises:
      TypeError, ValueError: the optimizer is none, the key is none, params do not fit, or the
        mesh or the placement is none that fits.
    """
    network.check_network(net)
    check_optimizer(optimizer)
    checks.check_key(key)
    dtype = None if params is None else checks.check_params(net.sizes, params)
    layout = check_layout(net, mesh, placement)
    if layout is None:
        return _start(net, optimizer, key, params, dtype)
    with on(layout):
        key, params = placed(layout, (key, None if params is None else tuple(params)))
        state = _compiled_start(net, optimizer, key, params, dtype, layout)
    return returned(layout, state)


def _start(net, optimizer, key, params, dtype, layout=None) -> TrainState:
    """`init_state` of checked arguments."""
    params_key, order_key = jax.random.split(key)
    if params is None:
        start = init(net, params_key)
    else:
        start = jax.tree.map(partial(checks.to_jax, dtype=dtype), tuple(params))
    start = constrained(layout, start)
    state = TrainState(start, optimizer.init(start), order_key, jnp.zeros((), jnp.int32))
    return constrained(layout, state)


_compiled_start = jax.jit(_start, static_argnames=("optimizer", "dtype", "layout"))


def train_step(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    x: ArrayLike,
    y: Any,
    *,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
    accumulate: int = 1,
) -> tuple[TrainState, jax.Array]:
    """One step on one batch: pure, and not jitted: yours to jit.

    Args:
      net: the network.
      optimizer: any optax optimizer; those that ask for the value, the gradient or the function
        (L-BFGS, Polyak's step, reduce on plateau) are given them.
      state: where to go on from.
      x: (*batch, n_0).
      y: as for `loss`.
      weights: (*batch,), as for `loss`.
      objective: what is minimised, a function with the arguments of `loss`: `loss` runs the
        hand-written sweep, `loss_autodiff` JAX's own differentiation; or one of yours, for
        instance with a penalty added. It is given a dropout_key where the network has dropout,
        another one each step; where it is called more than once in a step, the same.
      accumulate: k, in how many parts the batch is worked off, one after the other, in the memory
        of one; the step is that of the whole batch, up to rounding. k divides the first axis of
        the batch, and the objective is a weighted mean over examples, as `loss` is, plus what
        depends on the parameters alone. With dropout each part has its own masks.

    Returns:
      (the next state, ℒ before the step).

    Raises:
      TypeError, ValueError: as `loss`; an objective that takes no dropout_key for a network with
        dropout; accumulate is no int from 1 on that divides the batch.
    """
    check_state(net, optimizer, state)
    check_objective(objective, dropout=any(net.dropouts))
    accumulate = checks.check_positive_int("accumulate", accumulate)
    key = _dropout_key(net, state)
    value_on = partial(_value_of, net, objective)
    if accumulate == 1:
        value_of = partial(value_on, key, x, y, weights)
        value, grads = jax.value_and_grad(value_of)(state.params)
    else:
        examples = jax.tree.map(checks.to_jax, (x, y, weights))
        size = examples[0].shape[:1] if examples[0].ndim > 1 else (1,)
        check_divides(accumulate, size[0])
        checks.check_leading_shape("y", y, size)
        checks.check_leading_shape("weights", weights, size)
        parts = Parts(value_on, examples, accumulate, state.params[0].W.dtype, key)
        value_of = parts.value
        value, grads = parts.value_and_grad(state.params)
    return _changed(optimizer, state, value, grads, value_of), value


def train_epoch(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    x: ArrayLike,
    y: Any,
    *,
    batch_size: int,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
    accumulate: int = 1,
    mesh: jax.sharding.Mesh | None = None,
    placement: Placement | None = None,
) -> tuple[TrainState, jax.Array]:
    """One pass over the data in a new random order, as one compiled `lax.scan`.

    The last batch may be short: it is filled up with examples of weight 0, so every example
    counts once and nothing is compiled twice. The state passed in stays yours. To have its
    memory used again, jit it yourself:
    `jax.jit(train_epoch, static_argnames=("optimizer", "batch_size"), donate_argnames="state")`.

    Args:
      net: the network.
      optimizer: any optax optimizer; a new optimizer object is a new compilation.
      state: where to go on from.
      x: (N, n_0).
      y: as for `loss`, N examples.
      batch_size: B, 1 ≤ B ≤ N.
      weights: (N,), as for `loss`. A batch of weight 0 has the loss 0.
      objective: as for `train_step`.
      accumulate: as for `train_step`; it divides batch_size.
      mesh, placement: as for `fit`.

    Returns:
      (the next state, losses (⌈N/B⌉,), each before its step).

    Raises:
      TypeError, ValueError: as `loss`, or a batch_size that is no int from 1 to N, or accumulate
        that does not divide it; mesh and placement as for `fit`.
    """
    check_state(net, optimizer, state)
    network.check_examples(net, x, y, weights)
    layout = check_layout(net, mesh, placement)
    recipe = recipe_on(layout, net, optimizer, batch_size, objective, accumulate, x)
    if layout is None:
        _, x, y, weights = network.as_examples(net, state.params, x, y, weights)
        state, losses, _ = compiled_epoch(net, recipe, state, x, y, weights)
        return state, losses
    with on(layout):
        dtype = state.params[0].W.dtype
        arrays = sharded.as_examples(net, layout, dtype, x, y, weights)
        arrays = sharded.spread(layout, recipe.split, arrays)
        state, losses, _ = compiled_epoch(net, recipe, placed(layout, state), *arrays)
    return returned(layout, (state, losses))


def gradient_descent(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    *,
    learning_rate: float,
    max_iterations: int = 1000,
    weights: ArrayLike | None = None,
    dropout_key: jax.Array | None = None,
    objective: Objective = loss,
) -> Descent:
    """The lecture's algorithm: θ_{t+1} = θ_t − η ∇θ_t on all the data, max_iterations times.

    Args:
      net: the network.
      params: θ_0.
      x: (*batch, n_0).
      y: as for `loss`.
      learning_rate: η > 0.
      max_iterations: how many times θ changes, at least 1.
      weights: (*batch,), as for `loss`.
      dropout_key: a PRNG key for a network with dropout, whose masks are others in each iteration.
      objective: as for `train_step`.

    Returns:
      `Descent`: θ at the end, and every loss on the way.

    Raises:
      TypeError, ValueError: as `loss`; a learning rate that is not above 0; max_iterations < 1;
        a network with dropout without a dropout_key.
    """
    max_iterations = checks.check_positive_int("max_iterations", max_iterations)
    network.check_network(net)
    check_objective(objective, dropout=any(net.dropouts))
    network.check_dropout_key(net, dropout_key)
    if any(net.dropouts) and dropout_key is None:
        raise ValueError("dropout_key: expected a key for a network with dropout, got None")
    dtype = checks.check_params(net.sizes, params)
    checks.check_positive_float("learning_rate", learning_rate, dtype)
    params, x, y, weights = network.as_examples(net, params, x, y, weights)
    eta = jnp.asarray(learning_rate, dtype)
    keys = None if dropout_key is None else jax.random.split(dropout_key, max_iterations)
    return _descend(net, params, x, y, weights, keys, eta, max_iterations, objective)


# Checks ----------------------------------------------------------------------------------------


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
    expected = jax.eval_shape(optimizer.init, state.params)
    trees = jax.tree.structure(expected), jax.tree.structure(state.opt_state)
    if trees[0] != trees[1] or jax.tree.map(jnp.shape, expected) != jax.tree.map(
        jnp.shape, state.opt_state
    ):
        raise ValueError(
            "state.opt_state: expected the state of this optimizer for these parameters, as "
            f"from init_state, {trees[0]}; got {trees[1]}"
        )


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
    split = sharded.split_of(layout, x)
    whole = jax.ShapeDtypeStruct((split.rows, *x.shape[1:]), x.dtype)
    recipe = check_recipe(net, optimizer, batch_size, objective, accumulate, whole)
    check_batches(layout, recipe.batch_size)
    return recipe._replace(layout=layout, split=split)


# One epoch ---------------------------------------------------------------------------------------


def _dropout_key(net: Network, state: TrainState) -> jax.Array | None:
    """From which the masks of the next step are drawn."""
    if not any(net.dropouts):
        return None
    return jax.random.fold_in(jax.random.fold_in(state.key, OF_DROPOUT), state.step)


def _changed(optimizer, state, value, grads, value_of) -> TrainState:
    """The state after a step with this loss and gradient."""
    extra = _extra_arguments(optimizer, value=value, grad=grads, value_fn=value_of)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params, **extra)
    params: Any = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.key, state.step + 1)


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


def _value_of(net, objective, key, x, y, weights, params):
    options = {} if key is None else {"dropout_key": key}
    value = objective(net, params, x, y, weights=weights, **options)
    if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise TypeError(
            "objective: expected it to return one floating number, got "
            f"{jnp.result_type(value)}{list(jnp.shape(value))}"
        )
    return value


def scan_epoch(
    net: Network, recipe: Recipe, state: TrainState, x: jax.Array, y: Any, weights: Any
) -> tuple[TrainState, jax.Array, jax.Array]:
    """`train_epoch` of checked arrays; it returns the weight of each batch as well, in examples."""
    key, order_key = jax.random.split(state.key)
    return run_batches(net, recipe, state._replace(key=key), order_key, x, y, weights)


def run_batches(
    net: Network,
    recipe: Recipe,
    state: TrainState,
    order_key: jax.Array,
    x: jax.Array,
    y: Any,
    weights: Any,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """The steps of `scan_epoch`, in the order that is drawn from order_key."""
    dtype = network.at_least_float32(state.params[0].W.dtype)  # of weights, and of sums of them
    net = computed_on(recipe.layout, net)
    batches = _batches(recipe, order_key, (x, y, weights), dtype)

    def body(state, step):
        examples = batches.examples_of(step)
        state, value = _step(net, recipe, state, examples)
        w_b = examples[2]
        weight = jnp.asarray(recipe.batch_size, dtype) if w_b is None else jnp.sum(w_b)
        return state, (value, weight)

    state, shown = jax.lax.scan(body, state, batches.every)
    return state, *constrained(recipe.layout, shown)


def _batches(recipe, order_key, data, dtype) -> Batches | SplitBatches:
    """The batches of an epoch in the order that is drawn from the key."""
    layout, split = recipe.layout, recipe.split
    if layout is None or split is None:
        order = shuffled(order_key, data[0].shape[0], recipe.batch_size, dtype)
        return Batches(data, *order)
    order = shuffled(order_key, split.rows, recipe.batch_size, dtype)
    parts = recipe.accumulate
    return SplitBatches(data, *order, layout=layout, split=split, parts=parts, dtype=dtype)


def _step(net, recipe, state, examples) -> tuple[TrainState, jax.Array]:
    """`train_step` of one batch; on a mesh, where it has parts, they are a leading axis of it."""
    optimizer, layout = recipe.optimizer, recipe.layout
    if layout is None or not in_parts(layout, recipe.accumulate):
        x, y, weights = examples
        options = {"objective": recipe.objective, "accumulate": recipe.accumulate}
        state, value = train_step(net, optimizer, state, x, y, weights=weights, **options)
        return constrained(layout, state), value
    value_on = partial(_value_of, net, recipe.objective)
    dtype, key = state.params[0].W.dtype, _dropout_key(net, state)
    parts = SplitParts(value_on, examples, layout, dtype, key)
    value, grads = parts.value_and_grad(state.params)
    return constrained(layout, _changed(optimizer, state, value, grads, parts.value)), value


compiled_epoch = jax.jit(scan_epoch, static_argnames="recipe")


# Gradient descent --------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("max_iterations", "objective"))
def _descend(net, params, x, y, weights, keys, eta, max_iterations, objective):
    def body(theta, key):
        value_of = partial(_value_of, net, objective, key, x, y, weights)
        value, grads = jax.value_and_grad(value_of)(theta)
        return jax.tree.map(lambda t, g: t - eta * g, theta, grads), value  # θ ← θ − η ∇θ

    return Descent(*jax.lax.scan(body, params, keys, length=max_iterations))
