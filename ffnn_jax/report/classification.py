"""The sections on classes, and on labels of which each is yes or no."""

import numpy as np

from ffnn_jax import plots
from ffnn_jax.calibration import reliability
from ffnn_jax.report.embed import figure, side_by_side
from ffnn_jax.report.material import Material
from ffnn_jax.report.page import (
    Markup,
    Section,
    Share,
    heading,
    number,
    paragraph,
    percent,
    plural,
    table,
    tiles,
)
from ffnn_jax.report.scores import (
    ClassScores,
    class_scores,
    confusion_counts,
    label_scores,
    wilson_interval,
)

MOST_CLASSES = 20  # in a matrix where there are more than can be read
MOST_ROWS = 30  # of a table of classes
MOST_PAIRS = 10


def result(material: Material) -> Section:
    """How many are right, how sure that is, and what a guess would have."""
    if material.kind == "labels":
        return _result_of_labels(material)
    outcomes, names = material.outcomes, material.names
    N, right = len(outcomes.truth), int((~outcomes.wrong).sum())
    low, high = wilson_interval(right, N)
    usual = int(np.bincount(material.learned.truth, minlength=len(names)).argmax())
    guessed = float(np.mean(outcomes.truth == usual))
    learned = float(np.mean(~material.learned.wrong))
    said = (
        f"Of {plural(N, 'held-out row')} {number(right)} {'is' if right == 1 else 'are'} right "
        f"({percent(right / N)}, 95 % interval {percent(low)} to {percent(high)}); always saying "
        f"{names[usual]}, the most frequent class of the training data, would be right for "
        f"{percent(guessed)}. Of the training rows {percent(learned)} are right."
    )
    shown = tiles(
        [
            (percent(right / N), "held-out accuracy"),
            (f"{percent(low)[:-2]}–{percent(high)}", "95 % interval (Wilson)"),
            (percent(guessed), f"always “{plots.shortened(names[usual], 18)}”"),
            (number(float(outcomes.losses.mean())), "held-out loss"),
        ]
    )
    return Section("Result", (paragraph(said), shown))


def _result_of_labels(material: Material) -> Section:
    outcomes = material.outcomes
    hits = outcomes.truth == outcomes.predicted
    whole = int(hits.all(axis=1).sum())
    low, high = wilson_interval(whole, len(hits))
    usual = material.learned.truth.mean(axis=0) > 0.5
    guessed = float(np.mean(outcomes.truth == usual))
    said = (
        f"Of {plural(hits.size, 'held-out label')} {percent(float(hits.mean()))} are right; always "
        f"saying what is more frequent of each would be right for {percent(guessed)}. All "
        f"{hits.shape[1]} labels are right for {number(whole)} of {plural(len(hits), 'row')} "
        f"({percent(whole / len(hits))}, 95 % interval {percent(low)} to {percent(high)})."
    )
    shown = tiles(
        [
            (percent(float(hits.mean())), "held-out labels right"),
            (percent(guessed), "saying the more frequent"),
            (percent(whole / len(hits)), "rows with all labels right"),
            (number(float(outcomes.losses.mean())), "held-out loss"),
        ]
    )
    return Section("Result", (paragraph(said), shown))


def classes(material: Material) -> Section:
    """The confusion matrix, and precision, recall and F1 of each class."""
    if material.kind == "labels":
        scores = label_scores(material.outcomes.truth, material.outcomes.predicted)
        learned = material.learned.truth.sum(axis=0)
        return Section("Labels", _class_table(material, scores, learned, "label"))
    names, truth = material.names, material.outcomes.truth
    counts = confusion_counts(truth, material.outcomes.predicted, len(names))
    learned = np.bincount(material.learned.truth, minlength=len(names))
    pairs = _pairs(counts)
    said = (
        f"The most frequent error: {names[pairs[0][0]]} taken for {names[pairs[0][1]]}, "
        f"{plural(int(counts[pairs[0]]), 'time')}."
        if pairs
        else "No class is taken for another."
    )
    drawn = _matrix(counts, names, said)
    listed = _class_table(material, class_scores(counts), learned, "class")
    return Section("Confusion matrix", (paragraph(said), drawn, *listed))


def _pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """(true, predicted) of the errors, the most frequent first."""
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")[:MOST_PAIRS]
    places = (np.unravel_index(i, counts.shape) for i in order)
    return [(int(i), int(j)) for i, j in places if errors[i, j] > 0]


