"""Exercise 4: θ_{t+1} = θ_t − η∇θ_t, once, and until max_iterations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from judging.attempt import numbers
from judging.values import Mistake, judge_values
from judging.verdict import Finding

Theta = list[np.ndarray]
SHAPES = ((2, 3), (2,), (4,))


def descent(
    step: Callable[..., Any], loop: Callable[..., Any], draw: np.random.Generator
) -> list[Finding]:
    """The verdicts on exercise 4."""
    steps = [(_drawn(draw), _drawn(draw), rate) for rate in (0.1, 0.37, 2.5)]
    loops = [(_drawn(draw), Slope(draw), 0.1, count) for count in (1, 2, 5, 0)]
    return [
        judge_values(step, _step, steps, STEP, form=_joined),
        judge_values(loop, _loop, loops, LOOP, form=_joined),
    ]


class Slope:
    """The gradient of a bowl, A θ + c: every entry depends on every other."""

    def __init__(self, draw: np.random.Generator):
        count = sum(int(np.prod(shape)) for shape in SHAPES)
        root = draw.normal(size=(count, count)) / np.sqrt(count)
        self.A, self.c = root @ root.T, draw.normal(size=count)

    def __call__(self, theta: Theta) -> Theta:
        """∇θ, a list as θ is."""
        return _parts(self.A @ _vector(theta) + self.c)


def _drawn(draw: np.random.Generator) -> Theta:
    return [draw.normal(size=shape) for shape in SHAPES]


def _vector(theta: Theta) -> np.ndarray:
    return np.concatenate([np.ravel(t) for t in theta])


def _parts(vector: np.ndarray) -> Theta:
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]
    return [t.reshape(shape) for t, shape in zip(np.split(vector, ends), SHAPES, strict=True)]


def _joined(value: Any) -> np.ndarray | str:
    """What the learner returned, a list as θ is, as one vector; or what is wrong with it."""
    if not isinstance(value, list | tuple) or len(value) != len(SHAPES):
        count = f" of {len(value)}" if isinstance(value, list | tuple) else ""
        return f"expected a list of {len(SHAPES)} arrays as θ is, got {type(value).__name__}{count}"
    arrays = [numbers(one) for one in value]
    for i, (array, shape) in enumerate(zip(arrays, SHAPES, strict=True)):
        if isinstance(array, str):
            return f"entry {i}: {array}"
        if array.shape != shape:
            return f"entry {i}: expected the shape {shape} of θ's, got {array.shape}"
    return _vector(arrays)


# One step ----------------------------------------------------------------------------------------


def _step(theta: Theta, grad: Theta, rate: float) -> np.ndarray:
    return _vector(theta) - rate * _vector(grad)


STEP = [
    Mistake(
        "this is gradient ascent: θ + η∇θ goes uphill; down it is θ − η∇θ",
        lambda theta, grad, rate: _step(theta, grad, -rate),
    ),
    Mistake("η is left out", lambda theta, grad, rate: _step(theta, grad, 1.0)),
    Mistake(
        "η is left out, and it goes uphill: θ − η∇θ",
        lambda theta, grad, rate: _step(theta, grad, -1.0),
    ),
    Mistake(
        "divided by η in place of multiplied",
        lambda theta, grad, rate: _step(theta, grad, 1 / rate),
    ),
    Mistake(
        "this is the step −η∇θ alone: it is to be added to θ_t",
        lambda theta, grad, rate: -rate * _vector(grad),
    ),
    Mistake(
        "this is η∇θ alone: it is to be subtracted from θ_t",
        lambda theta, grad, rate: rate * _vector(grad),
    ),
    Mistake("nothing has moved: this is θ_t", lambda theta, grad, rate: _vector(theta)),
    Mistake(
        "this is η(θ − ∇θ): η is for the gradient alone",
        lambda theta, grad, rate: rate * _step(theta, grad, 1.0),
    ),
    Mistake(
        "θ and ∇θ are swapped: this is ∇θ − ηθ", lambda theta, grad, rate: _step(grad, theta, rate)
    ),
]


# The loop ----------------------------------------------------------------------------------------


def _loop(theta: Theta, gradient: Slope, rate: float, count: int) -> np.ndarray:
    for _ in range(count):
        theta = _parts(_step(theta, gradient(theta), rate))
    return _vector(theta)


def _one_by_one(theta: Theta, gradient: Slope, rate: float, count: int) -> np.ndarray:
    """Each array is updated before the gradient of the next is taken."""
    theta = list(theta)
    for _ in range(count):
        for i in range(len(theta)):
            theta[i] = theta[i] - rate * gradient(theta)[i]
    return _vector(theta)


LOOP = [
    Mistake(
        "this is gradient ascent: θ + η∇θ goes uphill; down it is θ − η∇θ",
        lambda theta, gradient, rate, count: _loop(theta, gradient, -rate, count),
    ),
    Mistake(
        "one step too many: t counts 0 … max_iterations − 1",
        lambda theta, gradient, rate, count: _loop(theta, gradient, rate, count + 1),
    ),
    Mistake(
        "one step too few: t counts 0 … max_iterations − 1",
        lambda theta, gradient, rate, count: _loop(theta, gradient, rate, count - 1),
    ),
    Mistake(
        "one step only: the loop ends after the first (is the `return` inside it?)",
        lambda theta, gradient, rate, count: _loop(theta, gradient, rate, min(count, 1)),
    ),
    Mistake(
        "every step takes the gradient at θ_0: it has to be taken anew at each θ_t",
        lambda theta, gradient, rate, count: _step(theta, gradient(theta), count * rate),
    ),
    Mistake(
        "every step starts at θ_0 again: θ_{t+1} has to go into the next one",
        lambda theta, gradient, rate, count: _loop(theta, gradient, rate, min(count, 1)),
    ),
    Mistake(
        "the arrays of θ are updated one by one, and the gradient of the next is taken at the new "
        "ones: the whole of ∇θ_t belongs to the old θ_t",
        _one_by_one,
    ),
    Mistake("nothing has moved: this is θ_0", lambda theta, *others: _vector(theta)),
    Mistake(
        "η is left out", lambda theta, gradient, rate, count: _loop(theta, gradient, 1.0, count)
    ),
]
