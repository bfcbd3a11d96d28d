"""Real data: small sets that scikit-learn brings, scaling and splits.

Everything here is NumPy: data become JAX arrays where they meet a network.
"""

import operator
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax import checks

Examples = tuple[np.ndarray, np.ndarray]

# The sets in scikit-learn's wheel -----------------------------------------------------------------


class Bundled(NamedTuple):
    """One row of the table of data sets that are installed with scikit-learn.

    Attributes:
      y_dtype: int32 for classes, float32 for quantities.
      y_row: the shape of one example's y: () for a class, (n_L,) for quantities.
      divisor: what x is divided by.
      options: keyword arguments of scikit-learn's `load_<name>`.
    """

    y_dtype: type[np.generic]
    y_row: tuple[int, ...]
    divisor: float = 1.0
    options: tuple[tuple[str, Any], ...] = ()


BUNDLED: dict[str, Bundled] = {
    "digits": Bundled(np.int32, (), divisor=16.0),
    "iris": Bundled(np.int32, ()),
    "wine": Bundled(np.int32, ()),
    "breast_cancer": Bundled(np.int32, ()),
    "diabetes": Bundled(np.float32, (1,), options=(("scaled", False),)),
    "linnerud": Bundled(np.float32, (3,)),
}


def load_digits() -> Examples:
    """Handwritten digits, 8 × 8 pixels, each divided by 16 so that it lies in [0, 1].

    Returns:
      x, float32 (1797, 64), and y, int32 (1797,), classes 0 to 9.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.

    Example:
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_digits()
      >>> x.shape, float(x.min()), float(x.max()), y.shape
      ((1797, 64), 0.0, 1.0, (1797,))
    """
    return _load("digits")


def load_iris() -> Examples:
    """Three species of iris from four lengths in cm.

    Returns:
      x, float32 (150, 4), and y, int32 (150,), classes 0 to 2.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.

    Example:
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_iris()
      >>> x.shape, y.shape, int(y.max())
      ((150, 4), (150,), 2)
    """
    return _load("iris")


def load_wine() -> Examples:
    """Three growers of wine from 13 chemical quantities of very different size: standardize them.

    Returns:
      x, float32 (178, 13), and y, int32 (178,), classes 0 to 2.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.

    Example:
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_wine()
      >>> x.shape, y.shape, int(y.max())
      ((178, 13), (178,), 2)
    """
    return _load("wine")


def load_breast_cancer() -> Examples:
    """Malignant (0) or benign (1) from 30 measures of cell nuclei: standardize them.

    Returns:
      x, float32 (569, 30), and y, int32 (569,), classes 0 and 1.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.

    Example:
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_breast_cancer()
      >>> x.shape, y.shape, int(y.max())
      ((569, 30), (569,), 1)
    """
    return _load("breast_cancer")


def load_diabetes() -> Examples:
    """A measure of the progress of diabetes in a year, from ten raw quantities: standardize them.

    Returns:
      x, float32 (442, 10), and y, float32 (442, 1), from 25 to 346: standardize it as well.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.

    Example:
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_diabetes()
      >>> x.shape, y.shape, float(y.min()), float(y.max())
      ((442, 10), (442, 1), 25.0, 346.0)
    """
    return _load("diabetes")


def load_linnerud() -> Examples:
    """Weight (lb), waist (in) and pulse of 20 men, from how many of three exercises they managed.

    Returns:
      x, float32 (20, 3): chin-ups, sit-ups and jumps; and y, float32 (20, 3): standardize both.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.

    Example:
      >>> import ffnn_jax as ffnn
      >>> x, y = ffnn.load_linnerud()
      >>> x[0].tolist(), y[0].tolist()
      ([5.0, 162.0, 60.0], [191.0, 36.0, 50.0])
    """
    return _load("linnerud")


