"""What a person reads when something cannot be done: the table of docs/errors.md, printed.

Every row is made: the file is written, the command is run, and the line on stderr is caught.

  python scripts/error_table.py            prints the table
  python scripts/error_table.py --write    puts it into docs/errors.md, between its marks
"""

import argparse
import contextlib
import gzip
import io
import pathlib
import tempfile
import warnings

import numpy as np

from ffnn_jax.cli import main as ffnn

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "errors.md"
MARKS = "<!-- table -->", "<!-- end -->"
GOOD = "a,b,y\n" + "".join(
    f"{k % 7},{'uvw'[k % 3]},{'no' if k % 2 else 'yes'}\n" for k in range(60)
)
TRAIN = "train t.csv --target y --run new --quiet"

# (what is wrong, how the folder is changed, the command)
CASES = [
    ("no such file or set", None, "train nothing.csv --target y"),
    ("another kind of file", {"t.xlsx": "x"}, "train t.xlsx --target y"),
    ("an empty file", {"t.csv": ""}, TRAIN),
    ("a header and no rows", {"t.csv": "a,y\n"}, TRAIN),
    ("no header", {"t.csv": "1,2\n3,4\n"}, TRAIN),
    ("two columns of one name", {"t.csv": "a,a,y\n1,2,3\n"}, TRAIN),
    ("a row with too many values", {"t.csv": "a,y\n1,2\n1,2,3\n"}, TRAIN),
    ("not UTF-8", {"t.csv": b"a,y\n\xff\xfe,2\n"}, TRAIN),
    (
        "a torn gzip",
        {"t.csv.gz": gzip.compress(GOOD.encode())[:-9]},
        TRAIN.replace(".csv", ".csv.gz"),
    ),
    ("no Parquet", {"t.parquet": "PAR1 and so on"}, TRAIN.replace(".csv", ".parquet")),
    ("an npz of objects", "objects", "train t.npz --run new"),
    ("an npz without x", "arrays", "train t.npz --run new"),
    ("an IDX file cut short", {"t-idx3": b"\0\0\x08\x03\0\0\0\x09"}, "train t-idx3 --run new"),
    ("no target given", None, "train t.csv"),
    ("a target that is no column", None, "train t.csv --target z"),
    ("too few rows", {"t.csv": GOOD[:40]}, TRAIN),
    ("a target of one value", {"t.csv": GOOD.replace("yes", "no")}, TRAIN),
    ("a quantity asked for, and classes there", None, f"{TRAIN} --task regression"),
    ("an infinite number", {"t.csv": GOOD.replace("3,", "inf,", 1)}, TRAIN),
    ("a column to drop that is not there", None, f"{TRAIN} --drop c"),
    ("no column left", None, f"{TRAIN} --drop a b"),
    ("weights below 0", {"t.csv": GOOD.replace("3,", "-3,")}, f"{TRAIN} --sample-weight a"),
    (
        "counts below 0",
        {"t.csv": GOOD.replace("yes", "-1").replace("no", "2")},
        f"{TRAIN} --loss poisson",
    ),
    ("a loss that there is not", None, f"{TRAIN} --loss hubber"),
    ("a rate of 0", None, f"{TRAIN} --learning-rate 0"),
    ("shares that leave no rows", None, f"{TRAIN} --test 0.6 --validation 0.6"),
    (
        "a rate far too high",
        None,
        f"{TRAIN} --learning-rate 1e5 --optimizer sgd --loss squared_error --epochs 300",
    ),
    ("a folder that is taken", {"new/x": ""}, TRAIN),
    ("a folder that cannot be written", {"new": ""}, TRAIN),
    ("a TOML file that is none", {"c.toml": "epochs ="}, "train --config c.toml"),
    ("a setting that there is not", {"c.toml": "epoch = 3"}, "train --config c.toml"),
    ("a setting of another kind", {"c.toml": 'epochs = "3"'}, "train --config c.toml"),
    ("nothing to resume", None, "train --resume --run new"),
    ("resume with other settings", None, "train --resume --run run --hidden 5"),
    ("a model that is not there", None, "predict nothing t.csv"),
    ("a file that is no model", {"m.npz": GOOD}, "predict m.npz t.csv"),
    ("a flipped bit in a model", "flip", "predict m.npz t.csv"),
    ("a model cut short", "cut", "predict m.npz t.csv"),
    ("a column missing", {"n.csv": "a\n1\n"}, "predict run n.csv"),
    ("a category never seen", {"n.csv": "a,b\n1,x\n"}, "predict run n.csv"),
    ("a number that is none", {"n.csv": "a,b\nten,u\n"}, "predict run n.csv"),
    ("a class never seen", {"n.csv": "a,b,y\n1,u,maybe\n"}, "evaluate run n.csv"),
    ("pictures for a model of columns", None, "predict run digits"),
    ("no folder to write to", None, "export run -o nowhere/m.onnx"),
]


def prepare(change):
    """Changes the current folder, which has t.csv and a run."""
    if change == "objects":
        np.savez("t.npz", x=np.array([{}, {}]), y=np.zeros(2))
    elif change == "arrays":
        np.savez("t.npz", z=np.zeros((20, 2)), y=np.zeros(20))
    elif change in ("flip", "cut"):
        data = bytearray(pathlib.Path("run/model.npz").read_bytes())
        data[len(data) // 2] ^= 1
        pathlib.Path("m.npz").write_bytes(data if change == "flip" else data[: len(data) // 2])
    for name, content in (change or {}).items() if isinstance(change, dict) else ():
        path = pathlib.Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(command):
    """What a person reads on stderr, one line, and the exit status."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = ffnn(command.split())
    return err.getvalue(), status


def rows(folder):
    """(what is wrong, the command, what is read) of every case."""
    for number, (what, change, command) in enumerate(CASES):
        place = pathlib.Path(folder, str(number))
        place.mkdir()
        with contextlib.chdir(place):
            pathlib.Path("t.csv").write_text(GOOD)
            pathlib.Path("run").symlink_to(pathlib.Path(folder, "run"))
            prepare(change)
            line, status = read(command)
        if status != 1 or line.count("\n") != 1 or "Traceback" in line:
            raise AssertionError(f"{what}: {command}: status {status}: {line}")
        yield what, command, line.strip()


def table(folder):
    """The table in Markdown."""
    lines = ["| what is wrong | command | what is read |", "|---|---|---|"]
    for what, command, line in rows(folder):
        cells = (what, f"`ffnn {command}`".replace(" --quiet", ""), f"`{line}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def make_run(folder):
    """A small run that was trained: the folder's "run"."""
    with contextlib.chdir(folder):
        pathlib.Path("t.csv").write_text(GOOD)
        words = "train t.csv --target y --run run --epochs 3 --hidden 4 --no-report --no-refit"
        line, status = read(words)
    assert status == 0, line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        make_run(folder)
        text = table(folder)
    if not arguments.write:
        print(text)
        return
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    main()
