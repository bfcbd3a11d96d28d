"""Is this gradient rule right, and if not, in which leaf, and what is wrong with it?

For any function; nothing here knows the rest of the library.
"""

from ffnn_jax.gradcheck.check import check_gradients
from ffnn_jax.gradcheck.report import Diagnosis, LeafReport, Report, TransformReport
from ffnn_jax.gradcheck.rules import RuleReport, RulesReport, check_rules

__all__ = [
    "Diagnosis",
    "LeafReport",
    "Report",
    "RuleReport",
    "RulesReport",
    "TransformReport",
    "check_gradients",
    "check_rules",
]
