"""Training on data larger than memory: an epoch that reads its rows block by block.

A block is `block` batches of rows that lie one after another. The blocks come in random order, and
the rows of a block are shuffled on the device; both orders are drawn from the key of the state:

  key, order, rows = split(state.key, 3)      blocks in the order permutation(order, blocks)
                                              rows of block c: permutation(fold_in(rows, c), n_c)

While a block is trained on, the next one is read. Rows go to the device as they are, uint8 as
uint8, and become numbers, x · scale + shift, inside the compiled step.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from ffnn_jax import checks, network
from ffnn_jax.backprop import loss
from ffnn_jax.deep.choice import check_not_asked
from ffnn_jax.losses import Loss, is_cross_entropy
from ffnn_jax.network import Network
from ffnn_jax.recipe import Objective, TrainState, check_recipe, check_state
from ffnn_jax.rows import FileRows, MemoryRows, rows_in
from ffnn_jax.shuffle import permutation
from ffnn_jax.training import run_batches


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Examples on the host, read as they are needed: NumPy arrays in memory or `np.memmap`.

    A memmap is read from its file, by name, and never through its pages.

    Attributes:
      x: (N, n_0), integers or floats; a row x counts as x · scale + shift.
      y: as for `loss`, N examples, each array of it in memory or a memmap.
      scale: a number, or (n_0,), one for each input: 1/255 for bytes as numbers from 0 to 1.
      shift: a number, or (n_0,).

    Raises:
      TypeError: an array is not one of NumPy's; x is bool, complex or wider than 64 bits; scale
        or shift is no real number.
      ValueError: x is not (N, n_0); y has not N examples; scale or shift is not finite or of
        another shape; a memmap has no file with a name, is no run of whole rows in it, or is of
        mode "c".

    Example:
      >>> import numpy as np
      >>> import ffnn_jax as ffnn
      >>> bytes_ = np.zeros((1000, 784), np.uint8)  # or np.memmap(path, np.uint8, "r", shape=…)
      >>> stream = ffnn.Stream(bytes_, np.zeros(1000, np.uint8), scale=1 / 255)
    """

    x: np.ndarray
    y: Any
    scale: ArrayLike = dataclasses.field(default=1.0, kw_only=True)
    shift: ArrayLike = dataclasses.field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        _check_x(self.x)
        for leaf in jax.tree.leaves(self.y):
            _check_numpy("y", leaf)
            if leaf.shape[:1] != self.x.shape[:1] or leaf.size == 0:
                raise ValueError(
                    f"y: expected {self.x.shape[0]} examples to go with x, got shape {leaf.shape}"
                )
        _rows_of(self)
        for argument in ("scale", "shift"):
            _check_per_input(argument, getattr(self, argument), self.x.shape[1])


class StreamBlock(NamedTuple):
    """What `stream_blocks` yields after a block.

    Attributes:
      state: the state after the block; its key is that of the epoch, up to the last block.
      losses: of the block's steps, each before its step.
      next_block: how many blocks of the epoch are done, and 0 after the last: where to go on.
    """

    state: TrainState
    losses: jax.Array
    next_block: int


class StreamError(RuntimeError):
    """A block could not be read, or held what it must not; nothing of what came before is lost.

    Attributes:
      state: the state after the last block, to go on from with start_block=next_block.
      losses: of the steps up to there, since the call.
      next_block: the block, in the order of the epoch, that was not read.
    """

    def __init__(self, message: str, state: TrainState, losses: jax.Array, next_block: int):
        super().__init__(message, state, losses, next_block)
        self.state = state
        self.losses = losses
        self.next_block = next_block

    def __str__(self) -> str:
        return self.args[0]


