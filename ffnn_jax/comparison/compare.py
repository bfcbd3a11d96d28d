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
from ffnn_jax.comparison.factors import named_factors
from ffnn_jax.comparison.learner import Learner
from ffnn_jax.comparison.mistakes import Mistake
from ffnn_jax.comparison.quantities import (
    DIFFERENCES,
    Quantity,
    backward_order,
    by_quantity,
    formula_of,
    read_gradients,
)
from ffnn_jax.comparison.report import Comparison, ComparisonRow
from ffnn_jax.comparison.truth import Grads, Truth, truth_at
from ffnn_jax.gradcheck import Diagnosis
from ffnn_jax.gradcheck.diagnosis import diagnose
from ffnn_jax.network import Network, Params

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
    weighted = bool(np.ptp(at.share))
    rule = "" if first is None else formula_of(net, first, at.batch, weighted=weighted)
    return Comparison(rows, rule)


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


class _Tried(NamedTuple):
    """A mistake at a place, how badly it fits, and with which factor it fits best, how badly."""

    place: Quantity
    mistake: Mistake
    misfit: float
    factor: float = 1.0
    scaled_misfit: float = float("inf")


class _Walk(Learner):
    """The verdicts, from ∇ŷ down."""

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
        found = shapes.mend(self.at, q, mine, lambda t: self.error(q, t).size)
        if found.mended is not None and not self.is_right(self.error(q, found.mended)):
            self.keep(q, found.mended, "wrong")
        return ComparisonRow(q.key, q.symbol, "wrong", float("inf"), self.bound(q), found.diagnosis)

    def _judge(self, q: Quantity, mine: np.ndarray) -> ComparisonRow:
        if any(np.array_equal(mine, way[q]) for way in self.ours):
            self.forget(q)
            return ComparisonRow(q.key, q.symbol, "exact", self.relative(q, mine), self.bound(q))
        error = self.error(q, mine)
        numbers = (error.relative(error.size), self.bound(q, error))
        if self.is_right(error):
            self.forget(q)
            sure = error.size <= error.close or error.far <= TELLS * error.truth
            note = "" if sure else "so much cancels that rounding may cost more than the gradient"
            return ComparisonRow(
                q.key, q.symbol, "equal" if sure else "unsure", *numbers, note=note
            )
        known = self.known()
        source = self.source(q)
        if source is not None and self.fits(q, mine, known[q]):
            self.keep(q, mine, self.why[source])
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
        self.keep(q, mine, "wrong")
        return ComparisonRow(q.key, q.symbol, "wrong", *numbers, diagnosis=diagnosis)

    # Explanations

    def _kink(self, q: Quantity, mine: np.ndarray) -> int | None:
        """The layer in which another slope at a kink explains the gradient."""
        known, L = self.known(), self.at.net.depth
        for p in (q, *self.hidden(q)):
            if p.kind != "a" or p.layer == L:
                continue
            grad_h, given = known[Quantity("h", p.layer)], mine if p == q else None
            spread_a = self.spread.a[p.layer - 1]
            for value in mistakes.other_slopes(self.at, p.layer, spread_a, grad_h, given):
                if self.fits(q, mine, self.known(q, {p: value})[q] if p != q else value):
                    self.keep(p, value, "kink")
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
            factor, misfit = self.scaled(q, mine, right)
            named = self._named(q, factor) if misfit <= 1 else None
            if named is None:
                continue
            number, fault, said = named
            up = next(self.hidden(q), None)
            if up is not None and up not in self.held:
                self.keep(up, number * known[up], "wrong")
            return Diagnosis(fault, said)
        return None

    def _named(self, q: Quantity, factor: float) -> tuple[float, str, str] | None:
        """The factor with a name that this one is."""
        for named in named_factors(self.at, q, (q, *self.hidden(q))):
            if abs(factor - named[0]) <= self.tolerance(q) * abs(named[0]):
                return named
        return None

    def _mistake(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        """A mistake, if need be with a factor besides, or the gradient of something else."""
        tried = [
            _Tried(p, one, self.misfit(q, mine, value), *self.scaled(q, mine, value))
            for p, one, value in self._candidates(q, known)
        ]
        others = [
            _Tried(q, one, self.misfit(q, mine, one.value))
            for one in mistakes.elsewhere(self.at, q)
        ]
        return self._best(q, tried) or self._best(q, others) or self._best_scaled(q, tried)

    def _candidates(
        self, q: Quantity, known: Grads
    ) -> Iterator[tuple[Quantity, Mistake, np.ndarray]]:
        """(where, the mistake, what it makes of q), in q and in what was not given above it."""
        places = [*self.hidden(q), q]
        if q == ("a", self.at.net.depth) and (self.at.net.output, self.at.net.loss) in DIFFERENCES:
            places.reverse()  # ŷ − y is written down without ∇ŷ
        for p in places:
            for one in mistakes.mistakes_in(self.at, p, known):
                yield p, one, one.value if p == q else self.known(q, {p: one.value})[q]

    def scaled(self, q: Quantity, mine: np.ndarray, value: np.ndarray) -> tuple[float, float]:
        """The factor with which a value fits best, and its misfit then."""
        size = float(np.vdot(value, value))
        factor = float(np.vdot(value, mine)) / size if size > 0 else 0.0
        return factor, self.misfit(q, mine, factor * value)

    def _best(self, q: Quantity, tried: list["_Tried"]) -> Diagnosis | None:
        least = min((one.misfit for one in tried), default=float("inf"))
        if not least <= 1:
            return None
        equal = [t for t in tried if t.misfit <= max(2 * least, 0.1)]
        p, one, *_ = equal[0]
        here = dict.fromkeys(t.mistake.message for t in equal if t.place == p)
        said = "; or: ".join(here)
        if p == q:
            return Diagnosis(one.fault, said)
        self.keep(p, one.value, "wrong")
        return Diagnosis(one.fault, f"by way of {p.symbol}, which was not given: {said}")

    def _best_scaled(self, q: Quantity, tried: list["_Tried"]) -> Diagnosis | None:
        for p, one, _, factor, misfit in tried:
            named = self._named(q, factor) if misfit <= 1 else None
            if named is None:
                continue
            where = "" if p == q else f"by way of {p.symbol}, which was not given: "
            if p != q:
                self.keep(p, named[0] * one.value, "wrong")
            return Diagnosis(one.fault, f"{where}{one.message}; and it is {named[2]}")
        return None

    def _with_number(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        fitted = mistakes.with_a_number(self.at, q, known, mine)
        return self._best(q, [_Tried(q, one, self.misfit(q, mine, one.value)) for one in fitted])

    def _everywhere(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis | None:
        """The same mistake in several gradients above q that were not given."""
        path = [p for p in (q, *self.hidden(q)) if p.kind in ("a", "h") and p.layer > 0]
        path = [p for p in path if p != ("a", self.at.net.depth)][::-1]
        for kind in ("a", "h"):
            places = [p for p in path if p.kind == kind]
            if len(places) < 2:
                continue
            for name in [one.name for one in mistakes.mistakes_in(self.at, places[0], known)]:
                made = self._made_at(places, name)
                if made and self.fits(q, mine, self.known(q, made[0])[q]):
                    for p, value in made[0].items():
                        self.keep(p, value, "wrong")
                    symbols = ", ".join(p.symbol for p in places)
                    said = f"in each of {symbols}: {made[1].message}"
                    return Diagnosis(made[1].fault, said)
        return None

    def _made_at(self, places: list[Quantity], name: str) -> tuple[Grads, Mistake] | None:
        """The gradients at these places when the mistake of that name is made at each."""
        made: Grads = {}
        last = None
        for p in places:
            tried = mistakes.mistakes_in(self.at, p, self.known(p, made))
            last = next((one for one in tried if one.name == name), None)
            if last is None:
                return None
            made[p] = last.value
        return None if last is None else (made, last)

    def _in_general(self, q: Quantity, mine: np.ndarray, known: Grads) -> Diagnosis:
        """What can be said of any gradient, going by those above it or by the truth."""
        found = diagnose(mine, known[q], self.tolerance(q))
        if found.fault == "wrong":
            found = diagnose(mine, self.at.grads[q], self.tolerance(q))
        return found
