"""The chain rule of one weight: the notes' text, factors, paths and bounds."""

import dataclasses
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ffnn_jax as ffnn
from ffnn_jax import explain, losses
from ffnn_jax.comparison.quantities import Quantity
from ffnn_jax.comparison.truth import Truth
from ffnn_jax.explain import bounds, chain, explain_weight, factors, roundings
from ffnn_jax.explain.paths import strongest_paths
from ffnn_jax.explain.symbols import Symbols, latex
from tests.cases import ACTIVATIONS

THIN = ffnn.Network((1, 1, 1, 1), activation="sigmoid")
WIDE = ffnn.Network((2, 3, 3, 3), activation=("relu", "gelu"), output="softmax")
GOOD = {"layer": 1, "i": 1, "j": 1}


def drawn(net, seed=0, dtype="float32", scale=1.0):
    """Parameters, biases too, and one x."""
    draw = np.random.default_rng(seed)

    def normal(*shape):
        numbers = (scale * draw.standard_normal(shape)).astype(jnp.dtype(dtype))
        return numbers if dtype == np.float64 else jnp.asarray(numbers)

    layers = tuple(ffnn.Layer(normal(n, m), normal(n)) for m, n in itertools.pairwise(net.sizes))
    return layers, normal(net.sizes[0])


def explained(net, y, *, layer, i, j=None, seed=0, dtype="float32", **options):
    params, x = drawn(net, seed, dtype)
    return explain_weight(net, params, x, y, layer=layer, i=i, j=j, **options)


# The notes' text ---------------------------------------------------------------------------------

W_111 = (
    r"\frac{\partial \mathcal{L}(\theta)}{\partial W_{111}} = "
    r"\frac{\partial \mathcal{L}(\theta)}{\partial \hat{y}} "
    r"\frac{\partial \hat{y}}{\partial a_{L11}} \frac{\partial a_{L11}}{\partial h_{21}} "
    r"\frac{\partial h_{21}}{\partial a_{21}} \frac{\partial a_{21}}{\partial h_{11}} "
    r"\frac{\partial h_{11}}{\partial a_{11}} \frac{\partial a_{11}}{\partial W_{111}}"
)
COMPRESSED = {
    1: r"\frac{\partial \mathcal{L}(\theta)}{\partial W_{111}} = "
    r"\frac{\partial \mathcal{L}(\theta)}{\partial h_{11}} "
    r"\frac{\partial h_{11}}{\partial W_{111}}",
    2: r"\frac{\partial \mathcal{L}(\theta)}{\partial W_{211}} = "
    r"\frac{\partial \mathcal{L}(\theta)}{\partial h_{21}} "
    r"\frac{\partial h_{21}}{\partial W_{211}}",
    3: r"\frac{\partial \mathcal{L}(\theta)}{\partial W_{L11}} = "
    r"\frac{\partial \mathcal{L}(\theta)}{\partial a_{L1}} "
    r"\frac{\partial a_{L1}}{\partial W_{L11}}",
}
TALK = (
    r"\underbrace{\frac{\partial \mathcal{L}(\theta)}{\partial W_{111}}}"
    r"_{\text{Talk to the weight directly}} = "
    r"\underbrace{\frac{\partial \mathcal{L}(\theta)}{\partial \hat{y}} "
    r"\frac{\partial \hat{y}}{\partial a_3}}_{\text{Talk to the output layer}} "
    r"\underbrace{\frac{\partial a_3}{\partial h_2} \frac{\partial h_2}{\partial a_2}}"
    r"_{\text{Talk to the previous hidden layer}} "
    r"\underbrace{\frac{\partial a_2}{\partial h_1} \frac{\partial h_1}{\partial a_1}}"
    r"_{\text{Talk to the previous hidden layer}} "
    r"\underbrace{\frac{\partial a_1}{\partial W_{111}}}_{\text{and now talk to the weights}}"
)


