"""Several processes: who does not come or differs is named, a dead one is an error in the others,
and SIGTERM saves at the same step everywhere."""

import errno
import functools
import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import optax
import pytest
from compiling import as_for_a_user

import ffnn_jax as ffnn
from ffnn_jax import cli
from ffnn_jax.checkpoint import Checkpoints
from ffnn_jax.metrics import read_metrics
from ffnn_jax.processes import ProcessError, agree, exchange, from_first, start_processes
from ffnn_jax.processes.door import Door
from ffnn_jax.processes.link import Link, closed
from ffnn_jax.processes.preemption import Heard
from ffnn_jax.processes.roll import call_roll

ROOT = pathlib.Path(__file__).parent.parent
PATIENCE = 120.0  # s until a test gives up on a process


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def together(*works):
    """Each in a thread of its own; what it gave, or the error."""

    def outcome(work):
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(outcome, works))


def roll(port, number, process, timeout=20.0):
    return lambda: call_roll("127.0.0.1", port, number, process, timeout)


@pytest.fixture
def stars():
    """The connections of three processes."""
    port = free_port()
    stars = together(*(roll(port, 3, process) for process in range(3)))
    yield stars
    for star in stars:
        star.leave()


# Roll call ---------------------------------------------------------------------------------------


def test_all_hear_what_all_say(stars):
    values = together(*(lambda s=s: s.exchange("n", {"p": s.process_id}) for s in stars))
    assert values == [[{"p": 0}, {"p": 1}, {"p": 2}]] * 3
    long = "y" * 200_000  # more than one packet
    assert together(*(lambda s=s: s.exchange("m", long) for s in stars)) == [[long] * 3] * 3


def test_two_messages_that_come_at_once(stars):
    stars[1].links[0].socket.sendall(b'{"a": 1}\n{"a": 2}\n{"a"')
    link = stars[0].links[1]
    assert [link.receive() for _ in range(2)] == [{"a": 1}, {"a": 2}]
    stars[1].links[0].socket.sendall(b": 3}\n")
    assert link.receive() == {"a": 3}


def test_a_process_that_ends_is_named_in_all_others(stars):
    stars[1].links[0].close()
    words = together(lambda: stars[0].exchange("n", 0), lambda: stars[2].exchange("n", 2))
    assert all(isinstance(word, ProcessError) for word in words)
    assert "n: process 1 has ended or cannot be reached" in str(words[0]) == str(words[1])
    with pytest.raises(ProcessError, match="was lost before"):
        stars[2].exchange("n", 2)


def test_the_first_that_ends_is_named_in_all_others(stars):
    stars[0].leave("process 0 has ended: disk full")
    words = together(lambda: stars[1].exchange("n", 1), lambda: stars[2].exchange("n", 2))
    assert [str(word) for word in words] == ["process 0 has ended: disk full"] * 2


def test_a_collective_that_fails_asks_who_it_was(stars):
    assert stars[0].reason(0.05) is None
    stars[2].links[0].close()
    assert stars[0].reason() == "process 2 has ended or cannot be reached"


def test_a_closed_connection_is_seen_and_what_came_is_left_to_be_received(stars):
    assert closed(stars[0].links, 0.05) is None
    stars[2].links[0].send({"n": 2})
    assert closed(stars[0].links, 0.05) is None
    stars[2].links[0].close()
    assert closed(stars[0].links, 20.0) == 2
    assert stars[0].links[2].receive() == {"n": 2}


def test_processes_at_different_points(stars):
    words = together(*(lambda s=s: s.exchange("abc"[s.process_id], 0) for s in stars))
    assert all(isinstance(word, ProcessError) for word in words)
    assert "is at 'b', process 0 at 'a'" in str(words[1]) or "is at 'c'" in str(words[1])


@pytest.mark.parametrize("early", [0, 1])
def test_one_that_has_come_to_its_end_is_named_in_the_others(stars, early):
    """As after sys.exit in one of them."""
    words = together(
        *(lambda s=s: s.exchange("end" if s.process_id == early else "fit", 0) for s in stars)
    )
    ended = f"fit: process {early} has come to the end of its program; start all processes again"
    assert all(ended in str(words[process]) for process in range(3) if process != early)


def test_a_process_that_is_too_slow(stars):
    (word,) = together(lambda: stars[0].exchange("n", 0, 0.1))
    assert "n: process 1, 2 did not answer in 0.1 s" in str(word)


