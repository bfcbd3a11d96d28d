"""What comes in from outside: first checked, then brought into one form.

TypeError for dtype and structure, ValueError for shape and value. Each message names the
argument, what came and what was expected. Shapes and dtypes are checked always, also while JAX
traces; values only where there are any (an array that is being traced has none). The checks
(`check_…`) compile nothing; the conversions (`to_…`), which may, come after all of them.
"""

import difflib
import math
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

SYNONYMS = {  # what other libraries call it
    "sigmoid": "logistic",
    "mse": "squared_error",
    "l2": "squared_error",
    "mae": "absolute_error",
    "l1": "absolute_error",
    "smooth_l1": "huber",
    "pinball": "quantile",
    "bce": "binary_cross_entropy",
    "nll": "cross_entropy",
    "swish": "silu",
    "none": "identity",
}
LARGEST_SIZE = 2**31 - 1  # of an axis, for XLA's int32 indices
FLOAT_DTYPES = tuple(map(jnp.dtype, ("float64", "float32", "bfloat16", "float16")))


def check_name(argument: str, name: Any, known: Iterable[str]) -> str:
    """A name from a table, or an error that offers the nearest one."""
    known = list(known)
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected a name, one of {', '.join(known)}; got {name!r}")
    if name not in known:
        near = [SYNONYMS[name.lower()]] if SYNONYMS.get(name.lower()) in known else []
        near = near or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.35)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{argument}: {name!r} is not one of {', '.join(known)}.{hint}")
    return name


def check_sizes(sizes: Any) -> tuple[int, ...]:
    """(n_0, …, n_L) as a tuple of positive ints, at least two of them."""
    scalar = getattr(sizes, "ndim", 1) == 0
    if scalar or not isinstance(sizes, Iterable) or isinstance(sizes, str | bytes | Set | Mapping):
        raise TypeError(f"sizes: expected (n_0, ..., n_L), a tuple of ints; got {sizes!r}")
    sizes = _at_least_two(tuple(sizes))
    sizes = tuple(check_positive_int(f"sizes[{k}]", n) for k, n in enumerate(sizes))
    for k, n in enumerate(sizes):
        if n > LARGEST_SIZE:
            raise ValueError(f"sizes[{k}]: expected at most {LARGEST_SIZE}, got {n}")
    return sizes


