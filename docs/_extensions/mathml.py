"""Mathematics as MathML, made when the site is built: no script, no network, no LaTeX.

Every browser of today draws MathML Core by itself. A formula that cannot be read is a warning, and
so an error of the build.
"""

import html
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

CONVERTER = LatexToMathML(fancy_error=False, annotation=True)  # the LaTeX stays, to be copied
LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.Element, *, display: bool) -> str:
    """The formula of a node; where it cannot be read, its LaTeX, and a warning."""
    latex = node.astext().strip()
    if display and r"\\" in latex and r"\begin" not in latex:  # lines, as Sphinx takes them
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        return CONVERTER.convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        LOGGER.warning("no formula: %s: %s", error, latex, location=node)
        return html.escape(latex)


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    self.body.append(mathml(node, display=False))
    raise nodes.SkipNode


def visit_displayed(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own, which scrolls where it is wider than the page."""
    self.body.append(self.starttag(node, "div", CLASS="math-displayed"))
    if node.get("number"):
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})</span>')
    self.body.append(mathml(node, display=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """The renderer, under the name `mathml`."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