def stream_epoch(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    stream: Stream,
    *,
    batch_size: int,
    block: int = 16,
    start_block: int = 0,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
    accumulate: int = 1,
) -> tuple[TrainState, jax.Array]:
    """One pass over a stream in a new random order: `train_epoch` for data larger than memory.

    Shuffled by blocks, and inside them: a batch holds rows of one block only, so data that are
    sorted in their file want to be shuffled there once. Two blocks are in memory at a time. The
    loop is compiled for a whole block, and once more for a last one that is shorter. What is to
    outlive Ctrl-C is for `stream_blocks`.

    Args:
      net: the network.
      optimizer: any optax optimizer; a new optimizer object is a new compilation.
      state: where to go on from.
      stream: the data.
      batch_size: B, 1 ≤ B ≤ N; the last batch of the file may be shorter, and comes when its
        block comes.
      block: how many batches are read, and shuffled, together, at least 1; it may be more than
        there are.
      start_block: how many blocks of this epoch are done, `next_block` of a `StreamBlock` or a
        `StreamError`, for the state that comes with it and the same stream, batch_size and block.
      weights: (N,), as for `loss`; a memmap is read whole.
      objective, accumulate: as for `train_step`.

    Returns:
      (the next state, losses (⌈N/B⌉,), or those from start_block on, each before its step). Of
      NaN or infinity in the data nothing is said: the losses are not finite from there on.

    Raises:
      TypeError, ValueError: as `train_epoch`; block < 1, or a start_block that the epoch has not.
      StreamError: a file cannot be read or has become shorter, or a class in it is none; it has
        the state after the last whole block.

    Example:
      >>> import jax, numpy as np, optax
      >>> import ffnn_jax as ffnn
      >>> stream = ffnn.Stream(np.ones((100, 3), np.uint8), np.zeros(100, np.uint8), scale=1 / 255)
      >>> net, sgd = ffnn.Network((3, 2), output="softmax"), optax.sgd(0.1)
      >>> state = ffnn.init_state(net, sgd, jax.random.key(0))
      >>> state, losses = ffnn.stream_epoch(net, sgd, state, stream, batch_size=32, block=2)
      >>> losses.shape
      (4,)
    """
    losses = []
    for done in stream_blocks(
        net,
        optimizer,
        state,
        stream,
        batch_size=batch_size,
        block=block,
        start_block=start_block,
        weights=weights,
        objective=objective,
        accumulate=accumulate,
    ):
        state = done.state
        losses.append(done.losses)
    return state, _joined(losses)


def stream_blocks(
    net: Network,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    stream: Stream,
    *,
    batch_size: int,
    block: int = 16,
    start_block: int = 0,
    weights: ArrayLike | None = None,
    objective: Objective = loss,
    accumulate: int = 1,
) -> Iterator[StreamBlock]:
    """`stream_epoch` block by block, to save, to stop, and to go on from bit for bit.

    Where a loop over it ended, at `done`, the epoch goes on with
    `stream_epoch(..., done.state, stream, start_block=done.next_block, ...)`.

    Args:
      net, optimizer, state, stream, batch_size: as for `stream_epoch`.
      block, start_block, weights, objective, accumulate: as for `stream_epoch`.

    Yields:
      A `StreamBlock` after each block, from start_block on. Nothing waits for its values.

    Raises:
      TypeError, ValueError, StreamError: as `stream_epoch`.
    """
    weights = _check_arguments(net, optimizer, state, stream, weights)
    recipe = check_recipe(net, optimizer, batch_size, objective, accumulate, stream.x)
    check_not_asked(net, "a stream")
    block = checks.check_positive_int("block", block)
    examples = stream.x.shape[0]
    rows = block * recipe.batch_size  # of a block
    blocks = -(-examples // rows)
    start_block = checks.check_int_from(0, "start_block", start_block)
    if start_block >= blocks:
        raise ValueError(f"start_block: expected at most {blocks - 1}, got {start_block}")
    wide = network.at_least_float32(state.params[0].W.dtype)
    scale, shift = (np.atleast_2d(np.asarray(t, wide)) for t in (stream.scale, stream.shift))
    arrays = _rows_of(stream)

    def read(number: int):
        start = number * rows
        return _read(net, arrays, weights, wide, start, min(start + rows, examples))

    def train(state, rows_key, number, data):
        return _train_block(net, recipe, state, rows_key, number, data, scale, shift)

    return _blocks(read, train, state, blocks, start_block)


# Checks ------------------------------------------------------------------------------------------


def _check_x(x: Any) -> None:
    _check_numpy("x", x)
    real = jnp.issubdtype(x.dtype, jnp.integer) or jnp.issubdtype(x.dtype, jnp.floating)
    if not real or x.dtype.itemsize > 8:
        raise TypeError(f"x: expected integers or floats of at most 64 bits, got {x.dtype}")
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"x: expected shape (N, n_0), N and n_0 at least 1, got {x.shape}")