def _at_least_two(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(sizes) < 2:
        raise ValueError(
            f"sizes: expected at least an input and an output width, (n_0, n_L); got {sizes!r}"
        )
    return sizes


def check_positive_int(argument: str, n: Any) -> int:
    """A positive int; a bool or a float is none."""
    return check_int_from(1, argument, n)


def check_int_from(least: int, argument: str, n: Any) -> int:
    """An int that is not below the least; a bool or a float is none."""
    try:
        value = operator.index(n)
    except TypeError:
        value = None
    if value is None or isinstance(n, bool | np.bool_):
        raise TypeError(f"{argument}: expected an int, got {n!r} ({type(n).__name__})")
    if value < least:
        raise ValueError(f"{argument}: expected at least {least}, got {value}")
    return value


def check_switch(argument: str, value: Any) -> None:
    """True, False, or None for what is chosen by itself."""
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{argument}: expected True, False or None, got {value!r}")


def check_positive_float(argument: str, value: Any, dtype: DTypeLike = np.float64) -> None:
    """A real number above 0 and finite, also in the dtype, where there is a value to look at."""
    number = _real_number(argument, value, "a number above 0")
    if number is None:
        return
    with np.errstate(over="ignore", under="ignore"):
        held = float(number.astype(dtype))
    if not (math.isfinite(held) and held > 0):
        kept = f", which is {held} in {np.dtype(dtype)}" if 0 < number < np.inf else ""
        raise ValueError(f"{argument}: expected a finite number above 0, got {value!r}{kept}")


def check_not_negative_float(argument: str, value: Any) -> None:
    """A real number, finite in float32 and not below 0, where there is a value to look at."""
    number = _real_number(argument, value, "a number of at least 0")
    if number is None:
        return
    if not 0 <= number <= np.finfo(np.float32).max:
        raise ValueError(f"{argument}: expected a finite number of at least 0, got {value!r}")


def _real_number(argument: str, value: Any, expected: str) -> np.ndarray | None:
    """value as a real number, or None where it is being traced."""
    number = concrete(value)
    if number is None:
        return None
    if number.ndim or not jnp.issubdtype(number.dtype, jnp.number) or np.iscomplexobj(number):
        raise TypeError(f"{argument}: expected {expected}, got {value!r}")
    return number


def check_dropout_rate(argument: str, value: Any) -> float:
    """A rate from 0 on and below 1, also to 16 bits; a bool is none."""
    rate = _real_number(argument, value, "a rate in [0, 1)")
    if rate is None:
        raise TypeError(f"{argument}: expected a rate that is known, got {value!r}")
    if not 0 <= rate <= 1 - 2**-16:
        raise ValueError(f"{argument}: expected a rate in [0, 1), got {value!r}")
    return float(rate)


def check_float_dtype(argument: str, dtype: Any) -> np.dtype:
    """A floating dtype that JAX will really give, as a NumPy dtype."""
    try:
        known = jnp.dtype(dtype)
    except TypeError:
        known = None
    if known is None or known not in FLOAT_DTYPES:
        raise TypeError(
            f"{argument}: expected float64, float32, bfloat16 or float16, got {dtype!r}"
        )
    if jax.dtypes.canonicalize_dtype(known) != known:
        raise TypeError(
            f"{argument}: {known.name} needs 64-bit types, and they are switched off; "
            "work under `with jax.enable_x64(True):`"
        )
    return known


def check_key(key: Any, argument: str = "key") -> None:
    """One PRNG key, of the new kind (`jax.random.key`) or the old (`jax.random.PRNGKey`)."""
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"{argument}: expected one key, as from jax.random.key(0); got {key!r}")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    raw = key.dtype == np.uint32 and key.shape == jax.eval_shape(jax.random.PRNGKey, 0).shape
    if not typed and not raw:
        came = f"{key.dtype}{list(key.shape)}"
        raise TypeError(f"{argument}: expected one key, as from jax.random.key(0); got {came}")


def check_params(sizes: Sequence[int], params: Any) -> np.dtype:
    """Parameters of a network of these sizes, all of one floating dtype, which is returned.

    With 64-bit types switched off float64 is float32, as everywhere in JAX.
    """
    layers = len(sizes) - 1
    if not isinstance(params, tuple | list) or not all(
        hasattr(layer, "W") and hasattr(layer, "b") for layer in params
    ):
        raise TypeError(f"params: expected a tuple of {layers} Layer(W, b), got {kind(params)}")
    if len(params) != layers:
        raise ValueError(
            f"params: expected {layers} layers for sizes {tuple(sizes)}, got {len(params)}"
        )
    dtypes: set[np.dtype] = set()
    for k, layer in enumerate(params, start=1):
        for name, shape in (("W", (sizes[k], sizes[k - 1])), ("b", (sizes[k],))):
            leaf = f"params[{k - 1}].{name}"
            array = as_array(leaf, getattr(layer, name))
            if array.dtype not in FLOAT_DTYPES:
                known = ", ".join(str(dtype) for dtype in FLOAT_DTYPES)
                raise TypeError(f"{leaf}: expected one of {known}, got {array.dtype}")
            if array.shape != shape:
                raise ValueError(f"{leaf}: expected shape {shape}, got {array.shape}")
            dtypes.add(np.dtype(array.dtype))
    if len(dtypes) > 1:
        raise TypeError(f"params: expected one dtype for all, got {sorted(map(str, dtypes))}")
    return np.dtype(jax.dtypes.canonicalize_dtype(dtypes.pop()))


def check_x(width: int, x: Any) -> tuple[int, ...]:
    """x is (*batch, n_0), floating and not empty; returns batch."""
    x = as_array("x", x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"x: expected a floating dtype, got {x.dtype}; convert it, and scale it, or "
            "train on a Stream, which does"
        )
    if len(x.shape) == 0 or x.shape[-1] != width:
        raise ValueError(f"x: expected shape (*batch, {width}), got {x.shape}")
    if 0 in x.shape:
        raise ValueError(f"x: expected at least one example, got an empty batch, shape {x.shape}")
    return x.shape[:-1]


