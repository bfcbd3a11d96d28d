"""The table of exercises: the functions to fill in, and who judges them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from judging import chain, descent, layers, output, rule


class Exercise(NamedTuple):
    """One exercise.

    Attributes:
      title: its heading.
      functions: the names of those to fill in.
      judge: takes them, and NumPy's generator, and gives a `Finding` for each.
    """

    title: str
    functions: tuple[str, ...]
    judge: Callable[..., Any]


EXERCISES = {
    1: Exercise(
        "1. The squared error, and the linear output",
        ("linear_output", "squared_error"),
        output.squared_error,
    ),
    2: Exercise("2. Softmax, and its safety", ("softmax",), output.softmax),
    3: Exercise(
        "3. Cross-entropy, from ŷ and safely from a_L",
        ("cross_entropy", "cross_entropy_from_a_L"),
        output.cross_entropy,
    ),
    4: Exercise(
        "4. Gradient descent: one step, and the loop",
        ("step", "gradient_descent"),
        descent.descent,
    ),
    5: Exercise(
        "5. The chain rule in a deep but thin network",
        ("factors", "gradient_of_W_111"),
        chain.thin,
    ),
    6: Exercise("6. ∇ŷ", ("grad_yhat", "grad_yhat_of_squared_error"), layers.yhat),
    7: Exercise("7. ∇a_L", ("pull_back", "grad_a_L"), layers.a_L),
    8: Exercise("8. ∇h_k", ("grad_h",), layers.h_k),
    9: Exercise("9. ∇a_k", ("grad_a_sigmoid", "grad_a_tanh", "grad_a_relu"), layers.a_k),
    10: Exercise("10. ∇W_k and ∇b_k", ("grad_W", "grad_b"), layers.W_k_and_b_k),
    11: Exercise("11. The whole algorithm, for one example", ("gradients",), layers.whole),
    12: Exercise("12. Batches", ("gradients",), layers.batches),
    13: Exercise(
        "13. A custom_vjp of your own for the whole network",
        ("forward", "backward", "loss"),
        rule.rule,
    ),
}
