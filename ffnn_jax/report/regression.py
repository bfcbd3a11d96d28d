"""The sections on quantities: how near the network comes, and its residuals."""

import math

import numpy as np

from ffnn_jax import plots
from ffnn_jax.report.embed import figure, side_by_side
from ffnn_jax.report.material import Material
from ffnn_jax.report.page import Markup, Section, number, paragraph, percent, plural, table, tiles
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
        f" It explains {percent(s.r2)} of the variance (R² {number(s.r2)})."
        if s.r2 > 0
        else f" It explains none of the variance (R² {number(s.r2)})."
        if math.isfinite(s.r2)
        else " R² is not defined where all true values are equal."
    )
    said = (
        f"On {plural(N, 'held-out row')} the network misses {name} by {number(s.rmse)} (root mean "
        f"square) and {number(s.mae)} (mean); always saying the training mean misses by "
        f"{number(s.baseline_rmse)} and {number(s.baseline_mae)}.{explained}"
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
    first = scores[shown[0]]
    side = "too high" if first.bias > 0 else "too low"
    said = f"On average the prediction of {names[shown[0]]} is {number(abs(first.bias))} {side}."
    some = (
        f"Drawn are the {MOST_DRAWN} of {len(names)} quantities with the lowest R²."
        if len(names) > MOST_DRAWN
        else ""
    )
    return Section("Residuals", (paragraph(said, some), side_by_side(*figures)))


def _drawn(material: Material, j: int, s: QuantityScores) -> list[Markup]:
    name = material.names[j]
    truth, predicted = material.outcomes.truth[:, j], material.outcomes.predicted[:, j]
    low, middle, high = np.quantile(predicted - truth, [0.05, 0.5, 0.95])
    scatter = (
        f"Scatter plot of {plural(len(truth), 'held-out row')}: predicted {name} from "
        f"{number(float(predicted.min()))} to {number(float(predicted.max()))}, true from "
        f"{number(float(truth.min()))} to {number(float(truth.max()))}; R² is {number(s.r2)}."
    )
    spread = (
        f"Histogram of predicted minus true {name}: the median is {number(float(middle))}, and 90 % "
        f"lie from {number(float(low))} to {number(float(high))}; the mean is {number(s.bias)}."
    )
    return [
        figure(f"predicted-{j}", plots.predicted_and_true(truth, predicted, name), scatter),
        figure(f"residuals-{j}", plots.residual_distribution(predicted - truth, name), spread),
    ]
