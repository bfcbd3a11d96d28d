"""A rule that acts entry by entry with the wrong derivative: a table, and the form that it fits."""

from collections.abc import Callable

import numpy as np

from ffnn_jax.gradcheck.report import Diagnosis

ROWS = 4  # lines of the table in the message
FIT = 1e-4  # how near a known form has to be, relative

# Derivatives, and what is taken for them by mistake, of x alone.
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1": np.ones_like,
    "x": lambda x: x,
    "2x": lambda x: 2 * x,
    "x²": lambda x: x**2,
    "2x²": lambda x: 2 * x**2,
    "3x²": lambda x: 3 * x**2,
    "x³": lambda x: x**3,
    "1/x": lambda x: 1 / x,
    "−1/x²": lambda x: -1 / x**2,
    "1/(2√x)": lambda x: 0.5 / np.sqrt(x),
    "√x": np.sqrt,
    "sign x": np.sign,
    "|x|": np.abs,
    "eˣ": np.exp,
    "e⁻ˣ": lambda x: np.exp(-x),
    "log x": np.log,
    "sin x": np.sin,
    "−sin x": lambda x: -np.sin(x),
    "cos x": np.cos,
    "−cos x": lambda x: -np.cos(x),
    "tanh x": np.tanh,
    "1 − tanh²x": lambda x: 1 - np.tanh(x) ** 2,
    "1 − tanh x": lambda x: 1 - np.tanh(x),
    "1 + tanh²x": lambda x: 1 + np.tanh(x) ** 2,
    "1 − x²": lambda x: 1 - x**2,
    "x(1 − x)": lambda x: x * (1 - x),
    "σ(x)": lambda x: _sigmoid(x),
    "1 − σ(x)": lambda x: _sigmoid(-x),
    "σ(x)(1 − σ(x))": lambda x: _sigmoid(x) * _sigmoid(-x),
    "σ(x)(1 + σ(x))": lambda x: _sigmoid(x) * (1 + _sigmoid(x)),
    "σ(x)²": lambda x: _sigmoid(x) ** 2,
    "σ(x) + xσ(x)(1 − σ(x))": lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
    "x σ(x)": lambda x: x * _sigmoid(x),
    "log(1 + eˣ)": lambda x: np.logaddexp(x, 0),
    "1 where x > 0, else 0": lambda x: (x > 0).astype(float),
    "1 where x < 0, else 0": lambda x: (x < 0).astype(float),
    "1 where x > 0, else eˣ": lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    "1 where x > 0, else eˣ − 1": lambda x: np.where(x > 0, 1, np.expm1(np.minimum(x, 0))),
    "1 where x > 0, else 0.01": lambda x: np.where(x > 0, 1, 0.01),
    "max(x, 0)": lambda x: np.maximum(x, 0),
}


def formula_fault(x: np.ndarray, found: np.ndarray, truth: np.ndarray) -> Diagnosis | None:
    """The diagnosis of a function that acts entry by entry, or None when the inputs do not say it.

    Args:
      x: the inputs.
      found: the derivative that the rule has for each of them.
      truth: the derivative that is right, the same shape.
    """
    x, found, truth = x.ravel(), found.ravel(), truth.ravel()
    bad = np.abs(found - truth) > 1e-6 * np.maximum(np.abs(truth), np.abs(found))
    if not np.all(np.isfinite(found)) or not _told_by_the_input(x, bad):
        return None
    order = np.argsort(x[bad])
    chosen = order[np.unique(np.linspace(0, len(order) - 1, ROWS).astype(int))]
    rows = ", ".join(
        f"at {x[bad][i]:.4g}: {found[bad][i]:.6g} where {truth[bad][i]:.6g} is right"
        for i in chosen
    )
    fits = known_form(x, found)
    form = f"it is the derivative {fits}; " if fits else ""
    return Diagnosis("formula", f"a wrong derivative of each entry: {form}{rows}")


def known_form(x: np.ndarray, values: np.ndarray) -> str:
    """The name of the form that gives these values at x, or ""."""
    with np.errstate(all="ignore"):
        for name, form in FORMS.items():
            expected = form(x)
            size = np.linalg.norm(expected)
            if np.isfinite(size) and size > 0 and np.linalg.norm(values - expected) <= FIT * size:
                return name
    return ""


def _told_by_the_input(x: np.ndarray, bad: np.ndarray) -> bool:
    """Whether the input alone says where the derivative is wrong, and it is so more than once.

    Wrong for each, or for a range of inputs, or beyond or within a size: then the formula is.
    """
    if np.sum(bad) < 2:
        return False
    return any(_is_a_range(np.asarray(of), bad) for of in (x, np.abs(x)))


def _is_a_range(x: np.ndarray, bad: np.ndarray) -> bool:
    """Whether the places where it is wrong, in the order of x, make one range (or all but one)."""
    order = np.argsort(x, kind="stable")
    changes = int(np.sum(np.diff(bad[order].astype(int)) != 0))
    if changes <= 1:
        return True
    return changes == 2 and len(x) > 8


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))
