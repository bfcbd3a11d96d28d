"""A corpus of gradient rules: planted faults, and right rules that look odd.

It is made from the mistakes that people make, and knows nothing of how the checker finds them.
`scripts/mutation` runs the checker over all of it, `tests/test_corpus.py` over a fixed sample.
"""

from corpus import (
    attention,
    behaviour,
    cancelling,
    convolutions,
    cotangents,
    dense,
    elementwise,
    formulas,
    guards,
    kinks,
    losses,
    networks,
    norms,
    scales,
    scans,
    second,
    settings,
    trees,
    unsafe,
)
from corpus.base import FLOATS, Case

THEMES = (
    dense,
    elementwise,
    losses,
    networks,
    norms,
    attention,
    scans,
    convolutions,
    cotangents,
    unsafe,
    behaviour,
    second,
    trees,
    kinks,
    scales,
    formulas,
    cancelling,
    guards,
    settings,
)
CASES: tuple[Case, ...] = tuple(case for theme in THEMES for case in theme.CASES)

__all__ = ["CASES", "FLOATS", "THEMES", "Case"]
