"""From columns to inputs: by the figures of the training rows, and the same ones ever after."""

import datetime
import json

import numpy as np
import polars as pl
import pytest

from ffnn_jax.tabular.decisions import prepare_column, prepare_pictures, prepare_target
from ffnn_jax.tabular.preparation import Category, Number, Pixels, Preparation, Target
from ffnn_jax.tabular.tables import TableError


def column(name, values, **options):
    return prepare_column(name, pl.Series(name, values, strict=False), **options)[0]


def test_number_is_standardized_and_its_holes_are_its_mean():
    number = column("age", ["1", "2", None, "6"])
    assert number == Number("age", 3.0, pytest.approx(np.std([1, 2, 6])), indicator=True)
    x = number.encode(pl.Series("age", [3.0, None, 6.0]), unknown="error")
    np.testing.assert_allclose(x, [[0, 0], [0, 1], [3 / number.scale, 0]], rtol=1e-6)


def test_category_is_one_hot_and_its_holes_are_none_of_them():
    category = column("sex", ["m", "f", None, "m", "f"])
    assert category == Category("sex", ("f", "m"), indicator=True)
    assert category.inputs == ("sex = f", "sex = m", "sex is missing")
    x = category.encode(pl.Series("sex", ["m", None]), unknown="error")
    assert x.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_category_never_seen():
    category = column("sex", ["m", "f", "m", "f"])
    new = pl.Series("sex", ["m", "x"])
    with pytest.raises(TableError, match="row 2: 'x' was not among the training rows"):
        category.encode(new, unknown="error")
    assert category.encode(new, unknown="missing").tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None, None], "every value is missing"),
        ([2.5, 2.5], "it is 2.5 everywhere"),
        (["a", "a"], "it is 'a' everywhere"),
        ([f"name {k}" for k in range(30)], "30 different texts in 30 training rows"),
        ([[1], [2]], "values of type List"),
        ([b"a", b"b"], "values of type Binary"),
    ],
)
def test_columns_of_no_use(values, why):
    found, word = prepare_column("c", pl.Series("c", values))
    assert found is None
    assert why in word


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ([datetime.date(1970, 1, 3), datetime.date(1970, 1, 5)], 2.0),
        ([datetime.datetime(1970, 1, 2, 12), datetime.datetime(1970, 1, 5)], 1.5),
        ([datetime.timedelta(hours=6), datetime.timedelta(days=2)], 0.25),
        ([datetime.time(12), datetime.time(6)], 0.5),
    ],
)
def test_times_are_days(values, first):
    number = column("t", values)
    x = number.encode(pl.Series("t", values), unknown="error")
    assert x[0, 0] * number.scale + number.mean == pytest.approx(first, abs=1e-5)


def test_numbers_as_names():
    assert column("zip", [1, 2, 1, 2], categorical=True) == Category("zip", ("1", "2"))
    assert column("zip", [1.0, 2.0, 1.0, 2.0], categorical=True) == Category("zip", ("1", "2"))


@pytest.mark.parametrize(
    ("value", "words"), [("two", "a number, got 'two'"), ("inf", "a finite number")]
)
def test_a_number_that_is_none(value, words):
    number = column("a", ["1", "2"])
    with pytest.raises(TableError, match=f"column 'a', row 2: expected {words}"):
        number.encode(pl.Series("a", ["1", value]), unknown="error")


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (["no", "yes"] * 3, None, ("no", "yes")),
        ([True, False] * 3, None, ("false", "true")),
        ([10, 2, 1] * 3, None, ("1", "2", "10")),
        (["10", "2", "1"] * 3, None, ("1", "2", "10")),
        ([1.0, 0.0] * 3, None, ("0", "1")),
        ([0.5, 1.5] * 3, None, ()),
        (list(range(30)), None, ()),
        ([0, 1] * 3, "regression", ()),
        ([0.5, 1.5] * 3, "classification", ("0.5", "1.5")),
    ],
)
def test_the_target_decides(values, task, expected):
    target = prepare_target("y", pl.Series("y", values), task=task)
    assert target.classes == expected
    y = target.encode(pl.Series("y", values))
    if expected:
        assert y.dtype == np.int32
        assert [target.classes[k] for k in y] == target.decode(np.eye(len(expected))[y]).tolist()
    else:
        assert y.shape == (len(values), 1)
        np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)
        np.testing.assert_allclose(
            target.decode(y), np.asarray(values, float), rtol=1e-6, atol=1e-5
        )


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (["a"] * 4, {}, "'a' everywhere"),
        ([2.5] * 4, {}, "2.5 everywhere"),
        (["a", "b"], {"task": "regression"}, "made of numbers"),
        ([f"n{k}" for k in range(9)], {}, "9 different classes in 9 rows"),
        ([-1, 3, 4], {"log": True}, "below 0"),
    ],
)
def test_targets_of_no_use(values, options, words):
    with pytest.raises(TableError, match=words):
        prepare_target("y", pl.Series("y", values), **options)


def test_counts_are_given_as_logarithms():
    target = prepare_target("n", pl.Series("n", [0, 3, 2, 9]), log=True)
    assert target.encode(pl.Series("n", [9])).tolist() == [[9.0]]
    np.testing.assert_allclose(target.decode(np.log([[9.0]])), [9.0])


