"""From a CSV to a model: how right, and how long, beside scikit-learn's MLP of the same size?

    python benchmarks/tables.py [--sets iris,wine,breast_cancer,diabetes,digits] [--seeds 5]
                                [--fashion DIR] [--json FILE]

Regime: scikit-learn's real sets, made into tables with holes: every third column is cut at its
quartiles into four words, 8 % of the values of every other column are missing; a quarter of the
rows are kept for the test, another quarter for each seed. `ffnn` is the command line as it stands,
no setting given, whole process: reading, splitting, training, training anew on all rows, and the
gradient check and report (`with report`) or neither (`--no-report`). `scikit-learn` is a process
too: polars, imputation with an indicator, standardisation, one-hot, MLPClassifier or MLPRegressor
with hidden layers of the same sizes (128, 64) and nothing else set. `fit` is the time within the
process that goes into training alone. They take turns. With --fashion DIR, the folder with the four
IDX files, Fashion-MNIST is added, once. The last line of stdout is one JSON object.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import polars as pl
from throughput import begin, put_out

from ffnn_jax.idx import read_idx
from ffnn_jax.tabular.sources import read_source

HIDDEN = (128, 64)
SETS = ("iris", "wine", "breast_cancer", "diabetes", "digits")


def with_holes(name: str) -> pl.DataFrame:
    """A real set as a table of mixed columns with holes; the target is called y."""
    source = read_source(name)
    rows = source.rows
    if isinstance(rows, np.ndarray):
        flat = rows.reshape(len(rows), -1)
        rows = pl.DataFrame({f"pixel {k}": flat[:, k] for k in range(flat.shape[1])})
    draw, columns = np.random.default_rng(0), {}
    for k, column in enumerate(rows.columns):
        values = rows[column].to_numpy().astype(float)
        holes = draw.random(len(values)) < 0.08
        if k % 3 == 1 and name != "digits":
            places = np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)
            words = np.array(["low", "middle", "high", "top"])[places].tolist()
            columns[column] = [None if hole else w for w, hole in zip(words, holes, strict=True)]
        elif k % 2 == 0:
            columns[column] = [None if hole else v for v, hole in zip(values, holes, strict=True)]
        else:
            columns[column] = values
    return pl.DataFrame(columns).with_columns(y=source.target)


def halves(frame: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame[order[len(frame) // 4 :]], frame[order[: len(frame) // 4]]


# The two sides ------------------------------------------------------------------------------------


def run(*words: object) -> tuple[float, str]:
    """Wall seconds of a process, and the last line that it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[1])},
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, (done.stdout.splitlines() or [""])[-1]


def ours(train, test, target: str, folder: pathlib.Path, seed: int, report: bool) -> dict:
    folder = folder / f"run-{seed}-{report}"
    words = ["-m", "ffnn_jax", "train", train, "--target", target, "--run", folder, "--seed", seed]
    seconds, _ = run(*words, "--quiet", *([] if report else ["--no-report"]))
    _, line = run("-m", "ffnn_jax", "evaluate", folder, test[0], "--target", test[1], "--json")
    figures = json.loads(line)
    return {"score": figures.get("accuracy", figures.get("r2")), "seconds": seconds}


def theirs(train, test, target: str, seed: int) -> dict:
    seconds, line = run(__file__, "--peer", train, test[0], target, test[1], seed)
    return {**json.loads(line), "seconds": seconds}


def peer(train: str, test: str, target: str, test_target: str, seed: str) -> None:
    """The other side, in a process of its own."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    warnings.simplefilter("ignore")
    if train.endswith(".csv"):
        x, x_test = pl.read_csv(train, infer_schema_length=None), pl.read_csv(test)
        y, y_test = x[target].to_numpy(), x_test[target].to_numpy()
        x, x_test = x.drop(target), x_test.drop(target)
        words = [name for name in x.columns if x[name].dtype == pl.String]
        numbers = [name for name in x.columns if name not in words]
        scaled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
        one_hot = OneHotEncoder(handle_unknown="ignore")
        prepare = ColumnTransformer([("n", scaled, numbers), ("c", one_hot, words)])
        kind = MLPRegressor if "diabetes" in train else MLPClassifier
    else:
        x, x_test = (read_idx(p).reshape(-1, 784).astype(np.float32) / 255 for p in (train, test))
        y, y_test = read_idx(target), read_idx(test_target)
        prepare, kind = "passthrough", MLPClassifier
    network = make_pipeline(prepare, kind(hidden_layer_sizes=HIDDEN, random_state=int(seed)))
    began = time.perf_counter()
    network.fit(x, y)
    print(json.dumps({"fit": time.perf_counter() - began, "score": network.score(x_test, y_test)}))


# The table ----------------------------------------------------------------------------------------


def measure(name: str, seeds: int, folder: pathlib.Path) -> dict:
    frame = with_holes(name)
    rounds = []
    for seed in range(seeds):
        train, test = folder / f"{name}-{seed}.csv", folder / f"{name}-{seed}-test.csv"
        for part, path in zip(halves(frame, seed), (train, test), strict=True):
            part.write_csv(path)
        rounds.append(one_round(train, (test, "y"), "y", folder / name, seed))
    return summary(name, rounds)


def one_round(train, test, target: str, folder: pathlib.Path, seed: int) -> dict:
    folder.mkdir(exist_ok=True)
    return {
        "scikit-learn": theirs(train, test, target, seed),
        "ffnn": ours(train, test, target, folder, seed, report=False),
        "with report": ours(train, test, target, folder, seed, report=True),
    }


def summary(name: str, rounds: list[dict]) -> dict:
    def median(side, figure):
        return statistics.median(entry[side][figure] for entry in rounds)

    result = {
        "name": name,
        "score": {s: statistics.mean(e[s]["score"] for e in rounds) for s in rounds[0]},
        "seconds": {side: median(side, "seconds") for side in rounds[0]},
        "fit_seconds": median("scikit-learn", "fit"),
    }
    score, seconds = result["score"], result["seconds"]
    print(
        f"{name:14} score {score['scikit-learn']:.4f} {score['ffnn']:.4f}   seconds "
        f"{seconds['scikit-learn']:7.2f} {seconds['ffnn']:7.2f} {seconds['with report']:7.2f}   "
        f"ratio {seconds['ffnn'] / seconds['scikit-learn']:.2f}",
        flush=True,
    )
    return result


def measure_fashion(data: pathlib.Path, folder: pathlib.Path) -> dict:
    files = [
        next(data.glob(f"{part}-{kind}*"))
        for part in ("train", "t10k")
        for kind in ("images", "labels")
    ]
    train, target, test, test_target = map(str, files)
    return summary(
        "fashion-mnist",
        [one_round(train, (test, test_target), target, folder / "fashion", 0)],
    )


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fashion", type=pathlib.Path)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    result = begin(arguments.json)
    print("set            score: scikit-learn, ffnn   seconds: scikit-learn, ffnn, with report")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        chosen = [word for word in arguments.sets.split(",") if word]
        rows = [measure(word, arguments.seeds, folder) for word in chosen]
        if arguments.fashion:
            rows.append(measure_fashion(arguments.fashion, folder))
    put_out({**result, "sets": rows}, arguments.json)


if __name__ == "__main__":
    main()
