"""Where everything stands: layers in columns, from the inputs on the left to the outputs.

A unit is a card with its name and a line for each quantity. An edge runs from the right side of a
card, through its label, to the left side of the next. Cards of all columns are `pitch` apart, so
the labels of the edges from n units j to units i, put at the height

  y = (1 − t) y_i + t y_j,   t = 1/(n + 1)

are evenly spaced, pitch/(n + 1) apart, whatever the number of units i: no two ever overlap.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ffnn_jax.diagram import names
from ffnn_jax.diagram.quantities import Key, Quantities
from ffnn_jax.diagram.selection import Column
from ffnn_jax.network import Network

FONT = 12.0  # points, of everything but subscripts
SMALLEST = 9.0  # pixels that a letter has at least; a drawing is never shrunk below that
LINE = 14.0  # from one line to the next
PAD = 5.0  # inside a card
BETWEEN = 12.0  # cards of a column
MARGIN = 6.0
BARE_GAP = 64.0  # between columns whose edges bear no numbers
LEAD, ARRIVE = 26.0, 18.0  # of an edge, before and after its label
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
        return round(self.width * SMALLEST / FONT)


def arrange(
    net: Network, known: Quantities, columns: Sequence[Column], *, above: int, below: int
) -> Layout:
    """Room for all quantities that are known, with so many lines of text above and below."""
    lines = [_lines(net, known, k) for k in range(net.depth + 1)]
    numbers = _number_widths(known, columns)
    heights = [2 * PAD + LINE * (1 + len(each)) for each in lines]
    pitch = _pitch(known, columns, max(heights))
    gaps = tuple(_gap(net, known, columns, k, pitch, numbers) for k in range(1, net.depth + 1))
    rows = max(len(column.units) for column in columns)
    top = MARGIN + LINE * (above + 2) + (12 if above else 4)
    middle = top + max(heights) / 2 + (rows - 1) * pitch / 2
    places, left = [], MARGIN
    for k, column in enumerate(columns):
        n = len(column.units)
        middles = tuple(middle + (i - (n - 1) / 2) * pitch for i in range(n))
        wide = _card_width(net, k, column, lines[k], numbers)
        places.append(Place(left, wide, middles, heights[k] / 2, lines[k]))
        left += wide + (_gap_width(gaps[k]) if k < net.depth else 0)
    folded = LINE + 4 if any(column.more for column in columns) else 0
    bottom = middle + (rows - 1) * pitch / 2 + max(heights) / 2 + folded
    width = max(left + MARGIN, LEAST_WIDTH)
    shift = (width - MARGIN - left) / 2
    places = tuple(place._replace(left=place.left + shift) for place in places)
    return Layout(width, bottom + LINE * below + 2 * MARGIN, top, places, gaps)


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
        found[name, k] = max(names.width(names.short(v), FONT) for v in drawn.ravel().tolist())
    return found


def _card_width(
    net: Network, k: int, column: Column, lines: Sequence[str], numbers: Mapping[Key, float]
) -> float:
    sign = max((names.width(names.quantity(n, k, net.depth), FONT) for n in lines), default=0.0)
    number = max((numbers[name, k] for name in lines), default=0.0)
    title = max(names.width(names.unit("h", k, i, net.depth), FONT) for i in column.units)
    texts = [sign + 6 + number, title, *(names.width(t, FONT) - 8 for t in heading(net, k))]
    if column.more:
        texts.append(names.width(fold_note(column), FONT) - 2 * PAD)
    return max(texts) + 2 * PAD


def fold_note(column: Column) -> str:
    """What stands below a column of which not all is drawn."""
    return f"⋮ {column.more:,} more"


def _gap(
    net: Network,
    known: Quantities,
    columns: Sequence[Column],
    k: int,
    pitch: float,
    numbers: Mapping[Key, float],
) -> Gap:
    """As many lines as there is room for: the weight, then its gradient, then its name."""
    n, above = len(columns[k - 1].units), columns[k].units
    room = int((pitch / (n + 1) - APART) / LINE) if n <= MOST_LABELLED else 0
    given = [name for name in OF_EDGE if (name, k) in known][:room]
    wide = [numbers[name, k] for name in given]
    if "∇W" in given:
        wide[-1] += names.width("∇ ", FONT)
    if given and room > len(given):
        wide.append(names.width(names.symbol("W", k, above[-1], columns[k - 1].units[-1]), FONT))
        given.insert(0, "name")
    return Gap(tuple(given), max(wide, default=0.0) + 6)


def _gap_width(gap: Gap) -> float:
    return LEAD + gap.label + ARRIVE if gap.lines else BARE_GAP
