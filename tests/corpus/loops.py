"""Right rules of loops and callbacks, which autodiff cannot reverse, and of fast waves."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.base import WIDE, Operation


# x = ½ (x + a/x) and x = cos(a x)/2, solved by loops that autodiff cannot reverse
def newton(a):
    step = lambda state: (0.5 * (state[0] + a / state[0]), state[1] + 1)  # noqa: E731
    return jax.lax.while_loop(lambda state: state[1] < 30, step, (jnp.ones_like(a) * 1.5, 0))[0]


def fixed(a):
    step = lambda state: (jnp.cos(a * state[0]) / 2, state[1] + 1)  # noqa: E731
    return jax.lax.while_loop(lambda state: state[1] < 80, step, (jnp.full_like(a, 0.4), 0))[0]


def fixed_pull(d, a):
    """x = c(a x)/2: dx/da = −s x/2 / (1 + s a/2), s = sin(a x)."""
    x = fixed(a)
    s = jnp.sin(a * x) / 2
    return (-d * s * x / (1 + a * s),)


def jacobi(A, b):
    """A x = b by sweeps until 60 are done."""
    D = jnp.diag(A)
    step = lambda state: ((b - (A - jnp.diag(D)) @ state[0]) / D, state[1] + 1)  # noqa: E731
    return jax.lax.while_loop(lambda state: state[1] < 60, step, (jnp.zeros_like(b), 0))[0]


def jacobi_pull(d, A, b):
    w = jacobi(A.T, d)
    return -jnp.outer(w, jacobi(A, b)), w


def bisection(a):
    """The root of x³ + x = a, between −3 and 3, polished by Newton's steps."""

    def step(state):
        x, n = state
        return x - (x**3 + x - a) / (3 * x * x + 1), n + 1

    return jax.lax.while_loop(lambda state: state[1] < 40, step, (jnp.zeros_like(a), 0))[0]


def counted(x):
    """x multiplied by 1.1 a number of times that depends on no traced value."""
    return jax.lax.while_loop(lambda s: s[1] < 5, lambda s: (s[0] * 1.5, s[1] + 1), (x, 0))[0]


def host(function):
    def call(x):
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        as_is = lambda t: np.asarray(function(np.asarray(t)), x.dtype)  # noqa: E731
        return jax.pure_callback(as_is, result, x, vmap_method="sequential")

    return call


def high(frequency):
    return Operation(
        "loops",
        f"sin({frequency:g} x)",
        lambda x: jnp.sin(frequency * x),
        lambda draw: (draw.between(-1, 1, 6),),
        WIDE,
    ).right("cos", lambda d, x: (d * frequency * jnp.cos(frequency * x),))


def op(name, value, args=lambda draw: (draw(5),)):
    return Operation("loops", name, value, args, WIDE)


GENTLE = lambda draw: (draw.between(0.2, 1.2, 4),)  # noqa: E731
POSITIVE = lambda draw: (draw.between(0.5, 3, 4),)  # noqa: E731
SYSTEM = lambda draw: (draw.of([[5, 1, 0], [1, 4, 1], [0, 1, 6]]), draw(3))  # noqa: E731

LOOPS = (
    op("square root by Newton", newton, POSITIVE).right(
        "implicit: 1/(2x)", lambda d, a: (d / (2 * newton(a)),)
    ),
    op("fixed point of cos", fixed, GENTLE).right("implicit", fixed_pull),
    op("linear system by sweeps", jacobi, SYSTEM).right("implicit: adjoint sweeps", jacobi_pull),
    op("cubic root by loop", bisection, POSITIVE).right(
        "implicit: 1/(3x² + 1)", lambda d, a: (d / (3 * bisection(a) ** 2 + 1),)
    ),
    op("powers by a while loop", counted, POSITIVE).right("1.5⁵", lambda d, x: (d * 1.5**5,)),
)

CALLBACKS = (
    op("numpy sin", host(np.sin)).right("cos", lambda d, x: (d * jnp.cos(x),)),
    op("numpy tanh", host(np.tanh)).right("1 − t²", lambda d, x: (d * (1 - jnp.tanh(x) ** 2),)),
    op("numpy exp", host(np.exp)).right(
        "backward on the host too", lambda d, x: (d * host(np.exp)(x),)
    ),
    op("numpy cumsum", host(np.cumsum)).right(
        "reversed cumsum", lambda d, x: (jnp.cumsum(d[::-1])[::-1],)
    ),
)


CASES = (*LOOPS, *CALLBACKS, *(high(frequency) for frequency in (30, 1e3, 3e4)))