def _load(name: str) -> Examples:
    """One row of the table `BUNDLED`, as arrays of our own."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"load_{name}: scikit-learn is needed ({error}): pip install 'ffnn_jax[data]'",
            name=error.name,
        ) from error
    row = BUNDLED[name]
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **dict(row.options))
    return (x / row.divisor).astype(np.float32), y.reshape(-1, *row.y_row).astype(row.y_dtype)


# Scaling and splits -------------------------------------------------------------------------------


def standardize(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """(x − μ) / σ, with the mean μ and the standard deviation σ of each column of `train`.

    Held-out data are scaled as the training data are, never by figures of their own:
    `x, x_held_out = standardize(x, x_held_out)`. A column that is constant in `train` has no σ;
    it is centred and not scaled. μ and σ are taken in float64.

    Args:
      train: (N, n), float16, float32 or float64, every value finite, at least one row.
      *others: (any, n), each of a dtype of its own out of the same three; what is not finite in
        them stays so.

    Returns:
      A tuple: train and each of the others, scaled, shape and dtype as they came.

    Raises:
      TypeError: no array, or another dtype.
      ValueError: not two axes, no rows or values that are not finite in `train`, or another
        number of columns than `train`.

    Example:
      >>> import numpy as np
      >>> import ffnn_jax as ffnn
      >>> x, x_held_out = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[4.0, 6.0]])
      >>> x, x_held_out = ffnn.standardize(x, x_held_out)
      >>> x.tolist(), x_held_out.tolist()
      ([[-1.0, 0.0], [1.0, 0.0]], [[2.0, 1.0]])
    """
    train = _check_columns("train", train)
    if len(train) == 0:
        raise ValueError(f"train: expected at least one row, got shape {train.shape}")
    checks.check_finite("train", train)
    others = tuple(
        _check_columns(f"others[{k}]", other, train.shape[1]) for k, other in enumerate(others)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = _moments(train)
    if not np.all(np.isfinite(scale)):
        largest = np.abs(train).max()
        raise ValueError(f"train: expected numbers whose squares float64 holds, got {largest:g}")
    return tuple(((x - centre) / scale).astype(x.dtype) for x in (train, *others))


def _moments(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """μ and σ of each column, float64 (n,); σ = 1 where the column is constant."""
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    constant = (train == train[0]).all(axis=0)  # rounding may leave a deviation above 0
    unscaled = constant | (deviation == 0)
    return np.where(constant, train[0], mean), np.where(unscaled, 1.0, deviation)


def split(
    x: np.ndarray, y: np.ndarray, *, fraction: float, seed: int | None = None, by: str = "row"
) -> tuple[Examples, Examples]:
    """Holds a fraction of the examples out: of all rows, of each class, or the last of them.

    Args:
      x: (N, ...), N ≥ 2, any dtype.
      y: (N, ...), any dtype; by class it is integers (N,).
      fraction: the share held out, between 0 and 1. The count is rounded, and at least one
        example is left on either side.
      seed: of `numpy.random.default_rng`, 0 or above: the same seed gives the same split. By time
        there is none.
      by: "row" shuffles the examples and takes any of them.
        "class" shuffles them too, and takes the same share of every class, rounded by largest
        remainder; a class with two examples or more is on both sides, and one with a single
        example is trained on, which may change the count.
        "time" takes the last ones and leaves the order as it is: later data, never seen.

    Returns:
      `(x_train, y_train), (x_held_out, y_held_out)`, copies.

    Raises:
      TypeError: x or y is no array, fraction no number, seed no int; by class, y is no integers.
      ValueError: fraction outside (0, 1), seed below 0, fewer than two examples, x and y of
        different lengths, an unknown `by`, a seed by time; by class, y is not (N,), or no class
        has two examples.

    Example:
      >>> import ffnn_jax as ffnn
      >>> train, held_out = ffnn.split(*ffnn.load_iris(), fraction=0.2, seed=0)
      >>> train[0].shape, train[1].shape, held_out[0].shape, held_out[1].shape
      ((120, 4), (120,), (30, 4), (30,))
    """
    x, y = _check_rows("x", x), _check_rows("y", y)
    if len(x) != len(y):
        raise ValueError(f"y: expected {len(x)} rows to go with x, got {len(y)}")
    if len(x) < 2:
        raise ValueError(f"x: expected at least 2 rows to split, got {len(x)}")
    count = min(max(round(_check_fraction(fraction) * len(x)), 1), len(x) - 1)
    checks.check_name("by", by, ["row", "class", "time"])
    if by == "time":
        if seed is not None:
            raise ValueError(f"seed: expected None, for by='time' draws nothing; got {seed!r}")
        order = np.arange(len(x))
        train, held_out = order[:-count], order[-count:]
    else:
        order = np.random.default_rng(_check_seed(seed)).permutation(len(x))
        chosen = np.arange(len(x)) < count if by == "row" else _of_each_class(y[order], count)
        train, held_out = order[~chosen], order[chosen]
    return (x[train], y[train]), (x[held_out], y[held_out])


def _of_each_class(y: np.ndarray, count: int) -> np.ndarray:
    """Which examples to hold out, booleans (N,): of each class the first, by its share."""
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"y: expected integers, to split by class; got {y.dtype}")
    if y.ndim != 1:
        raise ValueError(f"y: expected shape (N,), to split by class; got {y.shape}")
    _, of_example, sizes = np.unique(y, return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        raise ValueError("y: expected a class with at least 2 examples, to split by class")
    by_class = np.argsort(of_example, kind="stable")
    rank = np.empty(len(y), int)  # of each example in its class
    rank[by_class] = np.arange(len(y)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank < _shares(sizes, count)[of_example]


def _shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many to hold out of each class, ints (K,), count in all where that can be.

    q_c = n_c · count / N, rounded down, and what is then missing to those with the largest
    remainder; held between 1 and n_c − 1, or at 0 for a class with one example.
    """
    quota = sizes * count / sizes.sum()
    least, most = np.minimum(sizes - 1, 1), sizes - 1
    held_out = np.clip(np.floor(quota).astype(int), least, most)
    for _ in range(count - held_out.sum()):
        remainder = np.where(held_out < most, quota - held_out, -np.inf)
        if remainder.max() > -np.inf:
            held_out[remainder.argmax()] += 1
    for _ in range(held_out.sum() - count):
        excess = np.where(held_out > least, held_out - quota, -np.inf)
        if excess.max() > -np.inf:
            held_out[excess.argmax()] -= 1
    return held_out


