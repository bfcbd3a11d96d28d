"""The pictures in a real Chromium, at the width of a phone and of a desk; the keys and buttons.

They stay in the folder `$REPORT_SHOTS`, where that is set.
"""

import os
import pathlib
import re

import browser
import numpy as np
import pytest
from cases import examples

import ffnn_jax as ffnn
from ffnn_jax.diagram import draw_network, write_backward_page

pytestmark = pytest.mark.skipif(
    browser.find_browser() is None,
    reason=f"no browser: none of {', '.join(browser.NAMES)} is there (apt-get install chromium)",
)

# A network, and the weight that is marked.
PAGES = {
    "small": (ffnn.Network((2, 2, 2), "sigmoid", "softmax"), (1, 1, 2)),
    "thin": (ffnn.Network((1, 1, 1, 1), "tanh"), (1, 1)),
    "middle": (ffnn.Network((3, 4, 3, 2), ("leaky_relu", "tanh"), "logistic"), (2, 3, 4)),
    "folded": (ffnn.Network((300, 200, 120, 10), "relu", "softmax"), (2, 17, 3)),
    "deep": (ffnn.Network((5, *(3,) * 11, 1), "gelu"), None),
}
# Presses and clicks, and what is then seen: one step, and which.
PRESSES = """<script>{
const seen = [];
const now = () => [...document.querySelectorAll(".step")].flatMap(
  (step, i) => step.getBoundingClientRect().height ? [i + 1] : []).join("+");
const press = key => { document.body.dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })); seen.push(now()); };
seen.push(now());
["ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft", "x"].map(press);
for (const button of document.querySelectorAll("button")) { button.click(); seen.push(now()); }
seen.push(document.querySelector("[role=status]").textContent);
console.log("seen " + seen.join(" "));
}</script>"""


def one(net):
    params, x, y, _ = examples(net, batch=(), seed=2)
    return params, x, y


def look(page, name, widths=(400, 1200)):
    shots = pathlib.Path(os.environ.get("REPORT_SHOTS", page.parent))
    shots.mkdir(parents=True, exist_ok=True)
    every, console = browser.look(page, {width: shots / f"{name}-{width}.png" for width in widths})
    assert console == []
    for width, measures in every.items():
        assert measures["scroll"] <= width
        assert measures["cut"] == []
    return every


def check_drawing(drawing):
    """Letters as everywhere; and a text that touches a card lies inside it, above, or below."""
    browser.check_letters(drawing)
    for text in drawing["texts"]:
        for card in drawing["cards"]:
            box, middle = text["box"], (text["box"]["top"] + text["box"]["bottom"]) / 2
            if not card["top"] < middle < card["bottom"]:
                continue
            across = min(box["right"], card["right"]) - max(box["left"], card["left"])
            assert across <= 0.5 or across >= box["width"] - 0.5, text


@pytest.mark.parametrize("name", PAGES)
def test_without_a_script_there_is_a_strip_of_pictures(tmp_path, name):
    """Some of the steps, the first and the last among them: a strip of all takes a minute."""
    net, weight = PAGES[name]
    page = tmp_path / "page.html"
    write_backward_page(page, net, *one(net), weight=weight)
    content, found = re.subn("<script>.*?</script>", "", page.read_text("utf-8"), flags=re.S)
    assert found == 1
    steps = re.findall('<li class="step".*?</li>', content, re.S)
    count = 4 * net.depth + 2 + (weight is not None)
    assert len(steps) == count
    for step in set(steps) - {steps[0], steps[count // 2], steps[-1]}:
        content = content.replace(step, "")
    page.write_text(content, "utf-8")
    for measures in look(page, name).values():
        assert len(measures["boxes"]) == 3
        assert measures["smallest"] >= 12
        for drawing in measures["boxes"]:
            check_drawing(drawing)


def test_with_a_script_there_are_steps(tmp_path):
    net, weight = PAGES["small"]
    page = tmp_path / "page.html"
    write_backward_page(page, net, *one(net), weight=weight)
    measures = look(page, "steps", (400,))[400]
    shown = [drawing for drawing in measures["boxes"] if drawing["frame"]["height"] > 0]
    assert len(shown) == 1
    assert shown[0]["frame"]["right"] <= 400  # whole on a phone
    page.write_text(page.read_text("utf-8") + PRESSES, "utf-8")
    _, console = browser.look(page, {400: tmp_path / "pressed.png"})
    (told,) = {re.search('seen ([^"]*)', line).group(1) for line in console}  # opened twice
    assert told == "1 2 3 2 11 11 1 1 1 1 1 2 11 Step 11 of 11 The chain rule of W112"


@pytest.mark.parametrize("name", PAGES)
def test_pictures(tmp_path, name):
    net, _ = PAGES[name]
    title = "What this network makes of one example, " * 3
    page = tmp_path / "page.html"
    page.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><div class="scroll" '
        f'style="overflow:auto">{draw_network(net, *one(net), title=title)}</div></body>'
    )
    for measures in look(page, f"picture-{name}", (360, 1200)).values():
        check_drawing(measures["boxes"][0])


def test_numbers_of_every_size(tmp_path):
    net = ffnn.Network((2, 3, 2), "tanh")
    params, x, y = one(net)
    large = -np.array([[1.234e-30, 1.234e30], [0.000123, 123456.0], [9.99e-5, 3e38]], np.float32)
    params = (ffnn.Layer(large, params[0].b), params[1])
    page = tmp_path / "page.html"
    page.write_text(f'<!DOCTYPE html><meta charset="utf-8">{draw_network(net, params, x, y)}')
    check_drawing(only_drawing(page))


def only_drawing(page):
    return browser.look(page, {1200: page.parent / "page.png"}).measures[1200]["boxes"][0]


def test_a_drawing_whose_texts_overlap_is_seen(tmp_path):
    """The checks can fail: a picture with cards drawn too near to each other."""
    svg = draw_network(PAGES["small"][0], *one(PAGES["small"][0]))
    page = tmp_path / "page.html"
    page.write_text(f'<!DOCTYPE html><meta charset="utf-8">{svg.replace("12px", "19px")}')
    with pytest.raises(AssertionError):
        check_drawing(only_drawing(page))
