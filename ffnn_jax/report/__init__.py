"""A training run as one HTML page that one can look at, print and keep."""

from ffnn_jax.report.arguments import Target
from ffnn_jax.report.write import write_report

__all__ = ["Target", "write_report"]
