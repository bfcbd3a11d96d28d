"""scikit-learn's fitted `MLPClassifier` and `MLPRegressor` as a network of ours, and back.

  coefs_[k−1] = W_kᵀ        intercepts_[k−1] = b_k

A fitted estimator knows its activation and output, so the whole network comes with it.
"""

from typing import Any

import numpy as np

from ffnn_jax.interop.frameworks import check_both
from ffnn_jax.interop.named_layers import Convention, arrays_of, params_of
from ffnn_jax.network import Network, Params

SKLEARN = Convention("scikit-learn", "coefs_", "intercepts_", True)
ACTIVATION_OF = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
OUTPUT_OF = {"identity": "linear", "logistic": "logistic", "softmax": "softmax"}


def from_sklearn(estimator: Any) -> tuple[Network, Params]:
    """The network of a fitted `MLPClassifier` or `MLPRegressor`.

    A classifier of two classes has one logistic output, the probability of `classes_[1]`.

    Args:
      estimator: a fitted one; of its attributes are read: coefs_, intercepts_, activation and
        out_activation_.

    Returns:
      (net, params), the loss being the output's own; float64 becomes float32 where 64-bit types
      are switched off.

    Raises:
      TypeError: no such estimator.
      ValueError: it is not fitted, or has an output that ours have not (`loss="poisson"`).
    """
    if not hasattr(estimator, "hidden_layer_sizes") or not hasattr(estimator, "activation"):
        raise TypeError(
            f"estimator: expected an MLPClassifier or MLPRegressor, got {type(estimator).__name__}"
        )
    if not hasattr(estimator, "coefs_"):
        raise ValueError("estimator: expected a fitted one; call fit first")
    output, activation = estimator.out_activation_, estimator.activation
    if isinstance(activation, str):
        activation = ACTIVATION_OF.get(activation, activation)
    if output not in OUTPUT_OF:
        raise ValueError(f"estimator: the output {output!r} is none of {', '.join(OUTPUT_OF)}")
    sizes = (estimator.coefs_[0].shape[0], *(W.shape[1] for W in estimator.coefs_))
    net = Network(
        sizes=sizes,
        activation=activation,
        output=OUTPUT_OF[output],
    )
    pairs = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    layers = [(f"layer {k}", W, b) for k, (W, b) in enumerate(pairs, start=1)]
    return net, params_of(net, SKLEARN, layers)


def to_sklearn(net: Network, params: Params) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Our parameters as (coefs_, intercepts_), to be set on a fitted estimator of these sizes.

    Args:
      net: the network.
      params: its parameters.

    Returns:
      Two lists of NumPy arrays with one of each layer: (n_{k−1}, n_k), and (n_k,).

    Raises:
      TypeError, ValueError: params do not fit the network.
    """
    check_both(net, params)
    coefs, intercepts = zip(*arrays_of(params, SKLEARN), strict=True)
    return list(coefs), list(intercepts)
