"""How near to the card's own limits: the least time that the work can take ÷ the time it took.

  least time = max(bytes ÷ bandwidth of a copy, operations ÷ rate of a large product)

The bytes are the fewest: each input read once, each result written once, nothing in between. Both
limits are measured in the same run, by the part `card`.
"""

import itertools
from typing import Any, NamedTuple

Point = dict[str, Any]
BYTES = {"float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}


class Ceilings(NamedTuple):
    """What the card does at most.

    Attributes:
      bandwidth: bytes a second, read and written, of a copy.
      rates: of each arithmetic, floating-point operations a second of a large product.
    """

    bandwidth: float
    rates: dict[str, float]


def forward_work(sizes: tuple[int, ...], rows: int, arithmetic: str) -> dict[str, Any]:
    """Of ŷ for so many rows: x read, ŷ written; 2 N n m operations a product."""
    unit = BYTES[arithmetic]
    moved = rows * (sizes[0] + sizes[-1]) + parameters(sizes)
    return {"bytes": unit * moved, "flops": 2 * rows * products(sizes), "arithmetic": arithmetic}


def step_work(sizes: tuple[int, ...], rows: int, arithmetic: str) -> dict[str, Any]:
    """Of a step of SGD: x and the classes read, parameters read and written; ∇x is not taken."""
    moved = BYTES[arithmetic] * (rows * sizes[0] + 2 * parameters(sizes)) + 4 * rows
    flops = 2 * rows * (3 * products(sizes) - sizes[0] * sizes[1])
    return {"bytes": moved, "flops": flops, "arithmetic": arithmetic}


def products(sizes: tuple[int, ...]) -> int:
    """Σ n_k n_{k−1}."""
    return sum(m * n for m, n in itertools.pairwise(sizes))


def parameters(sizes: tuple[int, ...]) -> int:
    return products(sizes) + sum(sizes[1:])


def ceilings_of(points: list[Point]) -> Ceilings | None:
    """From the points of the part `card`, as far as they are there."""
    bandwidth = [p["bytes_per_s"] for p in points if "bytes_per_s" in p]
    rates = {p["arithmetic"]: p["flops_per_s"] for p in points if "flops_per_s" in p}
    return Ceilings(max(bandwidth), rates) if bandwidth and rates else None


def with_fractions(point: Point, ceilings: Ceilings | None) -> Point:
    """The point, and for each of its variants which part of the ceiling it reached."""
    work = point.get("work")
    if ceilings is None or work is None or work["arithmetic"] not in ceilings.rates:
        return point
    least = {
        "bandwidth": work["bytes"] / ceilings.bandwidth,
        "arithmetic": work["flops"] / ceilings.rates[work["arithmetic"]],
    }
    bound = max(least, key=lambda name: least[name])
    variants = {
        name: v | {"of_ceiling": least[bound] / (v["us"] * 1e-6)} if "us" in v else v
        for name, v in point.get("variants", {}).items()
    }
    return point | {"bound": bound, "least_us": least[bound] * 1e6, "variants": variants}
