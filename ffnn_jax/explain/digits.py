"""Numbers as they are printed: with the digits that a learner with a pocket calculator needs."""

import math
from collections.abc import Iterable, Sequence

STATED = 6  # digits of a product


def stated(value: float) -> str:
    """A product, to six digits."""
    return rounded([value], STATED)[0]


def enough(factors: Sequence[float], product: float) -> list[str]:
    """The factors with as few digits, six or more, as multiply to the product as it is stated."""
    for digits in range(STATED, 18):
        written = rounded(factors, digits)
        if stated(math.prod(map(float, written))) == stated(product):
            return written
    return rounded(factors, 17)


def rounded(values: Iterable[float], digits: int) -> list[str]:
    """Each with so many digits, no zeros behind, and no −0."""
    return [f"{value + 0.0:.{digits}g}" for value in values]


def whole(value: float, dtype: str) -> str:
    """Every digit that a number of the dtype has."""
    return f"{value + 0.0:.{ {'float64': 17, 'float32': 9}.get(dtype, 5) }g}"


def apart(value: float) -> str:
    """How far one number is from another, to two digits."""
    return f"{value + 0.0:.1e}"


def given(value: float) -> str:
    """What stands in a formula: with eight digits, of 1 − |value| too."""
    apart = abs(1 - abs(value))
    more = math.ceil(-math.log10(apart)) if 0 < apart < 1 else 0
    return f"{value:.{min(8 + max(more - 1, 0), 17)}g}"


def percent(share: float) -> str:
    """A share, as 12.3 %."""
    return f"{100 * share:.3g} %"