def check_y(width: int, y: Any, batch: tuple[int, ...], classes: bool) -> None:
    """y is numbers (*batch, n_L), integer classes (*batch,), or numbers (*batch,) for one output.

    Args:
      width: n_L.
      y: what came.
      batch: the leading shape of x.
      classes: whether integers (*batch,) are classes even where there is one output.
    """
    y = as_array("y", y)
    if not _is_integer(y) and not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(f"y: expected integers or floats, got {y.dtype}")
    if holds_classes(width, y, batch, classes):
        values = concrete(y)
        low, high = (0, 0) if values is None else (int(values.min()), int(values.max()))
        if low < 0 or high >= width:
            hint = "; subtract 1" if low == 1 and high == width else ""
            if width == 1:
                hint = "; one output knows one class: output='logistic' tells two apart"
            raise ValueError(
                f"y: expected classes from 0 to {width - 1}, got from {low} to {high}{hint}"
            )
    elif y.shape != (*batch, width) and (y.shape != batch or width > 1):
        or_classes = f" or, for integer classes, {batch}" if width > 1 else ""
        hint = "; for classes pass y[..., 0]" if _is_integer(y) and y.shape == (*batch, 1) else ""
        if y.shape == batch:
            hint = "; for classes make them integers"
        raise ValueError(
            f"y: expected shape {(*batch, width)}{or_classes} to go with x, got {y.dtype} {y.shape}"
            f"{hint}"
        )


def holds_classes(width: int, y: Any, batch: tuple[int, ...], classes: bool) -> bool:
    """Whether y is integer classes and not numbers."""
    return _is_integer(y) and y.shape == batch != (*batch, width) and (classes or width > 1)


def check_leading_shape(argument: str, value: Any, batch: tuple[int, ...]) -> None:
    """The y of a user's own loss: any pytree of real arrays with the leading shape of the batch."""
    for leaf in jax.tree.leaves(value):
        array = as_array(argument, leaf)
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise TypeError(f"{argument}: expected real numbers, got {array.dtype}")
        if array.shape[: len(batch)] != batch:
            raise ValueError(
                f"{argument}: expected the leading shape {batch} of x, got {array.shape}"
            )


def check_weights(weights: Any, batch: tuple[int, ...]) -> None:
    """weights is None or (*batch,), none negative, the largest of a size that float32 can sum."""
    if weights is None:
        return
    values = _weight_values(weights, batch)
    if values is not None:
        values = values.astype(np.float64)
        if not np.all(np.isfinite(values)) or np.any(values < 0):
            raise ValueError(f"weights: expected finite and none negative, got {_range(values)}")
        if values.sum() == 0:
            raise ValueError("weights: expected a sum above 0, got 0")
        if not 1e-30 <= values.max() <= 1e30:
            raise ValueError(
                f"weights: expected the largest from 1e-30 to 1e30, got {values.max():g}; only "
                "their ratios count: divide them by the largest"
            )


def check_shares(weights: Any, batch: tuple[int, ...]) -> None:
    """weights is None or (*batch,), each from 0 to 1; all may be 0."""
    if weights is None:
        return
    values = _weight_values(weights, batch)
    if values is not None and not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"weights: expected numbers from 0 to 1, got {_range(values)}")


def _weight_values(weights: Any, batch: tuple[int, ...]) -> np.ndarray | None:
    """The values of weights, known to be real and one for each example; None while traced."""
    weights = as_array("weights", weights)
    if jnp.issubdtype(weights.dtype, jnp.complexfloating):
        raise TypeError(f"weights: expected real numbers, got {weights.dtype}")
    if weights.shape != batch:
        raise ValueError(
            f"weights: expected shape {batch}, one for each example; got {weights.shape}"
        )
    return concrete(weights)


def check_outside_jit(function: str, values: Any) -> None:
    """The numbers in a pytree can be looked at: none is traced, and the caller is not inside jit.

    Inside jit what JAX computes is traced even where the values that came are known.
    """
    leaves = [*jax.tree.leaves(values), jnp.zeros(())]
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        raise TypeError(f"{function} looks at values; call it outside jit and grad")