def test_the_thin_chain_is_written_as_in_the_notes():
    found = explained(THIN, jnp.ones(1), layer=1, i=1, j=1)
    assert found.latex == W_111
    assert found.formula == (
        "∂ℒ(θ)/∂W_111 = ∂ℒ(θ)/∂ŷ · ∂ŷ/∂a_L11 · ∂a_L11/∂h_21 · ∂h_21/∂a_21 · ∂a_21/∂h_11 · "
        "∂h_11/∂a_11 · ∂a_11/∂W_111"
    )
    assert TALK in found.markdown()
    assert W_111 in found.markdown()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_compressed_chain_is_written_as_in_the_notes(layer):
    found = explained(THIN, jnp.ones(1), layer=layer, i=1, j=1)
    assert found.compressed_latex == COMPRESSED[layer]
    assert found.compressed_latex in found.markdown()


def test_a_wide_network_is_written_as_in_the_notes():
    found = explained(WIDE, jnp.asarray(2), layer=1, i=1, j=2)
    assert found.name == "W_112"
    assert found.latex.startswith(r"\frac{\partial \mathcal{L}(\theta)}{\partial W_{112}} = ")
    assert found.formula == ("∂ℒ(θ)/∂W_112 = ∂ℒ(θ)/∂h_11 · ∂h_11/∂a_11 · ∂a_11/∂W_112")
    first = found.paths[0]
    assert first.factors[0].name == "∂ℒ(θ)/∂ŷ_ℓ"
    assert first.factors[0].formula == "−1/ŷ_ℓ"
    assert first.factors[1].name == f"∂ŷ_ℓ/∂a_L{first.units[-1]}"
    assert "ℓ = 3, the true class; it is 2 counted from 0" in str(found)
    assert TALK.replace("W_{111}", "W_{112}") in found.markdown()


def test_indices_of_more_than_one_digit_have_commas():
    names = Symbols(depth=2, outputs=1, label=None, thin=False)
    assert names.W(1, 12, 2) == "W_1,12,2"
    assert latex(names.W(1, 12, 2)) == "W_{1,12,2}"
    assert names.b(2, 1) == "b_L1"
    assert names.yhat(1) == "ŷ"


# Text ---------------------------------------------------------------------------------------------

EVERY_OUTPUT = ffnn.Network((2, 2, 3), activation="tanh", output="softmax", loss="squared_error")
TEXTS = [
    (THIN, [1.0], 1, 1, 1),
    (THIN, [1.0], 3, 1, None),
    (WIDE, 1, 2, 3, 1),
    (EVERY_OUTPUT, [0.2, 0.3, 0.5], 1, 2, 1),
]


@pytest.mark.parametrize(("net", "y", "layer", "i", "j"), TEXTS)
def test_the_printed_numbers_multiply_to_the_printed_product(net, y, layer, i, j):
    found = explained(net, jnp.asarray(y), layer=layer, i=i, j=j)
    text = re.sub(r" ×\n +", " × ", str(found))
    lines = re.findall(r"= (\S+(?: × \S+)+)(?:\n +| )= (\S+)", text)
    assert len(lines) == 2 + (found.path_count > 1) * len(found.paths)
    for numbers, product in lines:
        multiplied = math.prod(map(float, numbers.split(" × ")))
        assert f"{multiplied:.6g}" == product
    assert lines[0][1] == f"{found.gradient:.6g}"
    assert max(map(len, str(found).splitlines())) <= 100
    assert found.markdown().count("$") % 2 == 0


def as_python(formula, given):
    """The value of a local formula, read as the learner reads it."""
    for symbol, value in sorted(given, key=lambda pair: -len(pair[0])):
        formula = formula.replace(symbol, f"({value!r})")
    for old, new in {"−": "-", "·": "*", "²": "**2", "e^": "math.exp"}.items():
        formula = formula.replace(old, new)
    return eval(re.sub(r"([\d)])\(", r"\1*(", formula), {"math": math})


def test_local_formulas_give_their_values():
    """Each is computed again from its own text."""
    seen = 0
    for name in ("sigmoid", "tanh", "softplus"):
        net = ffnn.Network((2, 2, 2), activation=name, output="logistic", loss="squared_error")
        layers, x = drawn(net, 2, np.float64)
        at = numpy_truth(net, *zip(*layers, strict=True), x, np.array([0.2, 0.7]))
        for path in factors.strongest_of(chain.chain_of(at, 1, 1, 2), 5, 1.0):
            for factor in path.factors:
                if factor.kind not in ("input", "weight"):
                    formula = factor.formula.split(" = ")[-1]
                    value = as_python(formula, factor.given)
                    assert value == pytest.approx(factor.value, rel=1e-12), factor
                    seen += 1
    assert seen == 3 * 2 * 3


