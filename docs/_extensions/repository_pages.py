"""Pages that are read on GitHub too: their links lead to the same things on the site.

README, CONTRIBUTING and their like stand outside this folder, where Sphinx does not look: each has
a page here whose text is put in when the site is built. A link to one of them becomes one
to its page; a link to another file that is no page (a test, a script) is a download, by MyST.
"""

import os
import pathlib
import re
from typing import Any

from sphinx.application import Sphinx

DOCS = pathlib.Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
PAGES = {
    "readme": "README.md",
    "benchmarks": "benchmarks/README.md",
    "gpu-results": "benchmarks/results/README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}
PAGE_OF = {ROOT / name: DOCS / f"{page}.md" for page, name in PAGES.items()}
LINK = re.compile(r"(?<=\]\()(?P<path>[\w./-]+)(?P<anchor>#[\w-]+)?(?=\))")


def relinked(text: str, origin: pathlib.Path, page: pathlib.Path) -> str:
    """The text of file `origin` with its relative links as they are seen from `page`."""

    def link(match: re.Match[str]) -> str:
        target = (origin.parent / match["path"]).resolve()
        seen = os.path.relpath(PAGE_OF.get(target, target), page.parent)
        return seen + (match["anchor"] or "")

    return LINK.sub(link, text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the text of a file of the root in its page, and turns the links of every page."""
    page = pathlib.Path(app.env.doc2path(docname)).resolve()
    if page.suffix != ".md":
        return
    origin = ROOT / PAGES[docname] if docname in PAGES else page
    if origin is not page:
        app.env.note_dependency(str(origin))
        source[0] = origin.read_text(encoding="utf-8")
    source[0] = relinked(source[0], origin, page)


def setup(app: Sphinx) -> dict[str, Any]:
    """Listens to each page that is read."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
