"""A fixed sample of the corpus of `scripts/mutation`: wrong rules caught, right ones let be."""

from collections import Counter

import pytest
from corpus import CASES
from corpus.base import FLOATS
from corpus.judging import RIGHT, WRONG, judge, peer

FAULTS = (
    "zero", "sign", "scaled", "transposed", "permuted", "swapped", "missing-sum", "entries",
    "ignores-cotangent", "nonlinear-cotangent", "non-finite", "precision", "noise", "second-order",
    "wrong-shape", "raises", "value-changes", "formula", "wrong",
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES}
# the case, and its dtype
CAUGHT = {
    "dense/affine: ∇b a mean": "float32",
    "dense/square affine: ∇W transposed": "bfloat16",
    "dense/affine: ∇b of the first example": "float64",
    "dense/affine: last unit forgotten": "float32",
    "dense/matmul: swapped": "float16",
    "elementwise/tanh: derivative 1 − x²": "float32",
    "elementwise/silu: product rule: first term only": "float64",
    "losses/cross-entropy: 1/N lost": "float32",
    "losses/squares: target with the prediction's sign": "bfloat16",
    "networks/4 layers of tanh: W₃ not transposed": "float32",
    "norms/layer norm: mean term lost": "float32",
    "attention/one head: 1/√d lost in ∇q": "float32",
    "scans/roll: same way": "float32",
    "convolutions/mean pool: ¼ forgotten": "float16",
    "cotangents/Σ sin: cos x": "float32",
    "cotangents/identity: squared": "float64",
    "unsafe/sinc: (x cos x − sin x)/x²": "float32",
    "precision/product: ∇B in bfloat16": "float64",
    "precision/sin: 10 % noise": "float32",
    "contracts/changed: sign": "float32",
    "contracts/changed: NotImplementedError": "bfloat16",
    "contracts/changed affine: ∇W flat": "float32",
    "second order/x³ + x²: stopped derivative": "float32",
    "tangents/sigmoid: half": "float32",
}
LET_BE = {
    "dense/lookup: segment sum": "float32",
    "networks/width 64, relu, batch 16: by hand": "bfloat16",
    "kinks/relu: 0.5 at the kink": "float32",
    "kinks/max with ties: first": "float32",
    "scales/affine, inputs × 0.0001: textbook": "bfloat16",
    "scales/loss × 1e-12: textbook": "float32",
    "scales/confident and wrong: p − y": "float32",
    "formulas/gelu: by erfc": "float32",
    "cancelling/bias before softmax: summed": "float64",
    "idle/second argument unused: None": "float32",
    "guards/sin x/x: guarded": "float64",
    "guards/A² by eigh, a double eigenvalue: d A + A d": "float64",
    "settings/scan: a custom_vjp": "float32",
    "loops/square root by Newton: implicit: 1/(2x)": "float64",
    "loops/sin(1000 x): cos": "float64",
}


@pytest.mark.parametrize("name", CAUGHT)
def test_caught(name):
    case, dtype = BY_NAME[name], CAUGHT[name]
    outcome = judge(case, dtype, with_reference=False)
    assert outcome.verdict == WRONG, outcome
    assert outcome.faults[0] == case.fault


@pytest.mark.parametrize("name", LET_BE)
def test_let_be(name):
    outcome = judge(BY_NAME[name], LET_BE[name], with_reference=False)
    assert outcome.verdict == RIGHT, outcome


def test_the_corpus_is_large_enough():
    planted = [case for case in CASES if case.fault is not None]
    assert len(planted) >= 220
    assert len(CASES) - len(planted) >= 220
    assert {case.fault for case in planted} == set(FAULTS)
    assert {dtype for case in planted for dtype in case.dtypes} == set(FLOATS)


def test_names_are_unique_and_data_the_same_each_time():
    assert not [name for name, count in Counter(c.name for c in CASES).items() if count > 1]
    case = BY_NAME["dense/affine: ∇b a mean"]
    (_, first, _), (_, second, _) = case.make("float32"), case.make("float32")
    assert all((x == y).all() for x, y in zip(first, second, strict=True))


def test_the_peers_are_asked():
    case = BY_NAME["dense/affine: ∇x zero"]
    assert peer("check_grads", case, "float32").verdict == WRONG
    assert peer("chex", case, "float32").verdict == "refused"
