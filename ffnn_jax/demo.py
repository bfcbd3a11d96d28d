"""The main job: real handwritten digits, gradients checked, a network trained, its speed.

Everything is printed for a reader who does not know JAX.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ffnn_jax.backprop import apply, loss
from ffnn_jax.data import load_digits, split
from ffnn_jax.fitting import fit
from ffnn_jax.gradcheck import Report, check_gradients
from ffnn_jax.network import Network, init, loss_autodiff
from ffnn_jax.training import init_state, train_epoch

NET = Network((64, 128, 64, 10), activation="relu", output="softmax")
BATCH_SIZE = 32
RATE = 2e-3
QUANTITIES = {".W": "∇W", ".b": "∇b"}


def run_demo(*, quick: bool = False, seed: int = 0) -> dict[str, float]:
    """Prints the demonstration.

    Args:
      quick: a few epochs and rounds in place of enough for the full accuracy.
      seed: of the parameters and the shuffles.

    Returns:
      `accuracy` on the test digits and `ratio`, the time of an epoch by hand over autodiff's.

    Raises:
      ModuleNotFoundError: scikit-learn, whose wheel holds the digits, is not installed.
    """
    train, test = split(*load_digits(), fraction=0.2, seed=0)
    key = jax.random.key(seed)
    _say_what(train, test)
    _show_gradients(key, *train)
    accuracy = _train(key, train, test, epochs=5 if quick else 40)
    ratio = _race(key, train, rounds=5 if quick else 25)
    return {"accuracy": accuracy, "ratio": ratio}


def _say_what(train: Any, test: Any) -> None:
    device = jax.devices()[0]
    print(f"ffnn_jax on jax {jax.__version__}, {device.platform} ({device.device_kind})")
    print()
    print("1. The data: photographs of handwritten digits, 8 × 8 grey pixels each.")
    print(f"   {len(train[0])} to learn from, {len(test[0])} put aside for the test. One of them:")
    print()
    for row in train[0][0].reshape(8, 8):
        print("      " + "".join(" ░▒▓█"[min(int(5 * pixel), 4)] * 2 for pixel in row))
    print(f"      its label: {train[1][0]}")
    print()
    widths = " → ".join(map(str, NET.sizes))
    count = sum(m * n + n for m, n in zip(NET.sizes[:-1], NET.sizes[1:], strict=True))
    print(f"   The network: {widths} units, joined by {count:,} weights and biases.")
    print("   Hidden units pass on what is above 0 (relu); the last ten become probabilities, one")
    print("   for each digit (softmax).")
    print()


def _show_gradients(key: jax.Array, x: np.ndarray, y: np.ndarray) -> None:
    print("2. The gradient. Backprop is written by hand in ffnn_jax/backprop.py; here it is held")
    print("   against JAX's automatic differentiation. Both are computed in float32, and their")
    print(
        "   errors are measured against the same gradient in float64: float32 rounds every number"
    )
    print("   to 1e-7 of its size, so a few times that is all there can be.")
    print()
    report = check_gradients(loss, (NET, init(NET, key), x[:64], y[:64]), argnums=(1, 2))
    for line in _table(report):
        print("   " + line)
    print()
    if not report.ok:
        raise AssertionError("the hand-written gradient is wrong; see the table above")


def _table(report: Report) -> list[str]:
    lines = [f"{'gradient':10}{'by hand':>10}{'automatic':>12}   verdict"]
    for leaf in report.leaves:
        verdict = "right" if leaf.ok else f"WRONG ({leaf.diagnosis})"
        lines.append(
            f"{_quantity(leaf.path):10}{leaf.error:>10.1e}{leaf.autodiff:>12.1e}   {verdict}"
        )
    return lines


def _quantity(path: str) -> str:
    """`args[1][0].W` is ∇W_1 in the lecture's words; `args[2]` is ∇x."""
    if not path.endswith(tuple(QUANTITIES)):
        return "∇x"
    layer, name = path.removeprefix("args[1][").split("]")
    return f"{QUANTITIES[name]}_{int(layer) + 1}"


def _train(key: jax.Array, train: Any, test: Any, epochs: int) -> float:
    print(
        f"3. Training: {epochs} times through the data (epochs), {BATCH_SIZE} digits a step. A step"
    )
    print("   moves the weights against the gradient (by adam, which sets each weight's pace).")
    print("   The loss is −log of the probability given to the right digit: 2.3 is guessing.")
    print(flush=True)
    start = time.perf_counter()
    result = fit(
        NET,
        train,
        key=key,
        optimizer=optax.adam(RATE),
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation=test,
    )
    seconds = time.perf_counter() - start
    right = np.asarray(jnp.argmax(apply(NET, result.params, test[0]), axis=-1)) == test[1]
    accuracies = result.history.validation_accuracy
    assert accuracies is not None  # there are validation data, and the outputs are classes
    seen = zip(result.history.loss, accuracies, strict=True)
    for epoch, (value, share) in enumerate(seen, start=1):
        if epoch in (1, 2, 5, 10, 20, epochs):
            print(f"   epoch {epoch:3}: loss {value:.4f}, accuracy on the test digits {share:.4f}")
    print(f"   {seconds:.1f} s, compilation included.")
    print()
    print(
        f"   test accuracy {right.mean():.4f}: {right.sum()} of {len(right)} digits"
        " it was never trained on."
    )
    print()
    return float(right.mean())


def _race(key: jax.Array, train: Any, rounds: int) -> float:
    print("4. Speed: the same compiled epoch, with the gradient by hand and by jax.grad, in turn.")
    print()
    optimizer = optax.adam(RATE)
    x, y = map(jnp.asarray, train)
    epochs = {"by hand": _epoch(optimizer, loss), "jax.grad": _epoch(optimizer, loss_autodiff)}
    seconds = race(epochs, lambda: (NET, init_state(NET, optimizer, key), x, y), rounds)
    for name, times in seconds.items():
        median, low, high = statistics.median(times), min(times), max(times)
        print(
            f"   {name:9}{len(x) / median:>11,.0f} digits/s   "
            f"{median * 1e3:.2f} ms an epoch ({low * 1e3:.2f} to {high * 1e3:.2f})"
        )
    pairs = zip(seconds["by hand"], seconds["jax.grad"], strict=True)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(
        f"   time by hand ÷ time of jax.grad: {ratio:.2f} (median of {rounds} pairs; 1 is a draw)"
    )
    print()
    print("Next: README.md, from “First use” on.")
    return ratio


def race(
    contestants: dict[str, Callable[..., Any]], start: Callable[[], tuple[Any, ...]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each, (rounds,), in turn; the first round, which warms up, does not count.

    Args:
      contestants: functions by name; each call is waited for.
      start: gives the arguments of a call, outside the time that is taken.
      rounds: how many calls of each count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(rounds + 1):
        for name, contestant in contestants.items():
            arguments = start()
            began = time.perf_counter()
            jax.block_until_ready(contestant(*arguments))
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _epoch(optimizer: optax.GradientTransformation, objective: Callable[..., jax.Array]):
    def epoch(net, state, x, y):
        return train_epoch(net, optimizer, state, x, y, batch_size=BATCH_SIZE, objective=objective)

    return jax.jit(epoch, donate_argnames="state")
