"""Docstrings as the reference needs them: they are written for eyes, not for reStructuredText.

In a docstring of this project `*batch`, |r_j| and h_{k−1} mean what they say, what stands between
backticks is code, and lines set in below a paragraph are formulas that keep their layout. Here
what Sphinx would take for markup is escaped, and public names in backticks become links. Signatures
stand as they do in the source.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.inspect import stringify_signature

import ffnn_jax
from ffnn_jax import interop, plots

PUBLIC = {name: f"{m.__name__}.{name}" for m in (plots, interop, ffnn_jax) for name in m.__all__}
BEFORE_NAPOLEON = 400  # its priority is 500
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
UNTYPED = re.compile(
    r"^(Returns|Yields):\n +"
)  # napoleon takes what stands before a colon for a type
SECTION = re.compile(r"(Args|Attributes|Examples?|Raises|Returns|Yields):$")


def escaped(text: str) -> str:
    """Text outside of code, with nothing in it that is markup."""
    return MARKUP.sub(r"\\\g<0>", text)


def code(match: re.Match[str]) -> str:
    """What stands between backticks: a link if it is a public name, else as it stands."""
    inside = " ".join(match[2].split())
    return f":py:obj:`{inside} <{PUBLIC[inside]}>`" if inside in PUBLIC else f"``{inside}``"


def marked_up(paragraph: str) -> str:
    """A paragraph in which only what stands between backticks is markup."""
    parts, done = [], 0
    for match in CODE.finditer(paragraph):
        parts += [escaped(paragraph[done : match.start()]), code(match)]
        done = match.end()
    return "".join([*parts, escaped(paragraph[done:])])


def restructured(docstring: str) -> str:
    """The docstring as reStructuredText with Google's sections, which are napoleon's to read."""
    paragraphs, in_section = [], False
    for paragraph in docstring.split("\n\n"):
        set_in = paragraph.startswith(" ")
        in_section = bool(SECTION.match(paragraph.partition("\n")[0])) or (in_section and set_in)
        if ">>>" in paragraph:
            paragraphs.append(paragraph)
        elif set_in and not in_section:
            paragraphs += ["::", paragraph]
        else:
            paragraphs.append(UNTYPED.sub(r"\g<0>: ", marked_up(paragraph)))
    return "\n\n".join(paragraphs)


def process_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Sphinx hands over the lines, and takes them back changed."""
    lines[:] = restructured("\n".join(lines)).splitlines()


def process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str | None] | None:
    """The arguments of a function or the fields of a record, with the types of the source."""
    if inspect.isfunction(obj) or inspect.ismethod(obj):
        source = parsed(obj)
        if source.args.args and source.args.args[0].arg in ("self", "cls"):
            del source.args.args[0]
        return f"({ast.unparse(source.args)})", source.returns and ast.unparse(source.returns)
    if dataclasses.is_dataclass(obj) or hasattr(obj, "_fields"):
        types = {
            ast.unparse(line.target): ast.unparse(line.annotation)
            for kind in obj.__mro__
            if kind is obj or dataclasses.is_dataclass(kind)  # fields are inherited
            for line in parsed(kind).body
            if isinstance(line, ast.AnnAssign)
        }
        made = inspect.signature(obj)
        fields = [each.replace(annotation=types[each.name]) for each in made.parameters.values()]
        return stringify_signature(inspect.Signature(fields)), None
    return None


def parsed(obj: Any) -> Any:
    """The definition of a function or class in the source."""
    return ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]


def skip_field(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """The fields of a NamedTuple are told under Attributes, not once more alone."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Listens to what autodoc finds."""
    app.setup_extension("sphinx.ext.autodoc")
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # as the docstrings call them; Sphinx says Variables
    app.connect("autodoc-process-docstring", process_docstring, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_field)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
