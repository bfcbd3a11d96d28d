"""The shapes of the kernels' contracts, each as a function that calls the kernels as a user does.

narrow       `apply` and the gradient of `loss`: all three kernels
population   the compiled loop of `fit_many`
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import ffnn_jax as ffnn
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.ensemble.members import compiled_many, start_many
from ffnn_jax.epochs import Data
from ffnn_jax.recipe import Recipe

PALLAS = "pallas"
Shape = jax.ShapeDtypeStruct


class Case(NamedTuple):
    """One program to lower or to compile.

    Attributes:
      family: which kernels it is about.
      label: the shape, in words.
      precision: of a product of float32, as of `jax.default_matmul_precision`; None: JAX's own.
      fn: the function, jitted or not.
      args: shapes in place of arrays.
    """

    family: str
    label: str
    precision: str | None
    fn: Callable[..., Any]
    args: tuple[Any, ...]


# Narrow ------------------------------------------------------------------------------------------

ROWS = 2**16
# (dtype of the parameters, that of the factors if another, precision)
DTYPES = (
    ("float32", None, None),
    ("float32", None, "highest"),
    ("float32", "bfloat16", None),
    ("bfloat16", None, None),
    ("float16", None, None),
)


def narrow(
    sizes: tuple[int, ...],
    activation: Any,
    dtype: str,
    compute_dtype: str | None = None,
    precision: str | None = None,
    rows: int = ROWS,
) -> Case:
    """The forward pass alone, and the value and gradient of the loss."""
    plan = ffnn.Plan(implementation=PALLAS, compute_dtype=compute_dtype)
    net = ffnn.Network(sizes, activation=activation, output="softmax", plan=plan)

    def fn(params: Any, x: Any, y: Any) -> Any:
        trained = jax.value_and_grad(ffnn.loss, argnums=1)(net, params, x, y)
        return ffnn.apply(net, params, x), trained

    params = tuple(
        ffnn.Layer(Shape((n, m), jnp.dtype(dtype)), Shape((n,), jnp.dtype(dtype)))
        for m, n in itertools.pairwise(sizes)
    )
    x, y = Shape((rows, sizes[0]), jnp.dtype(dtype)), Shape((rows,), jnp.int32)
    words = [
        "-".join(map(str, sizes)),
        str(activation),
        dtype,
        compute_dtype and f"in {compute_dtype}",
    ]
    words += [precision, f"{rows} rows"]
    return Case("narrow", " ".join(filter(None, words)), precision, fn, (params, x, y))


def narrow_cases(quick: bool) -> Iterator[Case]:
    """Widths by depths by dtypes; every activation in the largest; odd sizes."""
    deepest, widths = (128,) * 10, (16, 32, 64, 128)
    for dtypes in DTYPES:
        for width in widths:
            for depth in (8,) if quick else (1, 2, 4, 8):
                yield narrow((width,) * (depth + 2), "gelu", *dtypes)
    if quick:
        return
    for dtypes in DTYPES:
        for activation in ACTIVATIONS:
            for width in (64, 128):
                yield narrow((width,) * 6, activation, *dtypes)
        yield narrow((100, 17, 65, 10), ("elu", "silu"), *dtypes, rows=1001)
        yield narrow((3, 128, 1), "softplus", *dtypes, rows=1)
        yield narrow(deepest, tuple(ACTIVATIONS)[:8], *dtypes)


# Population --------------------------------------------------------------------------------------

NETWORKS, EXAMPLES = 1024, 1000  # of 1000 examples each, as many batches as it takes
MOMENTUM = partial(optax.sgd, momentum=0.9)
NESTEROV = partial(optax.sgd, momentum=0.9, nesterov=True)
OPTIMIZERS = {"sgd": optax.sgd, "momentum": MOMENTUM, "nesterov": NESTEROV, "adam": optax.adam}
TASKS = {"classes": "softmax", "distributions": "softmax", "numbers": "linear"}  # y, O


def population(
    sizes: tuple[int, ...],
    batch_size: int,
    optimizer: str = "sgd",
    activation: Any = "relu",
    task: str = "classes",
    precision: str | None = None,
    weighted: bool = False,
) -> Case:
    """`fit_many` of so many networks on the same examples."""
    plan = ffnn.Plan(implementation=PALLAS)
    net = ffnn.Network(sizes, activation=activation, output=TASKS[task], plan=plan)
    make = OPTIMIZERS[optimizer]
    keys, rates = Shape((NETWORKS, 2), jnp.uint32), Shape((NETWORKS,), jnp.float32)

    def begun(keys: Any, rates: Any) -> Any:
        return start_many(net, make, jax.random.wrap_key_data(keys), rates, False)

    runs = jax.eval_shape(begun, keys, rates)
    x, weights = Shape((EXAMPLES, sizes[0]), jnp.float32), Shape((EXAMPLES,), jnp.float32)
    classes = Shape((EXAMPLES,), jnp.int32)
    y = classes if task == "classes" else Shape((EXAMPLES, sizes[-1]), jnp.float32)
    data = Data(x, y, weights if weighted else None)
    none = Data(None, None, None)

    def fn(runs: Any, rates: Any, data: Data, count: Any) -> Any:
        each, recipe = (runs, rates, none), Recipe(make, batch_size)
        return compiled_many(net, recipe, each, data, None, count, group_size=NETWORKS)

    words = ["-".join(map(str, sizes)), str(activation), f"batch {batch_size}", optimizer, task]
    words += ["weighted" if weighted else None, precision]
    label = " ".join(filter(None, words))
    args = (runs, rates, data, Shape((), jnp.int32))
    return Case("population", label, precision, fn, args)


VARIANTS: tuple[dict[str, Any], ...] = (
    {"activation": "tanh", "task": "distributions", "weighted": True},
    {"activation": "relu", "task": "classes"},
    {"activation": "tanh", "task": "numbers"},
)


def population_cases(quick: bool) -> Iterator[Case]:
    """Every depth, width, batch, optimizer and precision; what is not taken says so.

    A few bytes of stack come and go with any of them, so that no one is the worst of all.
    """
    sides, variants = ((32,), VARIANTS[:1]) if quick else ((16, 32, 64), VARIANTS)
    shapes = itertools.product((None, "highest"), (16, 32, 64), range(1, 6), sides, OPTIMIZERS)
    for precision, side, layers, batch, optimizer in shapes:
        for variant in variants:
            sizes = (side,) * (layers + 1)
            yield population(sizes, batch, optimizer, precision=precision, **variant)
    if not quick:
        for precision in (None, "highest"):  # sizes that do not fill their tile
            yield population((5, 17, 7), 48, "adam", precision=precision, weighted=True)
            yield population((13, 40, 1), 1, "momentum", "tanh", "numbers", precision)


FAMILIES = {"narrow": narrow_cases, "population": population_cases}


def cases(only: list[str], quick: bool) -> Iterator[Case]:
    """All cases of some families."""
    for family in only:
        yield from FAMILIES[family](quick)
