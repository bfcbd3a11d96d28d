"""`fit`: epochs of training with validation, early stop, a history, progress, and a safe end.

The state before an epoch is kept until the epoch is known to be good, so a loss that is NaN and
Ctrl-C in the middle both leave something to go on from.
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.stages import Wrapped
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.checkpoint import Checkpoints, ShardedCheckpoints
from ffnn_jax.deep.block import Block, stacked, unstacked
from ffnn_jax.epochs import (
    Data,
    Row,
    Run,
    Stopping,
    compiled_epochs,
    drive,
    run_epochs,
    start,
)
from ffnn_jax.history import History, history_of, records_of
from ffnn_jax.losses import Loss, is_cross_entropy
from ffnn_jax.network import Network, Params
from ffnn_jax.processes import all_or_none, hearing, peers
from ffnn_jax.progress import Progress, interruption
from ffnn_jax.recipe import (
    Objective,
    Recipe,
    TrainState,
    check_batch_size,
    check_optimizer,
    check_state,
    recipe_on,
)
from ffnn_jax.resuming import check_keeping, check_not_beyond, identity_of, keeping
from ffnn_jax.sharding.alike import agree_on, agree_on_program, is_joint, warn_if_alone
from ffnn_jax.sharding.examples import as_examples, split_of, spread
from ffnn_jax.sharding.placement import Placement, check_layout, on, placed, put, returned
from ffnn_jax.streaming import Stream
from ffnn_jax.training import init_state


class Fit(NamedTuple):
    """The result of `fit`.

    Attributes:
      params: the trained parameters: with `patience` those of the best epoch, otherwise those of
        the last.
      history: see `History`.
      state: after the last epoch, to go on from: `fit(..., state=result.state)`.
      best_epoch: with `patience` the epoch of params, an index of the history; None without, and
        where no epoch had a finite loss: params are then those of the start.
    """

    params: Params
    history: History
    state: TrainState
    best_epoch: int | None = None


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite.

    Attributes:
      step: the step at which it did, counted from 0 over the whole run.
      fit: a `Fit` with the state before the epoch of that step.
    """

    def __init__(self, message: str, step: int, fit: Fit):
        super().__init__(message, step, fit)
        self.step = step
        self.fit = fit

    def __str__(self) -> str:
        return self.args[0]