def _check_numpy(argument: str, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{argument}: expected a NumPy array, got {checks.kind(array)}")
    checks.as_array(argument, array)


def _check_per_input(argument: str, value: Any, width: int) -> None:
    """A real number, or one for each input."""
    array = np.asarray(checks.as_array(argument, value))
    if array.dtype == bool or np.iscomplexobj(array):
        raise TypeError(f"{argument}: expected real numbers, got {array.dtype}")
    if array.shape not in ((), (width,)):
        raise ValueError(f"{argument}: expected a number or shape ({width},), got {array.shape}")
    checks.check_finite(argument, np.atleast_1d(array), np.float32)


def _check_arguments(net, optimizer, state, stream, weights) -> np.ndarray | None:
    """Everything fits, as far as it is known without reading a file; the weights, in memory."""
    check_state(net, optimizer, state)
    if not isinstance(stream, Stream):
        raise TypeError(f"stream: expected a Stream, got {checks.kind(stream)}")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((state, weights))):
        raise TypeError(
            "stream: expected a state with values, got one that is being traced; files are read "
            "outside jit, vmap and grad"
        )
    if weights is not None:
        weights = np.asarray(checks.as_array("weights", weights))
        if weights.shape == stream.x.shape[:1]:
            weights = rows_in("weights", weights).read(0, len(weights))
    x = np.broadcast_to(np.float32(0), stream.x.shape)
    y = jax.tree.map(_in_memory, _rows_of(stream)[1])
    network.check_examples(net, x, y, weights)
    if weights is None:
        return None
    return weights.astype(network.at_least_float32(state.params[0].W.dtype))


def _in_memory(rows: FileRows | MemoryRows) -> np.ndarray:
    """The array, or zeros, which take no memory, in place of what is in a file."""
    if isinstance(rows, MemoryRows):
        return rows.array
    return np.broadcast_to(np.zeros((), rows.dtype), rows.shape)


# Blocks ------------------------------------------------------------------------------------------


def _blocks(read, train, state, blocks, start_block) -> Iterator[StreamBlock]:
    """Trains block after block, and reads the next one meanwhile."""
    key, order, rows_key = _draw(state.key, blocks)
    order, losses = np.asarray(order), []

    def read_or_stop(position: int) -> Any:
        try:
            return read(int(order[position]))
        except (OSError, ValueError) as error:
            message = f"{error}. The state after {position} of {blocks} blocks is in .state"
            raise StreamError(message, state, _joined(losses), position) from error

    data = read_or_stop(start_block)
    for position in range(start_block, blocks):
        state, values = train(state, rows_key, order[position], data)
        jax.block_until_ready(losses[-1:])  # so that two blocks are all that is held
        losses.append(values)
        if position + 1 < blocks:
            data = read_or_stop(position + 1)
            yield StreamBlock(state, values, position + 1)
        else:
            yield StreamBlock(state._replace(key=key), values, 0)


@partial(jax.jit, static_argnames="blocks")
def _draw(key, blocks):
    """The key of the next epoch, the order of the blocks, and the key of the orders in them."""
    key, order_key, rows_key = jax.random.split(key, 3)
    return key, permutation(order_key, blocks), rows_key


def _rows_of(stream: Stream) -> tuple[FileRows | MemoryRows, Any]:
    """(x, y) as what reads their rows."""
    return rows_in("x", stream.x), jax.tree.map(partial(rows_in, "y"), stream.y)


def _read(net, rows, weights, wide, start, stop):
    """Examples start to stop − 1, (x, y, weights), on their way to the device."""
    x, y = jax.tree.map(lambda leaf: leaf.read(start, stop), rows)
    if not isinstance(net.loss, Loss):
        checks.check_y(net.sizes[-1], y, x.shape[:1], is_cross_entropy(net.loss))
    x, y = jax.tree.map(lambda t: t.astype(t.dtype.newbyteorder("="), copy=False), (x, y))
    if jax.dtypes.canonicalize_dtype(x.dtype) != x.dtype:
        x = x.astype(wide)  # 64 bits, and they are switched off
    return jax.device_put((x, y, None if weights is None else weights[start:stop]))


@partial(jax.jit, static_argnames="recipe")
def _train_block(net, recipe, state, rows_key, number, data, scale, shift):
    """(state, losses) after the steps of one block."""
    dtype = state.params[0].W.dtype
    x, y, weights = data

    def of_rows(net, params, x, y, **options):
        x = (x.astype(scale.dtype) * scale + shift).astype(dtype)
        return recipe.objective(net, params, x, y, **options)

    order_key = jax.random.fold_in(rows_key, number)
    on_rows = recipe._replace(objective=of_rows)
    state, losses, _ = run_batches(net, on_rows, state, order_key, x, y, weights)
    return state, losses


def _joined(losses: list[jax.Array]) -> jax.Array:
    """One array of the losses of all blocks."""
    return jnp.asarray(np.concatenate(losses) if losses else np.zeros(0, np.float32))
