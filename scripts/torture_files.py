"""Files made to do harm, and the readers that are to survive them: one row of READERS each.

A file is right, then changed at random: bits flipped, cut, spliced, numbers written over its
headers. A reader may return a value or raise its own errors, and nothing else; the memory that it
takes stays under twice the cap.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from ffnn_jax.checkpoint import CheckpointError, Checkpoints, archive  # noqa: E402
from ffnn_jax.idx import read_idx  # noqa: E402
from ffnn_jax.interop import SafetensorsError, load_safetensors, save_safetensors  # noqa: E402
from ffnn_jax.metrics import append_metrics, read_metrics  # noqa: E402
from ffnn_jax.network import Layer, Network  # noqa: E402
from ffnn_jax.tabular.decisions import prepare_column  # noqa: E402
from ffnn_jax.tabular.settings import read_settings  # noqa: E402
from ffnn_jax.tabular.sources import read_arrays  # noqa: E402
from ffnn_jax.tabular.tables import TableError, read_table  # noqa: E402

CAP = 64 << 20  # bytes that a reader may take for a file that declares more than it holds
NUMBERS = (
    0,
    1,
    2,
    3,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**64 - 1,
)
WORDS = (b"null", b"-1", b"1e999", b"9" * 30, b"[[[[", b'{"a":', b"true", b'"', b"\\u0000", b"NaN")


OUTCOMES = ("refused", "read", "silent", "crashes")


class Reader(NamedTuple):
    """One reader of files.

    Attributes:
      read: path -> value.
      errors: its own.
      files: right ones, as bytes, to begin from.
      share: of all the inputs.
      repair: makes a changed file pass the outer check, as one who knows the format would.
      exact: whether every change of a file has to be seen, or leave the value as it was.
      suffix: the end of the file's name.
    """

    read: Callable[[pathlib.Path], Any]
    errors: tuple[type[Exception], ...]
    files: list[bytes]
    share: float
    repair: Callable[[bytes], bytes] | None = None
    exact: bool = False
    suffix: str = ""


# Right files -------------------------------------------------------------------------------------


def written(write: Callable[[pathlib.Path], Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file")
        return pathlib.Path(write(path) or path).read_bytes()


def idx(dtype: int, values: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack(">I", n) for n in values.shape)
    return bytes([0, 0, dtype, values.ndim]) + sizes + values.tobytes()


NET = Network((3, 4, 2))
LAYERS = [
    (np.ones((4, 3), np.float32), np.zeros(4, np.float32)),
    (np.ones((2, 4), np.float32), np.zeros(2, np.float32)),
]
TABLE = {"x": np.arange(6.0).reshape(3, 2), "y": np.array(["a", "b", "a"])}
TREE = {
    "params": [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2, np.float16)],
    "step": np.int32(3),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 4)),
}
CHECKPOINT = written(lambda path: Checkpoints(path).save(7, TREE, metadata={"loss": 0.5}))
IDX = [
    idx(0x08, np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
    idx(0x0D, np.ones((3, 2), ">f4")),
    gzip.compress(idx(0x0C, np.ones(5, ">i4")), mtime=0),
]
METRICS = written(
    lambda path: append_metrics(
        path, [{"epoch": e, "loss": 0.1 * e, "validation_loss": None} for e in range(1, 6)]
    )
)
CSV = (
    "name;age;when;kind\n"
    + "".join(f"n{k};{k / 7};2020-01-0{k + 1};{'ab'[k % 2]}\n" for k in range(8))
).encode()
NPZ = [
    written(lambda path: np.savez(path, **TABLE) or path.with_name("file.npz")),
    written(lambda path: np.savez_compressed(path, **TABLE) or path.with_name("file.npz")),
]
TOML = b'target = "y"\nhidden = [8, 4]\nlearning_rate = 1e-3\nepochs = 20\nrefit = false\n'
SAFETENSORS = written(
    lambda path: save_safetensors(path, NET, tuple(Layer(*layer) for layer in LAYERS))
)


# Readers -----------------------------------------------------------------------------------------


def read_checkpoint(path: pathlib.Path) -> bytes:
    """Everything in the archive, as bytes that two readings can be compared by."""
    manifest, arrays = archive.read_archive(path, "tree")
    values = {name: (str(t.dtype), t.shape, t.tobytes()) for name, t in sorted(arrays.items())}
    return repr((manifest["step"], manifest["metadata"], values)).encode()


def rows_of(path: pathlib.Path, cap: int) -> list[Any]:
    """A table as far as training takes it: read, and each column looked at."""
    frame = read_table(path, max_bytes=cap)
    return [prepare_column(name, frame[name]) for name in frame.columns]


def seal(content: bytes) -> bytes:
    """The digest at the end made to fit the rest."""
    body = content[: -archive.SEALED] + archive.SEAL
    return body + hashlib.sha256(body).hexdigest().encode()


READERS = {
    "IDX": Reader(lambda path: read_idx(path, max_bytes=CAP), (ValueError,), IDX, 0.2),
    "metrics.jsonl": Reader(read_metrics, (ValueError,), [METRICS], 0.2),
    "CSV": Reader(lambda p: rows_of(p, CAP), (TableError,), [CSV], 0.075, suffix=".csv"),
    "CSV, gzip": Reader(
        lambda p: rows_of(p, CAP),
        (TableError,),
        [gzip.compress(CSV, mtime=0)],
        0.025,
        suffix=".csv.gz",
    ),
    "npz": Reader(lambda path: read_arrays(path, max_bytes=CAP), (TableError,), NPZ, 0.1),
    "settings.toml": Reader(
        lambda path: read_settings(path, {}), (TableError, TypeError, ValueError), [TOML], 0.1
    ),
    "safetensors": Reader(load_safetensors, (SafetensorsError,), [SAFETENSORS], 0.1),
    "checkpoint": Reader(read_checkpoint, (CheckpointError,), [CHECKPOINT], 0.1, exact=True),
    "checkpoint, digest made to fit": Reader(
        read_checkpoint, (CheckpointError,), [CHECKPOINT], 0.1, repair=seal
    ),
}


# Changes -----------------------------------------------------------------------------------------


def change(draw: random.Random, content: bytes) -> bytes:
    """One to three changes of a file."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        draw.choice(CHANGES)(draw, data)
    return bytes(data)


