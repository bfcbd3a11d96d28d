"""docs/lecture: the code cells of each page run from top to bottom, and its text finds its numbers.

A page is MyST Markdown. The site runs it with Jupyter; here the same cells run in one scope, in
the settings of the suite, which are stricter. `{eval}` in the text takes the value that the name
has at that place. Most claims of a page are assertions in its own cells.
`python tests/test_book.py --update` draws the pictures anew.
"""

import contextlib
import io
import math
import pathlib
import re
import sys
from typing import NamedTuple

import numpy as np
import pytest

BOOK = pathlib.Path(__file__).parent.parent / "docs" / "lecture"
CHAPTERS = sorted(path.stem for path in BOOK.glob("[0-9][0-9]-*.md"))
PIECE = re.compile(
    r"^```\{code-cell\} python\n(?P<cell>.*?)^```$|\{eval\}`(?P<name>[^`]*)`",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")
LINK = re.compile(r"\]\(([\w./-]+)\)")


class Run(NamedTuple):
    """What a page did.

    Attributes:
      scope: the names that its cells have made.
      printed: the output of each cell.
      said: the value of each `{eval}`.
    """

    scope: dict
    printed: list[str]
    said: list[object]


def read(chapter):
    """The Markdown of a page."""
    return (BOOK / f"{chapter}.md").read_text(encoding="utf-8")


def run(text, name):
    """Runs a page."""
    done = Run({}, [], [])
    with np.printoptions():  # a page may set its own
        for piece in PIECE.finditer(text):
            if piece["cell"] is None:
                done.said.append(done.scope[piece["name"]])
                continue
            above = text.count("\n", 0, piece.start("cell"))
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * above + piece["cell"], name, "exec"), done.scope)
            done.printed.append(out.getvalue())
    return done


@pytest.fixture(scope="module")
def page():
    """The run of a page by its name, made when it is first asked for."""
    runs = {}

    def run_once(chapter):
        if chapter not in runs:
            runs[chapter] = run(read(chapter), f"{chapter}.md")
        return runs[chapter]

    return run_once


def numbers(text):
    return [float(number) for number in NUMBER.findall(text)]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_page_runs(chapter, page):
    done = page(chapter)
    assert len(done.printed) >= 3
    assert all(type(value) in (str, int) for value in done.said), "numbers as they are to be read"
    lines = [line for out in done.printed for line in out.splitlines()]
    assert len(max(lines, key=len)) <= 110, max(lines, key=len)


# Laws --------------------------------------------------------------------------------------------


def test_the_printed_factors_multiply_to_the_gradient(page):
    """Of the thin network: those that the page prints, as they are printed."""
    done = page("05-thin-network")
    rows = [numbers(line.split(maxsplit=1)[1]) for line in done.printed[1].splitlines()]
    factors, products = zip(*rows, strict=True)
    assert len(factors) == 7
    assert np.allclose(np.cumprod(factors), products, rtol=2e-6, atol=1e-6)
    assert float(done.said[0]) == products[-1]


def test_the_printed_paths_add_up_to_the_gradient(page):
    done = page("06-wide-network")
    *paths, total = done.printed[1].splitlines()[1:]
    assert len(paths) == 6
    products = [numbers(line)[-1] for line in paths]
    assert math.isclose(sum(products), numbers(total)[0], abs_tol=4e-6)
    assert float(done.said[0]) == numbers(total)[0]
    assert math.isclose(done.scope["total"], page("09-weights-and-biases").scope["grad_W_112"])


def test_every_page_about_the_wide_network_means_the_same_one(page):
    wide = page("06-wide-network").scope
    for chapter in CHAPTERS[6:9]:
        scope = page(chapter).scope
        for name in ("W_1", "b_1", "W_2", "b_2", "W_3", "b_3", "x"):
            assert np.array_equal(scope[name], wide[name]), f"{chapter}: {name}"
    for chapter in (CHAPTERS[9], CHAPTERS[11], CHAPTERS[13]):
        for k, (W, b) in enumerate(page(chapter).scope["layers"], start=1):
            assert np.array_equal(W, wide[f"W_{k}"]), f"{chapter}: W_{k}"
            assert np.array_equal(b, wide[f"b_{k}"]), f"{chapter}: b_{k}"


def test_the_notes_slip_matters_for_the_second_class_only(page):
    scope = page("02-softmax").scope
    right, slipped = scope["yhat"], scope["slip"]
    assert math.isclose(right[0], slipped[0], rel_tol=1e-4)
    assert slipped[1] > 1e16 * right[1]


def test_every_planted_bug_is_named(page):
    """Chapter 14 tells of each what it is, not only that something is wrong."""
    done = page("14-checking")
    printed = done.printed[-2]
    assert all(name in printed for name in done.scope["planted"])
    assert "wrong: off by" not in printed


# The text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_page_has_its_parts(chapter):
    text = read(chapter)
    n = int(chapter[:2])
    assert re.search(rf"^# {n}\. ", text, re.MULTILINE)
    remember = re.search(r"^## Remember\n\n((?:\d\. .*\n)+)", text, re.MULTILINE)
    assert remember is not None
    assert remember[1].count("\n") == 3
    for part in ("**The question.**", "## Check it yourself", "(exercises/"):
        assert part in text, part
    words = len(re.sub(r"```.*?```|\$\$.*?\$\$", "", text, flags=re.DOTALL).split())
    assert words <= 1800


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_contents_name_every_chapter():
    contents = (BOOK / "index.md").read_text(encoding="utf-8")
    tree = re.search(r"```\{toctree\}\n.*?```", contents, re.DOTALL)
    assert tree is not None
    assert [line for line in tree[0].splitlines() if re.match(r"\d\d-", line)] == CHAPTERS
    for chapter in CHAPTERS:
        title = re.search(r"^# (.*)$", read(chapter), re.MULTILINE)
        assert title is not None
        assert f"[{title[1]}]({chapter}.md)" in contents


# The pictures ------------------------------------------------------------------------------------

PICTURES = {chapter for chapter in CHAPTERS if f"({chapter}.svg)" in read(chapter)}


def words_of(svg):
    """What stands in a picture, in order."""
    return re.findall(r">([^<>\n]+)</(?:text|tspan|title|desc)>", svg)


@pytest.mark.parametrize("chapter", sorted(PICTURES))
def test_the_picture_shows_what_the_page_computes(chapter, page):
    drawn = words_of(page(chapter).scope["picture"])
    kept = words_of((BOOK / f"{chapter}.svg").read_text(encoding="utf-8"))
    assert [NUMBER.sub("#", w) for w in drawn] == [NUMBER.sub("#", w) for w in kept]
    assert np.allclose(numbers(" ".join(drawn)), numbers(" ".join(kept)), rtol=2e-3)


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        raise SystemExit("usage: python tests/test_book.py --update")
    for stem in sorted(PICTURES):
        picture = run(read(stem), f"{stem}.md").scope["picture"]
        (BOOK / f"{stem}.svg").write_text(picture, encoding="utf-8")
