"""A corpus of gradient rules: planted faults, and right rules that look odd.

It is made from the mistakes that people make, and knows nothing of how the checker finds them.
`scripts/mutation` runs the checker over all of it, `tests/test_corpus.py` over a fixed sample.
"""

from corpus import (
    algebra,
    attention,
    cancelling,
    contracts,
    convolutions,
    cotangents,
    dense,
    elementwise,
    formulas,
    functions,
    guards,
    idle,
    kinks,
    loops,
    losses,
    networks,
    norms,
    precision,
    scales,
    scans,
    second,
    settings,
    tangents,
    trees,
    unsafe,
    wide,
)
from corpus.base import FLOATS, Case

THEMES = (
    dense,
    elementwise,
    functions,
    losses,
    networks,
    norms,
    attention,
    scans,
    convolutions,
    cotangents,
    unsafe,
    precision,
    contracts,
    second,
    trees,
    tangents,
    kinks,
    scales,
    formulas,
    algebra,
    cancelling,
    idle,
    guards,
    loops,
    settings,
    wide,
)
CASES: tuple[Case, ...] = tuple(case for theme in THEMES for case in theme.CASES)

__all__ = ["CASES", "FLOATS", "THEMES", "Case"]
