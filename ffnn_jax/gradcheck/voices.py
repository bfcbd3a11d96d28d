"""What there is to hear about a gradient: the rule, autodiff, both in float64, and the function.

Everything is traced once and compiled when first asked for; points and cotangents may change.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.primal import OPAQUE, Noise, Traced, noise_size, quick_jit

Arrays = list[np.ndarray]


class Voice(NamedTuple):
    """What one of them says at one point, for one cotangent, in the dtypes that it speaks in.

    Attributes:
      values: the outputs of the function, as they are under differentiation.
      grads: the gradient with respect to each leaf.
    """

    values: Arrays
    grads: Arrays

    def grad(self, i: int) -> np.ndarray:
        """The gradient of leaf i, in float64."""
        return np.asarray(self.grads[i], np.float64)


class Voices:
    """A function with custom rules and its primal, ready to be differentiated.

    Attributes:
      fn: a function of a list of floating arrays, its outputs a list of floating arrays.
      plain: the same as a `Traced`, custom rules taken away.
      inputs: the shapes and dtypes of the leaves.
      outputs: those of the outputs.
    """

    def __init__(self, fn: Callable[[list], list], plain: Traced, leaves: Sequence[Any]):
        self.fn = fn
        self.plain = plain
        self.inputs = [jax.ShapeDtypeStruct(t.shape, t.dtype) for t in leaves]
        self.outputs = [jax.ShapeDtypeStruct(t.shape, t.dtype) for t in jax.eval_shape(fn, leaves)]

    def rule(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Voice:
        """The rule, in the dtypes it is used in. Raises whatever the rule raises."""
        return self._heard(self._rule, [*leaves, *cotangents])

    def autodiff(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Voice:
        """Autodiff of the primal in the same dtypes. Raises where JAX cannot differentiate it."""
        return self._heard(self._autodiff, [*leaves, *cotangents])

    def truth(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Voice:
        """Autodiff of the primal in float64."""
        return self._heard_wide(self._truth, leaves, cotangents)

    def rule_wide(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Voice:
        """The formulas of the rule in float64, whatever dtype it computes them in."""
        return self._heard_wide(self._rule_wide, leaves, cotangents)

    def noisy_truth(
        self, leaves: Sequence[Any], cotangents: Sequence[Any], seed: int, times: float = 1.0
    ) -> Voice:
        """The truth with an error of rounding on every result, as in the dtypes of the function.

        The errors are `times` as large as those.
        """
        return self._heard_wide(self._noisy_truth, leaves, cotangents, times * self._draws(seed))

    def eager(self, leaves: Sequence[Any], cotangents: Sequence[Any], rule: bool = True) -> Voice:
        """The rule, or autodiff, run operation by operation and not compiled as a whole."""
        return self._heard(self._pullback(self.fn if rule else self.plain), [*leaves, *cotangents])

    def objective(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> float:
        """Σ ⟨cotangent, output⟩ of the primal in float64: what differences are taken of."""
        with jax.enable_x64(True):
            return float(self._objective(widened(leaves), widened(cotangents)))

    @property
    def coarse(self) -> float:
        """The unit of rounding of the primal in float64, if something in it runs in its own dtype.

        That of the coarsest dtype of its inputs and outputs then, and 0 otherwise.
        """
        units = [float(jnp.finfo(t.dtype).eps) for t in (*self.inputs, *self.outputs)]
        shorter = max(units) > float(np.finfo(np.float64).eps)
        return max(units) if shorter and self.plain.holds(OPAQUE) else 0.0

    @property
    def rule_sees_dtypes(self) -> bool:
        """Whether something in the rule does."""
        return self._traced_rule.holds(OPAQUE)

    def rule_dtype(self, i: int) -> np.dtype:
        """The dtype of the rule's gradient of leaf i."""
        return self._traced_rule.jaxpr.out_avals[len(self.outputs) + i].dtype

    @property
    def stops_gradients(self) -> bool:
        """Whether the primal says itself that its gradient is meant to differ."""
        return self.plain.holds(frozenset({"stop_gradient"}))

    # Compiled when first asked for ---------------------------------------------------------------

    @cached_property
    def _traced_rule(self) -> Traced:
        return self._pull(self.fn)

    @cached_property
    def _rule(self) -> Callable[[list], list]:
        return self._traced_rule.compiled(Traced.__call__, jax.jit)

    @cached_property
    def _traced_autodiff(self) -> Traced:
        return self._pull(self.plain)

    @cached_property
    def _autodiff(self) -> Callable[[list], list]:
        return self._traced_autodiff.compiled(Traced.__call__, jax.jit)

    @cached_property
    def _truth(self) -> Callable[..., list]:
        return self._traced_autodiff.compiled(Traced.wide, quick_jit)

    @cached_property
    def _rule_wide(self) -> Callable[..., list]:
        return self._traced_rule.compiled(Traced.wide, quick_jit)

    @cached_property
    def _noisy_truth(self) -> Callable[..., list]:
        def noisy(autodiff: Traced, arrays: list, draws: jax.Array) -> list:
            return autodiff.wide(arrays, Noise(draws))

        return self._traced_autodiff.compiled(noisy, quick_jit)

    def _draws(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).uniform(-1, 1, noise_size(self._traced_autodiff.jaxpr))

    @cached_property
    def _objective(self) -> Callable[..., jax.Array]:
        def objective(plain: Traced, leaves: list, cotangents: list) -> jax.Array:
            outputs = plain.wide(leaves)
            return sum(
                (jnp.sum(c * t) for c, t in zip(cotangents, outputs, strict=True)),
                start=jnp.zeros((), jnp.float64),
            )

        return Traced(self.plain.jaxpr, final=True).compiled(objective, quick_jit)

    def _pull(self, fn: Callable[[list], list]) -> Traced:
        """`_pullback` as a jaxpr."""
        return Traced.of(self._pullback(fn), [*self.inputs, *self.outputs], final=True)

    def _pullback(self, fn: Callable[[list], list]) -> Callable[[list], list]:
        """[*leaves, *cotangents] -> [*outputs, *gradients]."""

        def pull(arrays: list) -> list:
            leaves, cotangents = arrays[: len(self.inputs)], arrays[len(self.inputs) :]
            outputs, pullback = jax.vjp(fn, leaves)
            return [*outputs, *pullback(list(cotangents))[0]]

        return pull

    def _heard(self, pull: Callable[[list], list], arrays: list[Any]) -> Voice:
        dtypes = [t.dtype for t in (*self.inputs, *self.outputs)]
        arrays = [jnp.asarray(t, d) for t, d in zip(arrays, dtypes, strict=True)]
        return self._voice(pull(arrays))

    def _heard_wide(self, pull: Any, leaves: Any, cotangents: Any, *noise: np.ndarray) -> Voice:
        with jax.enable_x64(True):
            return self._voice(pull(widened([*leaves, *cotangents]), *noise))

    def _voice(self, results: list[Any]) -> Voice:
        arrays = [np.asarray(t) for t in results]
        return Voice(arrays[: len(self.outputs)], arrays[len(self.outputs) :])


def widened(arrays: Sequence[Any]) -> list[jax.Array]:
    """The arrays in float64; those that are so already are not copied."""
    with jax.enable_x64(True):
        return [
            jnp.asarray(t if t.dtype == np.float64 else np.asarray(t, np.float64)) for t in arrays
        ]
