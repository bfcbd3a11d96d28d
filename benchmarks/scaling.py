"""What do many devices move, hold and gain, beside one device with the same batch?

    python benchmarks/scaling.py [--quick] [--devices 1,2,4,8] [--processes 1,2] [--rounds 5]
                                 [--json FILE]

Regime: virtual CPU devices, float32, Adam, one network, an epoch as one compiled program. Strong
scaling keeps the batch, weak scaling the batch of a device. Virtual devices share the cores of this
machine, and one device uses all cores by itself, so the best possible is what one device does with
the same whole batch: "of best" is its time divided by that of the mesh, within a round, median
over the rounds. It takes turns with the mesh; a warm-up round comes first. Two processes are joined
over localhost (gloo). Each line also has what the compiled step sends (least bytes a device, from
the HLO), whether that is the arithmetic of the layout, what a device holds of the state, and XLA's
temporary memory. Then the same on paper for H100s: see benchmarks/links.py. The last line of
stdout is one JSON object.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time

import jax
import links
import numpy as np
import optax
from throughput import begin, put_out

import ffnn_jax as ffnn
from ffnn_jax.processes import start_processes
from ffnn_jax.sharding.arithmetic import expected_collectives
from ffnn_jax.sharding.collectives import collective_totals, collectives, collectives_table
from ffnn_jax.sharding.placement import placement

FULL = ((512, 1024, 1024, 10), 512)  # sizes, batch
QUICK = ((64, 128, 128, 10), 64)
STEPS = 4
OPTIMIZER = optax.adam(1e-3)
TIMEOUT = 900.0  # s, for one measurement
ON_PAPER = {
    "1024-8192-8192-8192-8192-1000, 1024 examples a GPU": (1024, 8192, 8192, 8192, 8192, 1000),
    "784-512-512-10, 1024 examples a GPU": (784, 512, 512, 10),
}


# One measurement, in processes of its own --------------------------------------------------------


def meshes(devices: int) -> dict[str, tuple[int, int]]:
    """The shapes (data, model) to measure."""
    if devices == 1:
        return {"data": (1, 1)}
    both = {"data × model": (devices // 2, 2)} if devices > 2 else {}
    return {"data": (devices, 1), "model": (1, devices), **both}


class Training:
    """An epoch of one layout, or without a mesh on one device: compiled, and ready to be timed."""

    def __init__(self, net, mesh, batch: int):
        self.mesh, layout, home = mesh, {}, None
        if mesh is not None:
            self.placement = placement(net, mesh, wide=net.sizes[1])
            layout = {"mesh": mesh, "placement": self.placement}
            home = jax.sharding.NamedSharding(mesh, jax.P("data"))
        self.state = ffnn.init_state(net, OPTIMIZER, jax.random.key(0), **layout)

        def epoch(state, x, y):
            return ffnn.train_epoch(net, OPTIMIZER, state, x, y, batch_size=batch, **layout)

        draw, rows = np.random.default_rng(0), STEPS * batch
        x = draw.standard_normal((rows, net.sizes[0])).astype(np.float32)
        y = draw.integers(0, net.sizes[-1], rows).astype(np.int32)
        self.data = tuple(jax.device_put(t) if home is None else split(t, home) for t in (x, y))
        self.compiled = jax.jit(epoch).lower(self.state, *self.data).compile()
        self.seconds()

    def seconds(self) -> float:
        """Of one step."""
        start = time.perf_counter()
        jax.block_until_ready(self.compiled(self.state, *self.data))
        return (time.perf_counter() - start) / STEPS

    def held(self) -> int:
        """Bytes of parameters and optimizer state on the first device of this process."""
        first = jax.local_devices()[0]
        return sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves((self.state.params, self.state.opt_state))
            for shard in leaf.addressable_shards
            if shard.device == first
        )


def split(t: np.ndarray, home: jax.sharding.NamedSharding) -> jax.Array:
    return jax.make_array_from_callback(t.shape, home, lambda index: t[index])


def mesh_of(shape: tuple[int, int]):
    kinds = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh(shape, ("data", "model"), axis_types=kinds)


def alone(net, batch: int) -> Training | None:
    """One device with the same batch, which process 0 has for itself."""
    if jax.process_index() > 0:
        return None
    return Training(net, None, batch)


def measure(net, shape: tuple[int, int], one: Training | None, batch: int, rounds: int) -> dict:
    """A layout beside one device, in turns."""
    many = Training(net, mesh_of(shape), batch)
    times, best = [], []
    for repeat in range(rounds + 1):
        for training, found in ((one, best), (many, times))[:: 1 if repeat % 2 else -1]:
            if training is not None:
                found.append(training.seconds())
    moved = collectives(many.compiled, mesh=many.mesh)
    expected = expected_collectives(net, many.mesh, many.placement, batch, steps=STEPS)
    ratios = [a / b for a, b in zip(best[1:], times[1:], strict=False)]
    return {
        "batch": batch,
        "ms": statistics.median(times[1:]) * 1e3,
        "examples_per_s": batch / statistics.median(times[1:]),
        "of_best": statistics.median(ratios) if ratios else None,
        "sent_bytes_a_step": round(sum(e.sent * (e.times or 0) for e in moved) / STEPS),
        "as_expected": collective_totals(moved, unknown=1)
        == collective_totals(expected, unknown=1),
        "table": collectives_table(moved),
        "state_bytes": many.held(),
        "temp_bytes": many.compiled.memory_analysis().temp_size_in_bytes,
    }


def worker(arguments: argparse.Namespace) -> None:
    """One process of a measurement; the first one prints it."""
    job = json.loads(arguments.worker)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", job["devices"] // job["processes"])
    start_processes(
        coordinator=job["coordinator"],
        num_processes=job["processes"],
        process_id=job["process"],
        timeout=60.0,
    )
    net = ffnn.Network(tuple(job["sizes"]), output="softmax")
    records = {name: {"shape": shape} for name, shape in meshes(job["devices"]).items()}
    for kind, batch in (("strong", job["batch"]), ("weak", job["batch"] // 8 * job["devices"])):
        one = alone(net, batch)
        for record in records.values():
            record[kind] = measure(net, record["shape"], one, batch, job["rounds"])
    if job["process"] == 0:
        print(json.dumps(records))


def in_processes(job: dict[str, object]) -> dict[str, dict]:
    """Runs the job in as many processes as it says."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        job = {**job, "coordinator": f"127.0.0.1:{found.getsockname()[1]}"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps({**job, "process": process})],
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(int(str(job["processes"])))
    ]
    try:
        written = [process.communicate(timeout=TIMEOUT)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    if any(process.returncode for process in running):
        raise SystemExit(f"scaling: a process of {job} has failed")
    return json.loads(written[0].splitlines()[-1])


# All of them -------------------------------------------------------------------------------------


def show(processes: int, devices: int, name: str, record: dict) -> None:
    for kind in ("strong", "weak"):
        r = record[kind]
        print(
            f"{processes:3}{devices:4}  {name:13}{kind:7}{r['batch']:6}{r['ms']:9.1f} ms"
            f"{r['examples_per_s']:10,.0f}/s{r['of_best']:7.2f}"
            f"{r['sent_bytes_a_step'] / 2**20:9.2f} MiB {'=' if r['as_expected'] else '≠'}"
            f"{r['state_bytes'] / 2**20:9.2f}{r['temp_bytes'] / 2**20:9.2f} MiB",
            flush=True,
        )


def on_paper() -> list[dict[str, object]]:
    """8 and 256 H100s, each with 1024 examples a step."""
    records = []
    for name, sizes in ON_PAPER.items():
        net = ffnn.Network(sizes, output="softmax")
        rows = [links.calculate(net, layout, shape, 1024) for layout, shape in links.LAYOUTS]
        links.show(name, rows)
        records.append({"network": name, "rows": [row._asdict() for row in rows]})
    return records


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network, 1 and 2 devices")
    parser.add_argument("--devices", type=numbers, help="1,2,4,8 unless told")
    parser.add_argument("--processes", type=numbers, default=[1, 2], help="1,2 unless told")
    parser.add_argument("--rounds", type=int, help="5 unless told")
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    card = begin(arguments.json)
    sizes, batch = QUICK if arguments.quick else FULL
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    print(f"{'-'.join(map(str, sizes))}, Adam, {STEPS} steps an epoch, {os.cpu_count()} cores")
    print(
        "processes, devices, layout, batch, a step, of best, sent, = arithmetic, state, temporary"
    )
    records = []
    for devices in arguments.devices or ([1, 2] if arguments.quick else [1, 2, 4, 8]):
        for processes in (p for p in arguments.processes if devices % p == 0):
            job = {"devices": devices, "processes": processes, "rounds": rounds}
            found = in_processes({**job, "sizes": sizes, "batch": batch})
            for name, record in found.items():
                show(processes, devices, name, record)
                records.append({"devices": devices, "processes": processes, "layout": name})
                records[-1] |= record
    for record in records:
        if record["processes"] == 1 and record["devices"] == records[-1]["devices"]:
            print(f"an epoch on {record['devices']} devices, {record['layout']}:")
            print(record["strong"]["table"])
    paper = on_paper()
    put_out(
        {"machine": card, "sizes": sizes, "measured": records, "on_paper": paper}, arguments.json
    )


if __name__ == "__main__":
    main()
