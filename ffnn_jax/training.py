"""Training: one step, and one epoch as one compiled scan.

A step and an epoch are pure functions of a `TrainState`. `train_epoch` is a loop and owns its
compilation; inside a `jit` of yours it is part of it. The same key gives the same result, bit for
bit.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.batches import Batches, Parts, shuffled
from ffnn_jax.deep.block import Stacked, block_of, stacked, unstacked
from ffnn_jax.deep.optimizer import update_for
from ffnn_jax.deep.passes import loss_and_gradients
from ffnn_jax.network import Network, Params, init
from ffnn_jax.recipe import (
    Objective,
    Recipe,
    TrainState,
    check_divides,
    check_objective,
    check_optimizer,
    check_state,
    objective_value,
    recipe_on,
)
from ffnn_jax.sharding import examples as sharded
from ffnn_jax.sharding.alike import agree_on, is_joint, is_traced
from ffnn_jax.sharding.batches import SplitBatches, SplitParts, in_parts
from ffnn_jax.sharding.placement import (
    Placement,
    check_layout,
    computed_on,
    constrained,
    on,
    placed,
    returned,
)
from ffnn_jax.update import updated

OF_DROPOUT = 0xD809  # the child of a state's key that masks come from; its own splits are 0, 1, 2


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
      ProcessError: the processes of the mesh differ in what they give.
    """
    network.check_network(net)
    check_optimizer(optimizer)
    checks.check_key(key)
    dtype = None if params is None else checks.check_params(net.sizes, params)
    layout = check_layout(net, mesh, placement)
    if layout is None:
        return _start(net, optimizer, key, params, dtype)
    if is_joint(layout) and not is_traced((key, params)):
        agree_on("init_state", net, layout, {}, key=key, values={"state": params})
    if params is not None:
        params = jax.tree.map(partial(sharded.cast, dtype=dtype), tuple(params))
    with on(layout):
        key, params = placed(layout, (key, params))
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
    value_on = partial(objective_value, net, objective)
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
      mesh, placement: as for `fit`. Arrays of NumPy go to the devices in each call; those that are
        split by rows over `data` already, `NamedSharding(mesh, P("data"))`, stay where they are.
        Several processes compare in each call what they are given, but not the values of the
        state: those they would have to wait for. Inside a `jit` of yours they compare nothing.

    Returns:
      (the next state, losses (⌈N/B⌉,), each before its step).

    Raises:
      TypeError, ValueError: as `loss`, or a batch_size that is no int from 1 to N, or accumulate
        that does not divide it; mesh and placement as for `fit`.
      NotImplementedError: the plan asks for scan_layers or for a kernel, and something is in its
        way.
      ProcessError: the processes of the mesh differ in what they give.
    """
    check_state(net, optimizer, state)
    network.check_examples(net, x, y, weights)
    layout = check_layout(net, mesh, placement)
    if layout is not None and is_joint(layout) and not is_traced((state, x, y, weights)):
        given = {"batch_size": batch_size, "objective": objective, "accumulate": accumulate}
        dtypes = [str(leaf.dtype) for leaf in jax.tree.leaves(state)]
        arrays = {"x": x, "y": y, "weights": weights}
        agree_on("train_epoch", net, layout, arrays, dtypes=dtypes, **given)
    recipe = recipe_on(layout, net, optimizer, batch_size, objective, accumulate, x)
    dtype = state.params[0].W.dtype
    recipe.check_kernels(net, dtype)
    block = recipe.block(net, lambda: state, (x, y, weights))
    if layout is None:
        _, x, y, weights = network.as_examples(net, state.params, x, y, weights)
        if block is not None:
            state = stacked(block, state)
        state, losses, _ = compiled_epoch(net, recipe, state, x, y, weights)
        return state if block is None else unstacked(block, state), losses
    assert recipe.split is not None
    with on(layout):
        arrays = sharded.as_examples(net, layout, dtype, x, y, weights)
        arrays = sharded.spread(layout, recipe.split, arrays)
        state, losses, _ = compiled_epoch(net, recipe, placed(layout, state), *arrays)
    return returned(layout, (state, losses))


# One epoch ---------------------------------------------------------------------------------------


def _dropout_key(net: Network, state: TrainState) -> jax.Array | None:
    """From which the masks of the next step are drawn."""
    if not any(net.dropouts):
        return None
    return jax.random.fold_in(jax.random.fold_in(state.key, OF_DROPOUT), state.step)


def _changed(optimizer, state, value, grads, value_of) -> TrainState:
    """The state after a step with this loss and gradient."""
    params, opt_state = updated(optimizer, state.params, state.opt_state, grads, value, value_of)
    return TrainState(params, opt_state, state.key, state.step + 1)


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
    dtype = network.at_least_float32(jax.tree.leaves(state.params)[0].dtype)  # of weights and sums
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
    if isinstance(state.params, Stacked):
        return _deep_step(net, optimizer, state, examples)
    if layout is None or not in_parts(layout, recipe.accumulate):
        x, y, weights = examples
        options = {"objective": recipe.objective, "accumulate": recipe.accumulate}
        state, value = train_step(net, optimizer, state, x, y, weights=weights, **options)
        return constrained(layout, state), value
    value_on = partial(objective_value, net, recipe.objective)
    dtype, key = state.params[0].W.dtype, _dropout_key(net, state)
    parts = SplitParts(value_on, examples, layout, dtype, key)
    value, grads = parts.value_and_grad(state.params)
    return constrained(layout, _changed(optimizer, state, value, grads, parts.value)), value


def _deep_step(net, optimizer, state, examples) -> tuple[TrainState, jax.Array]:
    """`train_step` of a stacked state."""
    block = block_of(net)
    assert block is not None
    value, grads = loss_and_gradients(net, state.params, *examples)
    update = update_for(optimizer, block, state.params, state.opt_state, value)
    params, opt_state = update(state.params, state.opt_state, grads, value)
    return TrainState(params, opt_state, state.key, state.step + 1), value


compiled_epoch = jax.jit(scan_epoch, static_argnames="recipe")