def place(draw: random.Random, data: bytearray) -> int:
    """A position; of two, one is near an end, where headers are."""
    end = max(len(data) - 1, 0)
    near = draw.choice((64, 400, end, end))
    at = draw.randint(0, min(near, end))
    return at if draw.random() < 0.6 else end - at


def flip(draw: random.Random, data: bytearray) -> None:
    if data:
        data[place(draw, data)] ^= 1 << draw.randrange(8)


def cut(draw: random.Random, data: bytearray) -> None:
    del data[place(draw, data) :]


def splice(draw: random.Random, data: bytearray) -> None:
    """A piece of the file, also once more or over another piece."""
    start, length = place(draw, data), draw.randint(0, 40)
    piece, at = data[start : start + length], place(draw, data)
    data[at : at + draw.choice((0, length))] = piece


def drop(draw: random.Random, data: bytearray) -> None:
    at = place(draw, data)
    del data[at : at + draw.randint(1, 20)]


def number(draw: random.Random, data: bytearray) -> None:
    """A number over what is there, of 1 to 8 bytes and either order."""
    size, at = draw.choice((1, 2, 4, 8)), place(draw, data)
    value = draw.choice(NUMBERS) % 2 ** (8 * size)
    data[at : at + size] = value.to_bytes(size, draw.choice(("little", "big")))


def word(draw: random.Random, data: bytearray) -> None:
    """What a parser of text may stumble over."""
    at = place(draw, data)
    data[at : at + draw.choice((0, 1, 4))] = draw.choice(WORDS)


CHANGES = (flip, flip, cut, splice, drop, number, number, word)


# Feeding -----------------------------------------------------------------------------------------


