"""scikit-learn's way: its own checks, its own tools, and the same steps as its own MLP."""

import pickle
import warnings

import jax
import numpy as np
import pytest

import ffnn_jax as ffnn
from ffnn_jax import epochs, interop

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.compose import TransformedTargetRegressor  # noqa: E402
from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402

from ffnn_jax.interop import FFNNClassifier, FFNNRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0}


def data(classes=3, examples=40, seed=0, outputs=None):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((examples, 4))
    if classes is None:
        y = np.sin(x @ draw.standard_normal((4, outputs or 1)))
        return x, y if outputs else y[:, 0]
    return x, np.arange(examples) % classes


# Some of scikit-learn's checks, those that compile little or ask for much; all of them, with each
# solver, are what scripts/estimator_checks.py runs.
CHECKS = (
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimators_nan_inf",
    "check_estimators_unfitted",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_dict_unchanged",
    "check_estimators_pickle",
)
SLOW_CHECKS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_estimators_partial_fit_n_features",
)


def run_check(name, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@pytest.mark.parametrize("kind", [FFNNClassifier, FFNNRegressor])
@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_scikit_learn(kind, name):
    run_check(name, kind(solver="lbfgs"))


@pytest.mark.parametrize("kind", [FFNNClassifier, FFNNRegressor])
@pytest.mark.parametrize("name", SLOW_CHECKS)
def test_checks_with_adam(kind, name):
    run_check(name, kind())


# The same steps as scikit-learn's ----------------------------------------------------------------

SGD = {"solver": "sgd", "momentum": 0.0}
STEPS = [
    ("numbers", True, SGD),
    ("two", True, {**SGD, "momentum": 0.8}),
    ("three", False, {**SGD, "momentum": 0.8, "nesterovs_momentum": False}),
    ("numbers", False, {**SGD, "learning_rate": "invscaling", "power_t": 0.3}),
    ("three", True, {"solver": "adam", "beta_1": 0.8, "beta_2": 0.9}),
    ("numbers", True, {"solver": "lbfgs", "max_iter": 60, "tol": 1e-8}),
]


@pytest.mark.parametrize(("kind", "weighted", "options"), STEPS)
def test_the_steps_are_those_of_scikit_learn(kind, weighted, options):
    """All examples in one batch, from the same start: the same parameters after them."""
    if kind == "numbers":
        ours, theirs, (x, y) = FFNNRegressor, MLPRegressor, data(None)
    else:
        ours, theirs, (x, y) = FFNNClassifier, MLPClassifier, data(2 if kind == "two" else 3)
    weights = np.random.default_rng(1).uniform(0.2, 2, len(x)) if weighted else None
    settings = {
        "hidden_layer_sizes": (6,),
        "activation": "tanh",
        "alpha": 2.0,
        "learning_rate_init": 0.05,
        "max_iter": 4,
        "warm_start": True,
        **options,
    }
    a, b = ours(**settings, random_state=0), theirs(**settings, random_state=0)
    a.fit(x, y, weights)
    b.fit(x, y, weights)
    b.coefs_, b.intercepts_ = ([t.copy() for t in ts] for ts in (a.coefs_, a.intercepts_))
    b.t_ = 0
    a.fit(x, y, weights)
    b.fit(x, y, weights)
    tolerance = {"sgd": 1e-10, "adam": 1e-6, "lbfgs": 1e-3}[settings["solver"]]
    for found, expected in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(found, expected, tolerance, tolerance)
    np.testing.assert_allclose(a.predict(x), b.predict(x), tolerance, tolerance)


# Its tools ---------------------------------------------------------------------------------------


def test_pipeline_grid_search_and_cross_validation():
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), FFNNClassifier((16,), solver="lbfgs", random_state=0))
    assert cross_val_score(model, x, y, cv=2).mean() > 0.92
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    search = GridSearchCV(model, {"ffnnclassifier__alpha": [1e-4, 1.0]}, cv=2).fit(x, names)
    assert search.best_score_ > 0.92
    assert set(search.predict(x)) == {"setosa", "versicolor", "virginica"}


def test_a_search_over_numbers_compiles_once():
    x, y = data()
    before = epochs.compiled_epochs._cache_size()
    for number in (1e-4, 1e-2):
        FFNNClassifier((5,), max_iter=3, alpha=number, learning_rate_init=number).fit(x, y)
    assert epochs.compiled_epochs._cache_size() == before + 1


def test_diabetes_with_a_standardised_target():
    x, y = load_diabetes(return_X_y=True)
    regressor = FFNNRegressor((8,), solver="lbfgs", alpha=10.0, random_state=0)
    model = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), regressor), transformer=StandardScaler()
    )
    assert cross_val_score(model, x, y, cv=2).mean() > 0.42


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("outputs", [None, 2])
def test_clone_pickle_and_what_is_kept(dtype, outputs):
    x, y = data(None, outputs=outputs)
    x = x.astype(dtype)
    model = FFNNRegressor(**SMALL).fit(x, y)
    again = clone(model).fit(x, y)
    restored = pickle.loads(pickle.dumps(model))
    assert model.predict(x).shape == y.shape
    assert model.predict(x).dtype == dtype
    for other in (again, restored):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
    model.partial_fit(x, y)
    leaves = jax.tree.leaves(vars(model))
    assert all(type(leaf).__module__ in ("builtins", "numpy") for leaf in leaves)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_network_of_a_fitted_estimator(classes, x64):
    x, y = data(classes)
    model = FFNNClassifier(**{**SMALL, "hidden_layer_sizes": 6, "activation": "gelu"}).fit(x, y)
    net, params = interop.from_sklearn(model)
    expected = model.predict_proba(x)
    assert net.sizes == (4, 6, 1 if classes == 2 else 3)
    found = np.asarray(ffnn.apply(net, params, x))
    np.testing.assert_allclose(found, expected[:, 1:] if classes == 2 else expected, 1e-12)
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(expected), 1e-12)
    np.testing.assert_array_equal(model.predict(x), model.classes_[expected.argmax(1)])
    np.testing.assert_allclose(expected.sum(axis=1), 1, 1e-12)


