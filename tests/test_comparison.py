"""compare_gradients: a learner's backprop, right or with a mistake in it, gradient by gradient.

The learner here writes NumPy, formula by formula, and makes one mistake at a time.
"""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import NETWORKS, examples, name_of

import ffnn_jax as ffnn
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.comparison.truth import slope_of

NETS = {
    "softmax": ffnn.Network((5, 5, 5, 5), activation=("tanh", "silu"), output="softmax"),
    "linear": ffnn.Network((5, 5, 5, 5), activation=("sigmoid", "softplus"), output="linear"),
    "logistic": ffnn.Network((5, 5, 5, 5), activation="gelu", output="logistic"),
    "logistic, squared error": ffnn.Network(
        (5, 5, 5, 5), activation="relu", output="logistic", loss="squared_error"
    ),
    "softmax, squared error": ffnn.Network((4, 5, 5, 3), output="softmax", loss="squared_error"),
    "widths": ffnn.Network((4, 6, 5, 3), activation=("tanh", "sigmoid"), output="softmax"),
}


def learner(net, point, *, planted=None):
    """Backprop in NumPy, in float64, with the planted formulas in place of the right ones.

    `planted` maps a name such as `a_2` to a function of (gradients so far, the pass) that gives
    it; the pass has W, b, a, h (lists by layer), yhat, y, N and slope(k, at).
    """
    N = point.x.shape[0]
    W = [None, *(np.asarray(layer.W, np.float64) for layer in point.params)]
    h, a = [np.asarray(point.x, np.float64)], [None]
    for k, layer in enumerate(point.params, start=1):
        a.append(h[-1] @ W[k].T + np.asarray(layer.b, np.float64))
        if k < net.depth:
            with jax.enable_x64(True):
                value = ACTIVATIONS[net.activations[k - 1]].value(jnp.asarray(a[-1]))
            h.append(np.asarray(value))
    if net.output == "softmax":
        e = np.exp(a[-1] - a[-1].max(axis=-1, keepdims=True))
        yhat = e / e.sum(axis=-1, keepdims=True)
    else:
        yhat = 1 / (1 + np.exp(-a[-1])) if net.output == "logistic" else a[-1]
    y = np.asarray(point.y, np.float64)

    def slope(k, at):
        with jax.enable_x64(True):
            return np.asarray(slope_of(net.activations[k - 1], jnp.asarray(at)))

    tape = {"W": W, "a": a, "h": h, "yhat": yhat, "y": y, "N": N, "slope": slope}
    right = {
        "squared_error": lambda: 2 * (yhat - y) / N,
        "cross_entropy": lambda: -y / yhat / N,
        "binary_cross_entropy": lambda: (-y / yhat + (1 - y) / (1 - yhat)) / N,
    }
    g = {}

    def put(name, value):
        g[name] = planted[name](g, tape) if planted and name in planted else value()

    put("yhat", right[net.loss])
    for k in range(net.depth, 0, -1):
        if k == net.depth:
            put(f"a_{k}", lambda: pulled(net, yhat, right[net.loss]()))
        else:
            put(f"a_{k}", lambda k=k: g[f"h_{k}"] * slope(k, a[k]))
        put(f"W_{k}", lambda k=k: g[f"a_{k}"].T @ h[k - 1])
        put(f"b_{k}", lambda k=k: g[f"a_{k}"].sum(axis=0))
        put(f"h_{k - 1}", lambda k=k: g[f"a_{k}"] @ W[k])
    return g


def pulled(net, yhat, grad):
    if net.output == "softmax":
        return yhat * (grad - (yhat * grad).sum(axis=-1, keepdims=True))
    return yhat * (1 - yhat) * grad if net.output == "logistic" else grad


