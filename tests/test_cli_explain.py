"""`ffnn explain`: from a run and a row to the chain rule, the story and the page."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from cases import examples
from test_train_command import main

import ffnn_jax as ffnn
from ffnn_jax.explain import explain_weight, responsibility
from ffnn_jax.tabular.models import load_model
from ffnn_jax.tabular.preparation import Category, Number, Preparation, Target
from ffnn_jax.tabular.settings import Settings

ROWS = 40


def write_model(folder, net, params, preparation):
    """A model file as `ffnn train` leaves it, and its table t.csv."""
    settings = Settings(file=str(folder / "t.csv"), target=preparation.target.name)
    metadata = {"preparation": preparation.to_dict(), "settings": dataclasses.asdict(settings)}
    ffnn.save(folder / "model.npz", net, params, metadata=metadata)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of a number and a category; the fourth row of the table has no target."""
    folder = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(0)
    petal = rng.normal(size=ROWS)
    kind = [None if k == 3 else "large" if v > 0 else "small" for k, v in enumerate(petal)]
    field = ["north", "south"] * (ROWS // 2)
    pl.DataFrame({"petal": petal, "field": field, "kind": kind}).write_csv(folder / "t.csv")
    columns = (Number("petal", 0.5, 2.0), Category("field", ("north", "south")))
    preparation = Preparation(columns, Target("kind", classes=("large", "small")))
    net = ffnn.Network((3, 3, 2), activation="tanh", output="softmax")
    write_model(folder, net, examples(net).params, preparation)
    return folder


def said(words, capsys):
    assert main(["explain", *map(str, words)]) == 0
    return capsys.readouterr()


def plainly(function, *args, **options):
    """str of what the function gives, in the settings of a user's process."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return str(function(*args, **options))


def row(run, number):
    """x and y of a row of the table, from 1."""
    model = load_model(run)
    with open(run / "t.csv") as file:
        values = list(csv.reader(file))[number]
    frame = pl.DataFrame({"petal": [values[0]], "field": [values[1]]})
    y = model.preparation.target.classes.index(values[2])
    return model, model.preparation.encode(frame)[0], np.array(y)


def test_the_weight_and_the_story_of_a_row(run, capsys):
    out = said([run, "--example", 7, "--weight", "1,2,1"], capsys).out
    model, x, y = row(run, 7)
    assert out.startswith(f"example 7 of {run / 't.csv'}: kind is ")
    assert "probabilities: ŷ_1 of large, ŷ_2 of small\nx_1 is 'petal' (standardised; " in out
    with open(run / "t.csv") as file:
        assert f"(standardised; {float(list(csv.reader(file))[7][0])} in the table)\n" in out
    assert plainly(explain_weight, model.net, model.params, x, y, layer=1, i=2, j=1) in out
    assert out.endswith(f"\n\n{plainly(responsibility, model.net, model.params, x, y)}\n")


def test_a_bias_and_the_model_file_itself(run, capsys):
    out = said([run / "model.npz", "--example", 40, "--weight", "2,1"], capsys).out
    model, x, y = row(run, 40)
    assert plainly(explain_weight, model.net, model.params, x, y, layer=2, i=1) in out
    assert "x_1 is" not in out


def test_the_story_alone_and_how_much_is_named(run, capsys):
    out = said([run, "--example", 1, "--strongest", 1], capsys).out
    model, x, y = row(run, 1)
    assert "∂ℒ(θ)" not in out
    story = plainly(responsibility, model.net, model.params, x, y, strongest=1)
    assert out.endswith(f"\n\n{story}\n")


def test_the_page_marks_the_weight(run, tmp_path, capsys):
    words = [run, "--example", 7, "--html", tmp_path / "out.html"]
    streams = said([*words, "--weight", "1,2,1"], capsys)
    assert "the backward pass, step by step: " in streams.err
    marked = (tmp_path / "out.html").read_text()
    said(words, capsys)
    assert marked.startswith("<!DOCTYPE html>")
    assert marked != (tmp_path / "out.html").read_text()


def test_without_a_row_the_table_as_one_batch(run, capsys):
    out = said([run], capsys).out
    assert f"39 of the 40 rows of {run / 't.csv'} as one batch; rows without 'kind'" in out
    assert "the mean over 39 examples" in out
    assert "of the pull of all; its loss is" in out


def test_another_table(run, tmp_path, capsys):
    new = pl.DataFrame({"kind": ["small"], "field": ["east"], "petal": [0.5]})
    new.write_csv(tmp_path / "new.csv")
    words = ["explain", str(run), str(tmp_path / "new.csv"), "--example", "1"]
    assert main(words) == 1
    assert "'field', row 1: 'east' was not among" in capsys.readouterr().err
    assert main([*words, "--unknown", "missing"]) == 0
    assert "kind is small" in capsys.readouterr().out


@pytest.fixture(scope="module")
def price(tmp_path_factory):
    """A model of a quantity: 3 · 2 + 1 = 7, in units of ten beside a mean of 100."""
    folder = tmp_path_factory.mktemp("prices")
    target = Target("price", mean=100.0, scale=10.0)
    params = (ffnn.Layer(jnp.array([[3.0]]), jnp.array([1.0])),)
    preparation = Preparation((Number("size", 0.0, 1.0),), target)
    write_model(folder, ffnn.Network((1, 1)), params, preparation)
    (folder / "t.csv").write_text("size,price\n2,160\nmany,5\n")
    return folder


def test_a_quantity_is_told_in_its_own_units_too(price, capsys):
    out = said([price, "--example", 1, "--weight", "1,1,1"], capsys).out
    assert "price is 160, predicted 170\nŷ is (price − 100) / 10\nx_1 is 'size' (stan" in out
    assert "(standardised; 2 in the table)\n" in out
    assert "ŷ = 7 and it ought to be 6: ∂ℒ/∂ŷ = 2, ∂ℒ/∂a_L1 = 2" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--example", "3"], "--example: expected 1 to 2 (rows of {file}, counted from 1), got 3"),
        (["--example", "0"], "--example: expected 1 to 2 (rows of {file}, counted from 1), got 0"),
        (["--example", "2"], "column 'size', row 2: expected a number, got 'many'"),
        (["--weight", "1,1,1"], "--weight: it explains one example; give its row by --example N"),
        (["--html", "o.html"], "--html: it explains one example; give its row by --example N"),
        (["--example", "1", "--weight", "0,1,1"], "layer: expected 1 to 1"),
        (["--example", "1", "--weight", "1,2,1"], "i: expected 1 to 1"),
        (["--example", "1", "--weight", "1,1,2"], "j: expected 1 to 1"),
        (["--example", "1", "--html", ""], "--html: expected the name of a file"),
        (["--example", "1", "--strongest", "0"], "strongest: expected "),
        (["--example", "1", "--target", "prize"], "there is no column 'prize'"),
        (["no.csv", "--example", "1"], "no.csv: No such file or directory"),
        (["--example", "1", "--html", "no/folder/o.html"], "no/folder"),
    ],
)
def test_one_line_that_says_why(price, words, error, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(price), *words]) == 1
    streams = capsys.readouterr()
    assert streams.err.startswith("ffnn explain: ")
    assert error.format(file=price / "t.csv") in streams.err
    assert streams.err.count("\n") == 1
    assert not streams.out
    assert not list(tmp_path.iterdir())


def test_rows_that_are_gone_or_have_no_target(run, price, tmp_path, capsys):
    assert main(["explain", str(run), "--example", "4"]) == 1
    assert f"--example 4: {run / 't.csv'} has no 'kind' in that row" in capsys.readouterr().err
    (tmp_path / "model.npz").write_bytes((price / "model.npz").read_bytes())
    (price / "t.csv").rename(price / "elsewhere.csv")
    assert main(["explain", str(tmp_path), "--example", "1"]) == 1
    assert (
        "t.csv: the run learned from it, and it is not there; give FILE instead"
        in capsys.readouterr().err
    )
    (price / "elsewhere.csv").rename(price / "t.csv")


@pytest.mark.parametrize("weight", ["1", "1,2,3,4", "a,b", ""])
def test_words_that_are_no_weight(price, weight, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["explain", str(price), "--example", "1", "--weight", weight])
    assert stop.value.code == 2
    assert "--weight: expected K,I,J, or K,I for a bias" in capsys.readouterr().err
