"""The backward pass of one example as a page of steps, in one file that asks for nothing else."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.diagram import drawing, formulas, looks, names
from ffnn_jax.diagram.drawing import Scene
from ffnn_jax.diagram.layout import OF_EDGE, arrange
from ffnn_jax.diagram.marks import check_mark
from ffnn_jax.diagram.quantities import Key, compute
from ffnn_jax.diagram.selection import check_depth, columns
from ffnn_jax.diagram.steps import Step, tell
from ffnn_jax.network import Network, Params, check_network

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
MOST_TOLD = 12  # numbers of a quantity in an alternative text
BUTTONS = ("First", "← Back", "Next →", "Last")


def write_backward_page(
    path: str | os.PathLike[str],
    net: Network,
    params: Params,
    x: Any,
    y: Any,
    *,
    weight: Sequence[int] | None = None,
) -> None:
    """The backward pass of one example as an HTML page that is gone through step by step.

    Each step has its formula in the lecture's notation, one entry with this network's numbers, and
    the picture of `draw_network` with what is new in a box. Buttons and the keys ←, →, Home and
    End go through it; without a script, and on paper, all steps stand one under the other. The
    page is one file and asks for no other. Numbers are computed in float64.

    Args:
      path: the file; what is there is replaced whole.
      net: the network, of at most twelve layers.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: one example, (n_0,).
      y: its target, as for `loss`.
      weight: (layer, i, j), counted from 1 as in the lecture: all ways from W_kij to the loss are
        marked, and a last step tells its chain rule. (layer, i) is the bias b_ki.

    Raises:
      TypeError: an argument of the wrong structure or dtype; called inside jit.
      ValueError: a shape that does not fit the network, a batch in place of one example, a number
        that is not finite, an index of weight outside the network, or more than twelve layers.
      OSError: the file cannot be written.
    """
    check_network(net)
    check_depth(net)
    mark = None if weight is None else check_mark(net, weight)
    if x is None or y is None:
        raise ValueError(f"{'x' if x is None else 'y'}: expected one example, got None")
    known = compute(net, params, x, y)
    keep = {} if mark is None else {mark.layer: (mark.i,)}
    if mark is not None and mark.j is not None:
        keep[mark.layer - 1] = (mark.j,)
    chosen = columns(net, known, keep)
    steps = tell(net, known, chosen, mark)
    told = {key: array for key, array in known.arrays.items() if key != ("∇h", 0)}  # no room for ∇x
    drawn = known._replace(arrays=told)
    layout = arrange(net, drawn, chosen, mark=mark)
    scene = Scene(net, drawn, chosen, layout, frozenset(), frozenset(), mark)
    page = _document(net, _pictures(scene, steps))
    replace_file(path, lambda file: file.write(page.encode("utf-8")))


class Picture(NamedTuple):
    """A step and its drawing."""

    step: Step
    svg: str


def _pictures(scene: Scene, steps: Sequence[Step]) -> list[Picture]:
    """Each step with all that is known by then."""
    shown = frozenset((name, k) for name, k in scene.known.arrays if name in ("W", "b"))
    pictures = []
    for number, step in enumerate(steps, start=1):
        shown |= frozenset(step.new)
        now = scene._replace(shown=shown, new=_brought_out(step))
        title = f"Step {number}: {names.as_plain(step.title)}"
        svg = drawing.draw(now, f"step{number}", title, _new_numbers(now, step))
        pictures.append(Picture(step, svg))
    return pictures


def _brought_out(step: Step) -> frozenset[Key]:
    """What is boxed: the parameters are there from the start, and are not."""
    return frozenset(key for key in step.new if key[0] not in ("W", "b"))


def _new_numbers(scene: Scene, step: Step) -> str:
    """The numbers that are new, in words."""
    told = []
    for name, k in step.new:
        units = scene.columns[k].units
        if name in OF_EDGE:
            below = scene.columns[k - 1].units
            entries = [(names.symbol(name, k, i, j), (i, j)) for i in units for j in below]
        else:
            entries = [(names.unit(name, k, i, scene.net.depth), (i,)) for i in units]
        for written, indices in entries[:MOST_TOLD]:
            value = scene.known.of(name, k)[tuple(i - 1 for i in indices)]
            told.append(f"{names.as_plain(written)} = {names.short(float(value))}")
    return f"New: {', '.join(told)}." if told else "The network."


def _document(net: Network, pictures: Sequence[Picture]) -> str:
    title = f"Backprop, step by step: {' → '.join(map(str, net.sizes))}"
    kinds = ", ".join(dict.fromkeys(net.activations)) or "no hidden layer"
    about = f"{kinds}; output {net.output}; loss {formulas.loss_name(net)}."
    items = (_item(number, len(pictures), *each) for number, each in enumerate(pictures, start=1))
    buttons = "".join(f'<button type="button">{name}</button>' for name in BUTTONS)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{names.escaped(title)}</title>\n"
        f"<style>{looks.STYLE}{drawing.STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{names.escaped(title)}</h1>\n"
        f'<p class="quiet">{names.escaped(about)} What is new in a step stands in a box. '
        "Numbers are rounded, in the picture to three digits.</p></header>\n"
        f'<main><ol class="steps">\n{"".join(items)}</ol></main>\n'
        f'<nav class="controls" aria-label="Steps" hidden>'
        f'<p role="status" aria-live="polite"></p>{buttons}</nav>\n'
        f"<script>{looks.SCRIPT}</script>\n</body>\n</html>\n"
    )


def _item(number: int, count: int, step: Step, svg: str) -> str:
    """One step of the strip."""
    texts = "".join(
        f'<p class="{kind}">{names.as_html(text)}</p>\n'
        for kind, text in (
            ("formula", step.formula),
            ("words", step.words),
            ("example", step.example),
        )
    )
    return (
        f'<li class="step" id="step-{number}">\n'
        f'<div><h2><span class="count">Step {number} of {count}</span> '
        f"{names.as_html(step.title)}</h2>\n{texts}</div>\n"
        f'<figure class="scroll" role="region" tabindex="0" aria-label="Picture of step {number}">'
        f"{svg}</figure>\n</li>\n"
    )