def compared(net, point, mine, **options):
    """The comparison, which has to fit 100 columns, be JSON, and agree with itself."""
    found = ffnn.compare_gradients(net, point.params, point.x, point.y, mine, **options)
    assert all(len(line) <= 100 for line in str(found).splitlines()), str(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ok"] is found.ok
    assert found.ok is not True or found.first_wrong is None
    return found


# name of the network, where, what is done there, the fault, what the sentence says
PLANTED = {
    "no 1/N in ∇ŷ": ("linear", "yhat", lambda g, t: 2 * (t["yhat"] - t["y"]), "scaled", "N = 6"),
    "1/N twice": (
        "linear",
        "yhat",
        lambda g, t: 2 * (t["yhat"] - t["y"]) / t["N"] ** 2,
        "scaled",
        "once too often",
    ),
    "no 2": ("linear", "yhat", lambda g, t: (t["yhat"] - t["y"]) / t["N"], "scaled", "no ½"),
    "no 2, no 1/N": ("linear", "yhat", lambda g, t: t["yhat"] - t["y"], "scaled", "½.*, and N ="),
    "mean over outputs": (
        "softmax, squared error",
        "yhat",
        lambda g, t: 2 * (t["yhat"] - t["y"]) / t["y"].size,
        "scaled",
        "1/3 of the gradient: the mean over outputs",
    ),
    "y − ŷ": (
        "linear",
        "yhat",
        lambda g, t: 2 * (t["y"] - t["yhat"]) / t["N"],
        "sign",
        "not y − ŷ",
    ),
    "y left out": ("linear", "yhat", lambda g, t: 2 * t["yhat"] / t["N"], "formula", "left out"),
    "cross-entropy's sign": (
        "softmax",
        "yhat",
        lambda g, t: t["y"] / t["yhat"] / t["N"],
        "sign",
        "∇ŷ = −y/ŷ",
    ),
    "not divided by ŷ": ("softmax", "yhat", lambda g, t: -t["y"] / t["N"], "formula", "divided"),
    "another loss": (
        "logistic",
        "yhat",
        lambda g, t: -t["y"] / t["yhat"] / t["N"],
        "formula",
        "gradient of cross_entropy, and the network's loss is binary_cross_entropy",
    ),
    "−1/ŷ": ("softmax", "yhat", lambda g, t: -1 / t["yhat"] / t["N"], "formula", "y is left out"),
    "classes from 1": (
        "softmax",
        "yhat",
        lambda g, t: -np.roll(t["y"], 1, axis=-1) / t["yhat"] / t["N"],
        "formula",
        "classes are one off",
    ),
    "∇a_L for ∇ŷ": (
        "softmax",
        "yhat",
        lambda g, t: (t["yhat"] - t["y"]) / t["N"],
        "formula",
        "before J_O",
    ),
    "y − ŷ at a_L": ("softmax", "a_3", lambda g, t: (t["y"] - t["yhat"]) / 6, "sign", "not y − ŷ"),
    "no Jacobian": ("softmax", "a_3", lambda g, t: g["yhat"], "formula", "Jacobian.*left out"),
    "diagonal Jacobian": (
        "softmax, squared error",
        "a_3",
        lambda g, t: t["yhat"] * (1 - t["yhat"]) * g["yhat"],
        "formula",
        "only the diagonal",
    ),
    "diag(ŷ) alone": (
        "softmax, squared error",
        "a_3",
        lambda g, t: t["yhat"] * g["yhat"],
        "formula",
        r"only diag\(ŷ\)",
    ),
    "ŷŷᵀ alone": (
        "softmax, squared error",
        "a_3",
        lambda g, t: -t["yhat"] * np.sum(t["yhat"] * g["yhat"], axis=-1, keepdims=True),
        "formula",
        r"diag\(ŷ\) of J_O .* left out",
    ),
    "a sign below": ("softmax", "W_2", lambda g, t: -g["a_2"].T @ t["h"][1], "sign", "gradient$"),
    "mean over units": (
        "softmax",
        "h_1",
        lambda g, t: g["a_2"] @ t["W"][2] / 5,
        "scaled",
        "1/5 .*: the mean over the units of layer 2",
    ),
    "Jacobian twice": (
        "logistic",
        "a_3",
        lambda g, t: (t["yhat"] - t["y"]) / 6 * t["yhat"] * (1 - t["yhat"]),
        "formula",
        "applied twice: ŷ − y has it",
    ),
    "ŷ − y with squared error": (
        "logistic, squared error",
        "a_3",
        lambda g, t: (t["yhat"] - t["y"]) / 6,
        "formula",
        "for logistic with squared_error it is J_Oᵀ∇ŷ",
    ),
    "slope of the output at a": (
        "logistic, squared error",
        "a_3",
        lambda g, t: g["yhat"] * t["a"][3] * (1 - t["a"][3]),
        "formula",
        "a_3 in place of ŷ",
    ),
    "no g′": ("softmax", "a_2", lambda g, t: g["h_2"], "formula", r"g′\(a_2\) is missing.*∇h_2"),
    "g′ at h": (
        "softmax",
        "a_2",
        lambda g, t: g["h_2"] * t["slope"](2, t["h"][2]),
        "formula",
        "taken at h_2 in place of a_2",
    ),
    "1 − a²": (
        "softmax",
        "a_1",
        lambda g, t: g["h_1"] * (1 - t["a"][1] ** 2),
        "formula",
        "written with h, and here it is given a_1",
    ),
    "g′ at another layer": (
        "softmax",
        "a_2",
        lambda g, t: g["h_2"] * t["slope"](2, t["a"][1]),
        "formula",
        "taken at a_1, of another layer",
    ),
    "g′ of another layer": (
        "softmax",
        "a_2",
        lambda g, t: g["h_2"] * t["slope"](1, t["a"][2]),
        "formula",
        "g′ of tanh, the activation of layer 1; layer 2 has silu",
    ),
    "g′ of sigmoid": (
        "softmax",
        "a_2",
        lambda g, t: g["h_2"] / (2 + np.exp(t["a"][2]) + np.exp(-t["a"][2])),
        "formula",
        "this is g′ of sigmoid; layer 2 has silu",
    ),
    "1 − h": (
        "softmax",
        "a_1",
        lambda g, t: g["h_1"] * (1 - t["h"][1]),
        "formula",
        "is 1 − h_1, and g′ of tanh is another: 1 − h²",
    ),
    "g or softplus′": (
        "linear",
        "a_1",
        lambda g, t: g["h_1"] * t["h"][1],
        "formula",
        "it has g: .*; or: .*g′ of softplus",
    ),
    "g for g′": ("linear", "a_1", lambda g, t: g["h_1"] * t["h"][1], "formula", "it has g:"),
    "g′ twice": (
        "linear",
        "a_1",
        lambda g, t: g["h_1"] * t["slope"](1, t["a"][1]) ** 2,
        "formula",
        "twice",
    ),
    "W not transposed": (
        "softmax",
        "h_1",
        lambda g, t: g["a_2"] @ t["W"][2].T,
        "transposed",
        "W_2 is not transposed",
    ),
    "another W": ("softmax", "h_1", lambda g, t: g["a_2"] @ t["W"][3], "swapped", "W_3 is used"),
    "∇h for ∇a in ∇h": (
        "softmax",
        "h_1",
        lambda g, t: g["h_2"] @ t["W"][2],
        "formula",
        "∇h_2 stands in place of ∇a_2",
    ),
    "∇a for ∇h": (
        "softmax",
        "h_1",
        lambda g, t: g["a_2"] @ t["W"][2] * t["slope"](1, t["a"][1]),
        "swapped",
        "this is ∇a_1",
    ),
    "W updated first": (
        "softmax",
        "h_1",
        lambda g, t: g["a_2"] @ (t["W"][2] - 0.25 * g["W_2"]),
        "formula",
        "a step of 0.25 .*update last",
    ),
    "a for h": ("softmax", "W_2", lambda g, t: g["a_2"].T @ t["a"][1], "formula", "a_1 stands"),
    "h of the layer itself": (
        "softmax",
        "W_2",
        lambda g, t: g["a_2"].T @ t["h"][2],
        "formula",
        "h_2 stands in place of h_1",
    ),
    "h two below": ("softmax", "W_2", lambda g, t: g["a_2"].T @ t["h"][0], "formula", "h_0 stands"),
    "∇h in ∇W": ("softmax", "W_2", lambda g, t: g["h_2"].T @ t["h"][1], "formula", "∇h_2 stands"),
    "∇W transposed": (
        "softmax",
        "W_2",
        lambda g, t: t["h"][1].T @ g["a_2"],
        "transposed",
        "its transpose",
    ),
    "∇W a mean": ("softmax", "W_2", lambda g, t: g["a_2"].T @ t["h"][1] / 6, "scaled", "too often"),
    "∇W of one example": (
        "softmax",
        "W_2",
        lambda g, t: np.outer(g["a_2"][0], t["h"][1][0]),
        "missing-sum",
        "first example's alone",
    ),
    "∇W of another layer": ("softmax", "W_2", lambda g, t: g["W_3"], "swapped", "this is ∇W_3"),
    "∇a of another layer": (
        "softmax",
        "W_2",
        lambda g, t: g["a_3"].T @ t["h"][1],
        "swapped",
        "∇a_3 is used, of another layer",
    ),
    "weight decay": (
        "softmax",
        "W_2",
        lambda g, t: g["a_2"].T @ t["h"][1] + 0.02 * t["W"][2],
        "formula",
        "0.02 W_2 too much",
    ),
    "∇W of wrong shape": (
        "widths",
        "W_2",
        lambda g, t: t["h"][1].T @ g["a_2"],
        "transposed",
        r"^this is the transpose: ∇W_2 has the shape \(5, 6\), and this has \(6, 5\)$",
    ),
    "∇W not summed": (
        "widths",
        "W_2",
        lambda g, t: g["a_2"][:, :, None] * t["h"][1][:, None, :],
        "missing-sum",
        "not summed over the batch",
    ),
    "∇b not summed": ("widths", "b_2", lambda g, t: g["a_2"], "missing-sum", "not summed"),
    "∇b not summed, columns": ("widths", "b_2", lambda g, t: g["a_2"].T, "missing-sum", "columns"),
    "∇b a column": (
        "widths",
        "b_2",
        lambda g, t: g["a_2"].sum(axis=0)[:, None],
        "wrong-shape",
        r"right number of entries .*\(5, 1\)$",
    ),
    "∇b of the last example": (
        "widths",
        "b_2",
        lambda g, t: g["a_2"][-1],
        "missing-sum",
        "last example's",
    ),
    "∇b of ∇h": ("widths", "b_2", lambda g, t: g["h_2"].sum(axis=0), "formula", "∇h_2 stands"),
    "∇b of another layer": ("softmax", "b_2", lambda g, t: g["b_3"], "swapped", "this is ∇b_3"),
    "examples as columns": (
        "widths",
        "h_1",
        lambda g, t: (g["a_2"] @ t["W"][2]).T,
        "transposed",
        "",
    ),
    "zero": ("widths", "W_2", lambda g, t: np.zeros((5, 6)), "zero", ""),
    "NaN": ("widths", "W_2", lambda g, t: np.full((5, 6), np.nan), "non-finite", ""),
    "sum of layers": ("widths", "a_1", lambda g, t: g["h_1"] * 0.37, "", ""),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted(name):
    """The first wrong one is where the mistake is, it is named, and what it entails follows."""
    which, where, mistake, fault, message = PLANTED[name]
    net = NETS[which]
    point = examples(net, seed=1)
    mine = learner(net, point, planted={where: mistake})
    found = compared(net, point, mine)
    assert found.first_wrong.name == where, str(found)
    diagnosis = found.first_wrong.diagnosis
    assert diagnosis.fault == fault or not fault, str(found)
    assert re.search(message, diagnosis.message), str(found)
    assert not diagnosis.message.startswith(diagnosis.fault), "the fault is printed before it"
    assert [row.name for row in found.rows if row.verdict == "wrong"] == [where], str(found)
    assert str(found).endswith(f"look first at {found.rule}")
    assert found.rule.startswith(f"{found.first_wrong.symbol} = ")
    with pytest.raises(AssertionError, match="look first at"):
        found.raise_if_wrong()


@pytest.mark.parametrize("net", NETWORKS[1::3], ids=name_of)
def test_by_hand_in_float64(net):
    """Right in NumPy's float64 for parameters in float32: equal, and nothing is noticed."""
    point = examples(net, seed=2)
    found = compared(net, point, learner(net, point))
    assert found.ok is True, str(found)
    found.raise_if_wrong()
    assert str(found).endswith("all right")
    assert len(found.rows) == 1 + 4 * net.depth


def in_the_dtype(net, point):
    """The sweep in the dtype at hand, products summed in another order than the library's."""
    dtype = point.x.dtype
    h, a = [point.x], []
    for k, (W, b) in enumerate(point.params, start=1):
        a.append(jnp.sum(h[-1][:, None, :] * W[None], axis=-1) + b[None])
        if k < net.depth:
            h.append(ACTIVATIONS[net.activations[k - 1]].value(a[-1]))
    output = ffnn.outputs.OUTPUTS[net.output]
    yhat, N = output.value(a[-1]), jnp.asarray(point.x.shape[0], dtype)
    grad_yhat = ffnn.network.loss_of(net).gradient(yhat, point.y) / N
    plain = (net.output, net.loss) in (
        ("softmax", "cross_entropy"),
        ("logistic", "binary_cross_entropy"),
    )
    grad_a = (yhat - point.y) / N if plain else output.pullback(yhat, grad_yhat)
    g = {"yhat": grad_yhat}
    for k in range(net.depth, 0, -1):
        g[f"a_{k}"] = grad_a
        g[f"W_{k}"] = jnp.sum(grad_a[:, :, None] * h[k - 1][:, None, :], axis=0)
        g[f"b_{k}"] = jnp.sum(grad_a, axis=0)
        g[f"h_{k - 1}"] = jnp.sum(grad_a[:, :, None] * point.params[k - 1].W[None], axis=1)
        if k > 1:
            grad_a = g[f"h_{k - 1}"] * slope_of(net.activations[k - 2], a[k - 2])
    return g


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("net", NETWORKS[3::9], ids=name_of)
def test_by_hand_in_the_dtype(net, dtype):
    point = examples(net, seed=3, dtype=dtype)
    found = compared(net, point, in_the_dtype(net, point))
    assert found.ok is not False, str(found)
    assert dtype != "float32" or found.ok is True, str(found)


@pytest.mark.parametrize(
    ("dtype", "batch"), [("float32", ()), ("bfloat16", (4,)), ("float32", (2, 3))]
)
def test_our_own_are_exact(dtype, batch):
    net = NETWORKS[3]
    point = examples(net, dtype=dtype, batch=batch)
    for sweep in (ffnn.gradients, jax.jit(ffnn.gradients)):
        _, grads = sweep(net, point.params, point.x, point.y)
        found = compared(net, point, grads)
        assert {row.verdict for row in found.rows} == {"exact"}
        assert len(found.rows) == 9


def test_float64_and_mixed_precision(x64):
    net = NETS["softmax"]
    point = examples(net, dtype="float64")
    found = compared(net, point, learner(net, point))
    assert found.ok
    assert max(row.allowed for row in found.rows) < 1e-13
    in_float32 = {k: v.astype(np.float32) for k, v in learner(net, point).items()}
    assert compared(net, point, in_float32).ok  # bounded by the coarser of the two
    off = {"W_2": learner(net, point)["W_2"] * (1 + 1e-9)}
    assert compared(net, point, off).ok is False
    mixed = ffnn.Network(
        net.sizes, net.activation, net.output, plan=ffnn.Plan(compute_dtype="bfloat16")
    )
    found = compared(mixed, point, learner(net, point))
    assert found.ok is not False
    _, grads = ffnn.gradients(mixed, point.params, point.x, point.y)
    assert compared(mixed, point, grads).ok


# What is left out --------------------------------------------------------------------------------


def only(grads, *kinds):
    return {name: value for name, value in grads.items() if name[0] in kinds}


def test_a_mistake_in_what_was_not_given():
    """Of ∇W and ∇b alone it is still seen that g′ is missing, and where."""
    net = NETS["widths"]
    point = examples(net)
    mine = only(learner(net, point, planted={"a_2": lambda g, t: g["h_2"]}), "W", "b")
    found = compared(net, point, mine)
    assert found.first_wrong.name == "W_2"
    assert "by way of ∇a_2, which was not given" in found.first_wrong.diagnosis.message
    assert "g′(a_2) is missing" in found.first_wrong.diagnosis.message
    assert [row.verdict for row in found.rows] == [
        *("equal", "equal", "wrong", "follows", "follows", "follows")
    ]


def test_the_same_mistake_in_every_layer():
    net = NETS["widths"]
    point = examples(net)
    planted = {f"a_{k}": lambda g, t, k=k: g[f"h_{k}"] for k in (1, 2)}
    wrong = learner(net, point, planted=planted)
    found = compared(net, point, {"W_1": wrong["W_1"]})
    assert "in each of ∇a_2, ∇a_1" in found.first_wrong.diagnosis.message
    found = compared(net, point, only(wrong, "W", "b"))
    assert [row.name for row in found.rows if row.verdict == "wrong"] == ["W_2", "W_1"]
    found = compared(net, point, wrong)
    assert [row.name for row in found.rows if row.verdict == "wrong"] == ["a_2", "a_1"]
    assert found.first_wrong.name == "a_2"


def test_a_mistake_and_a_factor():
    net = NETS["widths"]
    point = examples(net)
    wrong = learner(net, point, planted={"a_1": lambda g, t: 6 * g["h_1"]})
    found = compared(net, point, {"b_1": wrong["b_1"]})
    message = found.first_wrong.diagnosis.message
    assert "g′(a_1) is missing" in message
    assert "N = 6 times" in message


def test_the_mean_taken_late():
    """∇a without 1/N, and divided in ∇W and ∇b: they are right, and said to be."""
    net = NETS["softmax"]
    point = examples(net)
    wrong = learner(net, point, planted={"a_3": lambda g, t: t["yhat"] - t["y"]})
    mine = {k: v / 6 if k[0] in "Wb" else v for k, v in wrong.items()}
    found = compared(net, point, mine)
    verdicts = {row.name: row.verdict for row in found.rows}
    assert verdicts["a_3"] == "wrong"
    assert {verdicts[name] for name in ("W_1", "b_1", "W_3", "b_3")} == {"equal"}
    assert {verdicts[name] for name in ("h_2", "a_2", "h_1", "a_1", "h_0")} == {"follows"}


def test_a_right_one_ends_a_suspicion():
    """∇W_3 is off by itself: as ∇b_3 shows, nothing above it is, and nothing below follows."""
    net = NETS["softmax"]
    point = examples(net)
    mine = only(learner(net, point), "W", "b")
    mine["W_3"] = 6 * mine["W_3"]
    found = compared(net, point, mine)
    assert [row.name for row in found.rows if not row.ok] == ["W_3"]


def test_weights_of_examples():
    net = NETS["softmax"]
    point = examples(net)
    _, grads = ffnn.gradients(net, point.params, point.x, point.y, weights=point.weights)
    assert compared(net, point, grads, weights=point.weights).ok
    _, ignored = ffnn.gradients(net, point.params, point.x, point.y)
    found = compared(net, point, ignored, weights=point.weights)
    assert "weights are ignored" in found.first_wrong.diagnosis.message
    assert [row.verdict for row in found.rows[:2]] == ["wrong", "follows"]
    summed = jax.tree.map(lambda t: t * jnp.sum(point.weights), grads)
    found = compared(net, point, summed, weights=point.weights)
    assert "Σw = " in found.first_wrong.diagnosis.message


@pytest.mark.parametrize("form", ["dict", "groups", "Gradients", "lists", "params"])
def test_forms(form):
    net = NETS["widths"]
    point = examples(net)
    _, grads = ffnn.gradients(net, point.params, point.x, point.y)
    lists = [np.asarray(layer.W).tolist() for layer in grads.params]
    mine, names = {
        "dict": ({"W_2": grads.params[1].W, "x": grads.h[0]}, ["W_2", "h_0"]),
        "groups": ({"a": [None, grads.a[1], None], "b": [None] * 3, "h": None}, ["a_2"]),
        "Gradients": (
            ffnn.Gradients((None, (None, grads.params[1].b), None), None, grads.h, None),
            ["b_2", "h_2", "h_1", "h_0"],
        ),
        "lists": ({"W": lists}, ["W_3", "W_2", "W_1"]),
        "params": ({"params": [{"W": lists[0]}, None, tuple(grads.params[2])]}, []),
    }[form]
    found = compared(net, point, mine)
    names = names or ["W_3", "b_3", "W_1"]
    assert sorted(row.name for row in found.rows) == sorted(names)
    assert {row.verdict for row in found.rows} == {"exact"}


# Kinks, and what rounding leaves open ------------------------------------------------------------


def test_at_a_kink():
    """Where a = 0 to the last bit, either slope of relu is right, and all that follows from it."""
    net = ffnn.Network((3, 4, 3, 2), activation="relu")
    point = examples(net)
    W = np.array(point.params[0].W)
    W[1] = 0
    b = np.array(point.params[0].b)
    b[1] = 0
    params = (ffnn.Layer(jnp.asarray(W), jnp.asarray(b)), *point.params[1:])
    point = point._replace(params=params)
    at_least = {"a_1": lambda g, t: g["h_1"] * (t["a"][1] >= 0)}
    found = compared(net, point, learner(net, point, planted=at_least))
    assert found.ok, str(found)
    notes = [row.note for row in found.rows if row.note]
    assert "kink" in notes[0]
    assert len(notes) == 3  # ∇a_1, ∇W_1 and ∇b_1; that row of W_1 is 0, so ∇h_0 is as ever
    params_alone = only(learner(net, point, planted=at_least), "W", "b")
    assert compared(net, point, params_alone).ok
    beyond = {"a_1": lambda g, t: g["h_1"] * np.where(t["a"][1] == 0, 3, t["a"][1] > 0)}
    found = compared(net, point, learner(net, point, planted=beyond))
    assert found.first_wrong.name == "a_1"


def test_what_cancels():
    """Where rounding may cost more than the gradient, a dtype decides nothing."""
    net = ffnn.Network((3, 2))
    point = examples(net)
    x = jnp.ones((2, 3))
    yhat = np.asarray(ffnn.apply(net, point.params, x))
    y = jnp.asarray(yhat + np.array([[1.0], [-1.0]], np.float32) * (1 + 1e-9))
    point = point._replace(x=x, y=y)
    truth = learner(net, point)["b_1"]
    assert np.all(np.abs(truth) < 1e-6)
    found = compared(net, point, {"b_1": truth + 2e-7})
    assert found.ok is None
    assert str(found).endswith("1 of 1 undecided")
    assert found.first_wrong is None
    found.raise_if_wrong()
    assert compared(net, point, {"b_1": truth + 1e-4}).ok is False


def test_a_saturated_softmax_in_float32():
    """ŷ underflows in float32, and −y/ŷ with it: such entries decide nothing, the others do."""
    net = ffnn.Network((1, 2), output="softmax")
    params = (ffnn.Layer(jnp.array([[0.0], [200.0]]), jnp.zeros(2)),)
    x, y = jnp.ones((2, 1)), jnp.array([0, 1])
    _, grads = ffnn.gradients(net, params, x, y)
    assert ffnn.compare_gradients(net, params, x, y, grads).ok is not False


def test_a_gradient_that_the_dtype_cannot_hold():
    """∇ŷ = −y/ŷ where ŷ is 0 in float16 for every class that counts."""
    net = ffnn.Network((1, 2), output="softmax")
    params = (ffnn.Layer(jnp.array([[0.0], [40.0]], jnp.float16), jnp.zeros(2, jnp.float16)),)
    x, y = jnp.ones((1, 1), jnp.float16), jnp.array([[1.0, 0.0]], jnp.float16)
    found = ffnn.compare_gradients(net, params, x, y, {"yhat": [[-np.inf, 0.0]]})
    assert found.ok is not False


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "error", "message"),
    [
        ([1], TypeError, r"mine: expected a dict such as .*got a list.*\{'params': grads\}"),
        (None, TypeError, "mine: expected a dict"),
        ({}, ValueError, "mine: expected at least one gradient"),
        ({"W": None, "yhat": None}, ValueError, "at least one gradient"),
        ({"dW_2": 1.0}, ValueError, "Did you mean 'W_2'"),
        ({"W2": 1.0}, ValueError, "Did you mean 'W_2'"),
        ({"∇a_1": 1.0}, ValueError, "Did you mean 'a_1'"),
        ({"y_hat": 1.0}, ValueError, "Did you mean 'yhat'"),
        ({1: 1.0}, TypeError, "expected names such as 'W_1' as keys, got 1"),
        ({"W_0": 1.0}, ValueError, r"mine\['W_0'\]: the network has W_1 … W_3, counted from 1"),
        ({"b_4": 1.0}, ValueError, "b_1 … b_3, counted from 1"),
        ({"h_3": 1.0}, ValueError, "h_0 … h_2; h_L is ŷ: its gradient is 'yhat'"),
        ({"h_-1": 1.0}, ValueError, "the network has h_0"),
        ({"a": [1.0]}, ValueError, r"mine\['a'\]: expected 3, ∇a_1 … ∇a_3; got 1"),
        ({"h": np.ones((3, 2))}, TypeError, "expected a list of 3, ∇h_0 … ∇h_2; got numpy"),
        ({"params": [1.0, None, None]}, TypeError, r"mine\['params'\]\[0\]: expected Layer"),
        ({"x": [1.0], "h_0": [1.0]}, ValueError, r"mine\['h_0'\]: ∇h_0 is given twice"),
        ({"a": [[1.0], None, None], "a_1": 1.0}, ValueError, "∇a_1 is given twice"),
        ({"W_1": 1j}, TypeError, r"mine\['W_1'\]: expected real numbers, got dtype complex128"),
        ({"W_1": "one"}, TypeError, "expected real numbers, got dtype <U3"),
        ({"W_1": [[1.0], [1.0, 2.0]]}, TypeError, r"mine\['W_1'\]: expected an array of numbers"),
        ({"W_1": [True]}, TypeError, "expected real numbers, got dtype bool"),
        ({"W": [None, [None], None]}, TypeError, r"mine\['W'\]\[1\]: expected real numbers"),
        ({"W_1": np.ma.ones(3)}, TypeError, "expected an array, got numpy.ma"),
        ({"W_1": object()}, TypeError, "expected real numbers, got dtype object"),
    ],
)
def test_bad_input(mine, error, message):
    net = NETS["widths"]
    point = examples(net)
    with pytest.raises(error) as caught:
        ffnn.compare_gradients(net, point.params, point.x, point.y, mine)
    assert type(caught.value) is error
    assert re.search(message, str(caught.value)), str(caught.value)


