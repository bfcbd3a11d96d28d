"""Does the checker leave right networks alone? Alarms over many draws of parameters and data.

    python scripts/alarms.py [--draws 1000] [--short 200]

ReLU networks [8, w, w, 4] with w from 16 to 512 in float32, for every draw new parameters, data and
cotangents; and networks of every activation in bfloat16 and float16. Each is put to what
`check_gradients` does at one point; the functions are compiled once for each shape. An alarm is a
leaf found wrong, `unsure` one that could not be decided. Exit status 1 if there is any. The last
line of stdout is one JSON object.
"""

import argparse
import json
import pathlib
import sys
from functools import partial

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp

import ffnn_jax as ffnn
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.gradcheck.check import cotangents_of
from ffnn_jax.gradcheck.draw import Draw
from ffnn_jax.gradcheck.examine import Examined
from ffnn_jax.gradcheck.judge import Judge
from ffnn_jax.gradcheck.point import Point, on_leaves
from ffnn_jax.gradcheck.primal import Traced
from ffnn_jax.gradcheck.voices import Voices, widened

WIDTHS = (16, 32, 64, 128, 256, 512)


def drawn(net: ffnn.Network, dtype: str, key: jax.Array) -> tuple:
    """(params, x, y): He start with biases that are not 0, normal x, classes."""
    a, b, c, d = jax.random.split(key, 4)
    params = ffnn.init(net, a)
    noise = jax.random.split(b, len(params))
    params = tuple(
        ffnn.Layer(W, 0.1 * jax.random.normal(k, bias.shape))
        for k, (W, bias) in zip(noise, params, strict=True)
    )
    params = jax.tree.map(lambda t: t.astype(dtype), params)
    x = jax.random.normal(c, (16, net.sizes[0])).astype(dtype)
    return params, x, jax.random.randint(d, (16,), 0, net.sizes[-1])


def verdicts(net: ffnn.Network, dtype: str, draws: int, seed: int):
    """The report of every leaf, for each draw."""

    def fn(params, x, y):
        return ffnn.loss(net, params, x, y), ffnn.apply(net, params, x)

    voices = None
    for key in jax.random.split(jax.random.key(seed), draws):
        point = Point.of(drawn(net, dtype, key), None)
        if voices is None:
            y = point.everything[-1]
            rule = partial(on_leaves, fn, point)
            voices = Voices(rule, Traced.of(rule, point.leaves), point.leaves)
        point = point._replace(everything=[*point.everything[:-1], y])  # compiled with these
        wide, cotangents = widened(point.leaves), cotangents_of(voices.outputs, key)
        judge = Judge(voices, wide, [Draw(voices, point.leaves, wide, c) for c in cotangents])
        found = [judge.verdict(i) for i in range(len(point.leaves))]
        examined = Examined(voices, point, judge, found)
        yield [examined.leaf(i) for i in range(len(point.leaves))] + list(examined.values())


def count(name: str, net: ffnn.Network, dtype: str, draws: int, seed: int) -> dict:
    """One row of the table."""
    row = {"network": name, "dtype": dtype, "draws": draws, "leaves": 0, "alarms": 0, "unsure": 0}
    for leaves in verdicts(net, dtype, draws, seed):
        for leaf in leaves:
            row["leaves"] += 1
            row["alarms"] += leaf.ok is False
            row["unsure"] += leaf.ok is None
            if leaf.ok is not True:
                print(f"{name} {dtype}: {leaf}", file=sys.stderr)
    print(f"{name:24}  {dtype:9}  " + "  ".join(f"{row[k]:6}" for k in list(row)[2:]), flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000, help="of ReLU networks in float32")
    parser.add_argument("--short", type=int, default=200, help="in each of the short dtypes")
    parser.add_argument("--width", type=int, help="of ReLU networks, one in place of several")
    arguments = parser.parse_args()
    print(f"{'network':24}  {'dtype':9}   draws  leaves  alarms  unsure")
    rows = []
    widths = (arguments.width,) if arguments.width else WIDTHS
    each = -(-arguments.draws // len(widths))
    for i, width in enumerate(widths):
        net = ffnn.Network((8, width, width, 4), output="softmax")
        rows.append(count(f"[8, {width}, {width}, 4] relu", net, "float32", each, i))
    each = -(-arguments.short // len(ACTIVATIONS))
    for dtype in ("bfloat16", "float16"):
        for i, g in enumerate(ACTIVATIONS):
            net = ffnn.Network((8, 32, 32, 4), activation=g, output="softmax")
            rows.append(count(f"[8, 32, 32, 4] {g}", net, dtype, each, 100 + i))
    total = {k: sum(row[k] for row in rows) for k in ("draws", "leaves", "alarms", "unsure")}
    print(json.dumps({"jax": jax.__version__, **total, "rows": rows}))
    return int(total["alarms"] + total["unsure"] > 0)


if __name__ == "__main__":
    jnp.zeros(())
    sys.exit(main())