class Memory:
    """The most memory that this process has taken since here, in bytes; on Linux only."""

    def __init__(self):
        with contextlib.suppress(OSError):
            pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is there
        self.before = self.peak()

    def peak(self) -> int:
        with contextlib.suppress(OSError):
            status = pathlib.Path("/proc/self/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) * 1024
        return 0

    def report(self) -> dict[str, Any]:
        grown = self.peak() - self.before
        return {"growth_mib": round(grown / 2**20, 1), "memory": int(grown > 2 * CAP)}


def outcome(reader: Reader, path: pathlib.Path, right: str) -> tuple[str, str]:
    """What a reader makes of a file: one of OUTCOMES, and the words of a crash."""
    try:
        value = reader.read(path)
    except reader.errors:
        return "refused", ""
    except BaseException as error:  # whatever else there is, is what is looked for
        return "crashes", f"{type(error).__name__}: {error}"[:200]
    return ("silent" if reader.exact and repr(value) != right else "read"), ""


def feed(name: str, count: int, seed: int) -> dict[str, Any]:
    """The outcomes of so many changed files; runs in a process of its own."""
    reader, draw, shm = READERS[name], random.Random(seed), pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        path, right = pathlib.Path(folder, f"file{reader.suffix}"), []
        for content in reader.files:
            path.write_bytes(content)
            right.append(repr(reader.read(path)))
        found, examples = dict.fromkeys(OUTCOMES, 0), []
        began, memory = time.perf_counter(), Memory()
        for _ in range(count):
            which = draw.randrange(len(reader.files))
            content = change(draw, reader.files[which])
            path.write_bytes(reader.repair(content) if reader.repair else content)
            what, words = outcome(reader, path, right[which])
            found[what] += 1
            if words and len(examples) < 5:
                examples.append(words)
        rate = round(count / (time.perf_counter() - began))
    return {**found, **memory.report(), "a_second": rate, "examples": examples}


# Bombs -------------------------------------------------------------------------------------------


def zip_of(entries: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries.items():
            file.writestr(name, data)
        file.comment = bytes(archive.SEALED)
    return seal(buffer.getvalue())


def leaf(values: int, name: str = "value") -> dict[str, Any]:
    return {"name": name, "kind": "array", "dtype": "uint8", "shape": [values], "sha256": "0" * 64}


def manifest(*leaves: dict[str, Any], **fields: Any) -> bytes:
    head = {"format": archive.FORMAT, "version": 1, "kind": "tree", "step": 0, "metadata": {}}
    return json.dumps({**head, **fields, "leaves": leaves}).encode()


def npy(values: int) -> bytes:
    """The header of so many bytes."""
    return archive.npy_header({"dtype": "uint8", "shape": [values]})


def bombs() -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Small files that stand for large ones: name -> (reader, content)."""
    size = 1 << 28
    header = bytes([0, 0, 8, 1])
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED

    def zeros(prefix: bytes) -> bytes:
        return gzip.compress(prefix + bytes(size), compresslevel=1)

    return {
        "IDX that declares 4 GiB": ("IDX", lambda: header + b"\xff" * 4 + b"1"),
        "gzip, 256 MiB declared": ("IDX", lambda: zeros(header + struct.pack(">I", size))),
        "gzip, 10 bytes declared": ("IDX", lambda: zeros(header + struct.pack(">I", 10))),
        "gzip without a header": ("IDX", lambda: zeros(b"")),
        "zip, 256 MiB deflated": (
            "checkpoint",
            lambda: zip_of(
                {"manifest.json": manifest(leaf(size)), "value.npy": bytes(size)}, deflated
            ),
        ),
        "zip, manifest deflated": (
            "checkpoint",
            lambda: zip_of({"manifest.json": b"[" * size}, deflated),
        ),
        "manifest of 9 MiB": (
            "checkpoint",
            lambda: zip_of({"manifest.json": b" " * (9 << 20)}, stored),
        ),
        "manifest of empty lists": (
            "checkpoint",
            lambda: zip_of({"manifest.json": b"[" + b"[]," * 1_398_000 + b"0]"}, stored),
        ),
        "manifest of brackets": (
            "checkpoint",
            lambda: zip_of({"manifest.json": b"[" * (1 << 20)}, stored),
        ),
        "leaf of 2 GiB": (
            "checkpoint",
            lambda: zip_of({"manifest.json": manifest(leaf(2**31 - 1)), "value.npy": b"1"}, stored),
        ),
        "npz, 256 MiB deflated": (
            "npz",
            lambda: zip_of({"x.npy": npy(size) + bytes(size)}, deflated),
        ),
        "npz of 2 GiB": ("npz", lambda: zip_of({"x.npy": npy(2**31) + b"1"}, stored)),
        "CSV, 256 MiB of gzip": ("CSV, gzip", lambda: zeros(b"a,b\n1,")),
        "one line of 256 MiB": ("metrics.jsonl", lambda: b'{"a": "' + b"b" * size),
        "deep JSON": ("metrics.jsonl", lambda: b"[" * (1 << 19) + b"\n{}\n"),
    }  # fmt: skip


def make_bombs(folder: str) -> None:
    """Writes them, in a process of its own: what that takes is not the reader's."""
    for i, (_, content) in enumerate(bombs().values()):
        pathlib.Path(folder, str(i)).write_bytes(content())


def explode(folder: str) -> dict[str, dict[str, Any]]:
    """The outcome of each bomb; runs in a process of its own."""
    outcomes = {}
    for i, (name, (which, _)) in enumerate(bombs().items()):
        reader = READERS[which]
        path = pathlib.Path(folder, f"{i}{reader.suffix}")
        pathlib.Path(folder, str(i)).rename(path)
        memory = Memory()
        what, words = outcome(reader, path, "")
        found = {"size": path.stat().st_size, "crashes": int(what != "refused")}
        found["examples"] = [words or what] if what != "refused" else []
        outcomes[name] = {**found, **memory.report()}
    return outcomes
