"""`compare_gradients`: the gradients of a hand-written backprop, one by one, from ∇ŷ down.

Each is held against the sweep in float64. One that is off is first computed again, by the right
formula, from the learner's own gradients above it: if that explains it, it `follows`. If not, the
mistakes of `mistakes` are tried, in it and in those gradients above it that were not given.
What explains it is taken to be what the learner has, and the walk goes on from there.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from ffnn_jax import backprop, checks, network
from ffnn_jax.backprop import Gradients
from ffnn_jax.comparison import mistakes, shapes
from ffnn_jax.comparison.mistakes import Mistake
from ffnn_jax.comparison.quantities import (
    Quantity,
    above,
    backward_order,
    by_quantity,
    read_gradients,
)
from ffnn_jax.comparison.report import Comparison, ComparisonRow
from ffnn_jax.comparison.truth import Grads, Spread, Truth, by_formula, spread, truth_at
from ffnn_jax.gradcheck import Diagnosis
from ffnn_jax.gradcheck.diagnosis import diagnose
from ffnn_jax.network import Network, Params

FACTOR = 8.0  # how many times the error of our sweep, or the error to expect, is allowed
ROUNDINGS = 4.0  # how many units of the dtype's rounding are allowed where our sweep is exact
FIT = 32.0  # within how many roundings a mistake explains a gradient, at least
LOOSEST_FIT = 0.05  # and within what, at most
TELLS = 0.5  # a bound above this part of the gradient decides nothing

_compiled = jax.jit(backprop.gradients)


def compare_gradients(
    net: Network,
    params: Params,
    x: ArrayLike,
    y: Any,
    mine: dict[str, Any] | Gradients,
    *,
    weights: ArrayLike | None = None,
) -> Comparison:
    """Your gradients against backprop, each with a verdict, and where to look first.

    Args:
      net: the network.
      params: its parameters, a tuple of `Layer(W, b)`.
      x: (*batch, n_0).
      y: the targets, as for `loss`.
      mine: what you computed, any part of it: a dict with the lecture's names, `yhat`, `a_2`,
        `h_1`, `W_1`, `b_2`, `x` (the same as `h_0`), or whole groups, `a`, `h`, `W`, `b` and
        `params`, as lists with None for what is missing; or a `Gradients` with None in it.
        Gradients of the loss as it stands here, the mean over the batch; NumPy or JAX arrays or
        nested lists, shaped as in `Gradients`.
      weights: (*batch,), as for `loss`.

    Returns:
      A `Comparison`: `.ok`, `.rows`, `.first_wrong`, and a table as `str(comparison)`.

    Raises:
      TypeError, ValueError: net, params, x, y or weights as for `loss`; an unknown name in mine,
        a layer that there is not, a value that is no array of real numbers, or nothing given.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> net = ffnn.Network((3, 4, 2), activation="tanh")
      >>> params = ffnn.init(net, jax.random.key(0))
      >>> x, y = jnp.ones((5, 3)), jnp.zeros((5, 2))
      >>> tape = ffnn.forward(net, params, x)
      >>> grad_yhat = 2 * (tape.yhat - y)
      >>> comparison = ffnn.compare_gradients(net, params, x, y, {"yhat": grad_yhat})
      >>> comparison.first_wrong.diagnosis.fault
      'scaled'
    """
    network.check_network(net)
    dtype = checks.check_params(net.sizes, params)
    network.check_examples(net, x, y, weights)
    if any(isinstance(t, Tracer) for t in jax.tree.leaves((params, x, y, weights))):
        raise TypeError("compare_gradients looks at values; call it outside jit and grad")
    given = read_gradients(net, mine)
    at = truth_at(net, params, x, y, weights)
    ours = _ours(at, net, params, x, y, weights)
    walk = _Walk(at, given, ours, _coarsest(net, dtype))
    rows = tuple(map(walk.row, (q for q in backward_order(net.depth) if q in given)))
    first = next(
        (q for q, row in zip(walk.seen, rows, strict=True) if row.verdict == "wrong"), None
    )
    return Comparison(rows, "" if first is None else _rule(net, first))


def _ours(at: Truth, net: Network, *args: Any) -> list[Grads]:
    """The library's gradients in the dtype of the parameters, computed eagerly and compiled."""
    params, x, y, weights = args
    ways = (backprop.gradients, _compiled)
    every = [way(net, params, x, y, weights=weights)[1] for way in ways]
    return [
        {q: at.rows(q, np.asarray(t, np.float64)) for q, t in by_quantity(grads).items()}
        for grads in every
    ]


