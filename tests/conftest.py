"""Strict settings for every test: nothing is promoted silently, and there are four devices.

What they ask of the compiler is in compiling.py.
"""

import compiling
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 4)
if not compiling.OPTIMIZED:
    compiling.little()


def pytest_configure(config):
    config.addinivalue_line("markers", "optimized: with LLVM's optimizations")
    if not hasattr(config, "workerinput"):  # before there are other processes
        compiling.forget_if_many()


@pytest.fixture(autouse=True)
def _optimized(request):
    if compiling.OPTIMIZED or not request.node.get_closest_marker("optimized"):
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
