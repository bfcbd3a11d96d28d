"""What does a training by two processes stand, of which one is killed?

    python scripts/torture_processes.py [--short] [--kills 10] [--seed 0]

Two processes of two devices each train one network, its wide layer split over them, its rows with
the process that has them, and save after every epoch into one folder. At a random moment one of
the two, by turns, is killed (SIGKILL). The other has to end by itself, with a ProcessError, within
30 s; every checkpoint has to verify, and none that was saved to be missing. Then both start again
and go on, until the next moment. In the end

  two    processes go on to the last epoch: the same bits as two that nobody disturbed
  one    process goes on from the same checkpoint: the same up to rounding

The columns: hung, survivors that did not end in time; wrong, survivors that ended with anything
else than our error; unreadable, checkpoints that do not verify; lost, saves that had returned and
were not found again; silent, ends that are not the same. Exit status 1 unless all of them are 0.
The last line of stdout is one JSON object.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
BAD = ("hung", "wrong", "unreadable", "lost", "silent")
SECONDS = 30.0  # in which a survivor ends
PATIENCE = 300.0  # s, for what nobody disturbs
ROUNDING = 1e-4  # of parameters near 1 after some hundred steps in float32
EXAMPLES = 303


# One process -------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """One of the processes, from the start or from the checkpoint that is there."""
    import jax

    jax.config.update("jax_num_cpu_devices", 2)
    from ffnn_jax.processes import start_processes

    start_processes(
        coordinator=f"127.0.0.1:{arguments.port}",
        num_processes=arguments.processes,
        process_id=arguments.process,
    )
    import optax

    import ffnn_jax as ffnn

    result = ffnn.fit(
        ffnn.Network((8, 512, 3), activation="tanh", output="softmax"),
        own_rows(arguments.process, arguments.processes),
        key=jax.random.key(0),
        optimizer=optax.sgd(1e-2, momentum=0.9),
        batch_size=50,
        epochs=arguments.epochs,
        mesh=jax.make_mesh(
            (arguments.processes, 2),
            ("data", "model"),
            axis_types=(jax.sharding.AxisType.Auto,) * 2,
        ),
        checkpoints=announced(arguments.folder),
        resume=True,
    )
    state = whole(result.state)
    if arguments.process == 0:
        np.savez(arguments.result, *state, loss=result.history.loss)


def own_rows(process: int, processes: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of one process; those of two are not as many."""
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((EXAMPLES, 8)), draw.integers(0, 3, EXAMPLES)
    cuts = [0, *([EXAMPLES // 2 - 1] * (processes - 1)), EXAMPLES]
    mine = slice(cuts[process], cuts[process + 1])
    return x[mine].astype(np.float32), y[mine]


def announced(folder: str) -> Any:
    """Checkpoints that say so when a save has returned."""
    from ffnn_jax.checkpoint import ShardedCheckpoints

    class Announced(ShardedCheckpoints):
        def save(self, step, tree, **options):
            path = super().save(step, tree, **options)
            print("saved", step, flush=True)
            return path

    return Announced(folder)


def whole(tree: Any) -> list[np.ndarray]:
    """Every leaf, from all processes."""
    import jax
    from jax.experimental import multihost_utils

    def gathered(leaf):
        leaf = (
            jax.random.key_data(leaf)
            if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        )
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return [gathered(leaf) for leaf in jax.tree.leaves(tree)]


# From outside ------------------------------------------------------------------------------------


class Training:
    """Some processes that train together."""

    def __init__(self, folder: pathlib.Path, processes: int, epochs: int = 10**6):
        self.result, self.logs = folder.with_suffix(".npz"), []
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.processes = []
        for i in range(processes):
            self.logs.append(folder.with_suffix(f".{i}.log"))
            words = ["--process", i, "--processes", processes, "--port", port, "--epochs", epochs]
            words += ["--folder", folder, "--result", self.result]
            with open(self.logs[i], "wb") as log:
                process = subprocess.Popen(
                    [sys.executable, __file__, *map(str, words)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
                )
            self.processes.append(process)

    def said(self, i: int) -> str:
        return self.logs[i].read_text(errors="replace")

    def saved(self) -> int:
        """The last step whose save had returned, in any of them; 0 where none had."""
        lines = [
            line.split() for i in range(len(self.logs)) for line in self.said(i).split("\n")[:-1]
        ]
        return max((int(words[1]) for words in lines if words[:1] == ["saved"]), default=0)

    def wait_for_save(self) -> None:
        """Until there is one more than none; RuntimeError where a process ended before."""
        deadline = time.monotonic() + PATIENCE
        while not self.saved():
            if any(p.poll() is not None for p in self.processes) or time.monotonic() > deadline:
                self.end()
                raise RuntimeError("\n".join(self.said(i) for i in range(len(self.logs))))
            time.sleep(0.02)

    def wait(self) -> dict[str, np.ndarray]:
        """The result of a training that nobody disturbs."""
        try:
            codes = [process.wait(PATIENCE) for process in self.processes]
        finally:
            self.end()
        if any(codes):
            raise RuntimeError("\n".join(self.said(i) for i in range(len(self.logs))))
        with np.load(self.result) as result:
            return dict(result)

    def end(self) -> None:
        """Nobody is left behind."""
        for process in self.processes:
            process.kill()
            process.wait()


def kill_one(training: Training, victim: int) -> dict[str, Any]:
    """SIGKILL for one; how the other ended, and after how long."""
    training.processes[victim].send_signal(signal.SIGKILL)
    began, survivor = time.monotonic(), training.processes[1 - victim]
    try:
        code = survivor.wait(SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    took = time.monotonic() - began
    training.end()
    last = training.said(1 - victim).strip().rpartition("\n")[2]
    wrong = code is not None and (code <= 0 or "ProcessError" not in last)
    if wrong or code is None:
        print(
            f"process {1 - victim} ended with {code}: {training.said(1 - victim)[-3000:]}",
            file=sys.stderr,
        )
    return {"hung": code is None, "wrong": wrong, "seconds": took}


def unreadable(folder: pathlib.Path) -> int:
    """How many of the checkpoints do not verify."""
    from ffnn_jax.checkpoint import CheckpointError, ShardedCheckpoints

    checkpoints, bad = ShardedCheckpoints(folder), 0
    for file in checkpoints.files():
        try:
            checkpoints.newest([file])
        except CheckpointError as error:
            print(error, file=sys.stderr)
            bad += 1
    return bad


def newest(folder: pathlib.Path) -> int:
    from ffnn_jax.checkpoint import ShardedCheckpoints

    return max((file.step for file in ShardedCheckpoints(folder).files()), default=0)


def kills(parent: pathlib.Path, count: int, draw: random.Random) -> dict[str, Any]:
    """Kills one of two, by turns, at random moments of one training that goes on each time."""
    found, folder, slowest, committed = dict.fromkeys(BAD, 0), parent / "killed", 0.0, 0
    for n in range(count):
        training = Training(folder, 2)
        training.wait_for_save()
        time.sleep(draw.random() * 2)
        outcome = kill_one(training, (n + 1) % 2)
        slowest = max(slowest, outcome["seconds"])
        committed = max(committed, training.saved())
        found["hung"] += outcome["hung"]
        found["wrong"] += outcome["wrong"]
        found["unreadable"] += unreadable(folder)
        found["lost"] += newest(folder) < committed
        say(
            f"kill {n + 1}/{count}: epoch {newest(folder)}, survivor after {outcome['seconds']:.1f} s"
        )
    return {**found, "slowest": round(slowest, 1)}


def ends(parent: pathlib.Path) -> tuple[int, int, float]:
    """(the last epoch, how many ends are not the same, the largest difference of one process)."""
    folder, last = parent / "killed", newest(parent / "killed") + 2
    shutil.copytree(folder, parent / "one")
    alone = Training(parent / "undisturbed", 2, last).wait()
    two = Training(folder, 2, last).wait()
    one = Training(parent / "one", 1, last).wait()
    same = all(np.array_equal(two[name], alone[name]) for name in alone)
    apart = max(float(np.max(np.abs(one[name] - alone[name]))) for name in alone)
    if not same:
        print("two processes do not end with the same bits", file=sys.stderr)
    return last, int(not same) + int(not apart < ROUNDING), apart


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="one kill, under a minute")
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("process", "processes", "port", "epochs"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    for name in ("folder", "result"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process is not None:
        train(arguments)
        return 0
    began, count = time.perf_counter(), 1 if arguments.short else arguments.kills
    with tempfile.TemporaryDirectory() as name:
        found = kills(pathlib.Path(name), count, random.Random(arguments.seed))
        last, silent, apart = ends(pathlib.Path(name))
    found["silent"] += silent
    print("| kills | hung | wrong | unreadable | lost | silent | slowest survivor | |")
    print("|--:|--:|--:|--:|--:|--:|--:|---|")
    figures = " | ".join(str(found[what]) for what in BAD)
    note = f"in the end epoch {last}: two processes bit for bit, one within {apart:.1e}"
    print(f"| {count} | {figures} | {found['slowest']} s | {note} |")
    seconds = round(time.perf_counter() - began)
    record = {"ok": not any(found[what] for what in BAD), "kills": count, **found, "last": last}
    print(json.dumps({**record, "apart": apart, "seconds": seconds}))
    return 0 if record["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