# One thousand networks, in NumPy alone -----------------------------------------------------------


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772
ROOT, CUBIC = math.sqrt(2 / math.pi), 0.044715
G = {  # also of complex numbers
    "identity": lambda a: a,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.where(a.real > 0, a, 0),
    "leaky_relu": lambda a: np.where(a.real >= 0, a, 0.01 * a),
    "elu": lambda a: np.where(a.real > 0, a, np.expm1(a)),
    "selu": lambda a: LAMBDA * np.where(a.real > 0, a, ALPHA * np.expm1(a)),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "gelu": lambda a: a * sigmoid(2 * ROOT * (a + CUBIC * a**3)),
    "silu": lambda a: a * sigmoid(a),
}
ONE_STEP = 1e-30


def slope(name, a):
    """g′ by a complex step, which cancels nothing: Im g(a + iη)/η."""
    return G[name](a + 1j * ONE_STEP).imag / ONE_STEP


def softmax(a):
    e = np.exp(a - a.real.max())
    return e / e.sum()


OUTPUT = {"linear": lambda a: a, "logistic": sigmoid, "softmax": softmax}


def absolute(r):
    return np.where(r.real < 0, -r, r)


def huber(r):
    return np.where(np.abs(r.real) <= 0.5, r**2 / 2, 0.5 * (absolute(r) - 0.25))


def cross_entropy(p, y):
    return -np.sum(y * np.log(p))


def binary_cross_entropy(p, y):
    return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))


LOSS = {
    "squared_error": lambda p, y: np.sum((p - y) ** 2),
    "absolute_error": lambda p, y: np.sum(absolute(p - y)),
    "huber(0.5)": lambda p, y: np.sum(huber(p - y)),
    "quantile(0.3)": lambda p, y: np.sum(np.where((p - y).real < 0, -0.3, 0.7) * (p - y)),
    "poisson": lambda p, y: np.sum(np.exp(p) - y * p),
    "cross_entropy": cross_entropy,
    "smoothed_cross_entropy(0.1)": lambda p, y: cross_entropy(p, 0.9 * y + 0.1 / len(y)),
    "binary_cross_entropy": binary_cross_entropy,
}
PAIRS = [
    *itertools.product(["linear"], list(LOSS)[:5]),
    *itertools.product(["softmax", "logistic"], [*list(LOSS)[5:], "squared_error", "huber(0.5)"]),
]


def complex_step(function, point):
    """The gradient of a scalar function."""
    steps = 1j * ONE_STEP * np.eye(len(point))
    return np.array([function(point + step).imag / ONE_STEP for step in steps])


def passed(net, W, b, x):
    """(a, h, ŷ) of a pass."""
    a, h = [], [x]
    for k in range(net.depth):
        a.append(W[k] @ h[k] + b[k])
        if k < net.depth - 1:
            h.append(G[net.activations[k]](a[k]))
    return a, h, OUTPUT[net.output](a[-1])


def numpy_truth(net, W, b, x, y):
    """The `Truth` of one example by NumPy, every derivative by complex steps."""
    a, h, yhat = passed(net, W, b, x)
    slopes = [slope(name, t) for name, t in zip(net.activations, a, strict=False)]
    bends = [
        (slope(name, t + 1e-6) - slope(name, t - 1e-6)) / 2e-6
        for name, t in zip(net.activations, a, strict=False)
    ]
    grads = {Quantity("yhat", net.depth): complex_step(lambda p: LOSS[net.loss](p, y), yhat)}
    grad = complex_step(lambda t: LOSS[net.loss](OUTPUT[net.output](t), y), a[-1])
    for k in range(net.depth, 0, -1):
        grads[Quantity("a", k)] = grad
        grads[Quantity("h", k - 1)] = W[k - 1].T @ grad
        if k > 1:
            grad = grads[Quantity("h", k - 1)] * slopes[k - 2]

    def row(t):
        return t[None]

    rows = [tuple(map(row, t)) for t in (a, h, slopes, bends)]
    grads = {q: row(t) for q, t in grads.items()}
    one = np.ones((1, 1))
    return Truth(
        net, (), W, b, rows[0], rows[1], row(yhat), row(y), one, 1.0, rows[2], rows[3], grads
    )


