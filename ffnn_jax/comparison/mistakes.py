"""The mistakes that are made in backprop by hand, each as what it gives and a sentence on it.

For every kind of gradient there is a function that yields `Mistake`s: the array that somebody gets
who makes it. What they got who handed in an array of their own is looked up among these.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax import outputs
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.comparison.quantities import JACOBIANS, Quantity, backward_order
from ffnn_jax.comparison.truth import KINKS, Grads, Truth, pull_output, slope_of
from ffnn_jax.losses import LOSSES

MOST_KINKS = 8  # so many entries at a kink are tried one by one

_SHIFTED = "the classes are one off: y counts from 0"
_FORMS = {"tanh": ": 1 − h²", "sigmoid": ": h (1 − h)", "softplus": ": 1 − e^{−h}"}


class Mistake(NamedTuple):
    """One mistake.

    Attributes:
      fault: one word, as in `Diagnosis`.
      name: which it is, the same in every layer.
      message: a sentence for the layer at hand.
      value: the array that it gives, the shape of the gradient.
    """

    fault: str
    name: str
    message: str
    value: np.ndarray


def mistakes_in(at: Truth, q: Quantity, grads: Grads) -> Iterator[Mistake]:
    """The mistakes that can be made in q when the gradients above it are `grads`."""
    kind = "a_L" if q == ("a", at.net.depth) else q.kind
    makers = {
        "yhat": _in_yhat,
        "a_L": _in_last_a,
        "a": _in_hidden_a,
        "h": _in_h,
        "W": _in_W,
        "b": _in_b,
    }
    shape = at.grads[q].shape
    for mistake in makers[kind](at, q.layer, grads):
        if mistake.value.shape == shape:
            yield mistake


def _in_yhat(at: Truth, L: int, grads: Grads) -> Iterator[Mistake]:
    truth = at.grads[Quantity("yhat", L)]
    yield from _weights_ignored(at, truth)
    if at.y is None:
        return
    y, yhat, share = at.y, at.yhat, at.share
    own = at.net.loss
    for name, loss in LOSSES.items():
        if name != own:
            with jax.enable_x64(True):
                value = np.asarray(loss.gradient(jnp.asarray(yhat), jnp.asarray(y)))  # type: ignore
            said = f"this is the gradient of {name}, and the network's loss is {_loss_name(at)}"
            yield Mistake("formula", "another loss", said, share * value)
    if own == "cross_entropy":
        said = "∇ŷ is −y/ŷ, and here it is not divided by ŷ"
        yield Mistake("formula", "not divided by ŷ", said, -share * y)
        said = "this is −1/ŷ in every entry: the target y is left out of −y/ŷ"
        yield Mistake("formula", "y left out", said, -share / yhat)
        for other in _shifted(y):
            yield Mistake("formula", "classes", _SHIFTED, -share * other / yhat)
    said = "ŷ − y is ∇a_L of this output and this loss; ∇ŷ is taken before J_O, the output's part"
    yield Mistake("formula", "∇a_L for ∇ŷ", said, at.grads[Quantity("a", L)])
    yield Mistake("formula", "ŷ alone", "this is ŷ itself: the target y is left out", share * yhat)
    if own == "squared_error":
        said = "this is 2 ŷ: the target y is left out of 2(ŷ − y)"
        yield Mistake("formula", "y left out", said, 2 * share * yhat)


def _in_last_a(at: Truth, L: int, grads: Grads) -> Iterator[Mistake]:
    truth, grad_yhat, yhat = at.grads[Quantity("a", L)], grads[Quantity("yhat", L)], at.yhat
    output, J = at.net.output, JACOBIANS[at.net.output]
    # First: where y is a class, J_O without diag(ŷ) gives the same numbers, and is rarer.
    yield from _without_the_target(at)
    if output != "linear":
        said = f"∇a_{L} is ∇ŷ here: the output's Jacobian, J_O = {J}, is left out"
        yield Mistake("formula", "no Jacobian", said, grad_yhat)
    if output == "softmax":
        said = (
            "only the diagonal ŷ(1 − ŷ) of J_O = diag(ŷ) − ŷŷᵀ is used: each ŷ_j depends on all a"
        )
        yield Mistake("formula", "diagonal", said, yhat * (1 - yhat) * grad_yhat)
        said = "only diag(ŷ) of J_O = diag(ŷ) − ŷŷᵀ is used: each ŷ_j depends on all a"
        yield Mistake("formula", "diag(ŷ)", said, yhat * grad_yhat)
        said = "diag(ŷ) of J_O = diag(ŷ) − ŷŷᵀ is left out: this is −ŷŷᵀ∇ŷ"
        value = -yhat * np.sum(yhat * grad_yhat, axis=-1, keepdims=True)
        yield Mistake("formula", "ŷŷᵀ", said, value)
    if output == "logistic":
        said = f"the output's slope is ŷ(1 − ŷ); here it is taken of a_{L} in place of ŷ"
        yield Mistake("formula", "slope at a", said, at.a[-1] * (1 - at.a[-1]) * grad_yhat)
    if output != "linear":
        twice = f"J_O is applied twice: ŷ − y has it in it already ({output}, {_loss_name(at)})"
        if (output, at.net.loss) not in outputs.PAIRS:
            twice = "J_O is applied twice"
        yield Mistake("formula", "Jacobian twice", twice, pull_output(output, yhat, truth))
        yield Mistake("formula", "slope after", twice, yhat * (1 - yhat) * truth)
    for other in JACOBIANS:
        if other not in (output, "linear") and (output, other) != ("softmax", "logistic"):
            said = f"this has the Jacobian of {other}, and the network's output is {output}"
            yield Mistake("formula", "another output", said, pull_output(other, yhat, grad_yhat))
    yield from _weights_ignored(at, truth)
    yield from _without_the_output(at, L, grad_yhat)


def _without_the_target(at: Truth) -> Iterator[Mistake]:
    if at.y is not None:
        said = "this is ŷ: the target y is left out"
        yield Mistake("formula", "y left out", said, at.share * at.yhat)


def _without_the_output(at: Truth, L: int, grad_yhat: np.ndarray) -> Iterator[Mistake]:
    """Forms of ∇a_L that belong to another place, another output or another target."""
    yhat, output = at.yhat, at.net.output
    if L > 1:
        name = at.net.activations[-1]
        said = f"J_O belongs here; what is used is g′(a_{L}) of the hidden activation {name}"
        yield Mistake("formula", "g′ for J_O", said, grad_yhat * _slopes(at.a[-1])[0][name])
    if at.y is not None:
        said = "ŷ − y is ∇a_L of softmax with cross-entropy and of logistic with the binary one; "
        said += f"for {output} with {_loss_name(at)} it is J_Oᵀ∇ŷ"
        yield Mistake("formula", "ŷ − y", said, at.share * (yhat - at.y))
        said = "this is ŷ + y: the target is subtracted, ŷ − y"
        yield Mistake("formula", "ŷ + y", said, at.share * (yhat + at.y))
        for other in _shifted(at.y):
            yield Mistake("formula", "classes", _SHIFTED, at.share * (yhat - other))


def _shifted(y: np.ndarray) -> list[np.ndarray]:
    """The targets when the classes are counted from 1, and when they are counted from −1."""
    return [np.roll(y, 1, axis=-1), np.roll(y, -1, axis=-1)]


def _in_hidden_a(at: Truth, k: int, grads: Grads) -> Iterator[Mistake]:
    grad_h, a, h = grads[Quantity("h", k)], at.a[k - 1], at.h[k]
    own = at.net.activations[k - 1]
    slopes, misread = _slopes(a)

    def of(name: str, message: str, slope: np.ndarray) -> Mistake:
        return Mistake(
            "formula", name, f"∇a_{k} = ∇h_{k} ⊙ g′(a_{k}), and {message}", grad_h * slope
        )

    yield of("no g′", f"the factor g′(a_{k}) is missing: this is ∇h_{k}", np.ones_like(a))
    at_h, _ = _slopes(h)
    yield of("g′ at h", f"g′ is taken at h_{k} in place of a_{k}", at_h[own])
    if ACTIVATIONS[own].keep == "h":
        said = f"g′ of {own} is written with h, and here it is given a_{k} in place of h_{k}"
        yield of("g′ by a", said, misread[own])
    said = f"what stands for g′ is 1 − h_{k}"
    yield of("1 − h", f"{said}, and g′ of {own} is another{_FORMS.get(own, '')}", 1 - h)
    said = f"in place of g′ it has g: this is ∇h_{k} ⊙ h_{k}"
    yield of("g for g′", said, h)
    if own != "sigmoid":
        said = f"what stands for g′ is h_{k} (1 − h_{k}), which is that of sigmoid; layer {k} has "
        yield of("h (1 − h)", f"{said}{own}{_FORMS.get(own, '')}", h * (1 - h))
    if own in KINKS:
        said = f"g′ of {own} is 1 where a_{k} > 0, and here it is 1 where a_{k} < 0"
        yield of("other side", said, (a < 0) * 1.0)
    said = f"this is g′(a_{k}) alone: ∇h_{k} is left out"
    yield Mistake(
        "formula", "g′ alone", f"∇a_{k} = ∇h_{k} ⊙ g′(a_{k}), and {said}", at.slope[k - 1]
    )
    yield of("g′ twice", "the factor g′ is in it twice", at.slope[k - 1] ** 2)
    for j in range(1, at.net.depth + 1):
        if j != k and at.a[j - 1].shape == a.shape:
            there, _ = _slopes(at.a[j - 1])
            yield of("another a", f"g′ is taken at a_{j}, of another layer", there[own])
    for j, other in enumerate(at.net.activations, start=1):
        if other != own:
            said = f"this is g′ of {other}, the activation of layer {j}; layer {k} has {own}"
            yield of("another layer's g′", said, slopes[other])
    for other in ACTIVATIONS:
        if other not in (*at.net.activations, "identity"):  # g′ = 1 has been said
            said = f"this is g′ of {other}; layer {k} has {own}"
            yield of("another g′", said, slopes[other])


def _in_h(at: Truth, below: int, grads: Grads) -> Iterator[Mistake]:
    k = below + 1
    grad_a, W, rule = grads[Quantity("a", k)], at.W[below], f"∇h_{below} = W_{k}ᵀ ∇a_{k}"
    over = Quantity("yhat", k) if k == at.net.depth else Quantity("h", k)
    if W.shape[0] == W.shape[1]:
        said = f"{rule}, and here W_{k} is not transposed"
        yield Mistake("transposed", "W not transposed", said, grad_a @ W.T)
    for j, other in enumerate(at.W, start=1):
        if j != k and other.shape == W.shape:
            said = f"{rule}, and here W_{j} is used, of another layer"
            yield Mistake("swapped", "another W", said, grad_a @ other)
        if j != k and other.T.shape == W.shape:
            said = f"{rule}, and here W_{j} is used, of another layer, and not transposed"
            yield Mistake("swapped", "another W, not transposed", said, grad_a @ other.T)
    said = f"{rule}, and here {over.symbol} stands in place of ∇a_{k}"
    yield Mistake("formula", "the gradient before", said, grads[over] @ W)
    for j in range(1, at.net.depth + 1):
        if j != k and at.net.sizes[j] == at.net.sizes[k]:
            said = f"{rule}, and here ∇a_{j} is used, of another layer"
            yield Mistake("swapped", "another ∇a", said, grads[Quantity("a", j)] @ W)
    if below:
        said = f"this is ∇a_{below}, with g′(a_{below}) in it already; ∇h_{below} is without"
        yield Mistake("swapped", "∇a for ∇h", said, grad_a @ W * at.slope[below - 1])


def _in_W(at: Truth, k: int, grads: Grads) -> Iterator[Mistake]:
    grad_a, h = grads[Quantity("a", k)], at.h[k - 1]
    over = Quantity("yhat", k) if k == at.net.depth else Quantity("h", k)
    rule = f"∇W_{k} = ∇a_{k} h_{k - 1}ᵀ"
    if k > 1:
        said = f"{rule}, and here a_{k - 1} stands in place of h_{k - 1}"
        yield Mistake("formula", "a for h", said, grad_a.T @ at.a[k - 2])
    said = f"{rule}, and here {over.symbol} stands in place of ∇a_{k}"
    yield Mistake("formula", "the gradient before", said, grads[over].T @ h)
    said = f"{rule}: this is h_{k - 1} ∇a_{k}ᵀ, its transpose"
    yield Mistake("transposed", "transposed", said, h.T @ grad_a)
    for j, other in enumerate((*at.h, at.yhat)):
        if j != k - 1 and other.shape == h.shape:
            name = f"h_{j}" if j < at.net.depth else "ŷ"
            said = f"{rule}, and here {name} stands in place of h_{k - 1}"
            yield Mistake("formula", "another h", said, grad_a.T @ other)
    yield from _of_another_layer(at, k, grads, rule)
    for name, i in (("first", 0), ("last", -1)):
        if at.examples > 1:
            said = f"{rule}, summed over the batch: this is the {name} example's alone"
            value = np.outer(grad_a[i], h[i])
            yield Mistake("missing-sum", f"{name} example", said, value)


def _in_b(at: Truth, k: int, grads: Grads) -> Iterator[Mistake]:
    grad_a, rule = grads[Quantity("a", k)], f"∇b_{k} = ∇a_{k}"
    over = Quantity("yhat", k) if k == at.net.depth else Quantity("h", k)
    said = f"{rule}, and here {over.symbol} stands in place of ∇a_{k}"
    yield Mistake("formula", "the gradient before", said, grads[over].sum(axis=0))
    for name, i in (("first", 0), ("last", -1)):
        if at.examples > 1:
            said = f"{rule}, summed over the batch: this is the {name} example's alone"
            yield Mistake("missing-sum", f"{name} example", said, grad_a[i])
    said = f"{rule}, summed over the batch: this is summed over the units"
    yield Mistake("missing-sum", "wrong axis", said, grad_a.sum(axis=1))


def _of_another_layer(at: Truth, k: int, grads: Grads, rule: str) -> Iterator[Mistake]:
    for j in range(1, at.net.depth + 1):
        if j != k and at.net.sizes[j] == at.net.sizes[k]:
            value = grads[Quantity("a", j)].T @ at.h[k - 1]
            said = f"{rule}, and here ∇a_{j} is used, of another layer"
            yield Mistake("swapped", "another ∇a", said, value)


def _weights_ignored(at: Truth, truth: np.ndarray) -> Iterator[Mistake]:
    if np.ptp(at.share):
        with np.errstate(all="ignore"):
            value = np.where(at.share == 0, 0, truth / at.share) / at.examples
        yield Mistake("formula", "weights", "the examples' weights are ignored", value)


# What fits with a number that is not known -------------------------------------------------------


def with_a_number(at: Truth, q: Quantity, grads: Grads, mine: np.ndarray) -> Iterator[Mistake]:
    """Mistakes with a number in them, which is taken so that it fits best."""
    k, right = q.layer, grads[q]
    if q.kind == "W":
        W = at.W[k - 1]
        rate = _fit(mine - right, W)
        said = (
            f"there are {rate:.4g} W_{k} too much: a penalty on the weights is no part of this loss"
        )
        yield Mistake("formula", "decay", said, right + rate * W)
    if q.kind == "h":
        grad_a = grads[Quantity("a", k + 1)]
        moved = grad_a @ grads[Quantity("W", k + 1)]
        rate = _fit(mine - right, moved)
        said = f"W_{k + 1} is taken after a step of {-rate:.4g} against its gradient; ∇h_{k} = "
        said += f"W_{k + 1}ᵀ ∇a_{k + 1} with the W of the forward pass: update last"
        yield Mistake("formula", "W updated", said, right + rate * moved)


def _fit(rest: np.ndarray, direction: np.ndarray) -> float:
    size = float(np.vdot(direction, direction))
    return float(np.vdot(direction, rest)) / size if size > 0 else 0.0


# The gradient of something else ------------------------------------------------------------------


def elsewhere(at: Truth, q: Quantity) -> Iterator[Mistake]:
    """The right gradients of other quantities of the same shape."""
    for other in backward_order(at.net.depth):
        if other != q and at.grads[other].shape == at.grads[q].shape:
            said = f"this is {other.symbol}"
            yield Mistake("swapped", "elsewhere", said, at.grads[other])


# Kinks -------------------------------------------------------------------------------------------


def other_slopes(
    at: Truth, k: int, spread_a: np.ndarray, grad_h: np.ndarray, mine: np.ndarray | None
) -> Iterator[np.ndarray]:
    """∇a_k with other slopes, where a_k is so near a kink that rounding decides on which side.

    Args:
      at: the truth.
      k: the layer.
      spread_a: the errors to expect in a_k.
      grad_h: ∇h_k.
      mine: the learner's ∇a_k, of which each entry near the kink is taken if it lies between the
        two slopes; None where it was not given.
    """
    slopes = KINKS.get(at.net.activations[k - 1])
    if slopes is None:
        return
    a, slope = at.a[k - 1], at.slope[k - 1]
    near = np.abs(a) <= 8 * spread_a
    if not np.any(near):
        return
    ends = [grad_h * end for end in slopes]
    if mine is not None:
        low, high = np.minimum(*ends), np.maximum(*ends)
        yield np.where(near, np.clip(mine, low, high), grad_h * slope)
        return
    flipped = np.where(slope == slopes[0], slopes[1], slopes[0])
    yield grad_h * np.where(near, flipped, slope)
    for end in slopes:
        yield grad_h * np.where(near, end, slope)
    where = np.argwhere(near)
    if len(where) <= MOST_KINKS:
        for one in map(tuple, where):
            alone = np.zeros_like(near)
            alone[one] = True
            yield grad_h * np.where(alone, flipped, slope)


# Derivatives of activations ----------------------------------------------------------------------


def _slopes(array: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """g′ of every activation at an array, and what its formula gives of that array as if h."""
    with jax.enable_x64(True):
        found = _jitted_slopes(jnp.asarray(array))
    return jax.tree.map(lambda t: np.asarray(t, np.float64), found)


@jax.jit
def _jitted_slopes(array: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    right = {name: slope_of(name, array) for name in ACTIVATIONS}
    misread = {name: g.derivative(array) for name, g in ACTIVATIONS.items()}
    return right, misread


def _loss_name(at: Truth) -> str:
    return at.net.loss if isinstance(at.net.loss, str) else getattr(at.net.loss, "name", "its loss")
