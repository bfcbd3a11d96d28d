"""Each fault has its word and its number, on cases of their own; and what is no fault has none."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ffnn_jax as ffnn
from ffnn_jax.gradcheck.report import FAULTS, WIDTH

DRAW = np.random.default_rng(7)
A = jnp.asarray(DRAW.standard_normal((3, 3)).astype(np.float32))
X = jnp.asarray(DRAW.standard_normal((7, 3)).astype(np.float32))
B = jnp.asarray(DRAW.standard_normal(3).astype(np.float32))


def check(fn, *args, **options):
    return ffnn.check_gradients(fn, args, transforms=(), **options)


def with_rule(value, backward, forward=None):
    """value(*args) with backward(args, cotangent) as its rule."""
    fn = jax.custom_vjp(value)
    forward = forward or value
    fn.defvjp(lambda *args: (forward(*args), args), lambda args, g: backward(*args, g))
    return fn


def affine(A, X, B):
    return jnp.tanh(X @ A.T + B[None])


def faulty(change):
    """The affine layer under tanh whose right gradients are changed by `change`."""

    def backward(A, X, B, g):
        d = g * (1 - affine(A, X, B) ** 2)
        return change(d.T @ X, d @ A, jnp.sum(d, 0), d, X)

    return with_rule(affine, backward)


LAYERS = {
    "right": lambda dA, dX, dB, d, X: (dA, dX, dB),
    "zero": lambda dA, dX, dB, d, X: (0 * dA, dX, dB),
    "sign": lambda dA, dX, dB, d, X: (-dA, dX, dB),
    "scaled": lambda dA, dX, dB, d, X: (dA / 7, dX, dB),
    "transposed": lambda dA, dX, dB, d, X: (dA.T, dX, dB),
    "permuted": lambda dA, dX, dB, d, X: (dA[jnp.array([2, 0, 1])], dX, dB),
    "missing-sum": lambda dA, dX, dB, d, X: (d[:1].T @ X[:1], dX, dB),
    "entries": lambda dA, dX, dB, d, X: (dA.at[1].multiply(3), dX, dB),
    "non-finite": lambda dA, dX, dB, d, X: (dA.at[2, 0].set(jnp.inf), dX, dB),
    "precision": lambda dA, dX, dB, d, X: (dA.astype(jnp.bfloat16).astype(dA.dtype), dX, dB),
    "ignores-cotangent": lambda dA, dX, dB, d, X: (X.T[:, :3] + 1, dX, dB),
    "nonlinear-cotangent": lambda dA, dX, dB, d, X: (jnp.tanh(dA), dX, dB),
    "wrong": lambda dA, dX, dB, d, X: (dA + d.T @ X[::-1], dX, dB),
}
NUMBERS = {
    "scaled": "1/N with N = 7, the length of axis 0 of output 0",
    "missing-sum": "only the first of 7 terms along axis 0",
    "entries": "3 of 9 are wrong, all at 1 of axis 0",
    "non-finite": "the first at [2, 0]",
    "precision": "it has the digits of bfloat16 only",
}


@pytest.mark.parametrize("fault", LAYERS)
def test_a_layer(fault):
    report = check(faulty(LAYERS[fault]), A, X, B)
    if fault == "right":
        assert report.ok is True
        assert report.faults == ()
        return
    assert [leaf.ok for leaf in report.leaves] == [False, True, True]
    assert report.leaves[0].verdict == "wrong"
    assert report.leaves[0].diagnosis.fault == fault
    assert NUMBERS.get(fault, "") in report.leaves[0].diagnosis.message
    assert report.faults == (fault,)
    assert all(len(line) <= WIDTH for line in str(report).splitlines())
    assert json.loads(json.dumps(report.to_dict()))["leaves"][0]["diagnosis"]["fault"] == fault


def test_the_gradient_of_another_leaf():
    def value(x, y):
        return jnp.sin(x) * jnp.exp(y)

    def right(x, y, g):
        return g * jnp.cos(x) * jnp.exp(y), g * value(x, y)

    swapped = with_rule(value, lambda x, y, g: right(x, y, g)[::-1])
    report = check(swapped, B, B[::-1] / 2)
    assert report.faults == ("swapped", "swapped")
    assert "args[1]" in report.leaves[0].diagnosis.message


@pytest.mark.parametrize(
    ("value", "slope", "form"),
    [
        (jnp.sin, lambda x: jnp.sin(x), "sin x"),
        (lambda x: x**3, lambda x: x, "x;"),
        (jnp.tanh, lambda x: 1 - jnp.tanh(x), "1 − tanh x"),
        (
            lambda x: jnp.where(x > 0, x, 0.2 * x),
            lambda x: (x > 0).astype(x.dtype),
            "1 where x > 0",
        ),
    ],
)
def test_a_formula(value, slope, form):
    x = jnp.linspace(-1.9, 2.1, 12)
    (leaf,) = check(with_rule(value, lambda x, g: (g * slope(x),)), x).leaves
    assert leaf.diagnosis.fault == "formula"
    assert form in leaf.diagnosis.message


def test_a_formula_behind_a_sum():
    summed = with_rule(lambda x: jnp.sum(jnp.cos(x)), lambda x, g: (g * jnp.cos(x),))
    (leaf,) = check(summed, jnp.linspace(0.1, 2.1, 9)).leaves
    assert leaf.diagnosis.fault == "formula"
    assert "cos x" in leaf.diagnosis.message


def test_entry_by_entry_where_a_sum_is_due():
    softmax = with_rule(lambda x: jax.nn.softmax(x), lambda x, g: (g * jax.nn.softmax(x),))
    (leaf,) = check(softmax, X).leaves
    assert leaf.diagnosis.fault == "missing-sum"
    assert "axis 1" in leaf.diagnosis.message


@pytest.mark.parametrize(
    ("shape", "words"), [((7, 3), "the sum over axis 0 is missing"), ((1,), "got (1,) for (3,)")]
)
def test_a_wrong_shape(shape, words):
    fn = with_rule(lambda x, b: x + b[None], lambda x, b, g: (g, jnp.ones(shape)))
    report = check(fn, X, B)
    assert report.ok is False
    assert [leaf.ok for leaf in report.leaves] == [None, False]
    assert report.leaves[1].diagnosis.fault == "wrong-shape"
    assert words in report.leaves[1].diagnosis.message


def test_too_few_cotangents():
    report = check(with_rule(lambda x, b: x + b[None], lambda x, b, g: (g,)), X, B)
    assert set(report.faults) == {"wrong-shape"}


def test_a_rule_that_raises():
    def backward(x, g):
        raise RuntimeError("not today")

    report = check(with_rule(jnp.sin, backward), X)
    assert report.leaves[0].diagnosis == ffnn.Diagnosis("raises", "RuntimeError: not today")


def test_another_value_under_differentiation():
    fn = with_rule(jnp.sin, lambda x, g: (g * jnp.cos(x),), forward=lambda x: jnp.sin(x) + 0.01)
    report = check(fn, X)
    assert report.ok is False
    assert report.faults == ("value-changes",)


def test_not_the_same_from_call_to_call():
    def backward(x, g):
        draw = jax.pure_callback(
            lambda: np.random.default_rng().random(7, np.float32),
            jax.ShapeDtypeStruct((7,), jnp.float32),
        )
        return (g * (1 + draw[:, None]),)

    report = check(with_rule(lambda x: 1 * x, backward), X)
    assert report.faults == ("noise",)


def test_not_the_same_from_trace_to_trace():
    draw = np.random.default_rng(0)
    report = check(with_rule(jnp.sin, lambda x, g: (g * float(draw.random()),)), X)
    assert report.faults == ("noise",)


def test_a_gradient_in_a_shorter_dtype():
    fn = with_rule(lambda x: 2 * x, lambda x, g: ((2 * g).astype(jnp.bfloat16),))
    report = check(fn, jnp.arange(4.0))
    assert report.faults == ("precision",)


def test_second_order():
    @jax.custom_vjp
    def slope(x):
        return jnp.cos(x)

    slope.defvjp(lambda x: (jnp.cos(x), x), lambda x, g: (g * jnp.sin(x),))
    fn = with_rule(jnp.sin, lambda x, g: (g * slope(x),))
    assert check(fn, X).ok
    report = ffnn.check_gradients(fn, (X,), transforms=("grad of grad",))
    assert report.ok is False
    assert report.faults == ("second-order",)
    assert report.transforms[0].verdict == "wrong"


def test_a_cotangent_that_is_stopped():
    fn = with_rule(lambda x: x**3, lambda x, g: (jax.lax.stop_gradient(g) * 3 * x**2,))
    assert ffnn.check_gradients(fn, (X,), transforms=("grad of grad",)).faults == ("second-order",)


def test_every_fault_has_a_case_here():
    here = {*LAYERS, "swapped", "formula", "wrong-shape", "raises", "value-changes", "noise"}
    assert {*here, "second-order"} - {"right"} == set(FAULTS)


def test_the_layer_where_the_error_enters():
    def value(params, x):
        for W in params:
            x = jnp.tanh(x @ W)
        return x

    def backward(params, x, g):
        hidden = [x]
        for W in params:
            hidden.append(jnp.tanh(hidden[-1] @ W))
        grads = []
        for k in range(len(params), 0, -1):
            d = g * (1 - hidden[k] ** 2) if k != 2 else g  # tanh′ forgotten in the second
            grads.insert(0, hidden[k - 1].T @ d)
            g = d @ params[k - 1].T
        return grads, g

    report = check(with_rule(value, backward), [A, A.T, A / 2, A.T / 2], X, argnums=0)
    assert [leaf.ok for leaf in report.leaves] == [False, False, True, True]
    assert "right from the output down to args[0][2]" in report.notes[0]
    assert "wrong from args[0][1] on" in str(report)


def test_noise_below_the_rounding_of_the_dtype():
    random = np.random.default_rng(0)

    def shaken(g):
        return (np.asarray(g) * (1 + 0.05 * random.standard_normal(g.shape))).astype(g.dtype)

    def backward(x, g):
        there = jax.ShapeDtypeStruct(g.shape, g.dtype)
        return (3 * jax.pure_callback(shaken, there, g, vmap_method="sequential"),)

    assert check(with_rule(lambda x: 3 * x, backward), X.astype(jnp.bfloat16)).faults == ("noise",)


def test_noise_of_a_trace_below_the_rounding_of_the_dtype():
    random = np.random.default_rng(0)

    def backward(x, g):
        return (3 * g * jnp.asarray(1 + 0.05 * random.standard_normal(g.shape), g.dtype),)

    fn = with_rule(lambda x: 3 * x, backward)
    assert check(fn, X.astype(jnp.float16)).faults == ("noise",)


def test_a_sum_in_the_wrong_direction_is_no_formula():
    fn = with_rule(lambda x: jnp.cumsum(x), lambda x, g: (jnp.cumsum(g),))
    assert check(fn, X[:, 0]).faults == ("wrong",)


def test_a_mask_that_is_forgotten():
    """Right and wrong go by the place of an entry, not by its value."""
    mask = jnp.array([True, True, True, True, True, False, False])

    def value(z):
        return -jnp.sum(jnp.where(mask, jax.nn.log_sigmoid(z), 0))

    report = check(with_rule(value, lambda z, g: (-g * jax.nn.sigmoid(-z),)), X[:, 0])
    assert report.faults == ("entries",)
    assert "2 of 7 are wrong, the first at [5]" in report.leaves[0].diagnosis.message


def test_where_autodiff_is_not_finite_either():
    """x |x| at 0, where the gradient is 0."""
    fn = with_rule(
        lambda x: x * jnp.sqrt(x**2), lambda x, g: (g * (jnp.sqrt(x**2) + x**2 / jnp.sqrt(x**2)),)
    )
    report = check(fn, jnp.zeros(3))
    assert report.faults == ("non-finite",)


def test_an_axis_that_is_kept():
    def backward(x, b, g):
        return g, jnp.sum(g, 0, keepdims=True)

    leaf = check(with_rule(lambda x, b: x + b[None], backward), X, B).leaves[1]
    assert leaf.diagnosis.fault == "wrong-shape"
    assert "an axis of length 1 too many" in leaf.diagnosis.message


@pytest.mark.parametrize("short", ["bfloat16", "float16"])
def test_no_digits_of_a_shorter_dtype_where_there_are_more(short):
    def backward(x, g):
        return (g.astype(short).astype(g.dtype) * jnp.cos(x),)

    leaf = check(with_rule(jnp.sin, backward), X).leaves[0]
    assert leaf.diagnosis.fault == "precision"
    assert "computed in a shorter dtype" in leaf.diagnosis.message


def test_one_of_two_outputs_is_left_out():
    """A layer of a flow, and the logarithm of the determinant of its Jacobian."""
    flow = with_rule(
        lambda x, s: (x * jnp.exp(s), jnp.sum(s)),
        lambda x, s, g: (g[0] * jnp.exp(s), g[0] * x * jnp.exp(s)),
    )
    leaf = check(flow, X[0], X[1]).leaves[1]
    assert leaf.diagnosis.fault == "ignores-cotangent"
    assert "output 1 is left out" in leaf.diagnosis.message


def test_constants_of_a_shorter_dtype():
    """The formula is right, but √½ in it is that of float16."""
    gelu = partial(jax.nn.gelu, approximate=False)

    def backward(args, g):
        x = args[0].astype(jnp.float16)
        return ((g.astype(x.dtype) * jax.vmap(jax.grad(gelu))(x)).astype(g.dtype),)

    fn = jax.custom_vjp(gelu)
    fn.defvjp(lambda x: (gelu(x), (x,)), backward)
    report = check(fn, X[0])
    assert report.faults == ("precision",)
    assert "digits of float16 only" in report.leaves[0].diagnosis.message
