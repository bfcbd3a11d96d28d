"""The rows of g, O and the losses as formulas to be read, in the notation of `names`."""

from ffnn_jax.losses import Loss
from ffnn_jax.network import Network

ACTIVATION = {  # g(a)
    "identity": "a",
    "sigmoid": "1 / (1 + e^{−a})",
    "tanh": "tanh a",
    "relu": "max(0, a)",
    "leaky_relu": "a, or 0.01 a where a < 0",
    "elu": "a, or e^{a} − 1 where a < 0",
    "softplus": "log(1 + e^{a})",
    "silu": "a / (1 + e^{−a})",
}
DERIVATIVE = {  # g′, from h where that is shorter
    "identity": "1",
    "sigmoid": "h (1 − h)",
    "tanh": "1 − h^{2}",
    "relu": "1 where a > 0, else 0",
    "leaky_relu": "1, or 0.01 where a < 0",
    "elu": "1, or h + 1 where a < 0",
    "softplus": "1 − e^{−h}",
}
OUTPUT = {
    "linear": "a_{L}",
    "softmax": "e^{a} / Σ e^{a}, entry by entry",
    "logistic": "1 / (1 + e^{−a})",
}
LOSS = {
    "squared_error": "Σ_{j} (ŷ_{j} − y_{j})^{2}",
    "absolute_error": "Σ_{j} |ŷ_{j} − y_{j}|",
    "cross_entropy": "−Σ_{c} y_{c} log ŷ_{c}",
    "binary_cross_entropy": "−Σ_{j} (y_{j} log ŷ_{j} + (1 − y_{j}) log(1 − ŷ_{j}))",
    "poisson": "Σ_{j} (e^{ŷ} − y_{j} ŷ_{j})",
}
LOSS_GRADIENT = {
    "squared_error": "2 (ŷ − y)",
    "absolute_error": "sign(ŷ − y)",
    "cross_entropy": "−y / ŷ, entry by entry",
    "binary_cross_entropy": "−y / ŷ + (1 − y) / (1 − ŷ)",
    "poisson": "e^{ŷ} − y",
}
JACOBIAN = {  # ∇a_L = J_Oᵀ ∇ŷ
    "linear": "∇ŷ, for ŷ = a_{L}",
    "softmax": "ŷ ⊙ (∇ŷ − Σ_{c} ŷ_{c} ∇ŷ_{c})",
    "logistic": "∇ŷ ⊙ ŷ ⊙ (1 − ŷ)",
}

NEAR_1 = 1e-6  # a sum of targets this near to 1 is 1 in the digits that are told


def loss_name(net: Network) -> str:
    """What the loss is called."""
    return net.loss.name if isinstance(net.loss, Loss) else str(net.loss)


def loss_value(net: Network) -> str:
    """ℓ as a formula; of the others its name."""
    return LOSS.get(str(net.loss), f"{loss_name(net)}(ŷ, y)")


def loss_gradient(net: Network) -> str:
    """∇ŷ as a formula."""
    return LOSS_GRADIENT.get(str(net.loss), f"∂ {loss_name(net)}(ŷ, y) / ∂ŷ")


def output_gradient(net: Network, total: float) -> str:
    """∇a_L as a formula: short where the output and the loss belong together.

    Args:
      net: the network.
      total: Σ_c y_c.
    """
    if (net.output, net.loss) == ("softmax", "cross_entropy") and abs(total - 1) > NEAR_1:
        return f"{JACOBIAN[net.output]} = ŷ Σ_{{c}} y_{{c}} − y"
    if (net.output, net.loss) in (
        ("softmax", "cross_entropy"),
        ("logistic", "binary_cross_entropy"),
    ):
        return f"{JACOBIAN[net.output]} = ŷ − y"
    return JACOBIAN[net.output]
