"""The exercises of the lecture: blank ones fail kindly, solutions pass, mistakes are named.

The judge is docs/lecture/exercises/judge.py. A planted mistake is a solution with one piece of its
text replaced.
"""

import ast
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

LECTURE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "lecture"
EXERCISES = sorted((LECTURE / "exercises").glob("[0-9]*.py"))
SOLUTIONS = {int(path.name[:2]): path for path in (LECTURE / "solutions").glob("*.py")}

sys.path.append(str(LECTURE / "exercises"))
from judge import judge_file  # noqa: E402
from judging.exercises import EXERCISES as EXERCISE_TABLE  # noqa: E402
from judging.values import Mistake, judge_values  # noqa: E402


@pytest.fixture(autouse=True)
def _standard_promotion():
    """A learner writes `h @ W.T + b` in exercise 13."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def planted(number, changes, folder):
    """A file with the solution of an exercise, {old: new} applied to it."""
    text = SOLUTIONS[number].read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {SOLUTIONS[number]}"
        text = text.replace(old, new)
    path = folder / SOLUTIONS[number].name
    path.write_text(text)
    return path


def test_every_exercise_has_a_solution():
    assert len(EXERCISES) == 13
    assert [path.name for path in EXERCISES] == [SOLUTIONS[n].name for n in range(1, 14)]


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_blank(path):
    verdict = judge_file(path, seed=0)
    assert not verdict.ok
    assert "nothing here yet: fill in the body of" in str(verdict)
    assert "Traceback" not in str(verdict)


@pytest.mark.parametrize("path", SOLUTIONS.values(), ids=lambda path: path.stem)
def test_solution(path):
    verdict = judge_file(path, seed=1)
    assert verdict.ok, str(verdict)
    assert re.search(r"right\n    .*\d", str(verdict))


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_a_solution_fills_in_what_the_exercise_asks(path):
    """The same functions, arguments and docstrings; only the bodies differ."""

    def signatures(file):
        nodes = ast.parse(file.read_text()).body
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        return {f.name: (ast.unparse(f.args), ast.get_docstring(f)) for f in functions}

    assert signatures(path) == signatures(SOLUTIONS[int(path.name[:2])])


# exercise, {what stands in the solution: what is planted}, words of the hint
MISTAKES = [
    # 1: squared error
    (1, {"W_O @ a_L + b_O": "W_O @ a_L"}, "bias b_O is left out"),
    (1, {"W_O @ a_L + b_O": "W_O.T @ a_L + b_O"}, "W_O is transposed"),
    (1, {"W_O @ a_L + b_O": "1 / (1 + np.exp(-(W_O @ a_L + b_O)))"}, "logistic function"),
    (1, {"np.sum((yhat - y) ** 2) /": "np.sum((yhat - y) ** 2) / 2 /"}, "½ too much"),
    (
        1,
        {"np.sum((yhat - y) ** 2) / yhat.shape[0]": "np.mean((yhat - y) ** 2)"},
        "over the outputs",
    ),
    (1, {" / yhat.shape[0]": ""}, "1/N is missing"),
    (1, {"(yhat - y) ** 2": "np.abs(yhat - y)"}, "absolute error.*square is missing"),
    (1, {"(yhat - y) ** 2)": "(yhat - y) ** 2, axis=1)"}, "mean over the examples is missing"),
    (
        1,
        {"np.sum((yhat - y) ** 2) / yhat.shape[0]": "np.mean((yhat - y) ** 2) / 2"},
        "over the outputs j is taken too, and a ½",
    ),
    # 2: softmax
    (2, {" - np.max(a_L)": ""}, r"e\^1000 overflows.*subtract the largest"),
    (2, {"- np.max(a_L)": "- np.min(a_L)"}, "the smallest a_i is subtracted"),
    (2, {"- np.max(a_L)": "/ np.max(a_L)"}, "divided by its largest entry"),
    (2, {"e / np.sum(e)": "e"}, "not divided by the sum"),
    (2, {"e = np.exp(a_L - np.max(a_L))": "e = a_L"}, "e is missing"),
    (2, {"np.exp(a_L - np.max(a_L))": "np.exp(-a_L - np.max(-a_L))"}, r"sign of a_L.*e\^\{−a\}"),
    (2, {"np.exp(a_L - np.max(a_L))": "np.exp(np.abs(a_L))"}, "where the notes slip"),
    (2, {"a_L - np.max(a_L)": "np.clip(a_L, -500, 500)"}, "cutting a_L off"),
    (2, {"np.max(a_L)": "np.max(np.abs(a_L))"}, r"^the largest \|a_i\| is subtracted[^:]*:[^:]*$"),
    # 3: cross-entropy
    (3, {"there = y > 0": "there = y >= 0"}, "0 · log 0"),
    (3, {"-np.sum(y[there]": "np.sum(y[there]"}, "sign is flipped"),
    (3, {"np.log(yhat[there])": "np.log2(yhat[there])"}, "log₂.*nats"),
    (3, {"np.log(yhat[there])": "np.log(yhat[there] + 1e-9)"}, "added to ŷ inside the logarithm"),
    (
        3,
        {"y[there] * np.log(yhat[there])": "yhat[there] * np.log(y[there])"},
        "y and ŷ are swapped",
    ),
    (3, {"largest = np.max(a_L)": "largest = 0"}, r"e\^1000 overflows"),
    (3, {"a_L[label]": "a_L[label - 1]"}, "class is one off"),
    (3, {"largest + np.log": "np.log"}, "not added again outside"),
    (
        3,
        {
            "largest + np.log(np.sum(np.exp(a_L - largest))) - a_L[label]": "-np.log("
            "(np.exp(a_L - largest) / np.sum(np.exp(a_L - largest)))[label])"
        },
        "log of 0",
    ),
    (
        3,
        {
            "y[there] * np.log(yhat[there])": "y * np.log(yhat) + (1 - y) * np.log(1 - yhat)",
        },
        "this is the binary cross-entropy",
    ),
    (
        3,
        {"return largest +": "return 1 / len(a_L) * (largest +", "a_L[label]": "a_L[label])"},
        "no mean",
    ),
    # 4: gradient descent
    (4, {"t - learning_rate * g": "t + learning_rate * g"}, "gradient ascent"),
    (4, {"t - learning_rate * g": "t - g"}, "η is left out"),
    (4, {"t - learning_rate * g": "-learning_rate * g"}, "added to θ_t"),
    (
        4,
        {
            "return [t - learning_rate * g for t, g in": "for t, g in",
            "strict=True)]": "strict=True):\n        t -= learning_rate * g\n    return theta",
        },
        "changes its argument theta in place",
    ),
    (4, {"range(max_iterations)": "range(max_iterations + 1)"}, "one step too many"),
    (4, {"range(max_iterations)": "range(1, max_iterations)"}, "one step too few"),
    (
        4,
        {
            "    for _ in range": "    start = gradient(theta)\n    for _ in range",
            "gradient(theta), learning_rate)\n    return": "start, learning_rate)\n    return",
        },
        "gradient at θ_0",
    ),
    (
        4,
        {
            "theta = step(theta, gradient(theta), learning_rate)": "theta = list(theta)\n"
            "        for i in range(len(theta)):\n"
            "            theta[i] = theta[i] - learning_rate * gradient(theta)[i]"
        },
        "updated one by one",
    ),
    # 5: the thin chain rule
    (5, {"2 * (yhat - y)": "2 * (y - yhat)"}, "factor 1, ∂ℒ/∂ŷ.*not y − ŷ"),
    (5, {"2 * (yhat - y)": "(yhat - y)"}, "factor 1, ∂ℒ/∂ŷ.*2 of the square is missing"),
    (5, {"yhat * (1 - yhat)": "1"}, "factor 2, ∂ŷ/∂a_31.*Jacobian.*left out"),
    (5, {"W[3],": "W[2],"}, "factor 3, ∂a_31/∂h_21.*W_2 is used, of another layer"),
    (5, {"h_2 * (1 - h_2)": "h_1 * (1 - h_1)"}, "factor 4, ∂h_21/∂a_21.*at a_1, of another layer"),
    (5, {"h_1 * (1 - h_1)": "h_1"}, "factor 6, ∂h_11/∂a_11.*in place of σ′ it has σ: this is h_1"),
    (5, {"        x,  #": "        h_1,  #"}, "factor 7, ∂a_11/∂W_111.*h_1 is used, in place of x"),
    (5, {"np.prod(": "np.sum("}, "along a path they multiply"),
    (5, {"factors(x, y, W, b))": "factors(x, y, W, b)[:-1])"}, "factor 7 is missing"),
    (
        5,
        {"        x,  #": "        W[1],  #"},
        "factor 7, ∂a_11/∂W_111: W_1 is used, in place of x",
    ),
    (5, {"W[3],": "h_2,"}, "factor 3, ∂a_31/∂h_21: h_2 is used, in place of W_3"),
    (5, {"h_2 * (1 - h_2)": "1 - h_2**2"}, "factor 4, ∂h_21/∂a_21: this is 1 − h_2², tanh′"),
    (5, {"W[2] * h_1 + b[2]": "W[2] * h_1"}, "factor 1, ∂ℒ/∂ŷ: b_2 is left out of the forward"),
    (5, {"        x,  #": "        float('nan'),  #"}, "factor 7, ∂a_11/∂W_111: nan is no finite"),
    # 6: ∇ŷ
    (6, {"-1 / yhat[label]": "1 / yhat[label]"}, "negative of the gradient: ∇ŷ = −y/ŷ"),
    (6, {"-1 / yhat[label]": "-1"}, "not divided by ŷ"),
    (6, {"grad[label] = -1 / yhat[label]": "grad[label - 1] = -1 / yhat[label - 1]"}, "one off"),
    (6, {"grad[label] = -1 / yhat[label]": "grad = -1 / yhat"}, "target y is left out"),
    (6, {"2 * (yhat - y)": "yhat - y"}, "2 of the square is missing"),
    (6, {"2 * (yhat - y)": "2 * (y - yhat)"}, "not y − ŷ"),
    (6, {"2 * (yhat - y)": "2 * (yhat - y) / len(y)"}, "mean over outputs"),
    (6, {"np.zeros(yhat.shape)": "np.zeros(yhat.shape, int)"}, "dtype int64, whole numbers"),
    # 7: ∇a_L
    (
        7,
        {"np.diag(yhat) - np.outer(yhat, yhat)": "np.diag(yhat * (1 - yhat))"},
        "only the diagonal",
    ),
    (7, {"np.diag(yhat) - np.outer(yhat, yhat)": "np.diag(yhat)"}, r"only diag\(ŷ\)"),
    (7, {"np.diag(yhat) - np.outer(yhat, yhat)": "-np.outer(yhat, yhat)"}, r"diag\(ŷ\).*left out"),
    (7, {"jacobian.T @ grad_yhat": "grad_yhat"}, "output's Jacobian.*left out"),
    (7, {"return grad\n": "return -grad\n"}, "ŷ − y, not y − ŷ"),
    (7, {"grad[label] -= 1": "grad[label - 1] -= 1"}, "classes are one off"),
    (7, {"    grad[label] -= 1\n": ""}, "target y is left out"),
    (7, {"yhat.copy()": "yhat"}, "changes its argument yhat in place"),
    (7, {"grad[label] -= 1": "grad[label] += 1"}, r"^∇a_L: this is ŷ \+ y"),
    (7, {"yhat.copy()": "yhat"}, r"copy it first, yhat = yhat\.copy\(\)"),
    # 8: ∇h_k
    (8, {"W[k + 1].T": "W[k + 1]"}, "W_4 is not transposed"),
    (8, {"W[k + 1].T": "W[max(k, 1)].T"}, "W_3 is used, of another layer"),
    (
        8,
        {"W[k + 1].T @ grad_a[k + 1]": "np.mean(W[k + 1].T * grad_a[k + 1], axis=1)"},
        "the mean over the units of layer 4",
    ),
    (8, {"W[k + 1].T": "W[k].T"}, "W_3 is used, of another layer.*Besides.*place 0 of a list is"),
    (8, {"grad_a[k + 1]": "grad_a[k]"}, "∇a_3 is used, of another layer"),
    # 9: ∇a_k
    (9, {"grad_h * h * (1 - h)": "grad_h"}, r"factor g′\(a_1\) is missing"),
    (
        9,
        {"grad_h * h * (1 - h)": "grad_h * a * (1 - a)"},
        "g′ of sigmoid is written with h.*given a_1",
    ),
    (9, {"grad_h * h * (1 - h)": "grad_h * h"}, "in place of g′ it has g"),
    (9, {"(1 - h**2)": "(1 - a**2)"}, "g′ of tanh is written with h.*given a_2"),
    (9, {"(1 - h**2)": "(1 - h)"}, "1 − h_2, and g′ of tanh is another: 1 − h²"),
    (9, {"grad_h * (a > 0)": "grad_h * np.maximum(a, 0)"}, "in place of g′ it has g"),
    (9, {"grad_h * (a > 0)": "grad_h"}, r"factor g′\(a_3\) is missing"),
    (9, {"grad_h * h * (1 - h)": "h * (1 - h)"}, r"this is g′\(a_1\) alone: ∇h_1 is left out"),
    (9, {"grad_h * (1 - h**2)": "1 - h**2"}, r"this is g′\(a_2\) alone: ∇h_2 is left out"),
    (9, {"grad_h * (a > 0)": "(a > 0) * 1.0"}, r"this is g′\(a_3\) alone: ∇h_3 is left out"),
    (9, {"(1 - h**2)": "h * (1 - h)"}, "that of sigmoid; layer 2 has tanh: 1 − h²"),
    (9, {"(a > 0)": "(a < 0)"}, "g′ of relu is 1 where a_3 > 0"),
    # 10: ∇W_k and ∇b_k
    (10, {"np.outer(grad_a[k], h[k - 1])": "np.outer(h[k - 1], grad_a[k])"}, "its transpose"),
    (10, {"h[k - 1])": "h[min(k, len(h) - 1)])"}, "h_3 stands in place of h_2"),
    (10, {"np.outer(grad_a[k], h[k - 1])": "grad_a[k] * h[k - 1]"}, r"has the shape \(5, 5\)"),
    (10, {"return grad_a[k]\n": "return -grad_a[k]\n"}, "∇b_4: the negative of the gradient"),
    (10, {"return grad_a[k]\n": "return grad_a[k - 1] if k > 1 else grad_a[k]\n"}, "this is ∇b_3"),
    (
        10,
        {"return grad_a[k]\n": "return grad_a[k - 1]\n"},
        "this is ∇b_3.*place 0 of a list, which",
    ),
    (10, {"h[k - 1])": "h[k])"}, r"h_3 stands in place of h_2.*IndexError.*ends at h_\{L−1\}"),
    # 11: the whole sweep
    (11, {"grad_a[label] -= 1": "grad_a[label - 1] -= 1"}, "∇a_3: the classes are one off"),
    (11, {"grad_h * (1 - h[k - 1] ** 2)": "grad_h"}, r"∇a_2: .*factor g′\(a_2\) is missing"),
    (11, {"1 - h[k - 1] ** 2": "1 - h[k - 2] ** 2"}, "∇a_2"),
    (11, {"W[k].T @ grad_a": "W[k] @ grad_a"}, "∇h_2.*W_3 is not transposed"),
    (11, {"np.outer(grad_a, h[k - 1])": "np.outer(grad_a, h[min(k, L - 1)])"}, "∇W_2.*h_2 stands"),
    (
        11,
        {"grad_h = W[k].T": 'W[k] = W[k] - 0.1 * grads[f"W_{k}"]\n        grad_h = W[k].T'},
        "∇h_2: W_3 is taken after a step of 0.1 .*update last.*changes its argument W in place",
    ),
    (11, {'grads[f"b_{k}"]': 'grads[f"b{k}"]'}, "there is no b_1, b_2, b_3 yet"),
    (11, {"h[k - 1] + b[k]))": "h[k - 1]))"}, "biases of the hidden layers are left out"),
    (
        11,
        {
            "np.tanh(W[k] @ h[k - 1] + b[k])": "softplus(W[k] @ h[k - 1] + b[k])",
            "def softmax": "def softplus(a):\n    return 1 / (1 + np.exp(-a))\n\n\ndef softmax",
        },
        "has σ in place of tanh",
    ),
    # 12: batches
    (12, {" * (w / np.sum(w))[:, None]": " * w[:, None]"}, "N = 7 times the gradient: summed"),
    (12, {"(w / np.sum(w))": "(w / N)"}, "divided by N and not by Σw.*Without weights of"),
    (
        12,
        {"(w / np.sum(w))": "(np.ones(N) / N)"},
        r"weights are ignored.*∇a_3 = \(ŷ − y\) w_n/Σw\. Without weights of the examples",
    ),
    (12, {"/ np.sum(e, axis=1": "/ np.sum(e, axis=0"}, "softmax is taken over the examples"),
    (12, {"e / np.sum(e, axis=1, keepdims=True)": "e / np.sum(e)"}, "the sum over the whole batch"),
    (12, {"np.sum(grad_a, axis=0)": "grad_a"}, "∇b_3: not summed over the batch"),
    (12, {"np.sum(grad_a, axis=0)": "np.mean(grad_a, axis=0)"}, "∇b_3: 1/N .*once too often"),
    (12, {"np.sum(grad_a, axis=0)": "np.sum(grad_a, axis=1)"}, r"∇b_3 has the shape \(5,\)"),
    (12, {"grad_a.T @ h[k - 1]": "h[k - 1].T @ grad_a"}, "∇W_3: .*its transpose"),
    (12, {"grad_a @ W[k]": "grad_a @ W[k].T"}, "W_3 is not transposed"),
    # 13: a custom_vjp
    (13, {"g * (yhat": "(yhat"}, "g is left out"),
    (13, {" / len(labels)\n    grads": "\n    grads"}, "N = 7 times the gradient"),
    (13, {"grad_h * (1 - h[k - 1] ** 2)": "grad_h"}, r"factor g′\(a_2\) is missing"),
    (13, {"grad_a.T @ h[k - 1]": "h[k - 1].T @ grad_a"}, "its transpose"),
    (13, {"return tuple(grads), grad_h, None": "return tuple(grads), grad_h"}, "got a tuple of 2"),
    (13, {"return tuple(grads), grad_h,": "return tuple(grads), 2 * grad_h,"}, "∇h_0: twice"),
    (13, {"loss.defvjp(forward, backward)\n": ""}, "no rule yet.*loss.defvjp"),
    (13, {"jax.custom_vjp(plain)\nloss.defvjp(forward, backward)": "plain"}, "no rule of yours"),
    (13, {"return plain(params, x, labels),": "return -plain(params, x, labels),"}, "has to be ℒ"),
]


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    MISTAKES,
    ids=[f"{number:02}-{words}" for number, _, words in MISTAKES],
)
def test_mistake(number, changes, words, tmp_path):
    """The hint names the mistake, whatever was drawn, and nothing else of the file is blamed."""
    verdict = judge_file(planted(number, changes, tmp_path), seed=2)
    wrong = [finding for finding in verdict.findings if not finding.ok]
    assert wrong, str(verdict)
    assert re.search(words, wrong[0].said), str(verdict)
    assert "known" not in wrong[0].said
    assert "Traceback" not in str(verdict)
    assert all(len(line) <= 100 or "[" in line for line in str(verdict).splitlines())


# What learners' files do besides -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (
            8,
            {"return W[k + 1].T @": "return W[k + 1].T @ W[k + 1][0, :2] @"},
            "ValueError.*in line 17 of",
        ),
        (8, {"return W[k + 1].T @": "return undefined @"}, "NameError: name 'undefined'.*in line"),
        (8, {"return W[k + 1].T @": "W[k + 1].T @"}, "grad_h gave None.*no `return`"),
        (8, {"return W[k + 1].T @ grad_a[k + 1]": "return 'W'"}, "expected.*real numbers|numbers"),
        (8, {"def grad_h(": "def gradient_h("}, "the file has no function grad_h"),
        (8, {"def grad_h(k: int": "def grad_h(k int"}, "Python cannot read it.*in line"),
        (8, {"import numpy as np": "import nompy as np"}, "No module named 'nompy'.*in line 3"),
        (8, {"W[k + 1].T @ grad_a[k + 1]": "W[k + 1].T.sum() * grad_a[k + 1].sum()"}, r"got|shape"),
        (2, {"e / np.sum(e)": "[[1], [2, 3]]"}, "expected numbers"),
        (2, {"e / np.sum(e)": "'e'"}, "expected real numbers"),
        (2, {"e / np.sum(e)": "1j * e / np.sum(e)"}, "expected real numbers"),
        (2, {"e / np.sum(e)": "e[:2] / np.sum(e)"}, r"expected the shape \(3,\), got \(2,\)"),
        (4, {"return [t - learning_rate * g for": "return [t[0] - g[0] for"}, "of θ's, got"),
        (5, {"        x,  # ∂a_11/∂W_111\n": ""}, r"expected 7 numbers, got the shape \(6,\)"),
        (11, {"    return grads": "    return grad_h"}, "expected a dict.*got ndarray"),
        (11, {"grads = {}": "grads = {'q': 1}"}, "expected one of"),
        (13, {"(params, h, labels)\n": "None\n"}, "TypeError.*in line"),
        (13, {"grads.insert(0, (grad_a": "grads.append((grad_a"}, "∇W_1"),
    ],
)
def test_ordinary_mistakes_are_told_in_a_sentence(number, changes, words, tmp_path):
    verdict = judge_file(planted(number, changes, tmp_path), seed=3)
    assert not verdict.ok
    assert re.search(words, str(verdict).replace("\n    ", " ")), str(verdict)
    assert "Traceback" not in str(verdict)


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (7, {"grad = yhat.copy()": "grad = np.array([0.2, 0.3, 0.5])"}, "known"),
        (8, {"W[k + 1].T @": "np.reshape(W[k + 1], (5, 5)).T @"}, "ValueError"),
        (11, {"L = len(W) - 1": "L = 3"}, "IndexError"),
        (12, {"np.eye(yhat.shape[1])": "np.eye(yhat.shape[1])[:, ::-1]"}, "∇a_3"),
    ],
)
def test_what_is_written_in_does_not_pass(number, changes, words, tmp_path):
    verdict = judge_file(planted(number, changes, tmp_path), seed=4)
    assert not verdict.ok
    assert words in str(verdict)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (
            1,
            {"np.sum((yhat - y) ** 2) / yhat.shape[0]": "np.mean(np.sum((y - yhat) ** 2, axis=1))"},
        ),
        (2, {"e = np.exp(a_L - np.max(a_L))": "e = np.exp(a_L - np.max(a_L) - 1)"}),
        (
            3,
            {
                "y[there] * np.log(yhat[there])": "y * np.log(np.where(there, yhat, 1))",
            },
        ),
        (
            5,
            {
                "h_2 * (1 - h_2)": "h_2 - h_2**2",
                "yhat * (1 - yhat)": "1 / (2 + yhat / (1 - yhat) + (1 - yhat) / yhat)",
            },
        ),
        (7, {"jacobian.T @ grad_yhat": "yhat * grad_yhat - yhat * np.sum(yhat * grad_yhat)"}),
        (9, {"1 - h**2": "1 / np.cosh(a) ** 2", "(a > 0)": "(h > 0)"}),
        (
            10,
            {"np.outer(grad_a[k], h[k - 1])": "np.einsum('i,j->ij', grad_a[k], h[k - 1]).tolist()"},
        ),
        (12, {"(w / np.sum(w))[:, None]": "w.reshape(-1, 1) / w.sum()"}),
    ],
)
def test_other_ways_to_write_it_are_right(number, changes, tmp_path):
    path = planted(number, changes, tmp_path)
    for seed in range(4):
        verdict = judge_file(path, seed=seed)
        assert verdict.ok, str(verdict)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {"np.sum((yhat - y) ** 2) /": "np.float32(np.sum((yhat - y) ** 2)) /"}),
        (8, {"return W[k + 1].T @ grad_a": "return np.float32(W[k + 1].T) @ grad_a"}),
        (11, {"h = [x]": "h = [x.astype(np.float32)]"}),
    ],
)
def test_a_right_formula_in_float32(number, changes, tmp_path):
    """The numbers are shown with so many digits that they differ."""
    verdict = judge_file(planted(number, changes, tmp_path), seed=0)
    (wrong,) = [finding for finding in verdict.findings if not finding.ok]
    assert "rounding costs in float32" in wrong.said
    expected, got = wrong.shown[-2:]
    assert expected.removeprefix("expected ") != got.removeprefix("got      ")


def test_the_factors_of_exercise_5_are_shown_as_the_learner_has_them(tmp_path):
    path = planted(5, {"2 * (yhat - y)": "(yhat - y)"}, tmp_path)
    factors, product = judge_file(path, seed=0).findings
    expected, got = map(float, re.findall(r"-?\d+\.\d+", factors.shown[0]))
    np.testing.assert_allclose(got, expected / 2, rtol=1e-4)
    assert product.said == "this is the product of your factors, and they are not right yet"


def test_the_trial_that_is_farthest_off_is_shown(tmp_path):
    """Where e adds up to 1 nearly, a softmax without the sum is right to nine digits."""
    verdict = judge_file(planted(2, {"e / np.sum(e)": "e"}, tmp_path), seed=0)
    *_, expected, got = verdict.findings[0].shown
    assert expected.removeprefix("expected ") != got.removeprefix("got      ")


@pytest.mark.parametrize("where", ["\n\nexit()\n", "\n\ndef linear_output(*_):\n    exit()\n"])
def test_a_file_that_ends_the_program_is_told(where, tmp_path):
    path = planted(1, {}, tmp_path)
    path.write_text(path.read_text() + where)
    verdict = judge_file(path)
    assert not verdict.ok
    assert "it ends the program" in str(verdict)


def test_a_function_without_a_name(tmp_path):
    path = planted(1, {}, tmp_path)
    text = "\n\nimport functools\nlinear_output = functools.partial(linear_output)\n"
    path.write_text(path.read_text() + text)
    assert judge_file(path).ok


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        judge_file(tmp_path / "01_missing.py")
    path = tmp_path / "01_latin.py"
    path.write_bytes("y = 'ü'".encode("latin-1"))
    with pytest.raises(ValueError, match="expected text in UTF-8"):
        judge_file(path)


def test_two_mistakes_that_give_the_same_are_both_named():
    same = [Mistake("one", lambda a: -a), Mistake("two", lambda a: a - 2 * a), Mistake("no", abs)]
    finding = judge_values(lambda a: -a, lambda a: a, [(1.0,), (-3.0,)], same)
    assert finding.said == "one; or: two"


def test_a_mistake_that_fits_by_chance_is_not_named():
    twice = [Mistake("squared", lambda a: a**2)]
    finding = judge_values(lambda a: 2 * a, lambda a: a, [(2.0,), (3.0,)], twice)
    assert "no mistake that is known" in finding.said


def test_hints_that_differ_from_network_to_network_are_not_told():
    """A number that is fitted to one network fits no other."""

    def chance(k, W, grad_a):
        return W[k + 1].T @ (grad_a[k + 1] * np.cos(1e3 * W[k + 1][0, 0]))

    (finding,) = EXERCISE_TABLE[8].judge(chance, np.random.default_rng(5))
    assert "no mistake that is known" in finding.said
    assert "∇h_3 = W_4ᵀ ∇a_4" in finding.said


def test_as_a_program(tmp_path):
    """Exit codes, and no traceback, of a file run by itself and of the judge."""

    def run(*args):
        done = subprocess.run(
            [sys.executable, *map(str, args)],
            capture_output=True,
            text=True,
            cwd=LECTURE.parent.parent,
            env={**os.environ, "PYTHONPATH": str(LECTURE.parent.parent)},
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    judge = LECTURE / "exercises" / "judge.py"
    code, said = run(EXERCISES[1])
    assert code == 1
    assert "softmax: not yet" in said
    code, said = run(judge, SOLUTIONS[2], SOLUTIONS[4])
    assert code == 0
    assert said.count("\nright\n") == 2
    code, said = run(judge, tmp_path / "mine.py")
    assert code == 2
    assert "begins with its number" in said


def test_the_readme_names_every_file_and_prints_what_the_judge_prints(tmp_path):
    readme = (LECTURE / "exercises" / "README.md").read_text()
    assert all(f"[{path.name}]({path.name})" in readme for path in EXERCISES)
    changes = {
        "np.diag(yhat) - np.outer(yhat, yhat)": "np.diag(yhat)",
        "grad = yhat.copy()": "raise NotImplementedError",
    }
    assert f"```text\n{judge_file(planted(7, changes, tmp_path), seed=6)}\n```" in readme
