"""How good predictions are, in the units of the target, beside what knowing nothing would give."""

import math
from typing import Any

import numpy as np

from ffnn_jax.report.scores import class_scores, confusion_counts, quantity_scores
from ffnn_jax.tabular.preparation import Target


def prediction_figures(target: Target, yhat: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The figures of a set of rows.

    Args:
      target: what is predicted.
      yhat: (N, n_L), probabilities of the classes, or the standardised quantity.
      y: classes, int (N,), or the standardised quantity (N, 1).

    Returns:
      Of classes `accuracy`, `balanced_accuracy` (the mean over the classes that occur of the share
      found), `log_loss` in nats and `baseline`, the accuracy of always saying the most frequent
      one; of a quantity `r2` (None where y is constant), and `rmse` and `mae` in its units, with
      `baseline`, the rmse of its mean.
    """
    if target.classes:
        predicted = yhat.argmax(axis=-1)
        scores = class_scores(confusion_counts(y, predicted, len(target.classes)))
        chosen = np.maximum(yhat[np.arange(len(y)), y].astype(np.float64), 1e-300)
        return {
            "rows": len(y),
            "accuracy": float(np.mean(predicted == y)),
            "balanced_accuracy": float(np.nanmean(scores.recall)),
            "log_loss": float(-np.log(chosen).mean()),
            "baseline": float(scores.support.max() / len(y)),
        }
    truth = y[:, 0].astype(np.float64) * target.scale + target.mean
    scores = quantity_scores(truth, target.decode(yhat), truth.mean())
    return {
        "rows": len(y),
        "r2": None if math.isnan(scores.r2) else scores.r2,
        "rmse": scores.rmse,
        "mae": scores.mae,
        "baseline": scores.baseline_rmse,
    }


def in_words(target: Target, figures: dict[str, Any]) -> str:
    """The figures in one line."""
    if target.classes:
        balanced = f"(balanced {figures['balanced_accuracy']:.4f})"
        return (
            f"accuracy {figures['accuracy']:.4f} on {figures['rows']} rows {balanced}, log loss "
            f"{figures['log_loss']:.4f}; their most frequent class alone {figures['baseline']:.4f}"
        )
    r2 = "none" if figures["r2"] is None else f"{figures['r2']:.4f}"
    return (
        f"R² {r2} on {figures['rows']} rows, RMSE {figures['rmse']:.4g}, MAE "
        f"{figures['mae']:.4g}; RMSE of their mean alone {figures['baseline']:.4g}"
    )
