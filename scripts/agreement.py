"""Does the hand-written gradient agree with autodiff, and which of the two is nearer the truth?

    python scripts/agreement.py [--quick] [--networks 1000] [--seed 0]

Generates networks of all activations, outputs and losses, depths 1 to 6, ragged widths, with and
without weights, classes and distributions: 1,000 in float64 and 200 in each other dtype. For each
leaf (every ∇W_k, ∇b_k and ∇x) three gradients of the loss are taken:

  by hand    jax.grad of ffnn_jax.loss
  autodiff   jax.grad of ffnn_jax.loss_autodiff, in the same dtype
  truth      a NumPy backprop written out below, in long double (float64: autodiff's own error is
             then visible); it shares no code with the library

and the table gives, for each dtype, over all leaves: the worst and the median relative difference
of by hand and autodiff, ‖by hand − autodiff‖ / ‖autodiff‖; the worst error of either against the
truth; the median of (error by hand) / (error of autodiff); how many leaves differ by more than
the bar; and at how many of those by hand is worse than autodiff: more than eight times as far from
the truth, and further than one rounding of each term of the leaf's last sum. Where the sum over the
batch cancels, few digits are left of a leaf, by hand and under autodiff alike: such a leaf is above
the bar, and which of the two is nearer the truth is a matter of luck. Exit status 1 if in float64
any leaf is above the bar, or in any dtype by hand is worse at a leaf above it. The last line of
stdout is one JSON object.
"""

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

import ffnn_jax as ffnn
from ffnn_jax.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from ffnn_jax.outputs import OUTPUTS, OWN_LOSS

BARS = {"float64": 1e-13, "float32": 1e-6, "bfloat16": 3e-2, "float16": 5e-3}
LONG = np.longdouble
CHUNK = 20


# The truth: g and g′, O and ℒ in long double -----------------------------------------------------


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gelu(a):
    root, c = np.sqrt(2 / LONG(np.pi)), LONG(0.044715)
    t = np.tanh(root * (a + c * a**3))
    return a * (1 + t) / 2, (1 + t) / 2 + a * (1 - t * t) / 2 * root * (1 + 3 * c * a * a)


def scaled_elu(a, scale, alpha):
    e = np.expm1(np.minimum(a, 0))
    return scale * np.where(a > 0, a, alpha * e), scale * np.where(a > 0, 1, alpha * (e + 1))


VALUE_AND_DERIVATIVE = {
    "identity": lambda a: (a, np.ones_like(a)),
    "sigmoid": lambda a: (sigmoid(a), sigmoid(a) * sigmoid(-a)),
    "tanh": lambda a: (np.tanh(a), np.cosh(a) ** -2),
    "relu": lambda a: (np.maximum(a, 0), np.where(a > 0, 1, LONG(0))),
    "leaky_relu": lambda a: (np.where(a >= 0, a, a / 100), np.where(a >= 0, 1, LONG(1) / 100)),
    "elu": lambda a: scaled_elu(a, LONG(1), LONG(1)),
    "selu": lambda a: scaled_elu(a, LONG(SELU_SCALE), LONG(SELU_ALPHA)),
    "softplus": lambda a: (np.logaddexp(0, a), sigmoid(a)),
    "gelu": gelu,
    "silu": lambda a: (a * sigmoid(a), sigmoid(a) * (1 + a * sigmoid(-a))),
}


def true_gradients(net, params, x, y, weights):
    """(∇W_k, ∇b_k, …), ∇x by the lecture's chain rule, in long double.

    With each comes the sum of the absolute values of the terms of its last sum.
    """
    h, slopes, hs = x, [], [x]
    for k, (W, b) in enumerate(params, start=1):
        a = h @ W.T + b
        if k < net.depth:
            h, slope = VALUE_AND_DERIVATIVE[net.activations[k - 1]](a)
            slopes.append(slope)
            hs.append(h)
    share = (np.ones(len(x), LONG) if weights is None else weights)[:, None]
    grad = share / share.sum() * output_gradient(net, a, y)
    leaves = []
    for k in range(net.depth, 0, -1):
        W, h, size = params[k - 1][0], hs[k - 1], abs(grad)
        by_W, by_b = (grad.T @ h, size.T @ abs(h)), (grad.sum(axis=0), size.sum(axis=0))
        leaves = [by_W, by_b, *leaves]
        grad, size = grad @ W, size @ abs(W)
        if k > 1:
            grad = grad * slopes[k - 2]
    return [*leaves, (grad, size)]


BY_YHAT = {  # ∂ℓ/∂ŷ, of losses without a kink
    "squared_error": lambda yhat, y: 2 * (yhat - y),
    "cross_entropy": lambda yhat, y: -y / yhat,
    "binary_cross_entropy": lambda yhat, y: (1 - y) / (1 - yhat) - y / yhat,
}


def output_gradient(net, a, y):
    """∂ℓ/∂a_L = J_Oᵀ ∂ℓ/∂ŷ for each example."""
    if net.output == "softmax":
        e = np.exp(a - a.max(axis=1, keepdims=True))
        yhat = e / e.sum(axis=1, keepdims=True)
    else:
        yhat = sigmoid(a) if net.output == "logistic" else a
    by_yhat = BY_YHAT[net.loss](yhat, y)
    if net.output == "softmax":
        return yhat * (by_yhat - (yhat * by_yhat).sum(axis=1, keepdims=True))
    return by_yhat * yhat * (1 - yhat) if net.output == "logistic" else by_yhat


# Generated networks ------------------------------------------------------------------------------


