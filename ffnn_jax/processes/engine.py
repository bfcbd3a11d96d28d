"""What is needed of `jax.distributed` that its public face does not have; nowhere else.

The three names are the same from jax 0.8 to 0.12; orbax and flax use the first as well.
"""

import threading


def find_cluster(
    coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float
) -> tuple[str | None, int | None, int | None]:
    """What is None, from the job's environment as JAX reads it: Slurm, Open MPI, Kubernetes, TPU.

    `jax.distributed.initialize` does the same, but waits for the others without end.
    """
    from jax._src.clusters import ClusterEnv

    found = ClusterEnv.auto_detect_unset_distributed_params(
        coordinator, num_processes, process_id, None, None, int(timeout)
    )
    return found[:3]


def has_begun() -> bool:
    """Whether JAX has already looked for devices: too late to add those of other processes."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def forget() -> None:
    """Lets the process end although others have died.

    At exit JAX waits for all processes to end, and aborts where one does not: here it finds
    nothing to wait for. Its client and service, destroyed, would do the same; a thread that never
    ends keeps them to the last.
    """
    from jax._src.distributed import global_state

    names = ("preemption_sync_manager", "client", "service")
    kept = [getattr(global_state, name) for name in names]
    threading.Thread(target=_keep, args=(kept,), daemon=True, name="ffnn_jax end").start()
    for name in names:
        setattr(global_state, name, None)


def _keep(_) -> None:
    threading.Event().wait()
