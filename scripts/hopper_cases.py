"""The shapes of the kernels' contracts, each as a function that calls the kernels as a user does.

narrow: `apply` and the gradient of `loss`, in which all three kernels of it are.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import ffnn_jax as ffnn
from ffnn_jax.activations import ACTIVATIONS

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


FAMILIES = {"narrow": narrow_cases}


def cases(only: list[str], quick: bool) -> Iterator[Case]:
    """All cases of some families."""
    for family in only:
        yield from FAMILIES[family](quick)
