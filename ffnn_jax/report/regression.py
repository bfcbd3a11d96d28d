"""The sections on quantities: how near the network comes, and its residuals."""

import math

import numpy as np

from ffnn_jax import plots
from ffnn_jax.report.embed import figure, side_by_side
from ffnn_jax.report.material import Material
from ffnn_jax.report.page import (
    NBSP,
    Markup,
    Section,
    number,
    paragraph,
    percent,
    plural,
    table,
    tiles,
)
from ffnn_jax.report.scores import QuantityScores, quantity_scores

MOST_DRAWN = 4  # quantities


def scores_of(material: Material) -> list[QuantityScores]:
    """The scores of each quantity."""
    outcomes, means = material.outcomes, material.learned.truth.mean(axis=0)
    return [
        quantity_scores(outcomes.truth[:, j], outcomes.predicted[:, j], float(means[j]))
        for j in range(len(material.names))
    ]


def result(material: Material) -> Section:
    """R², RMSE and MAE against always saying the mean."""
    scores = scores_of(material)
    if len(scores) > 1:
        return _result_of_several(material, scores)
    s, name, N = scores[0], material.names[0], len(material.outcomes.truth)
    explained = (
        f"It explains {percent(max(s.r2, 0.0))} of the variance (R²{NBSP}{number(s.r2)})."
        if math.isfinite(s.r2)
        else "R² is not defined where all true values are equal."
    )
    said = (
        f"On {plural(N, 'held-out row')} the predicted {name} is off by {number(s.mae)} in the "
        f"mean (MAE) and {number(s.rmse)} in the root mean square (RMSE); always saying the mean "
        f"of the training data would be off by {number(s.baseline_mae)} and "
        f"{number(s.baseline_rmse)}. {explained}"
    )
    shown = tiles(
        [
            (number(s.r2), "held-out R²"),
            (number(s.rmse), f"RMSE (the mean: {number(s.baseline_rmse)})"),
            (number(s.mae), f"MAE (the mean: {number(s.baseline_mae)})"),
            (number(float(material.outcomes.losses.mean())), "held-out loss"),
        ]
    )
    return Section("Result", (paragraph(said), shown))


def _result_of_several(material: Material, scores: list[QuantityScores]) -> Section:
    known = [s.r2 for s in scores if math.isfinite(s.r2)]
    mean = float(np.mean(known)) if known else math.nan
    better = sum(s.rmse < s.baseline_rmse for s in scores)
    N = len(material.outcomes.truth)
    said = (
        f"On {plural(N, 'held-out row')} the network comes nearer than the training mean in "
        f"{better} of {len(scores)} quantities; the mean R² is {number(mean)}."
    )
    rows = [
        [name, s.r2, s.rmse, s.baseline_rmse, s.mae, s.baseline_mae]
        for name, s in zip(material.names, scores, strict=True)
    ]
    headers = ["quantity", "R²", "RMSE", "RMSE of the mean", "MAE", "MAE of the mean"]
    shown = tiles(
        [
            (number(mean), "mean held-out R²"),
            (f"{better} of {len(scores)}", "nearer than the mean"),
            (number(float(material.outcomes.losses.mean())), "held-out loss"),
        ]
    )
    return Section("Result", (paragraph(said), shown, table("Each quantity", headers, rows)))


def residuals(material: Material) -> Section:
    """Predicted against true, and the distribution of what is between them."""
    scores, names = scores_of(material), material.names
    order = np.argsort([s.r2 if math.isfinite(s.r2) else math.inf for s in scores], kind="stable")
    shown = sorted(order[:MOST_DRAWN])
    figures: list[Markup] = []
    for j in shown:
        figures += _drawn(material, int(j), scores[j])
    said = " ".join(_leaning(material, int(j), scores[j]) for j in shown)
    some = (
        f"Drawn are the {MOST_DRAWN} of {len(names)} quantities with the lowest R²."
        if len(names) > MOST_DRAWN
        else ""
    )
    return Section("Residuals", (paragraph(said, some), side_by_side(*figures)))


def _leaning(material: Material, j: int, s: QuantityScores) -> str:
    """Where the residuals of one quantity lie, in a sentence."""
    error = material.outcomes.predicted[:, j] - material.outcomes.truth[:, j]
    low, high = (number(float(t)) for t in np.quantile(error, [0.05, 0.95]))
    side = "too high" if s.bias > 0 else "too low"
    return (
        f"The predicted {material.names[j]} is {number(abs(s.bias))} {side} on average; nine of "
        f"ten residuals lie from {low} to {high}."
    )


def _drawn(material: Material, j: int, s: QuantityScores) -> list[Markup]:
    name = material.names[j]
    truth, predicted = material.outcomes.truth[:, j], material.outcomes.predicted[:, j]
    scatter = (
        f"Scatter plot of {plural(len(truth), 'held-out row')}: predicted {name} from "
        f"{number(float(predicted.min()))} to {number(float(predicted.max()))}, true from "
        f"{number(float(truth.min()))} to {number(float(truth.max()))}; R² is {number(s.r2)}."
    )
    spread = f"Histogram of predicted minus true {name}. {_leaning(material, j, s)}"
    return [
        figure(f"predicted-{j}", plots.predicted_and_true(truth, predicted, name), scatter),
        figure(f"residuals-{j}", plots.residual_distribution(predicted - truth, name), spread),
    ]
