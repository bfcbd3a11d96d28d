"""Reports in a real Chromium, at the width of a phone and of a desk: nothing cut, nothing overlaps.

The pictures of the pages stay in the folder `$REPORT_SHOTS`, where that is set.
"""

import os
import pathlib

import browser
import numpy as np
import pytest
from test_report import HOSTILE, LONG, RECORDS, written

import ffnn_jax as ffnn
from ffnn_jax import report

pytestmark = pytest.mark.skipif(
    browser.find_browser() is None,
    reason=f"no browser: none of {', '.join(browser.NAMES)} is there (apt-get install chromium)",
)
DRAW = np.random.default_rng(1)


def drawn(N, n_0, y):
    return DRAW.standard_normal((N, n_0)).astype(np.float32), y


def images(folder):
    """Classes with hostile names, and images."""
    net = ffnn.Network((64, 8, 3), output="softmax")
    parts = [drawn(n, 64, DRAW.integers(0, 3, n).astype(np.int32)) for n in (60, 40)]
    leaf = ffnn.LeafReport("args[1][0].W", True, 1e-8, 2e-8, 1e-6, None)
    return written(
        folder, net, train=parts[0], held_out=parts[1], records=RECORDS, classes=HOSTILE,
        image_shape=(8, 8), gradients=ffnn.Report(True, (leaf,), "autodiff"),
        reproduce="ffnn train " + "a-long-name/" * 20, details={"Data": {"SHA-256": "0a" * 32}},
    )  # fmt: skip


def quantities(folder):
    """Two quantities of very different size, from twenty-four columns with long names."""
    net = ffnn.Network((30, 8, 2), activation="tanh")
    parts = [drawn(n, 30, DRAW.standard_normal((n, 2)).astype(np.float32)) for n in (60, 40)]
    columns = [(name, [i]) for i, name in enumerate(LONG[:24])] + [("kind", range(24, 30))]
    target = report.Target(["the price of it all in thousands", "b"], [1e6, 0], [1e5, 1e-7])
    return written(
        folder, net, train=parts[0], held_out=parts[1], records=RECORDS, columns=columns,
        target=target, details={"Columns": [{"column": n, "missing": 0, "kind": n} for n in LONG]},
    )  # fmt: skip


def many_classes(folder):
    """Thirty classes with long names, in a matrix that scrolls."""
    net = ffnn.Network((4, 30), output="softmax")
    parts = [drawn(n, 4, DRAW.integers(0, 30, n).astype(np.int32)) for n in (90, 60)]
    return written(folder, net, train=parts[0], held_out=parts[1], classes=LONG)


@pytest.mark.parametrize("make", [images, quantities, many_classes], ids=lambda make: make.__name__)
def test_page(tmp_path, make):
    make(tmp_path)
    shots = pathlib.Path(os.environ.get("REPORT_SHOTS", tmp_path))
    shots.mkdir(parents=True, exist_ok=True)
    pictures = {width: shots / f"{make.__name__}-{width}.png" for width in (400, 1200)}
    every, console = browser.look(tmp_path / "report.html", pictures)
    assert console == []
    for width, picture in pictures.items():
        measures = every[width]
        assert picture.stat().st_size > 10_000
        assert measures["scroll"] <= width
        assert measures["cut"] == []
        assert measures["smallest"] >= 12
        assert all(pixels > 0 for pixels in measures["pictures"])
        assert len(measures["boxes"]) >= 3
        for drawing in measures["boxes"]:
            browser.check_letters(drawing)


def test_a_cut_page_is_seen(tmp_path):
    """The measures can fail: a word wider than the page, and letters over letters."""
    page = tmp_path / "page.html"
    page.write_text(
        '<!DOCTYPE html><body><p style="width:900px">wide</p><svg width="100" height="50">'
        '<text x="5" y="20">one</text><text x="8" y="22">two</text></svg><img src="none.png">'
        "<script>throw new Error('told')</script></body>"
    )
    every, console = browser.look(page, {400: tmp_path / "page.png"})
    measures = every[400]
    assert measures["scroll"] > 400
    assert measures["cut"] == ["wide"]
    assert measures["pictures"] == [0]
    assert any("told" in line for line in console)
    with pytest.raises(AssertionError, match="one"):
        browser.check_letters(measures["boxes"][0])