def check_finite(argument: str, value: Any, dtype: DTypeLike | None = None) -> None:
    """No NaN and no infinity, also in the dtype if one is given, where there are values."""
    values = concrete(value)
    if values is None or not jnp.issubdtype(values.dtype, jnp.floating):
        return
    with np.errstate(over="ignore"):
        held = values if dtype is None else values.astype(dtype)
    bad = np.argwhere(~np.isfinite(held.astype(np.float64)))
    if bad.size:
        first = tuple(int(i) for i in bad[0])
        where = "" if dtype is None else f" in {np.dtype(dtype)}"
        raise ValueError(
            f"{argument}: expected finite numbers, got {values[first]} at {list(first)} "
            f"({len(bad)} of {values.size} entries are NaN or infinite{where})"
        )


def check_distribution(argument: str, value: Any, tolerance: float = 1e-3) -> None:
    """Rows that are distributions: none negative, each sum 1, where there are values."""
    values = concrete(value)
    if values is None:
        return
    values = values.astype(np.float64)
    values = values[..., None] if values.ndim == 1 else values
    if values.min() < 0:
        raise ValueError(f"{argument}: expected distributions, got {values.min():g}, below 0")
    sums = values.sum(axis=-1)
    worst = sums.flat[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > tolerance:
        raise ValueError(
            f"{argument}: expected distributions, each with the sum 1; got a sum of {worst:g}"
        )


def check_between_0_and_1(argument: str, value: Any) -> None:
    """Numbers from 0 to 1, where there are values to look at."""
    values = concrete(value)
    if values is not None and (values.min() < 0 or values.max() > 1):
        raise ValueError(f"{argument}: expected probabilities from 0 to 1, got {_range(values)}")


def check_not_negative(argument: str, value: Any) -> None:
    """No number below 0, where there are values to look at."""
    values = concrete(value)
    if values is not None and values.min() < 0:
        raise ValueError(f"{argument}: expected numbers of at least 0, got {values.min():g}")


def as_array(argument: str, value: Any) -> Any:
    """The value itself, known to be an array of numbers; a list, or a sparse matrix, is none."""
    if isinstance(value, bool | int | float):
        return np.asarray(value)
    dense = isinstance(value, jax.Array) or (
        hasattr(value, "__array__") and hasattr(value, "dtype")
    )
    if not dense or isinstance(value, np.ma.MaskedArray):
        hint = "; use .toarray()" if hasattr(value, "toarray") else ""
        raise TypeError(f"{argument}: expected an array, got {kind(value)}{hint}")
    try:
        numbers = value.dtype == bool or jnp.issubdtype(value.dtype, jnp.number)
    except TypeError:  # a dtype that is not one of NumPy's
        numbers = False
    if not numbers or jnp.issubdtype(value.dtype, np.timedelta64):
        raise TypeError(f"{argument}: expected an array of numbers, got dtype {value.dtype}")
    return value


def to_jax(value: Any, dtype: DTypeLike | None = None) -> jax.Array:
    """A checked array as one of JAX, of the dtype if one is given."""
    if not isinstance(value, jax.Array):
        value = jnp.asarray(np.asarray(value) if dtype is None else np.asarray(value).astype(dtype))
    return value if dtype is None else value.astype(dtype)


def to_target(
    width: int, y: Any, batch: tuple[int, ...], dtype: np.dtype, classes: bool
) -> jax.Array:
    """A checked y as classes, int32 (*batch,), or as numbers (*batch, n_L) of the dtype."""
    y = as_array("y", y)
    if holds_classes(width, y, batch, classes):
        return to_jax(y, jnp.int32)
    return to_jax(y, dtype).reshape(*batch, width)


def concrete(value: Any) -> np.ndarray | None:
    """The values of an array, or None where there are none yet or not all are on this machine."""
    if isinstance(value, Tracer):
        return None
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return None
    return np.asarray(value)


def _is_integer(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.integer) or value.dtype == bool


def kind(value: Any) -> str:
    """What a value of the wrong kind is, in words."""
    if isinstance(value, tuple | list):
        inner = sorted({type(part).__name__ for part in value})
        return f"a {type(value).__name__} of {len(value)} ({', '.join(inner) or 'empty'})"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _range(values: np.ndarray) -> str:
    return f"values from {values.min():g} to {values.max():g}"