def test_who_does_not_come_is_named():
    port = free_port()
    words = together(roll(port, 4, 0, 1.0), roll(port, 4, 2))
    assert [str(word) for word in words] == [
        "start_processes: process 1, 3 did not come in 1 s"
    ] * 2


def test_a_coordinator_that_does_not_answer():
    port = free_port()
    (word,) = together(roll(port, 2, 1, 0.5))
    assert isinstance(word, ProcessError)
    assert f"process 0 did not answer at 127.0.0.1:{port} in 0.5 s: " in str(word)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (word,) = together(roll(silent.getsockname()[1], 2, 1, 0.5))
    assert "it is silent" in str(word)


def test_what_answers_is_something_else():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection = server.accept()[0]
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return connection

        word, connection = together(roll(server.getsockname()[1], 2, 1, 0.3), answer)
        connection.close()
    assert str(word).endswith(" in 0.3 s: what answers is no process of this training") or (
        str(word).endswith("it is silent")  # a second time nobody accepts
    )


def test_strangers_and_processes_that_start_anew_do_no_harm():
    port = free_port()

    def come():
        for line in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b""):
            with retried(port) as stranger:
                stranger.sendall(line)
        first = Link(retried(port))
        about = {"num_processes": 3, "jax": jax.__version__, "ffnn_jax": ffnn.__version__}
        first.send({**about, "process_id": 1})
        first.close()
        return together(roll(port, 3, 1), roll(port, 3, 2))

    first, others = together(roll(port, 3, 0), come)
    stars = [first, *others]
    words = together(*(lambda s=s: s.exchange("n", s.process_id) for s in stars))
    assert words == [[0, 1, 2]] * 3
    for star in stars:
        star.leave()


def introduction(**fields):
    """What a process of two says first."""
    versions = {"jax": jax.__version__, "ffnn_jax": ffnn.__version__}
    return json.dumps({"num_processes": 2, **versions, "process_id": 1, **fields}).encode() + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000 + b"\n",
        b"[" * 30_000 + b"\n",  # deeper than Python goes, shorter than what is too long
        b'{"process_id": 1}\n',
        b'{"num_processes": 3, "process_id": 1}\n',
        introduction(num_processes=2.0),
        introduction(jax=None),
        introduction(ffnn_jax="0\n" * 9),
        introduction(jax="0" * 1000),
        introduction(process_id=7),
        introduction(process_id=-1),
        introduction(process_id=True),
        b"x" * 70_000,
    ],
    ids=range(12),
)
def test_what_only_looks_like_a_process_is_a_stranger(line):
    """It is not heard, and the connection is closed."""
    port = free_port()

    def come():
        with retried(port) as stranger:
            stranger.settimeout(PATIENCE)
            try:
                stranger.sendall(line)
                left = stranger.recv(1)
            except ConnectionError:
                left = b""
        return left, call_roll("127.0.0.1", port, 2, 1, 20.0)

    first, (left, second) = together(roll(port, 2, 0), come)
    assert left == b""
    assert [list(first.links), list(second.links)] == [[1], [0]]
    first.leave()
    second.leave()


def test_what_answers_without_end_or_too_deep_is_something_else():
    for line in (b"[" * 30_000 + b"\n", b"x" * 70_000, b'{"values": [1]}\n', b'{"error": 1}\n'):
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer(server=server, line=line):
                connection = server.accept()[0]
                connection.sendall(line)
                return connection

            word, connection = together(roll(server.getsockname()[1], 2, 1, 0.3), answer)
            connection.close()
        assert isinstance(word, ProcessError)
        assert str(word).endswith(("no process of this training", "it is silent"))


def test_many_that_say_nothing_are_dropped_the_oldest_first(monkeypatch):
    monkeypatch.setattr("ffnn_jax.processes.roll.SPARE", 4)
    port = free_port()

    def come():
        silent = [retried(port) for _ in range(12)]
        second = call_roll("127.0.0.1", port, 2, 1, 20.0)
        for one in silent:
            one.settimeout(PATIENCE)
        assert [one.recv(1) for one in silent[:6]] == [b""] * 6
        for one in silent:
            one.close()
        return second

    first, second = together(roll(port, 2, 0), come)
    assert [list(first.links), list(second.links)] == [[1], [0]]
    first.leave()
    second.leave()


