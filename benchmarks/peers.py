"""How long does the same epoch take in other libraries, each used as its users use it?

    python benchmarks/peers.py [--quick] [--only A,C] [--peers linen,C] [--optimizer adam]
                               [--rounds 7] [--json FILE]

Regime: one device, float32, SGD 0.01 or Adam 1e-3, relu, softmax and cross-entropy, networks A to
H of throughput.py. Peers: flax linen, flax nnx, equinox, haiku, keras on jax, scikit-learn,
PyTorch, torch.compile and NumPy, each with the loop of its own documentation (peer_loops/), and
the floor, reference.c compiled with cc -O3 -march=native. `ours` is `train_epoch` jitted,
`autodiff` the same epoch with the gradient left to JAX.

All start from the same parameters and see the same batches in the same order. Our time contains
the shuffle; the others find their batches in order and cut, JAX's on the device (keras and
scikit-learn cut for themselves). XLA, BLAS and PyTorch have all the cores, C has one thread.

After a first epoch the parameters and the loss of each peer must be ours; one whose are not is
thrown out. Then all take turns, in an order drawn anew for each round, and every epoch is waited
for. µs a step is the time of an epoch divided by its steps, median and quartiles; ratios are
taken within a round. Whose epoch takes more than a second stops earlier in the rounds. `cold` is
the time of construction and the first step, for us the first epoch, imports not counted; `XLA`
is what of it XLA took to compile. At the end come all networks side by side, in Markdown; the
last line of stdout is one JSON object.
"""

import argparse
import random
import statistics
import sys
import time

import jax
import numpy as np
from peer_loops import PEERS
from peer_loops.task import RATES, Parameters, Peer, Task, is_rounded, make_task
from throughput import CASES, Case, begin, interval, put_out, quartiles

import ffnn_jax as ffnn

# What rounding may do in an epoch: to the parameters, ‖θ − θ_ours‖ / ‖θ_ours − θ_0‖, and to the
# loss, relative. A relu at 0 may open or not; and Adam divides by the size of the gradient: where
# that is next to nothing, rounding decides which way an entry goes, as far as any other.
CHANGE = {"sgd": 1e-2, "adam": 0.1}
LOSS = {"sgd": 1e-4, "adam": 2e-3}
ROUNDED = 5  # times as much under TF32
LONGEST = 1.0  # seconds of an epoch in a round; a slower peer takes fewer steps, one at least
compiling: list[float] = []  # seconds, of every compilation of XLA's


def count_compilation(event: str, seconds: float, **_: object) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        compiling.append(seconds)


def evaluate(task: Task, parameters: Parameters) -> float:
    """ℒ of the whole epoch's data, by our own forward pass."""
    params = tuple(ffnn.Layer(jax.numpy.asarray(W), jax.numpy.asarray(b)) for W, b in parameters)
    return float(jax.jit(ffnn.loss_autodiff)(task.net, params, *task.stored))


def flat(parameters: Parameters) -> np.ndarray:
    return np.concatenate([np.ravel(t) for pair in parameters for t in pair])


def build(task: Task, peer: type[Peer]) -> tuple[Peer, dict[str, object]]:
    """A peer after its first epoch, with the times that took and where it got."""
    peer.load()
    before, start = len(compiling), time.perf_counter()
    made = peer(task)
    made.epoch(task.steps if peer.whole else 1)
    cold = time.perf_counter() - start
    xla = sum(compiling[before:]) if peer.on_jax else None
    made.reset()
    start = time.perf_counter()
    made.epoch(task.steps)
    share = 1.0 if peer.whole else min(1.0, LONGEST / (time.perf_counter() - start))
    parameters = made.parameters()
    return made, {
        "cold_s": cold,
        "compile_s": xla,
        "steps": max(1, int(task.steps * share)),
        "loss": evaluate(task, parameters),
        "parameters": flat(parameters),
    }


def disagreement(task: Task, theirs: dict, ours: dict) -> str | None:
    """Why a peer is thrown out, or None; notes the differences in its record."""
    moved = np.linalg.norm(ours["parameters"] - flat(task.start))
    apart = np.linalg.norm(theirs["parameters"] - ours["parameters"])
    theirs["change_difference"] = float(apart / moved)
    theirs["loss_difference"] = abs(theirs["loss"] / ours["loss"] - 1)
    slack = ROUNDED if is_rounded() else 1
    if (
        theirs["change_difference"] <= slack * CHANGE[task.optimizer]
        and theirs["loss_difference"] <= slack * LOSS[task.optimizer]
    ):
        return None
    return (
        f"computes something else: loss {theirs['loss']:.6f} after the epoch, ours "
        f"{ours['loss']:.6f}; parameters differ by {theirs['change_difference']:.1e} of the way"
    )


def admit(task: Task, names: list[str]) -> tuple[dict[str, Peer], dict[str, dict], dict[str, str]]:
    """Ours and the peers that reach what we reach, their records, and why the others are out."""
    mine, ours = build(task, PEERS["ours"])
    disagreement(task, ours, ours)
    peers, records, out = {"ours": mine}, {"ours": ours}, {}
    for name in names:
        try:
            peer, record = build(task, PEERS[name])
        except ImportError as error:
            out[name] = f"not installed: {error}"
            continue
        except Exception as error:  # a library that fails here must not end the run
            out[name] = f"failed: {type(error).__name__}: {error}"
            continue
        reason = disagreement(task, record, ours)
        if reason:
            out[name] = reason
        else:
            peers[name], records[name] = peer, record
    for record in records.values():
        del record["parameters"]
    return peers, records, out