def every_path(at, layer, i, j, outputs):
    """The product of every path, an array with an axis for each layer above, and for c."""
    net, T = at.net, np.ones(1) * (1.0 if j is None else at.h[layer - 1][0, j - 1])
    for r in range(layer + 1, net.depth + 1):
        edge = at.W[r - 1] * at.slope[r - 2]
        edge = edge[:, i - 1 : i] if r == layer + 1 else edge
        T = T[..., None] * edge.T
    p, top = at.yhat[0], at.grads[Quantity("yhat", net.depth)][0]
    if net.output == "softmax":
        jacobian = (np.where(np.eye(len(p)), p * (1 - p), -np.outer(p, p)))[outputs]
        end = (top[outputs][:, None] * jacobian).T
        end = end[i - 1 : i] if layer == net.depth else end
        return T[..., None] * end
    end = top * (p * (1 - p) if net.output == "logistic" else np.ones_like(p))
    return T * (end[i - 1 : i] if layer == net.depth else end)


def random_case(seed):
    """(net, W, b, x, y as numbers, y as the library has it, layer, i, j)."""
    draw = np.random.default_rng(seed)
    depth = 1 + seed % 6
    sizes = tuple(int(n) for n in draw.integers(1, 4, depth + 1))
    output, loss = PAIRS[seed % len(PAIRS)]
    if loss == "binary_cross_entropy" and output == "softmax" and sizes[-1] == 1:
        loss = "cross_entropy"  # log(1 − 1)
    names = tuple(str(name) for name in draw.choice(ACTIVATIONS, depth - 1))
    net = ffnn.Network(sizes, activation=names, output=output, loss=loss)
    W = tuple(draw.standard_normal((n, m)) for m, n in itertools.pairwise(sizes))
    b = tuple(0.3 * draw.standard_normal(n) for n in sizes[1:])
    x = draw.standard_normal(sizes[0])
    y = draw.dirichlet(np.ones(sizes[-1])) if output != "linear" else draw.random(sizes[-1])
    given = y
    if "cross_entropy" in loss and "binary" not in loss and seed % 2 and sizes[-1] > 1:
        given = np.int32(draw.integers(sizes[-1]))
        y = np.eye(sizes[-1])[given]
    layer = int(draw.integers(1, depth + 1))
    i = int(draw.integers(1, sizes[layer] + 1))
    j = int(draw.integers(1, sizes[layer - 1] + 1)) if seed % 5 else None
    return net, W, b, x, y, np.asarray(given), layer, i, j


def by_complex_step(net, W, b, x, y, layer, i, j):
    """∂ℒ/∂W_kij by no chain rule at all."""
    W, b = [t.astype(complex) for t in W], [t.astype(complex) for t in b]
    if j is None:
        b[layer - 1][i - 1] += 1j * ONE_STEP
    else:
        W[layer - 1][i - 1, j - 1] += 1j * ONE_STEP
    return LOSS[net.loss](passed(net, W, b, x)[2], y).imag / ONE_STEP


@pytest.mark.parametrize("block", range(4))
def test_factors_multiply_and_sum_to_the_gradient_of_one_thousand_networks(block):
    for seed in range(250 * block, 250 * (block + 1)):
        net, W, b, x, y, given, layer, i, j = random_case(seed)
        at = numpy_truth(net, W, b, x, y)
        gradient = by_complex_step(net, W, b, x, y, layer, i, j)
        one = chain.chain_of(at, layer, i, j)
        bound = bounds.gradient_bound(at, given, layer, i, j, roundings.FLOAT64)
        every = every_path(at, layer, i, j, one.outputs)
        assert one.path_count == every.size, seed
        compressed = math.prod(factor.value for factor in factors.compressed(one))
        assert abs(compressed - gradient) <= bound, seed
        assert abs(math.fsum(every.ravel()) - gradient) <= bound, seed
        size = chain.total(one)
        assert size == pytest.approx(np.abs(every).sum(), rel=1e-12), seed
        found = factors.strongest_of(one, 5, size)
        check_strongest(found, every, one, seed)
        if one.path_count == 1:
            assert abs(found[0].product - gradient) <= bound, seed