class Full(socket.socket):
    """A listener of a process that may open no more files, once one has come."""

    came = 0

    def accept(self):
        self.came += 1
        if self.came == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def listener(request, monkeypatch):
    """What process 0 listens at, with room for those that come before it listens."""
    listener = request.param()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    monkeypatch.setattr("ffnn_jax.processes.roll._listen", lambda *_: listener)
    with listener:
        yield listener


@pytest.mark.parametrize("listener", [Full], indirect=True)
def test_where_no_more_files_may_be_opened_the_silent_go(listener):
    address = listener.getsockname()
    with socket.create_connection(address) as silent:
        first, second = together(roll(address[1], 2, 0), roll(address[1], 2, 1))
        silent.settimeout(PATIENCE)
        assert silent.recv(1) == b""
    assert [list(first.links), list(second.links)] == [[1], [0]]
    first.leave()
    second.leave()


@pytest.mark.parametrize("listener", [Full], indirect=True)
def test_where_no_more_files_may_be_opened_and_nobody_is_silent(listener):
    address = listener.getsockname()
    with socket.create_connection(address) as one:
        one.sendall(introduction(num_processes=3))
        with socket.create_connection(address):
            (word,) = together(roll(0, 3, 0))
    assert str(word) == (
        "start_processes: process 0 cannot take more connections: Too many open files"
    )


@pytest.mark.parametrize("listener", [socket.socket], indirect=True)
def test_one_that_has_gone_again_is_not_handed_on(listener):
    """It has said who it is and closed before process 0 looks."""
    with socket.create_connection(listener.getsockname()) as one:
        one.sendall(introduction())
    (word,) = together(roll(0, 2, 0, 0.3))
    assert str(word) == "start_processes: process 1 did not come in 0.3 s"


def test_strangers_do_not_keep_process_0_beyond_its_time():
    """One comes anew whenever one has gone."""
    port, over = free_port(), threading.Event()

    def come():
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port)) as stranger:
                    stranger.sendall(b"x\n")
            except OSError:
                time.sleep(0.001)

    def wait():
        outcome = together(roll(port, 2, 0, 0.5))
        over.set()
        return outcome

    (word,), _ = together(wait, come)
    assert "process 1 did not come in 0.5 s" in str(word)


