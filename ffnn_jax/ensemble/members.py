"""The compiled loop over all members: each goes its own way, some share one batched computation."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import PartitionSpec as P

from ffnn_jax.ensemble.devices import on_each_place, split
from ffnn_jax.ensemble.population import epoch_of
from ffnn_jax.epochs import Data, advance, repeat, start
from ffnn_jax.network import Network, init
from ffnn_jax.sharding.placement import MEMBER, constrained
from ffnn_jax.training import init_state


def parameter_count(net: Network) -> int:
    """How many numbers all W_k and b_k have."""
    return sum(n * (m + 1) for m, n in itertools.pairwise(net.sizes))


def group_size_for(net: Network, members: int) -> int:
    """How many of the members of a place: all on an accelerator and where they are tiny; else few.

    Time ÷ that of 64 sequential scans, Adam, two CPU cores, jax 0.10.2, by group size:

      parameters     sizes                batch      1      4      8     16     64
             42      2-8-2                   16   0.67   0.55   0.46   0.47   0.42
            131      4-16-3                  16   0.68   0.64   0.51   0.52   0.50
            676      16-32-4                 16   0.78   0.53   0.57   0.47   0.49
          8,970      64-64-64-10             32   0.90   0.83   0.77   0.75   0.90
        101,770      784-128-10              64   1.09   1.01   1.11   1.27   1.20

    One network's step is mostly the start of small operations, which all members share; once the
    parameters of a group and their moments outgrow the cache there is nothing to share.
    """
    parameters = parameter_count(net)
    if jax.default_backend() != "cpu" or parameters < 3000:
        return members
    return 8 if parameters < 50_000 else 1


def _over_members(fn: Callable[..., Any], each: Any, group_size: int) -> Any:
    """fn of each member, in groups of so many."""
    members = jax.tree.leaves(each)[0].shape[0]
    if group_size >= members:
        return jax.vmap(fn)(each)
    if group_size == 1:
        return jax.lax.map(fn, each)
    return jax.lax.map(fn, each, batch_size=group_size)


@partial(jax.jit, static_argnames=("recipe", "group_size", "mesh"))
def compiled_many(net, recipe, each, shared, stopping, count, group_size, mesh=None):
    """`repeat` of `advance`, of all members.

    Args:
      net: the network.
      recipe: how an epoch is trained; its optimizer a function of the rate where there are rates.
      each: (the runs, the rates or None, `Data` of those arrays of which each member has its own).
      shared: `Data` of the others.
      stopping: when to stop early, or None.
      count: how many epochs at most.
      group_size: how many members of a place share one batched computation.
      mesh: over whose `member` axis `each` is split, or None.

    Returns:
      What `repeat` does; on a mesh the count of epochs is (D,), that of each place.
    """

    def run_here(each, shared, stopping, count):
        runs, rates, own = each
        members = runs.epochs.shape[0]

        def advance_one(member):
            run, rate, own = member
            data = Data(*(a if b is None else b for a, b in zip(shared, own, strict=True)))
            epoch = epoch_of(net, recipe, rate, run.state.params[0].W.dtype, members)
            return advance(net, recipe, run, data, stopping, epoch)

        def advance_all(runs):
            return _over_members(advance_one, (runs, rates, own), group_size)

        shown = repeat(advance_all, runs, count)
        runs, table, done = constrained(recipe.layout, shown)
        return runs, table, done if mesh is None else done[None]

    specs = (P(MEMBER), P(), P(), P()), (P(MEMBER), P(None, MEMBER), P(MEMBER))
    return on_each_place(run_here, mesh, *specs)(each, shared, stopping, count)


def start_many(net, optimizer, keys, rates, stops_early, mesh=None):
    """The runs before the first epoch, each as `fit` starts it."""
    params = _draw(net, keys, mesh)
    runs = _start_from(net, optimizer, keys, params, rates, stops_early, mesh)
    return split(mesh, runs)  # where the loop will have them: over `data` XLA had the choice


@partial(jax.jit, static_argnames="mesh")
def _draw(net, keys, mesh):
    """The parameters that `init_state` draws: slow to compile, and the same for any optimizer."""
    draw = jax.vmap(lambda key: init(net, jax.random.split(key)[0]))
    return on_each_place(draw, mesh, P(MEMBER), P(MEMBER))(keys)


@partial(jax.jit, static_argnames=("optimizer", "stops_early", "mesh"))
def _start_from(net, optimizer, keys, params, rates, stops_early, mesh):
    def start_one(member):
        key, params, rate = member
        mine = optimizer if rate is None else optimizer(rate)
        return start(init_state(net, mine, key, params=params), stops_early)

    return on_each_place(jax.vmap(start_one), mesh, P(MEMBER), P(MEMBER))((keys, params, rates))