def check_strongest(found, every, one, seed):
    """Distinct paths, each with its own product, and none left out is stronger."""
    assert len(found) == min(5, every.size)
    places = set()
    for path in found:
        place = tuple(m - 1 for m in path.units[1:])
        if one.jacobian is not None:
            place = (*place, list(one.outputs + 1).index(path.output))
        place = place if one.layer < one.at.net.depth else (0, *place)[: every.ndim]
        place = place if len(place) == every.ndim else (0, *place)
        places.add(place)
        assert path.product == pytest.approx(every[place], rel=1e-12, abs=0), seed
        assert path.product == math.prod(factor.value for factor in path.factors)
    assert len(places) == len(found)
    sizes = np.sort(np.abs(every).ravel())[::-1][: len(found)]
    np.testing.assert_allclose([abs(p.product) for p in found], sizes, rtol=1e-12)


# Paths in general ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("kind", ["numbers", "zeros", "ties"])
def test_the_strongest_paths_are_those_of_brute_force(kind, count):
    """Ties in the order of the nodes: weights are powers of 2, products and sums exact."""
    draw = np.random.default_rng(count)
    for _ in range(20):
        widths = [1, *draw.integers(1, 5, 3)]
        shapes = [(n, m) for m, n in itertools.pairwise(widths)]
        edges = [draw.standard_normal(shape) for shape in shapes]
        ends = draw.standard_normal(widths[-1])
        if kind == "zeros":
            edges = [edge * draw.integers(0, 2, edge.shape) for edge in edges]
        if kind == "ties":
            edges, ends = [np.ones(shape) for shape in shapes], np.ones(widths[-1])
        paths = list(itertools.product(*map(range, widths)))
        sizes = [
            abs(math.prod(e[n, m] for e, (m, n) in zip(edges, itertools.pairwise(p), strict=True)))
            * abs(ends[p[-1]])
            for p in paths
        ]
        order = sorted(range(len(paths)), key=lambda p: -sizes[p])[:count]
        found = strongest_paths(edges, ends, count)
        assert len(set(found)) == len(found) == len(order)
        if kind == "ties":
            assert found == [paths[p] for p in order]
        by_path = dict(zip(paths, sizes, strict=True))
        np.testing.assert_allclose([by_path[p] for p in found], [sizes[p] for p in order], 1e-12)


def test_products_too_small_for_float64_are_still_compared():
    edges = [np.array([[1e-200], [2e-200]]), np.array([[1e-200, 1e-200]])]
    assert strongest_paths(edges, np.ones(1), 2) == [(0, 1, 0), (0, 0, 0)]


def test_the_strongest_path_of_a_large_network():
    """That of digits: the maximum by a sweep with max in place of the sum."""
    draw = np.random.default_rng(0)
    edges = [draw.standard_normal(s) for s in ((512, 1), (512, 512), (10, 512))]
    found = strongest_paths(edges, np.ones(10), 5)
    best = np.ones(10)
    for edge in reversed(edges):
        best = np.max(np.abs(edge) * best[:, None], axis=0)
    (_, m, n, c), *_ = found
    assert abs(edges[0][m, 0] * edges[1][n, m] * edges[2][c, n]) == pytest.approx(best[0])
    assert len(set(found)) == 5


# The whole ----------------------------------------------------------------------------------------

WHOLE = [
    (ffnn.Network((2, 3, 2, 3, 2, 3, 2), activation=ACTIVATIONS[:5], output="softmax"), 1),
    (ffnn.Network((2, 3, 2, 3, 2, 3, 2), activation=ACTIVATIONS[5:], output="logistic"), [1.0, 0]),
    (EVERY_OUTPUT, 2),
]


