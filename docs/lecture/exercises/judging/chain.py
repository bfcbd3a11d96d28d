"""Exercise 5: the factors of ∂ℒ/∂W_111 in a thin network.

The product of the first factors is a gradient of the sweep: ∂ℒ/∂ŷ, times ∂ŷ/∂a_31 is ∇a_3, times
∂a_31/∂h_21 is ∇h_2, and so on. They are compared for several examples at once, since of one number
too much can be said.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ffnn_jax import Network
from judging.attempt import attempt, numbers
from judging.points import Point, points
from judging.sweep import Answer, judge_gradients
from judging.values import Mistake, judge_values
from judging.verdict import Finding

THIN = Network((1, 1, 1, 1), activation="sigmoid", output="logistic", loss="squared_error")
EXAMPLES = 7
FACTORS = {
    "yhat": "∂ℒ/∂ŷ",
    "a_3": "∂ŷ/∂a_31",
    "h_2": "∂a_31/∂h_21",
    "a_2": "∂h_21/∂a_21",
    "h_1": "∂a_21/∂h_11",
    "a_1": "∂h_11/∂a_11",
    "W_1": "∂a_11/∂W_111",
}
SYMBOLS = {
    key: f"factor {i}, {name}, with which the product is ∇{'ŷ' if key == 'yhat' else key}"
    for i, (key, name) in enumerate(FACTORS.items(), start=1)
}


def thin(
    factors: Callable[..., Any], gradient: Callable[..., Any], draw: np.random.Generator
) -> list[Finding]:
    """The verdicts on exercise 5."""
    trials = [args for at in points(THIN, draw, EXAMPLES)[1:] for args in _examples(at)[:3]]
    return [
        judge_gradients(factors, [points(THIN, draw, EXAMPLES)], _products, symbols=SYMBOLS),
        judge_values(gradient, _gradient, trials, MISTAKES),
    ]


def _examples(at: Point) -> list[tuple[float, float, list, list]]:
    """The arguments of the learner's functions for each example."""
    W, b = ([None, *(float(t.item()) for t in ts[1:])] for ts in (at.W, at.b))
    return [(float(x), float(y), W, b) for x, y in zip(at.x[:, 0], at.y[:, 0], strict=True)]


def _products(function: Callable[..., Any], at: Point) -> Answer:
    """Products of the learner's first factors, for the mean over the examples."""
    rows, changed = [], ()
    for args in _examples(at):
        one = attempt(function, args)
        value = one.trouble or numbers(one.value)
        if isinstance(value, str):
            return Answer(None, value)
        if value.shape != (len(FACTORS),):
            return Answer(None, f"expected {len(FACTORS)} numbers, got the shape {value.shape}")
        rows.append(np.cumprod(value))
        changed = changed or one.changed
    grads = dict(zip(FACTORS, np.transpose(rows)[:, :, None] / len(rows), strict=True))
    grads["W_1"] = np.sum(grads["W_1"], keepdims=True).reshape(1, 1)
    return Answer(grads, "", changed)


# The product -------------------------------------------------------------------------------------


def _right(x: float, y: float, W: list, b: list) -> list[float]:
    h_1 = 1 / (1 + np.exp(-(W[1] * x + b[1])))
    h_2 = 1 / (1 + np.exp(-(W[2] * h_1 + b[2])))
    yhat = 1 / (1 + np.exp(-(W[3] * h_2 + b[3])))
    slopes = [t * (1 - t) for t in (yhat, h_2, h_1)]
    return [2 * (yhat - y), slopes[0], W[3], slopes[1], W[2], slopes[2], x]


def _gradient(*args: Any) -> float:
    return float(np.prod(_right(*args)))


def _without(number: int, name: str) -> Mistake:
    said = f"factor {number} is missing, {name}"
    return Mistake(said, lambda *args: np.prod(np.delete(_right(*args), number - 1)))


MISTAKES = [
    Mistake(
        "the factors are added: along a path they multiply", lambda *args: np.sum(_right(*args))
    ),
    Mistake("the sign is flipped: ŷ − y, not y − ŷ", lambda *args: -_gradient(*args)),
    Mistake(
        "half of it: the 2 of the square is missing (this loss has no ½)",
        lambda *args: _gradient(*args) / 2,
    ),
    *(_without(i, name) for i, name in enumerate(FACTORS.values(), start=1)),
    Mistake(
        "every g′ is missing: ∂ŷ/∂a_31, ∂h_21/∂a_21 and ∂h_11/∂a_11",
        lambda *args: np.prod(np.array(_right(*args))[[0, 2, 4, 6]]),
    ),
    Mistake(
        "both weights are missing: ∂a_31/∂h_21 = W_3 and ∂a_21/∂h_11 = W_2",
        lambda *args: np.prod(np.array(_right(*args))[[0, 1, 3, 5, 6]]),
    ),
    Mistake(
        "it ends with W_1 and not with x: a_11 = W_1 x + b_1 is differentiated by W_1",
        lambda x, y, W, b: np.prod(_right(x, y, W, b)[:-1]) * W[1],
    ),
]
