"""A feedforward network in JAX: backprop you can read, check, and that outruns autodiff.

The network and its gradient:
  Network, Plan, Loss      what is computed, and how
  init, apply, forward     starting parameters, ŷ, and every a_k and h_k on the way
  loss, gradients          ℒ, whose `jax.grad` is the hand-written sweep, and every ∇ of it
  *_autodiff               the same values with no rule of ours

Each example's gradient, never formed: per_example_gradient_norms, clipped_gradients,
private_gradients (DP-SGD), gradient_noise_scale.
Training: init_state, train_step, train_epoch, fit, gradient_descent; fit_many for many networks at
once; stream_epoch and stream_blocks for data larger than memory, from a Stream.
Checking any gradient rule, yours or ours: check_gradients, and check_rules for all that a
function meets. A backprop of your own, gradient by gradient: compare_gradients.
Data: load_digits and its like, read_idx, standardize, split.
"""

from ffnn_jax.backprop import Gradients, apply, gradients, loss
from ffnn_jax.comparison import Comparison, ComparisonRow, compare_gradients
from ffnn_jax.data import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_linnerud,
    load_wine,
    split,
    standardize,
)
from ffnn_jax.ensemble import FitMany, fit_many
from ffnn_jax.fitting import Fit, History, NonFiniteLossError, fit
from ffnn_jax.gradcheck import (
    Diagnosis,
    LeafReport,
    Report,
    RuleReport,
    RulesReport,
    TransformReport,
    check_gradients,
    check_rules,
)
from ffnn_jax.idx import read_idx
from ffnn_jax.network import (
    Layer,
    Network,
    Plan,
    Tape,
    apply_autodiff,
    forward,
    init,
    loss_autodiff,
)
from ffnn_jax.outputs import Loss
from ffnn_jax.per_example import (
    NoiseScale,
    clipped_gradients,
    gradient_noise_scale,
    per_example_gradient_norms,
    private_gradients,
)
from ffnn_jax.streaming import Stream, StreamBlock, StreamError, stream_blocks, stream_epoch
from ffnn_jax.training import (
    Descent,
    TrainState,
    gradient_descent,
    init_state,
    train_epoch,
    train_step,
)

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "ComparisonRow",
    "Descent",
    "Diagnosis",
    "Fit",
    "FitMany",
    "Gradients",
    "History",
    "Layer",
    "LeafReport",
    "Loss",
    "Network",
    "NoiseScale",
    "NonFiniteLossError",
    "Plan",
    "Report",
    "RuleReport",
    "RulesReport",
    "Stream",
    "StreamBlock",
    "StreamError",
    "Tape",
    "TrainState",
    "TransformReport",
    "apply",
    "apply_autodiff",
    "check_gradients",
    "check_rules",
    "clipped_gradients",
    "compare_gradients",
    "fit",
    "fit_many",
    "forward",
    "gradient_descent",
    "gradient_noise_scale",
    "gradients",
    "init",
    "init_state",
    "load_breast_cancer",
    "load_diabetes",
    "load_digits",
    "load_iris",
    "load_linnerud",
    "load_wine",
    "loss",
    "loss_autodiff",
    "per_example_gradient_norms",
    "private_gradients",
    "read_idx",
    "split",
    "standardize",
    "stream_blocks",
    "stream_epoch",
    "train_epoch",
    "train_step",
]