def test_bad_network_and_tracers():
    net = NETS["widths"]
    P, x, y, w = examples(net)
    _, grads = ffnn.gradients(net, P, x, y)
    for args, message in [
        ((P, net, x, y, grads), "net comes first"),
        ((net, P[:1], x, y, grads), "params: expected 3 layers"),
        ((net, P, x[:, :2], y, grads), "x: expected shape"),
        ((net, P, x, y[:2], grads), "y: expected shape"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            ffnn.compare_gradients(*args)
    with pytest.raises(ValueError, match="weights: expected shape"):
        ffnn.compare_gradients(net, P, x, y, grads, weights=w[:2])
    with pytest.raises(TypeError, match="looks at values; call it outside jit"):
        jax.jit(lambda x: ffnn.compare_gradients(net, P, x, y, grads).ok)(x)
    with pytest.raises(TypeError, match=r"mine\['x'\]: compare_gradients looks at values"):
        jax.jit(lambda g: ffnn.compare_gradients(net, P, x, y, {"x": g}).ok)(x)


@pytest.mark.parametrize("shape", [(7,), (6, 4, 2), (4,), (6, 3)])
def test_shapes_that_are_no_known_mistake(shape):
    net = NETS["widths"]
    point = examples(net)
    found = compared(net, point, {"h_0": np.ones(shape)})
    assert found.first_wrong.diagnosis.fault == "wrong-shape"
    assert "∇h_0 has the shape (6, 4)" in found.first_wrong.diagnosis.message
    assert found.to_dict()["rows"][0]["error"] is None


def test_a_loss_of_ones_own():
    def absolute(yhat, y):
        return jnp.sum(jnp.abs(yhat - y), axis=-1)

    net = ffnn.Network((3, 4, 2), activation="tanh", loss=ffnn.Loss("absolute error", absolute))
    point = examples(net)
    _, grads = ffnn.gradients(net, point.params, point.x, point.y)
    assert compared(net, point, grads).ok
    found = compared(net, point, {"yhat": 6 * grads.yhat})
    assert "N = 6" in found.first_wrong.diagnosis.message
    assert found.rule == "∇ŷ = ∂ℓ/∂ŷ/N"
    apart = ffnn.Loss("pairs", lambda yhat, y: jnp.sum(yhat * y["t"], axis=-1))
    net = ffnn.Network((3, 4, 2), activation="tanh", loss=apart)
    point = point._replace(y={"t": point.y})
    _, grads = ffnn.gradients(net, point.params, point.x, point.y)
    assert compared(net, point, grads).ok
    assert compared(net, point, {"a_1": grads.h[1]}).first_wrong.diagnosis.fault == "formula"


def test_the_formula_for_one_example_has_no_batch_in_it():
    net = NETS["softmax"]
    point = examples(net, batch=())
    _, grads = ffnn.gradients(net, point.params, point.x, point.y)
    for name, wrong, rule in (
        ("a_3", -grads.a[2], "∇a_3 = (ŷ − y)"),
        ("W_2", -grads.params[1].W, "∇W_2 = ∇a_2 h_1ᵀ"),
        ("yhat", 2 * grads.yhat, "∇ŷ = −(y/ŷ)"),
    ):
        assert compared(net, point, {name: wrong}).rule == rule


def test_a_sign_with_nothing_above_it_may_be_of_the_output_or_below():
    net = NETS["softmax"]
    point = examples(net)
    _, grads = ffnn.gradients(net, point.params, point.x, point.y)
    alone = compared(net, point, {"W_1": -grads.params[0].W}).first_wrong.diagnosis.message
    assert alone.endswith("ŷ − y, not y − ŷ, or a sign on the way down")
    below = compared(net, point, {"a_1": grads.a[0], "W_1": -grads.params[0].W})
    assert below.first_wrong.diagnosis.message == "the negative of the gradient"


def test_of_two_mistakes_the_usual_one_is_named_first():
    """ŷ in place of ŷ − y is also what comes of J_O without diag(ŷ)."""
    net = ffnn.Network((2, 3), output="softmax")
    params = ffnn.init(net, jax.random.key(0))
    x = np.ones(2, np.float32)
    yhat = ffnn.apply(net, params, x)
    found = ffnn.compare_gradients(net, params, x, 1, {"a_1": yhat})
    message = found.first_wrong.diagnosis.message
    assert message.startswith("this is ŷ: the target y is left out; or: diag(ŷ)"), message


def test_divided_by_N_in_place_of_the_sum_of_weights():
    net = NETS["softmax"]
    point = examples(net)
    _, grads = ffnn.gradients(net, point.params, point.x, point.y, weights=point.weights)
    factor = float(point.weights.sum()) / 6
    found = compared(net, point, {"a_3": factor * grads.a[2]}, weights=point.weights)
    assert "divided by N and not by Σw" in found.first_wrong.diagnosis.message
