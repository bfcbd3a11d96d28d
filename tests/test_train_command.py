"""`ffnn train`, `predict`, `evaluate`, `export` and `info`: from a table to a model, and what a
person reads on the way."""

import csv
import json
import pathlib
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_diabetes, load_iris

import ffnn_jax as ffnn
from ffnn_jax import cli
from ffnn_jax.metrics import read_metrics
from ffnn_jax.tabular import trainer
from ffnn_jax.tabular.experiment import compiler_options_of, epochs_on_all_rows
from ffnn_jax.tabular.models import load_model, raw_network
from ffnn_jax.tabular.settings import Settings

FAST = [
    "--hidden",
    "16",
    "--epochs",
    "12",
    "--patience",
    "8",
    "--learning-rate",
    "0.02",
    "--l2",
    "1e-4",
]


def main(words):
    """The command as a user's process runs it: optax needs the standard promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return cli.main(words)


def flowers():
    """Iris as a table with holes, categories, an index, and a column of no use."""
    bunch = load_iris()
    rng = np.random.default_rng(0)
    x = bunch.data.copy()
    size = np.array(["small", "large"])[(x[:, 3] > 1).astype(int)]
    holes = rng.random(150) < 0.1
    return pl.DataFrame(
        {
            "": np.arange(150),
            "sepal": pl.Series(
                [None if hole else v for v, hole in zip(x[:, 0], holes, strict=True)]
            ),
            "petal": x[:, 2],
            "size": pl.Series([None if k % 17 == 3 else str(s) for k, s in enumerate(size)]),
            "field": ["north"] * 150,
            "species": pl.Series([str(bunch.target_names[k]) for k in bunch.target]),
        }
    )


@pytest.fixture(scope="module")
def flower_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flowers")
    flowers().write_csv(folder / "iris.csv")
    words = ["train", str(folder / "iris.csv"), "--target", "species", "--drop", "column 1"]
    assert main([*words, "--run", str(folder / "run"), *FAST]) == 0
    return folder


@pytest.fixture(scope="module")
def price_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prices")
    bunch = load_diabetes(scaled=False)
    frame = pl.DataFrame(dict(zip(bunch.feature_names, bunch.data.T, strict=True)))
    frame = frame.with_columns(progress=pl.Series(bunch.target))
    frame.write_parquet(folder / "d.parquet")
    words = ["train", str(folder / "d.parquet"), "--target", "progress", "--no-report", "--quiet"]
    assert main([*words, "--run", str(folder / "run"), *FAST]) == 0
    return folder


def lines_of(path):
    return list(csv.reader(pathlib.Path(path).read_text().splitlines()))


def test_the_run_folder_is_whole(flower_run):
    run = flower_run / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.toml", "metrics.jsonl", "model.npz", "report.html", "checkpoints"}
    records = read_metrics(run / "metrics.jsonl")
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
    assert len(records[-1]["layers"]) == 1
    page = (run / "report.html").read_text()
    for words in ("setosa", "versicolor", "petal", "ffnn train --config"):
        assert words in page


def test_the_model_is_good_and_says_so(flower_run):
    model = load_model(flower_run / "run")
    assert model.metadata["figures"]["on"] == "test"
    assert model.metadata["figures"]["accuracy"] > 0.8
    assert model.metadata["trained_on"] == 150
    assert [column.name for column in model.preparation.columns] == ["sepal", "petal", "size"]
    assert model.preparation.columns[0].indicator
    assert model.net.sizes == (6, 16, 3)


def test_predictions_of_the_rows_it_knows(flower_run, tmp_path, capsys):
    out = tmp_path / "p.csv"
    words = [str(flower_run / "run"), str(flower_run / "iris.csv"), "--probabilities"]
    assert main(["predict", *words, "-o", str(out)]) == 0
    head, *rows = lines_of(out)
    assert head == ["species", "p(setosa)", "p(versicolor)", "p(virginica)"]
    assert len(rows) == 150
    np.testing.assert_allclose([sum(map(float, row[1:])) for row in rows], 1, atol=1e-4)
    right = np.mean(
        [row[0] == truth for row, truth in zip(rows, flowers()["species"], strict=True)]
    )
    assert right > 0.85
    assert main(["evaluate", *words[:2], "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["accuracy"] == pytest.approx(right)
    assert figures["rows"] == 150


def test_columns_in_another_order_and_without_the_target(flower_run, tmp_path, capsys):
    flowers().select("size", "petal", "sepal").head(3).write_csv(tmp_path / "new.csv")
    assert main(["predict", str(flower_run / "run" / "model.npz"), str(tmp_path / "new.csv")]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows == [["species"], ["setosa"], ["setosa"], ["setosa"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop("petal"), "lacks petal, which the model was trained on"),
        (lambda f: f.with_columns(size=pl.lit("huge")), "'huge' was not among the training rows"),
        (lambda f: f.with_columns(petal=pl.lit("long")), "expected a number, got 'long'"),
    ],
)
def test_rows_that_do_not_fit(flower_run, tmp_path, capsys, change, words):
    change(flowers()).write_csv(tmp_path / "new.csv")
    out = tmp_path / "out.csv"
    command = ["predict", str(flower_run / "run"), str(tmp_path / "new.csv"), "-o", str(out)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_quantity_in_its_own_units(price_run, capsys):
    run, file = str(price_run / "run"), str(price_run / "d.parquet")
    assert main(["evaluate", run, file]) == 0
    assert "R² 0." in capsys.readouterr().out
    assert main(["predict", run, file]) == 0
    head, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert head == ["progress"]
    assert 100 < np.mean([float(row[0]) for row in rows]) < 200
    assert main(["predict", run, file, "--probabilities"]) == 1
    assert "is a quantity" in capsys.readouterr().err


def test_the_exported_network_takes_raw_numbers(price_run):
    model = load_model(price_run / "run")
    frame = pl.read_parquet(price_run / "d.parquet")
    net, params = raw_network(model)
    raw = frame.select(model.preparation.input_names).to_numpy().astype(np.float32)
    yhat = np.asarray(ffnn.apply(net, params, raw))[:, 0]
    expected = model.predict(frame)
    np.testing.assert_allclose(yhat, expected, rtol=1e-4)


def test_onnx_of_a_model(flower_run, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "m.onnx"
    assert main(["export", str(flower_run / "run"), "-o", str(path)]) == 0
    assert "6 inputs, 3 outputs" in capsys.readouterr().out
    model = load_model(flower_run / "run")
    frame = flowers()
    x = (
        model.preparation.encode(frame) * model.preparation.moments[1]
        + model.preparation.moments[0]
    )
    session = onnxruntime.InferenceSession(str(path))
    (yhat,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    np.testing.assert_allclose(yhat, model.outputs(frame), atol=1e-5)


def test_info(flower_run, price_run, capsys):
    assert main(["info", str(flower_run / "run")]) == 0
    out = capsys.readouterr().out
    for words in ("6 → 16 → 3", "sepal, petal, size (2 categories)", "setosa, versicolor", "jax "):
        assert words in out
    assert main(["info", str(price_run / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["inputs"][:2] == ["age", "sex"]
    assert found["run"]["skipped"] == []


def test_a_run_goes_on_where_it_stopped(price_run, tmp_path):
    """Cut after the first checkpoints, a run ends with the same bytes as one that was not."""
    file = str(price_run / "d.parquet")
    words = ["--target", "progress", "--no-report", "--quiet", *FAST]
    whole, cut = price_run / "run", tmp_path / "cut"
    assert main(["train", file, *words, "--run", str(cut), "--epochs", "3"]) == 0
    (cut / "model.npz").unlink()
    for path in (cut / "fit-all").iterdir():
        path.unlink()
    assert main(["train", "--resume", "--run", str(cut), "--epochs", "12", "--quiet"]) == 0
    one, other = load_model(whole), load_model(cut)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_that_is_taken(flower_run, capsys):
    words = ["--target", "species", "--run", str(flower_run / "run")]
    assert main(["train", str(flower_run / "iris.csv"), *words]) == 1
    assert "--resume goes on with a run in it" in capsys.readouterr().err
    assert main(["train", "--resume", "--run", str(flower_run / "run"), "--hidden", "3"]) == 1
    assert "only --epochs can change" in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_goes_on(price_run, tmp_path, capsys, monkeypatch):
    file, run = str(price_run / "d.parquet"), tmp_path / "run"
    calls = []

    def interrupt(path, records):
        calls.append(records)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "append_metrics", interrupt)
    words = ["--target", "progress", "--no-report", "--quiet", *FAST]
    assert main(["train", file, *words, "--run", str(run)]) == 130
    assert f"ffnn train --resume --run {run} goes on from here" in capsys.readouterr().err
    assert not (run / "model.npz").exists()
    monkeypatch.undo()
    assert main(["train", "--resume", "--run", str(run), "--quiet", "--no-report"]) == 0
    whole, cut = (load_model(folder).params for folder in (price_run / "run", run))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_fails_leaves_nothing_behind(flower_run, price_run, tmp_path, capsys):
    new, out = tmp_path / "new", tmp_path / "out.csv"
    words = ["train", str(flower_run / "iris.csv"), "--run", str(new), "--target"]
    assert main([*words, "nothing"]) == 1
    assert main([*words, "species", "--drop", "nothing"]) == 1
    assert main([*words, "sepal", "--loss", "cross_entropy"]) == 1
    assert (
        "--loss: 'cross_entropy' is of classes, and 'sepal' a quantity" in capsys.readouterr().err
    )
    assert main([*words, "sepal", "--class-weight", "balanced"]) == 1
    assert not new.exists()
    out.write_text("mine")
    run, file = str(price_run / "run"), str(price_run / "d.parquet")
    assert main(["predict", run, file, "--probabilities", "-o", str(out)]) == 1
    assert out.read_text() == "mine"
    capsys.readouterr()


def test_the_row_of_a_bad_number_is_that_of_the_file(tmp_path, capsys):
    lines = [f"{k},{k % 2}" for k in range(40)]
    lines[29] = "inf,1"
    (tmp_path / "t.csv").write_text("a,y\n" + "\n".join(lines))
    words = ["train", str(tmp_path / "t.csv"), "--target", "y", "--run", str(tmp_path / "new")]
    assert main(words) == 1
    assert "column 'a', row 30: expected a finite number" in capsys.readouterr().err


def test_counts_have_their_logarithm_in_the_network(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.uniform(0, 2, 120)
    frame = pl.DataFrame({"x": x, "n": draw.poisson(np.exp(x))})
    frame.write_csv(tmp_path / "t.csv")
    words = ["train", str(tmp_path / "t.csv"), "--target", "n", "--loss", "poisson", *FAST]
    assert main([*words, "--run", str(tmp_path / "run"), "--quiet", "--no-report"]) == 0
    model = load_model(tmp_path / "run")
    rows = ffnn.read_table(tmp_path / "t.csv")
    np.testing.assert_allclose(model.predict(rows), np.exp(model.outputs(rows)[:, 0]), rtol=1e-6)
    assert model.predict(rows).mean() == pytest.approx(frame["n"].mean(), rel=0.3)


@pytest.mark.parametrize(
    ("rows", "patience", "level"), [(100, 20, 0), (100, 0, 1), (1000, 20, 1), (10**5, 20, None)]
)
def test_a_short_training_is_compiled_in_less_time(rows, patience, level):
    net = ffnn.Network((30, 128, 64, 3), output="softmax")
    options = compiler_options_of(Settings(patience=patience), net, rows)
    assert (options or {}).get("xla_backend_optimization_level") == level


@pytest.mark.parametrize(
    ("best", "rows", "most", "epochs"),
    [(2, 331, 200, 24), (39, 331, 200, 40), (2, 331, 5, 5), (2, 60_000, 200, 3), (None, 331, 9, 9)],
)
def test_epochs_on_all_rows(best, rows, most, epochs):
    """As many as were best, and on few rows no fewer than make 500 steps."""
    history = SimpleNamespace(loss=np.zeros(most))
    fitted = SimpleNamespace(fit=SimpleNamespace(best_epoch=best, history=history))
    assert epochs_on_all_rows(Settings(epochs=most), fitted, rows) == epochs
