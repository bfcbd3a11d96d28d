"""The gradients of a network by name, in the order of the sweep, and how a learner hands them over.

∇ŷ, ∇a_L, ∇W_L, ∇b_L, ∇h_{L−1}, ∇a_{L−1}, ∇W_{L−1}, …, ∇b_1, ∇h_0
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ffnn_jax import checks
from ffnn_jax.backprop import Gradients
from ffnn_jax.network import Network

GROUPS = ("a", "h", "W", "b")
JACOBIANS = {"linear": "I", "softmax": "diag(ŷ) − ŷŷᵀ", "logistic": "diag(ŷ (1 − ŷ))"}
DIFFERENCES = {  # where ∇a_L is ŷ − y, times this
    ("softmax", "cross_entropy"): "",
    ("logistic", "binary_cross_entropy"): "",
    ("linear", "squared_error"): "2",
}


class Quantity(NamedTuple):
    """What a gradient is with respect to.

    Attributes:
      kind: yhat, a, h, W or b.
      layer: k of a_k, h_k, W_k and b_k; L for ŷ.
    """

    kind: str
    layer: int

    @property
    def key(self) -> str:
        """Such as `W_2`; `yhat` for ŷ."""
        return "yhat" if self.kind == "yhat" else f"{self.kind}_{self.layer}"

    @property
    def symbol(self) -> str:
        """Such as ∇W_2; ∇ŷ."""
        return "∇ŷ" if self.kind == "yhat" else f"∇{self.key}"


def backward_order(depth: int) -> list[Quantity]:
    """Every gradient of a network of L layers, each after those that it is computed from."""
    order = [Quantity("yhat", depth)]
    for k in range(depth, 0, -1):
        order += [Quantity("a", k), Quantity("W", k), Quantity("b", k), Quantity("h", k - 1)]
    return order


def above(q: Quantity, depth: int) -> Quantity | None:
    """The gradient that q is computed from; None for ∇ŷ."""
    if q.kind in ("W", "b"):
        return Quantity("a", q.layer)
    if q.kind == "h":
        return Quantity("a", q.layer + 1)
    if q.kind == "a":
        return Quantity("yhat" if q.layer == depth else "h", q.layer)
    return None


def formula_of(net: Network, q: Quantity, batch: tuple[int, ...], *, weighted: bool = False) -> str:
    """The formula of a gradient, in the lecture's symbols; batch is () for one example.

    Where the examples have weights, each counts w_n/Σw in place of 1/N.
    """
    k, L = q.layer, net.depth
    N, summed = ("/N", ", summed over the batch") if batch else ("", "")
    N = " w_n/Σw" if weighted else N
    if q.kind == "yhat":
        loss = net.loss if isinstance(net.loss, str) else None
        forms = {
            "squared_error": "2(ŷ − y)",
            "cross_entropy": "−(y/ŷ)",
            "binary_cross_entropy": "(−y/ŷ + (1 − y)/(1 − ŷ))",
        }
        return f"∇ŷ = {forms.get(loss or '', '∂ℓ/∂ŷ')}{N}"
    if q.kind == "a" and k == L:
        if (net.output, net.loss) in DIFFERENCES:
            return f"∇a_{k} = {DIFFERENCES[net.output, str(net.loss)]}(ŷ − y){N}"
        return f"∇a_{k} = J_Oᵀ ∇ŷ, J_O = {JACOBIANS[net.output]}"
    return {
        "a": f"∇a_{k} = ∇h_{k} ⊙ g′(a_{k})",
        "h": f"∇h_{k} = W_{k + 1}ᵀ ∇a_{k + 1}",
        "W": f"∇W_{k} = ∇a_{k} h_{k - 1}ᵀ{summed}",
        "b": f"∇b_{k} = ∇a_{k}{summed}",
    }[q.kind]


def by_quantity(grads: Gradients) -> dict[Quantity, Any]:
    """Every gradient of a complete `Gradients`, by name."""
    found = {Quantity("yhat", len(grads.a)): grads.yhat}
    for k, (layer, a, h) in enumerate(zip(grads.params, grads.a, grads.h, strict=True), start=1):
        found |= {Quantity("a", k): a, Quantity("h", k - 1): h}
        found |= {Quantity("W", k): layer.W, Quantity("b", k): layer.b}
    return found


def read_gradients(net: Network, mine: Any) -> dict[Quantity, np.ndarray]:
    """What the learner gave, by name, as NumPy arrays of the dtypes that came.

    Raises:
      TypeError: `mine` is no dict and no `Gradients`, or a value is no array of real numbers.
      ValueError: an unknown name, a layer that there is not, a gradient given twice, a list of the
        wrong length, or nothing given at all.
    """
    if isinstance(mine, Gradients):
        mine = mine._asdict()
    if not isinstance(mine, Mapping):
        hint = "; for gradients of the parameters alone: {'params': grads}"
        raise TypeError(
            f"mine: expected a dict such as {{'a_1': …}}, or a Gradients; got {checks.kind(mine)}"
            f"{hint if isinstance(mine, tuple | list) else ''}"
        )
    given: dict[Quantity, np.ndarray] = {}
    for key, value in mine.items():
        for q, name, one in _named(net, key, value):
            if one is None:
                continue
            if q in given:
                raise ValueError(f"mine[{name}]: {q.symbol} is given twice")
            given[q] = _array(f"mine[{name}]", one)
    if not given:
        raise ValueError("mine: expected at least one gradient, such as {'yhat': …}; got none")
    return given


def _named(net: Network, key: Any, value: Any) -> Iterator[tuple[Quantity, str, Any]]:
    """(quantity, how it was called, value) of everything under one key."""
    L = net.depth
    name = repr(key)
    if key == "params":
        for k, layer in enumerate(_listed(name, value, L, "∇W_k, ∇b_k for k = 1 … L"), start=1):
            for kind, part in _parts(f"mine[{name}][{k - 1}]", layer):
                yield Quantity(kind, k), f"{name}][{k - 1}].{kind}", part
    elif key in GROUPS:
        first = 0 if key == "h" else 1
        which = f"∇{key}_{first} … ∇{key}_{L - 1 + first}"
        for i, one in enumerate(_listed(name, value, L, which)):
            yield Quantity(key, i + first), f"{name}][{i}", one
    else:
        yield _quantity(net, key), name, value


def _listed(name: str, value: Any, count: int, which: str) -> tuple[Any, ...]:
    """A list of one thing a layer, None where there is none; nothing at all for None."""
    if value is None:
        return ()
    if not isinstance(value, tuple | list):
        raise TypeError(
            f"mine[{name}]: expected a list of {count}, {which}; got {checks.kind(value)}"
        )
    if len(value) != count:
        raise ValueError(f"mine[{name}]: expected {count}, {which}; got {len(value)}")
    return tuple(value)


def _parts(name: str, layer: Any) -> list[tuple[str, Any]]:
    """(kind, value) of W and b of one layer: a `Layer`, a pair, a dict or None."""
    if layer is None:
        return []
    if isinstance(layer, Mapping) and set(layer) <= {"W", "b"}:
        return list(layer.items())
    if isinstance(layer, tuple | list) and len(layer) == 2:
        return [("W", layer[0]), ("b", layer[1])]
    raise TypeError(f"{name}: expected Layer(W, b) or None, got {checks.kind(layer)}")


def _quantity(net: Network, key: Any) -> Quantity:
    """The quantity that a key such as `W_2` names, or an error that offers the nearest one."""
    L = net.depth
    if not isinstance(key, str):
        raise TypeError(f"mine: expected names such as 'W_1' as keys, got {key!r}")
    if key == "yhat":
        return Quantity("yhat", L)
    if key == "x":
        return Quantity("h", 0)
    order = {q.key: q for q in backward_order(L)}
    if key in order:
        return order[key]
    match = re.fullmatch(r"(a|h|W|b)_(-?\d+)", key)
    if match:
        kind, first = match[1], 0 if match[1] == "h" else 1
        last = L - 1 + first
        hint = "; h_L is ŷ: its gradient is 'yhat'" if key == f"h_{L}" else ""
        counted = "" if kind == "h" else ", counted from 1"
        raise ValueError(
            f"mine[{key!r}]: the network has {kind}_{first} … {kind}_{last}{counted}{hint}"
        )
    known = [*order, "x", "params", *GROUPS]
    near = difflib.get_close_matches(key.lstrip("∇d"), known, n=1, cutoff=0.5)
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.35)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    names = f"'yhat', 'a_1' … 'a_{L}', 'h_0' … 'h_{L - 1}', 'W_1' … 'W_{L}', 'b_1' … 'b_{L}'"
    raise ValueError(
        f"mine[{key!r}]: expected one of {names}, 'x', or a whole group: "
        f"'a', 'h', 'W', 'b', 'params'.{hint}"
    )


def _array(name: str, value: Any) -> np.ndarray:
    """A value as a NumPy array of real numbers; nested lists are taken too."""
    if isinstance(value, Tracer):
        raise TypeError(f"{name}: compare_gradients looks at values; call it outside jit and grad")
    if isinstance(value, np.ma.MaskedArray) or hasattr(value, "toarray"):
        raise TypeError(f"{name}: expected an array, got {checks.kind(value)}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: expected an array of numbers; {error}") from None
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if not real or jnp.issubdtype(array.dtype, np.timedelta64):
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array
