"""What the voices say for one cotangent, and how far one is from another."""

import jax.numpy as jnp
import numpy as np

from ffnn_jax.gradcheck.voices import Voice, Voices


class Draw:
    """One cotangent, and what each voice says for it; None where it cannot speak.

    The voices are heard when they are asked for, and once more after `forget`, so that not all of
    their gradients need be there at the same time. The leaves are there twice, `wide` in float64.

    Attributes:
      cotangents: one array for each output, float64.
      values: the outputs, as each voice that was heard gave them.
    """

    def __init__(self, voices: Voices, leaves: list, wide: list, cotangents: list[np.ndarray]):
        self.cotangents = cotangents
        self._voices = voices
        self._leaves = {"rule": leaves, "autodiff": leaves, "truth": wide, "rule_wide": wide}
        self._heard: dict[str, Voice | None] = {}
        self.values: dict[str, list[np.ndarray]] = {}

    @property
    def rule(self) -> Voice:
        """The rule. Raises whatever it raises."""
        if "rule" not in self._heard:
            self.listen("rule")
        voice = self._heard["rule"]
        assert voice is not None
        return voice

    @property
    def autodiff(self) -> Voice | None:
        """Autodiff in the same dtypes; None as for `truth`."""
        return self._hear("autodiff")

    @property
    def truth(self) -> Voice | None:
        """Autodiff in float64; None where it cannot go, through some loops and callbacks."""
        return self._hear("truth")

    @property
    def rule_wide(self) -> Voice | None:
        """The formulas of the rule in float64; None where they cannot be run there."""
        return self._hear("rule_wide")

    @property
    def best(self) -> Voice:
        """The rule in float64 if it can be had, else in its dtypes."""
        return self.rule_wide or self.rule

    def true(self, i: int) -> np.ndarray:
        """The gradient of leaf i by the truth, where it can speak."""
        assert self.truth is not None
        return self.truth.grad(i)

    def listen(self, name: str) -> None:
        """Hears a voice now. Raises whatever it raises."""
        voice = getattr(self._voices, name)(self._leaves[name], self.cotangents)
        self._heard[name], self.values[name] = voice, voice.values

    def forget(self, name: str) -> None:
        """Lets go of what this voice said; that it cannot speak is remembered."""
        if self._heard.get(name):
            del self._heard[name]

    def _hear(self, name: str) -> Voice | None:
        if name not in self._heard:
            try:
                self.listen(name)
            except Exception:
                self._heard[name] = None
        return self._heard[name]


def error(found: np.ndarray, truth: np.ndarray) -> float:
    """‖found − truth‖ / ‖truth‖; ∞ where found is not finite and truth is."""
    settled = np.isfinite(truth)
    if not np.all(settled):
        found, truth = found[settled], truth[settled]
    if not np.all(np.isfinite(found)):
        return float("inf")
    size = np.linalg.norm(truth)
    return float(np.linalg.norm(found - truth) / (size if size > 0 else 1.0))


def fits(x: np.ndarray, dtype: str) -> np.ndarray:
    """Which entries a shorter dtype has the digits, and the range, for."""
    with np.errstate(over="ignore"):
        return np.asarray(jnp.asarray(x, dtype), np.float64) == np.asarray(x, np.float64)


def rms(x: np.ndarray) -> float:
    """√(mean of x²); 0 of no entries."""
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
