"""docs/lecture: the code cells of each page run from top to bottom, and its text finds its numbers.

A page is MyST Markdown. The site runs it with Jupyter; here the same cells run in one scope, in
the settings of the suite, which are stricter. `{eval}` in the text takes the value that the name
has at that place. Most claims of a page are assertions in its own cells.
"""

import contextlib
import io
import pathlib
import re
from typing import NamedTuple

import numpy as np
import pytest

BOOK = pathlib.Path(__file__).parent.parent / "docs" / "lecture"
CHAPTERS = sorted(path.stem for path in BOOK.glob("[0-9][0-9]-*.md"))
PIECE = re.compile(
    r"^```\{code-cell\} python\n(?P<cell>.*?)^```$|\{eval\}`(?P<name>[^`]*)`",
    re.DOTALL | re.MULTILINE,
)


class Run(NamedTuple):
    """What a page did."""

    scope: dict
    printed: list[str]  # by cell
    said: list[object]  # by {eval}


def run(text, name):
    """Runs a page."""
    done = Run({"__name__": "__main__"}, [], [])
    with np.printoptions():  # a page may set its own
        for piece in PIECE.finditer(text):
            if piece["cell"] is None:
                done.said.append(done.scope[piece["name"]])
                continue
            line = text.count("\n", 0, piece.start("cell"))
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * line + piece["cell"], name, "exec"), done.scope)
            done.printed.append(out.getvalue())
    return done


@pytest.fixture(scope="module")
def pages():
    """The runs of the pages by name, each made when it is first asked for."""
    runs = {}

    def page(chapter):
        if chapter not in runs:
            runs[chapter] = run((BOOK / f"{chapter}.md").read_text(), f"{chapter}.md")
        return runs[chapter]

    return page


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_page(chapter, pages):
    done = pages(chapter)
    assert len(done.printed) >= 3
    assert all(isinstance(value, str | int) for value in done.said), "a number as it is to be read"
    assert all(line.isprintable() for out in done.printed for line in out.splitlines())
    widest = max((line for out in done.printed for line in out.splitlines()), key=len)
    assert len(widest) <= 100, widest
