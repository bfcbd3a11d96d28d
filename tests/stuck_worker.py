"""One of two processes of tests/test_processes.py: `python stuck_worker.py PORT ID WHERE`.

Process 0 cannot end by itself after process 1 has died: in a call that does not return, or at exit.
"""

import atexit
import sys
import time


def main(port: str, process: int, where: str) -> None:
    if where == "exit":
        atexit.register(time.sleep, 1000)  # runs after what is registered later
    from ffnn_jax.processes import exchange, peers, start_processes

    start_processes(coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=process)
    import jax
    import jax.numpy as jnp

    def wait(x):
        print("waiting", flush=True)
        time.sleep(1000 if where == "call" or process == 1 else 0)
        return x

    x = jnp.ones(3)
    with peers("setup"):
        jax.jit(lambda x: jax.pure_callback(wait, x, x))(x).block_until_ready()
    exchange("next", 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
