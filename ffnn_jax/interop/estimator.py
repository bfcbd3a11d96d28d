"""scikit-learn's way of our network: `FFNNClassifier` and `FFNNRegressor`.

The parameters have `MLPClassifier`'s names and mean the same; those that we do not honour are
none. Data of float64 are computed in float32 unless JAX's 64-bit types are on.
"""

import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ffnn_jax import backprop, checks
from ffnn_jax.interop.sklearn_parameters import ACTIVATION_OF, OUTPUT_OF, from_sklearn, to_sklearn
from ffnn_jax.interop.solvers import (
    Examples,
    Solver,
    Trained,
    descend,
    half_loss,
    minimise,
    numbers_of,
    start,
    with_numbers,
)
from ffnn_jax.network import Network, init

SOLVERS = ("adam", "sgd", "lbfgs")
RATES = ("constant", "invscaling", "adaptive")
OUT_ACTIVATION = {ours: theirs for theirs, ours in OUTPUT_OF.items()}
ROWS = 256  # predict works in blocks of so many rows, the last filled up: one compilation
AUTO_BATCH = 200

_apply = jax.jit(backprop.apply)


class _Estimator(BaseEstimator):
    """What the two share."""

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def fit(self, X, y, sample_weight=None):
        """Trains a new network, or with `warm_start` goes on with the parameters of the last.

        Args:
          X: (N, n_0) numbers.
          y: (N,) classes, or for the regressor numbers (N,) or (N, n_L).
          sample_weight: (N,) none negative; None is 1 for each example.

        Returns:
          The estimator itself.

        Raises:
          TypeError, ValueError: a parameter or the data are not as described.
          NonFiniteLossError: the loss became NaN or infinite.
        """
        goes_on = bool(self.warm_start) and hasattr(self, "coefs_")
        data = self._examples(X, y, sample_weight, first=not goes_on)
        random = check_random_state(self.random_state)
        key, held_out = _key(random), None
        if self.early_stopping and self.solver != "lbfgs":
            data, held_out = self._held_out(data, random)
        net, solver = self._network(), self._solver(len(data.x))
        params = from_sklearn(self)[1] if goes_on else init(net, key, dtype=data.x.dtype)
        if solver.solver == "lbfgs":
            trained = minimise(net, solver, data, params, objective=self._objective)
        else:
            state = start(net, solver, data, key, params)
            trained = descend(
                net, solver, data, state, objective=self._objective, held_out=held_out
            )
        self._keep(net, trained, before=())
        if not trained.converged:
            warnings.warn(
                f"{type(self).__name__}: max_iter={self.max_iter} was reached and the loss still "
                "falls; raise max_iter, or scale the data",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X):
        """The class of each row of X, or the regressor's numbers, (N,) or (N, n_L).

        Raises:
          NotFittedError: before fit.
          ValueError: X has other columns than the data of fit, NaN or infinity.
        """
        return self._decided(self._outputs(X))

    # Inside ----------------------------------------------------------------------------------

    def _partial_fit(self, X, y, sample_weight, *, first: bool, classes: Any = None):
        """One epoch more, the moments of the optimizer going on with the parameters."""
        if self.solver == "lbfgs" or self.early_stopping:
            raise ValueError("partial_fit: expected solver adam or sgd, and no early_stopping")
        data = self._examples(X, y, sample_weight, first=first, classes=classes)
        net, solver = self._network(), self._solver(len(data.x))._replace(max_iter=1)
        if self._state is None:
            key = _key(check_random_state(self.random_state))
            params = init(net, key, dtype=data.x.dtype) if first else from_sklearn(self)[1]
            state = start(net, solver, data, key, params)
        else:
            state = with_numbers(jax.tree.map(jnp.asarray, self._state), numbers_of(solver, data))
        trained = descend(net, solver, data, state, objective=self._objective)
        self._keep(net, trained, before=() if first else self.loss_curve_)
        self._state = jax.tree.map(np.asarray, trained.state)
        return self

    def _examples(self, X, y, sample_weight, *, first: bool, classes: Any = None) -> Examples:
        """The data, checked.

        first: whether they say what columns there are, and, if not told, what classes.
        """
        dtype = jax.dtypes.canonicalize_dtype(np.float64)
        X, y = validate_data(self, X, y, dtype=dtype, reset=first, **self._y_options)
        checks.check_switch("warm_start", self.warm_start)
        target = self._target(y, first, classes)
        if target.dtype != np.int32:
            target = target.astype(dtype)
        if sample_weight is None:
            return Examples(X, target, None)
        weights = _check_sample_weight(sample_weight, X, dtype=dtype, ensure_non_negative=True)
        checks.check_weights(weights, (len(X),))
        return Examples(X, target, weights)

    def _held_out(self, data: Examples, random: Any) -> tuple[Examples, Examples]:
        """The data in two parts; the second, of validation_fraction, is not trained on."""
        rows = train_test_split(
            np.arange(len(data.x)),
            test_size=self.validation_fraction,
            random_state=random,
            stratify=self._strata(data.y),
        )
        train, held_out = (jax.tree.map(lambda t, part=part: t[part], data) for part in rows)
        return train, held_out

    def _network(self) -> Network:
        hidden = self.hidden_layer_sizes
        hidden = (hidden,) if isinstance(hidden, numbers.Integral) else tuple(hidden)
        activation = self.activation
        if isinstance(activation, str):
            activation = ACTIVATION_OF.get(activation, activation)
        return Network(
            sizes=(self.n_features_in_, *hidden, self._width()),
            activation=activation,
            output=self._output(),
        )

    def _solver(self, examples: int) -> Solver:
        """The parameters, checked, for so many examples."""
        checks.check_name("solver", self.solver, SOLVERS)
        checks.check_name("learning_rate", self.learning_rate, RATES)
        for name in ("alpha", "tol", "momentum", "power_t", "beta_1", "beta_2"):
            checks.check_not_negative_float(name, getattr(self, name))
        for name in ("learning_rate_init", "epsilon"):
            checks.check_positive_float(name, getattr(self, name))
        for name in ("max_iter", "max_fun", "n_iter_no_change"):
            checks.check_positive_int(name, getattr(self, name))
        given = {name: getattr(self, name) for name in Solver._fields}
        batch = AUTO_BATCH
        if self.batch_size != "auto":
            batch = checks.check_positive_int("batch_size", self.batch_size)
        verbose, nesterov = bool(self.verbose), bool(self.nesterovs_momentum)
        given |= {"verbose": verbose, "nesterovs_momentum": nesterov}
        return Solver(**{**given, "batch_size": min(batch, examples)})

    def _keep(self, net: Network, trained: Trained, before: Sequence[float]) -> None:
        """Sets what the estimator has after fit, all of it NumPy or plain Python."""
        self.coefs_, self.intercepts_ = to_sklearn(net, trained.params)
        self.out_activation_ = OUT_ACTIVATION[net.output]
        self.n_layers_ = net.depth + 1
        self.loss_curve_ = [*before, *trained.losses]
        self.validation_loss_curve_ = trained.validation_losses
        self.loss_, self.best_loss_ = self.loss_curve_[-1], min(self.loss_curve_)
        self.n_iter_ = len(self.loss_curve_)
        self._state = None

    def _outputs(self, X) -> np.ndarray:
        """ŷ of each row, in blocks of one shape, so that it does not depend on the others."""
        check_is_fitted(self)
        net, params = from_sklearn(self)
        X = validate_data(self, X, dtype=params[0].W.dtype, reset=False)
        rows = len(X)
        X = np.pad(X, ((0, -rows % ROWS), (0, 0)))
        blocks = [np.asarray(_apply(net, params, X[i : i + ROWS])) for i in range(0, len(X), ROWS)]
        return np.concatenate(blocks)[:rows]