def take_turns(
    peers: dict[str, Peer], steps: dict[str, int], rounds: int
) -> dict[str, list[float]]:
    """µs a step of each peer in each round."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    draw = random.Random(0)
    for _ in range(rounds):
        for name in draw.sample(list(peers), len(peers)):
            peers[name].reset()
            start = time.perf_counter()
            peers[name].epoch(steps[name])
            times[name].append((time.perf_counter() - start) / steps[name] * 1e6)
    return times


def measure(name: str, case: Case, optimizer: str, names: list[str], rounds: int) -> dict:
    """All peers on one network."""
    task = make_task(case, optimizer)
    peers, records, out = admit(task, names)
    times = take_turns(peers, {peer: records[peer]["steps"] for peer in peers}, rounds)
    for peer, record in records.items():
        us = statistics.median(times[peer])
        ratios = [a / b for a, b in zip(times["ours"], times[peer], strict=True)]
        record["us"], record["us_quartiles"] = us, quartiles(times[peer])
        record["ratio"], record["ratio_quartiles"] = statistics.median(ratios), quartiles(ratios)
        record["ratio_interval"] = interval(ratios)
    record = {"network": name, **case._asdict(), "optimizer": optimizer, "rounds": rounds}
    return {**record, "peers": records, "out": out, **ratios_of(records)}


def ratios_of(records: dict[str, dict]) -> dict[str, object]:
    """Our epoch ÷ that of the fastest JAX peer, of autodiff, and of C, as far as they are there."""
    on_jax = [p for p in records if PEERS[p].on_jax and not PEERS[p].whole]
    best = min(on_jax, key=lambda peer: records[peer]["us"], default=None)
    pairs = {"best JAX peer": best, "autodiff": "autodiff", "C": "C"}
    ratios = {label: records[p]["ratio"] for label, p in pairs.items() if p in records}
    return {"best_jax": best, "ratios": ratios}


def show(record: dict) -> None:
    sizes = "-".join(map(str, record["sizes"]))
    print(
        f"{record['network']}  {sizes}, batch {record['batch']}, {record['steps']} steps of "
        f"{record['optimizer']}, {record['rounds']} rounds\n"
        f"   {'':14}{'µs a step':>12}{'quartiles':>26}{'ours ÷ it':>11}{'quartiles':>17}"
        f"{'cold s':>9}{'XLA s':>7}{'loss':>10}{'θ off by':>10}"
    )
    for name, r in record["peers"].items():
        (low, high), (least, most) = r["us_quartiles"], r["ratio_quartiles"]
        xla = "–" if r["compile_s"] is None else f"{r['compile_s']:.2f}"
        print(
            f"   {name:14}{r['us']:12.1f}{f'{low:.1f} to {high:.1f}':>26}{r['ratio']:11.3f}"
            f"{f'{least:.3f} to {most:.3f}':>17}{r['cold_s']:9.2f}{xla:>7}{r['loss']:10.5f}"
            f"{r['change_difference']:10.0e}"
        )
    for name, reason in record["out"].items():
        mark = "   " if reason.startswith("not installed") else "!!!"
        print(f"{mark}{name:14}OUT: {reason}")
    for label, ratio in record["ratios"].items():
        which = f" ({record['best_jax']})" if label == "best JAX peer" else ""
        print(f"   ours ÷ {label}{which} {ratio:.3f}")
    sys.stdout.flush()


def summary(records: list[dict]) -> str:
    """All networks side by side, in Markdown: µs a step, and our epoch ÷ three others."""
    rows = [(peer, ",.1f", [r["peers"].get(peer, {}).get("us") for r in records]) for peer in PEERS]
    for label in ("best JAX peer", "autodiff", "C"):
        rows.append((f"ours ÷ {label}", ".3f", [r["ratios"].get(label) for r in records]))
    lines = [["µs a step", *(r["network"] for r in records)], ["---"] * (len(records) + 1)]
    for name, form, row in rows:
        if any(row):
            lines.append([name, *(format(cell, form) if cell else "–" for cell in row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="A to E, short epochs, three rounds")
    parser.add_argument("--only", help="networks, such as A,C")
    parser.add_argument("--peers", help=f"of {', '.join(list(PEERS)[1:])}; ours is always there")
    parser.add_argument("--optimizer", choices=list(RATES), default="sgd")
    parser.add_argument("--rounds", type=int, help="7 unless told; 3 for H")
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    chosen = "ABCDE" if arguments.quick else CASES
    arguments.networks = arguments.only.split(",") if arguments.only else list(chosen)
    names = arguments.peers.split(",") if arguments.peers else PEERS
    arguments.names = [name for name in names if name != "ours"]
    for option, given, known in (
        ("--only", arguments.networks, CASES),
        ("--peers", arguments.names, PEERS),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"{option}: {unknown[0]!r} is not one of {', '.join(known)}")
    if arguments.rounds is not None and arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    return arguments


def main() -> None:
    arguments = parse()
    jax.monitoring.register_event_duration_secs_listener(count_compilation)
    card = begin(arguments.json)
    records = []
    for name in arguments.networks:
        case = CASES[name]
        if arguments.quick:
            case = case._replace(steps=min(case.steps, 100))
        rounds = arguments.rounds or (3 if arguments.quick or name == "H" else 7)
        records.append(measure(name, case, arguments.optimizer, arguments.names, rounds))
        show(records[-1])
    print(summary(records))
    put_out({"machine": card, "networks": records}, arguments.json)


if __name__ == "__main__":
    main()
