"""scikit-learn's way of our network: `FFNNClassifier` and `FFNNRegressor`.

The parameters have `MLPClassifier`'s names and mean the same; those that we do not honour are
none.
"""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from ffnn_jax import backprop
from ffnn_jax.interop.estimator_base import Estimator, has_partial_fit
from ffnn_jax.interop.solvers import half_loss


class FFNNClassifier(ClassifierMixin, Estimator):
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

    @available_if(has_partial_fit)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch on some of the data.

        Args:
          X, y, sample_weight: as for `fit`.
          classes: all classes there will be; needed in the first call, then no more.

        Raises:
          AttributeError: the solver is lbfgs.
          ValueError: as `fit`; classes missing in the first call, or others than before; or
            early_stopping is on.
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


class FFNNRegressor(RegressorMixin, Estimator):
    """The network as scikit-learn's regressor, with `MLPRegressor`'s names.

    Linear outputs; what is minimised is ½ the squared error, summed over the outputs, plus
    α/(2n) Σ_k ‖W_k‖². y is taken as it comes: standardise it, for instance with scikit-learn's
    `TransformedTargetRegressor`, where its numbers are far from 1.

    Args and attributes as for `FFNNClassifier`; there are no classes.
    """

    _objective = staticmethod(half_loss)
    _y_options: ClassVar[dict[str, bool]] = {"multi_output": True, "y_numeric": True}

    @available_if(has_partial_fit)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch on some of the data.

        Args, returns and raises as `fit`; and AttributeError for lbfgs, ValueError where
        early_stopping is on.
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
