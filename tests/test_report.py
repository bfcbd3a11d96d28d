"""The report: its numbers, what it survives, and that it is one harmless file."""

import itertools
import os
import re

import jax
import numpy as np
import pytest
from cases import examples
from pages import Page

import ffnn_jax as ffnn
from ffnn_jax import plots, report
from ffnn_jax.plots import canvas
from ffnn_jax.report import embed, importance, outcomes, scores
from ffnn_jax.report.page import NBSP, escaped, number, percent

NET = ffnn.Network((4, 5, 3), activation="tanh", output="softmax")
DRAW = np.random.default_rng(0)
HOSTILE = ["<script>alert(1)</script>", 'a"onload="x', "$x_1^$ & 日本語の名前の長いもの \x07 tail"]
RECORDS = [
    {
        "epoch": e,
        "loss": 2.0 / e,
        "validation_loss": 2.1 / e,
        "validation_accuracy": 1 - 0.5 / e,
        "seconds": 0.5,
        "layers": [
            {
                "layer": 1,
                "mean_abs_a": 0.5,
                "mean_abs_grad_a": 0.1 / e,
                "dead": 0.0,
                "saturated": 0.2,
            }
        ],
    }
    for e in range(1, 5)
]


def params_of(net, seed=0):
    return examples(net, seed=seed).params


def data(net, N, *, y=None):
    """(x, y) of N rows; y as given, or classes."""
    x = np.random.default_rng(N).standard_normal((N, net.sizes[0])).astype(np.float32)
    return x, (x[:, 0] * 10).astype(np.int32) % net.sizes[-1] if y is None else y


TRAIN, HELD_OUT = data(NET, 40), data(NET, 30)


def written(folder, net=NET, *, train=TRAIN, held_out=HELD_OUT, records=(), **options):
    """The page of a report as text."""
    path = folder / "report.html"
    params = params_of(net)
    report.write_report(
        path, net, params, train=train, held_out=held_out, records=records, **options
    )
    return path.read_text("utf-8")