def _check_rows(argument: str, value: Any) -> np.ndarray:
    """An array with at least one axis, in NumPy; lists are no arrays."""
    masked = isinstance(value, np.ma.MaskedArray)
    if masked or not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(f"{argument}: expected an array, got {type(value).__name__}")
    array = np.asarray(value)
    if array.ndim == 0:
        raise ValueError(f"{argument}: expected shape (N, ...), got ()")
    return array


def _check_columns(argument: str, value: Any, columns: int | None = None) -> np.ndarray:
    """A table of floats, (N, n), with n the number of columns asked for."""
    array = _check_rows(argument, value)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{argument}: expected float16, float32 or float64, got {array.dtype}")
    if array.ndim != 2 or columns not in (None, array.shape[1]):
        expected = "(N, n)" if columns is None else f"(N, {columns})"
        raise ValueError(f"{argument}: expected shape {expected}, got {array.shape}")
    return array


def _check_fraction(fraction: Any) -> float:
    checks.check_positive_float("fraction", fraction)
    if fraction >= 1:
        raise ValueError(f"fraction: expected a number between 0 and 1, got {fraction!r}")
    return float(fraction)


def _check_seed(seed: Any) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        value = None
    if value is None or isinstance(seed, bool | np.bool_):
        raise TypeError(f"seed: expected an int, got {seed!r}")
    if value < 0:
        raise ValueError(f"seed: expected 0 or above, got {value}")
    return value