def _coarsest(net: Network, dtype: np.dtype) -> float:
    """The rounding of the dtype in which the network computes."""
    u = float(jnp.finfo(dtype).eps)
    compute = net.plan.compute_dtype
    return u if compute is None else max(u, float(jnp.finfo(compute).eps))


# The walk ----------------------------------------------------------------------------------------


class _Error(NamedTuple):
    """How far a gradient is from another, and how far rounding may take it: norms, not ratios."""

    size: float
    close: float
    far: float
    truth: float

    def relative(self, value: float) -> float:
        return value / self.truth if self.truth > 0 else (0.0 if value == 0 else float("inf"))


class _Tried(NamedTuple):
    """A mistake at a place, how badly it fits, and with which factor it fits best, how badly."""

    place: Quantity
    mistake: Mistake
    misfit: float
    factor: float = 1.0
    scaled_misfit: float = float("inf")


class _Walk:
    """What is known of the learner's gradients so far, from ∇ŷ down."""

    def __init__(self, at: Truth, given: dict[Quantity, np.ndarray], ours: list[Grads], u: float):
        self.at, self.given, self.ours = at, given, ours
        self.u = max([u, *(float(jnp.finfo(t.dtype).eps) for t in given.values() if _floating(t))])
        finite = {q: np.where(np.isfinite(t), t, at.grads[q]) for q, t in ours[0].items()}
        with np.errstate(all="ignore"):
            self.spread: Spread = spread(at, finite, self.u)
        self.held: Grads = {}  # what the learner has, where it is not the truth
        self.why: dict[Quantity, str] = {}  # of those: wrong, or kink
        self.seen: list[Quantity] = []
        self.tolerances: dict[Quantity, float] = {}

    def row(self, q: Quantity) -> ComparisonRow:
        """The verdict on the next gradient."""
        self.seen.append(q)
        with np.errstate(all="ignore"):
            expected = shapes.shape_of(self.at, q)
            mine = np.asarray(self.given[q], np.float64)
            if mine.shape != expected:
                return self._of_another_shape(q, mine)
            return self._judge(q, self.at.rows(q, mine))

    def _of_another_shape(self, q: Quantity, mine: np.ndarray) -> ComparisonRow:
        found = shapes.mend(self.at, q, mine, lambda t: self._error(q, t).size)
        if found.mended is not None and not self._is_right(self._error(q, found.mended)):
            self._keep(q, found.mended, "wrong")
        return ComparisonRow(
            q.key, q.symbol, "wrong", float("inf"), self._bound(q), found.diagnosis
        )

    def _judge(self, q: Quantity, mine: np.ndarray) -> ComparisonRow:
        if any(np.array_equal(mine, way[q]) for way in self.ours):
            self._forget(q)
            return ComparisonRow(q.key, q.symbol, "exact", self._relative(q, mine), self._bound(q))
        error = self._error(q, mine)
        numbers = (error.relative(error.size), self._bound(q, error))
        if self._is_right(error):
            self._forget(q)
            sure = error.size <= error.close or error.far <= TELLS * error.truth
            note = "" if sure else "so much cancels that rounding may cost more than the gradient"
            return ComparisonRow(
                q.key, q.symbol, "equal" if sure else "unsure", *numbers, note=note
            )
        known = self._known()
        source = self._source(q)
        if source is not None and self._fits(q, mine, known[q]):
            self._keep(q, mine, self.why[source])
            if self.why[source] == "kink":
                note = f"with the slope at the kink that ∇a_{source.layer} has"
                return ComparisonRow(q.key, q.symbol, "equal", *numbers, note=note)
            note = f"the right formula, but of the wrong {source.symbol}"
            return ComparisonRow(q.key, q.symbol, "follows", *numbers, note=note)
        layer = self._kink(q, mine)
        if layer is not None:
            note = f"at the kink of g another slope: some a_{layer} are 0 up to rounding"
            return ComparisonRow(q.key, q.symbol, "equal", *numbers, note=note)
        diagnosis = self._diagnose(q, mine, known)
        self._keep(q, mine, "wrong")
        return ComparisonRow(q.key, q.symbol, "wrong", *numbers, diagnosis=diagnosis)

    # Errors

    def _error(self, q: Quantity, mine: np.ndarray) -> _Error:
        """The error of a gradient, at the entries that the dtype can hold."""
        truth, ours = self.at.grads[q], self.ours[0][q]
        settled = np.isfinite(truth) & np.isfinite(ours)
        size = _norm(truth[settled])
        off = _norm((ours - truth)[settled])
        error = _norm((mine - truth)[settled])
        close = FACTOR * off + ROUNDINGS * self.u * size
        far = close + FACTOR * _norm(self.spread.grads[q][settled])
        return _Error(error if np.isfinite(error) else float("inf"), close, far, size)

    def _is_right(self, error: _Error) -> bool:
        return error.size <= max(error.close, error.far)

    def _bound(self, q: Quantity, error: _Error | None = None) -> float:
        error = error or self._error(q, self.at.grads[q])
        return error.relative(error.close if error.size <= error.close else error.far)

    def _relative(self, q: Quantity, mine: np.ndarray) -> float:
        error = self._error(q, mine)
        return error.relative(error.size)

    def _fits(self, q: Quantity, mine: np.ndarray, candidate: np.ndarray) -> bool:
        return self._misfit(q, mine, candidate) <= 1

    def _misfit(self, q: Quantity, mine: np.ndarray, candidate: np.ndarray) -> float:
        """The distance of a candidate, 1 where it just explains mine."""
        size = _norm(candidate)
        if not (np.isfinite(size) and size > 0) or candidate.shape != mine.shape:
            return float("inf")
        misfit = _norm(mine - candidate) / (self._tolerance(q) * size)
        return misfit if np.isfinite(misfit) else float("inf")

    def _tolerance(self, q: Quantity) -> float:
        """The relative difference within which something explains q."""
        if q not in self.tolerances:
            error = self._error(q, self.at.grads[q])
            self.tolerances[q] = max(FIT * self.u, min(error.relative(error.far), LOOSEST_FIT))
        return self.tolerances[q]

    # What the learner has

    def _known(self, only: Quantity | None = None, others: Grads | None = None) -> Grads:
        """Every gradient as the learner must have it, going by what was given so far.

        Args:
          only: the one that is asked for: only those above it are computed besides.
          others: what to suppose the learner has.
        """
        held = self.held | (others or {})
        order = backward_order(self.at.net.depth) if only is None else self._path(only)
        known: Grads = {}
        for q in order:
            if q in held:
                known[q] = held[q]
            elif self._clean(q, held):
                known[q] = self.at.grads[q]
            else:
                known[q] = by_formula(self.at, q, known)
        return known

    def _path(self, q: Quantity) -> list[Quantity]:
        """From ∇ŷ down to q."""
        path, up = [q], above(q, self.at.net.depth)
        while up is not None:
            path.append(up)
            up = above(up, self.at.net.depth)
        return path[::-1]

    def _clean(self, q: Quantity, held: Grads) -> bool:
        """Whether nothing held went into q: the nearest given one above it is right."""
        return self._source(q, held) is None

    def _source(self, q: Quantity, held: Grads | None = None) -> Quantity | None:
        """The nearest gradient above q that is not the truth; None where a right one is nearer."""
        held = self.held if held is None else held
        up = above(q, self.at.net.depth)
        while up is not None:
            if up in held:
                return up
            if up in self.given and up in self.seen:
                return None
            up = above(up, self.at.net.depth)
        return None

    def _hidden(self, q: Quantity) -> Iterator[Quantity]:
        """The gradients above q, nearest first, that were not given."""
        up = above(q, self.at.net.depth)
        while up is not None and up not in self.given:
            yield up
            up = above(up, self.at.net.depth)

    def _keep(self, q: Quantity, value: np.ndarray, why: str) -> None:
        self.held[q], self.why[q] = value, why

    def _forget(self, q: Quantity) -> None:
        """q is right, so what was supposed of gradients above it that were not given is not so."""
        for up in self._hidden(q):
            self.held.pop(up, None)

    # Explanations

    def _kink(self, q: Quantity, mine: np.ndarray) -> int | None:
        """The layer in which another slope at a kink explains the gradient."""
        known, L = self._known(), self.at.net.depth
        for p in (q, *self._hidden(q)):
            if p.kind != "a" or p.layer == L:
                continue
            grad_h, given = known[Quantity("h", p.layer)], mine if p == q else None
            spread_a = self.spread.a[p.layer - 1]
            for value in mistakes.other_slopes(self.at, p.layer, spread_a, grad_h, given):
                if self._fits(q, mine, self._known(q, {p: value})[q] if p != q else value):
                    self._keep(p, value, "kink")
                    return p.layer
        return None

    def _diagnose(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis:
        """The simplest mistake that explains mine."""
        if not np.all(np.isfinite(mine)) or not np.any(mine):
            return self._in_general(q, mine, known)
        for tries in (self._factor, self._mistake, self._with_number, self._everywhere):
            found = tries(q, mine, known)
            if found is not None:
                return found
        return self._in_general(q, mine, known)

    def _factor(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        for right in (known[q], self.at.grads[q]):
            factor, misfit = self._scaled(q, mine, right)
            named = self._named(q, factor) if misfit <= 1 else None
            if named is None:
                continue
            number, fault, said = named
            up = next(self._hidden(q), None)
            if up is not None and up not in self.held:
                self._keep(up, number * known[up], "wrong")
            return Diagnosis(fault, said)
        return None

    def _named(self, q: Quantity, factor: float) -> tuple[float, str, str] | None:
        """The factor with a name that this one is."""
        for named in mistakes.factors(self.at, q):
            if abs(factor - named[0]) <= self._tolerance(q) * abs(named[0]):
                return named
        return None

    def _mistake(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        """A mistake, if need be with a factor besides, or the gradient of something else."""
        tried = [
            _Tried(p, one, self._misfit(q, mine, value), *self._scaled(q, mine, value))
            for p, one, value in self._candidates(q, known)
        ]
        others = [
            _Tried(q, one, self._misfit(q, mine, one.value))
            for one in mistakes.elsewhere(self.at, q)
        ]
        return self._best(q, tried) or self._best(q, others) or self._best_scaled(q, tried)

    def _candidates(
        self, q: Quantity, known: Grads
    ) -> Iterator[tuple[Quantity, Mistake, np.ndarray]]:
        """(where, the mistake, what it makes of q), in q and in what was not given above it."""
        for p in (*self._hidden(q), q):
            for one in mistakes.mistakes_in(self.at, p, known):
                yield p, one, one.value if p == q else self._known(q, {p: one.value})[q]

    def _scaled(self, q: Quantity, mine: np.ndarray, value: np.ndarray) -> tuple[float, float]:
        """The factor with which a value fits best, and its misfit then."""
        size = float(np.vdot(value, value))
        factor = float(np.vdot(value, mine)) / size if size > 0 else 0.0
        return factor, self._misfit(q, mine, factor * value)

    def _best(self, q: Quantity, tried: list["_Tried"]) -> Diagnosis | None:
        least = min((one.misfit for one in tried), default=float("inf"))
        if not least <= 1:
            return None
        p, one, *_ = next(t for t in tried if t.misfit <= max(2 * least, 0.1))
        if p == q:
            return Diagnosis(one.fault, one.message)
        self._keep(p, one.value, "wrong")
        return Diagnosis(one.fault, f"by way of {p.symbol}, which was not given: {one.message}")

    def _best_scaled(self, q: Quantity, tried: list["_Tried"]) -> Diagnosis | None:
        for p, one, _, factor, misfit in tried:
            named = self._named(q, factor) if misfit <= 1 else None
            if named is None:
                continue
            where = "" if p == q else f"by way of {p.symbol}, which was not given: "
            if p != q:
                self._keep(p, named[0] * one.value, "wrong")
            return Diagnosis(one.fault, f"{where}{one.message}; and it is {named[2]}")
        return None

    def _with_number(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        fitted = mistakes.with_a_number(self.at, q, known, mine)
        return self._best(q, [_Tried(q, one, self._misfit(q, mine, one.value)) for one in fitted])

    def _everywhere(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        """The same mistake in several gradients above q that were not given."""
        path = [p for p in (q, *self._hidden(q)) if p.kind in ("a", "h") and p.layer > 0]
        path = [p for p in path if p != ("a", self.at.net.depth)][::-1]
        for kind in ("a", "h"):
            places = [p for p in path if p.kind == kind]
            if len(places) < 2:
                continue
            for name in [one.name for one in mistakes.mistakes_in(self.at, places[0], known)]:
                made = self._made_at(places, name)
                if made and self._fits(q, mine, self._known(q, made[0])[q]):
                    for p, value in made[0].items():
                        self._keep(p, value, "wrong")
                    symbols = ", ".join(p.symbol for p in places)
                    said = f"in each of {symbols}: {made[1].message}"
                    return Diagnosis(made[1].fault, said)
        return None

    def _made_at(self, places: list[Quantity], name: str) -> tuple[Grads, Mistake] | None:
        """The gradients at these places when the mistake of that name is made at each."""
        made: Grads = {}
        last = None
        for p in places:
            tried = mistakes.mistakes_in(self.at, p, self._known(p, made))
            last = next((one for one in tried if one.name == name), None)
            if last is None:
                return None
            made[p] = last.value
        return None if last is None else (made, last)

    def _in_general(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis:
        """What can be said of any gradient, going by those above it or by the truth."""
        found = diagnose(mine, known[q], self._tolerance(q))
        if found.fault == "wrong":
            found = diagnose(mine, self.at.grads[q], self._tolerance(q))
        return found


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


def _floating(array: np.ndarray) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


def _rule(net: Network, q: Quantity) -> str:
    """The formula of a gradient, in the lecture's symbols."""
    k, L = q.layer, net.depth
    if q.kind == "yhat":
        loss = net.loss if isinstance(net.loss, str) else None
        forms = {
            "squared_error": "∇ŷ = 2(ŷ − y)/N",
            "cross_entropy": "∇ŷ = −(y/ŷ)/N",
            "binary_cross_entropy": "∇ŷ = (−y/ŷ + (1 − y)/(1 − ŷ))/N",
        }
        return forms.get(loss or "", "∇ŷ = ∂ℓ/∂ŷ / N")
    if q.kind == "a" and k == L:
        pairs = {
            ("softmax", "cross_entropy"): f"∇a_{k} = (ŷ − y)/N",
            ("logistic", "binary_cross_entropy"): f"∇a_{k} = (ŷ − y)/N",
            ("linear", "squared_error"): f"∇a_{k} = 2(ŷ − y)/N",
        }
        general = f"∇a_{k} = J_Oᵀ ∇ŷ, J_O = {mistakes.JACOBIANS[net.output]}"
        return pairs.get((net.output, net.loss), general)  # type: ignore[arg-type]
    return {
        "a": f"∇a_{k} = ∇h_{k} ⊙ g′(a_{k})",
        "h": f"∇h_{k} = W_{k + 1}ᵀ ∇a_{k + 1}",
        "W": f"∇W_{k} = ∇a_{k} h_{k - 1}ᵀ, summed over the batch",
        "b": f"∇b_{k} = ∇a_{k}, summed over the batch",
    }[q.kind]
