"""What does privacy cost on the digits, and what is promised for it?

    python scripts/private_digits.py [--epsilon 4] [--steps 400] [--seed 0]

DP-SGD (Abadi et al. 2016) on the 1,437 training digits: every example is in a batch by itself with
probability q (Poisson sampling), its gradient clipped, and noise added by `private_gradients`. A
batch whose size is drawn is filled up to a fixed one with examples of weight 0. The noise that the
promised ε asks for, at δ = 1e-5, is found by dp-accounting (`pip install dp-accounting`), which
knows nothing of networks: it counts the steps. The last line of stdout is one JSON object.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from dp_accounting import (
    DpEvent,
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
    calibrate_dp_mechanism,
)
from dp_accounting.pld import PLDAccountant

import ffnn_jax as ffnn

DELTA, MAX_NORM, EXPECTED, RATE = 1e-5, 0.5, 128, 1.0


def noise_for(epsilon: float, q: float, steps: int) -> float:
    """The smallest noise multiplier σ that promises (ε, δ) for so many steps."""

    def event(sigma: float) -> DpEvent:
        return SelfComposedDpEvent(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps)

    return calibrate_dp_mechanism(PLDAccountant, event, epsilon, DELTA, tol=1e-3)


def sample(draw: np.random.Generator, examples: int, q: float, capacity: int):
    """Row numbers, (capacity,), and 1 for those that are drawn, 0 for those that fill up."""
    rows = np.flatnonzero(draw.random(examples) < q)
    if len(rows) > capacity:  # 10 standard deviations away
        raise RuntimeError(f"{len(rows)} examples drawn, there is room for {capacity}")
    weights = (np.arange(capacity) < len(rows)).astype(np.float32)
    return np.pad(rows, (0, capacity - len(rows))), weights


def train(net, data, sigma: float, steps: int, seed: int) -> ffnn.network.Params:
    x, y = map(jnp.asarray, data)
    q = EXPECTED / len(x)
    capacity = int(EXPECTED + 10 * np.sqrt(EXPECTED))
    optimizer = optax.sgd(RATE)

    @jax.jit
    def step(params, opt_state, key, rows, weights):
        grads = ffnn.private_gradients(
            net,
            params,
            x[rows],
            y[rows],
            max_norm=MAX_NORM,
            noise_multiplier=sigma,
            key=key,
            weights=weights,
        )
        grads = jax.tree.map(lambda g: g * (capacity / EXPECTED), grads)  # 1/N of the expected N
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state

    key, params_key = jax.random.split(jax.random.key(seed))
    params = ffnn.init(net, params_key)
    opt_state, draw = optimizer.init(params), np.random.default_rng(seed)
    for step_key in jax.random.split(key, steps):
        params, opt_state = step(params, opt_state, step_key, *sample(draw, len(x), q, capacity))
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epsilon", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data, (x_test, y_test) = ffnn.split(*ffnn.load_digits(), fraction=0.2, seed=0)
    net = ffnn.Network((64, 64, 10), activation="tanh", output="softmax")
    sigma = noise_for(arguments.epsilon, EXPECTED / len(data[0]), arguments.steps)
    accuracy = {}
    for name, noise in (("private", sigma), ("clipped, no noise", 0.0)):
        params = train(net, data, noise, arguments.steps, arguments.seed)
        hits = np.argmax(ffnn.apply(net, params, x_test), axis=-1) == np.asarray(y_test)
        accuracy[name] = float(hits.mean())
        print(f"{name:18} σ {noise:.3f}   test accuracy {accuracy[name]:.4f}")
    print(f"promised: ε {arguments.epsilon:g} at δ {DELTA:g} after {arguments.steps} steps")
    print(json.dumps({"epsilon": arguments.epsilon, "sigma": sigma, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
