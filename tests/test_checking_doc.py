"""docs/checking.md is run from top to bottom, and prints what it says it prints.

`python tests/test_checking_doc.py --update` writes the outputs anew. Blocks of python share their
names; one whose first line is `# name.py` is a file of the reader's; blocks of bash are run in the
folder of these files. The text block after a block is what it prints. Numbers that depend on
rounding may differ in their digits.
"""

import contextlib
import io
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "checking.md"
BLOCK = re.compile(r"^```(python|bash|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+\.\d+(?:e[+-]\d+)?")
ROUNDING = 1e-3  # below it a number is an error of rounding, of which the size may vary


def blocks(text):
    """(language, body) of each block."""
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def outputs(text):
    """What each block prints, None for text blocks."""
    scope, printed = {}, []
    for language, body in blocks(text):
        if language == "text":
            printed.append(None)
        elif language == "bash":
            printed.append(run(body))
        elif re.match(r"# (\w+\.py)\n", body):
            pathlib.Path(re.match(r"# (\w+\.py)\n", body)[1]).write_text(body)
            printed.append("")
        else:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(body, "checking.md", "exec"), scope)
            printed.append(out.getvalue())
    return printed


def run(command):
    """What a command line that starts with python prints."""
    assert command.startswith("python -m ")
    done = subprocess.run(
        [sys.executable, *command.split()[1:]],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@contextlib.contextmanager
def own_folder():
    """An empty folder to work in, from which files can be imported."""
    here, path, known = os.getcwd(), list(sys.path), set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            os.chdir(here)
            sys.path[:] = path
            for name in set(sys.modules) - known:
                if getattr(sys.modules[name], "__file__", None) and folder in str(
                    sys.modules[name].__file__
                ):
                    del sys.modules[name]


def alike(found, expected):
    """Whether two outputs are the same but for the digits of numbers that rounding decides."""
    if re.sub(r" +", " ", NUMBER.sub("#", found)) != re.sub(r" +", " ", NUMBER.sub("#", expected)):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True)
    numbers = [(float(a), float(b)) for a, b in pairs]
    timed = "passed in" in found
    return timed or all(
        max(a, b) < ROUNDING or math.isclose(a, b, rel_tol=0.05) for a, b in numbers
    )


@pytest.fixture(autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_document_prints_what_it_says():
    text = DOCUMENT.read_text()
    with own_folder():
        printed = outputs(text)
    shown = blocks(text)
    for i, (language, body) in enumerate(shown):
        if language == "text":
            assert alike(printed[i - 1], body), f"{shown[i - 1][1]}\nprinted\n{printed[i - 1]}"
        elif printed[i]:
            assert shown[i + 1][0] == "text", f"what {body} prints is not shown"


def test_lines_fit():
    inside = "\n".join(body for _, body in blocks(DOCUMENT.read_text()))
    assert all(len(line) <= 100 for line in inside.splitlines())


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("right  1.0e-08  x", "right  3.1e-07  x", True),
        ("right  1.0e-08  x", "WRONG  1.0e-08  x", False),
        ("0.125 times", "0.126 times", True),
        ("0.125 times", "0.250 times", False),
        ("1 of 3", "2 of 3", False),
    ],
)
def test_alike(found, expected, same):
    assert alike(found, expected) is same


def update():
    """Writes the outputs into the document."""
    text = DOCUMENT.read_text()
    with own_folder():
        printed = outputs(text)
    count = iter(range(len(printed)))

    def written(match):
        i = next(count)
        return f"```text\n{printed[i - 1]}```" if match[1] == "text" else match[0]

    DOCUMENT.write_text(BLOCK.sub(written, text))


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        raise SystemExit("usage: python tests/test_checking_doc.py --update")
    jax.config.update("jax_num_cpu_devices", 4)
    update()
