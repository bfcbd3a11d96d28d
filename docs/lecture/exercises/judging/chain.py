"""Exercise 5: the factors of ∂ℒ/∂W_111 in a thin network, one by one, and their product."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ffnn_jax import Network
from judging.attempt import attempt, in_place, name_of, numbers
from judging.points import Point, points
from judging.values import UNKNOWN, Mistake, explained, judge_values, wrong_trials
from judging.verdict import Finding

Function = Callable[..., Any]
Arguments = tuple[float, float, list, list]

THIN = Network((1, 1, 1, 1), activation="sigmoid", output="logistic", loss="squared_error")
EXAMPLES = 3
FACTORS = {
    "∂ℒ/∂ŷ": "2(ŷ − y)",
    "∂ŷ/∂a_31": "ŷ(1 − ŷ)",
    "∂a_31/∂h_21": "W_3",
    "∂h_21/∂a_21": "h_2 (1 − h_2)",
    "∂a_21/∂h_11": "W_2",
    "∂h_11/∂a_11": "h_1 (1 − h_1)",
    "∂a_11/∂W_111": "x",
}


def thin(factors: Function, gradient: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdicts on exercise 5."""
    trials = [args for at in points(THIN, draw, EXAMPLES) for args in _examples(at)]
    each = _each(factors, trials)
    product = judge_values(gradient, _gradient, trials, MISTAKES)
    if each.shown and not product.ok:
        of_yours = judge_values(gradient, _gradient, trials, [_product_of(factors)])
        product = product if UNKNOWN in of_yours.said else of_yours
    return [each, product]


def _product_of(factors: Function) -> Mistake:
    return Mistake(
        "this is the product of your factors, and they are not right yet",
        lambda *args: np.prod(attempt(factors, args).value),
    )


def _examples(at: Point) -> list[Arguments]:
    """The arguments of the learner's functions for each example."""
    W, b = ([None, *(float(t.item()) for t in ts[1:])] for ts in (at.W, at.b))
    return [(float(x), float(y), W, b) for x, y in zip(at.x[:, 0], at.y[:, 0], strict=True)]


def _each(function: Function, trials: list[Arguments]) -> Finding:
    """The verdict on the factors: the first that is wrong."""
    name, rows, changed = name_of(function), [], ()
    for args in trials:
        one = attempt(function, args)
        value = one.trouble or numbers(one.value)
        if isinstance(value, str):
            return Finding(name, False, value)
        if value.shape != (len(FACTORS),):
            said = f"expected {len(FACTORS)} numbers, got the shape {value.shape}"
            return Finding(name, False, said)
        rows.append(value)
        changed = changed or one.changed
    also = f". Also, {in_place(changed)}" if changed else ""
    for i in range(len(FACTORS)):
        wrong = _factor(i, [row[i] for row in rows], trials)
        if wrong:
            said, *shown = wrong
            return Finding(name, False, said + also, tuple(shown))
    if changed:
        return Finding(name, False, f"the factors are right, but {in_place(changed)}")
    return Finding(name, True, f"{len(trials)} trials of {len(FACTORS)} factors")


def _factor(i: int, found: list[Any], trials: list[Arguments]) -> tuple[str, ...]:
    """What is wrong with factor i + 1, and the numbers; nothing where it is right."""

    def right(*args: Any) -> float:
        return _right(*args)[i]

    found = [np.asarray(one) for one in found]
    wrong = wrong_trials(found, right, trials)
    if not wrong:
        return ()
    what, formula = list(FACTORS.items())[i]
    n = next((n for n in wrong if not np.isfinite(found[n])), wrong[0])
    hint = f"{found[n]} is no finite number"
    if np.isfinite(found[n]):
        hint = explained(_mistakes_in(i), found, right, trials)
    x, y, W, b = trials[n]
    layers = [f"W_{k} = {W[k]:.4g}, b_{k} = {b[k]:.4g}" for k in (1, 2, 3)]
    return (
        f"factor {i + 1}, {what}: {hint}. The formula is {what} = {formula}",
        f"expected {right(*trials[n]):.6g}, got {found[n]:.6g}",
        f"at x = {x:.4g}, y = {y:.4g}, with {', '.join(layers[:2])},",
        layers[2],
    )


# What is right -----------------------------------------------------------------------------------


def _sigmoid(a: float) -> float:
    return 1 / (1 + np.exp(-a))


def _numbers(x: float, y: float, W: list, b: list, g: Function = _sigmoid) -> dict[str, float]:
    """Every number of the forward pass by name."""
    a_1 = W[1] * x + b[1]
    h_1 = g(a_1)
    a_2 = W[2] * h_1 + b[2]
    h_2 = g(a_2)
    a_3 = W[3] * h_2 + b[3]
    named = {"x": x, "y": y, "W_1": W[1], "W_2": W[2], "W_3": W[3], "b_1": b[1], "b_2": b[2]}
    return named | {"a_1": a_1, "a_2": a_2, "a_3": a_3, "h_1": h_1, "h_2": h_2, "ŷ": g(a_3)}