@pytest.mark.parametrize(("net", "y"), WHOLE)
def test_all_ways_agree_within_their_bounds(net, y):
    params, x = drawn(net, 3)
    value, grads = jax.jit(ffnn.gradients)(net, params, x, jnp.asarray(y))
    close = []
    for k, layer in enumerate(grads.params, start=1):
        for i, j in [(1, 1), (net.sizes[k], net.sizes[k - 1]), (1, None)]:
            found = explain_weight(net, params, x, jnp.asarray(y), layer=k, i=i, j=j)
            assert found.sweep == float(layer.b[i - 1] if j is None else layer.W[i - 1, j - 1])
            assert abs(found.sweep - found.gradient) <= found.bound
            assert abs(found.autodiff - found.gradient) <= found.bound
            assert abs(found.difference - found.gradient) <= found.difference_bound
            assert abs(found.product - found.gradient) <= found.factors_bound
            assert found.factors_bound <= found.bound * 1e-7
            assert abs(found.gradient) <= found.size * (1 + 1e-12)
            close.append(found.bound <= 1e-3 * abs(found.size))
            assert found.difference_bound <= 1e-6 * (1 + abs(float(value)))
    assert np.mean(close) > 0.8  # bounds that say something


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_bounds_of_other_dtypes(dtype, x64):
    net = ffnn.Network((2, 3, 2), activation="tanh", output="softmax")
    for seed in range(5):
        found = explained(net, jnp.asarray(1), layer=1, i=2, j=1, seed=seed, dtype=dtype)
        assert found.dtype == dtype
        assert abs(found.sweep - found.gradient) <= found.bound
        assert abs(found.autodiff - found.gradient) <= found.bound
        u = float(jnp.finfo(dtype).eps)
        assert found.bound <= 400 * u * max(found.size, 1.0)
        if dtype == "float64":
            assert found.bound == found.factors_bound


def log_cosh(yhat, y):
    return jnp.sum(jnp.log(jnp.cosh(yhat - y["to"])), axis=-1)


def test_a_loss_of_the_users_own():
    net = ffnn.Network((2, 3, 2), activation="elu", loss=ffnn.Loss("log_cosh", log_cosh))
    y = {"to": jnp.asarray([0.5, -0.25])}
    found = explained(net, y, layer=1, i=1, j=1)
    params, x = drawn(net)
    expected = jax.grad(ffnn.loss, argnums=1)(net, params, x, y)[0].W[0, 0]
    assert found.sweep == pytest.approx(float(expected), rel=1e-6)
    assert abs(found.sweep - found.gradient) <= found.bound <= 1e-4 * found.size
    assert [f.kind for f in found.paths[0].factors] == [
        "loss", "output", "weight", "activation", "input"
    ]  # fmt: skip
    assert found.paths[0].factors[0].formula == ""
    assert "log_cosh" in str(found)


def test_every_output_of_a_squared_error_has_its_own_paths():
    found = explained(EVERY_OUTPUT, jnp.asarray([0.2, 0.3, 0.5]), layer=2, i=2, j=1, strongest=9)
    assert found.path_count == len(found.paths) == 3
    assert {path.output for path in found.paths} == {1, 2, 3}
    assert math.fsum(path.product for path in found.paths) == pytest.approx(found.gradient)
    assert found.share == pytest.approx(1.0)
    assert "here all of them" in str(found)


def test_dropout_is_left_out():
    with_rate = explained(dataclasses.replace(WIDE, dropout=0.5), jnp.asarray(1), **GOOD)
    assert with_rate.gradient == explained(WIDE, jnp.asarray(1), **GOOD).gradient


def test_a_dead_unit_has_the_gradient_zero():
    params, x = drawn(WIDE)
    dead = ffnn.Layer(params[0].W, jnp.full(3, -9.0))
    found = explain_weight(WIDE, (dead, *params[1:]), x, jnp.asarray(1), **GOOD)
    assert found.gradient == found.sweep == found.size == found.share == 0
    assert [path.product for path in found.paths] == [0] * 5
    why = (
        "a_11 = -9 < 0: this relu is off at this example, so no path passes, and the weight learns "
        "nothing from it."
    )
    bias = f"{float(params[0].W[0] @ x) - 9:.6g}"
    for words in (str(found), found.markdown()):
        assert why.replace("-9", bias) in words.replace("\n", " ")
        assert "paths from" not in words
        assert "paths below" not in words
        assert "0 %" not in words
    assert abs(found.difference) <= found.difference_bound
    assert "relu′(a_11) = (1 where a_11 > 0, else 0) = 0" in str(found)


def test_a_kink_under_the_central_difference_is_seen():
    net = ffnn.Network((1, 1, 1), activation="relu")
    params = tuple(ffnn.Layer(jnp.ones((1, 1)), jnp.zeros(1)) for _ in range(2))
    for near in (0.0, 1e-6, 7e-6, 1e-5):
        x = jnp.ones(1)
        at_kink = (ffnn.Layer(params[0].W, jnp.full(1, near - 1)), params[1])
        found = explain_weight(net, at_kink, x, jnp.ones(1), layer=1, i=1)
        assert abs(found.difference - found.gradient) <= found.difference_bound


def test_where_the_loss_has_no_slope_the_path_starts_one_step_later():
    net = ffnn.Network((1, 2), output="softmax")
    params = (ffnn.Layer(jnp.asarray([[900.0], [-900.0]]), jnp.zeros(2)),)
    found = explain_weight(net, params, jnp.ones(1), jnp.asarray(1), layer=1, i=1, j=1)
    assert [factor.name for factor in found.factors] == ["∂ℒ(θ)/∂a_L1", "∂a_L1/∂W_L11"]
    assert found.gradient == found.product == 1.0
    assert found.paths[0].output is None
    assert abs(found.sweep - found.gradient) <= found.bound < math.inf
    assert "ŷ" not in found.formula
    assert "(the paths start at ∂ℒ/∂a_L, as ∂ℒ/∂ŷ is no finite number here)" in str(found)


def test_other_reasons_for_a_gradient_of_zero():
    params, x = drawn(WIDE)
    found = explain_weight(WIDE, params, x.at[1].set(0), jnp.asarray(1), layer=1, i=1, j=2)
    assert "h_02 = x_2 = 0 at this example: nothing comes in on this weight" in str(found)
    above = ffnn.Layer(jnp.zeros((3, 3)), params[1].b)
    found = explain_weight(WIDE, (params[0], above, params[2]), x, jnp.asarray(1), layer=1, i=2)
    assert "∂ℒ(θ)/∂h_12 = 0 at this example: no path from above comes down to it" in str(found)
    assert "the bias learns nothing" in str(found)


def test_float64_is_explained_as_it_came_where_64_bit_types_are_off():
    """ŷ = 2/3 (0.7/3 + 0.1) + 0.2, and ∂ℒ/∂W_111 = 2 (ŷ − 0.3) · 2/3 · 0.7."""
    net = ffnn.Network((1, 1, 1), activation="identity")
    W, b = (np.array([[1 / 3]]), np.array([[2 / 3]])), (np.array([0.1]), np.array([0.2]))
    x, y = np.array([0.7]), np.array([0.3])
    found = explain_weight(net, tuple(map(ffnn.Layer, W, b)), x, y, **GOOD)
    right = 2 * (2 / 3 * (0.7 / 3 + 0.1) + 0.2 - 0.3) * 2 / 3 * 0.7
    assert found.gradient == pytest.approx(right, rel=1e-15)
    assert found.dtype == "float32"
    assert 0 < abs(found.sweep - right) <= found.bound <= 1e-5


def test_x_and_y_that_are_finer_than_the_parameters():
    """The gradient is that of the numbers that came; what casting moves is allowed."""
    net = ffnn.Network((1, 1))
    params = (ffnn.Layer(jnp.ones((1, 1), jnp.bfloat16), jnp.zeros(1, jnp.bfloat16)),)
    x, y = jnp.array([1.001]), jnp.array([1.0])
    found = explain_weight(net, params, x, y, **GOOD)
    exact = float(x[0])
    assert found.gradient == pytest.approx(2 * (exact - 1) * exact, rel=1e-12)
    assert found.sweep == 0
    assert abs(found.sweep - found.gradient) <= found.bound < 0.2


def test_what_agrees_is_told_and_no_zero_has_a_sign():
    net = ffnn.Network((1, 1, 1))
    params = tuple(ffnn.Layer(-jnp.ones((1, 1)), jnp.zeros(1)) for _ in range(2))
    text = str(explain_weight(net, params, jnp.ones(1), jnp.ones(1), **GOOD))
    assert "Here all agree to the last bit." in text
    assert "Why" not in text
    assert not re.search(r"(?<![\de])-0(\.0e\+00)?(?![\d.])", text)
    assert "Why the numbers may differ in the last digits" in str(
        explained(THIN, jnp.ones(1), **GOOD)
    )


def test_the_sum_in_the_compressed_chain_has_its_numbers():
    found = explained(WIDE, jnp.asarray(2), layer=2, i=1, j=2)
    _, sum_ = found.compressed[0].formula.split(" = ")
    terms = [eval(term.replace("·", "*")) for term in sum_.split(" + ")]
    assert len(terms) == 3
    assert math.fsum(terms) == pytest.approx(found.compressed[0].value, rel=1e-4)
    assert "talk to the output layer\n    ∂ℒ(θ)/∂a_Lm of each output m" in str(found)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ({"layer": 0}, ValueError, r"layer: expected 1 to 2 \(layers, counted from 1, as in the"),
        ({"layer": 3}, ValueError, "layer: expected 1 to 2"),
        ({"layer": True}, TypeError, "layer: expected an int, got True"),
        ({"layer": 1.0}, TypeError, "layer: expected an int, got 1.0"),
        ({"i": 0}, ValueError, r"i: expected 1 to 4 \(units of layer 1, counted from 1"),
        ({"i": 5}, ValueError, "i: expected 1 to 4 .* got 5"),
        ({"j": 4}, ValueError, r"j: expected 1 to 3 \(inputs, counted from 1"),
        ({"j": -1}, ValueError, "j: expected 1 to 3 .* got -1"),
        ({"j": "1"}, TypeError, "j: expected an int, got '1'"),
        ({"strongest": 0}, ValueError, "strongest: expected at least 1, got 0"),
        ({"strongest": 101}, ValueError, "strongest: expected at most 100 paths, got 101"),
    ],
)
def test_indices_out_of_range(index, error, message):
    net = ffnn.Network((3, 4, 2))
    params, x = drawn(net)
    with pytest.raises(error, match=message):
        explain_weight(net, params, x, jnp.zeros(2), **{**GOOD, **index})


def test_other_bad_input_is_told_before_anything_is_compiled():
    net = ffnn.Network((3, 4, 2), output="softmax")
    params, x = drawn(net)
    y = jnp.asarray(1)
    broken = (params[0], ffnn.Layer(params[1].W.at[0, 1].set(jnp.nan), params[1].b))
    for args, error, message in [
        ((params, jnp.ones((5, 3)), jnp.zeros(5, jnp.int32)), ValueError, r"batch.*x\[0\] and y"),
        ((params, x[:2], y), ValueError, r"x: expected one example, shape \(3,\), got \(2,\)"),
        ((params, [1.0, 2.0, 3.0], y), TypeError, "x: expected an array"),
        ((params, jnp.ones(3, jnp.int32), y), TypeError, "x: expected a floating dtype"),
        ((params, x, jnp.asarray(2)), ValueError, "y: expected classes from 0 to 1, got from 2"),
        ((params, x, jnp.zeros(3)), ValueError, "y: expected shape"),
        ((params[:1], x, y), ValueError, "params: expected 2 layers"),
        (
            (broken, x, y),
            ValueError,
            r"params\[1\].W: expected finite numbers, got nan at \[0, 1\]",
        ),
        ((params, x.at[0].set(jnp.inf), y), ValueError, "x: expected finite numbers"),
        ((params, x, jnp.asarray([jnp.nan, 1])), ValueError, "y: expected finite numbers"),
    ]:
        with pytest.raises(error, match=message):
            explain_weight(net, *args, **GOOD)
    with pytest.raises(TypeError, match="net: expected a Network"):
        explain_weight(params, params, x, y, **GOOD)
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda x: explain_weight(net, params, x, y, **GOOD).gradient)(x)
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda t: t * explain_weight(net, params, x, y, **GOOD).gradient)(1.0)


def test_a_gradient_that_is_not_finite():
    net = ffnn.Network((1, 1), loss="poisson")
    params = (ffnn.Layer(jnp.full((1, 1), 1e4), jnp.zeros(1)),)
    with pytest.raises(ValueError, match="the gradient is inf here"):
        explain_weight(net, params, jnp.ones(1), jnp.ones(1), **GOOD)


def test_the_core_does_not_know_of_it():
    assert {"Factor", "Path", "WeightExplanation", "explain_weight"} <= set(explain.__all__)
    assert losses.find_loss("huber(0.5)").name in LOSS