def test_a_class_never_seen():
    with pytest.raises(TableError, match="row 2: 'c' is none of the classes a, b"):
        Target("y", ("a", "b")).encode(pl.Series("y", ["a", "c"]))


def prepared():
    columns = (Number("a", 2.0, 4.0, True), Category("b", ("x", "y")))
    return Preparation(columns, Target("t", mean=1.0, scale=2.0))


def test_columns_by_name_in_any_order_and_others_beside_them():
    frame = pl.DataFrame({"other": [0], "b": ["y"], "a": ["6"]})
    assert prepared().encode(frame).tolist() == [[1, 0, 0, 1]]
    assert prepared().groups == [("a", (0, 1)), ("b", (2, 3))]
    mean, scale = prepared().moments
    assert mean.tolist() == [2, 0, 0, 0]
    assert scale.tolist() == [4, 1, 1, 1]


def test_a_column_that_is_not_there():
    with pytest.raises(TableError, match="lacks b, which the model was trained on; it has a"):
        prepared().encode(pl.DataFrame({"a": [1]}))


@pytest.mark.parametrize(
    "preparation",
    [prepared(), Preparation((), Target("t", ("p", "q")), Pixels((2, 2), 0.0, 255.0))],
)
def test_through_json(preparation):
    again = json.loads(json.dumps(preparation.to_dict()))
    assert Preparation.from_dict(again) == preparation


@pytest.mark.parametrize(
    "given", [{}, {"columns": [{"kind": "spell"}]}, {"columns": [{}], "target": 3}, {"columns": 4}]
)
def test_json_that_is_no_preparation(given):
    with pytest.raises(ValueError, match="preparation"):
        Preparation.from_dict(given)


def test_pictures():
    bytes_ = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert prepare_pictures(bytes_) == Pixels((2, 2), 0.0, 255.0)
    pixels = prepare_pictures(bytes_.astype(np.float32))
    x = pixels.encode(bytes_)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-6)
    with pytest.raises(TableError, match=r"expected shape \(N, 2, 2\)"):
        pixels.encode(np.zeros((1, 3, 2)))


def test_a_value_is_spelled_by_itself():
    """Not by the other rows of its file: 1.0 is 1 beside 2.5 as well."""
    category = column("f", [1.0, 2.0, 1.0, 2.0], categorical=True)
    x = category.encode(pl.Series("f", [1.0, 2.5, 2.0]), unknown="missing")
    assert x.tolist() == [[1, 0], [0, 0], [0, 1]]
    target = prepare_target("y", pl.Series("y", [1.0, 2.0, 2.5] * 4), task="classification")
    assert target.classes == ("1", "2", "2.5")
    assert target.encode(pl.Series("y", [2.0, 1.0])).tolist() == [1, 0]


def test_yes_and_no_as_each_program_writes_them():
    category = column("b", ["TRUE", "FALSE", "TRUE", "FALSE"])
    assert category.values == ("false", "true")
    for values in ([True, False], ["True", "False "]):
        x = category.encode(pl.Series("b", values), unknown="error")
        assert x.tolist() == [[0, 1], [1, 0]]


def test_the_order_of_classes_is_that_of_the_numbers_then_the_words():
    values = ["01", "1.0", "1", "2", "10", "b", "a"] * 4
    target = prepare_target("y", pl.Series("y", values))
    assert target.classes == ("01", "1", "1.0", "2", "10", "a", "b")


def test_dates_in_text_are_numbers():
    number = column("d", ["1970-01-03", None, "1970-01-05T12:00:00", "1970-01-05"])
    assert number.mean == pytest.approx((2 + 4.5 + 4) / 3)
    target = prepare_target("d", pl.Series("d", ["1970-01-03", "1970-01-05"] * 8))
    assert target.classes == ()


def test_a_number_far_from_all_that_was_seen():
    number = column("a", ["1", "2"])
    with pytest.raises(TableError, match="row 2: 1e\\+300 is too far from the training rows"):
        number.encode(pl.Series("a", [1.0, 1e300]), unknown="error")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1], [2], [3]], "expected numbers or text, got List"),
        ([1e20, 2e20] * 8, None),
        ([k * 1e-200 for k in range(30)], "too far apart, or too near"),
    ],
)
def test_targets_of_other_kinds(values, words):
    series = pl.Series("y", values)
    if words is None:
        assert prepare_target("y", series).encode(series).shape[0] == len(values)
        return
    with pytest.raises(TableError, match=words):
        prepare_target("y", series)


def test_categories_of_polars_and_pandas():
    values = pl.Series("c", ["u", "v", "u", "v"], dtype=pl.Categorical)
    assert prepare_column("c", values)[0] == Category("c", ("u", "v"))
    assert prepare_target("c", values).classes == ("u", "v")


def test_pictures_that_are_not_finite():
    with pytest.raises(TableError, match="picture 2: expected finite pixels"):
        Pixels((1, 2), 0.0, 1.0).encode(np.array([[[0.0, 1.0]], [[np.nan, 1.0]]]))
