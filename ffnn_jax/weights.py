"""Weights of examples from weights of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from ffnn_jax import checks

ClassWeights = str | Mapping[int, float] | Sequence[float] | np.ndarray


def class_weights(y: ArrayLike, weights: ClassWeights = "balanced") -> np.ndarray:
    """A weight for each example by its class, for the `weights` of `loss` and `fit`.

    "balanced": w_c = N / (K n_c), with n_c examples of class c and K classes that occur, so that
    every class counts alike and the weights have the mean 1 (King and Zeng 2001; scikit-learn).

    Args:
      y: classes, integers (N,).
      weights: "balanced"; or a weight for each class, as {class: weight}, which may also have
        classes that y does not, or as a sequence, entry c for class c. None is negative.

    Returns:
      (N,), float32.

    Raises:
      TypeError: y is no array of integers; weights of another kind.
      ValueError: y is not (N,) or has no entry; a class of y has no weight; a weight that is
        negative or not finite; all weights 0.

    Example:
      >>> import numpy as np
      >>> from ffnn_jax.weights import class_weights
      >>> class_weights(np.array([0, 0, 0, 0, 0, 0, 1, 1])).tolist()[5:]
      [0.6666666865348816, 2.0, 2.0]
      >>> class_weights(np.array([0, 0, 1]), {0: 1.0, 1: 5.0}).tolist()
      [1.0, 1.0, 5.0]
    """
    classes, of_example, counts = np.unique(
        _check_classes(y), return_inverse=True, return_counts=True
    )
    if isinstance(weights, str):
        checks.check_name("weights", weights, ["balanced"])
        each = counts.sum() / (len(classes) * counts)
    else:
        each = _of_classes(weights, classes.tolist())
    result = each[of_example].astype(np.float32)
    checks.check_weights(result, result.shape)
    return result


def _of_classes(weights: Any, classes: list[int]) -> np.ndarray:
    """The weight of each of the classes, float64."""
    if isinstance(weights, Mapping):
        table = weights
    elif isinstance(weights, Sequence | np.ndarray) and np.ndim(weights) == 1:
        table = dict(enumerate(weights))
    else:
        raise TypeError(
            f"weights: expected 'balanced', a mapping or a sequence of numbers; got {weights!r}"
        )
    missing = [c for c in classes if c not in table]
    if missing:
        raise ValueError(
            f"weights: expected one for each class of y; none for {missing}, got those of "
            f"{list(table)}"
        )
    for c in classes:
        checks.check_not_negative_float(f"weights[{c}]", table[c])
    return np.asarray([float(table[c]) for c in classes])


def _check_classes(y: Any) -> np.ndarray:
    array = np.asarray(checks.as_array("y", y))
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"y: expected classes, integers; got {array.dtype}")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"y: expected shape (N,), N at least 1; got {array.shape}")
    return array