def check_whole(content):
    """What holds for every report."""
    page = Page(content)
    assert content.startswith("<!DOCTYPE html>")
    assert page.of("html")[0].attributes["lang"] == "en"
    assert any(tag.attributes.get("name") == "viewport" for tag in page.of("meta"))
    assert not page.of("script", "link", "iframe", "object")
    ids = [tag.attributes["id"] for tag in page.tags if "id" in tag.attributes]
    assert len(ids) == len(set(ids))
    for tag in page.tags:
        assert not any(name.startswith("on") for name in tag.attributes), tag
        for name in ("src", "href", "xlink:href"):
            value = tag.attributes.get(name, "#")
            assert value.startswith(("#", "data:image/png;base64,")), value
            assert not value.startswith("#") or value == "#" or value[1:] in ids
    for target in re.findall(r"url\(#([^)]+)\)", content):
        assert target in ids
    assert "http" not in content
    assert not re.search(r"\b(nan|inf|None|array)\b", page.text), page.text
    assert all(len(alt) > 20 and alt.endswith((".", "!")) for alt in page.alternatives)
    levels = [int(tag.name[1]) for tag in page.of("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    return page


# The numbers -------------------------------------------------------------------------------------


def test_a_report_of_classes(tmp_path):
    content = written(
        tmp_path,
        records=RECORDS,
        classes=["cat", "dog", "eel"],
        columns=[("one", [0]), ("two", [1]), ("both", [2, 3])],
        reproduce="ffnn train animals.csv --seed 0",
        details={
            "Data": {"file": "animals.csv", "rows": 70, "header": True},
            "Columns": [{"column": "one", "missing": 3}, {"column": "two", "missing": 0}],
            "Words": "Taken in the wild.",
        },
    )
    page = check_whole(content)
    yhat = np.asarray(jax.jit(ffnn.apply)(NET, params_of(NET), HELD_OUT[0]))
    hits = yhat.argmax(1) == HELD_OUT[1]
    usual = np.bincount(TRAIN[1]).argmax()
    low, high = scores.wilson_interval(int(hits.sum()), 30)
    assert (
        f"Of 30 held-out rows {hits.sum()} are right ({100 * hits.mean():.1f} %, 95 % interval "
        f"{100 * low:.1f} % to {100 * high:.1f} %); always saying {['cat', 'dog', 'eel'][usual]}, "
        "the most frequent class of the training data, would be right for "
        f"{100 * np.mean(HELD_OUT[1] == usual):.1f} %."
    ) in page.text
    assert "There were 4 epochs in 2.0 seconds. The training loss went from 2 to 0.5" in page.text
    assert f"{30 - hits.sum()} held-out examples are wrong" in page.text
    for words in ("ffnn train animals.csv --seed 0", "header yes", "one 3", "Taken in the wild."):
        assert words in page.text
    assert jax.__version__ in page.text
    assert len(page.of("svg")) == 2 + 1 + 1 + 1 + 4  # curves, matrix, reliability, bars, layers
    assert "Gradient check" not in page.text


def test_a_report_of_a_quantity_is_in_its_own_unit(tmp_path):
    net = ffnn.Network((4, 5, 1), activation="tanh")
    y, y_held = (DRAW.standard_normal((n, 1)).astype(np.float32) for n in (40, 30))
    target = report.Target("price (€)", 100.0, 10.0)
    held_out = (HELD_OUT[0], y_held)
    content = written(
        tmp_path, net, train=(TRAIN[0], y), held_out=held_out, target=target, records=RECORDS
    )
    page = check_whole(content)
    yhat = np.asarray(jax.jit(ffnn.apply)(net, params_of(net), HELD_OUT[0]), np.float64)
    errors, truth = 10 * (yhat - y_held), 100 + 10 * y_held.astype(np.float64)
    apart = truth - (100 + 10 * y.astype(np.float64)).mean()
    r2 = 1 - np.sum(errors**2) / np.sum((truth - truth.mean()) ** 2)
    assert f"the predicted price (€) is off by {number(np.abs(errors).mean())}" in page.text
    assert f"would be off by {number(np.abs(apart).mean())} and" in page.text
    assert f"(R² {number(r2)})" in page.text
    assert "Calibration" not in page.text
    assert "Confusion" not in page.text


def test_scores():
    counts = scores.confusion_counts(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    found = scores.class_scores(counts)
    np.testing.assert_allclose(found.precision, [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(found.recall, [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(found.f1, [1 / 2, 2 / 3, np.nan])
    truth = np.array([[True, False], [True, True]])
    labels = scores.label_scores(truth, np.array([[True, True], [False, True]]))
    np.testing.assert_allclose(labels.precision, [1, 1 / 2])
    np.testing.assert_allclose(labels.recall, [1 / 2, 1])
    one = scores.quantity_scores(np.array([1.0, 3.0]), np.array([2.0, 3.0]), 4.0)
    np.testing.assert_allclose(one, [0.5, 0.5**0.5, 0.5, 0.5, 5**0.5, 2])
    assert scores.wilson_interval(0, 10) == pytest.approx((0, 0.27754), abs=1e-4)
    assert scores.wilson_interval(10, 10)[1] == 1


def test_importance_shuffles_the_inputs_of_a_column_together():
    """Two inputs that are always equal and cancel: alone they matter, together they do not."""
    net = ffnn.Network((3, 1))
    params = (ffnn.Layer(np.array([[1, -1, 0.5]], np.float32), np.zeros(1, np.float32)),)
    x = DRAW.standard_normal((50, 3)).astype(np.float32)
    x[:, 1] = x[:, 0]
    columns = [("first", [0]), ("both", [0, 1]), ("third", [2])]
    y = 0.5 * x[:, 2:]
    found = importance.permutation_importance(net, params, x, y, columns, "quantities")
    assert found.means[1] == pytest.approx(0, abs=1e-6)
    assert found.means[0] > found.means[2] > 0.05
    # the loss of a shuffled column z of weight w: the mean of w² (z_i − z_j)², about 2 w² var z
    assert found.means[2] == pytest.approx(0.5 * x[:, 2].var(), rel=0.3)
    again = importance.permutation_importance(net, params, x, y, columns, "quantities")
    np.testing.assert_array_equal(found.means, again.means)


def test_patches_cover_each_pixel_once():
    for shape in ((28, 28), (8, 8), (5, 3), (3, 20, 3)):
        parts = importance.patches(shape)
        assert sorted(np.concatenate([p for _, p in parts])) == list(range(int(np.prod(shape))))
        assert len(parts) <= 64
    assert importance.patches((28, 28))[1][0] == "row 1 to 4, column 5 to 8"


def test_blocks_are_as_one(monkeypatch):
    whole = outcomes.predict(NET, params_of(NET), *HELD_OUT)
    monkeypatch.setattr(outcomes, "ROWS", 8)
    blocks = outcomes.predict(NET, params_of(NET), *HELD_OUT)
    for found, expected in zip(blocks, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


# One harmless file -------------------------------------------------------------------------------


def test_names_are_escaped(tmp_path):
    net, columns = NET, [(name, [i]) for i, name in enumerate([*HOSTILE, "</svg><b>x"])]
    content = written(
        tmp_path,
        net,
        classes=HOSTILE,
        columns=columns,
        reproduce="</code><script>1</script>",
        details={"<i>": {"<b>": "<u>"}, "t": [{"<s>": "<p>"}], "w": "</p><script>"},
    )
    page = check_whole(content)
    assert not page.of("b", "i", "u", "s")
    assert HOSTILE[0] in page.text
    assert "日本語" in page.text


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    options = {"records": RECORDS, "image_shape": (2, 2)}
    assert written(tmp_path, **options) == written(tmp_path, **options)


def test_the_settings_of_the_user_stay_and_do_not_matter(tmp_path):
    import matplotlib

    plain = written(tmp_path, records=RECORDS)
    mine = {"font.size": 30.0, "text.usetex": False, "axes.grid": False, "savefig.dpi": 10.0}
    with matplotlib.rc_context(mine):
        assert written(tmp_path, records=RECORDS) == plain
        assert matplotlib.rcParams["font.size"] == 30.0


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("what was there")

    def fails(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no space"):
        written(tmp_path)
    assert path.read_text() == "what was there"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_large_drawing_is_a_png(monkeypatch):
    drawing = plots.curves([1, 2], {"a": [1, 2]}, "loss")
    assert "<svg" in embed.figure("loss", drawing, "A line from 1 to 2.")
    monkeypatch.setattr(embed, "LARGEST_SVG", 100)
    markup = embed.figure("loss", drawing, "A line from 1 to 2.")
    assert 'src="data:image/png;base64,' in markup
    assert 'alt="A line from 1 to 2."' in markup
    assert markup == embed.figure("loss", drawing, "A line from 1 to 2.")


def test_text_for_readers():
    assert percent(0.9751) == f"97.5{NBSP}%"
    assert [number(v) for v in (1234567, 0.1 + 0.2, -3.5, float("inf"), None)] == [
        "1,234,567", "0.3", "−3.5", "–", "–",
    ]  # fmt: skip
    assert escaped("a\x00b\x1b<") == "a b &lt;"


# What it survives --------------------------------------------------------------------------------


def same(truth):
    """A held-out part in which the network is right: y is what it says."""
    x = truth[0]
    return x, np.asarray(jax.jit(ffnn.apply)(NET, params_of(NET), x)).argmax(1).astype(np.int32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"held_out": (HELD_OUT[0], np.full(30, 2, np.int32))}, "held-out"),
        ({"held_out": same(HELD_OUT)}, "No held-out example is wrong."),
        ({"held_out": same(HELD_OUT), "image_shape": (2, 2)}, "those that come nearest"),
        ({"held_out": (HELD_OUT[0][:1], HELD_OUT[1][:1])}, "cannot be shuffled"),
        ({"held_out": (TRAIN[0][:9], TRAIN[1][:9])}, "9 held-out rows are, input for input"),
        ({"records": RECORDS[:1]}, "There was 1 epoch"),
        ({"records": [{"epoch": 3, "loss": float("nan")}, {"epoch": 4}]}, "There were 2 epochs"),
        ({"records": []}, "No record of the epochs"),
        ({"held_out": (HELD_OUT[0], np.eye(3, dtype=np.float32)[HELD_OUT[1]])}, "right"),
    ],
)
def test_survives(tmp_path, options, words):
    options["train"] = options.get("train", TRAIN)
    assert words in check_whole(written(tmp_path, **options)).text


def test_one_logistic_output_is_two_classes(tmp_path):
    net = ffnn.Network((4, 1), output="logistic")
    (x, y), (x_held, y_held) = ((x, (y > 0).astype(np.int32)) for x, y in (TRAIN, HELD_OUT))
    content = written(
        tmp_path, net, train=(x, y), held_out=(x_held, y_held), classes=["ham", "spam"]
    )
    page = check_whole(content)
    assert "ham" in page.text
    assert "spam" in page.text
    assert "The network has no hidden layer." in page.text
    numbers = written(tmp_path, net, train=(x, y[:, None] * 1.0), held_out=(x_held, y_held * 1.0))
    assert check_whole(numbers).text == page.text.replace("ham", "0").replace("spam", "1")


def test_labels(tmp_path):
    net = ffnn.Network((4, 5, 3), activation="tanh", output="logistic")
    y, y_held = (np.eye(3, dtype=np.float32)[y] for y in (TRAIN[1], HELD_OUT[1]))
    page = check_whole(written(tmp_path, net, train=(TRAIN[0], y), held_out=(HELD_OUT[0], y_held)))
    yhat = np.asarray(jax.jit(ffnn.apply)(net, params_of(net), HELD_OUT[0]))
    hits = (yhat > 0.5) == (y_held > 0.5)
    assert f"Of 90 held-out labels {100 * hits.mean():.1f} % are right" in page.text
    assert f"labels are right for {hits.all(axis=1).sum()} of 30 rows" in page.text


def test_several_quantities_one_of_them_constant(tmp_path):
    net = ffnn.Network((4, 6))
    y = DRAW.standard_normal((40, 6)).astype(np.float32)
    held = y[:30].copy()
    held[:, 2] = 1.0
    page = check_whole(written(tmp_path, net, train=(TRAIN[0], y), held_out=(HELD_OUT[0], held)))
    assert "of 6 quantities" in page.text
    assert "Drawn are the 4 of 6 quantities with the lowest R²." in page.text


@pytest.mark.parametrize(("K", "n_0"), [(2, 1), (30, 30), (1000, 200)])
def test_many_classes_and_columns(tmp_path, K, n_0):
    net = ffnn.Network((n_0, K), output="softmax")
    names = [f"a class with a long name, number {c}" for c in range(K)]
    columns = [(f"a column with a long name, number {i}", [i]) for i in range(n_0)]
    page = check_whole(
        written(
            tmp_path, net, train=data(net, 300), held_out=data(net, 60), classes=names,
            columns=columns,
        )
    )  # fmt: skip
    assert ("Drawn are the 20 of 1000 classes with the most errors." in page.text) == (K == 1000)
    assert (f"Listed are the 20 most important of {n_0}." in page.text) == (n_0 > 20)


def test_the_gradient_check_is_a_table(tmp_path):
    right = ffnn.LeafReport("args[1][0].W", True, 1e-8, 2e-8, 1e-6, None)
    sign = ffnn.Diagnosis("sign", "it is −1 times the gradient")
    wrong = ffnn.LeafReport("args[1][0].b", False, 2.0, 1e-8, 1e-6, sign)
    page = check_whole(written(tmp_path, gradients=ffnn.Report(True, (right,), "autodiff")))
    assert "Of 1 gradient 1 is right, held against autodiff." in page.text
    assert "args[1][0].W right 1.0e-08 2.0e-08 1.0e-06" in page.text
    jit = ffnn.TransformReport("jit", "right", "")
    found = ffnn.Report(False, (right, wrong), "autodiff", (), (jit,), ("A note.",))
    page = check_whole(written(tmp_path, gradients=found))
    assert "Of 2 gradients 1 is right, 1 wrong, held against autodiff." in page.text
    assert "sign: it is −1 times the gradient" in page.text
    assert "jit right" in page.text


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"train": 1}, TypeError, r"train: expected \(x, y\)"),
        (
            {"held_out": (HELD_OUT[0][:, :2], HELD_OUT[1])},
            ValueError,
            "held_out: x: expected shape",
        ),
        ({"held_out": (HELD_OUT[0], HELD_OUT[1] + 5)}, ValueError, "held_out: y: expected classes"),
        (
            {"held_out": (HELD_OUT[0] * np.nan, HELD_OUT[1])},
            ValueError,
            "held_out.0.: expected fin",
        ),
        ({"records": [{"loss": 1.0}]}, TypeError, r"records\[0\]: expected a dict"),
        ({"records": {"epoch": 1}}, TypeError, "records: expected a list"),
        ({"classes": ["a", "b"]}, ValueError, "classes: expected 3 names, got 2"),
        ({"classes": "abc"}, TypeError, "classes: expected 3 names"),
        ({"columns": [("a", [4])]}, ValueError, r"columns\[0\] \(a\): expected inputs from 0 to 3"),
        ({"columns": [("a", [0.5])]}, TypeError, r"columns\[0\]: expected an int"),
        ({"columns": ["a"]}, TypeError, r"columns\[0\]: expected \(name, inputs\)"),
        ({"columns": []}, ValueError, "columns: expected at least one"),
        ({"image_shape": (2, 3)}, ValueError, "image_shape: expected"),
        ({"target": report.Target("y", 0, 1)}, ValueError, "target: expected None for classes"),
        ({"gradients": "ok"}, TypeError, "gradients: expected the Report"),
        ({"reproduce": None}, TypeError, "reproduce: expected a string"),
        ({"details": ["a"]}, TypeError, "details: expected a mapping"),
    ],
)
def test_bad_arguments(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        written(tmp_path, **options)
    assert not os.listdir(tmp_path)


# The drawings ------------------------------------------------------------------------------------

LONG = [f"a rather long name, number {i}" for i in range(30)]
EPOCHS = list(range(1, 201))
DRAWINGS = {
    "curves": lambda: plots.curves(
        EPOCHS, {f"layer {k}": np.geomspace(10, 1e-5, 200) * k for k in range(1, 7)}, "loss"
    ),
    "one epoch": lambda: plots.curves([7], {"training": [0.3]}, "accuracy", share=True),
    "nothing finite": lambda: plots.curves([1, 2], {"training": [None, np.nan]}, "loss"),
    "confusion of 2": lambda: plots.confusion(np.array([[1234567, 1], [0, 3]]), LONG[:2]),
    "confusion of 10": lambda: plots.confusion(DRAW.integers(0, 999, (10, 10)), LONG[:10]),
    "confusion of 30": lambda: plots.confusion(DRAW.integers(0, 99, (30, 30)), LONG),
    "nothing held out": lambda: plots.confusion(np.zeros((3, 3), int), LONG[:3]),
    "reliability": lambda: plots.reliability(*DRAW.uniform(0, 1, (2, 15)), np.arange(15)),
    "importance": lambda: plots.importance(
        LONG[:20], np.linspace(0.2, -0.01, 20), np.full(20, 0.01), "drop of accuracy", share=True
    ),
    "no importance": lambda: plots.importance(["a"], np.zeros(1), np.zeros(1), "rise", share=False),
    "scatter": lambda: plots.predicted_and_true(
        DRAW.normal(1e6, 1e3, 5000), DRAW.normal(1e6, 1e3, 5000), LONG[0] * 3
    ),
    "one point": lambda: plots.predicted_and_true(np.ones(1), np.ones(1), "y"),
    "residuals": lambda: plots.residual_distribution(DRAW.normal(0, 1e-7, 500), LONG[0] * 3),
    "no residuals": lambda: plots.residual_distribution(np.zeros(1), "y"),
}  # fmt: skip


def letters(drawing):
    """The size and the box, (x_0, y_0, x_1, y_1), of each text that is really drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    agg, drawn = FigureCanvasAgg(drawing), []
    renderer = agg.get_renderer()
    plain = renderer.draw_text

    def recorded(gc, x, y, s, prop, angle, ismath=False, mtext=None):
        assert not ismath
        drawn.append((s, mtext.get_fontsize(), *mtext.get_window_extent(renderer).extents))
        plain(gc, x, y, s, prop, angle, ismath, mtext)

    drawing.draw(renderer)
    renderer.draw_text = recorded
    drawing.draw(renderer)
    return [row[0] for row in drawn], np.array([row[1:] for row in drawn])


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_letters_overlap_or_are_cut(name):
    with plots.style():
        drawing = DRAWINGS[name]()
        texts, numbers = letters(drawing)
    assert len(texts) > 2
    size, x_0, y_0, x_1, y_1 = numbers.T
    assert size.min() * 328 / canvas.WIDTH >= 9  # on a phone of 360 pixels
    assert min(x_0.min(), y_0.min()) > -0.5
    assert x_1.max() < drawing.bbox.x1 + 0.5
    assert y_1.max() < drawing.bbox.y1 + 0.5
    across = np.minimum(x_1, x_1[:, None]) - np.maximum(x_0, x_0[:, None])
    up = np.minimum(y_1, y_1[:, None]) - np.maximum(y_0, y_0[:, None])
    overlap = np.triu(np.minimum(across, up), 1)
    i, j = np.unravel_index(overlap.argmax(), overlap.shape)
    assert overlap[i, j] < 1.5, (texts[i], texts[j])


def test_shortened():
    assert plots.shortened("short") == "short"
    assert plots.shortened("exactly sixteen!") == "exactly sixteen!"
    assert plots.shortened("more than sixteen") == "more than sixte…"
    assert plots.shortened("日本語の名前", 7) == "日本語…"
    assert plots.shortened("a\n\tb\x00c") == "a b c"


def test_names_that_begin_alike_stay_apart():
    found = canvas.distinct([*LONG, "short"], 12)
    assert len(set(found)) == 31
    assert all(canvas.columns(name) <= 12 for name in found)
    assert found[0].endswith("er 0")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ffnn_jax\[plot\]'"):
        plots.curves([1], {"a": [1]}, "loss")
