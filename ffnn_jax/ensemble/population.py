"""`fit_many` by the kernel `population`: what it takes, and its epoch of a `TrainState`.

An optax optimizer is functions, and no longer says what it computes. The kernel computes the step
itself, so it takes those whose making it can see: with learning_rates `optax.sgd`, `optax.adam`, or
a `functools.partial` of one of the two with keywords that it knows.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from ffnn_jax.backprop import loss
from ffnn_jax.batches import shuffled
from ffnn_jax.epochs import Epoch
from ffnn_jax.kernels import population, population_limits
from ffnn_jax.kernels.choice import check_taken, chosen
from ffnn_jax.kernels.measured import wins
from ffnn_jax.kernels.updates import SGD, Adam, Moments, Rule
from ffnn_jax.network import Network
from ffnn_jax.recipe import Recipe, TrainState
from ffnn_jax.training import scan_epoch

NAME = "population"
TAKES = (
    "takes as optimizer, with learning_rates, optax.sgd or optax.adam itself or a "
    "functools.partial of one of the two"
)
SMALLEST = 1e-30  # eps: XLA may divide by (1 − β₁ᵗ) eps, which is then no 0 of float32


def epoch_of(
    net: Network, recipe: Recipe, rate: jax.Array | None, dtype: DTypeLike, members: int
) -> Epoch:
    """The epoch of one of so many members, `scan_epoch` or the kernel's: of state, x, y, weights.

    Args:
      net: the network; its plan says what is wished for.
      recipe: its optimizer is a function of the rate where there is one.
      rate: of this member.
      dtype: of the parameters.
      members: how many are computed side by side.

    Raises:
      NotImplementedError: the kernel is asked for and does not take this, with the reason.
    """
    optimizer: Any = recipe.optimizer
    mine = recipe if rate is None else recipe._replace(optimizer=optimizer(rate))
    reference = functools.partial(scan_epoch, net, mine)
    reason = reason_against(net, recipe, rate is not None, dtype)
    kernel: Any = None
    won = False
    if reason is None:
        rule: Any = rule_of(optimizer, rate is not None)
        batch = recipe.batch_size
        won = wins(NAME, net, dtype, members, batch=batch, optimizer=rule.name)
        kernel = functools.partial(_kernel_epoch, net, rule, recipe.batch_size, rate)
    return chosen(net.plan.implementation, NAME, kernel, reference, reason=reason, wins=won)


def check_asked(net: Network, recipe: Recipe, rated: bool) -> None:
    """Refuses what the kernel does not take where it is asked for, before anything is compiled."""
    if net.plan.implementation == "pallas":
        check_taken(NAME, reason_against(net, recipe, rated, jnp.float32))


# What it takes -----------------------------------------------------------------------------------


def reason_against(net: Network, recipe: Recipe, rated: bool, dtype: DTypeLike) -> str | None:
    """Why the kernel does not take this, to go after its name; None where it does."""
    rule = rule_of(recipe.optimizer, rated)
    if isinstance(rule, str):
        return rule
    if recipe.objective is not loss:
        return f"minimises ffnn_jax.loss and no other objective, got {recipe.objective!r}"
    if recipe.accumulate != 1:
        return f"takes a batch at once, got accumulate={recipe.accumulate}"
    if recipe.layout is not None:
        return (
            "does not share the rows of a batch between devices, got a mesh with an axis 'data'; "
            "with an axis 'member' alone it does"
        )
    return population_limits.reason_against(net, rule, recipe.batch_size, dtype)


def rule_of(optimizer: Any, rated: bool) -> Rule | str:
    """The rule of an optimizer that is a function of the rate, or why there is none."""
    if not rated:
        return f"{TAKES}, got one without learning_rates"
    keywords: dict[str, Any] = {}
    if isinstance(optimizer, functools.partial):
        if optimizer.args:
            return f"takes the rate of an optimizer from learning_rates alone, got {optimizer!r}"
        optimizer, keywords = optimizer.func, optimizer.keywords
    if optimizer is optax.sgd:
        return _rule("optax.sgd", SGD, optimizer, keywords)
    if optimizer is optax.adam:
        return _rule("optax.adam", Adam, optimizer, keywords)
    return f"{TAKES}, got {optimizer!r}"


def _rule(name: str, make: Callable[..., Rule], function: Any, keywords: Any) -> Rule | str:
    """The rule with these keywords of the function; those it does not know have to be unset."""
    signature = inspect.signature(function).parameters
    known, taken = inspect.signature(make).parameters, {}
    for key, value in keywords.items():
        unset = key in signature and value is signature[key].default
        if key in known and isinstance(value, float | int):
            taken[key] = bool(value) if key == "nesterov" else float(value)
        elif not unset:
            expected = "its default"
            if key in known:
                switch = isinstance(known[key].default, bool)
                expected = "True or False" if switch else "a Python number"
            return f"takes {name} with {key} {expected}, got {key}={value!r}"
    rule = make(**taken)
    if isinstance(rule, Adam):
        added = rule.eps, rule.eps_root
        if not min(added) >= 0 or not max(added) >= SMALLEST:
            return (
                f"divides by √(v + eps_root) + eps, where v of a padded unit is 0: it takes eps or "
                f"eps_root of at least {SMALLEST} and neither below 0, got eps={rule.eps}, "
                f"eps_root={rule.eps_root}"
            )
    return rule


# An epoch ----------------------------------------------------------------------------------------


def _kernel_epoch(
    net: Network,
    rule: Rule,
    batch_size: int,
    rate: Any,
    state: TrainState,
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array | None,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """`scan_epoch` of one network in the kernel: the same order of the examples."""
    key, order_key = jax.random.split(state.key)
    rows, _ = shuffled(order_key, x.shape[0], batch_size, jnp.float32)
    steps = rows.shape[0]
    columns, warps = population_limits.tile_of(net, rule) or (0, 0)
    padded = functools.partial(population.padded, columns=columns)
    given = population.Given(
        x=population.padded_rows(x, columns),
        y=population.padded_rows(y, columns),
        weights=weights,
        rows=rows.reshape(-1),
        rate=rate.reshape(1),
        params=padded(state.params),
        moments=padded(moments_of(rule, state.opt_state)),
        corrections=rule.corrections(count_of(rule, state.opt_state), steps),
    )
    shown = population.epoch(net, rule, batch_size, given, warps=warps)
    moments = tuple(population.cut(m, state.params) for m in shown.moments)
    state = TrainState(
        params=population.cut(shown.params, state.params),
        opt_state=with_moments(rule, state.opt_state, moments, steps),
        key=key,
        step=state.step + steps,
    )
    return state, shown.losses, shown.weights


def count_of(rule: Rule, opt_state: Any) -> jax.Array:
    """How many steps the rule has counted; 0 where it counts none."""
    return opt_state[0].count if isinstance(rule, Adam) else jnp.zeros((), jnp.int32)


def moments_of(rule: Rule, opt_state: Any) -> Moments:
    """What the rule remembers, in the state that optax has of it."""
    if isinstance(rule, Adam):
        return opt_state[0].mu, opt_state[0].nu
    return () if rule.momentum is None else (opt_state[0].trace,)


def with_moments(rule: Rule, opt_state: Any, moments: Moments, steps: int) -> Any:
    """The state that optax has after so many more steps."""
    first, *rest = opt_state
    if isinstance(rule, Adam):
        mu, nu = moments
        first = first._replace(count=first.count + steps, mu=mu, nu=nu)
    elif rule.momentum is not None:
        first = first._replace(trace=moments[0])
    return (first, *rest)