def _right(*args: Any, g: Function = _sigmoid) -> list[float]:
    t = _numbers(*args, g=g)
    slopes = [h * (1 - h) for h in (t["ŷ"], t["h_2"], t["h_1"])]
    return [2 * (t["ŷ"] - t["y"]), slopes[0], t["W_3"], slopes[1], t["W_2"], slopes[2], t["x"]]


def _gradient(*args: Any) -> float:
    return float(np.prod(_right(*args)))


# The mistakes in one factor ----------------------------------------------------------------------


def _mistakes_in(i: int) -> list[Mistake]:
    if i == 0:
        found = _of_the_loss()
    elif i % 2:
        found = _of_a_slope(("ŷ", "h_2", "h_1")[i // 2], (3, 2, 1)[i // 2])
    else:
        found = _of_a_symbol(("W_3", "W_2", "x")[i // 2 - 1])
    forward = [
        Mistake(
            "the biases are left out of the forward pass",
            lambda x, y, W, b: _right(x, y, W, [None, 0, 0, 0])[i],
        ),
        *(
            Mistake(
                f"b_{k} is left out of the forward pass",
                lambda x, y, W, b, k=k: _right(x, y, W, [*b[:k], 0, *b[k + 1 :]])[i],
            )
            for k in (1, 2, 3)
        ),
        Mistake(
            "the forward pass has tanh in place of σ",
            lambda *args: _right(*args, g=np.tanh)[i],
        ),
        *(
            Mistake(f"this is factor {j + 1}, {name}", lambda *args, j=j: _right(*args)[j])
            for j, name in enumerate(FACTORS)
            if j != i
        ),
    ]
    return found + forward


def _of(said: str, value: Callable[[dict[str, float]], float]) -> Mistake:
    """A mistake from the numbers of the forward pass."""
    return Mistake(said, lambda *args: value(_numbers(*args)))


def _of_the_loss() -> list[Mistake]:
    return [
        _of("the negative of it: ŷ − y, not y − ŷ", lambda t: 2 * (t["y"] - t["ŷ"])),
        _of("½ of it: the 2 of the square is missing", lambda t: t["ŷ"] - t["y"]),
        _of("the 2 is missing, and it is ŷ − y, not y − ŷ", lambda t: t["y"] - t["ŷ"]),
        _of("the target y is left out", lambda t: 2 * t["ŷ"]),
        _of("this is ℒ itself, (ŷ − y)²: its derivative is due", lambda t: (t["ŷ"] - t["y"]) ** 2),
        _of(
            "this is of the cross-entropy, −y/ŷ; the loss here is the squared error",
            lambda t: -t["y"] / t["ŷ"],
        ),
        _of(
            "this is of the cross-entropy, −1/ŷ; the loss here is the squared error",
            lambda t: -1 / t["ŷ"],
        ),
    ]


def _of_a_slope(h: str, k: int) -> list[Mistake]:
    """Mistakes in σ′(a_k) = h_k (1 − h_k); ŷ is h_3."""
    a, others = f"a_{k}", {"ŷ": "a_3", "h_2": "a_2", "h_1": "a_1"}
    what = "the slope of the output, its Jacobian," if k == 3 else f"σ′({a})"
    return [
        _of(f"{what} is left out", lambda t: 1.0),
        _of(f"in place of σ′ it has σ: this is {h}", lambda t: t[h]),
        _of(f"this is 1 − {h}: the factor {h} is missing", lambda t: 1 - t[h]),
        _of(f"this is 1 − {h}², tanh′; σ′ is {h} (1 − {h})", lambda t: 1 - t[h] ** 2),
        _of(f"the negative of it: 1 − {h}, not {h} − 1", lambda t: t[h] * (t[h] - 1)),
        _of(
            f"σ′ is written with {h}, and here it is given {a}: {a} (1 − {a})",
            lambda t: t[a] * (1 - t[a]),
        ),
        _of(
            f"σ′ is taken at {h} in place of {a}",
            lambda t: _sigmoid(t[h]) * (1 - _sigmoid(t[h])),
        ),
        *(
            _of(f"σ′ is taken at {there}, of another layer", lambda t, o=other: t[o] * (1 - t[o]))
            for other, there in others.items()
            if other != h
        ),
    ]


def _of_a_symbol(right: str) -> list[Mistake]:
    """Another number in place of the one that is due."""
    found = [_of(f"{right} is left out", lambda t: 1.0)]
    found.append(_of(f"the negative of {right}", lambda t: -t[right]))
    for name in ("W_1", "W_2", "W_3", "x", "h_1", "h_2", "ŷ", "a_1", "a_2", "a_3", "b_1", "b_2"):
        if name != right:
            other = ", of another layer" if name[0] == right[0] else ""
            said = f"{name} is used{other}, in place of {right}"
            found.append(_of(said, lambda t, name=name: t[name]))
    return found


# The product -------------------------------------------------------------------------------------


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
    *(_without(i, name) for i, name in enumerate(FACTORS, start=1)),
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
    Mistake(
        "the biases are left out of the forward pass",
        lambda x, y, W, b: _gradient(x, y, W, [None, 0, 0, 0]),
    ),
]
