"""Processes that are given something else each: one error in both, before anything is compiled."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

pytest.importorskip("orbax.checkpoint")

ROOT = pathlib.Path(__file__).parent.parent
DIFFER = {
    "state": 'fit: the processes differ in state.params[0].W: process 0 has "float32 [8, 4] ',
    "step": 'fit: the processes differ in state.step: process 0 has "int32 [] ',
    "init_state": "init_state: the processes differ in key: process 0 has [0, 0], process 1 has ",
    "params": "init_state: the processes differ in state[0].W: process 0 has ",
    "partitionable": (
        'fit: the processes differ in jax_threefry_partitionable: process 0 has "True", process 1 '
    ),
    "axes": (
        'fit: the processes differ in mesh: process 0 has [["data", 2], ["model", 2]], process 1 '
        'has [["model", 2], ["data", 2]]'
    ),
    "devices": "fit: the processes differ in mesh.devices: process 0 has [",
    "explicit": "fit: the processes differ in mesh.axis_types: process 0 has [",
    "batch_size": "train_epoch: the processes differ in batch_size: process 0 has 8, process 1 ",
    "width": "train_epoch: the processes differ in network: process 0 has ",
    "saved": (
        'fit: the processes differ in checkpoints: process 0 has ["ShardedCheckpoints", "every=1"'
    ),
}


@pytest.fixture(scope="module")
def words():
    """What each of two processes with two devices each said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"}
    environment.pop("XLA_FLAGS", None)
    worker = [sys.executable, ROOT / "tests" / "alike_worker.py", str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment}
    processes = [subprocess.Popen([*worker, str(i)], **pipes) for i in range(2)]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads(out) for out, _ in outputs]


@pytest.mark.parametrize("name", DIFFER)
def test_what_differs_is_named_in_both(words, name):
    assert words[0][name] == words[1][name]
    assert words[0][name].startswith(f"ProcessError: {DIFFER[name]}")


@pytest.mark.parametrize(("name", "missing"), [("part", 1), ("part of init_state", 0)])
def test_a_mesh_without_devices_of_a_process(words, name, missing):
    expected = "ValueError: mesh: expected devices of each of the 2 processes, as jax.devices() "
    expected += f"lists them; got none of process {missing}"
    assert [said[name] for said in words] == [expected] * 2
