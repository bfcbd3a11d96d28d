"""Figures of merit, each a pure function of NumPy arrays."""

import math
from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
    """Of each class c; a figure is NaN where it would be 0/0.

    Attributes:
      precision: how many of those taken for c are of c.
      recall: how many of c are taken for c.
      f1: the harmonic mean of the two, 2 right / (of c + taken for c).
      support: how many are of c.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class QuantityScores(NamedTuple):
    """Of one quantity, with e_i = ŷ_i − y_i; the baseline always says the mean of the training y.

    Attributes:
      r2: 1 − Σ e_i² / Σ (y_i − ȳ)², ȳ the mean held-out y; NaN where the y are all equal.
      rmse: √(mean e²).
      mae: mean |e|.
      bias: mean e.
      baseline_rmse, baseline_mae: the same of the baseline.
    """

    r2: float
    rmse: float
    mae: float
    bias: float
    baseline_rmse: float
    baseline_mae: float


def wilson_interval(right: int, N: int) -> tuple[float, float]:
    """The 95 % interval of a share, Wilson 1927: (p + z²/2N ± z √(p(1−p)/N + z²/4N²)) / (1 + z²/N).

    Example:
      >>> [round(end, 3) for end in wilson_interval(351, 360)]
      [0.953, 0.987]
    """
    z, p = 1.959963984540054, right / N
    middle = p + z * z / (2 * N)
    half = z * math.sqrt(p * (1 - p) / N + z * z / (4 * N * N))
    low, high = (middle - half) / (1 + z * z / N), (middle + half) / (1 + z * z / N)
    return (0.0 if right == 0 else low), (1.0 if right == N else high)


def confusion_counts(truth: np.ndarray, predicted: np.ndarray, K: int) -> np.ndarray:
    """(K, K): entry (i, j) counts the examples of class i that were taken for j."""
    return np.bincount(truth * K + predicted, minlength=K * K).reshape(K, K)


def class_scores(counts: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class from the confusion matrix."""
    right, of_class, taken_for = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return ClassScores(
        _ratio(right, taken_for),
        _ratio(right, of_class),
        _ratio(2 * right, of_class + taken_for),
        of_class,
    )


def label_scores(truth: np.ndarray, predicted: np.ndarray) -> ClassScores:
    """The same of each label, from booleans (N, n_L)."""
    right, of_label, taken = ((t).sum(axis=0) for t in (truth & predicted, truth, predicted))
    return ClassScores(
        _ratio(right, taken), _ratio(right, of_label), _ratio(2 * right, of_label + taken), of_label
    )


def quantity_scores(truth: np.ndarray, predicted: np.ndarray, mean: float) -> QuantityScores:
    """The scores of one quantity, (N,); mean is that of the training y."""
    error, apart = predicted - truth, truth - mean
    scatter = float(np.sum((truth - truth.mean()) ** 2))
    return QuantityScores(
        1 - float(np.sum(error**2)) / scatter if scatter > 0 else math.nan,
        *(float(v) for v in (np.sqrt(np.mean(error**2)), np.abs(error).mean(), error.mean())),
        *(float(v) for v in (np.sqrt(np.mean(apart**2)), np.abs(apart).mean())),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN for 0/0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
