"""Does a plain feedforward network, trained with hand-written backprop, learn Fashion-MNIST?

Two hidden layers of 512 relu units and a softmax, ten epochs of Adam. The bar is a test accuracy
of 0.885. The test images serve as validation data: they are looked at after each epoch, and
nothing is chosen by them; the result is that of the last epoch.

  python scripts/fashion_mnist.py [--data DIR] [--epochs 10] [--seed 0]

The data, 60,000 and 10,000 grey images of 28 × 28 pixels in ten classes (Xiao, Rasul and Vollgraf
2017), are those of Debian's package dataset-fashion-mnist: from DIR if given, else from
data/fashion-mnist in this repository or from where the package installs them; and if they are in
neither, the package is downloaded with apt-get (no root needed) and unpacked into the former.

The last line of stdout is one JSON object.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ffnn_jax as ffnn

SIZES = (784, 512, 512, 10)
BATCH_SIZE = 128
PEAK_RATE = 1e-3
PACKAGE = "dataset-fashion-mnist"
INSTALLED = pathlib.Path("/usr/share/datasets/fashion-mnist")  # by the Debian package
FETCHED = pathlib.Path(__file__).resolve().parents[1] / "data" / "fashion-mnist"
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class DataError(Exception):
    """The data are not to be had, with one line that says why."""


# The files ----------------------------------------------------------------------------------------


def locate(folder):
    """The four files in a folder, compressed or not, or None if one is missing."""
    found = []
    for name in FILES:
        paths = [path for path in (folder / f"{name}.gz", folder / name) if path.is_file()]
        found += paths[:1]
    return found if len(found) == len(FILES) else None


def find(folder):
    """The four files: in the folder asked for, or where they are already, or fetched."""
    if folder is not None:
        paths = locate(folder)
        if paths is None:
            raise DataError(f"--data {folder}: expected {', '.join(FILES)}, each as it is or .gz")
        return paths
    for place in (FETCHED, INSTALLED):
        paths = locate(place)
        if paths is not None:
            return paths
    fetch()
    return locate(FETCHED)


def fetch():
    """Debian's package, unpacked; the files appear under their names only when they are whole."""
    print(f"fetching {PACKAGE} with apt-get", file=sys.stderr)
    FETCHED.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FETCHED.parent) as temporary:
        folder = pathlib.Path(temporary)
        run(["apt-get", "download", PACKAGE], folder)
        for package in folder.glob("*.deb"):
            run(["dpkg-deb", "-x", package.name, "unpacked"], folder)
        unpacked = locate(folder / "unpacked" / INSTALLED.relative_to("/"))
        if unpacked is None:
            raise DataError(f"{PACKAGE} did not bring {', '.join(FILES)}: use --data DIR")
        FETCHED.mkdir(exist_ok=True)
        for path in unpacked:
            path.replace(FETCHED / path.name)


def run(command, folder):
    """One command, or the reason why it failed in one line."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DataError(
            f"{command[0]} is not on this machine, so {PACKAGE} cannot be fetched: use --data DIR"
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise DataError(f"{' '.join(command)} failed ({said}): use --data DIR")


def read(folder):
    """((x, y), (x_test, y_test)): x float32 (N, 784), mean 0, deviation 1; y uint8 (N,)."""
    try:
        images, labels, test_images, test_labels = (ffnn.read_idx(path) for path in find(folder))
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    x, x_test = (part.reshape(len(part), -1) / np.float32(255) for part in (images, test_images))
    mean, deviation = x.mean(dtype=np.float64), x.std(dtype=np.float64)
    x, x_test = (((part - mean) / deviation).astype(np.float32) for part in (x, x_test))
    return (x, labels), (x_test, test_labels)


# The network --------------------------------------------------------------------------------------


def train(data, test, epochs, seed):
    """(net, result of `fit`): Adam; its rate rises for half an epoch, then falls as a cosine."""
    net = ffnn.Network(SIZES, activation="relu", output="softmax")
    steps = math.ceil(len(data[0]) / BATCH_SIZE)
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0, peak_value=PEAK_RATE, warmup_steps=steps // 2, decay_steps=epochs * steps
    )
    result = ffnn.fit(
        net,
        data,
        key=jax.random.key(seed),
        optimizer=optax.adam(rate),
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation=test,
    )
    return net, result


def report(net, result, test, seconds, seed):
    """One line an epoch, the accuracy, and everything once more as JSON."""
    history = result.history
    rows = zip(history.loss, history.validation_loss, history.validation_accuracy, strict=True)
    for epoch, (loss, test_loss, accuracy) in enumerate(rows, start=1):
        print(f"epoch {epoch:2d}  loss {loss:.4f}  test {test_loss:.4f}  accuracy {accuracy:.4f}")
    x, y = test
    classes = jnp.argmax(ffnn.apply(net, result.params, x), axis=-1)
    accuracy = float(np.mean(np.asarray(classes) == y))
    print(f"test accuracy {accuracy:.3f}")
    summary = {
        "accuracy": accuracy,
        "loss": float(ffnn.loss(net, result.params, x, y)),
        "seconds": round(seconds, 2),
        "epochs": len(history.loss),
        "seed": seed,
        "sizes": net.sizes,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(result.params)),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    print(json.dumps(summary))


def main():
    """Reads the arguments; exit code 1 and one line on stderr if there are no data."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, metavar="DIR", help="folder of the four files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {options.epochs}")
    try:
        data, test = read(options.data)
    except DataError as error:
        sys.exit(f"fashion_mnist: {error}")
    start = time.perf_counter()
    net, result = train(data, test, options.epochs, options.seed)
    report(net, result, test, time.perf_counter() - start, options.seed)


if __name__ == "__main__":
    main()
