"""Are the probabilities right? Measured in bins, and put right by one number.

  ŷ = O(a_L / T)      T = argmin over T > 0 of the mean −log ŷ of what happened (Guo et al. 2017)
  ECE = Σ_b (n_b / N) |accuracy_b − confidence_b|

With β = 1/T the mean loss is convex: softmax has slope E[Σ_c ŷ_c a_c − a_y] and curvature
E[Σ_c ŷ_c a_c² − (Σ_c ŷ_c a_c)²] ≥ 0, logistic Σ_j E[(ŷ_j − y_j) a_j] and Σ_j E[ŷ_j (1 − ŷ_j) a_j²].

All in NumPy and float64: the logits are there already, and there is one number to find.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from ffnn_jax import checks
from ffnn_jax.network import Layer, Params

ITERATIONS = 200  # each at least halves what is left of the bracket


class Reliability(NamedTuple):
    """What was promised and what came of it, bin by bin.

    Attributes:
      confidence: the mean confidence of the bin's answers, float64 (bins,); NaN in an empty bin.
      accuracy: the share of them that are right, float64 (bins,); NaN in an empty bin.
      count: how many they are, int (bins,).
      ece: the expected calibration error, Σ_b (n_b / N) |accuracy_b − confidence_b|.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray  # type: ignore[assignment]
    ece: float


def fit_temperature(
    logits: ArrayLike, y: ArrayLike, *, weights: ArrayLike | None = None, output: str = "softmax"
) -> float:
    """The temperature T that makes O(a_L / T) fit held-out examples best.

    T > 1 takes certainty away, T < 1 adds some; which class is the largest never changes. It is to
    be fitted on examples that were not trained on. Newton's method in β = 1/T, kept inside a
    bracket.

    Args:
      logits: a_L, (N, n_L), `forward(net, params, x).a[-1]`; for one logistic output also (N,).
      y: of softmax, classes, integers (N,); of logistic, 0 or 1 (or a probability), the shape of
        the logits, or (N,) for one output.
      weights: (N,), none negative, not all 0; None is 1 for each example.
      output: softmax or logistic.

    Returns:
      T; `with_temperature` builds it into the parameters.

    Raises:
      TypeError: an argument that is no array of numbers, or classes that are no integers.
      ValueError: shapes that do not fit, values that are not finite, a class that has no logit, a
        y outside 0 … 1; or no T is best: where every example is right the loss falls for ever as
        T → 0, and where the logits know no better than chance it falls for ever as T → ∞.

    Example:
      >>> import numpy as np
      >>> from ffnn_jax.calibration import fit_temperature
      >>> logits = np.array([[4.0, 0.0]] * 4)  # 98 %, and three of four are right
      >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 3)  # 4 / log 3
      3.641
    """
    checks.check_name("output", output, ["softmax", "logistic"])
    a, y = _as_columns("logits", logits, y, output)
    checks.check_weights(weights, (len(a),))
    share = np.ones(len(a)) if weights is None else np.asarray(weights, np.float64)
    if output == "softmax":
        a = a - a.max(axis=1, keepdims=True)
    scale = np.abs(a).max() or 1.0  # β is found in the unit 1 / scale
    problem = _Problem(a / scale, y, share / share.sum(), output)
    _check_there_is_a_best(problem)
    return float(scale / _root(problem))


def with_temperature(params: Params, temperature: float) -> Params:
    """Parameters whose a_L is divided by T: W_L / T and b_L / T.

    A network of softmax or logistic outputs then has its calibrated ŷ with no further step.

    Args:
      params: a tuple of `Layer(W, b)`.
      temperature: T > 0.

    Returns:
      The parameters, those below the last layer as they were.

    Raises:
      TypeError: params are no layers, T is no number.
      ValueError: T is not above 0 or not finite.
    """
    checks.check_positive_float("temperature", temperature)
    layers = isinstance(params, tuple | list) and all(hasattr(p, "W") for p in params)
    if not layers or not params:
        raise TypeError(f"params: expected a tuple of Layer(W, b), got {checks.kind(params)}")
    W, b = params[-1]
    T = float(temperature)
    return (*params[:-1], Layer(W / T, b / T))


