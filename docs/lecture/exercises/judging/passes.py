"""Exercises 11 and 12: whole sweeps with a mistake in the forward pass.

What is wrong above moves every gradient, and no formula of one explains it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from judging.points import Point
from judging.values import close

Function = Callable[[np.ndarray], np.ndarray]


def wrong_pass(group: Sequence[Point], answers: Sequence[Mapping[str, Any]]) -> str:
    """The sentence on the mistake that gives these gradients at every point, or ""."""
    told = [_that_fit(at, grads) for at, grads in zip(group, answers, strict=True)]
    everywhere = [said for said in told[0] if all(said in others for others in told)]
    return "; or: ".join(everywhere)


def _that_fit(at: Point, grads: Mapping[str, Any]) -> list[str]:
    def given(name: str) -> np.ndarray:
        return np.asarray(grads[name], np.float64)

    tried = _mistakes(at)
    return [said for said, made in tried if all(close(given(n), t) for n, t in made.items())]


def _mistakes(at: Point) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    none = [None, *(np.zeros_like(b) for b in at.b[1:])]
    yield "the biases are left out of the forward pass", _sweep(at, b=none)
    but_last = [*none[:-1], at.b[-1]]
    yield "the biases of the hidden layers are left out of the forward pass", _sweep(at, b=but_last)
    but_first = [*at.b[:-1], none[-1]]
    yield f"b_{at.net.depth} is left out of the forward pass", _sweep(at, b=but_first)
    said = "the forward pass has σ in place of tanh"
    yield said, _sweep(at, g=_sigmoid)
    yield f"{said}, and so has g′", _sweep(at, g=_sigmoid, slope=lambda h: h * (1 - h))
    said = "the forward pass has no g: there h_k = a_k in place of tanh a_k"
    yield said, _sweep(at, g=lambda a: a)
    yield f"{said}, and g′ is left out", _sweep(at, g=lambda a: a, slope=np.ones_like)
    said = "the forward pass has tanh at the top too: there it is O alone, ŷ = softmax(a_L)"
    yield said, _sweep(at, output=lambda a: _softmax(np.tanh(a)))
    if np.ndim(at.x) == 2:
        said = "softmax is taken over the examples: it is over the classes, in each row by itself"
        yield said, _sweep(at, output=lambda a: _softmax(a, axis=0))
        yield said, _sweep(at, output=lambda a: _softmax(_less_its_largest(a), axis=0))
        said = "e is divided by the sum over the whole batch: it is by that of its own row"
        yield said, _sweep(at, output=lambda a: _softmax(a, axis=None))
        yield said, _sweep(at, output=lambda a: _softmax(_less_its_largest(a), axis=None))


def _sweep(
    at: Point,
    *,
    b: list | None = None,
    g: Function = np.tanh,
    slope: Function | None = None,
    output: Function | None = None,
) -> dict[str, np.ndarray]:
    """Every ∇W_k and ∇b_k of the network with these functions in place of its own."""
    W, b, L = at.W, at.b if b is None else b, at.net.depth
    slope, output = slope or (lambda h: 1 - h**2), output or _softmax
    h = [np.atleast_2d(at.x)]
    for k in range(1, L):
        h.append(g(h[k - 1] @ W[k].T + b[k]))
    yhat = output(h[L - 1] @ W[L].T + b[L])
    weights = np.ones(len(yhat)) if at.weights is None else at.weights
    onehot = np.eye(yhat.shape[1])[np.atleast_1d(at.y)]
    grad_a, grads = (yhat - onehot) * (weights / np.sum(weights))[:, None], {}
    for k in range(L, 0, -1):
        grads |= {f"W_{k}": grad_a.T @ h[k - 1], f"b_{k}": np.sum(grad_a, axis=0)}
        grad_a = grad_a @ W[k] * slope(h[k - 1])
    return grads


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def _less_its_largest(a: np.ndarray) -> np.ndarray:
    return a - np.max(a, axis=1, keepdims=True)


def _softmax(a: np.ndarray, axis: int | None = 1) -> np.ndarray:
    e = np.exp(a)
    return e / np.sum(e, axis=axis, keepdims=True)