class FFNNClassifier(ClassifierMixin, _Estimator):
    """The network as scikit-learn's classifier, with `MLPClassifier`'s names.

    Two classes have one logistic output, more have a softmax; the loss is the cross-entropy plus
    α/(2n) Σ_k ‖W_k‖² (the attributes loss_… are without the penalty for adam and sgd).

    Args:
      hidden_layer_sizes: (n_1, …, n_{L−1}), or one int.
      activation: one name of ours or of scikit-learn's (logistic is our sigmoid), or one a layer.
      solver: adam, sgd, or lbfgs (SciPy's, all examples at once: for little data).
      alpha: α of the penalty.
      batch_size: of adam and sgd, at most N; "auto": 200.
      learning_rate: constant; for sgd also invscaling, η / (1 + examples seen)^power_t; adaptive:
        divided by 5 each time the loss no longer falls, until it is 1e-6.
      learning_rate_init: η of adam and sgd.
      power_t: as above.
      max_iter: epochs at most; of lbfgs, iterations.
      random_state: an int, a RandomState or None: of the start, of the order and of the split.
      tol: what the loss has to fall by; of lbfgs, the largest entry of the gradient at the end.
      verbose: whether to show a line of progress on stderr, for adam and sgd.
      warm_start: whether fit goes on with the parameters it has.
      momentum, nesterovs_momentum: of sgd.
      early_stopping: whether adam and sgd hold out validation_fraction of the data, stop by its
        loss (scikit-learn: by its score) and keep the best parameters.
      validation_fraction: as above.
      beta_1, beta_2, epsilon: of adam.
      n_iter_no_change: how many epochs without such a fall end the training.
      max_fun: how often lbfgs may look at the loss.

    Attributes:
      classes_: the classes, sorted.
      coefs_, intercepts_: W_kᵀ and b_k of each layer, NumPy.
      n_features_in_, feature_names_in_: of X.
      n_iter_, loss_curve_, loss_, best_loss_, validation_loss_curve_: of the training.
      n_layers_, n_outputs_, out_activation_: as scikit-learn's.

    `ffnn_jax.interop.from_sklearn(estimator)` gives (net, params), to be saved or exported.

    Example:
      >>> from ffnn_jax.interop import FFNNClassifier
      >>> from sklearn.datasets import load_iris
      >>> from sklearn.pipeline import make_pipeline
      >>> from sklearn.preprocessing import StandardScaler
      >>> model = make_pipeline(StandardScaler(), FFNNClassifier(solver="lbfgs", random_state=0))
      >>> X, y = load_iris(return_X_y=True)
      >>> float(model.fit(X, y).score(X, y)) > 0.97
      True
    """

    _objective = staticmethod(backprop.loss)
    _y_options = {}

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch on some of the data.

        Args:
          X, y, sample_weight: as for `fit`.
          classes: all classes there will be; needed in the first call, then no more.

        Raises:
          ValueError: as `fit`; classes missing in the first call, or others than before; the
            solver is lbfgs, or early_stopping is on.
        """
        first = not hasattr(self, "coefs_")
        if first and classes is None:
            raise ValueError("classes: expected all classes in the first call of partial_fit")
        known = None if classes is None else np.unique(classes)
        if not first and known is not None and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes: expected {self.classes_}, as before; got {known}")
        return self._partial_fit(X, y, sample_weight, first=first, classes=known)

    def predict_proba(self, X):
        """The probability of each class, (N, number of classes), in the order of `classes_`."""
        yhat = self._outputs(X)
        return np.hstack([1 - yhat, yhat]) if len(self.classes_) == 2 else yhat

    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _target(self, y: Any, first: bool, classes: Any) -> np.ndarray:
        """The number of the class of each example, int32, or of two 0.0 and 1.0."""
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        if first:
            self.classes_ = np.unique(y) if classes is None else classes
            if len(self.classes_) < 2:
                raise ValueError(f"y: expected at least 2 classes, got 1 class: {self.classes_[0]}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y: expected classes among {self.classes_}, got {unknown}")
        codes = np.searchsorted(self.classes_, y)
        return codes.astype(np.float32 if len(self.classes_) == 2 else np.int32)

    def _width(self) -> int:
        self.n_outputs_ = 1 if len(self.classes_) == 2 else len(self.classes_)
        return self.n_outputs_

    def _output(self) -> str:
        return "logistic" if len(self.classes_) == 2 else "softmax"

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        return y

    def _decided(self, yhat: np.ndarray) -> np.ndarray:
        codes = (yhat[:, 0] > 0.5).astype(int) if len(self.classes_) == 2 else yhat.argmax(axis=1)
        return self.classes_[codes]


class FFNNRegressor(RegressorMixin, _Estimator):
    """The network as scikit-learn's regressor, with `MLPRegressor`'s names.

    Linear outputs; what is minimised is ½ the squared error, summed over the outputs, plus
    α/(2n) Σ_k ‖W_k‖². y is taken as it comes: standardise it, for instance with scikit-learn's
    `TransformedTargetRegressor`, where its numbers are far from 1.

    Args and attributes as for `FFNNClassifier`; there are no classes.
    """

    _objective = staticmethod(half_loss)
    _y_options = {"multi_output": True, "y_numeric": True}

    def partial_fit(self, X, y, sample_weight=None):
        """One epoch on some of the data.

        Args, returns and raises as `fit`; and ValueError for lbfgs and early_stopping.
        """
        return self._partial_fit(X, y, sample_weight, first=not hasattr(self, "coefs_"))

    def _target(self, y: Any, first: bool, classes: Any) -> np.ndarray:
        """y as (N,) or (N, n_L)."""
        del classes
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        width = 1 if y.ndim == 1 else y.shape[1]
        if first:
            self.n_outputs_ = width
        elif width != self.n_outputs_:
            raise ValueError(f"y: expected {self.n_outputs_} outputs, as before; got {width}")
        return y

    def _width(self) -> int:
        return self.n_outputs_

    def _output(self) -> str:
        return "linear"

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        return None

    def _decided(self, yhat: np.ndarray) -> np.ndarray:
        return yhat[:, 0] if self.n_outputs_ == 1 else yhat


def _key(random: Any) -> jax.Array:
    """A key drawn from a RandomState."""
    return jax.random.PRNGKey(random.randint(np.iinfo(np.int32).max))
