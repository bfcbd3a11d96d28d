"""The parts of an HTML page: everything that comes from outside is escaped here, and only here."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

NBSP = "\u00a0"


class Markup(str):
    """Text that is HTML already; everything else is escaped when it becomes part of a page."""


def escaped(value: Any) -> Markup:
    """A value as HTML; control characters become spaces."""
    if isinstance(value, Markup):
        return value
    line = "".join(c if c.isprintable() or c in "\n\t\u00a0" else " " for c in str(value))
    return Markup(html.escape(line, quote=True))


def joined(parts: Iterable[Markup]) -> Markup:
    """Parts one after the other."""
    return Markup("\n".join(parts))


def number(value: Any) -> str:
    """A number for a reader: four digits that count, a true minus, – for none.

    Example:
      >>> number(0.0123456), number(1797), number(-2.0), number(float("nan"))
      ('0.01235', '1,797', '−2', '–')
    """
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int | np.integer):
        written = f"{int(value):,}"
    elif 1e4 <= abs(value) < 1e9:
        written = f"{value:,.0f}"
    else:
        written = f"{float(value):.4g}"
    return written.replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; the space before the sign does not break.

    Example:
      >>> percent(0.975).replace(NBSP, " ")
      '97.5 %'
    """
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100 * share:.{digits}f}{NBSP}%".replace("-", "−")


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def paragraph(*sentences: str, note: bool = False) -> Markup:
    """Sentences as one paragraph; notes are set smaller."""
    text = " ".join(escaped(sentence) for sentence in sentences if sentence)
    return Markup(f'<p class="note">{text}</p>' if note else f"<p>{text}</p>")


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table in a box of its own that scrolls where it is too wide.

    Args:
      title: what it shows, for who cannot see it.
      headers: of the columns; the first column holds the names of the rows.
      rows: cells; numbers, and None for none, are set to the right.
    """
    rows = [list(row) for row in rows]
    right = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(headers))]
    head = "".join(_cell("th", h, r, ' scope="col"') for h, r in zip(headers, right, strict=True))
    body = []
    for row in rows:
        first = _cell("th", row[0], right[0], ' scope="row"')
        others = (_cell("td", v, r) for v, r in zip(row[1:], right[1:], strict=True))
        body.append(f"<tr>{first}{''.join(others)}</tr>")
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(title)}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(body)}\n</tbody></table></div>"
    )


class Share(float):
    """A number that a table shows in percent."""


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float | np.number)


def _cell(tag: str, value: Any, right: bool, more: str = "") -> str:
    if isinstance(value, Share):
        value = percent(value)
    elif _is_number(value) and not isinstance(value, bool):
        value = number(value)
    whole = tag == "th" and len(str(value)) <= 12  # on one line
    wide = not right and len(str(value)) > 12  # never so narrow that each word has a line
    names = " ".join(["n"] * right + ["whole"] * whole + ["wide"] * wide)
    kind = f' class="{names}"' if names else ""
    return f"<{tag}{kind}{more}>{escaped(value)}</{tag}>"


def facts(title: str, entries: Iterable[tuple[Any, Any]]) -> Markup:
    """Names and their values, as a table of two columns without a head."""
    rows = "\n".join(
        f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(_in_words(value))}</td></tr>'
        for name, value in entries
    )
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(title)}">'
        f'<table class="facts"><tbody>\n{rows}\n</tbody></table></div>'
    )


def _in_words(value: Any) -> Any:
    """A value of a setting, as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, int | float | np.number):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(_in_words(part)) for part in value)
    return value


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup(f"<h3>{escaped(text)}</h3>")


def tiles(entries: Iterable[tuple[str, str]]) -> Markup:
    """Large figures, each with what it is."""
    inner = "\n".join(
        f'<div class="tile"><dd>{escaped(value)}</dd><dt>{escaped(name)}</dt></div>'
        for value, name in entries
    )
    return Markup(f'<dl class="tiles">\n{inner}\n</dl>')


def code(text: str) -> Markup:
    """Lines to be copied as they stand."""
    return Markup(f"<pre><code>{escaped(text)}</code></pre>")


class Section(NamedTuple):
    """A part of the page with a heading of its own, which can be linked to."""

    title: str
    parts: tuple[Markup, ...]

    @property
    def name(self) -> str:
        """The id in the page."""
        return self.title.lower().replace(" ", "-")

    @property
    def markup(self) -> Markup:
        """The section as HTML."""
        return Markup(
            f'<section id="{self.name}" aria-labelledby="{self.name}-title">\n'
            f'<h2 id="{self.name}-title">{escaped(self.title)}</h2>\n{joined(self.parts)}\n'
            "</section>"
        )


def document(title: str, subtitle: str, style: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "\n".join(
        f'<li><a href="#{part.name}">{escaped(part.title)}</a></li>' for part in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escaped(title)}</h1>\n<p>{escaped(subtitle)}</p>\n"
        f'<nav aria-label="Sections"><ul>\n{links}\n</ul></nav>\n</header>\n<main>\n'
        f"{joined(part.markup for part in sections)}\n</main>\n</body>\n</html>\n"
    )
