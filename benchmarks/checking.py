"""What does a check of a gradient cost, beside taking the gradient?

    python benchmarks/checking.py [--only small] [--rounds 3]

For two networks, in processes of their own: `check_gradients` of the loss, compilation included
(`check`: all transforms; `alone`: none), and `jax.grad` of the same loss without rules in float64
(`grad`). Seconds, and by how much the peak of the resident memory is above what it was with the
inputs in place; medians over the rounds. Two peaks: `needed`, where the allocator gives every block
back that is free (glibc with MALLOC_MMAP_THRESHOLD_), and `kept`, where it keeps them for later, as
glibc does by itself with blocks of less than 32 MiB. The compiler's own memory is in both, so that
the ratio says something about the check only where the arrays are large. `process` is the largest
resident memory of the whole process, Python and JAX in it. The last line of stdout is one JSON
object.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp

import ffnn_jax as ffnn

NETWORKS = {"small": ((784, 512, 512, 10), 128), "large": ((1536, 1536, 1536, 1536), 1024)}
TASKS = ("check", "alone", "grad")
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # of glibc: larger blocks go back when freed


def measured(task: str, sizes: tuple[int, ...], batch: int) -> dict[str, float]:
    """Seconds and MiB of one task, in this process."""
    net = ffnn.Network(sizes, output="softmax")
    a, b, c = jax.random.split(jax.random.key(0), 3)
    params, x = ffnn.init(net, a), jax.random.normal(b, (batch, sizes[0]))
    y = jax.block_until_ready(jax.random.randint(c, (batch,), 0, sizes[-1]))
    before, began = peak(), time.perf_counter()
    if task == "grad":
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda t: t.astype(jnp.float64), (params, x))
            gradient = jax.jit(jax.grad(ffnn.loss_autodiff, (1, 2)), static_argnums=0)
            jax.block_until_ready(gradient(net, *wide, y))
    else:
        rows = None if task == "check" else ()
        report = ffnn.check_gradients(ffnn.loss, (net, params, x, y), transforms=rows)
        assert report.ok, str(report)
    seconds, most = time.perf_counter() - began, peak()
    return {"seconds": seconds, "kept": most - before, "process": most}


def peak() -> float:
    """The largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_children(task: str, name: str) -> dict[str, float]:
    """The same, each allocator in a process of its own."""
    command = [sys.executable, __file__, "--child", task, "--only", name]

    def child(environment: dict[str, str]) -> dict[str, float]:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment
        )
        return json.loads(done.stdout.splitlines()[-1])

    return child({}) | {"needed": child(GIVES_BACK)["kept"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(NETWORKS), help="one of the two networks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    if arguments.child:
        print(json.dumps(measured(arguments.child, *NETWORKS[arguments.only])))
        return
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}; medians of {arguments.rounds}")
    table = {}
    for name in [arguments.only] if arguments.only else NETWORKS:
        sizes, batch = NETWORKS[name]
        rounds = [{t: in_children(t, name) for t in TASKS} for _ in range(arguments.rounds)]
        row = {
            task: {
                unit: statistics.median(r[task][unit] for r in rounds) for unit in rounds[0][task]
            }
            for task in TASKS
        }
        table[name] = {"sizes": sizes, "batch": batch, **row}
        print(f"{list(sizes)}, batch {batch}")
        for task in TASKS:
            units = " ".join(
                f"{unit} {row[task][unit]:6.0f} MiB ({row[task][unit] / row['grad'][unit]:.2f})"
                for unit in ("needed", "kept", "process")
            )
            print(f"  {task:6} {row[task]['seconds']:6.1f} s  {units}", flush=True)
    print(json.dumps({"jax": jax.__version__, "networks": table}))


if __name__ == "__main__":
    main()
