"""Every kernel lowers for an H100 without one, with the products and sums that it promises.

What Triton is handed is read here; what it and ptxas make of it, by scripts/compile-for-hopper.
"""

import pathlib
import re

import jax
import pytest

import ffnn_jax as ffnn
from ffnn_jax.activations import ACTIVATIONS

ROOT = pathlib.Path(__file__).parent.parent
NARROW = {"narrow_forward", "narrow_mlp_forward", "narrow_mlp_backward"}


@pytest.fixture(scope="module")
def scripts():
    """The modules hopper and hopper_cases."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "scripts")
        import hopper
        import hopper_cases

        yield hopper, hopper_cases


def lowered(hopper, case):
    """{name: Triton IR} of a case, which has no float64 anywhere."""
    with jax.default_matmul_precision(case.precision):
        program = hopper.lower(case.fn, *case.args)
    kernels = dict(hopper.kernels_in(program))
    for text in (program.as_text(), *kernels.values()):
        assert not re.search(r"\bf64\b|xf64\b", text)
    return kernels


def dots(text):
    """(precision, factor, factor, sum) of each product in a kernel: dtypes as Triton has them."""
    found = re.findall(r"tt\.dot (.*?) : tensor<(.*?)> \* tensor<(.*?)> -> tensor<(.*?)>", text)
    assert len(found) == text.count("tt.dot")
    for words, *types in found:
        match = re.search(r"inputPrecision = (\w+)", words)
        yield match[1] if match else "ieee", *(t.rsplit("x", 1)[1] for t in types)


@pytest.mark.parametrize(
    ("sizes", "activation", "dtype", "rows"),
    [
        ((16,) * 7, tuple(ACTIVATIONS)[:5], "float32", 48),
        ((16,) * 7, tuple(ACTIVATIONS)[5:], "bfloat16", 48),
        ((16, 16, 16), "relu", "float16", 1),
        ((3, 1, 1), "sigmoid", "float32", 17),
        ((100, 17, 65, 10), ("elu", "silu"), "float32", 1001),
        ((5, 128, 7, 33, 2), ("gelu", "tanh", "relu"), "float16", 128),
        ((64,) * 10, "tanh", "float32", 63),
        ((128,) * 3, "tanh", "bfloat16", 2**20),
    ],
)
def test_each_narrow_shape(scripts, sizes, activation, dtype, rows):
    hopper, cases = scripts
    kernels = lowered(hopper, cases.narrow(sizes, activation, dtype, rows=rows))
    assert set(kernels) == NARROW


@pytest.mark.parametrize(
    ("dtype", "compute_dtype", "precision", "expected"),
    [
        ("float32", None, None, ("tf32", "f32", "f32", "f32")),
        ("float32", None, "highest", ("ieee", "f32", "f32", "f32")),
        ("float32", "bfloat16", "highest", (None, "bf16", "bf16", "f32")),
        ("bfloat16", None, None, (None, "bf16", "bf16", "f32")),
        ("float16", None, "highest", (None, "f16", "f16", "f32")),
    ],
)
def test_products_of_a_narrow_network(scripts, dtype, compute_dtype, precision, expected):
    hopper, cases = scripts
    case = cases.narrow((32,) * 4, "tanh", dtype, compute_dtype, precision, rows=80)
    kernels = lowered(hopper, case)
    counts = {"narrow_forward": 3, "narrow_mlp_forward": 3, "narrow_mlp_backward": 2}
    for name, count in counts.items():
        found = list(dots(kernels[name]))
        assert len(found) == count
        for precision_of_one, *types in found:
            assert tuple(types) == expected[1:]
            assert expected[0] in (None, precision_of_one)


@pytest.mark.parametrize("implementation", [None, "xla"])
def test_without_a_wish_there_is_no_kernel(scripts, implementation):
    hopper, cases = scripts
    net = ffnn.Network((16, 32, 4), output="softmax", plan=ffnn.Plan(implementation=implementation))
    case = cases.narrow(net.sizes, "relu", "float32", rows=64)  # for its arguments

    def gradient(params, x, y):
        return jax.grad(ffnn.loss, argnums=1)(net, params, x, y)

    program = hopper.lower(gradient, *case.args)
    assert not hopper.kernels_in(program)
    assert "triton" not in program.as_text()
    assert "stablehlo.dot_general" in program.as_text()


@pytest.mark.parametrize(
    ("sizes", "batch_size", "optimizer", "task", "precision"),
    [
        ((4, 16, 3), 16, "sgd", "classes", None),
        ((16, 20, 10), 64, "adam", "distributions", "highest"),
        ((5, 33, 7), 48, "nesterov", "numbers", None),
        ((13, 30, 1), 1, "momentum", "numbers", "highest"),
        ((64, 64, 64), 64, "adam", "classes", None),
    ],
)
def test_each_population(scripts, sizes, batch_size, optimizer, task, precision):
    hopper, cases = scripts
    activation = ("tanh", "relu")[: len(sizes) - 2]
    options = {"precision": precision, "weighted": batch_size == 48}
    with jax.numpy_dtype_promotion("standard"):  # optax's adam has 0.9 ** count, an integer
        case = cases.population(sizes, batch_size, optimizer, activation, task, **options)
        kernels = lowered(hopper, case)
    assert set(kernels) == {"population"}
    expected = "ieee" if precision else "tf32"
    found = list(dots(kernels["population"]))
    depth = len(sizes) - 1
    assert len(found) == depth + depth + depth - 1  # W h, ∇a hᵀ, and Wᵀ ∇a but for x
    assert set(found) == {(expected, "f32", "f32", "f32")}
