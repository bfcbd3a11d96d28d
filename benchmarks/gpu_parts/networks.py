"""Networks A to H in other libraries, by `peers.py`: ours, jax.grad, flax, equinox, torch.

With JAX's own setting of precision, TF32 on a card that has it, for PyTorch too; of two networks
with full float32 as well. Epochs are short: a few steps of a large network, 200 of a small one.
"""

from collections.abc import Iterator

import jax
import peers
from throughput import CASES

from gpu_parts.ceiling import step_work
from gpu_parts.part import Point, Time, attempt

NAMES = ["autodiff", "linen", "nnx", "equinox", "torch"]
COMPILED = ("C", "E", "G")  # with torch.compile, which takes its time to compile
ORDER = [(name, "default") for name in "ECGHFADB"]
ORDER[4:4] = [("G", "highest"), ("E", "highest")]
MOST_STEPS = 200


def measure(name: str, precision: str, dry: bool) -> Point:
    case = CASES[name]
    steps = min(case.steps, 2 if dry else MOST_STEPS) if name in "ABCD" else 10
    case = case._replace(steps=1 if dry else steps)
    names = NAMES + ["torch.compile"] * (name in COMPILED and precision == "default")
    with jax.default_matmul_precision(precision):
        record = peers.measure(name, case, "sgd", names, 2 if dry else 7)
    peers.show(record)
    arithmetic = "float32" if precision == "highest" else "tf32"
    failed = {p: why for p, why in record["out"].items() if not why.startswith("not installed")}
    record["variants"] = record.pop("peers")
    record["work"] = step_work(case.sizes, case.batch, arithmetic)
    if failed:
        record["error"] = "; ".join(f"{peer} {why}" for peer, why in failed.items())
    return record


def points(allowed: Time) -> Iterator[Point]:
    jax.monitoring.register_event_duration_secs_listener(peers.count_compilation)
    for name, precision in [("A", "default")] if allowed.dry else ORDER:
        what = {"what": "epoch", "network": name, "precision": precision}
        yield attempt(what, measure, name, precision, allowed.dry)
