"""The floor: reference.c, compiled when it is first needed, on the same arrays."""

import ctypes
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from peer_loops.task import RATES, Peer

REFERENCE = pathlib.Path(__file__).parent.with_name("reference.c")


@functools.cache
def library() -> ctypes.CDLL:
    """reference.c, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise ImportError("no C compiler (cc) found")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "reference.so")
        flags = ["-O3", "-march=native", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(REFERENCE), "-o", path, "-lm"], check=True)
        return ctypes.CDLL(path)


class Reference(Peer):
    """reference.c: one thread, no BLAS, called once for an epoch."""

    @classmethod
    def load(cls):
        library()

    def __init__(self, task):
        self.task, self.run = task, library().epoch
        self.sizes = np.asarray(task.net.sizes, np.int32)
        self.losses = np.zeros(task.steps, np.float32)
        self.reset()

    def reset(self):
        self.flat = np.concatenate([t.ravel() for pair in self.task.start for t in pair])

    def epoch(self, steps):
        task = self.task
        failed = self.run(
            ctypes.c_int(task.net.depth),
            pointer(self.sizes),
            ctypes.c_int(task.batch),
            ctypes.c_int(steps),
            ctypes.c_float(RATES[task.optimizer]),
            ctypes.c_int(task.optimizer == "adam"),
            pointer(self.flat),
            pointer(task.x),
            pointer(task.y),
            pointer(self.losses),
        )
        if failed:
            raise MemoryError("reference.c: no memory")

    def parameters(self):
        shapes = [t.shape for pair in self.task.start for t in pair]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        parts = np.split(self.flat, ends[:-1])
        leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return list(zip(leaves[::2], leaves[1::2], strict=True))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
