"""Strict settings for every test: nothing is promoted silently, and there are four devices.

Most of the time of the tests is that of XLA's compiler, so they ask less of it. A program that was
compiled once, in any test, process or run, comes from .pytest_cache. LLVM does not optimize the
machine code; what XLA itself makes of a program (fusion, memory, collectives) is the same. And jax
0.10 makes the code of each operation by its older, quicker way.

The mark `optimized` is for tests of the bits and the times of the code that users run: there LLVM
optimizes. With FFNN_TESTS=optimized everything is compiled as for a user, and anew.
"""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 4)

OPTIMIZED = os.environ.get("FFNN_TESTS") == "optimized"
PROGRAMS = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "d" / "programs"  # as pytest's own
KEPT = 2**30  # bytes of programs: when there are more, all are forgotten
QUICK = {
    "jax_disable_most_optimizations": True,
    "jax_compilation_cache_dir": str(PROGRAMS),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}

if not OPTIMIZED:
    for name, value in QUICK.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # of the processes that tests start
    # One that another process is still writing is compiled.
    os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache entry"
    if jax.__version_info__[:2] == (0, 10):  # others may not know the flag
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    config.addinivalue_line("markers", "optimized: with LLVM's optimizations")
    if not hasattr(config, "workerinput"):  # before there are other processes
        files = list(PROGRAMS.glob("*"))
        if sum(file.stat().st_size for file in files) > KEPT:
            for file in files:
                file.unlink()


@pytest.fixture(autouse=True)
def _optimized(request):
    if OPTIMIZED or not request.node.get_closest_marker("optimized"):
        yield
        return
    jax.clear_caches()  # of what other tests compiled
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture
def x64():
    """64-bit types for the length of one test."""
    with jax.enable_x64(True):
        yield
