"""A whole epoch of one network in one kernel; under `jax.vmap` of many, one program a network.

  for each batch of the epoch:   a_k, h_k  →  ℒ  →  ∇a_k, ∇W_k, ∇b_k  →  θ ← θ − η …

The parameters, and what the optimizer remembers, are read once, stay on the chip from step to step,
and are written once. Each step reads only the rows of its batch, by their numbers: arrays that
networks share stay one array.

A batch is worked off in tiles of 16 rows, whose gradients are added up: so what a step needs of
registers does not grow with the batch. A tile has 16, 32 or 64 columns for every layer, with room
for the widest: so there are no more kernels than have been compiled and looked at. What of a tile
is padding has weight 0 as a row; as an input or a unit it is 0, and as a class −∞.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ffnn_jax.kernels import triton
from ffnn_jax.kernels.network_tiles import forward, sweep
from ffnn_jax.kernels.pair_tiles import one_hot, softmax_cross_entropy, squared_error
from ffnn_jax.kernels.tiles import side
from ffnn_jax.kernels.updates import Moments, Rule
from ffnn_jax.losses import is_class
from ffnn_jax.network import Network, Params

ROWS = 16  # of a tile: the fewest of a product


class Given(NamedTuple):
    """What the kernel reads of one network; W columns of a tile for every layer.

    Attributes:
      x: (N, W), float32.
      y: classes, (N,) int32, or numbers, (N, W) float32.
      weights: (N,) float32, or None.
      rows: the numbers of the rows in the order of the epoch, (steps · B,) int32; those from N on
        fill up the last batch.
      rate: η, (1,) float32.
      params: L times `Layer` of (W, W) and (W,), float32.
      moments: what the rule remembers, each as params.
      corrections: what the rule makes of the step number, (steps,) float32 each.
    """

    x: Any
    y: Any
    weights: Any
    rows: Any
    rate: Any
    params: Params
    moments: Moments
    corrections: tuple[Any, ...]


class Shown(NamedTuple):
    """What it writes: params and moments as given, and of each step ℒ and Σ_i w_i, (steps,)."""

    params: Params
    moments: Moments
    losses: Any
    weights: Any


def padded(tree: Any, columns: int) -> Any:
    """Parameters, or what has their shapes, with zeros up to the columns of a tile."""

    def fill(t: jax.Array) -> jax.Array:
        return jnp.pad(t, [(0, columns - n) for n in t.shape])

    return jax.tree.map(fill, tree)


def padded_rows(t: jax.Array, columns: int) -> jax.Array:
    """Numbers (N, n), with zeros up to the columns of a tile; classes (N,) as they are.

    So nothing is read beyond the end of an array, and rows are read in pieces of 16 bytes.
    """
    return t if t.ndim == 1 else jnp.pad(t, ((0, 0), (0, columns - t.shape[1])))


def cut(padded: Params, like: Params) -> Params:
    """`padded`, back in the shapes of like."""
    return jax.tree.map(lambda t, p: t[tuple(map(slice, p.shape))], padded, like)


def epoch(net: Network, rule: Rule, batch_size: int, given: Given, *, warps: int) -> Shown:
    """The epoch of one network; parameters and moments in and out are padded."""
    arrays, tree = jax.tree.flatten(given)
    steps = given.rows.shape[0] // batch_size
    like = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype), given)
    of_steps = jax.ShapeDtypeStruct((steps,), jnp.float32)
    outputs, shown = jax.tree.flatten(Shown(like.params, like.moments, of_steps, of_steps))

    def body(*refs):
        read, write = refs[: len(arrays)], refs[len(arrays) :]
        _epoch(net, rule, batch_size, tree.unflatten(read), shown.unflatten(write))

    written = triton.call(body, arrays, tuple(outputs), name="population", warps=warps)
    return shown.unflatten(written)


# In the kernel -----------------------------------------------------------------------------------


def _epoch(net: Network, rule: Rule, batch_size: int, given: Given, shown: Shown) -> None:
    """The body: given and shown are of refs."""
    steps = given.rows.shape[0] // batch_size
    rate = given.rate[0]

    def step(i, carry):
        params, moments = carry
        weight = jnp.sum(_weights(given, batch_size, i, 0, side(batch_size)))
        value, grads = _value_and_grad(net, batch_size, given, i, params, weight)
        shown.losses[i], shown.weights[i] = value, weight
        corrections = tuple(ref[i] for ref in given.corrections)
        return rule.step(rate, corrections, params, grads, moments)

    start = jax.tree.map(lambda ref: ref[...], (given.params, given.moments))
    last = jax.lax.fori_loop(0, steps, step, start)

    def write(ref, value):
        ref[...] = value

    jax.tree.map(write, (shown.params, shown.moments), last)


def _value_and_grad(net, batch_size, given, i, params, weight) -> tuple[jax.Array, Params]:
    """ℒ of batch i and its gradient by the parameters, summed over tiles of its rows."""
    tiles = -(-batch_size // ROWS)
    total = jnp.where(weight == 0, 1.0, weight)  # as in `network.total`

    def of_tile(t):
        x, y = _examples(batch_size, given, i, t)
        share = _weights(given, batch_size, i, t, ROWS) / total
        kept = forward(net.activations, params, x)
        if net.output == "softmax":
            losses, grad_a = softmax_cross_entropy(kept[-1], y, net.sizes[-1], is_class(given.y))
        else:
            losses, grad_a = squared_error(kept[-1], y)
        grads = sweep(net.activations, params, x, kept, share[:, None] * grad_a)
        return jnp.sum(share * losses), grads

    def add(t, sums):
        return jax.tree.map(jnp.add, sums, of_tile(t))

    if tiles == 1:
        return of_tile(0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.fori_loop(0, tiles, add, (jnp.zeros((), jnp.float32), zeros))


def _rows(given: Given, batch_size: int, i: Any, t: Any, count: int) -> tuple[Any, Any]:
    """The numbers of so many rows of batch i, from tile t on, and which of them count.

    What fills up a tile is the last row of the batch again.
    """
    lanes = t * ROWS + _numbers(count)
    rows = given.rows[i * batch_size + jnp.minimum(lanes, batch_size - 1)]
    return rows, (lanes < batch_size) & (i * batch_size + lanes < given.x.shape[0])


def _examples(batch_size: int, given: Given, i: Any, t: Any) -> tuple[Any, Any]:
    """x, and y as numbers, of tile t of batch i."""
    rows, _ = _rows(given, batch_size, i, t, ROWS)
    columns = _numbers(given.x.shape[1])
    x = given.x[rows[:, None], columns[None, :]]
    if is_class(given.y):
        return x, one_hot(given.y[rows], columns)
    return x, given.y[rows[:, None], columns[None, :]]


def _weights(given: Given, batch_size: int, i: Any, t: Any, count: int) -> jax.Array:
    """w of so many rows of batch i, from tile t on; 0 for what fills up."""
    rows, real = _rows(given, batch_size, i, t, count)
    if given.weights is None:
        return real.astype(jnp.float32)
    return jnp.where(real, given.weights[rows], 0.0)


def _numbers(length: int) -> jax.Array:
    """0, 1, …, (length,)."""
    return jax.lax.iota(jnp.int32, length)
