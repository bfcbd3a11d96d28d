"""What do checkpoints, metrics and readers stand?

    python scripts/torture.py [--short] [--only kills,disks,damage,fuzz,bombs,two] [--seed 0]

  kills    a training that saves after every epoch is killed (SIGKILL) at random moments, and goes
           on from what it finds; after each kill every checkpoint is read, and in the end the state
           is compared with that of a training that nobody killed
  disks    saves onto a full disk, over the limit of a file's size, and into a read-only folder
  damage   flipped bits and cuts of a checkpoint
  fuzz     changed files for every reader: scripts/torture_files.py
  bombs    small files that stand for large ones
  two      a second training in the folder of a first

The columns: unreadable, checkpoints that do not verify after a kill or a failed save; lost, saves
that had returned and were not found again; silent, damaged files read as something else; crashes,
anything but the reader's own error; memory, readers that took twice their cap or more. Exit status
1 unless all of them are 0. The last line of stdout is one JSON object.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import jax
import numpy as np
import optax
import torture_files
from torture_files import READERS, explode, feed, make_bombs

import ffnn_jax as ffnn
from ffnn_jax.checkpoint import CheckpointError, Checkpoints
from ffnn_jax.checkpoint.atomic import PREFIX
from ffnn_jax.metrics import append_metrics, read_metrics

SPAWN = multiprocessing.get_context("spawn")
# Children are forked from a process that has imported everything and started nothing.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["torture_files", "optax"])
MOMENTUM = optax.sgd(1e-3, momentum=0.9)
BAD = ("unreadable", "lost", "silent", "crashes", "memory")
FULL = {"kills": 200, "saves": 50, "flips": 1000, "cuts": 200, "inputs": 10**6, "rounds": 5}
SHORT = {"kills": 4, "saves": 5, "flips": 100, "cuts": 20, "inputs": 4000, "rounds": 1}


# A training that saves ---------------------------------------------------------------------------


class Announced(Checkpoints):
    """Checkpoints that say so when a save has returned."""

    def save(self, step, tree, **options):
        path = super().save(step, tree, **options)
        os.write(self.announce_to, b"saved %d\n" % step)
        return path


def training(folder: pathlib.Path, epochs: int, checkpoints: Checkpoints | None) -> ffnn.Fit:
    """A fit that compiles quickly: given its start, no last batch that is short, SGD."""
    net, optimizer = ffnn.Network((8, 64, 3), activation="tanh", output="softmax"), MOMENTUM
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((300, 8)).astype(np.float32), draw.integers(0, 3, 300)
    params = tuple(
        ffnn.Layer(draw.standard_normal((n, m)).astype(np.float32) / 8, np.zeros(n, np.float32))
        for m, n in itertools.pairwise(net.sizes)
    )
    opt_state = optimizer.init(params)
    # a key of the old kind: a checkpoint is read without starting a device
    state = ffnn.TrainState(params, opt_state, np.array([0, 1], np.uint32), np.int32(0))
    options = {}
    if checkpoints is not None:
        metrics = folder / "metrics.jsonl"
        options = {"checkpoints": checkpoints, "resume": True}
        options["on_epochs"] = lambda records, params: append_metrics(metrics, records)
    return ffnn.fit(
        net,
        (x, y),
        state=jax.device_put(state),
        optimizer=optimizer,
        batch_size=30,
        epochs=epochs,
        **options,
    )


def child(folder: pathlib.Path, epochs: int, announce_to, errors) -> None:
    """Trains until it is killed, or says by which error it ended."""
    checkpoints = Announced(folder)
    object.__setattr__(checkpoints, "announce_to", announce_to.fileno())
    try:
        training(folder, epochs, checkpoints)
    except Exception as error:
        errors.send(f"{type(error).__name__}: {error}")


class Child:
    """A training in a process of its own."""

    def __init__(self, folder: pathlib.Path, epochs: int = 10**6):
        read, write = FORK.Pipe(duplex=False)
        self.errors, errors = FORK.Pipe(duplex=False)
        self.process = FORK.Process(target=child, args=(folder, epochs, write, errors))
        self.process.start()
        write.close()
        errors.close()
        self.said = os.fdopen(os.dup(read.fileno()), "rb", buffering=0)

    def first_save(self) -> bytes:
        """Waits for a save; what was said, empty where there was none."""
        return self.said.read(20) or b""

    def kill(self, said: bytes) -> int:
        """SIGKILL; the last step whose save had returned, −1 where none had."""
        self.process.kill()
        self.process.join()
        said += b"".join(iter(lambda: self.said.read(1 << 16), b""))
        whole = said[: said.rfind(b"\n") + 1].split()
        return int(whole[-1]) if whole else -1

    def error(self) -> str:
        """By which error it ended, empty where it was killed."""
        try:
            return self.errors.recv()
        except EOFError:
            return ""


# What is done to it ------------------------------------------------------------------------------


def unreadable(folder: pathlib.Path) -> int:
    """How many of the checkpoints do not verify."""
    checkpoints, bad = Checkpoints(folder), 0
    for file in checkpoints.files():
        try:
            checkpoints.newest([file])
        except CheckpointError as error:
            print(error, file=sys.stderr)
            bad += 1
    return bad


def kills(sizes: dict[str, int], seed: int) -> dict[str, Any]:
    draw, found = random.Random(seed), dict.fromkeys((*BAD, "torn"), 0)
    with tempfile.TemporaryDirectory() as name:
        folder, committed = pathlib.Path(name), 0
        for n in range(1, sizes["kills"] + 1):
            started = Child(folder)
            said = started.first_save() if draw.random() < 0.9 else b""
            time.sleep(draw.random() * (0.3 if said else 2.0))
            committed = max(committed, started.kill(said))
            found["torn"] += any(p.name.startswith(PREFIX) for p in folder.iterdir())
            found["unreadable"] += unreadable(folder)
            newest = max((file.step for file in Checkpoints(folder).files()), default=0)
            found["lost"] += newest < committed
            found["lost"] += not metrics_are_whole(folder, committed)
            if error := started.error():
                print(error, file=sys.stderr)
                found["crashes"] += 1
            progress(f"kills {n}/{sizes['kills']}, epoch {newest}")
        last = newest + 3
        resumed = training(folder, last, Checkpoints(folder))
        alone = training(folder, last, None)
        same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), resumed.state, alone.state)
        found["silent"] += not (jax.tree.all(same) and metrics_are_whole(folder, last))
    note = f"{found.pop('torn')} in the middle of a write; in the end epoch {last}, bit for bit"
    return {"trials": sizes["kills"], **found, "note": note}


def metrics_are_whole(folder: pathlib.Path, committed: int) -> bool:
    """Every epoch up to the last one saved has its record."""
    path = folder / "metrics.jsonl"
    epochs = [record["epoch"] for record in read_metrics(path)] if path.exists() else []
    return epochs[:committed] == list(range(1, committed + 1))


def disks(sizes: dict[str, int], seed: int) -> dict[str, Any]:
    draw, places = np.random.default_rng(seed), []
    found = {"trials": 0, **dict.fromkeys(BAD, 0)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name, "limit")
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        try:
            failing_saves(folder, found, draw, sizes["saves"], larger=400_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        places.append("file size limit")
        folder = pathlib.Path(name, "tmpfs")
        folder.mkdir()
        if not mount(folder, "size=1m"):
            return {**found, "note": f"{places[0]}; no full disk and read-only folder: no mount"}
        try:
            failing_saves(folder, found, draw, sizes["saves"], larger=2**20)
            mount(folder, "remount,ro")
            failing_saves(folder, found, draw, sizes["saves"], larger=1000)
        finally:
            subprocess.run(["umount", folder], check=True)
        places += ["full tmpfs", "read-only folder"]
    return {**found, "note": ", ".join(places)}


def mount(folder: pathlib.Path, options: str) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return bool(shutil.which("mount")) and not subprocess.run(words, capture_output=True).returncode


def failing_saves(folder, found, draw, count: int, *, larger: int) -> None:
    """Saves that fail, after one that does not: an error with the path, and nothing else new."""
    checkpoints, tree = Checkpoints(folder), {"w": np.arange(1000.0)}
    first = not checkpoints.files()
    if first:
        checkpoints.save(1, tree)
        append_metrics(folder / "metrics.jsonl", [{"epoch": 1}])
    before = sorted(os.listdir(folder))
    for step in range(2, count + 2):
        found["trials"] += 1
        size = larger + int(draw.integers(larger))
        try:
            checkpoints.save(step, {"w": np.zeros(size, np.uint8)})
            found["silent"] += 1
        except OSError as error:
            found["crashes"] += str(folder) not in str(error)
        found["unreadable"] += unreadable(folder) + (sorted(os.listdir(folder)) != before)
        restored = checkpoints.latest(tree)
        found["lost"] += restored is None or not np.array_equal(restored.tree["w"], tree["w"])
        found["lost"] += read_metrics(folder / "metrics.jsonl") != [{"epoch": 1}]


def damage(sizes: dict[str, int], seed: int) -> dict[str, Any]:
    """One flipped bit, or a cut, of the checkpoint of a training."""
    draw, found = random.Random(seed), dict.fromkeys(BAD, 0)
    with tempfile.TemporaryDirectory() as name:
        training(pathlib.Path(name), 2, Checkpoints(name))
        path = Checkpoints(name).files()[0].path
        whole, right = path.read_bytes(), torture_files.read_checkpoint(path)
        bits = [draw.randrange(8 * len(whole)) for _ in range(sizes["flips"])]
        cuts = [draw.randrange(len(whole)) for _ in range(sizes["cuts"])]
        for content in (*(flipped(whole, bit) for bit in bits), *(whole[:n] for n in cuts)):
            path.write_bytes(content)
            try:
                found["silent"] += torture_files.read_checkpoint(path) != right
            except CheckpointError:
                continue
            except BaseException as error:
                print(f"damage: {type(error).__name__}: {error}", file=sys.stderr)
                found["crashes"] += 1
    note = f"{sizes['flips']} flipped bits, {sizes['cuts']} cuts of {len(whole)} bytes"
    return {"trials": sizes["flips"] + sizes["cuts"], **found, "note": note}


def flipped(content: bytes, bit: int) -> bytes:
    data = bytearray(content)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def two(sizes: dict[str, int], seed: int) -> dict[str, Any]:
    """A second training in the folder of one that runs gets an error; the first goes on."""
    found = {"trials": sizes["rounds"], **dict.fromkeys(BAD, 0)}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(sizes["rounds"]):
            first = Child(pathlib.Path(name))
            said = first.first_save()
            second = Child(pathlib.Path(name))
            second.process.join()
            found["silent"] += "another training" not in second.error()
            said += first.first_save()
            committed = first.kill(said)
            found["unreadable"] += unreadable(pathlib.Path(name))
            found["lost"] += Checkpoints(name).files()[0].step < committed
    return {**found, "note": "the second is refused, the first goes on"}


def apart(work, *args) -> dict[str, Any]:
    """The outcome of work in a process of its own; a process that dies is a crash."""
    results, result = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=send, args=(result, work, *args))
    process.start()
    result.close()
    try:
        return results.recv()
    except EOFError:
        return {"crashes": 1, "examples": [f"the process ended with {process.exitcode}"]}
    finally:
        process.join()


def send(result, work, *args) -> None:
    result.send(work(*args))


def row(outcome: dict[str, Any], trials: int, note: str) -> dict[str, Any]:
    for example in outcome.get("examples", ()):
        print(example, file=sys.stderr)
    return {"trials": trials, **{what: int(outcome.get(what, 0)) for what in BAD}, "note": note}


def fuzz(sizes: dict[str, int], seed: int) -> dict[str, dict[str, Any]]:
    rows = {}
    for name, reader in READERS.items():
        count = round(sizes["inputs"] * reader.share)
        progress(f"fuzz {name}, {count} inputs")
        o = apart(feed, name, count, seed)
        note = ""
        if "refused" in o:
            note = f"{o['refused']} refused, {o['read']} read; {o['a_second']}/s; "
            note += f"+{o['growth_mib']} MiB"
        rows[f"fuzz: {name}"] = row(o, count, note)
    return rows


def bombs() -> dict[str, dict[str, Any]]:
    progress("bombs")
    with tempfile.TemporaryDirectory() as folder:
        apart(make_bombs, folder)
        outcomes = apart(explode, folder)
    rows = {}
    for name, (reader, _) in torture_files.bombs().items():
        o = outcomes.get(name, outcomes)  # of a process that died, every bomb
        note = f"{reader}: {o.get('size', 0)} bytes, +{o.get('growth_mib', 0)} MiB"
        rows[f"bomb: {name}"] = row(o, 1, note)
    return rows


# The table ---------------------------------------------------------------------------------------


def progress(words: str) -> None:
    before, after = ("\r\x1b[2K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{before}{words}", end=after, file=sys.stderr, flush=True)


def show(rows: dict[str, dict[str, Any]]) -> None:
    progress("")
    print("| what | trials | unreadable | lost | silent | crashes | memory | |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    for name, row in rows.items():
        figures = " | ".join(str(row[what]) for what in ("trials", *BAD))
        print(f"| {name} | {figures} | {row['note']} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="a small form, under a minute")
    parser.add_argument("--only", default="kills,disks,damage,fuzz,bombs,two", metavar="NAME,...")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sizes, only = SHORT if options.short else FULL, options.only.split(",")
    began, rows = time.perf_counter(), {}
    if "kills" in only:
        rows["kill -9 of a training"] = kills(sizes, options.seed)
    if "two" in only:
        rows["two trainings in one folder"] = two(sizes, options.seed)
    if "disks" in only:
        rows["full disk, read-only folder"] = disks(sizes, options.seed)
    if "damage" in only:
        rows["damaged checkpoint"] = damage(sizes, options.seed)
    if "fuzz" in only:
        rows |= fuzz(sizes, options.seed)
    if "bombs" in only:
        rows |= bombs()
    show(rows)
    bad = {what: sum(row[what] for row in rows.values()) for what in BAD}
    seconds = round(time.perf_counter() - began)
    record = {"ok": not any(bad.values()), **bad, "seconds": seconds, "rows": rows}
    print(json.dumps(record))
    return 0 if record["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
