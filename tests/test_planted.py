"""Bugs planted in the sweep, each of which the checks of this suite must catch.

A bug is a piece of the source and what stands there in its place. The package is copied with the
bug in it, imported from there, and put through the same functions that `test_backprop` and
`test_mesh` run on the real one. Widths are equal throughout, so that a transposed or misplaced
matrix is a wrong number and not an error of shapes.
"""

import contextlib
import importlib
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import pytest
import sweep_checks
from cases import examples

import ffnn_jax

SOURCE = pathlib.Path(ffnn_jax.__file__).parent
NETWORKS = {
    "softmax": ((4, 4, 4, 4, 4), ("relu", "tanh", "gelu"), "softmax", None),
    "logistic": ((4, 4, 4, 4, 4), ("silu", "softplus", "elu"), "logistic", None),
    "linear": ((4, 4, 4, 4, 4), ("sigmoid", "leaky_relu", "selu"), "linear", None),
    "softmax, squared error": ((4, 4, 4), "identity", "softmax", "squared_error"),
    "logistic, squared error": ((4, 4, 4), "tanh", "logistic", "squared_error"),
    "linear, cross-entropy": ((4, 4, 4), "tanh", "linear", "cross_entropy"),
    "every third kept": ((4, 4, 4, 4, 4, 4), "tanh", "linear", None),
    "classes in blocks": ((4, 4, 4), "relu", "softmax", None),
    "dropout": ((4, 4, 4, 4, 4), ("tanh", "relu", "gelu"), "softmax", None),
}
PLANS = {
    "every third kept": {"keep_every": 3},
    "classes in blocks": {"class_blocks": True},
    "dropout": {"keep_every": 3},
}
RATES = {"dropout": (0.5, 0.1, 0.25)}
PLANTED = {
    "W not transposed in ∇h": ("dense", "((grad_a.ndim - 1,), (0,))", "((grad_a.ndim - 1,), (1,))"),
    "∇W transposed": ("dense", "grad_a, h, (batch, batch)", "h, grad_a, (batch, batch)"),
    "∇W a mean, not a sum": ("dense", "(W, total)", "(W, total / h.shape[0])"),
    "∇b a mean, not a sum": ("dense", "(b, jnp.sum(", "(b, jnp.mean("),
    "∇b zero": ("dense", "(b, jnp.sum(", "(b, 0 * jnp.sum("),
    "∇b of one example": (
        "dense",
        "jnp.sum(grad_a, axis=tuple(range(grad_a.ndim - 1)))",
        "grad_a.reshape(-1, grad_a.shape[-1])[0]",
    ),
    "no sum over the devices": ("dense", "    if axes:", "    if False:"),
    "no g′": ("sweep", "grads_h[0] * derivative", "grads_h[0]"),
    "g′ of h′s place": (
        "sweep",
        "drop(g.derivative(kept), m, p)",
        "drop(g.derivative(g.value(kept)), m, p)",
    ),
    "g′ of the wrong layer": (
        "sweep",
        "(net, k - 1, h, grads_h",
        "(net, max(k - 2, 1), h, grads_h",
    ),
    "stale residual": ("sweep", "else below[k - 2]", "else below[max(k - 3, 0)]"),
    "residual of the layer above": ("sweep", "else below[k - 2]", "else below[k - 1]"),
    "h not computed again": ("sweep", 'h = kept if g.keep == "h" else g.value(kept)', "h = kept"),
    "no mask in the sweep": (
        "sweep",
        "drop(g.derivative(kept), m, p)",
        "g.derivative(kept) / (1 - p)",
    ),
    "mask not scaled in the sweep": (
        "sweep",
        "drop(g.derivative(kept), m, p)",
        "drop(g.derivative(kept), m, 0)",
    ),
    "h before dropout in the sweep": ("sweep", "return drop(h, m, p), drop(g", "return h, drop(g"),
    "another mask in the sweep": (
        "sweep",
        "mask(key, k, p, grad_h)",
        "mask(key, k + 1, p, grad_h)",
    ),
    "no mask in what is computed again": (
        "sweep",
        "params[j - 1], h, key)",
        "params[j - 1], h, None)",
    ),
    "kept a where g′ takes h": ("sweep", "kept = a if g.keep == ", "kept = a if 'a' in "),
    "layers in the wrong order": ("sweep", "layers.insert(0, Layer", "layers.append(Layer"),
    "∇a_L at every layer": ("sweep", "grad_a = grads_a[0]", "grad_a = grads_a[-1]"),
    "∇x zero": (
        "backprop",
        "return grad_params, grads_h[0], grad_y",
        "return grad_params, 0 * x, grad_y",
    ),
    "∇x of layer 1": (
        "backprop",
        "return grad_params, grads_h[0], None\n",
        "return grad_params, grads_h[1], None\n",
    ),
    "cotangent ignored": ("backprop", "shares(a_L, weights, grad_loss)", "shares(a_L, weights)"),
    "weights ignored": (
        "backprop",
        "network.shares(a_L, weights, grad_loss)",
        "network.shares(a_L, None, grad_loss)",
    ),
    "∇y of the wrong sign": (
        "backprop",
        "next(grads) if f else None",
        "-next(grads) if f else None",
    ),
    "∇weights without the mean": ("backprop", "(losses - value)", "losses"),
    "∇ŷ without 1/N": ("backprop", "grad_yhat = share * ", "grad_yhat = "),
    "no J_O in apply": (
        "backprop",
        "output.pullback(output.value(kept[-1]), grad_yhat)",
        "grad_yhat",
    ),
    "computed again with the wrong layer": (
        "sweep",
        "_hidden(net, j, params[j - 1], h, key)",
        "_hidden(net, j, params[j - 2], h, key)",
    ),
    "computed again from the wrong h": ("sweep", "kept[start - 1] if start else x)", "x)"),
    "∇W without the right class": ("classes", "add(-shared_h)", "add(0 * shared_h)"),
    "∇h without the right class": ("classes", "(back - layer.W.at[y].get())", "back"),
    "the same share for every example": ("classes", "share[:, None] * h", "share[0] * h"),
    "no 1/N": ("network", "wide / math.prod(a.shape[:-1])", "wide * 1"),
    "weights not normalised": (
        "network",
        "(weights / total(weights) * wide)",
        "(weights * wide)",
    ),
    "ŷ − y the wrong way round": (
        "outputs",
        "return jnp.where(is_inside(y, a), yhat, 0) - as_numbers(y, yhat)\n    return yhat * jnp",
        "return as_numbers(y, yhat) - jnp.where(is_inside(y, a), yhat, 0)\n    return -yhat * jnp",
    ),
    "distribution of the wrong sign": ("outputs", "keepdims=True) - y\n", "keepdims=True) + y\n"),
    "softmax Jacobian only diagonal": (
        "outputs",
        "yhat * (grad_yhat - jnp.sum(yhat * grad_yhat, axis=-1, keepdims=True))",
        "yhat * (1 - yhat) * grad_yhat",
    ),
    "logistic Jacobian halved": ("outputs", "yhat * (1 - yhat) * grad_yhat", "yhat * grad_yhat"),
    "squared error without its 2": ("losses", "    return 2 * (yhat", "    return (yhat"),
    "cross-entropy without 1/ŷ": (
        "losses",
        "-_ratio_unless_both_zero(as_numbers(y, yhat), yhat)",
        "-as_numbers(y, yhat)",
    ),
    "binary cross-entropy one-sided": ("outputs", "(1 - y) * jax.nn.sigmoid(a) - y", "-y"),
    "sigmoid′": ("activations", "h * (1 - h)", "h * (1 + h)"),
    "tanh′": ("activations", "(1 + h) * (1 - h)", "1 - h"),
    "relu′": ("activations", "(a > 0).astype", "(a < 0).astype"),
    "leaky_relu′": ("activations", "a >= 0, 1.0, LEAKY_SLOPE", "a >= 0, 1.0, 0.0"),
    "elu′": ("activations", "jnp.where(h > 0, 1, h + 1)", "jnp.where(h > 0, 1, h)"),
    "selu′": ("activations", "jnp.where(h > 0, SELU_SCALE, h", "jnp.where(h > 0, 1, h"),
    "softplus′": ("activations", "-jnp.expm1(-h)", "jnp.exp(-h)"),
    "gelu′": ("activations", "3 * GELU_CUBIC", "2 * GELU_CUBIC"),
    "silu′": ("activations", "s * (1 + a * (1 - s))", "s * (1 + a * s)"),
}

