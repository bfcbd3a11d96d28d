"""Rewrite the README's tables of figures from the JSON files that the benchmarks left.

    python scripts/bench_tables.py [--results benchmarks/results] [--readme README.md]

For each table NAME what stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` is
replaced; all the rest stays as it is. A result or a marker that is missing is an error, and then
nothing is written. `scripts/bench` runs this last.
"""

import argparse
import json
import os
import pathlib
import shutil
import tempfile

ROOT = pathlib.Path(__file__).parent.parent
MIB = 2**20


def caption(record: dict, name: str, what: str) -> list[str]:
    """What was measured, by which command and on what; and the empty line before a table."""
    card = record["machine"]
    where = f"{card['cores']} CPU cores" if card["platform"] == "cpu" else card["device"]
    return [f"{what} (`python benchmarks/{name}.py`; {where}, jax {card['jax']}):", ""]


def grid(*rows: list[str]) -> list[str]:
    """A table in Markdown; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def with_spread(entry: dict, key: str = "ratio") -> str:
    low, high = entry[f"{key}_quartiles"]
    return f"{entry[key]:.2f} ({low:.2f}–{high:.2f})"


def throughput(record: dict) -> list[str]:
    networks = record["networks"]
    spreads = [network["ratio scan quartiles"] for network in networks]

    def temporary(rule):
        bytes_ = [network[f"{rule} step"]["temp_bytes"] for network in networks]
        return [f"{b / MIB:.2f}" if b < 10 * MIB else f"{b / MIB:.0f}" for b in bytes_]

    what = (
        "A compiled epoch by hand ÷ the same on `jax.grad`, and MiB of temporary memory of a step"
    )
    return caption(record, "throughput", what) + grid(
        ["network", *(network["network"] for network in networks), "median", "worst"],
        [
            "ratio",
            *(f"{network['ratio scan']:.3f}" for network in networks),
            f"{record['median_ratio']:.3f}",
            f"{record['worst_ratio']:.3f}",
        ],
        ["quartiles", *(f"{low:.2f}–{high:.2f}" for low, high in spreads), "", ""],
        ["by hand, MiB", *temporary("by hand"), "", ""],
        ["autodiff, MiB", *temporary("autodiff"), "", ""],
    )


IN_C = "a program in C"  # in a table where C is a network too


def peers(record: dict) -> list[str]:
    networks = record["networks"]
    names = dict.fromkeys(name for network in networks for name in network["peers"])
    rows = []
    for name in names:
        times = [network["peers"].get(name, {}).get("us") for network in networks]
        cells = ["–" if us is None else f"{us:,.1f}" if us < 1000 else f"{us:,.0f}" for us in times]
        rows.append([IN_C if name == "C" else name, *cells])
    for label in ("best JAX peer", "autodiff", "C"):
        ratios = [network["ratios"].get(label) for network in networks]
        if any(ratios):
            cells = ["–" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            rows.append([f"ours ÷ {IN_C if label == 'C' else label}", *cells])
    optimizer = networks[0]["optimizer"]
    head = ["µs a step", *(network["network"] for network in networks)]
    what = f"Epochs of {optimizer}, each library with the loop of its documentation"
    return caption(record, "peers", what) + grid(head, *rows)


def memory(record: dict) -> list[str]:
    table = record["table"]
    labels = {"by hand": "by hand", "autodiff": "autodiff", "checkpoint": "with jax.checkpoint"}
    what = (
        f"{record['layers']} layers × {record['width']}, batch {record['batch']}, in units of one "
        "array a layer"
    )
    return caption(record, "memory", what) + grid(
        ["", *table],
        *([label, *(f"{row[key]:.2f}" for row in table.values())] for key, label in labels.items()),
    )


def keep_every(record: dict) -> list[str]:
    keep = record["keep_every"]
    what = f"{keep['layers']} layers of tanh × {record['width']}, batch {record['batch']}"
    ratios = [["1", "1"], [f"{keep['memory_ratio']:.2f}", with_spread(keep, "time_ratio")]]
    return caption(record, "memory", what) + grid(
        ["`keep_every`", "temporary MiB", "s", "memory ratio", "time ratio (quartiles)"],
        *(
            [f"{s}", f"{keep['temp_bytes'][i] / MIB:.0f}", f"{keep['s'][i]:.2f}", *ratios[i]]
            for i, s in enumerate(keep["keep_every"])
        ),
    )


def compile_time(record: dict) -> list[str]:
    depths = record["depths"]
    base = depths[0]["base"]
    what = (
        "A step of Adam, and an epoch of such steps: seconds of trace + compile, of an epoch both "
        f"in one (÷ those of a step by {base})"
    )

    def seconds(variant: dict) -> str:
        parts = (
            [variant["trace_s"], variant["compile_s"]]
            if variant["trace_s"]
            else [variant["compile_s"]]
        )
        return " + ".join(f"{part:.2f}" for part in parts)

    return caption(record, "compile_time", what) + grid(
        ["layers", *depths[0]["variants"]],
        *(
            [
                f"{depth['layers']}",
                *(f"{seconds(v)} ({v['ratio']:.2f})" for v in depth["variants"].values()),
            ]
            for depth in depths
        ),
    )


def classes(record: dict) -> list[str]:
    what = (
        f"{record['batch']} examples × {record['width']} → {record['classes']:,} classes, gradient "
        "by params and x"
    )
    return caption(record, "classes", what) + grid(
        ["", "ms", "÷ autodiff (quartiles)", "temporary MiB", "÷ autodiff"],
        *(
            [
                label,
                f"{record[label]['ms']:.0f}",
                with_spread(record[label]),
                f"{record[label]['temp_bytes'] / MIB:.1f}",
                f"{record[label]['memory_ratio']:.2f}",
            ]
            for label in ("blocks", "whole", "autodiff")
        ),
    )


def per_example(record: dict) -> list[str]:
    networks = record["networks"]
    what = f"Batch {networks[0]['batch']}: time ÷ that of one plain gradient, and temporary MiB"
    rows = []
    for variant in ("gradient", "norms", "clipped", "vmap"):
        cells = []
        for network in networks:
            entry = network[variant]
            cells += [with_spread(entry), f"{entry['temp_bytes'] / MIB:.1f}"]
        rows.append([variant, *cells])
    head = [cell for n in networks for cell in (f"{n['network']} (quartiles)", "MiB")]
    return caption(record, "per_example", what) + grid(["", *head], *rows)


def many(record: dict) -> list[str]:
    networks = record["networks"]
    what = f"{networks[0]['networks']} networks, µs a step of one of them"
    return caption(record, "many", what) + grid(
        [
            "network",
            "one by one on jax.grad",
            "one by one",
            "at once",
            "÷ one by one on jax.grad",
            "÷ one by one (quartiles)",
            "`fit` of one: speed with patience ÷ without",
        ],
        *(
            [
                f"{'-'.join(map(str, network['sizes']))}, batch {network['batch']}",
                *(f"{network['us_a_step'][v]:.2f}" for v in ("autodiff", "sequential", "many")),
                f"{network['many_to_autodiff']:.2f}",
                with_spread(network, "many_ratio"),
                with_spread(network, "patience_speed"),
            ]
            for network in networks
        ),
    )


def streaming(record: dict) -> list[str]:
    sizes = "-".join(map(str, record["sizes"]))
    what = f"An epoch of {sizes}, {record['rows']:,} rows, batch {record['batch']}"
    return caption(record, "streaming", what) + grid(
        ["rows", "s", "ratio (quartiles)", "memory it grows by, MiB"],
        *(
            [
                label,
                f"{record[label]['s']:.2f}",
                with_spread(record[label]),
                f"{record[label]['peak_mib']:.0f}",
            ]
            for label in ("on device", "streamed")
        ),
    )


TABLES = {  # of each marker: the benchmark whose result it takes, and what makes the table
    "throughput": ("throughput", throughput),
    "peers": ("peers", peers),
    "memory": ("memory", memory),
    "keep_every": ("memory", keep_every),
    "compile_time": ("compile_time", compile_time),
    "classes": ("classes", classes),
    "per_example": ("per_example", per_example),
    "many": ("many", many),
    "streaming": ("streaming", streaming),
}


def read(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SystemExit(f"bench_tables: {path} is not there; scripts/bench makes it") from None
    except json.JSONDecodeError:
        raise SystemExit(f"bench_tables: {path} is no JSON; was its benchmark cut off?") from None


def put_between(text: str, name: str, lines: list[str]) -> str:
    """The text with these lines between the markers of a table."""
    start, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->\n"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed) or text.count(start) > 1 or text.count(end) > 1:
        raise SystemExit(f"bench_tables: not one {start.strip()} … {end.strip()} in the README")
    return before + start + "\n".join(lines) + "\n" + end + after


def replace(path: pathlib.Path, text: str) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    shutil.copymode(path, file.name)
    os.replace(file.name, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--readme", type=pathlib.Path, default=ROOT / "README.md")
    arguments = parser.parse_args()
    text = arguments.readme.read_text(encoding="utf-8")
    for name, (benchmark, table) in TABLES.items():
        text = put_between(text, name, table(read(arguments.results / f"{benchmark}.json")))
    replace(arguments.readme, text)
    print(f"{arguments.readme}: {len(TABLES)} tables written")


if __name__ == "__main__":
    main()
