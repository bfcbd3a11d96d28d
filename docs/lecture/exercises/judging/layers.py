"""Exercises 6 to 12: the gradients of a network, one kind after the other, then all."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ffnn_jax import Network
from judging.attempt import attempt
from judging.passes import wrong_pass
from judging.points import Point, points
from judging.sweep import Answer, asked, judge_gradients
from judging.verdict import Finding

Function = Callable[..., Any]

# All layers of one width, so that a wrong layer, or a transpose, has the right shape and a name.
SQUARE = Network((5, 5, 5, 5, 5), activation=("sigmoid", "tanh", "relu"), output="softmax")
TANH = Network((5, 5, 5, 5), activation="tanh", output="softmax")
TAPERED = Network((4, 6, 3), activation="tanh", output="softmax")
REAL = Network((4, 3), output="linear")
SQUARED = Network((4, 3), output="softmax", loss="squared_error")


def yhat(cross: Function, squared: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdicts on exercise 6."""

    def answer(function: Function, at: Point) -> Answer:
        return asked(function, {"yhat": (at.yhat, _label(at))}, {})

    return [
        judge_gradients(cross, [points(TAPERED, draw)], answer),
        judge_gradients(squared, [points(REAL, draw)], answer),
    ]


def a_L(pull_back: Function, grad_a_L: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdicts on exercise 7."""

    def pulled(function: Function, at: Point) -> Answer:
        grad = at.grads["yhat"]
        return asked(function, {f"a_{at.net.depth}": (at.yhat, grad)}, {"yhat": grad})

    def direct(function: Function, at: Point) -> Answer:
        question = {f"a_{at.net.depth}": (at.yhat, _label(at))}
        return asked(function, question, {"yhat": at.grads["yhat"]})

    groups = [points(SQUARED, draw)], [points(TAPERED, draw)]
    judged = zip((pull_back, grad_a_L), groups, (pulled, direct), strict=True)
    return [
        judge_gradients(one, group, answer, renamed={f"a_{group[0][0].net.depth}": "a_L"})
        for one, group, answer in judged
    ]


def h_k(grad_h: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdict on exercise 8."""

    def answer(function: Function, at: Point) -> Answer:
        questions = {f"h_{k}": (k, at.W, at.grad_a()) for k in range(at.net.depth)}
        return asked(function, questions, _given(at, "a"))

    return [judge_gradients(grad_h, [points(SQUARE, draw), points(TAPERED, draw)], answer)]


def a_k(sigmoid: Function, tanh: Function, relu: Function, draw: np.random.Generator):
    """The verdicts on exercise 9."""

    def of_layer(k: int) -> Callable[[Function, Point], Answer]:
        def answer(function: Function, at: Point) -> Answer:
            args = (at.grads[f"h_{k}"], at.a[k], at.h[k])
            return asked(function, {f"a_{k}": args}, {f"h_{k}": args[0]})

        return answer

    group = [points(SQUARE, draw)]
    functions = enumerate((sigmoid, tanh, relu), start=1)
    return [judge_gradients(function, group, of_layer(k)) for k, function in functions]


def W_k_and_b_k(grad_W: Function, grad_b: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdicts on exercise 10."""

    def weights(function: Function, at: Point) -> Answer:
        layers = range(1, at.net.depth + 1)
        questions = {f"W_{k}": (k, at.grad_a(), at.h) for k in layers}
        found = asked(function, questions, _given(at, "a", "h"))
        if "IndexError" not in found.trouble:
            return found
        said = f"{found.trouble} (h ends at h_{{L−1}}; layer k reads h_{{k−1}})"
        return found._replace(trouble=said)

    def biases(function: Function, at: Point) -> Answer:
        questions = {f"b_{k}": (k, at.grad_a()) for k in range(1, at.net.depth + 1)}
        return asked(function, questions, _given(at, "a", "h"))

    groups = [points(SQUARE, draw), points(TAPERED, draw)]
    return [judge_gradients(grad_W, groups, weights), judge_gradients(grad_b, groups, biases)]


def whole(gradients: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdict on exercise 11."""

    def answer(function: Function, at: Point) -> Answer:
        return _all_of(at, function, (at.x, _label(at), at.W, at.b))

    groups = [points(TANH, draw), points(TAPERED, draw)]
    return [judge_gradients(gradients, groups, answer, elsewhere=wrong_pass)]


def batches(gradients: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdict on exercise 12: without weights of examples, then with them."""

    def answer(function: Function, at: Point) -> Answer:
        args = (at.x, at.y, at.W, at.b)
        return _all_of(at, function, args if np.all(at.weights == 1) else (*args, at.weights))

    groups = [points(TANH, draw, 7, weighted=weighted) for weighted in (False, True)]
    return [judge_gradients(gradients, groups, answer, elsewhere=wrong_pass)]


def _label(at: Point) -> Any:
    return int(at.y) if np.ndim(at.y) == 0 else at.y


def _given(at: Point, *kinds: str) -> dict[str, np.ndarray]:
    return {name: t for name, t in at.grads.items() if name[0] in kinds}


def _all_of(at: Point, function: Function, args: tuple[Any, ...]) -> Answer:
    """The learner's whole sweep, if the gradients of all parameters are in it."""
    one = attempt(function, args)
    if one.trouble:
        return Answer(None, one.trouble)
    if not isinstance(one.value, Mapping):
        kind = type(one.value).__name__
        return Answer(None, f'expected a dict, {{"W_1": …, "b_1": …, …}}, got {kind}')
    every = [f"{kind}_{k}" for k in range(1, at.net.depth + 1) for kind in "Wb"]
    missing = [name for name in every if one.value.get(name) is None]
    if missing:
        return Answer(None, f"there is no {', '.join(missing)} yet in the dict")
    return Answer(dict(one.value), "", one.changed)