def reliability(
    yhat: ArrayLike, y: ArrayLike, *, bins: int = 15, output: str = "softmax"
) -> Reliability:
    """Confidence against accuracy in bins of equal width, and the expected calibration error.

    The confidence of softmax is its largest ŷ_c, and that class is its answer. A logistic output
    answers yes where ŷ_j > ½, with confidence ŷ_j, and otherwise no, with 1 − ŷ_j; each output
    counts by itself. Bin b, from 1 to B, holds confidences in ((b − 1)/B, b/B]. The error depends
    on the bins, and is above 0 even of right probabilities where few examples fall into a bin.

    Args:
      yhat: ŷ, (N, n_L), from 0 to 1; for one logistic output also (N,).
      y: of softmax, classes, integers (N,); of logistic, 0 or 1, the shape of ŷ, or (N,) for one
        output.
      bins: B, at least 1; 15 as in Guo et al. 2017.
      output: softmax or logistic.

    Returns:
      `Reliability`.

    Raises:
      TypeError: an argument that is no array of numbers, or bins no int.
      ValueError: shapes that do not fit, a ŷ or y outside 0 … 1, a class that has no ŷ, bins below
        1, or an unknown output.

    Example:
      >>> import numpy as np
      >>> from ffnn_jax.calibration import reliability
      >>> found = reliability(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]), bins=2)
      >>> found.count.tolist(), found.accuracy[1].item(), found.ece
      ([0, 4], 0.75, 0.0)
    """
    checks.check_name("output", output, ["softmax", "logistic"])
    bins = checks.check_positive_int("bins", bins)
    p, y = _as_columns("yhat", yhat, y, output)
    checks.check_between_0_and_1("yhat", p)
    if output == "softmax":
        confidence, answer = p.max(axis=1), p.argmax(axis=1)
        right = y[np.arange(len(y)), answer] == 1
    else:
        confidence, right = np.maximum(p, 1 - p).ravel(), ((p > 0.5) == (y > 0.5)).ravel()
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(number, minlength=bins)
    promised = np.bincount(number, confidence, bins)
    came = np.bincount(number, right, bins)
    with np.errstate(invalid="ignore"):
        means = promised / count, came / count
    return Reliability(*means, count, float(np.abs(came - promised).sum() / count.sum()))


# The one number ----------------------------------------------------------------------------------


class _Problem(NamedTuple):
    """The mean loss as a function of β.

    Attributes:
      a: logits, (N, n_L), none beyond ±1.
      y: targets as numbers, (N, n_L).
      share: of each example in the mean, (N,).
      output: softmax or logistic.
    """

    a: np.ndarray
    y: np.ndarray
    share: np.ndarray
    output: str

    def slope(self, yhat: np.ndarray) -> float:
        """Σ_i w_i Σ_c (ŷ_c − y_c) a_c."""
        return float(self.share @ np.sum((yhat - self.y) * self.a, axis=1))

    def slope_and_curvature(self, beta: float) -> tuple[float, float]:
        """Of softmax Σ_i w_i (Σ_c ŷ_c a_c² − (Σ_c ŷ_c a_c)²), of logistic ŷ (1 − ŷ) a²."""
        if self.output == "softmax":
            e = np.exp(beta * self.a)  # the largest a is 0
            yhat = e / e.sum(axis=1, keepdims=True)
            mean = np.sum(yhat * self.a, axis=1, keepdims=True)
            spread = yhat * (self.a - mean) ** 2
        else:
            yhat = (1 + np.tanh(beta * self.a / 2)) / 2
            spread = yhat * (1 - yhat) * self.a**2
        return self.slope(yhat), float(self.share @ spread.sum(axis=1))


def _root(problem: _Problem) -> float:
    """β > 0 with slope 0: Newton's step, or the middle of the bracket where that leaves it."""
    low, high = 0.0, 1.0
    while problem.slope_and_curvature(high)[0] < 0:
        low, high = high, 2 * high
    beta = (low + high) / 2
    for _ in range(ITERATIONS):
        slope, curvature = problem.slope_and_curvature(beta)
        low, high = (beta, high) if slope < 0 else (low, beta)
        new = beta - slope / curvature if curvature > 0 else low
        if not low < new < high:
            new = (low + high) / 2
        if abs(new - beta) <= 1e-14 * beta:
            return new
        beta = new
    return beta


def _check_there_is_a_best(problem: _Problem) -> None:
    """The slope is below 0 at β = 0 and above 0 as β → ∞."""
    a, softmax = problem.a, problem.output == "softmax"
    chance = np.full_like(a, 1 / a.shape[1] if softmax else 0.5)
    certain = (a == 0) if softmax else (a > 0)  # the largest logit of softmax is 0 here
    if problem.slope(certain / certain.sum(axis=1, keepdims=True) if softmax else certain) <= 0:
        raise ValueError(
            "logits: no temperature is best: every example is right, so the loss falls for ever as "
            "T → 0; take more examples that were not trained on"
        )
    if problem.slope(chance) >= 0:
        raise ValueError(
            "logits: no temperature is best: they know no better than chance, so the loss falls "
            "for ever as T → ∞"
        )


def _as_columns(argument: str, values: Any, y: Any, output: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, n_L), y one-hot of classes."""
    values = np.asarray(checks.as_array(argument, values)).astype(np.float64)
    y = np.asarray(checks.as_array("y", y))
    if output == "logistic" and values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{argument}: expected shape (N, n_L), got {values.shape}")
    checks.check_finite(argument, values)
    N, K = values.shape
    if output == "softmax":
        if not np.issubdtype(y.dtype, np.integer):
            raise TypeError(f"y: expected classes, integers; got {y.dtype}")
        checks.check_y(K, y, (N,), classes=True)
        if y.shape != (N,):
            raise ValueError(f"y: expected shape ({N},), got {y.shape}")
        return values, np.eye(K)[y]
    if y.shape != (N, K) and not (y.shape == (N,) and K == 1):
        raise ValueError(f"y: expected shape {(N, K)}, got {y.shape}")
    checks.check_between_0_and_1("y", y)
    return values, y.astype(np.float64).reshape(N, K)