# Where a bug shows, if not in the first network; the others follow, should it not show there.
SHOWS_IN = {
    "dropout": ("mask", "dropout"),
    "every third kept": ("computed again with", "computed again from"),
    "classes in blocks": ("right class", "same share"),
    "logistic": ("binary cross-entropy", "elu′", "softplus′", "silu′"),
    "linear": ("without its 2", "sigmoid′", "leaky_relu′", "selu′"),
    "logistic, squared error": ("logistic Jacobian",),
    "linear, cross-entropy": ("cross-entropy without",),
}


def nearest_first(bug):
    """The networks; first those that have what the bug is in."""
    return sorted(NETWORKS, key=lambda name: not any(w in bug for w in SHOWS_IN.get(name, ())))


@contextlib.contextmanager
def package_with(folder, module, old, new):
    """ffnn_jax with a piece of its source replaced, imported from a copy."""
    copy = folder / "ffnn_jax"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / f"{module}.py").read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {module}.py"
    (copy / f"{module}.py").write_text(text.replace(old, new))

    def ours():
        return [name for name in sys.modules if name.split(".")[0] == "ffnn_jax"]

    real = {name: sys.modules.pop(name) for name in ours()}
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        changed = importlib.import_module("ffnn_jax")
        assert pathlib.Path(changed.__file__).parent == copy
        yield changed
    finally:
        sys.path.remove(str(folder))
        for name in ours():
            del sys.modules[name]
        sys.modules.update(real)


