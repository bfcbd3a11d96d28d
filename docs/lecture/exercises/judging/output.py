"""Exercises 1 to 3: the linear output and squared error, softmax, cross-entropy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from judging.values import Mistake, judge_values
from judging.verdict import Finding

Function = Callable[..., Any]
NOTES_Y, NOTES_YHAT = np.array([0.35, 0.25, 0.4]), np.array([0.25, 0.45, 0.3])
NOTES_A = np.array([10.0, -20.0, 30.0])


# Exercise 1: ŷ = W_O a_L + b_O,  ℒ = 1/N Σ_i Σ_j (ŷ_ij − y_ij)² ----------------------------------


def squared_error(linear: Function, loss: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdicts on exercise 1."""
    shapes = ((3, 3), (3, 3), (2, 4))
    layers = [
        (draw.normal(size=(m, n)), draw.normal(size=n), draw.normal(size=m)) for m, n in shapes
    ]
    pairs = [(NOTES_YHAT[None], NOTES_Y[None])]
    pairs += [(draw.normal(size=s), draw.normal(size=s)) for s in ((4, 3), (2, 5), (6, 1))]
    return [
        judge_values(linear, lambda W, a, b: W @ a + b, layers, LINEAR),
        judge_values(loss, lambda f, y: np.sum((f - y) ** 2) / len(f), pairs, SQUARED),
    ]


LINEAR = [
    Mistake("the bias b_O is left out", lambda W, a, b: W @ a),
    Mistake("W_O is transposed: row i of W_O goes with output i", lambda W, a, b: W.T @ a + b),
    Mistake("the bias is subtracted: it is W_O a_L + b_O, with a plus", lambda W, a, b: W @ a - b),
    Mistake(
        "W_O times a_L is taken entry by entry (*): it is a matrix times a vector (@)",
        lambda W, a, b: W * a + b,
    ),
    Mistake(
        "this is the logistic function of it, which holds ŷ between 0 and 1; y may be any number",
        lambda W, a, b: 1 / (1 + np.exp(-(W @ a + b))),
    ),
    Mistake("this is a_L itself: W_O and b_O are not used", lambda W, a, b: a),
]
SQUARED = [
    Mistake("a ½ too much: the lecture's loss has none", lambda f, y: _squares(f, y) / len(f) / 2),
    Mistake(
        "the mean over the outputs j is taken too: over them it is the sum, and 1/N is for the "
        "examples alone",
        lambda f, y: np.mean((f - y) ** 2),
    ),
    Mistake(
        "the mean over the outputs j is taken too, and a ½: over the outputs it is the sum, and "
        "the lecture's loss has no ½",
        lambda f, y: np.mean((f - y) ** 2) / 2,
    ),
    Mistake(
        "1/N is missing: the loss is the mean over the N examples", lambda f, y: _squares(f, y)
    ),
    Mistake(
        "it divides by the number of outputs, and not by N, the number of examples",
        lambda f, y: _squares(f, y) / f.shape[1],
    ),
    Mistake(
        "the difference is not squared, so that errors up and down cancel",
        lambda f, y: np.sum(f - y) / len(f),
    ),
    Mistake(
        "the sum is squared, not each difference: square first, then sum",
        lambda f, y: np.sum(np.sum(f - y, axis=1) ** 2) / len(f),
    ),
    Mistake(
        "this is the absolute error |ŷ − y|: the square is missing",
        lambda f, y: np.sum(np.abs(f - y)) / len(f),
    ),
    Mistake("a square root too much", lambda f, y: np.sqrt(_squares(f, y) / len(f))),
    Mistake("ŷ + y in place of ŷ − y", lambda f, y: _squares(f, -y) / len(f)),
    Mistake("the sign is flipped", lambda f, y: -_squares(f, y) / len(f)),
    *(
        Mistake(
            "one number for each example: the mean over the examples is missing",
            lambda f, y, over=over: np.sum((f - y) ** 2, axis=1) / (len(f) if over else 1),
        )
        for over in (False, True)
    ),
    Mistake(
        "one number for each output: the sum over the outputs is missing",
        lambda f, y: np.mean((f - y) ** 2, axis=0),
    ),
    Mistake(
        "one number for each entry: neither summed over the outputs nor averaged over the examples",
        lambda f, y: (f - y) ** 2,
    ),
    Mistake("this is the first example's loss alone", lambda f, y: np.sum((f[0] - y[0]) ** 2)),
]


def _squares(yhat: np.ndarray, y: np.ndarray) -> float:
    return np.sum((yhat - y) ** 2)


# Exercise 2: ŷ_j = e^{a_j} / Σ_i e^{a_i} ---------------------------------------------------------


