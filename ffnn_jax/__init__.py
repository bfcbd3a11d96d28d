"""A feedforward network in JAX: backprop you can read, check, and that outruns autodiff.

The network and its gradient:
  Network, Plan, Loss      what is computed, and how
  init, apply, forward     starting parameters, ŷ, and every a_k and h_k on the way
  loss, gradients          ℒ, whose `jax.grad` is the hand-written sweep, and every ∇ of it
  *_autodiff               the same values with no rule of ours

Each example's gradient, never formed: per_example_gradient_norms, clipped_gradients,
private_gradients (DP-SGD), gradient_noise_scale.
Training: init_state, train_step, train_epoch, fit, gradient_descent; fit_many for many networks at
once; stream_epoch and stream_blocks for data larger than memory, from a Stream. Beside it losses
(huber, quantile, smoothed_cross_entropy), penalized, max_norm, class_weights, find_learning_rate.
Many devices and hosts: a mesh= for each of these and placement, the rule of what lives where;
start_processes, Preempted; collectives and expected_collectives, what is moved.
ShardedCheckpoints; gathered, what is split as whole arrays.
Looking at what was learned: input_gradients, unit_statistics, reliability, fit_temperature, and
write_report for a page of all of it.
Files: save and load, Checkpoints to go on from, append_metrics; read_csv, and load_model for what
`ffnn train` wrote. `ffnn_jax.interop` has the exports, and scikit-learn's way.
Checking any gradient rule, yours or ours: check_gradients, and check_rules for all that a
function meets. A backprop of your own, gradient by gradient: compare_gradients.
Data: load_digits and its like, read_idx, standardize, split.
"""

__version__ = "0.1.0"

from ffnn_jax.backprop import Gradients, apply, gradients, loss
from ffnn_jax.calibration import Reliability, fit_temperature, reliability, with_temperature
from ffnn_jax.checkpoint import (
    CheckpointError,
    Checkpoints,
    Restored,
    ShardedCheckpoints,
    load,
    load_metadata,
    save,
)
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
from ffnn_jax.descent import Descent, gradient_descent
from ffnn_jax.diagram import draw_network, write_backward_page
from ffnn_jax.ensemble import FitMany, fit_many
from ffnn_jax.explain import Responsibility, WeightExplanation, explain_weight, responsibility
from ffnn_jax.fitting import Fit, NonFiniteLossError, fit
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
from ffnn_jax.history import History
from ffnn_jax.idx import read_idx
from ffnn_jax.losses import Loss, huber, quantile, smoothed_cross_entropy
from ffnn_jax.metrics import append_metrics, read_metrics
from ffnn_jax.network import (
    Layer,
    Network,
    Tape,
    apply_autodiff,
    forward,
    init,
    loss_autodiff,
)
from ffnn_jax.penalties import Penalized, max_norm, penalized
from ffnn_jax.per_example import (
    NoiseScale,
    clipped_gradients,
    gradient_noise_scale,
    per_example_gradient_norms,
    private_gradients,
)
from ffnn_jax.plan import Plan
from ffnn_jax.processes import Preempted, ProcessError, start_processes
from ffnn_jax.rate_search import RateSearch, find_learning_rate, plot_learning_rates
from ffnn_jax.recipe import TrainState
from ffnn_jax.report import write_report
from ffnn_jax.saliency import input_gradients
from ffnn_jax.sharding.arithmetic import expected_collectives
from ffnn_jax.sharding.collectives import (
    Collective,
    collective_totals,
    collectives,
    collectives_table,
)
from ffnn_jax.sharding.host_arrays import gathered
from ffnn_jax.sharding.placement import placement
from ffnn_jax.streaming import Stream, StreamBlock, StreamError, stream_blocks, stream_epoch
from ffnn_jax.tabular import Model, TableError, load_model, read_csv, read_table
from ffnn_jax.training import init_state, train_epoch, train_step
from ffnn_jax.units import unit_statistics, update_ratios
from ffnn_jax.weights import class_weights

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "Collective",
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
    "Model",
    "Network",
    "NoiseScale",
    "NonFiniteLossError",
    "Penalized",
    "Plan",
    "Preempted",
    "ProcessError",
    "RateSearch",
    "Reliability",
    "Report",
    "Responsibility",
    "Restored",
    "RuleReport",
    "RulesReport",
    "ShardedCheckpoints",
    "Stream",
    "StreamBlock",
    "StreamError",
    "TableError",
    "Tape",
    "TrainState",
    "TransformReport",
    "WeightExplanation",
    "append_metrics",
    "apply",
    "apply_autodiff",
    "check_gradients",
    "check_rules",
    "class_weights",
    "clipped_gradients",
    "collective_totals",
    "collectives",
    "collectives_table",
    "compare_gradients",
    "draw_network",
    "expected_collectives",
    "explain_weight",
    "find_learning_rate",
    "fit",
    "fit_many",
    "fit_temperature",
    "forward",
    "gathered",
    "gradient_descent",
    "gradient_noise_scale",
    "gradients",
    "huber",
    "init",
    "init_state",
    "input_gradients",
    "load",
    "load_breast_cancer",
    "load_diabetes",
    "load_digits",
    "load_iris",
    "load_linnerud",
    "load_metadata",
    "load_model",
    "load_wine",
    "loss",
    "loss_autodiff",
    "max_norm",
    "penalized",
    "per_example_gradient_norms",
    "placement",
    "plot_learning_rates",
    "private_gradients",
    "quantile",
    "read_csv",
    "read_idx",
    "read_metrics",
    "read_table",
    "reliability",
    "responsibility",
    "save",
    "smoothed_cross_entropy",
    "split",
    "standardize",
    "start_processes",
    "stream_blocks",
    "stream_epoch",
    "train_epoch",
    "train_step",
    "unit_statistics",
    "update_ratios",
    "with_temperature",
    "write_backward_page",
    "write_report",
]
