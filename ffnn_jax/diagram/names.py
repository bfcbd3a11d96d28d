"""Names in the lecture's notation, and short numbers, for SVG, HTML and plain text.

Text is written once, with `_{…}` for what is set below the line: "∇a_{21}", "W_{112}".
"""

import html
import math
import re

SUBSCRIPT = re.compile(r"_\{([^}]*)\}")
SUPERSCRIPT = re.compile(r"\^\{([^}]*)\}")
DROP = 3.0  # points that a subscript lies below the line

# Widths of letters in ems, of DejaVu Sans, the widest of the usual faces.
NARROW = {".": 0.32, ",": 0.32, " ": 0.32, "i": 0.28, "l": 0.28, "·": 0.32, "|": 0.34}
WIDE = {"−": 0.84, "∇": 0.70, "m": 0.98, "w": 0.82, "ℒ": 0.85, "W": 0.99, "=": 0.84, "⋮": 0.5}
USUAL = 0.64
SUB = 0.75  # the size of a subscript


def short(value: float, digits: int = 3) -> str:
    """A number of so many digits that count, with a true minus sign, and never −0.

    Example:
      >>> short(-0.012345), short(1234567.0), short(-0.0), short(2e-5), short(float("nan"))
      ('−0.0123', '1.23e6', '0', '2e−5', 'NaN')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, power = f"{value + 0.0:.{digits}g}".partition("e")
    mantissa = mantissa.removesuffix(".0")
    written = f"{mantissa}e{int(power)}" if power else mantissa
    return written.replace("-", "−")


def factor(value: float, digits: int = 3) -> str:
    """A number as a factor of a product: a negative one stands in brackets."""
    written = short(value, digits)
    return f"({written})" if written.startswith("−") else written


def symbol(letter: str, *indices: int) -> str:
    """A letter with its indices, which commas set apart where one of them has two digits.

    Example:
      >>> symbol("W", 1, 1, 2), symbol("∇h", 1, 137)
      ('W_{112}', '∇h_{1,137}')
    """
    apart = "," if max(indices) > 9 else ""
    return f"{letter}_{{{apart.join(map(str, indices))}}}"


def quantity(name: str, k: int, depth: int) -> str:
    """What the lecture calls a quantity of layer k: h_0 is x, and h_L is ŷ.

    Example:
      >>> quantity("∇h", 0, 2), quantity("h", 2, 2), quantity("a", 2, 2)
      ('∇x', 'ŷ', 'a')
    """
    letter = "x" if k == 0 else "ŷ" if k == depth else "h"
    return name.replace("h", letter)


def unit(name: str, k: int, i: int, depth: int) -> str:
    """The same of one unit, counted from 1: x_1, h_{11}, ŷ_1.

    Example:
      >>> unit("∇h", 0, 2, 2), unit("h", 1, 2, 2), unit("h", 2, 1, 2), unit("a", 2, 1, 2)
      ('∇x_{2}', 'h_{12}', 'ŷ_{1}', 'a_{21}')
    """
    letter = quantity(name, k, depth)
    return symbol(letter, i) if letter[-1] in "xŷy" else symbol(letter, k, i)


def escaped(text: str) -> str:
    """For HTML and XML, which have no control characters and no halves of surrogate pairs."""
    return html.escape("".join(c if c.isprintable() else " " for c in text))


def as_html(text: str) -> str:
    """Escaped, with <sub> and <sup>."""
    text = SUBSCRIPT.sub(r"<sub>\1</sub>", escaped(text))
    return SUPERSCRIPT.sub(r"<sup>\1</sup>", text)


def as_svg(text: str) -> str:
    """Escaped, with a tspan below the line; only the end of a text may be a subscript."""
    below = rf'<tspan class="sub" dy="{DROP:g}">\1</tspan>'
    return SUBSCRIPT.sub(below, escaped(text))


def as_plain(text: str) -> str:
    """For alternative texts: W_112.

    Example:
      >>> as_plain("W_{112} and x^{2}")
      'W_112 and x^2'
    """
    return SUPERSCRIPT.sub(r"^\1", SUBSCRIPT.sub(r"_\1", text))


def width(text: str, size: float) -> float:
    """How wide a text is, in points; a bit more rather than less."""
    base = SUBSCRIPT.sub("", text)
    below = "".join(SUBSCRIPT.findall(text))
    return size * (_ems(base) + SUB * _ems(below))


def _ems(text: str) -> float:
    return sum(NARROW.get(letter, WIDE.get(letter, USUAL)) for letter in text)