def retried(port):
    """A connection, once somebody listens."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.02)
    raise AssertionError("nobody listens")


def test_processes_that_differ(monkeypatch):
    port = free_port()
    words = together(roll(port, 2, 0), roll(port, 3, 1))
    assert [str(word) for word in words] == [
        "start_processes: process 1 has num_processes 3, and process 0 has 2"
    ] * 2
    port = free_port()
    words = together(roll(port, 3, 0), roll(port, 3, 1), roll(port, 3, 1))
    assert [str(word) for word in words] == [
        "start_processes: there are two processes with process_id 1"
    ] * 3
    first = threading.Thread(target=together, args=[roll(port := free_port(), 2, 0)])
    first.start()
    link = Link(retried(port))
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    (word,) = together(roll(port, 2, 1))
    first.join()
    link.close()
    assert "process 1 has jax 0.0.1, and process 0 has" in str(word)


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        (word,) = together(roll(port, 2, 0))
    assert f"process 0 cannot listen at 127.0.0.1:{port}: " in str(word)


def test_the_door_stays_open_when_the_coordinator_goes():
    with socket.create_server(("127.0.0.1", 0)) as coordinator:
        door = Door(*coordinator.getsockname(), timeout=20.0)
        host, port = door.address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(b"x" * 100_000)
            inside = coordinator.accept()[0]
            inside.settimeout(20)
            came = 0
            while came < 100_000:
                came += len(inside.recv(65536))
            inside.sendall(b"answer")
            assert client.recv(100) == b"answer"
            inside.close()
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(100)


# Arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"coordinator": 3}, TypeError, "coordinator: expected 'host:port', got 3"),
        ({"coordinator": "nowhere"}, ValueError, "expected 'host:port', got 'nowhere'"),
        ({"coordinator": "a:99999"}, ValueError, "expected 'host:port', got 'a:99999'"),
        ({"coordinator": "a:" + "1" * 5000}, ValueError, "expected 'host:port', got 'a:1111"),
        ({"coordinator": "a..b:1"}, ValueError, "expected 'host:port', got 'a..b:1'"),
        ({"coordinator": "a" * 64 + ":1"}, ValueError, "expected 'host:port', got 'aaaa"),
        ({"coordinator": " h:1"}, ValueError, "expected 'host:port', got ' h:1'"),
        ({"coordinator": "a\0b:1"}, ValueError, "expected 'host:port', got"),
        ({"coordinator": "[]:1"}, ValueError, "expected 'host:port', got"),
        ({"timeout": 3e9}, ValueError, "timeout: expected at most 1000000 s, got 3000000000"),
        ({"num_processes": 0}, ValueError, "num_processes: expected at least 1, got 0"),
        ({"process_id": 2}, ValueError, "process_id: expected 0 to 1, got 2"),
        ({"process_id": "1"}, TypeError, "process_id: expected an int, got '1'"),
        ({"timeout": 0}, ValueError, "timeout: expected a finite number above 0, got 0"),
        ({"process_id": None}, ValueError, "process_id: not given, and no job of Slurm"),
    ],
)
def test_arguments(monkeypatch, given, error, words):
    monkeypatch.setattr("ffnn_jax.processes.engine.has_begun", lambda: False)
    right = {"coordinator": "127.0.0.1:1", "num_processes": 2, "process_id": 1, "timeout": 0.1}
    with pytest.raises(error, match=words):
        start_processes(**{**right, **given})


def test_too_late_or_nothing_to_do():
    jax.devices()
    with pytest.raises(ProcessError, match="call it before anything that looks for devices"):
        start_processes(coordinator="127.0.0.1:1", num_processes=2, process_id=0)
    start_processes(num_processes=1)
    assert not jax.distributed.is_initialized()


def test_a_job_of_slurm_is_found(monkeypatch):
    job = {
        "JOB_ID": "7",
        "STEP_NODELIST": "node[3-4]",
        "NTASKS": "2",
        "PROCID": "1",
        "LOCALID": "0",
    }
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr("ffnn_jax.processes.engine.has_begun", lambda: False)
    with pytest.raises(ProcessError, match=r"process 0 did not answer at node3:61447 in 0\.2 s"):
        start_processes(timeout=0.2)


def test_alone_there_is_nobody_to_ask():
    assert exchange("n", 3) == [3]
    assert from_first("x") == "x"
    agree("n", {"a": 1})


# Two processes -----------------------------------------------------------------------------------


def begin(*words, stdout):
    environment = as_for_a_user(PYTHONPATH=str(ROOT), JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    environment.pop("XLA_FLAGS", None)
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=environment,
        stdout=stdout,
        stderr=subprocess.STDOUT,
    )


class Pair:
    """Two processes and what they print; ended with the test."""

    def __init__(self, folder, words):
        """words(process) are those of its command line."""
        self.outputs = [folder / f"output-{process}" for process in range(2)]
        self.processes = []
        for process, path in enumerate(self.outputs):
            with open(path, "wb") as file:
                self.processes.append(begin(*words(process), stdout=file))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def said(self, process):
        return self.outputs[process].read_text(errors="replace")

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ended = [process.poll() for process in self.processes]
            assert ended == [None, None], self.said(0) + self.said(1)
            assert time.monotonic() < deadline, self.said(0) + self.said(1)
            time.sleep(0.05)


@pytest.mark.parametrize("killed", [0, 1])
def test_two_train_as_one_and_a_dead_one_is_an_error_in_the_other(tmp_path, killed):
    port, survivor = free_port(), 1 - killed
    worker = ROOT / "tests" / "process_worker.py"
    with Pair(tmp_path, lambda process: (worker, port, process, tmp_path)) as pair:
        pair.until(lambda: all(len(pair.said(p).splitlines()) > 5 for p in range(2)))
        pair.processes[killed].kill()
        status = pair.processes[survivor].wait(30)
        last = pair.said(survivor).strip().splitlines()[-1]
    assert status == 1, pair.said(survivor)
    assert last.startswith("ffnn_jax.processes.link.ProcessError: ")
    assert f"process {killed} has ended or cannot be reached; start all" in last
    seen = [json.loads((tmp_path / f"seen-{process}").read_text()) for process in range(2)]
    check_seen(seen)
    check_files(tmp_path, seen)


@pytest.mark.parametrize(("where", "doing"), [("call", "setup"), ("exit", "next")])
def test_a_program_that_cannot_end_after_a_death_is_ended(tmp_path, where, doing):
    port, worker = free_port(), ROOT / "tests" / "stuck_worker.py"
    with Pair(tmp_path, lambda process: (worker, port, process, where)) as pair:
        pair.until(lambda: all("waiting" in pair.said(p) for p in range(2)))
        pair.processes[1].kill()
        status = pair.processes[0].wait(30)
        last = pair.said(0).strip().splitlines()[-1]
    assert status == 1, pair.said(0)  # JAX aborts: -6
    assert (
        f"link.ProcessError: {doing}: process 1 has ended or cannot be reached; start all" in last
    )


@functools.cache
def fit_alone():
    """What one process makes of it."""
    return ffnn.fit(
        ffnn.Network((4, 8, 3), activation="tanh", output="softmax"),
        ffnn.load_iris(),
        key=jax.random.key(0),
        optimizer=optax.sgd(0.05, momentum=0.9),
        batch_size=32,
        epochs=5,
        validation=ffnn.load_iris(),
    )


def check_seen(seen):
    for name in (
        *("loss", "accuracy", "params", "agree", "first", "key", "validation", "weights"),
        *("rate", "l2"),
    ):
        assert seen[0][name] == seen[1][name], name
    assert seen[0]["first"] == "process 0"
    assert seen[0]["agree"] == (
        "ProcessError: setup: the processes differ in width: process 0 has 4, process 1 has 5"
    )
    assert (
        "the processes differ in key: process 0 has [0, 0], process 1 has [0, 1]" in seen[0]["key"]
    )
    assert seen[0]["validation"] == (
        "ProcessError: fit: the processes differ in validation x: "
        'process 0 has "float32 [\'N\', 4]", process 1 has "none"'
    )
    assert 'differ in weights: process 0 has "none", process 1 has' in seen[0]["weights"]
    for name in ("rate", "l2"):  # inside a function
        assert seen[0][name].startswith(
            "ProcessError: fit: the processes differ in the optimizer, the objective or another "
            "option: their programs are not the same: process 0 has "
        )
    assert seen[1]["values"].startswith("ValueError: x: expected finite numbers, got nan at [3, 0]")
    assert seen[0]["values"] == f"ProcessError: fit: process 1 has a {seen[1]['values']}"
    one = fit_alone()
    np.testing.assert_allclose(seen[0]["loss"], one.history.loss, rtol=1e-5)
    assert seen[0]["accuracy"] == one.history.validation_accuracy.tolist()
    for ours, leaf in zip(seen[0]["params"], jax.tree.leaves(one.params), strict=True):
        np.testing.assert_allclose(ours, leaf, rtol=1e-4, atol=1e-5)


def check_files(folder, seen):
    """Of parameters that every process has, and of those that were split and then gathered."""
    for process in range(2):
        net, params = ffnn.load(folder / f"fit-{process}.npz")
        for ours, leaf in zip(seen[process]["params"], jax.tree.leaves(params), strict=True):
            np.testing.assert_array_equal(np.asarray(ours, np.float32), leaf)
        _, params = ffnn.load(folder / f"gathered-{process}.npz")
        expected = ffnn.init_state(net, optax.sgd(0.05), jax.random.key(0)).params
        jax.tree.map(np.testing.assert_array_equal, params, expected)
        assert seen[process]["split"] == (
            "TypeError: W_1: expected an array that is whole in this process, got one that is "
            "split over processes; ffnn_jax.gathered(tree), called in all of them, makes it whole"
        )
        assert (
            seen[process]["keys"]
            == jax.random.key_data(jax.random.split(jax.random.key(1))).tolist()
        )


def test_the_command_is_told_to_end_and_goes_on_with_one_process(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    x, y = ffnn.load_iris()
    table = tmp_path / "iris.csv"
    rows = [",".join(f"{v:.1f}" for v in row) + f",kind {c}" for row, c in zip(x, y, strict=True)]
    table.write_text("a,b,c,d,kind\n" + "\n".join(rows) + "\n")
    words = ["train", table, "--target", "kind", "--hidden", "8", "--patience", "0", "--no-refit"]
    words += ["--no-report", "--epochs", "1000000"]
    several = ["--processes", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
    run = tmp_path / "run"

    def command(process):
        return ["-m", "ffnn_jax", *words, "--run", run, *several, "--process-id", process]

    with Pair(tmp_path, command) as pair:
        log = run / "metrics.jsonl"
        pair.until(lambda: log.exists() and len(read_metrics(log)) > 30)
        pair.processes[1].send_signal(signal.SIGTERM)
        status = [process.wait(PATIENCE) for process in pair.processes]
    assert status == [0, 0], pair.said(0) + pair.said(1)
    assert "told to end, and saved; ffnn train --resume --run" in pair.said(0)
    assert "ffnn train" not in pair.said(1)
    assert not (run / "model.npz").exists()
    (newest,) = sorted((run / "checkpoints").glob("step-*"))[-1:]
    step = int(newest.name.split("-")[1])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        options = ["--quiet", "--no-report", "--epochs", str(step + 5)]
        assert cli.main(["train", "--resume", "--run", str(run), *options]) == 0
    assert read_metrics(run / "metrics.jsonl")[-1]["epoch"] == step + 5
    alone = tmp_path / "alone"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        options[-1:] = [str(step + 5), "--run", str(alone)]
        assert cli.main([*map(str, words[:-2]), *options]) == 0
    ours, theirs = (ffnn.load(path / "model.npz")[1] for path in (run, alone))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def test_words_of_several_processes_need_the_word_processes(capsys):
    assert cli.main(["train", "iris.csv", "--num-processes", "2"]) == 1
    assert "--num-processes is of several processes; give --processes" in capsys.readouterr().err


def test_processes_without_a_mesh_are_told(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    net = ffnn.Network((4, 3), output="softmax")
    options = {"optimizer": optax.sgd(0.1), "batch_size": 50, "epochs": 3}
    words = "there are 2 processes and no mesh=, so each trains a model of its own"
    with pytest.warns(UserWarning, match=f"fit: {words}") as said:
        ffnn.fit(net, ffnn.load_iris(), key=jax.random.key(0), **options)
    assert [pathlib.Path(one.filename) for one in said] == [pathlib.Path(__file__)]
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.warns(UserWarning, match=f"fit_many: {words}") as said:
        ffnn.fit_many(net, ffnn.load_iris(), keys=keys, **options)
    assert [pathlib.Path(one.filename) for one in said] == [pathlib.Path(__file__)]


# SIGTERM, one process ----------------------------------------------------------------------------


def test_sigterm_saves_and_ends_with_0(tmp_path):
    net = ffnn.Network((4, 8, 3), activation="tanh", output="softmax")
    options = {
        "key": jax.random.key(0),
        "optimizer": optax.sgd(0.01),
        "batch_size": 50,
        "checkpoints": Checkpoints(tmp_path, every=1000),
    }
    seen = []

    def tell(records, _):
        seen.append(records[-1]["epoch"])
        if seen[-1] >= 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(ffnn.Preempted) as ended:
        ffnn.fit(net, ffnn.load_iris(), epochs=10**6, on_epochs=tell, **options)
    assert ended.value.code == 0
    assert options["checkpoints"].files()[0].step == seen[-1]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    result = ffnn.fit(net, ffnn.load_iris(), epochs=seen[-1] + 1, resume=True, **options)
    assert len(result.history.loss) == seen[-1] + 1


@pytest.mark.parametrize("ends", [False, True])
def test_a_signal_that_comes_while_the_processes_tell_each_other_is_not_lost(ends, monkeypatch):
    """Before the next epochs it is told; after the last, this process ends by itself."""
    heard = Heard(joint=True)

    def meanwhile(name, value):
        heard.note(signal.SIGTERM, None)
        return [value, value]

    monkeypatch.setattr("ffnn_jax.processes.preemption.exchange", meanwhile)
    if not ends:
        assert heard.agreed(8) == 8
        with pytest.raises(KeyboardInterrupt):
            heard.agreed(8)
    with pytest.raises(ffnn.Preempted):
        heard.end()


def test_a_handler_of_ones_own_is_left_alone(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        ffnn.fit(
            ffnn.Network((4, 8, 3), activation="tanh", output="softmax"),
            ffnn.load_iris(),
            key=jax.random.key(0),
            optimizer=optax.sgd(0.01),
            batch_size=50,
            epochs=2,
            checkpoints=Checkpoints(tmp_path),
            on_epochs=lambda *_: signal.raise_signal(signal.SIGTERM),
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard
