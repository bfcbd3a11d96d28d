"""The documentation as a site: whole, each name in it once, each block of code run somewhere.

The site itself is built by `scripts/docs`; here a small one, where the extra `docs` is installed.
"""

import contextlib
import importlib
import inspect
import io
import pathlib
import pkgutil
import re
import subprocess
import sys
from collections import Counter

import jax
import pytest

import ffnn_jax
import ffnn_jax.cli

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BUILT = DOCS / "_build" / "html"
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + [ROOT / "benchmarks" / "README.md", ROOT / "benchmarks" / "results" / "README.md"]
    + [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
)
FENCE = re.compile(r"^ *(`{3,}|~{3,}|:{3,}) *(\{[\w-]+\}|[\w-]+)?.*$", re.MULTILINE)
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```$", re.DOTALL | re.MULTILINE)

# Which test runs the python blocks of a page. Code cells are run when the site is built, those of
# the book by test_book.py too, and the others below.
BOOK = DOCS / "lecture"
RUN_BY = {
    "README.md": "test_documents.py",
    "docs/checking.md": "test_checking_doc.py",
    "docs/gpu.md": "test_gpu_doc.py",
    "docs/scaling.md": "test_scaling_doc.py",
    "docs/using.md": "test_using_doc.py",
}
NOT_RUN = {
    "docs/rules-in-the-wild.md": "of other libraries: scripts/wild runs it and writes the page"
}
OTHER_FENCES = {
    "bash",
    "console",
    "text",
    "json",
    "yaml",
    "latex",
    "math",
}  # nothing that python runs

RAISE_NOTHING = {"ffnn_jax.plots.shortened"}  # it takes anything


def name_of(page):
    return str(page.relative_to(ROOT))


def fences(page):
    """The language or {directive} of each fenced block."""
    return [match[2] or "" for match in FENCE.finditer(page.read_text()) if match[2]]


@pytest.fixture
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# Code --------------------------------------------------------------------------------------------


def test_every_python_block_is_run_by_a_test():
    with_python = {name_of(page) for page in PAGES if "python" in fences(page)}
    assert with_python == RUN_BY.keys() | NOT_RUN.keys()
    for page, test in RUN_BY.items():
        assert page.removeprefix("docs/") in (ROOT / "tests" / test).read_text()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_has_no_other_name(page):
    """No fence of `py`, no code block or cell that is left out: those that are run are all."""
    plain = {each for each in fences(page) if not each.startswith("{")}
    assert plain <= OTHER_FENCES | {"python"}
    assert not {"{code-block}", "{code}", "{sourcecode}", "{jupyter-execute}"} & set(fences(page))
    assert "skip-execution" not in page.read_text()
    assert len(CELL.findall(page.read_text())) == fences(page).count("{code-cell}")


def test_the_cells_of_the_book_are_run_by_its_test():
    cells = [page for page in BOOK.rglob("*.md") if "{code-cell}" in fences(page)]
    if cells:
        assert "code-cell" in (ROOT / "tests" / "test_book.py").read_text()
    for page in cells:  # the one form that it looks for
        openings = re.findall(r"^```\{code-cell\}.*$", page.read_text(), re.MULTILINE)
        assert set(openings) == {"```{code-cell} python"}, page


@pytest.mark.usefixtures("_standard_promotion")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "{code-cell}" in fences(page) and BOOK not in page.parents],
    ids=name_of,
)
def test_cells_run(page, monkeypatch):
    """From top to bottom, as when the site is built, in the folder of the page."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(page.parent)
    printed, scope = io.StringIO(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        for cell in CELL.findall(page.read_text()):
            exec(compile(cell, page.name, "exec"), scope)
    if page == DOCS / "index.md":
        assert re.search(r"test accuracy 0\.9[5-9]", printed.getvalue())
        assert printed.getvalue().endswith("all right\n")


def test_every_command_is_in_the_reference(capsys):
    with pytest.raises(SystemExit):
        ffnn_jax.cli.main(["--help"])
    commands = re.findall(r"^ {4}(\w+)  ", capsys.readouterr().out, re.MULTILINE)
    page = (DOCS / "api" / "command-line.md").read_text()
    assert re.findall(r"^## ffnn (\w+)$", page, re.MULTILINE) == commands
    assert re.findall(r'^help_of\("(\w+)"\)$', page, re.MULTILINE) == commands


# Links -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    """As GitHub reads them; the site's own links and their anchors are Sphinx's to check."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if not re.match(r"\w+:", target) and path:
            assert (page.parent / path).exists(), target


# Reference ---------------------------------------------------------------------------------------


def documented():
    """The full names in the pages of the reference."""
    found = []
    for page in sorted((DOCS / "api").glob("*.md")):
        found += re.findall(
            r"^\.\. auto(?:function|class|exception|data):: (\S+)$", page.read_text(), re.MULTILINE
        )
    return found


def resolved(name):
    """The object of a full name."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def public():
    """The objects of `__all__`, of the package and of its folders, by a name of each."""
    folders = [m.name for m in pkgutil.iter_modules(ffnn_jax.__path__, "ffnn_jax.") if m.ispkg]
    found = {}
    for module in map(importlib.import_module, ["ffnn_jax", *folders]):
        for name in getattr(module, "__all__", ()):
            found.setdefault(id(getattr(module, name)), f"{module.__name__}.{name}")
    return found


def test_every_public_name_is_in_the_reference_once():
    names = documented()
    assert [name for name, count in Counter(names).items() if count > 1] == []
    objects = [id(resolved(name)) for name in names]
    assert len(set(objects)) == len(names)  # nor under two names
    assert [name for key, name in public().items() if key not in objects] == []
    assert [name for name, key in zip(names, objects, strict=True) if key not in public()] == []


@pytest.mark.parametrize(
    "name", [name for name in documented() if inspect.isfunction(resolved(name))]
)
def test_docstrings_say_what_goes_in_and_out(name):
    function = resolved(name)
    doc = inspect.getdoc(function)
    signature = inspect.signature(function)
    if signature.parameters:
        assert "\nArgs:\n" in doc
    if signature.return_annotation is not None:
        assert re.search(r"\n(Returns|Yields):\n", doc)
    if name not in RAISE_NOTHING:
        assert "\nRaises:\n" in doc
    for parameter in signature.parameters:
        assert re.search(rf"\b{parameter}\b", doc.partition("\nArgs:\n")[2]), parameter


# A small site ------------------------------------------------------------------------------------

FRONT = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n\n"
SMALL = """# Small

$\\nabla_{a_k}\\mathcal{L}$, and

$$
\\frac{\\partial \\mathcal{L}}{\\partial W_{kij}}
$$

```{code-cell}
print(6 * 7)
```

```{eval-rst}
.. autofunction:: ffnn_jax.loss
.. autoclass:: ffnn_jax.Layer
```
"""
BROKEN = """# Broken

$\\nosuchthing$, [there](nowhere.md)

```{eval-rst}
.. autofunction:: ffnn_jax.nothing
```
"""
FAILING = """# Failing

```{code-cell}
assert 6 * 7 == 43
```
"""


def build(folder, text):
    """What sphinx says of a site of one page, with the settings of the real one."""
    for package in ("sphinx", "myst_nb", "furo", "math_core"):
        pytest.importorskip(package, reason="the extra docs is not installed")
    (folder / "index.md").write_text(FRONT + text)
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", str(DOCS)]
    return subprocess.run(
        [*words, str(folder), str(folder / "html")], capture_output=True, text=True, timeout=300
    )


def assets(html):
    """The addresses of what a page loads by itself."""
    tags = re.findall(r"<(?:script|link|img|iframe|source|object)\b[^>]*>", html)
    return [found[1] for tag in tags for found in re.finditer(r'(?:src|href|data)="([^"]+)"', tag)]


def test_a_small_site(tmp_path):
    done = build(tmp_path, SMALL)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "index.html").read_text()
    assert page.count("<math") == 2
    assert "<mfrac>" in page
    assert r"\nabla_{a_k}" in page  # in the annotation, to be copied
    assert re.search(r"<pre>.*42", page)
    for words in ("Parameters", "Raises", "Attributes", "(*batch, n_L)"):
        assert words in page, words
    assert assets(page)
    assert [each for each in assets(page) if "//" in each] == []


def test_what_is_broken_fails_the_build(tmp_path):
    done = build(tmp_path, BROKEN)
    assert done.returncode != 0
    for words in ("no formula: ", "nowhere.md", "ffnn_jax.nothing"):
        assert words in done.stderr.replace("'nothing' from module 'ffnn_jax'", "ffnn_jax.nothing")


def test_a_cell_that_fails_fails_the_build(tmp_path):
    done = build(tmp_path, FAILING)
    assert done.returncode != 0
    assert "assert 6 * 7 == 43" in done.stderr


def test_the_site_asks_nobody():
    """Of the site that scripts/docs built."""
    if not (BUILT / "index.html").exists():
        pytest.skip("scripts/docs has not been run")
    pages = list(BUILT.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert [each for each in assets(page.read_text()) if "//" in each] == [], page
    for sheet in BUILT.rglob("*.css"):
        assert not re.search(
            r"(@import|url\()[^;]*//", re.sub(r"data:[^)]*", "", sheet.read_text())
        )
