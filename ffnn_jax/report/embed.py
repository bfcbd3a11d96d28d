"""Drawings as part of a page: SVG that takes on the page's colours and letters, or PNG."""

import base64
import io
import re
import warnings
from typing import TYPE_CHECKING

from ffnn_jax import plots
from ffnn_jax.plots import canvas
from ffnn_jax.report.page import Markup, escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_SVG = 200_000  # characters; beyond that the drawing is a PNG
DOTS_PER_INCH = 200

# Colours of the drawings that are variables of the page, so that they follow light and dark.
VARIABLES = {
    canvas.INK: "--ink",
    canvas.LINES: "--grid",
    **{colour: f"--c{i}" for i, colour in enumerate(canvas.COLOURS, start=1)},
}


def figure(name: str, drawing: "Figure", alt: str, caption: str = "") -> Markup:
    """A drawing with its alternative text, and a caption below.

    Args:
      name: a word that no other drawing of the page has.
      drawing: it.
      alt: one or two sentences that say what is to be seen, with the figures.
      caption: what else to say, for everyone.
    """
    below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    width = round(drawing.get_figwidth() * 72)
    wide = width > canvas.WIDTH
    inner = _svg(name, drawing, alt, width if wide else 0)
    if len(inner) > LARGEST_SVG:
        inner = _png(drawing, alt, DOTS_PER_INCH, "white")
    if wide:
        label = escaped(f"{name}: scrolls sideways")
        inner = f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">{inner}</div>'
    return Markup(f"<figure{' class=broad' if wide else ''}>{inner}{below}</figure>")


def image(drawing: "Figure", alt: str, caption: str) -> Markup:
    """A drawing of pixels with a caption."""
    inner = _png(drawing, alt, drawing.dpi, "none")
    return Markup(f"<figure>{inner}<figcaption>{escaped(caption)}</figcaption></figure>")


def side_by_side(*figures: Markup) -> Markup:
    """Drawings beside each other where there is room."""
    return Markup('<div class="figures">\n' + "\n".join(figures) + "\n</div>")


def _svg(name: str, drawing: "Figure", alt: str, least: int) -> str:
    """The drawing as an element of the page, at least so many pixels wide."""
    file = io.StringIO()
    _save(drawing, file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"<[^>]*>", lambda tag: _of_page(name, tag.group()), svg)
    box = re.search(r'viewBox="[^"]+"', svg)
    width = f' style="min-width: {least}px"' if least else ""
    head = f'<svg {box.group() if box else ""} role="img" aria-label="{escaped(alt)}"{width}>'
    return head + re.sub(r"^<svg[^>]*>", "", svg).strip()


def _of_page(name: str, tag: str) -> str:
    """A tag of the drawing with ids that are its own in the page, and the page's colours."""
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag)
    tag = tag.replace('xlink:href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    tag = re.sub(r'font-family: [^;"]+;? ?', "", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(f": {colour}", f": var({variable})")
    return tag


def _png(drawing: "Figure", alt: str, dpi: float, paper: str) -> str:
    file = io.BytesIO()
    _save(drawing, file, format="png", dpi=dpi, facecolor=paper, metadata={"Software": None})
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escaped(alt)}">'


def _save(drawing: "Figure", file: io.StringIO | io.BytesIO, **options) -> None:
    with plots.style(), warnings.catch_warnings():
        # A letter that matplotlib's font lacks; the page's font is another.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        drawing.savefig(file, **options)