def softmax(function: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdict on exercise 2."""
    small = [draw.normal(size=k) * 2 for k in (3, 5)]
    large = ([1000.0, 1001.0, 999.5], [-1000.0, -1001.0, -1003.0], [0.0, -3.0, 2000.0, 5.0])
    trials = [(a,) for a in (NOTES_A, *small, *map(np.array, large), 300 * draw.normal(size=4))]
    return [judge_values(function, safe_softmax, trials, SOFTMAX, ordinary=3)]


def safe_softmax(a: np.ndarray) -> np.ndarray:
    """ŷ of one example."""
    e = np.exp(a - np.max(a))
    return e / np.sum(e)


def _ratio(e: np.ndarray) -> np.ndarray:
    return e / np.sum(e)


OVERFLOW = (
    "right for small numbers, but e^1000 overflows to ∞, and ∞/∞ is no number (of −1000 it is "
    "0/0): subtract the largest a_i from all of them first, which the fraction does not notice"
)
SOFTMAX = [
    Mistake(OVERFLOW, lambda a: _ratio(np.exp(a))),
    Mistake(
        f"{OVERFLOW}. What is added to the sum does not help",
        lambda a: np.exp(a) / (np.sum(np.exp(a)) + 1e-9),
    ),
    *(
        Mistake(
            "cutting a_L off changes ŷ: subtract the largest a_i from all of them instead",
            lambda a, limit=limit: _ratio(np.exp(np.clip(a, -limit, limit))),
        )
        for limit in (20.0, 50.0, 100.0, 500.0, 700.0, 709.0)
    ),
    Mistake(
        "the largest a_i is subtracted above and not below the fraction bar",
        lambda a: np.exp(a - np.max(a)) / np.sum(np.exp(a)),
    ),
    Mistake(
        "the largest a_i is subtracted below and not above the fraction bar",
        lambda a: np.exp(a) / np.sum(np.exp(a - np.max(a))),
    ),
    Mistake(
        "a_L is divided by its largest entry: subtract it; a quotient changes ŷ",
        lambda a: _ratio(np.exp(a / np.max(a))),
    ),
    Mistake(
        "the smallest a_i is subtracted, and e of the others still overflows: subtract the largest",
        lambda a: _ratio(np.exp(a - np.min(a))),
    ),
    Mistake(
        "the largest |a_i| is subtracted: where all a_i are far below 0 every e is 0 then, and 0/0 "
        "is no number; subtract the largest a_i itself",
        lambda a: _ratio(np.exp(a - np.max(np.abs(a)))),
    ),
    Mistake(
        "the mean is subtracted, and e of what lies far above it still overflows: subtract the "
        "largest a_i",
        lambda a: _ratio(np.exp(a - np.mean(a))),
    ),
    Mistake("not divided by the sum: ŷ has to add up to 1", lambda a: np.exp(a)),
    Mistake("not divided by the sum: ŷ has to add up to 1", lambda a: np.exp(a - np.max(a))),
    Mistake("e is missing: these are the a_i divided by their sum", lambda a: a / np.sum(a)),
    Mistake("the sign of a_L is flipped: this has e^{−a}", lambda a: safe_softmax(-a)),
    Mistake(
        "the sign is lost: e^{−20} belongs to the entry −20, and not e^{20} (where the notes slip)",
        lambda a: safe_softmax(np.abs(a)),
    ),
    Mistake(
        "this is log ŷ: the last e is missing",
        lambda a: a - np.max(a) - np.log(np.sum(np.exp(a - np.max(a)))),
    ),
    Mistake(
        "this is the logistic function of each entry, and they do not add up to 1",
        lambda a: 1 / (1 + np.exp(-a)),
    ),
    Mistake("divided by the largest in place of the sum", lambda a: np.exp(a) / np.max(np.exp(a))),
]


# Exercise 3: ℒ = −Σ_c y_c log ŷ_c = log Σ_i e^{a_i} − a_ℓ ----------------------------------------


def cross_entropy(of_yhat: Function, of_a: Function, draw: np.random.Generator) -> list[Finding]:
    """The verdicts on exercise 3."""
    pairs = [(draw.dirichlet(np.ones(k)), draw.dirichlet(np.ones(k))) for k in (3, 5)]
    pairs += [(draw.dirichlet(np.ones(4)), np.eye(4)[label]) for label in (1, 3)]
    pairs += [
        (np.array([0.5, 0.0, 0.5]), np.array([0.25, 0.0, 0.75])),
        (np.array([1.0, 1e-30]), np.array([0.0, 1.0])),
    ]
    logits = [(draw.normal(size=4), label) for label in (1, 3, 0)]
    logits += [(NOTES_A, 1), (np.array([1000.0, 1001.0, 1003.0]), 2)]
    logits += [(np.array([-1000.0, -1001.0, -1003.0]), 1), (np.array([0.0, 900.0, 5.0]), 2)]
    return [
        judge_values(of_yhat, _entropy, pairs, ENTROPY, ordinary=4),
        judge_values(of_a, _entropy_of_a, logits, ENTROPY_OF_A, ordinary=4),
    ]


def _entropy(yhat: np.ndarray, y: np.ndarray) -> float:
    there = y > 0
    return -np.sum(y[there] * np.log(yhat[there]))


def _entropy_of_a(a: np.ndarray, label: int) -> float:
    return np.max(a) + np.log(np.sum(np.exp(a - np.max(a)))) - a[label]


ENTROPY = [
    Mistake(
        "0 · log 0 is no number in NumPy, and counts as 0: leave out the terms with y_c = 0",
        lambda f, y: -np.sum(y * np.log(f)),
    ),
    Mistake("the sign is flipped: the loss is −Σ, and positive", lambda f, y: -_entropy(f, y)),
    Mistake(
        "this is log₂: nats are asked for, the natural logarithm",
        lambda f, y: _entropy(f, y) / np.log(2),
    ),
    Mistake(
        "this is log₁₀: nats are asked for, the natural logarithm",
        lambda f, y: _entropy(f, y) / np.log(10),
    ),
    Mistake("the mean over the classes in place of the sum", lambda f, y: _entropy(f, y) / len(y)),
    *(
        Mistake(
            "y and ŷ are swapped: the logarithm is of ŷ",
            lambda f, y, limit=limit: -np.sum((f * np.log(y))[y > limit]),
        )
        for limit in (-1.0, 0.0)
    ),
    Mistake("the logarithm is missing", lambda f, y: -np.sum(y * f)),
    Mistake(
        "this is the binary cross-entropy, of classes that do not exclude each other: the terms "
        "(1 − y_c) log(1 − ŷ_c) are too much",
        lambda f, y: -np.sum(y * np.log(f) + (1 - y) * np.log(1 - f)),
    ),
    Mistake(
        "y is not used: only the true class counts, or each class as far as y says",
        lambda f, y: -np.sum(np.log(f)),
    ),
    Mistake("one number for each class: the sum is missing", lambda f, y: -y * np.log(f)),
    Mistake(
        "this is −log ŷ_ℓ of the class with the largest y alone: right where y has one class, but "
        "y may be spread out",
        lambda f, y: -np.log(f[np.argmax(y)]),
    ),
    *(
        Mistake(
            "what is added to ŷ inside the logarithm changes the loss: leave out the terms with "
            "y_c = 0 instead",
            lambda f, y, epsilon=10.0**-n: -np.sum(y * np.log(f + epsilon)),
        )
        for n in range(5, 21)
    ),
    *(
        Mistake(
            "cutting ŷ off changes the loss where ŷ_ℓ is small: leave out the terms with y_c = 0 "
            "instead",
            lambda f, y, epsilon=10.0**-n: -np.sum(y * np.log(np.maximum(f, epsilon))),
        )
        for n in range(5, 21)
    ),
]


def _log_ratio(a: np.ndarray, label: int) -> float:
    return -np.log(safe_softmax(a)[label])


ENTROPY_OF_A = [
    Mistake(
        "right for small numbers, but e^1000 overflows: with m the largest a_i, log Σ e^{a_i} is "
        "m + log Σ e^{a_i − m}",
        lambda a, label: np.log(np.sum(np.exp(a))) - a[label],
    ),
    Mistake(
        "right for small numbers, but e^1000 overflows, in softmax already: simplify log(e^{a_ℓ} "
        "/ Σ e^{a_i}) first",
        lambda a, label: -np.log(np.exp(a)[label] / np.sum(np.exp(a))),
    ),
    Mistake(
        "log of 0: softmax is safe here, but where ŷ_ℓ is too small for a float64 it is 0, and "
        "the loss ∞; simplify log(e^{a_ℓ} / Σ e^{a_i}) first, and no ŷ is needed",
        _log_ratio,
    ),
    *(
        Mistake(
            "what is added to ŷ inside the logarithm changes the loss; simplify log(e^{a_ℓ} / "
            "Σ e^{a_i}) first, and no ŷ is needed",
            lambda a, label, epsilon=10.0**-n: -np.log(safe_softmax(a)[label] + epsilon),
        )
        for n in range(5, 21)
    ),
    Mistake(
        "the class is one off: ℓ counts from 0, so it is a_L[label]",
        lambda a, label: _entropy_of_a(a, label - 1),
    ),
    Mistake(
        "the class is one off: ℓ counts from 0, so it is a_L[label]",
        lambda a, label: _entropy_of_a(a, (label + 1) % len(a)),
    ),
    Mistake(
        "the sign is flipped: the loss is −log ŷ_ℓ, and positive",
        lambda a, label: -_entropy_of_a(a, label),
    ),
    Mistake(
        "the largest a_i is subtracted inside log Σ e^{a_i − m} and not added again outside",
        lambda a, label: _entropy_of_a(a, label) - np.max(a),
    ),
    Mistake(
        "the largest a_i is subtracted inside the sum, and once more outside: outside it is added",
        lambda a, label: _entropy_of_a(a, label) - 2 * np.max(a),
    ),
    Mistake(
        "a_ℓ is left out: this is log Σ e^{a_i} alone",
        lambda a, label: _entropy_of_a(a, label) + a[label],
    ),
    Mistake(
        "divided by the number of classes: this is the loss of one example, no mean",
        lambda a, label: _entropy_of_a(a, label) / len(a),
    ),
    Mistake("the logarithm is missing: this is −ŷ_ℓ", lambda a, label: -safe_softmax(a)[label]),
    Mistake("softmax is missing: this is −a_ℓ alone", lambda a, label: -a[label]),
]
