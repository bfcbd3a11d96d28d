"""The drawing itself, as SVG: cards of units, edges with their weights, headings and a legend.

Nothing hangs on colour alone: a negative weight is dashed, a large one is thick, what is new is
bold in a box, what is marked has a broad band, and each number stands there where there is room.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ffnn_jax.diagram import names
from ffnn_jax.diagram.layout import (
    FONT,
    LEAD,
    LINE,
    MARGIN,
    PAD,
    Layout,
    fold_note,
    heading,
    label_height,
)
from ffnn_jax.diagram.marks import Mark
from ffnn_jax.diagram.quantities import Key, Quantities
from ffnn_jax.diagram.selection import Column
from ffnn_jax.network import Network

FACES = 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif'
THIN, THICK = 0.7, 3.2  # of an edge, in points

# Colours of Okabe and Ito 2008, darker or lighter where letters have to be read on the paper.
STYLE = f"""
.nn {{ --paper: #fff; --card: #f7f8fa; --ink: #1b1f24; --line: #767f89; --plus: #0072b2;
  --minus: #b84a00; --grad: #8a3f70; --new: #fff1b8; --band: #f4d35e;
  font-family: {FACES}; font-size: {FONT:g}px; }}
@media (prefers-color-scheme: dark) {{
  .nn {{ --paper: #15191e; --card: #20262d; --ink: #e8ebee; --line: #8a939d; --plus: #56b4e9;
    --minus: #f08a45; --grad: #e2a0c6; --new: #4a4420; --band: #7a6520; }}
}}
.nn .paper {{ fill: var(--paper); }}
.nn .card {{ fill: var(--card); stroke: var(--line); }}
.nn text {{ fill: var(--ink); }}
.nn .sub {{ font-size: {names.SUB * FONT:g}px; }}
.nn .name, .nn .is-new {{ font-weight: 600; }}
.nn .soft {{ fill: var(--line); }}
.nn .grad {{ fill: var(--grad); }}
.nn .mid {{ text-anchor: middle; }}
.nn .end {{ text-anchor: end; }}
.nn .edge {{ fill: none; stroke: var(--plus); }}
.nn .minus {{ stroke: var(--minus); stroke-dasharray: 5 3; }}
.nn .faint {{ opacity: 0.4; }}
.nn .under {{ fill: var(--paper); }}
.nn .on-band {{ fill: var(--band); }}
.nn .fresh {{ fill: var(--new); stroke: var(--ink); stroke-width: 0.8; }}
.nn .band {{ fill: none; stroke: var(--band); stroke-width: 8; stroke-linejoin: round; }}
.nn .marked {{ stroke: var(--ink); stroke-width: 2.4; }}
"""


class Scene(NamedTuple):
    """What is drawn.

    Attributes:
      net: the network.
      known: all of its numbers.
      columns: the units drawn.
      layout: where they stand.
      shown: the quantities whose numbers are written.
      new: those of them that are brought out.
      mark: the parameter that is marked, or None.
    """

    net: Network
    known: Quantities
    columns: Sequence[Column]
    layout: Layout
    shown: frozenset[Key]
    new: frozenset[Key] = frozenset()
    mark: Mark | None = None


def draw(scene: Scene, name: str, title: str, words: str, *, above: Sequence[str] = ()) -> str:
    """The SVG element.

    Args:
      scene: what is drawn.
      name: an id that no other drawing of the page has.
      title: what it is, for who cannot see it.
      words: what is to be seen, likewise.
      above: lines of text over the drawing.
    """
    wide, high = scene.layout.width, scene.layout.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nn" width="{_n(wide)}" '
        f'height="{_n(high)}" viewBox="0 0 {_n(wide)} {_n(high)}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" style="max-width:100%;'
        f'min-width:{scene.layout.least}px;height:auto">',
        f'<title id="{name}-title">{names.escaped(title)}</title>',
        f'<desc id="{name}-desc">{names.escaped(words)}</desc>',
        f'<rect class="paper" width="{_n(wide)}" height="{_n(high)}"/>',
        *(
            _text(MARGIN, MARGIN + LINE * (row + 0.8), line, "name" if row == 0 else "")
            for row, line in enumerate(above)
        ),
    ]
    edges = [_gap_edges(scene, k) for k in range(1, scene.net.depth + 1)]
    parts += [line for lines, _ in edges for line in lines]
    for k, column in enumerate(scene.columns):
        parts += _column(scene, k, column)
    parts += [label for _, labels in edges for label in labels]
    return "\n".join([*parts, *_legend(scene), "</svg>"])


def _column(scene: Scene, k: int, column: Column) -> list[str]:
    """The headings, the cards, and what is folded."""
    place = scene.layout.places[k]
    middle = place.left + place.width / 2
    first, second = heading(scene.net, k)
    top = scene.layout.top
    parts = [
        _text(middle, top - LINE - 8, first, "mid name"),
        _text(middle, top - 8, second, "mid soft"),
    ]
    for i, y in zip(column.units, place.middles, strict=True):
        parts += _card(scene, k, i, y)
    if column.more:
        y = place.middles[-1] + place.half + LINE
        parts.append(_text(middle, y, fold_note(column), "mid name"))
    return parts


def _card(scene: Scene, k: int, i: int, y: float) -> list[str]:
    """One unit: its name, and a line for each quantity."""
    place, depth = scene.layout.places[k], scene.net.depth
    top = y - place.half
    marked = scene.mark is not None and scene.mark.has_unit(k, i)
    parts = [
        f'<rect class="card{" marked" if marked else ""}" x="{_n(place.left)}" y="{_n(top)}" '
        f'width="{_n(place.width)}" height="{_n(2 * place.half)}" rx="5"/>',
        _text(place.left + place.width / 2, top + LINE, names.unit("h", k, i, depth), "mid name"),
    ]
    for row, name in enumerate(place.names, start=2):
        if (name, k) not in scene.shown:
            continue
        line = top + LINE * row + 1
        new = (name, k) in scene.new
        if new:
            parts.append(_fresh(place.left + 1.5, line, place.width - 3))
        kind = ("grad" if name[0] == "∇" else "") + (" is-new" if new else "")
        value = names.short(float(scene.known.of(name, k)[i - 1]))
        parts.append(_text(place.left + PAD, line, names.quantity(name, k, depth), kind))
        parts.append(_text(place.right - PAD, line, value, f"{kind} end"))
    return parts


def _gap_edges(scene: Scene, k: int) -> tuple[list[str], list[str]]:
    """The edges from layer k − 1 to layer k, and their labels."""
    below, column = scene.columns[k - 1], scene.columns[k]
    W = scene.known.of("W", k)
    drawn = np.abs(W[np.ix_([i - 1 for i in column.units], [j - 1 for j in below.units])])
    largest = float(np.nan_to_num(drawn, nan=0.0, posinf=0.0).max())
    lines, labels = [], []
    for i, y_i in zip(column.units, scene.layout.places[k].middles, strict=True):
        for j, y_j in zip(below.units, scene.layout.places[k - 1].middles, strict=True):
            way, label = _way(scene.layout, k, y_i, y_j, len(below.units))
            lines += _edge(scene, (k, i, j), way, largest)
            labels += _label(scene, (k, i, j), *label)
    return lines, labels


def _way(layout: Layout, k: int, y_i: float, y_j: float, n: int) -> tuple[str, tuple[float, float]]:
    """The path of an edge, and the middle of its label."""
    start, end = layout.places[k - 1].right, layout.places[k].left
    gap = layout.gaps[k - 1]
    if gap.only or not gap.lines:
        return f"M{_n(start)} {_n(y_j)}L{_n(end)} {_n(y_i)}", ((start + end) / 2, (y_i + y_j) / 2)
    y = label_height(y_i, y_j, n)
    left, right = start + LEAD, start + LEAD + gap.label
    way = f"M{_n(start)} {_n(y_j)}L{_n(left)} {_n(y)}H{_n(right)}L{_n(end)} {_n(y_i)}"
    return way, ((left + right) / 2, y)


def _edge(scene: Scene, weight: tuple[int, int, int], way: str, largest: float) -> list[str]:
    """A line as thick as the weight is large, dashed where it is negative."""
    k, i, j = weight
    W = float(scene.known.of("W", k)[i - 1, j - 1])
    size = abs(W) / largest if largest > 0 else 0.0
    thick = THIN + (THICK - THIN) * (1.0 if math.isnan(size) else min(size, 1.0))
    kind = "edge minus" if W < 0 else "edge"
    marked = scene.mark is not None and scene.mark.has_edge(k, i, j)
    if scene.mark is not None and not marked:
        kind += " faint"
    told = f"{names.as_plain(names.symbol('W', k, i, j))} = {names.short(W)}"
    line = f'<path class="{kind}" d="{way}" stroke-width="{_n(thick)}"><title>{told}</title></path>'
    return [f'<path class="band" d="{way}"/>', line] if marked else [line]


def _label(scene: Scene, weight: tuple[int, int, int], x: float, y: float) -> list[str]:
    """The name of a weight, its number, and the gradient, as far as there is room."""
    k, *ends = weight
    gap = scene.layout.gaps[k - 1]
    if gap.only and gap.only != tuple(ends):
        return []
    written = [line for line in gap.lines if line == "name" or (line, k) in scene.shown]
    if not written:
        return []
    high = LINE * len(written)
    marked = scene.mark is not None and scene.mark.has_edge(*weight)
    parts = [
        f'<rect class="{"on-band" if marked else "under"}" x="{_n(x - gap.label / 2)}" '
        f'y="{_n(y - high / 2)}" '
        f'width="{_n(gap.label)}" height="{_n(high)}"/>'
    ]
    for row, line in enumerate(written):
        base = y - high / 2 + LINE * row + LINE - 3.5
        new = (line, k) in scene.new
        if new:
            parts.append(_fresh(x - gap.label / 2, base, gap.label))
        parts.append(
            _text(x, base, _label_text(scene, line, weight), _label_kind(line, new, marked))
        )
    return parts


def _label_text(scene: Scene, line: str, weight: tuple[int, int, int]) -> str:
    k, i, j = weight
    if line == "name":
        return names.symbol("W", k, i, j)
    value = names.short(float(scene.known.of(line, k)[i - 1, j - 1]))
    return f"∇ {value}" if line == "∇W" else value


def _label_kind(line: str, new: bool, marked: bool) -> str:
    kind = {"name": "" if marked else "soft", "W": "", "∇W": "grad"}[line]
    return f"mid {kind}{' is-new' if new else ''}"


def _legend(scene: Scene) -> list[str]:
    """How an edge is read."""
    y = scene.layout.height - MARGIN - 2
    parts, x = [], MARGIN
    for kind, text in (("edge", "W > 0"), ("edge minus", "W < 0")):
        way = f"M{_n(x)} {_n(y - 4)}h26"
        parts.append(f'<path class="{kind}" d="{way}" stroke-width="2"/>')
        parts.append(_text(x + 31, y, text, "soft"))
        x += 31 + names.width(text, FONT) + 14
    parts.append(_text(x, y, "thick: |W| is large", "soft"))
    return parts if scene.mark is None else [*parts, *_legend_of_mark(scene.mark, y - LINE)]


def _legend_of_mark(mark: Mark, y: float) -> list[str]:
    """What the broad band is."""
    k, i, j = mark
    name = names.symbol("b", k, i) if j is None else names.symbol("W", k, i, j)
    way = f"M{_n(MARGIN)} {_n(y - 4)}h26"
    told = f"the ways to the loss from {name}"
    return [f'<path class="band" d="{way}"/>', _text(MARGIN + 31, y, told, "soft")]


def _fresh(left: float, base: float, wide: float) -> str:
    """The box behind a line that is new."""
    return (
        f'<rect class="fresh" x="{_n(left)}" y="{_n(base - LINE + 3.5)}" '
        f'width="{_n(wide)}" height="{_n(LINE - 0.8)}" rx="2"/>'
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    kind = f' class="{kind.strip()}"' if kind.strip() else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{kind}>{names.as_svg(text)}</text>'


def _n(value: Any) -> str:
    """A coordinate."""
    return f"{round(float(value), 1):g}"