def generate(draw, number):
    """A network and a point, float64; all activations, outputs and depths come up in turn."""
    depth = 1 + number % 6
    sizes = tuple(int(n) for n in draw.integers(1, 33, depth + 1))
    output = list(OUTPUTS)[number // 6 % 3]
    loss = OWN_LOSS[output]
    if output != "linear" and draw.random() < 0.3:
        loss = str(draw.choice(list(BY_YHAT)))
    if output == "softmax":  # one class is certain, and certainty has no gradient
        sizes = (*sizes[:-1], max(2, sizes[-1]))
    names = [str(name) for name in draw.choice(list(ACTIVATIONS), depth - 1)]
    activation = tuple(names) if draw.random() < 0.5 else (names or ["tanh"])[0]
    net = ffnn.Network(sizes, activation, output, loss)
    params = [
        (draw.standard_normal((n, m)) * np.sqrt(2 / (m + n)), 0.1 * draw.standard_normal(n))
        for m, n in itertools.pairwise(sizes)
    ]
    examples = int(draw.integers(1, 65))
    x = draw.standard_normal((examples, sizes[0]))
    if draw.random() < 0.5 and output == "softmax":
        y = np.eye(sizes[-1])[draw.integers(0, sizes[-1], examples)]
    elif output == "linear":
        y = draw.standard_normal((examples, sizes[-1]))
    else:
        y = (
            draw.dirichlet(np.ones(sizes[-1]), examples)
            if sizes[-1] > 1
            else draw.random((examples, 1))
        )
    weights = draw.uniform(0.1, 2, examples) if draw.random() < 0.3 else None
    return net, params, x, y, weights


def relative(found, expected):
    size = np.linalg.norm(expected)
    return float(np.linalg.norm(found - expected) / size) if size else float(np.linalg.norm(found))


def measure(dtype, seed, numbers):
    """(difference, error by hand, error of autodiff, one rounding) of each leaf of each network."""
    rows, eps = [], float(jnp.finfo(dtype).eps)
    with jax.enable_x64(dtype == "float64"):
        for number in numbers:
            net, *point = generate(np.random.default_rng([seed, number]), number)
            point = jax.tree.map(lambda t: t.astype(jnp.dtype(dtype)), point)
            exact = jax.tree.map(lambda t: np.asarray(t, LONG), point)
            params, x, y, weights = point
            params = tuple(ffnn.Layer(*layer) for layer in params)

            def both(params, x, net=net, y=y, weights=weights):
                return [
                    jax.grad(loss, (1, 2))(net, params, x, y, weights=weights)
                    for loss in (ffnn.loss, ffnn.loss_autodiff)
                ]

            ours, autodiff = jax.jit(both)(params, x)
            leaves = (np.asarray(t, LONG) for t in jax.tree.leaves((ours, autodiff)))
            ours, autodiff = np.split(np.fromiter(leaves, object), 2)
            true = true_gradients(net, *exact)
            for mine, theirs, (truth, terms) in zip(ours, autodiff, true, strict=True):
                errors = relative(mine, truth), relative(theirs, truth)
                rounding = relative(truth + eps * terms, truth)
                rows.append((relative(mine, theirs), *errors, rounding))
    return rows


def summary(dtype, networks, rows):
    """One line of the table."""
    difference, ours, theirs, rounding = np.asarray(rows, np.float64).T
    both, above = (ours > 0) & (theirs > 0), difference > BARS[dtype]
    worse = above & (ours > 8 * theirs) & (ours > rounding)
    return {
        "dtype": dtype,
        "networks": networks,
        "leaves": len(rows),
        "worst_difference": float(difference.max()),
        "median_difference": float(np.median(difference)),
        "worst_error_by_hand": float(ours.max()),
        "worst_error_autodiff": float(theirs.max()),
        "median_error_ratio": float(np.median(ours[both] / theirs[both])),
        "bar": BARS[dtype],
        "above_bar": int(above.sum()),
        "worse_than_autodiff": int(worse.sum()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=1000, help="in float64; a fifth in others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="30 networks in float64, 6 in others")
    arguments = parser.parse_args()
    if arguments.networks < 1 or arguments.seed < 0:
        parser.error("--networks: at least 1; --seed: at least 0")
    count = 30 if arguments.quick else arguments.networks
    start, results = time.perf_counter(), []
    columns = "dtype", "networks", "leaves", "worst", "median", "by hand", "autodiff", "ratio"
    print("difference: by hand against autodiff; error: against long double")
    print("{:10}{:>9}{:>8}{:>10}{:>10}{:>10}{:>10}{:>7}".format(*columns))
    workers = min(os.cpu_count() or 1, 8)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for dtype in BARS:
            networks = count if dtype == "float64" else max(count // 5, 6)
            chunks = [range(i, min(i + CHUNK, networks)) for i in range(0, networks, CHUNK)]
            futures = [pool.submit(measure, dtype, arguments.seed, chunk) for chunk in chunks]
            rows = [row for future in futures for row in future.result()]
            r = summary(dtype, networks, rows)
            results.append(r)
            print(
                f"{dtype:10}{networks:9}{len(rows):8}{r['worst_difference']:10.1e}"
                f"{r['median_difference']:10.1e}{r['worst_error_by_hand']:10.1e}"
                f"{r['worst_error_autodiff']:10.1e}{r['median_error_ratio']:7.2f}"
                f"{r['above_bar']:6} above {r['bar']:.0e}, {r['worse_than_autodiff']} worse",
                flush=True,
            )
    ok = not any(r["worse_than_autodiff"] for r in results)
    ok = ok and not any(r["above_bar"] for r in results if r["dtype"] == "float64")
    seconds = round(time.perf_counter() - start, 1)
    record = {"ok": ok, "jax": jax.__version__, "seconds": seconds, "dtypes": results}
    print(json.dumps(record))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
