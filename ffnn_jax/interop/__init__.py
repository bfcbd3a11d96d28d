"""Networks in the formats and ways of other libraries; each needs its package, imported on use.

Programs: export_apply, export_loss, save_exported, load_exported (jax.export); to_onnx, save_onnx.
Files of numbers: save_safetensors, load_safetensors; describe and network_of, a network as JSON.
Parameters: from_… and to_… for PyTorch (torch_state), flax, haiku, equinox, keras and
scikit-learn; to_torch for a whole module.
Estimators of scikit-learn: FFNNClassifier, FFNNRegressor.
"""

from typing import TYPE_CHECKING, Any

from ffnn_jax.description import describe, network_of
from ffnn_jax.interop.exported import (
    ExportedError,
    export_apply,
    export_loss,
    load_exported,
    save_exported,
)
from ffnn_jax.interop.frameworks import (
    from_equinox,
    from_flax,
    from_haiku,
    from_keras,
    to_equinox,
    to_flax,
    to_haiku,
    to_keras,
)
from ffnn_jax.interop.onnx_file import save_onnx, to_onnx
from ffnn_jax.interop.packages import require
from ffnn_jax.interop.safetensors_file import SafetensorsError, load_safetensors, save_safetensors
from ffnn_jax.interop.sklearn_parameters import from_sklearn, to_sklearn
from ffnn_jax.interop.torch_state import from_torch_state, to_torch, to_torch_state

if TYPE_CHECKING:
    from ffnn_jax.interop.estimator import FFNNClassifier, FFNNRegressor

ESTIMATORS = ("FFNNClassifier", "FFNNRegressor")

__all__ = [
    "ExportedError",
    "FFNNClassifier",
    "FFNNRegressor",
    "SafetensorsError",
    "describe",
    "export_apply",
    "export_loss",
    "from_equinox",
    "from_flax",
    "from_haiku",
    "from_keras",
    "from_sklearn",
    "from_torch_state",
    "load_exported",
    "load_safetensors",
    "network_of",
    "save_exported",
    "save_onnx",
    "save_safetensors",
    "to_equinox",
    "to_flax",
    "to_haiku",
    "to_keras",
    "to_onnx",
    "to_sklearn",
    "to_torch",
    "to_torch_state",
]


def __getattr__(name: str) -> Any:
    """The estimators: classes of scikit-learn's, which is imported when one is asked for."""
    if name in ESTIMATORS:
        require("sklearn", "ffnn_jax[data]")
        return getattr(require("ffnn_jax.interop.estimator", "ffnn_jax[data]"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
