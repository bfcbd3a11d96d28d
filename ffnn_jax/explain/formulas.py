"""The local formula of each factor of the chain rule, with what goes into it.

The formulas are those of the tables `losses`, `outputs` and `activations`, with the names of the
units put in. A formula's value is computed from what is `given`, by the learner: here it is text.
"""

from typing import Any, NamedTuple

from ffnn_jax.activations import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE
from ffnn_jax.losses import SMOOTHED, Loss, parts_of

ACTIVATIONS = {  # by h where the table keeps h, by a where it keeps a
    "identity": "identity′({a}) = 1",
    "sigmoid": "σ′({a}) = {h}(1 − {h})",
    "tanh": "tanh′({a}) = 1 − {h}²",
    "relu": "relu′({a}) = 1 where {a} > 0, else 0",
    "leaky_relu": f"leaky_relu′({{a}}) = 1 where {{a}} ≥ 0, else {LEAKY_SLOPE}",
    "elu": "elu′({a}) = 1 where {h} > 0, else {h} + 1",
    "selu": "selu′({a}) = λ where {h} > 0, else {h} + λα",
    "softplus": "softplus′({a}) = 1 − e^(−{h})",
    "gelu": "gelu′({a}) = s(1 + {a}(1 − s)v), s = 1/(1 + e^(−2u)), "
    "u = √(2/π)({a} + 0.044715{a}³), v = 2√(2/π)(1 + 0.134145{a}²)",
    "silu": "silu′({a}) = s(1 + {a}(1 − s)), s = 1/(1 + e^(−{a}))",
}
GIVEN_A = ("relu", "leaky_relu", "gelu", "silu")
LOSSES = {
    "squared_error": "2({p} − {y})",
    "absolute_error": "sign({p} − {y})",
    "huber": "{p} − {y}, held between −δ and δ",
    "quantile": "−τ where {p} < {y}, else 1 − τ",
    "poisson": "e^({p}) − {y}",
    "cross_entropy": "−{y}/{p}",
    SMOOTHED: "−s/{p}, s = (1 − ε){y} + ε/{K}",
    "binary_cross_entropy": "−{y}/{p} + (1 − {y})/(1 − {p})",
}
PARAMETERS = {"huber": "δ", "quantile": "τ", SMOOTHED: "ε"}

Given = tuple[tuple[str, float], ...]


class Local(NamedTuple):
    """One derivative spelled out.

    Attributes:
      formula: such as "σ′(a_21) = h_21(1 − h_21)"; "" where there is none to write.
      given: ((symbol, value), …) of what stands in it.
    """

    formula: str
    given: Given


def activation(name: str, a: tuple[str, float], h: tuple[str, float]) -> Local:
    """∂h/∂a = g′(a), from (symbol, value) of a and of h."""
    if name == "identity":
        return Local(ACTIVATIONS[name].format(a=a[0], h=h[0]), ())
    constants = (("λ", SELU_SCALE), ("α", SELU_ALPHA)) if name == "selu" else ()
    given = a if name in GIVEN_A else h
    return Local(ACTIVATIONS[name].format(a=a[0], h=h[0]), (given, *constants))


def output(name: str, yhat_c: tuple[str, float], yhat_m: tuple[str, float] | None) -> Local:
    """∂ŷ_c/∂a_Lm, from (symbol, value) of ŷ_c and of ŷ_m; None for m = c."""
    if name == "linear":
        return Local("1", ())
    p = yhat_c[0]
    if yhat_m is None:
        return Local(f"{p}(1 − {p})", (yhat_c,))
    return Local(f"−{p} · {yhat_m[0]}", (yhat_c, yhat_m))


def loss(
    of: Loss, yhat: tuple[str, float], y: tuple[str, float] | None, is_label: bool, outputs: int
) -> Local:
    """∂ℓ/∂ŷ_c, from (symbol, value) of ŷ_c and of y_c.

    Args:
      of: the loss.
      yhat: ŷ_c.
      y: y_c; None for a loss of the user's own with a y of another kind.
      is_label: whether c is the true class ℓ of a cross-entropy, where y_ℓ = 1.
      outputs: n_L.
    """
    name, parameter = parts_of(of) or (None, None)
    if name is None or y is None:
        own: list[Any] = [yhat] if y is None else [yhat, y]
        return Local("", tuple(own))
    if name == "cross_entropy" and is_label:
        return Local(f"−1/{yhat[0]}", (yhat,))
    text = LOSSES[name].format(p=yhat[0], y=y[0], K=outputs)
    constants = () if parameter is None else ((PARAMETERS[name], parameter),)
    return Local(text, (yhat, y, *constants))