def run_checks(ffnn, names=tuple(NETWORKS)):
    """The checks of the sweep on a few networks that use every row of the tables."""
    with jax.enable_x64(True):
        for name in names:
            plan = ffnn.Plan(**PLANS.get(name, {}))
            net = ffnn.Network(*NETWORKS[name], plan=plan, dropout=RATES.get(name, 0.0))
            in_blocks = net.plan.class_blocks is not None
            for classes in (False, True) if name == "softmax" else (in_blocks,):
                point = examples(net, dtype="float64", classes=classes)
                point = point._replace(params=tuple(ffnn.Layer(*p) for p in point.params))
                weighted = in_blocks or not classes
                sweep_checks.check_loss_gradients(ffnn, net, point, 1e-12, weighted)
            if in_blocks:
                continue
            if name not in RATES:
                sweep_checks.check_every_gradient(ffnn, net, point, 1e-11, weighted=True)
            sweep_checks.check_apply_gradients(ffnn, net, point, 1e-12)
    net = ffnn.Network(*NETWORKS[names[0]])
    point = examples(net, batch=(8,))
    point = point._replace(params=tuple(ffnn.Layer(*p) for p in point.params))
    sweep_checks.check_shard_map(ffnn, net, point)


def test_the_checks_pass_where_nothing_is_planted():
    run_checks(ffnn_jax)


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(bug, tmp_path):
    # JAX itself refuses some: ValueError for a cotangent that varies where its primal does not
    caught = pytest.raises(ValueError if bug == "no sum over the devices" else AssertionError)
    with package_with(tmp_path, *PLANTED[bug]) as ffnn, caught:
        run_checks(ffnn, nearest_first(bug))


def test_there_are_enough_of_them():
    assert len(PLANTED) >= 25


def test_a_change_that_changes_nothing_is_let_through(tmp_path):
    """The machinery itself does not make a check fail."""
    with package_with(tmp_path, "dense", "jnp.sum(grad_a, ", "jnp.sum(grad_a * 1, ") as ffnn:
        assert ffnn.dense.grad_b is not ffnn_jax.dense.grad_b
        run_checks(ffnn, names=("softmax",))
        assert jnp.all(ffnn.dense.grad_b(jnp.zeros(2), jnp.ones((3, 2))) == 3)
