"""The members over the cores of a CPU: each core has a share of them, in a thread of its own.

  share c of C has the members  c m, …, (c + 1) m − 1,    m = ⌈M / C⌉

XLA on a CPU splits a large operation between the cores; small ones follow each other on one core,
and the others have nothing to do. A compiled program that several threads call runs in all of them
at once. C is ⌈M / m⌉ for the least m with no more shares than cores. Where it does not divide M,
copies of the last member fill up the last share.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.ensemble.members import compiled_many, parameter_count
from ffnn_jax.epochs import Data, Row, Run, Stopping
from ffnn_jax.network import Network
from ffnn_jax.recipe import Recipe

LARGEST = 1_000_000  # parameters of a network from which on XLA keeps the cores busy by itself


class Shares(NamedTuple):
    """The runs of all shares, between two calls of the loop."""

    parts: tuple[Run, ...]

    @property
    def epochs(self) -> np.ndarray:
        """As that of `Run`."""
        return np.concatenate([part.epochs for part in self.parts])

    @property
    def stopped(self) -> np.ndarray:
        """As that of `Run`."""
        return np.concatenate([part.stopped for part in self.parts])


def shares_for(net: Network, members: int, arrays: Any) -> int:
    """In how many shares the members are trained: at most one a core, and each has members.

    Not where an array of theirs lies on several devices, which then share the work.

    Time in two shares ÷ time in one, SGD, two CPU cores, jax 0.10.2 and 0.12:

      sizes                     batch   M    0.10.2   0.12
      4-16-3                    16      64   0.44     0.35
      16-32-4                   16      64   0.44     0.36
      64-64-64-10               32      64   0.53     0.42
      784-128-10                64      64   0.57     0.57
      784-512-512-10            128     4    0.78     0.82
      784-1000-500-10           1024    4    0.99     0.99
      2048-…-2048-1000          1024    4    1.04     1.03
    """
    several = any(len(t.sharding.device_set) > 1 for t in jax.tree.leaves(arrays))
    if several or jax.default_backend() != "cpu" or parameter_count(net) > LARGEST:
        return 1
    return -(-members // -(-members // _cores()))


def _cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@partial(jax.jit, static_argnames="shares")
def divided(tree: Any, shares: int) -> tuple[Any, ...]:
    """Arrays (M, …) as one tree a share."""
    members = jax.tree.leaves(tree)[0].shape[0]
    m = -(-members // shares)
    filling = shares * m - members

    def share(c: int, t: jax.Array) -> jax.Array:
        if filling:
            t = jnp.concatenate([t, *[t[-1:]] * filling])
        return t[c * m : (c + 1) * m]

    return tuple(jax.tree.map(partial(share, c), tree) for c in range(shares))


@partial(jax.jit, static_argnames="members")
def joined(parts: Sequence[Any], members: int) -> Any:
    """The trees of all shares as one of arrays (M, …)."""
    return jax.tree.map(lambda *t: jnp.concatenate(t)[:members], *parts)


def many_on_cores(
    net: Network,
    recipe: Recipe,
    each: Sequence[Any],
    shared: Data,
    stopping: Stopping | None,
    count: int,
    group_size: int,
) -> list[tuple[Run, Row, jax.Array]]:
    """`compiled_many` of every share at once.

    Args:
      each: for each share the argument `each` of `compiled_many`; all of the same shapes.
      the others: as for `compiled_many`.
    """
    epochs = jnp.asarray(count, jnp.int32)
    if len(each) == 1:
        return [compiled_many(net, recipe, each[0], shared, stopping, epochs, group_size)]
    lowered = compiled_many.lower(net, recipe, each[0], shared, stopping, epochs, group_size)
    compiled = lowered.compile()  # here: a thread knows nothing of the settings in force

    def of_share(mine: Any) -> Any:
        return jax.block_until_ready(compiled(net, mine, shared, stopping, epochs))

    with ThreadPoolExecutor(len(each)) as pool:
        return list(pool.map(of_share, each))
