"""`python -m ffnn_jax check`: what it finds, what it says and how it ends."""

import json
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

import ffnn_jax
from ffnn_jax import cli
from ffnn_jax.cli import check

RULES = """
import jax, jax.numpy as jnp

print("imported")

@jax.custom_vjp
def cube(x):
    return x**3

cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))

@jax.custom_vjp
def square(x):
    return x**2

square.defvjp(lambda x: (x**2, x), lambda x, g: (x * g,))

def both(x):
    print("called")
    return jnp.sum(cube(x) + square(x))

example = (jnp.arange(1.0, 4.0),)

def made():
    return example

broken = 1 / 3
listed = [1.0]

def fails():
    raise RuntimeError("no data here\\nand more")

class Group:
    example = example
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, request):
    """A current folder with a module of a name that no other test has."""
    name = f"rules_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(RULES)
    (tmp_path / f"{name}_bad.py").write_text("import no_such_module_at_all\n")
    (tmp_path / f"{name}_worse.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def run(capsys, *words):
    status = cli.main(["check", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_right(folder, capsys):
    status, out, err = run(capsys, f"{folder}:cube", "--args", f"{folder}:example")
    assert status == 0
    assert "right" in out
    assert "imported" not in out
    assert "undecided" not in err


@pytest.mark.parametrize("example", ["made", "Group.example"])
def test_wrong(folder, capsys, example):
    status, out, _ = run(capsys, f"{folder}.py:square", "--args", f"{folder}.py:{example}")
    assert status == 1
    assert re.search(r"args\[0\]\s+(WRONG|wrong)", out)
    assert "scaled" in out


def test_rules(folder, capsys):
    words = (f"{folder}:both", "--args", f"{folder}:example", "--rules")
    status, out, err = run(capsys, *words)
    assert status == 1
    assert re.search(r"cube\s+right", out)
    assert re.search(r"square\s+(WRONG|wrong)", out)
    assert f"{folder}.py:" in out
    assert "called" in err
    assert "called" not in out


def test_hard_is_handed_on(folder, capsys, monkeypatch):
    seen = {}

    class Fine:
        ok = True

        def __str__(self):
            return "all right"

    def check_rules(fn, args, **options):
        seen.update(options)
        return Fine()

    monkeypatch.setattr(check, "check_rules", check_rules)
    words = (f"{folder}:both", "--args", f"{folder}:example", "--rules")
    assert run(capsys, *words)[0] == 0
    assert seen == {"hard": False}
    assert run(capsys, *words, "--hard")[0] == 0
    assert seen == {"hard": True}


def reported(monkeypatch, ok):
    report = types.SimpleNamespace(ok=ok, to_dict=lambda: {"ok": ok, "leaves": []})
    monkeypatch.setattr(check, "check_gradients", lambda fn, args: report)


@pytest.mark.parametrize(("ok", "expected"), [(True, 0), (False, 1), (None, 2)])
def test_json_and_exit_status(folder, capsys, monkeypatch, ok, expected):
    reported(monkeypatch, ok)
    words = (f"{folder}:cube", "--args", f"{folder}:example", "--json")
    status, out, err = run(capsys, *words)
    assert status == expected
    assert json.loads(out)["ok"] is ok
    assert ("undecided" in err) is (ok is None)


@pytest.mark.parametrize(
    ("function", "example", "message"),
    [
        ("M:cube", "M:nothing", r"--args: M has no 'nothing'"),
        ("M:cubes", "M:example", r"FUNCTION: M has no 'cubes'"),
        ("M", "M:example", r"FUNCTION: expected package.module:name, got 'M'"),
        (":cube", "M:example", r"FUNCTION: expected package.module:name"),
        ("M:cube", "M:", r"--args: expected package.module:name"),
        ("M:cube", "M:listed", r"--args: expected M:listed to be a tuple .* got list"),
        ("M:cube", "M:fails", r"RuntimeError: no data here$"),
        ("no_such.module:cube", "M:example", r"FUNCTION: there is no module no_such.module"),
        ("no_such.py:cube", "M:example", r"FUNCTION: there is no file no_such.py"),
        ("M_bad:cube", "M:example", r"ModuleNotFoundError: No module named 'no_such_module_at"),
        ("M_worse:cube", "M:example", r"SyntaxError: "),
        ("M:broken", "M:example", r"TypeError: fn: expected a function"),
    ],
)
def test_could_not_run(folder, capsys, function, example, message):
    words = [word.replace("M", folder) for word in (function, example)]
    status, out, err = run(capsys, words[0], "--args", words[1])
    assert status == 2
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("ffnn_jax check: ")
    assert re.search(message.replace("M", folder).replace(f"{folder}odule", "Module"), last), last


def test_hard_without_rules(folder, capsys):
    words = (f"{folder}:cube", "--args", f"{folder}:example", "--hard")
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "--hard goes with --rules" in err


def test_no_rule_met(folder, capsys):
    words = (f"{folder}:made", "--args", f"{folder}:example", "--rules")
    assert run(capsys, *words)[0] == 2


def test_words_that_are_none(folder):
    for words in (["check"], ["check", f"{folder}:cube"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 2


class Terminal:
    """A stdout that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


TABLE = """\
leaf     verdict     rule
args[0]  right    1.0e-08
args[1]  WRONG    1.0e+00
    scaled: not the right gradient
jit      not supported
1 of 2 wrong"""


def test_colours_on_a_terminal(monkeypatch):
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    check._print_report(TABLE)
    assert "\x1b[32mright\x1b[0m" in terminal.text
    assert "\x1b[1;31mWRONG\x1b[0m" in terminal.text
    assert "\x1b[33mnot supported\x1b[0m" in terminal.text
    assert "\x1b[1;31m1 of 2 wrong\x1b[0m" in terminal.text
    assert terminal.text.count("right") == 2
    assert terminal.text.count("\x1b[32m") == 1
    assert re.sub(r"\x1b\[[\d;]*m", "", terminal.text).rstrip("\n") == TABLE


def test_no_colours_elsewhere(monkeypatch, capsys):
    check._print_report(TABLE)
    assert capsys.readouterr().out == TABLE + "\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    check._print_report(TABLE)
    assert terminal.text == TABLE + "\n"


def test_as_a_program(folder):
    """From the folder where the module lies, as it is typed."""
    command = ["-m", "ffnn_jax", "check", f"{folder}:square", "--args", f"{folder}:example"]
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(ffnn_jax.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert "scaled" in done.stdout
