"""What is needed of `jax.distributed` that its public face does not have; nowhere else.

The three names are the same from jax 0.8 to 0.12; orbax and flax use the first as well.
"""

import math
import threading
from typing import Any

NAMES = ("preemption_sync_manager", "client", "service")
_held: list[Any] = []  # by the frame of a thread that never ends, too


def find_cluster(
    coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float
) -> tuple[str | None, int | None, int | None]:
    """What is None, from the job's environment as JAX reads it: Slurm, Open MPI, Kubernetes, TPU.

    `jax.distributed.initialize` does the same, but waits for the others without end.
    """
    from jax._src.clusters import ClusterEnv

    found = ClusterEnv.auto_detect_unset_distributed_params(
        coordinator, num_processes, process_id, None, None, math.ceil(timeout)
    )
    return found[:3]


def has_begun() -> bool:
    """Whether JAX has already looked for devices: too late to add those of other processes."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def keep() -> None:
    """Keeps JAX's client and service from being destroyed before the process ends, by `forget`.

    Destroyed, they say goodbye as well, and abort. What a thread holds that never ends is not.
    Python 3.12 starts none at exit, so this is called at the start.
    """
    from jax._src.distributed import global_state

    _held.extend(getattr(global_state, name) for name in NAMES)
    threading.Thread(target=_hold, args=(_held,), daemon=True, name="ffnn_jax end").start()


def forget() -> None:
    """Lets the process end although others have died.

    At exit JAX waits for all processes to end, and aborts where one does not: here it finds
    nothing to wait for. And the client of the devices, destroyed, waits for its threads, of which
    one may be in a collective that does not fail (two devices a process, jax 0.10.2): it is kept.
    """
    from jax._src import xla_bridge
    from jax._src.distributed import global_state

    if has_begun():
        _held.extend(xla_bridge.backends().values())
    for name in NAMES:
        setattr(global_state, name, None)


def _hold(_: list[Any]) -> None:
    threading.Event().wait()
