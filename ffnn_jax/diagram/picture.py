"""The network as a picture, with the numbers of one example."""

import hashlib
import math
from typing import Any

from ffnn_jax.diagram import drawing, names
from ffnn_jax.diagram.layout import FONT, arrange
from ffnn_jax.diagram.quantities import Quantities, compute
from ffnn_jax.diagram.selection import check_depth, columns
from ffnn_jax.network import Network, Params, check_network


def draw_network(
    net: Network, params: Params, x: Any = None, y: Any = None, *, title: str | None = None
) -> str:
    """The network as SVG: a card for each unit, a line for each weight, with its numbers.

    Layers stand in columns, the inputs on the left. A negative weight is dashed, a large one is
    thick. Of a layer of more than six units the five strongest are drawn, and how many more there
    are stands below them: the strongest by |∇a_ki|, inputs by |x_j ∇x_j|; without y by |h_ki|,
    without x by their weights. A card has every number of its unit; a weight has its own and its
    gradient beside it where there is room, up to four edges into a unit. Numbers are computed in
    float64 and written with three digits.

    Args:
      net: the network, of at most twelve layers.
      params: its parameters, a tuple of `Layer(W, b)` of one floating dtype.
      x: one example, (n_0,); with it every a and h of the units drawn is written.
      y: its target, as for `loss`; with it their ∇ too, and the loss.
      title: a line over the picture, cut where it is too long.

    Returns:
      An SVG document that needs nothing else, with an alternative text; it can also stand inside
      an HTML page as it is.

    Raises:
      TypeError: an argument of the wrong structure or dtype; called inside jit.
      ValueError: a shape that does not fit the network, a batch in place of one example, y without
        x, a number that is not finite, or more than twelve layers.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> from ffnn_jax.diagram import draw_network
      >>> net = ffnn.Network((2, 2, 2), activation="sigmoid", output="softmax")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> svg = draw_network(net, params, jnp.array([1.0, 2.0]), 1)
      >>> svg[:4], "∇ŷ" in svg
      ('<svg', True)
    """
    check_network(net)
    check_depth(net)
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title: expected a string or None, got {title!r}")
    known = compute(net, params, x, y)
    chosen = columns(net, known)
    loss = [] if known.loss is None else [f"ℒ = {names.short(known.loss, 4)}"]
    layout = arrange(net, known, chosen, above=len(loss) + (title is not None))
    above = [*([_cut(title, layout.width - 16)] if title is not None else []), *loss]
    scene = drawing.Scene(net, known, chosen, layout, frozenset(known.arrays))
    words = describe(net, known, chosen)
    name = "nn" + hashlib.sha256(words.encode()).hexdigest()[:8]  # two in one page are told apart
    svg = drawing.draw(scene, name, title or f"Network {_sizes(net)}", words, above=above)
    start = svg.index("<title")
    return f"{svg[:start]}<style>{drawing.STYLE}</style>\n{svg[start:]}\n"


def describe(net: Network, known: Quantities, chosen: Any) -> str:
    """What is to be seen, for who cannot see it."""
    parts = [f"A feedforward network of {_sizes(net)} units, drawn from left to right."]
    for k, column in enumerate(chosen):
        if column.more:
            which = "the input" if k == 0 else f"layer {k}"
            parts.append(
                f"Of {which}, {len(column.units)} units are drawn and {column.more:,} not."
            )
    L = net.depth
    if ("h", L) in known:
        outputs = (
            f"{names.as_plain(names.unit('h', L, i, L))} = "
            f"{names.short(float(known.of('h', L)[i - 1]))}"
            for i in chosen[L].units
        )
        parts.append(f"Outputs: {', '.join(outputs)}.")
    if known.loss is not None:
        parts.append(f"The loss ℒ is {names.short(known.loss, 4)}.")
    return " ".join(parts)


def _sizes(net: Network) -> str:
    return "-".join(map(str, net.sizes))


def _cut(text: str, room: float) -> str:
    """A text on one line that is no wider than the room, in bold letters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if names.width(text, 1.1 * FONT) <= room:
        return text
    narrowest = names.SUB * min(names.NARROW.values()) * FONT
    text = text[: math.ceil(room / narrowest)]  # the loop below is short
    while text and names.width(text + "…", 1.1 * FONT) > room:
        text = text[:-1]
    return text.rstrip() + "…"
