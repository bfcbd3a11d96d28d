"""Where everything stands: layers in columns, from the inputs on the left to the outputs.

A unit is a card with its name and a line for each quantity. An edge runs from the right side of a
card, through its label, to the left side of the next. Cards of all columns are `pitch` apart, so
the labels of the edges from n units j to units i, put at the height

  y = (1 − t) y_i + t y_j,   t = 1/(n + 1)

are evenly spaced, pitch/(n + 1) apart, whatever the number of units i: no two ever overlap.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ffnn_jax.diagram import names
from ffnn_jax.diagram.marks import Mark
from ffnn_jax.diagram.quantities import Key, Quantities
from ffnn_jax.diagram.selection import Column
from ffnn_jax.network import Network

FONT = 12.0  # points, of everything but subscripts
BOLD = 1.12  # how much wider bold letters are
SMALLEST = 9.0  # pixels that a letter has at least; a drawing is never shrunk below that
LINE = 14.0  # from one line to the next
PAD = 4.0  # inside a card
BETWEEN = 12.0  # cards of a column
MARGIN = 4.0
BARE_GAP = 64.0  # between columns whose edges bear no numbers
LEAD, ARRIVE = 18.0, 11.0  # of an edge, before and after its label
APART = 6.0  # the labels of two edges
MOST_LABELLED = 4  # edges into one unit, for each to bear numbers
LARGEST_PITCH = 200.0
LEAST_WIDTH = 330.0  # room for the legend

# The lines of a card, in order.
OF_INPUT = ("h", "∇h")
OF_UNIT = ("b", "a", "h", "∇h", "∇a", "∇b")
OF_OUTPUT = ("b", "a", "h", "y", "∇h", "∇a", "∇b")
OF_EDGE = ("W", "∇W")


class Place(NamedTuple):
    """One column: its left side, its width, and the middle of each card, from above."""

    left: float
    width: float
    middles: tuple[float, ...]
    half: float  # half the height of a card
    names: tuple[str, ...]  # of the lines of a card

    @property
    def right(self) -> float:
        """Its right side."""
        return self.left + self.width


class Gap(NamedTuple):
    """Between the columns k − 1 and k: what the labels of its edges say, and their width."""

    lines: tuple[str, ...]  # of "name", "W" and "∇W"
    label: float
    only: tuple[int, int] | None  # (i, j) where there is room for the label of this edge alone

    @property
    def width(self) -> float:
        """From the one column to the other."""
        if self.only or not self.lines:
            return max(BARE_GAP, self.label + 2 * ARRIVE)
        return LEAD + self.label + ARRIVE


class Layout(NamedTuple):
    """The whole drawing; gaps has one entry less than places."""

    width: float
    height: float
    top: float
    places: tuple[Place, ...]
    gaps: tuple[Gap, ...]

    @property
    def least(self) -> int:
        """The pixels across that it needs for its letters to be read."""
        return math.ceil(self.width * SMALLEST / FONT)


def arrange(
    net: Network,
    known: Quantities,
    columns: Sequence[Column],
    *,
    above: int = 0,
    mark: Mark | None = None,
) -> Layout:
    """Room for all quantities that are known, with so many lines of text above."""
    numbers = _number_widths(known, columns)
    lines = [_lines(net, known, k) for k in range(net.depth + 1)]
    tallest = 2 * PAD + LINE * (1 + max(map(len, lines)))
    pitch = _pitch(known, columns, tallest)
    gaps = tuple(
        _gap(known, columns, k, _room(columns, k, pitch), numbers, mark)
        for k in range(1, net.depth + 1)
    )
    widths = [_card_width(net, k, column, lines[k], numbers) for k, column in enumerate(columns)]
    across = sum(widths) + sum(gap.width for gap in gaps) + 2 * MARGIN
    width = max(across, LEAST_WIDTH)
    top = MARGIN + LINE * (above + 2) + (12 if above else 4)
    rows = max(len(column.units) for column in columns)
    middle = top + tallest / 2 + (rows - 1) * pitch / 2
    places, left = [], MARGIN + (width - across) / 2
    for column, inside, wide, gap in zip(columns, lines, widths, (*gaps, None), strict=True):
        n = len(column.units)
        middles = tuple(middle + (i - (n - 1) / 2) * pitch for i in range(n))
        places.append(Place(left, wide, middles, PAD + LINE * (1 + len(inside)) / 2, inside))
        left += wide + (gap.width if gap else 0)
    legend = LINE if mark is None else 2 * LINE
    folded = LINE + 4 if any(column.more for column in columns) else 0
    height = top + tallest + (rows - 1) * pitch + folded + legend + 2 * MARGIN
    return Layout(width, height, top, tuple(places), gaps)


def heading(net: Network, k: int) -> tuple[str, str]:
    """The two lines above a column."""
    if k == 0:
        return "input", "x"
    return f"layer {k}", net.output if k == net.depth else net.activations[k - 1]


def label_height(middle_i: float, middle_j: float, n: int) -> float:
    """y = (1 − t) y_i + t y_j with t = 1/(n + 1)."""
    t = 1 / (n + 1)
    return (1 - t) * middle_i + t * middle_j


def _pitch(known: Quantities, columns: Sequence[Column], height: float) -> float:
    """From card to card: so much that each label has its name and all of its numbers, if it can."""
    sources = [len(column.units) for column in columns[:-1]]
    sources = [n for n in sources if n <= MOST_LABELLED]
    lines = 2 + (("∇W", 1) in known)
    wanted = (LINE * lines + APART) * (max(sources, default=0) + 1)
    return max(height + BETWEEN, min(wanted, LARGEST_PITCH))


def _lines(net: Network, known: Quantities, k: int) -> tuple[str, ...]:
    every = OF_INPUT if k == 0 else OF_OUTPUT if k == net.depth else OF_UNIT
    return tuple(name for name in every if (name, k) in known)


def _number_widths(known: Quantities, columns: Sequence[Column]) -> Mapping[Key, float]:
    """The width of the longest number that is drawn of each quantity."""
    found = {}
    for (name, k), array in known.arrays.items():
        drawn = array[[i - 1 for i in columns[k].units]]
        if name in OF_EDGE:
            drawn = drawn[:, [j - 1 for j in columns[k - 1].units]]
        found[name, k] = max(
            names.width(names.short(v), BOLD * FONT) for v in drawn.ravel().tolist()
        )
    return found


def _card_width(
    net: Network, k: int, column: Column, lines: Sequence[str], numbers: Mapping[Key, float]
) -> float:
    sign = max((names.width(names.quantity(n, k, net.depth), FONT) for n in lines), default=0.0)
    number = max((numbers[name, k] for name in lines), default=0.0)
    title = max(names.width(names.unit("h", k, i, net.depth), FONT) for i in column.units)
    texts = [sign + 5 + number, title, *(names.width(t, FONT) - 8 for t in heading(net, k))]
    if column.more:
        texts.append(names.width(fold_note(column), FONT) - 2 * PAD)
    return max(texts) + 2 * PAD


def fold_note(column: Column) -> str:
    """What stands below a column of which not all is drawn."""
    return f"⋮ {column.more:,} more"


def _room(columns: Sequence[Column], k: int, pitch: float) -> int:
    """How many lines the label of an edge to layer k has room for."""
    n = len(columns[k - 1].units)
    return int((pitch / (n + 1) - APART) / LINE) if n <= MOST_LABELLED else 0


def _gap(
    known: Quantities,
    columns: Sequence[Column],
    k: int,
    room: int,
    numbers: Mapping[Key, float],
    mark: Mark | None,
) -> Gap:
    """As many lines as there is room for: the weight, then its gradient, then its name."""
    only = None
    if room == 0 and mark is not None and mark.layer == k and mark.j is not None:
        room, only = 3, (mark.i, mark.j)
    lines = [name for name in OF_EDGE if (name, k) in known][:room]
    wide = [numbers[name, k] for name in lines]
    if "∇W" in lines:
        wide[-1] += names.width("∇ ", BOLD * FONT)
    if lines and room > len(lines):
        i, j = only or (columns[k].units[-1], columns[k - 1].units[-1])
        wide.append(names.width(names.symbol("W", k, i, j), FONT))
        lines.insert(0, "name")
    return Gap(tuple(lines), max(wide, default=0.0) + 4, only)
