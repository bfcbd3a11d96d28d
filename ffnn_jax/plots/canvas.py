"""How every drawing looks: its size, letters and colours, and names that fit.

A figure is `WIDTH` points wide, which is about a phone's width in pixels, with letters of `FONT`
points: it can be shown at any width from a phone's on. There is one panel a figure; who wants
several sets them side by side. Colours are those of Okabe and Ito ("Color Universal Design",
2008), told apart by colour-blind people too; no meaning hangs on colour alone.

Nothing here touches pyplot or the global settings.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter

WIDTH = 360.0  # points
FONT = 10.0  # points
INK, LINES = "#1b1f24", "#8a939d"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "font.size": FONT,
    "axes.labelsize": FONT,
    "axes.titlesize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.color": LINES,
    "ytick.color": LINES,
    "axes.edgecolor": LINES,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "grid.color": LINES,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ffnn_jax",
}


@contextmanager
def style():
    """Matplotlib's settings for a drawing, and for saving it, whatever the user's own are.

    Returns:
      A context manager: `with style(): ...`.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        import matplotlib.style
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"matplotlib is needed ({error}): pip install 'ffnn_jax[plot]'", name=error.name
        ) from error
    with matplotlib.style.context(["default", STYLE]):
        yield


def shortened(name: Any, width: int = 16) -> str:
    """A name on one line, of at most so many letters, the last of them an ellipsis if it is cut.

    A letter of East Asian width counts two.

    Args:
      name: anything; its `str`, with what cannot be printed as spaces.
      width: in letters, at least 1.

    Returns:
      The name, or its beginning and an ellipsis.

    Example:
      >>> shortened("mean radius of the nucleus", 12)
      'mean radius…'
    """
    line = _one_line(name)
    if columns(line) <= width:
        return line
    while columns(line) > width - 1:
        line = line[:-1]
    return line.rstrip() + "…"


def distinct(names: Sequence[Any], width: int) -> list[str]:
    """Names shortened, in their middle where they would else be the same.

    Example:
      >>> distinct(["age", "income in 2019", "income in 2020"], 10)
      ['age', 'incom…2019', 'incom…2020']
    """
    short = [shortened(name, width) for name in names]
    twice = {name for name, count in Counter(short).items() if count > 1}
    return [
        _without_middle(_one_line(name), width) if cut in twice else cut
        for name, cut in zip(names, short, strict=True)
    ]


def _without_middle(line: str, width: int) -> str:
    """The begin and the end of a line."""
    if columns(line) <= width:
        return line
    head, tail = line, line
    while columns(tail) > (width - 1) // 2:
        tail = tail[1:]
    while columns(head) > width - 1 - columns(tail):
        head = head[:-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def _one_line(name: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())


def columns(text: str) -> int:
    """How many letters wide a text is."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def canvas(height: float, across: str, up: str, *, width: float = WIDTH) -> tuple["Figure", "Axes"]:
    """An empty figure of so many points, with the labels of its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across, parse_math=False)
    axes.set_ylabel(up, parse_math=False)
    axes.set_axisbelow(True)
    axes.grid(True)
    return figure, axes


def few_ticks(axes: "Axes", *, y: bool = True) -> None:
    """So few ticks, of plain numbers, that they never touch."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(plain_numbers())
    if y:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.yaxis.set_major_formatter(plain_numbers())


def log_ticks(axes: "Axes") -> None:
    """Ticks at powers of ten, at 2 and 5 times them too where there are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_ylim()
    between = (1.0, 2.0, 5.0) if math.log10(high / low) < 2.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=between, numticks=8))
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.yaxis.set_minor_formatter(NullFormatter())


def legend(figure: "Figure", axes: "Axes") -> None:
    """What the lines and dots are, above them, in rows of three."""
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside upper left", ncols=min(len(names), 3))


def plain_numbers() -> "Formatter":
    """How a tick at a number is written: whole, with no offset or power at the end of the axis."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(_number)


def plain_number(value: float) -> str:
    """A number of three digits that count.

    Example:
      >>> plain_number(38295.0), plain_number(-2.44e-10)
      ('38300', '−2.44e−10')
    """
    return _number(float(f"{value:.3g}"), 0)


def _number(value: float, position: int) -> str:
    del position
    mantissa, _, power = f"{value:.7g}".partition("e")
    return f"{mantissa}e{int(power)}".replace("-", "−") if power else mantissa.replace("-", "−")


def in_percent() -> "Formatter":
    """How a tick at a share is written."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(_percent)


def _percent(value: float, position: int) -> str:
    del position
    return f"{round(100 * value, 6):g} %".replace("-", "−")
