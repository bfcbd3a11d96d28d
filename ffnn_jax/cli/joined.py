"""One command run by several processes: the words that join them."""

import argparse

import jax

from ffnn_jax.processes import start_processes
from ffnn_jax.sharding.placement import DATA


def add_processes(parser: argparse.ArgumentParser) -> None:
    """`--processes`, and what it needs where no cluster tells it."""
    group = parser.add_argument_group("several processes, each started with the same words")
    group.add_argument(
        "--processes",
        action="store_true",
        help="this is one of several; which one, a job of Slurm, Open MPI or Kubernetes says, or:",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 is")
    group.add_argument("--num-processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process-id", type=int, metavar="N", help="which one this is, from 0")


def join(arguments: argparse.Namespace) -> bool:
    """Joins this process with the others; whether there are others.

    Raises:
      TypeError, ValueError, ProcessError: as `start_processes`.
    """
    given = {
        "coordinator": arguments.coordinator,
        "num_processes": arguments.num_processes,
        "process_id": arguments.process_id,
    }
    if not arguments.processes:
        for name, value in given.items():
            if value is not None:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} is of several processes; give --processes as well")
        return False
    start_processes(**given)
    return jax.distributed.is_initialized()


def all_devices() -> jax.sharding.Mesh:
    """Those of all processes, for the rows of a batch."""
    return jax.make_mesh((jax.device_count(),), (DATA,))