def _matrix(counts: np.ndarray, names: tuple[str, ...], said: str) -> Markup:
    """The drawing, of the most confused classes where there are many."""
    K = len(counts)
    shown = np.arange(K)
    if K > plots.MOST_CELLS:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        shown = np.sort(np.argsort(-errors, kind="stable")[:MOST_CLASSES])
    some = (
        f"Drawn are the {MOST_CLASSES} of {K} classes with the most errors."
        if len(shown) < K
        else ""
    )
    alt = (
        f"Confusion matrix of {len(shown)} classes: {number(int(np.trace(counts)))} of "
        f"{number(int(counts.sum()))} held-out rows are on the diagonal. {said}"
    )
    caption = (
        f"A row is a true class, a column a predicted one. Blue is right, orange wrong; the fuller "
        f"the colour, the larger the share of the row. {some}"
    )
    drawing = plots.confusion(counts[np.ix_(shown, shown)], [names[c] for c in shown])
    drawn = figure("confusion", drawing, alt, caption)
    pairs = _pairs(counts)
    if not pairs or K == 2:
        return side_by_side(drawn)
    rows = [
        [names[i], names[j], int(counts[i, j]), Share(counts[i, j] / counts[i].sum())]
        for i, j in pairs
    ]
    headers = ["true", "taken for", "rows", "of the true class"]
    listed = table("Most frequent errors", headers, rows)
    return side_by_side(drawn, Markup(f"<div>{heading('Most frequent errors')}\n{listed}</div>"))


def _class_table(
    material: Material, scores: ClassScores, learned: np.ndarray, one: str
) -> tuple[Markup, ...]:
    """Precision, recall and F1, the lowest F1 first where not all are shown."""
    K = len(material.names)
    chosen = np.arange(K)
    note = (
        "Precision: of those taken for it, how many are it. Recall: of those that are it, how many "
        "are found."
    )
    if K > MOST_ROWS:
        chosen = np.argsort(np.nan_to_num(scores.f1, nan=2.0), kind="stable")[:MOST_ROWS]
        note = f"Listed are the {MOST_ROWS} of {K} with the lowest F1. {note}"
    rows = [
        [
            material.names[c],
            *(Share(t[c]) for t in (scores.precision, scores.recall, scores.f1)),
            int(scores.support[c]),
            int(learned[c]),
        ]
        for c in chosen
    ]
    headers = [one, "precision", "recall", "F1", "held out", "training"]
    several = {"class": "Classes", "label": "Labels"}[one]
    found = float(np.nanmean(scores.f1)) if np.isfinite(scores.f1).any() else None
    said = f"The mean F1 is {percent(found)}." if found is not None else "No F1 is defined."
    listed = table(f"{several} one by one", headers, rows)
    top = heading(f"{several} one by one")
    return top, paragraph(said), listed, paragraph(note, note=True)


def calibration(material: Material) -> Section | None:
    """The reliability diagram and ECE, where the outputs are probabilities."""
    if material.net.output == "linear":
        return None
    yhat, truth = material.outcomes.yhat, material.outcomes.truth
    if material.kind == "labels":  # each label is a choice of two
        yhat, truth = np.stack([1 - yhat.ravel(), yhat.ravel()], axis=1), truth.ravel().astype(int)
    found = reliability(yhat, truth)
    full = found.count > 0
    sure = float(np.sum(found.confidence[full] * found.count[full]) / found.count.sum())
    right = float(np.sum(found.accuracy[full] * found.count[full]) / found.count.sum())
    low, high = wilson_interval(round(right * len(truth)), len(truth))
    leaning = (
        "it is too sure"
        if sure > high
        else "it is not sure enough"
        if sure < low
        else "within what chance allows in so many rows"
    )
    said = (
        f"The network is {percent(sure)} sure on average and right for {percent(right)}: "
        f"{leaning}. The expected calibration error is {percent(found.ece)}."
    )
    alt = f"Reliability diagram in {plural(int(full.sum()), 'bin')} of confidence. {said}"
    drawing = plots.reliability(found.confidence, found.accuracy, found.count)
    caption = (
        "On the dashed line the network is right as often as it says. The larger a dot, the more "
        "rows it stands for."
    )
    return Section(
        "Calibration", (paragraph(said), side_by_side(figure("reliability", drawing, alt, caption)))
    )
