"""A real Chromium without a window, for the tests of pages."""

import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from typing import Any, NamedTuple

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")

# What a page measures of itself, in a copy of it. The copy is in a frame, for a window of Chromium
# is never narrower than 500 pixels, and tells the page around the frame, which is read.
MEASURE = """
<script>
addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("svg")].map(svg => ({
    frame: svg.getBoundingClientRect().toJSON(),
    cards: [...svg.querySelectorAll(".card")].map(card => card.getBoundingClientRect().toJSON()),
    texts: [...svg.querySelectorAll("text")].map(text => ({
      words: text.textContent, size: text.getBoundingClientRect().height,
      font: parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a,
      box: text.getBoundingClientRect().toJSON() }))
  }));
  const found = {
    width: document.documentElement.clientWidth, scroll: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    pictures: [...document.images].map(image => image.naturalWidth), boxes: boxes,
    smallest: Math.min(...[...document.querySelectorAll("p, td, th, dt, dd, li, figcaption")].map(
      element => parseFloat(getComputedStyle(element).fontSize))),
    cut: [...document.querySelectorAll("p, h1, h2, h3, dd, dt, figcaption, li, figure")].filter(
      e => { const box = e.getBoundingClientRect();
             return !e.closest(".scroll") && (box.right > innerWidth + 1 || box.left < -1
                    || e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
                       && getComputedStyle(e).display != "inline"); }
    ).map(e => e.textContent.slice(0, 60)),
  };
  parent.postMessage(JSON.stringify(found), "*");
});
</script>
"""
FRAME = '<iframe src="copy.html" style="border:0;width:{width}px;height:900px"></iframe>'
LISTENER = """<!DOCTYPE html><pre id="measures"></pre>
<script>
addEventListener("message", e => document.getElementById("measures").append(e.data + "\\n"));
</script>
"""


class Seen(NamedTuple):
    """What a browser made of a page.

    Attributes:
      measures: of the page at each width.
      console: the lines of the console.
    """

    measures: dict[int, dict[str, Any]]
    console: list[str]


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def look(page: pathlib.Path, pictures: dict[int, pathlib.Path]) -> Seen:
    """Measures a copy of a page at some widths, and keeps a picture of the whole page at each."""
    with tempfile.TemporaryDirectory() as home:
        pathlib.Path(home, "copy.html").write_text(page.read_text("utf-8") + MEASURE, "utf-8")
        around = pathlib.Path(home, "around.html")
        frames = "".join(FRAME.format(width=width) for width in pictures)
        around.write_text(LISTENER + frames, "utf-8")
        done = _run(home, "--dump-dom", "--virtual-time-budget=5000", around)
        found = re.search(r'<pre id="measures">(.+?)</pre>', done.stdout, re.S)
        assert found, done.stdout[-2000:] + done.stderr[-2000:]
        every = [json.loads(line) for line in html.unescape(found.group(1)).splitlines()]
        measures = {each["width"]: each for each in every}
        for width, picture in pictures.items():
            size = f"--window-size={width},{measures[width]['height']}"
            done.stderr += _run(home, f"--screenshot={picture}", size, page).stderr
        return Seen(measures, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def check_letters(drawing):
    """The texts of a drawing are large enough, inside it, and apart from each other.

    The box of a text is as high as the line; letters themselves have two thirds of it.
    """
    frame, boxes = drawing["frame"], [text["box"] for text in drawing["texts"]]
    assert all(text["font"] >= 9 for text in drawing["texts"])
    for i, (text, box) in enumerate(zip(drawing["texts"], boxes, strict=True)):
        assert box["left"] >= frame["left"] - 2, text
        assert box["right"] <= frame["right"] + 2, text
        assert box["top"] >= frame["top"] - 4, text
        assert box["bottom"] <= frame["bottom"] + 4, text
        for other in boxes[i + 1 :]:
            across = min(box["right"], other["right"]) - max(box["left"], other["left"])
            up = min(box["bottom"], other["bottom"]) - max(box["top"], other["top"])
            assert min(across, up) < text["font"] / 3, text


def _run(home: str, *options: Any) -> subprocess.CompletedProcess[str]:
    browser = find_browser()
    assert browser
    *flags, page = map(str, options)
    command = [browser, *FLAGS, f"--user-data-dir={home}/profile", *flags]
    command.append(pathlib.Path(page).as_uri())
    settings = {"capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, env={**os.environ, "HOME": home}, **settings)
    assert done.returncode == 0, done.stderr[-2000:]
    return done
