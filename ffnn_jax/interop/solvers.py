"""scikit-learn's solvers on our network: adam, sgd and lbfgs, with its names and its penalty.

  ℒ + α/(2n) Σ_k ‖W_k‖²        n = Σ w_i of the batch; no penalty on b

The rates, moments and α are part of the optimizer's state and no constants of the program, so an
optimizer is made once for each kind, and a search over them compiles once.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ffnn_jax import backprop
from ffnn_jax.fitting import fit
from ffnn_jax.interop.packages import require
from ffnn_jax.network import Layer, Network, Params
from ffnn_jax.recipe import Objective, TrainState
from ffnn_jax.training import init_state

LEAST_RATE = 1e-6  # of the adaptive schedule: below it training ends
ADAPTIVE_FACTOR = 5.0


class Examples(NamedTuple):
    """Checked arrays: x (N, n_0), y as for `loss`, weights (N,) or None."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None


class Solver(NamedTuple):
    """What of an estimator's parameters its solver is made of; scikit-learn's names."""

    solver: str
    alpha: float
    batch_size: int
    learning_rate: str
    learning_rate_init: float
    power_t: float
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    max_iter: int
    max_fun: int
    tol: float
    n_iter_no_change: int
    verbose: bool


class Trained(NamedTuple):
    """What came out.

    Attributes:
      params: the parameters.
      losses: of each epoch, or for lbfgs of each iteration.
      validation_losses: of each epoch, or None without held-out examples.
      converged: whether it ended before max_iter.
      state: to go on from; None for lbfgs.
    """

    params: Params
    losses: list[float]
    validation_losses: list[float] | None
    converged: bool
    state: TrainState | None


def half_loss(net: Network, params: Params, x: Any, y: Any, *, weights: Any = None) -> jax.Array:
    """½ ℒ, scikit-learn's squared error: its penalty α is to be weighed against that."""
    return backprop.loss(net, params, x, y, weights=weights) / 2


# adam and sgd ------------------------------------------------------------------------------------


def _weights_alone(params: Params) -> Any:
    """What the penalty is on: every W and no b."""
    return tuple(Layer(W=True, b=False) for _ in params)  # pyright: ignore[reportArgumentType]


def _adam(rate: Any, penalty: Any, b1: Any, b2: Any, eps: Any) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(penalty, mask=_weights_alone),
        optax.scale_by_adam(b1, b2, eps),
        optax.scale_by_learning_rate(rate),
    )


