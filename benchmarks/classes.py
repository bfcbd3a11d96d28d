"""What does a loss over 50,000 classes cost when the classes are taken in blocks?

    python benchmarks/classes.py [--classes 50000] [--width 256] [--batch 512] [--rounds 9]
                                 [--json FILE]

Regime: one device, float32, one layer with softmax and cross-entropy; value and gradient of the
loss by params and x. Variants, jitted: `blocks` (`ffnn.loss` with the plan as it stands, which
takes blocks by itself where a_L is large), `whole` (`Plan(class_blocks=False)`) and `autodiff`
(`loss_autodiff`). They take turns, round by round in changing order; every call is waited for; a
first round does not count; compile time is apart; time ratios are taken within a round, temporary
memory is XLA's own figure. The last line of stdout is one JSON object.
"""

import argparse
import statistics
import time

import jax
from throughput import begin, put_out, quartiles

import ffnn_jax as ffnn

VARIANTS = {
    "blocks": (ffnn.loss, ffnn.Plan()),
    "whole": (ffnn.loss, ffnn.Plan(class_blocks=False)),
    "autodiff": (ffnn.loss_autodiff, ffnn.Plan()),
}
BAR_MEMORY, BAR_TIME = 0.1, 0.75  # of blocks, beside autodiff


def measure(classes: int, width: int, batch: int, rounds: int) -> dict[str, object]:
    """Time and memory of all three, and their ratios to autodiff."""
    draw_params, draw_x, draw_y = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(draw_x, (batch, width))
    y = jax.random.randint(draw_y, (batch,), 0, classes)
    runs, nets, compile_s = {}, {}, {}
    for variant, (loss, plan) in VARIANTS.items():
        nets[variant] = ffnn.Network((width, classes), output="softmax", plan=plan)
        params = ffnn.init(nets[variant], draw_params)
        start = time.perf_counter()
        gradient = jax.jit(jax.value_and_grad(loss, argnums=(1, 2)))
        runs[variant] = gradient.lower(nets[variant], params, x, y).compile()
        compile_s[variant] = time.perf_counter() - start
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for repeat in range(rounds + 1):
        for variant in list(VARIANTS)[:: 1 if repeat % 2 else -1]:
            start = time.perf_counter()
            jax.block_until_ready(runs[variant](nets[variant], params, x, y))
            if repeat:
                times[variant].append(time.perf_counter() - start)
    temp = {v: run.memory_analysis().temp_size_in_bytes for v, run in runs.items()}
    record: dict[str, object] = {"classes": classes, "width": width, "batch": batch}
    for variant in VARIANTS:
        ratios = [t / a for t, a in zip(times[variant], times["autodiff"], strict=True)]
        record[variant] = {
            "ms": statistics.median(times[variant]) * 1e3,
            "ratio": statistics.median(ratios),
            "ratio_quartiles": quartiles(ratios),
            "compile_s": compile_s[variant],
            "temp_bytes": temp[variant],
            "memory_ratio": temp[variant] / temp["autodiff"],
        }
    return record


def show(record: dict) -> None:
    print(f"{record['batch']} examples × {record['width']} → {record['classes']} classes")
    for variant in VARIANTS:
        r = record[variant]
        low, high = r["ratio_quartiles"]
        print(
            f"   {variant:9}{r['ms']:9.1f} ms   ÷ autodiff {r['ratio']:.3f}"
            f" ({low:.3f} to {high:.3f})   compile {r['compile_s']:5.2f} s"
            f"   temp {r['temp_bytes'] / 2**20:7.1f} MiB   ÷ autodiff {r['memory_ratio']:.3f}"
        )
    print(f"   allowed for blocks: time {BAR_TIME}, memory {BAR_MEMORY}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", metavar="FILE", help="write the JSON object there as well")
    arguments = parser.parse_args()
    shape = arguments.classes, arguments.width, arguments.batch
    if min(shape) < 1 or arguments.rounds < 2:
        parser.error("--classes, --width, --batch: at least 1; --rounds: at least 2")
    card = begin(arguments.json)
    record = measure(*shape, arguments.rounds)
    show(record)
    put_out({"machine": card, **record}, arguments.json)


if __name__ == "__main__":
    main()