def fit(
    net: Network,
    data: tuple[ArrayLike, Any],
    *,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    epochs: int,
    key: jax.Array | None = None,
    state: TrainState | None = None,
    validation: tuple[ArrayLike, Any] | None = None,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
    accumulate: int = 1,
    mesh: jax.sharding.Mesh | None = None,
    placement: Placement | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    progress: bool | None = None,
    checkpoints: Checkpoints | ShardedCheckpoints | None = None,
    resume: bool = False,
    on_epochs: Callable[[list[dict[str, Any]], Params], Any] | None = None,
    compiler_options: Mapping[str, Any] | None = None,
) -> Fit:
    """Trains a network: epochs of `train_epoch`, with a look at validation data after each.

    A compiled loop runs the epochs, as many in one call as take about half a second; it is
    compiled once. Ctrl-C ends it early, with a warning: the result is the state after the last
    call.

    Args:
      net: the network.
      data: (x, y): x (N, n_0); y as for `loss`, N examples.
      optimizer: any optax optimizer, its rate a number or a schedule; a new optimizer object is a
        new compilation, which for little data takes longer than all the rest.
      batch_size: B, 1 ≤ B ≤ N, and at least as many as the axis data of a mesh has devices; a last
        batch that is shorter counts like the others.
      epochs: how many passes over the data.
      key: a PRNG key for the starting parameters and the order of the data; or
      state: where to go on from, the `.state` of an earlier result or from `init_state`.
      validation: (x, y) that are only looked at.
      weights: (N,), as for `loss`.
      objective: as for `train_step`. Validation is by the network's own loss.
      accumulate: as for `train_step`; it divides batch_size.
      mesh: devices to train on, as from `jax.make_mesh((4, 2), ("data", "model"))`: each batch is
        split by rows over `data`, and wide layers over `model`. The order of the examples is that
        of one device, so the result is the same up to rounding. A batch that does not divide is
        filled up. Of several processes each gives its own rows, of `data` and of `validation`, as
        NumPy arrays; an array of JAX that is spread over the mesh is the whole. The mesh has
        devices of each process. None: one device; of several processes each trains alone, on its
        own rows, with a warning.
      placement: where each W_k and b_k lives on the mesh, a tuple of `Layer(W, b)` of
        PartitionSpecs; None: by the rule, `ffnn_jax.placement(net, mesh)`.
      patience: stops after so many epochs in a row whose loss is no better than the best before
        them by more than min_delta: the validation loss if there is validation, otherwise the
        training loss of the epoch. 0 does what 1 does: it stops at the first such epoch. None:
        all epochs are run. The count starts anew when a fit goes on from a state.
      min_delta: what an improvement has to exceed, at least 0.
      progress: whether to show a line on stderr; None: only where stderr is a terminal.
      checkpoints: where everything is saved, every so many epochs and at the end. The folder is
        locked until `fit` returns. Of several processes ShardedCheckpoints. With them SIGTERM
        ends the fit after a whole epoch, saved: see Preempted. Without, it is not handled.
      resume: whether to go on from the newest checkpoint that verifies, with the same arguments as
        before, but for epochs, which may be more: bit for bit as if it had never stopped. mesh and
        placement may be others too; then up to rounding. Where there is none, the fit starts anew.
      on_epochs: called after each call of the compiled loop, before it is saved: with a list of
        {"epoch" (from 1), "loss", "validation_loss", "validation_accuracy" (None where there is
        none), "seconds"}, one for each epoch, and the parameters after the last of them. After a
        resume an epoch may come a second time.
      compiler_options: options of XLA by name for what is compiled here, as `jax.jit` takes them;
        one that this XLA does not have is its own error. Little data may be trained sooner by a
        program that is worse and sooner compiled, {"xla_backend_optimization_level": 0}: another
        program, so equal up to rounding.

    Returns:
      `Fit`: params, history and the state to go on from.

    Raises:
      TypeError, ValueError: as `loss`, and for NaN or infinity in the data, a distribution that
        is none, a batch_size that is no int from 1 to N, epochs < 1; neither or both of key and
        state; accumulate that does not divide batch_size; a mesh with an axis that is neither data
        nor model, or without devices of a process, a batch with fewer rows than the axis data has
        devices, or a placement that does not fit; patience < 0, min_delta < 0, or min_delta without
        patience; resume without checkpoints, checkpoints that are there and no resume, or
        checkpoints of another fit.
      ProcessError: the processes of the mesh differ, in what they are given or in what the
        optimizer and the objective do, or one has ended.
      NotImplementedError: the plan asks for scan_layers or for a kernel, and something is in its
        way.
      CheckpointError: another training holds the folder, or no checkpoint in it verifies.
      OSError: a checkpoint cannot be written.
      Preempted: SIGTERM came, and the state is saved; a SystemExit with status 0, so code after
        `fit` does not run unless it is caught, and nothing is printed.
      NonFiniteLossError: the loss became NaN or infinite; it says at which step, and has the
        result up to the epoch before.

    Example:
      >>> import jax, optax
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_iris()
      >>> net = ffnn.Network((4, 16, 3), activation="tanh", output="softmax")
      >>> result = ffnn.fit(net, (x, y), key=jax.random.key(0), optimizer=optax.adam(0.01),
      ...                   batch_size=32, epochs=40)
      >>> bool(result.history.loss[-1] < 0.2)
      True
    """
    _check_start(net, optimizer, key, state)
    layout = check_layout(net, mesh, placement)
    epochs = checks.check_positive_int("epochs", epochs)
    checks.check_switch("progress", progress)
    stopping = check_stopping(patience, min_delta)
    check_keeping(checkpoints, resume, on_epochs, layout)
    begin, run_compiled = _programs(check_compiler_options(compiler_options))
    dtype = np.dtype(np.float32)  # of the parameters
    if state is not None:
        dtype = checks.check_params(net.sizes, state.params)
    check_not_traced("fit", (data, weights, key, state))
    warn_if_alone("fit", mesh)
    with all_or_none("fit", joint=is_joint(layout)):
        x, y = check_dataset("data", net, data, weights, dtype)
        if validation is not None:
            validation = check_dataset("validation", net, validation, None, dtype)
    if layout is not None and is_joint(layout):
        seen = dict(zip(("validation x", "validation y"), validation or (None, None), strict=True))
        agree_on(
            "fit",
            net,
            layout,
            {"x": x, "y": y, "weights": weights, **seen},
            batch_size=batch_size,
            epochs=epochs,
            accumulate=accumulate,
            patience=patience,
            min_delta=min_delta,
            objective=objective,
            key=key,
            compiler_options=compiler_options and dict(compiler_options),
            checkpoints=_kept(checkpoints),
            resume=resume,
            values={"state": state},
        )
    recipe = recipe_on(layout, net, optimizer, batch_size, objective, accumulate, x)
    recipe.check_kernels(net, dtype)
    block = recipe.block(
        net, lambda: state or jax.eval_shape(functools.partial(init_state, net, optimizer), key)
    )
    with peers("fit"), on(layout):
        if layout is None:
            now = state or begin(net, optimizer, jnp.asarray(key))
            arrays = _data_of(net, now.params, (x, y, weights), validation)
        else:
            now = state or begin(net, optimizer, key, mesh=layout.auto, placement=layout.placement)
            arrays = _spread_data_of(net, recipe, dtype, (x, y, weights), validation)
        run = start(now, patience is not None)

    def call(run, count, program: Callable[..., Any] = run_compiled):
        with on(layout):
            return program(net, recipe, run, arrays, stopping, count)

    if layout is not None and is_joint(layout):
        agree_on_program("fit", lambda: call(placed(layout, run), 1, run_compiled.lower))

    def identity():
        begun = key if state is None else state
        return identity_of(net, recipe, arrays, stopping, begun, now, compiler_options, checkpoints)

    def after(run, tables):
        line.show(run, tables)
        records = records_of(tables, int(run.epochs))
        if on_epochs is not None and records:
            on_epochs(records, returned(layout, _by_layer(block, run.state.params)))
        if checkpoints is not None:
            keeper.save(_by_layer(block, run), tables)

    told = hearing(joint=is_joint(layout), saves=checkpoints is not None)
    with keeping(checkpoints, resume, run, identity) as keeper, told as heard, peers("fit"):
        check_not_beyond(epochs, keeper)
        run = keeper.run if layout is None else placed(layout, keeper.run)
        if block is not None:
            run = stacked(block, run)  # until the loop has ended
        with Progress(epochs, progress, _words, done=keeper.saved) as line:
            run, tables, interrupted = drive(
                call,
                run,
                epochs,
                after,
                before=keeper.tables,
                every=keeper.every,
                agreed=heard.agreed,
            )
        run = _by_layer(block, run)
        keeper.save(run, tables, last=True)
        heard.end()
    if interrupted:
        warnings.warn(interruption("fit", int(run.epochs), epochs), stacklevel=2)
    result = fit_of(returned(layout, run), history_of(tables, int(run.epochs)))
    if int(run.bad_batch) >= 0:
        raise _non_finite(net, run, -(-x.shape[0] // recipe.batch_size), result)
    return result


# What `fit` is made of ---------------------------------------------------------------------------


def _data_of(net: Network, params: Params, examples: Any, held_out: Any) -> Data:
    """Checked (x, y, weights), and (x, y) or None to look at, as the compiled loop has them."""
    x, y, weights = examples
    data = Data(*network.as_examples(net, params, x, y, weights)[1:])
    if held_out is None:
        return data
    held_x, held_y = held_out
    held_x, held_y = network.as_examples(net, params, held_x, held_y, None)[1:3]
    return data._replace(held_out_x=held_x, held_out_y=held_y)


def _spread_data_of(
    net: Network, recipe: Recipe, dtype: np.dtype, examples: Any, held_out: Any
) -> Data:
    """`_data_of` on a mesh. What is looked at has weights, 0 where it is filled up."""
    layout, split = recipe.layout, recipe.split
    assert layout is not None
    assert split is not None
    data = Data(*spread(layout, split, as_examples(net, layout, dtype, *examples)))
    if held_out is None:
        return data
    held_x, held_y = held_out
    split = split_of(layout, held_out)
    x, y, _ = spread(layout, split, as_examples(net, layout, dtype, held_x, held_y, None))
    weights = put(split.mask(), layout.rows()) if split.rows < split.length else None
    return data._replace(held_out_x=x, held_out_y=y, held_out_weights=weights)


def _by_layer(block: Block | None, tree: Any) -> Any:
    """What the loop has stacked, each layer by itself again."""
    return tree if block is None else unstacked(block, tree)


def _kept(checkpoints: Checkpoints | ShardedCheckpoints | None) -> list[Any] | None:
    """What all processes have to have alike of where they save."""
    if checkpoints is None:
        return None
    return [type(checkpoints).__name__, f"every={checkpoints.every}", f"keep={checkpoints.keep}"]


def _programs(options: tuple[tuple[str, Any], ...]) -> tuple[Callable[..., Any], Wrapped]:
    """`init_state` and the loop over epochs, the way these options of XLA compile them."""
    return _compiled_with(options) if options else (init_state, compiled_epochs)


@functools.cache
def _compiled_with(options: tuple[tuple[str, Any], ...]) -> tuple[Callable[..., Any], Wrapped]:
    return (
        jax.jit(
            init_state,
            static_argnames=("optimizer", "mesh", "placement"),
            compiler_options=dict(options),
        ),
        jax.jit(run_epochs, static_argnames="recipe", compiler_options=dict(options)),
    )


def fit_of(run: Run, history: History) -> Fit:
    """The result of a run."""
    if run.best is None:
        return Fit(run.state.params, history, run.state)
    epoch = int(run.best.epoch)
    return Fit(run.best.params, history, run.state, epoch if epoch >= 0 else None)


def _non_finite(net: Network, run: Run, batches: int, result: Fit) -> NonFiniteLossError:
    bad = int(run.bad_batch)
    step = int(run.state.step) + bad
    advice = "a smaller learning rate may help"
    if net.output == "linear" and (
        is_cross_entropy(net.loss) or net.loss == "binary_cross_entropy"
    ):
        advice = f"{net.loss} needs outputs from 0 to 1, and linear ones are not held there"
    return NonFiniteLossError(
        f"fit: the loss is {np.asarray(run.bad_loss)} at step {step} (epoch "
        f"{int(run.epochs) + 1}, batch {bad + 1} of {batches}); {advice}. "
        "The result before this epoch is in the error's .fit",
        step,
        result,
    )


def _words(run: Run, row: Row) -> list[str]:
    parts = [f"loss {row.loss:.4f}"]
    if row.validation_loss is not None:
        parts.append(f"validation loss {row.validation_loss:.4f}")
    if row.validation_accuracy is not None:
        parts.append(f"accuracy {row.validation_accuracy:.4f}")
    return parts


# Checks ------------------------------------------------------------------------------------------


def check_stopping(patience: Any, min_delta: Any) -> Stopping | None:
    """Both as numbers of JAX; None where nothing stops early."""
    checks.check_not_negative_float("min_delta", min_delta)
    if patience is None:
        if min_delta != 0:
            raise ValueError(
                f"min_delta: expected 0 without patience: nothing stops early; got {min_delta!r}"
            )
        return None
    patience = checks.check_int_from(0, "patience", patience)
    return Stopping(np.int32(min(patience, np.iinfo(np.int32).max)), np.float32(min_delta))


def check_compiler_options(options: Any) -> tuple[tuple[str, Any], ...]:
    """Options by name, in order."""
    if options is None:
        return ()
    if not isinstance(options, Mapping) or not all(
        isinstance(name, str) and isinstance(value, bool | int | float | str)
        for name, value in options.items()
    ):
        raise TypeError(
            "compiler_options: expected numbers, words, True and False by their names, such as "
            f'{{"xla_backend_optimization_level": 0}}, or None; got {options!r}'
        )
    return tuple(sorted(options.items()))


def check_not_traced(name: str, given: Any) -> None:
    """The arrays given to the loop of that name have values."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(given)):
        raise TypeError(
            f"{name}: expected arrays with values, got one that is being traced; {name} is a loop "
            "of its own: inside jit, vmap or grad use train_epoch"
        )


def _check_start(net, optimizer, key, state) -> None:
    if (key is None) == (state is None):
        came = "neither" if key is None else "both"
        raise ValueError(f"key, state: expected one of the two, got {came}")
    if state is None:
        network.check_network(net)
        check_optimizer(optimizer)
        checks.check_key(key)
    else:
        check_state(net, optimizer, state)


def check_dataset(
    argument: str, net: Network, data: Any, weights: Any, dtype: Any
) -> tuple[Any, Any]:
    """(x, y) that fit the network, with a look at every value."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        hint = "; a Stream is for stream_epoch" if isinstance(data, Stream) else ""
        raise TypeError(f"{argument}: expected (x, y), got {checks.kind(data)}{hint}")
    x, y = data
    try:
        network.check_examples(net, x, y, weights)
        check_batch_size(1, x)
        checks.check_finite("x", x, dtype)
        for leaf in jax.tree.leaves(y):
            checks.check_finite("y", leaf, None if isinstance(net.loss, Loss) else dtype)
        if is_cross_entropy(net.loss) and y.shape != x.shape[:-1]:
            checks.check_distribution("y", y)
        if net.loss == "binary_cross_entropy" and (y.shape != x.shape[:-1] or net.sizes[-1] == 1):
            checks.check_between_0_and_1("y", y)
        if net.loss == "poisson":
            checks.check_not_negative("y", y)
    except (TypeError, ValueError) as error:
        if argument == "data":
            raise
        raise type(error)(f"{argument}: {error}") from None
    return x, y