def _sgd(
    rate: Any, penalty: Any, momentum: Any, power: Any, nesterov: bool, examples: int, steps: int
) -> optax.GradientTransformation:
    """η_t = η / (1 + examples seen in whole epochs)^power; power 0 is a constant rate."""

    def schedule(count: Any) -> jax.Array:
        seen = 1 + examples * (count // steps)
        return -rate / seen.astype(rate.dtype) ** power

    return optax.chain(
        optax.add_decayed_weights(penalty, mask=_weights_alone),
        optax.trace(momentum, nesterov),
        optax.scale_by_schedule(schedule),
    )


@lru_cache(maxsize=64)
def _optimizer(kind: str, *static: Any) -> optax.GradientTransformation:
    """One object for each kind: a new one would be compiled anew."""
    if kind == "adam":
        return optax.inject_hyperparams(_adam)(0.0, 0.0, 0.0, 0.0, 0.0)
    names = ("nesterov", "examples", "steps")
    return optax.inject_hyperparams(_sgd, static_args=names)(0.0, 0.0, 0.0, 0.0, *static)


def start(
    net: Network, solver: Solver, data: Examples, key: jax.Array, params: Params
) -> TrainState:
    """The state before the first step, the solver's numbers in it."""
    state = init_state(net, optimizer_of(solver, data), key, params=params)
    return with_numbers(state, numbers_of(solver, data))


def numbers_of(solver: Solver, data: Examples) -> dict[str, float]:
    """The numbers of the optimizer; the penalty is α/n for a batch of examples of mean weight."""
    mean_weight = 1.0 if data.weights is None else float(np.mean(data.weights))
    numbers = {
        "rate": solver.learning_rate_init,
        "penalty": solver.alpha / (solver.batch_size * mean_weight),
    }
    if solver.solver == "adam":
        return {**numbers, "b1": solver.beta_1, "b2": solver.beta_2, "eps": solver.epsilon}
    power = solver.power_t if solver.learning_rate == "invscaling" else 0.0
    return {**numbers, "momentum": solver.momentum, "power": power}


def optimizer_of(solver: Solver, data: Examples) -> optax.GradientTransformation:
    """The optimizer of the solver."""
    if solver.solver == "adam":
        return _optimizer("adam")
    steps = math.ceil(len(data.x) / solver.batch_size)
    return _optimizer("sgd", solver.nesterovs_momentum, len(data.x), steps)


def with_numbers(state: TrainState, numbers: dict[str, float]) -> TrainState:
    """The state with other numbers of the optimizer."""
    old: Any = state.opt_state
    new = {name: jnp.asarray(value, old.hyperparams[name].dtype) for name, value in numbers.items()}
    return state._replace(opt_state=old._replace(hyperparams={**old.hyperparams, **new}))


def descend(
    net: Network,
    solver: Solver,
    data: Examples,
    state: TrainState,
    *,
    objective: Objective,
    held_out: Examples | None = None,
) -> Trained:
    """Epochs of adam or sgd until the loss no longer falls by tol, or there were max_iter.

    The adaptive rate is divided by 5 then, as long as it is above 1e-6. With held-out examples it
    is their loss that counts, and the parameters of the best epoch that are returned.
    """
    losses: list[float] = []
    validation: list[float] = []
    best: tuple[float, Params] = (math.inf, state.params)
    rate = solver.learning_rate_init
    while True:
        result = fit(
            net,
            (data.x, data.y),
            state=state,
            optimizer=optimizer_of(solver, data),
            batch_size=solver.batch_size,
            epochs=solver.max_iter - len(losses),
            weights=data.weights,
            validation=None if held_out is None else (held_out.x, held_out.y),
            objective=objective,
            patience=solver.n_iter_no_change,
            min_delta=solver.tol,
            progress=solver.verbose,
        )
        state = result.state
        losses.extend(map(float, result.history.loss))
        if held_out is None:
            best = 0.0, state.params
        elif result.history.validation_loss is not None and result.best_epoch is not None:
            validation.extend(map(float, result.history.validation_loss))
            lowest = float(result.history.validation_loss[result.best_epoch])
            best = min(best, (lowest, result.params), key=lambda pair: pair[0])
        rate /= ADAPTIVE_FACTOR
        stopped = len(losses) < solver.max_iter
        if solver.learning_rate != "adaptive" or not stopped or rate <= LEAST_RATE:
            break
        state = with_numbers(state, {"rate": rate})
    return Trained(best[1], losses, None if held_out is None else validation, stopped, state)


# lbfgs -------------------------------------------------------------------------------------------


@jax.jit
def _penalised(
    net: Network, params: Params, x: Any, y: Any, weights: Any, scale: Any, penalty: Any
) -> tuple[jax.Array, Params]:
    """scale · ℒ + ½ penalty Σ_k ‖W_k‖² and its gradient."""

    def value(params: Params) -> jax.Array:
        squares = sum(jnp.sum(layer.W**2) for layer in params)
        return scale * backprop.loss(net, params, x, y, weights=weights) + penalty / 2 * squares

    return jax.value_and_grad(value)(params)


def minimise(
    net: Network, solver: Solver, data: Examples, params: Params, *, objective: Objective
) -> Trained:
    """SciPy's L-BFGS-B on all examples at once, ours being the value and the gradient."""
    optimize = require("scipy.optimize", "ffnn_jax[data]")
    dtype = params[0].W.dtype
    weight = len(data.x) if data.weights is None else float(np.sum(data.weights))
    scale = jnp.asarray(0.5 if objective is half_loss else 1.0, dtype)
    arrays = jax.tree.map(jnp.asarray, (data.x, data.y, data.weights))
    penalty = jnp.asarray(solver.alpha / weight, dtype)
    losses: list[float] = []
    flat, unflatten = _flattened(params)

    def value_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, grads = _penalised(net, unflatten(theta), *arrays, scale, penalty)
        return float(value), _flattened(grads)[0]

    def note(intermediate_result: Any) -> None:
        losses.append(float(intermediate_result.fun))

    result = optimize.minimize(
        value_and_gradient,
        flat,
        jac=True,
        method="L-BFGS-B",
        callback=note,
        options={"maxiter": solver.max_iter, "maxfun": solver.max_fun, "gtol": solver.tol},
    )
    losses = losses or [float(result.fun)]
    return Trained(unflatten(result.x), losses, None, result.status != 1, None)


def _flattened(params: Params) -> tuple[np.ndarray, Callable[[np.ndarray], Params]]:
    """All parameters as one float64 vector, and the way back."""
    leaves, tree = jax.tree.flatten(params)
    flat = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def unflatten(theta: np.ndarray) -> Params:
        parts = zip(np.split(theta, ends), leaves, strict=True)
        new = [jnp.asarray(part.reshape(leaf.shape).astype(leaf.dtype)) for part, leaf in parts]
        return jax.tree.unflatten(tree, new)

    return flat, unflatten
