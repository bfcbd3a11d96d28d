"""How good predictions are, in the units of the target, beside what knowing nothing would give."""

from typing import Any

import numpy as np

from ffnn_jax.tabular.preparation import Target


def prediction_figures(
    target: Target, yhat: np.ndarray, y: np.ndarray, *, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """The figures of a set of rows.

    Args:
      target: what is predicted.
      yhat: (N, n_L), probabilities of the classes, or the standardised quantity.
      y: classes, int (N,), or the standardised quantity (N, 1).
      weights: (N,), of the rows; None: all alike.

    Returns:
      Of classes `accuracy`, `balanced_accuracy` (the mean over the classes that occur of the share
      found), `log_loss` in nats and `baseline`, the accuracy of always saying the
      most frequent one; of a quantity `r2` = 1 − Σ (y − ŷ)² / Σ (y − ȳ)² (None where y is
      constant), and `rmse` and `mae` in its units, with `baseline`, the rmse of its mean.
    """
    w = np.ones(len(y)) if weights is None else weights
    w = w / w.sum()
    if target.classes:
        chosen = np.maximum(yhat[np.arange(len(y)), y].astype(np.float64), 1e-300)
        right = (yhat.argmax(axis=-1) == y).astype(np.float64)
        counts = np.bincount(y, weights=w, minlength=len(target.classes))
        recalls = np.bincount(y, weights=w * right)[np.unique(y)] / counts[np.unique(y)]
        return {
            "rows": len(y),
            "accuracy": float(w @ right),
            "balanced_accuracy": float(np.mean(recalls)),
            "log_loss": float(-(w @ np.log(chosen))),
            "baseline": float(counts.max()),
        }
    truth = y[:, 0].astype(np.float64) * target.scale + target.mean
    error = target.decode(yhat) - truth
    spread = float(w @ (truth - w @ truth) ** 2)
    squares = float(w @ error**2)
    return {
        "rows": len(y),
        "r2": 1 - squares / spread if spread > 0 else None,
        "rmse": squares**0.5,
        "mae": float(w @ np.abs(error)),
        "baseline": spread**0.5,
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
