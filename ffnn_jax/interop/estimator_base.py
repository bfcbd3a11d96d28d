"""What the two estimators share: their parameters, fit, and predict.

X of float32 is computed in float32; everything else is brought to float64 and computed in that, as
scikit-learn does: `jax.enable_x64` is on inside fit and predict, and nowhere else.
"""

import contextlib
import numbers
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ffnn_jax import backprop, checks
from ffnn_jax.interop.sklearn_parameters import ACTIVATION_OF, OUTPUT_OF, from_sklearn, to_sklearn
from ffnn_jax.interop.solvers import (
    Examples,
    Solver,
    Trained,
    descend,
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


class Estimator(BaseEstimator):
    """A network with scikit-learn's methods; how y becomes a target is the subclasses'.

    A subclass has `_objective`, what is minimised, `_y_options`, how y is validated, and the
    methods `_target`, `_strata`, `_width`, `_output` and `_decided`.
    """

    n_features_in_: int
    _objective: Any
    _target: Callable[..., np.ndarray]
    _strata: Callable[..., np.ndarray | None]
    _width: Callable[[], int]
    _output: Callable[[], str]
    _decided: Callable[..., np.ndarray]
    _y_options: ClassVar[dict[str, bool]] = {}

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
        seed, held_out = _seed(random), None
        if self.early_stopping and self.solver != "lbfgs":
            data, held_out = self._held_out(data, random)
        net, solver = self._network(), self._solver(len(data.x))
        with _settings(data.x.dtype):
            key = jax.random.PRNGKey(seed)
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
        if self.early_stopping:
            raise ValueError(
                "partial_fit: expected early_stopping off: an epoch has no held-out part"
            )
        data = self._examples(X, y, sample_weight, first=first, classes=classes)
        net, solver = self._network(), self._solver(len(data.x))._replace(max_iter=1)
        state = getattr(self, "_state", None)
        seed = _seed(check_random_state(self.random_state)) if state is None else None
        with _settings(data.x.dtype):
            if seed is not None:
                key = jax.random.PRNGKey(seed)
                params = init(net, key, dtype=data.x.dtype) if first else from_sklearn(self)[1]
                state = start(net, solver, data, key, params)
            state = with_numbers(jax.tree.map(jnp.asarray, state), numbers_of(solver, data))
            trained = descend(net, solver, data, state, objective=self._objective)
        self._keep(net, trained, before=() if first else self.loss_curve_)
        self._state = jax.tree.map(np.asarray, trained.state)
        return self

    def _examples(self, X, y, sample_weight, *, first: bool, classes: Any = None) -> Examples:
        """The data, checked.

        first: whether they say what columns there are, and, if not told, what classes.
        """
        dtypes = [np.float64, np.float32] if first else self.coefs_[0].dtype
        checked: Any = validate_data(self, X, y, dtype=dtypes, reset=first, **self._y_options)
        X, y = checked
        checks.check_switch("warm_start", self.warm_start)
        target = self._target(y, first, classes)
        if target.dtype != np.int32:
            target = target.astype(X.dtype)
        if sample_weight is None:
            return Examples(X, target, None)
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
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
        hidden: Any = self.hidden_layer_sizes
        if isinstance(hidden, numbers.Integral):
            hidden = (hidden,)
        elif not isinstance(hidden, tuple | list | np.ndarray):
            raise TypeError(f"hidden_layer_sizes: expected ints in a tuple, got {hidden!r}")
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
        for name in ("alpha", "tol", "power_t", "momentum", "beta_1", "beta_2"):
            checks.check_not_negative_float(name, getattr(self, name))
        for name in ("momentum", "beta_1", "beta_2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name}: expected below 1, got {getattr(self, name)!r}")
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
        dtype = self.coefs_[0].dtype
        X = validate_data(self, X, dtype=dtype, reset=False)
        rows = len(X)
        X = np.pad(X, ((0, -rows % ROWS), (0, 0)))
        with _settings(dtype):
            net, params = from_sklearn(self)
            starts = range(0, len(X), ROWS)
            blocks = [np.asarray(_apply(net, params, X[i : i + ROWS])) for i in starts]
        return np.concatenate(blocks)[:rows]


def has_partial_fit(estimator: Estimator) -> bool:
    """Whether the solver works epoch by epoch; an estimator without says so in `hasattr`."""
    return estimator.solver != "lbfgs"


def _seed(random: np.random.RandomState) -> int:
    """A seed for JAX drawn from scikit-learn's random numbers."""
    return random.randint(np.iinfo(np.int32).max)


@contextlib.contextmanager
def _settings(dtype: np.dtype) -> Iterator[None]:
    """JAX's settings for the length of a computation, whatever they are outside.

    64-bit types for float64; and promotion, since optax's adam raises its moments, here numbers
    of the state, to an integer power.
    """
    wide = jax.enable_x64(True) if dtype == np.float64 else contextlib.nullcontext()
    with wide, jax.numpy_dtype_promotion("standard"):
        yield
