"""What a column is, and what is predicted: decided once, by the training rows alone."""

from typing import TYPE_CHECKING

import numpy as np

from ffnn_jax.tabular.preparation import Category, Number, Pixels, Target
from ffnn_jax.tabular.tables import TableError
from ffnn_jax.tabular.values import as_numbers, as_text, holds_numbers, is_readable, listed

if TYPE_CHECKING:
    import polars

MOST_CATEGORIES = 100  # of a column of text; more are names or free text
MOST_CLASSES = 20  # of a target of whole numbers; more are a quantity


def prepare_column(
    name: str, values: "polars.Series", *, categorical: bool = False
) -> tuple[Number | Category | None, str]:
    """What a column of the training rows is, and a word about it where it is left out.

    Args:
      name: of the column.
      values: of the training rows.
      categorical: whether numbers in it are names.

    Returns:
      (the column, "") or (None, why it is of no use).
    """
    if not is_readable(values):
        return None, f"values of type {values.dtype}"
    if values.null_count() == len(values):
        return None, "every value is missing"
    if not categorical and holds_numbers(values):
        numbers = as_numbers(values)
        present = numbers[~np.isnan(numbers)]
        if not len(present):
            return None, "every value is missing"
        indicator = len(present) < len(numbers)
        if (present == present[0]).all() and not indicator:
            return None, f"it is {present[0]:g} everywhere"
        mean, scale = float(present.mean()), float(present.std())
        if not np.isfinite(scale):
            raise TableError(f"column {name!r}: its numbers are too large: {present.max():g}")
        return Number(name, mean, scale or 1.0, indicator), ""
    text = as_text(values)
    distinct = sorted({value for value in text if value is not None})
    indicator = None in text
    if len(distinct) > min(MOST_CATEGORIES, max(2, (len(text) - text.count(None)) // 2)):
        return None, (
            f"{len(distinct)} different texts in {len(text)} training rows, such as {distinct[0]!r}"
        )
    if len(distinct) < 2 and not indicator:
        return None, f"it is {distinct[0]!r} everywhere"
    return Category(name, tuple(distinct), indicator), ""


def prepare_target(
    name: str, values: "polars.Series", *, task: str | None = None, log: bool = False
) -> Target:
    """What is predicted: classes, or a quantity.

    Numbers are a quantity, unless they are whole and there are no more than MOST_CLASSES
    different ones, each twice at least on average; everything else is classes.

    Args:
      name: of the column.
      values: of the training rows, none missing.
      task: "classification" or "regression" decides instead.
      log: whether the network is to give the logarithm of a quantity; it is one then.

    Raises:
      TableError: a single class or value; a quantity that is not of numbers, or below 0 where it
        has a logarithm.
    """
    task = "regression" if log else task
    if not is_readable(values):
        raise TableError(f"target {name!r}: expected numbers or text, got {values.dtype}")
    numeric = holds_numbers(values)
    if task == "regression" and not numeric:
        raise TableError(f"target {name!r}: a quantity is made of numbers, got {_sample(values)}")
    if task == "regression" or (task is None and numeric and not _few_whole_numbers(values)):
        numbers = as_numbers(values)
        if (numbers == numbers[0]).all():
            raise TableError(f"target {name!r}: it is {numbers[0]:g} everywhere")
        if log and numbers.min() < 0:
            raise TableError(f"target {name!r}: expected no numbers below 0, got {numbers.min():g}")
        if log:
            return Target(name, log=True)
        with np.errstate(over="ignore"):
            mean, scale = float(numbers.mean()), float(numbers.std())
        if not (np.isfinite(scale) and scale > 0 and np.isfinite(mean / scale)):
            raise TableError(f"target {name!r}: its numbers are too far apart, or too near")
        return Target(name, mean=mean, scale=scale)
    text = {value for value in as_text(values) if value is not None}
    classes = sorted(text, key=_by_number)
    if len(classes) < 2:
        raise TableError(f"target {name!r}: it is {classes[0]!r} everywhere")
    if len(classes) > max(2, len(values) // 2):
        raise TableError(
            f"target {name!r}: {len(classes)} different classes in {len(values)} rows, such as "
            f"{classes[0]!r}; expected classes that come back, or numbers"
        )
    return Target(name, classes=tuple(classes))


def prepare_pictures(pictures: np.ndarray) -> Pixels:
    """The figures of pictures (N, height, width)."""
    if pictures.dtype == np.uint8:
        return Pixels(pictures.shape[1:], 0.0, 255.0)
    mean, scale = float(pictures.mean()), float(pictures.std())
    return Pixels(pictures.shape[1:], mean, scale or 1.0)


def _by_number(text: str) -> tuple[bool, float, str]:
    """Numbers first, in their order; then words."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _few_whole_numbers(values: "polars.Series") -> bool:
    """Whether they may stand for classes: dates do not."""
    if not all(_by_number(text) < (True,) for text in as_text(values) if text is not None):
        return False
    numbers = as_numbers(values)
    distinct = np.unique(numbers)
    few = len(distinct) <= MOST_CLASSES and 2 * len(distinct) <= len(numbers)
    return few and bool((distinct == np.round(distinct)).all())


def _sample(values: "polars.Series") -> str:
    return listed(
        [repr(value) for value in values.drop_nulls().unique(maintain_order=True).head(4).to_list()]
    )
