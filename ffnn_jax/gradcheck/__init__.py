"""Is this gradient rule right, and if not, in which leaf, and what is wrong with it?

For any function; nothing here knows the rest of the library.
"""

from ffnn_jax.gradcheck.check import check_gradients
from ffnn_jax.gradcheck.report import Diagnosis, LeafReport, Report

__all__ = ["Diagnosis", "LeafReport", "Report", "check_gradients"]