# Ways to train -----------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_parameters():
    x, y = data(examples=60, seed=1)
    y = np.random.default_rng(0).permutation(y)  # nothing to learn: it gets worse soon
    options = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 4}
    model = FFNNClassifier((6,), learning_rate_init=0.05, random_state=0, **options).fit(x, y)
    losses = model.validation_loss_curve_
    assert len(losses) == model.n_iter_ < model.max_iter
    assert min(losses) < losses[-1]
    train = FFNNClassifier((6,), learning_rate_init=0.05, random_state=0, max_iter=model.n_iter_)
    assert not np.array_equal(train.fit(x, y).coefs_[0], model.coefs_[0])


def test_the_adaptive_rate_goes_on_where_a_constant_one_stops():
    x, y = data()
    options = {"solver": "sgd", "learning_rate_init": 1.0, "n_iter_no_change": 2, "tol": 1e-2}
    runs = [
        FFNNClassifier((6,), random_state=0, learning_rate=rate, **options).fit(x, y)
        for rate in ("constant", "adaptive")
    ]
    first = runs[0].n_iter_
    assert first < runs[1].n_iter_ < 200
    np.testing.assert_array_equal(runs[0].loss_curve_, runs[1].loss_curve_[:first])


def test_warm_start_goes_on():
    x, y = data()
    model = FFNNClassifier(**SMALL, warm_start=True).fit(x, y)
    first = model.loss_
    assert model.fit(x, y).loss_curve_[0] < first
    with pytest.raises(ValueError, match="expected classes among"):
        model.fit(x, y + 1)


def test_partial_fit_is_fit_in_pieces():
    x, y = data()
    whole = FFNNClassifier(**SMALL).fit(x, y)
    parts = FFNNClassifier(**SMALL)
    for _ in range(5):
        parts.partial_fit(x, y, classes=np.unique(y))
    for found, expected in zip(parts.coefs_, whole.coefs_, strict=True):
        np.testing.assert_allclose(found, expected, 1e-12)
    assert parts.n_iter_ == 5
    with pytest.raises(ValueError, match="classes: expected all classes"):
        FFNNClassifier().partial_fit(x, y)
    with pytest.raises(ValueError, match=r"classes: expected \[0 1 2\], as before"):
        parts.partial_fit(x, y, classes=[0, 1])
    assert not hasattr(FFNNRegressor(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit: expected early_stopping off"):
        FFNNRegressor(early_stopping=True).partial_fit(x, y)


def test_it_says_that_it_did_not_converge():
    x, y = data()
    for solver in ("adam", "lbfgs"):
        with (
            warnings.catch_warnings(),
            pytest.warns(ConvergenceWarning, match="FFNNClassifier: max_iter=2 was reached"),
        ):
            FFNNClassifier((6,), solver=solver, max_iter=2).fit(x, y)


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("solver", "newton", ValueError),
        ("activation", "rely", ValueError),
        ("learning_rate", 0.1, TypeError),
        ("learning_rate_init", 0, ValueError),
        ("alpha", -1, ValueError),
        ("batch_size", 0, ValueError),
        ("batch_size", "all", TypeError),
        ("max_iter", 0, ValueError),
        ("max_iter", 1.5, TypeError),
        ("tol", -1e-3, ValueError),
        ("n_iter_no_change", 0, ValueError),
        ("warm_start", "yes", TypeError),
        ("momentum", 1.5, ValueError),
        ("beta_1", 1.0, ValueError),
        ("hidden_layer_sizes", (3, 0), ValueError),
        ("hidden_layer_sizes", "ab", TypeError),
    ],
)
def test_a_bad_parameter_is_named(name, value, error):
    x, y = data()
    word = {"hidden_layer_sizes": "sizes"}.get(name, name)
    with pytest.raises(error, match=word):
        FFNNClassifier(**{name: value}).fit(x, y)


def test_bad_data():
    x, y = data()
    with pytest.raises(ValueError, match="at least 2 classes, got 1 class"):
        FFNNClassifier().fit(x, np.zeros_like(y))
    with pytest.raises(ValueError, match="Negative values"):
        FFNNClassifier().fit(x, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="NaN"):
        FFNNRegressor().fit(np.where(x > 2, np.nan, x), y)
    model = FFNNRegressor(**SMALL).fit(x, y)
    with pytest.raises(ValueError, match="3 features, but FFNNRegressor is expecting 4"):
        model.predict(x[:, :3])
    with pytest.raises(ValueError, match="expected 1 outputs, as before; got 2"):
        model.partial_fit(x, np.stack([y, y], axis=1))
