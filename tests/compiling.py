"""What the tests ask of XLA's compiler, in this process and in those that a test starts.

Most of the time of the tests is the compiler's, so they ask little of it. A program that was
compiled once, in any test, process or run, comes from .pytest_cache. LLVM does not optimize the
machine code, which is made in one piece, not in parts for many threads, and jax 0.10 makes the code
of each operation by its older, quicker way.

Code as a user's, compiled anew, is had by FFNN_TESTS=optimized for a whole run, of which .ci/run
has one, and by `as_for_a_user` for a process that a test starts. With the mark `optimized` LLVM
optimizes in one test; its programs are kept all the same, and made with the same flags.

The text of a kept program has the names (XLA's op_name) of the function that was compiled first:
a test that reads them sets jax_compilation_cache_include_metadata_in_key.
"""

import contextlib
import os
import pathlib
import shutil

import jax

OPTIMIZED = os.environ.get("FFNN_TESTS") == "optimized"
PROGRAMS = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "d" / "programs"  # as pytest's own
KEPT = 2**30  # bytes of programs: when there are more, all are forgotten
ONE_PIECE = "--xla_cpu_parallel_codegen_split_count=1"
OLDER_WAY = "--xla_cpu_use_fusion_emitters=false"
FLAGS = {  # by the version of JAX: one that does not know a flag ends
    (0, 10): (ONE_PIECE, OLDER_WAY),
    (0, 11): (ONE_PIECE,),
    (0, 12): (ONE_PIECE,),
}
# Of a file that another process is writing or has removed: the program is compiled, as without it.
UNREADABLE = ",".join(
    f"ignore:Error {doing} persistent compilation cache entry" for doing in ("reading", "writing")
)


def folder() -> pathlib.Path:
    """Where the programs for so many cores are.

    XLA divides loops among the cores that a process may use, or among NPROC threads; JAX's key of a
    program says nothing of either.
    """
    known = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count()
    return PROGRAMS / f"cores-{cores}-threads-{os.environ.get('NPROC', cores)}"


QUICK = {
    "jax_disable_most_optimizations": True,
    "jax_compilation_cache_dir": str(folder()),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def little() -> None:
    """Asks little of the compiler, here and, by the environment, in processes that are started."""
    for name, value in QUICK.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    add("PYTHONWARNINGS", ",", UNREADABLE)
    for flag in FLAGS.get(jax.__version_info__[:2], ()):
        add("XLA_FLAGS", " ", flag)


def add(name: str, separator: str, words: str) -> None:
    """Adds words to a variable, unless the process that started this one has."""
    before = os.environ.get(name, "")
    if words not in before:
        os.environ[name] = f"{before}{separator}{words}".removeprefix(separator)


def as_for_a_user(**more: str) -> dict[str, str]:
    """The environment of a process that compiles as a user's does, and anew; and more of it.

    For what must not be given programs that another process compiled: where bits are compared, or
    the number of cores or the flags of JAX are others.
    """
    quick = [name.upper() for name in QUICK]
    environment = {name: value for name, value in os.environ.items() if name not in quick}
    ours = (ONE_PIECE, OLDER_WAY)
    flags = [flag for flag in environment.pop("XLA_FLAGS", "").split() if flag not in ours]
    return environment | ({"XLA_FLAGS": " ".join(flags)} if flags else {}) | more


def forget_if_many() -> None:
    """Removes all programs when they take more than KEPT bytes."""
    with contextlib.suppress(OSError):  # another run is removing them
        if sum(file.stat().st_size for file in PROGRAMS.rglob("*")) > KEPT:
            shutil.rmtree(PROGRAMS, ignore_errors=True)
