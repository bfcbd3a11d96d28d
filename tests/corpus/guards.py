"""Right rules where autodiff of the plain function is NaN or arbitrary: roots, wheres, f(A)."""

import jax
import jax.numpy as jnp

from corpus.base import WIDE, Operation


def norm_squared_by_root(x):
    """‖x‖², by way of the root: autodiff gives 0 · ∞ at 0."""
    return jnp.sqrt(jnp.sum(x * x)) ** 2


def safe_log(x):
    """log x where x > 0, else x: where without a guard inside."""
    return jnp.where(x > 0, jnp.log(x), x)


def ratio(x):
    """sin x/x with the hole filled by where alone."""
    return jnp.where(x == 0, 1.0, jnp.sin(x) / x).astype(x.dtype)


def ratio_slope(x):
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 0, (safe * jnp.cos(safe) - jnp.sin(safe)) / safe**2)


def expm1_ratio(x):
    """(eˣ − 1)/x, 1 at 0."""
    return jnp.where(x == 0, 1.0, jnp.expm1(x) / x).astype(x.dtype)


def expm1_slope(x):
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 0.5, (safe * jnp.exp(safe) - jnp.expm1(safe)) / safe**2)


def late_softplus(x):
    """log(1 + eˣ) with a where against overflow that autodiff does not see."""
    return jnp.where(x > 80, x, jnp.log1p(jnp.exp(x)))


def quartic(x):
    """(√|x|)⁴·sign-free: x², by a root whose slope is infinite at 0."""
    return jnp.sqrt(abs(x)) ** 4


def masked_mean(x, m):
    """The mean of the entries with m, of the positive ones the root."""
    return jnp.sum(jnp.where(m, jnp.sqrt(x), 0)) / 2


def root_of_sum(x):
    """Rows' √Σ, where the row is not zero; else Σ."""
    t = jnp.sum(x * x, -1)
    return jnp.where(t > 0, jnp.sqrt(t), 0.0).astype(x.dtype) ** 2


def cosine_of_arccos(x):
    return jnp.cos(jnp.arccos(x))


def power_of_zero(x):
    """x² as exp(2 log |x|), 0 at 0."""
    return jnp.where(x == 0, 0.0, jnp.exp(2 * jnp.log(abs(x)))).astype(x.dtype)


def spectral(f):
    """f(A) = Q f(Λ) Qᵀ of a symmetric A: degenerate eigenvalues give autodiff 1/0."""

    def value(A):
        A = (A + A.T) / 2
        eigenvalues, Q = jnp.linalg.eigh(A)
        return (Q * f(eigenvalues)) @ Q.T

    return value


def spectral_trace(A):
    """Σ λ³ = tr A³."""
    return jnp.sum(jnp.linalg.eigvalsh((A + A.T) / 2) ** 3)


def square_pull(d, A):
    B = (A + A.T) / 2
    t = d @ B + B @ d
    return ((t + t.T) / 2,)


def by_divided_differences(f, slope):
    """∇A = Q ((Qᵀ d Q) ⊙ f[λ_i, λ_j]) Qᵀ, the slope where two eigenvalues meet."""

    def backward(d, A):
        eigenvalues, Q = jnp.linalg.eigh((A + A.T) / 2)
        gap = eigenvalues[:, None] - eigenvalues[None]
        meet = abs(gap) < 1e-3 * (1 + abs(eigenvalues[:, None]))
        rise = f(eigenvalues)[:, None] - f(eigenvalues)[None]
        middle = slope((eigenvalues[:, None] + eigenvalues[None]) / 2)
        table = jnp.where(meet, middle, rise / jnp.where(meet, 1, gap))
        t = Q @ ((Q.T @ ((d + d.T) / 2) @ Q) * table) @ Q.T
        return (t,)

    return backward


def trace_pull(d, A):
    B = (A + A.T) / 2
    return (3 * d * B @ B,)


def doubled(d, x):
    return (2 * d * x,)


HOLES = lambda draw: (draw.of([0, 1.2, -0.7, 2.5]),)  # noqa: E731
POSITIVE = lambda draw: (draw.of([0, 1.2, 0.7, 2.5]),)  # noqa: E731
EYE = lambda draw: (draw.of([[2, 0, 0], [0, 2, 0], [0, 0, 2]]),)  # noqa: E731
TWICE = lambda draw: (draw.of([[2, 0, 0], [0, 2, 0], [0, 0, 5]]),)  # noqa: E731
ONES = lambda draw: (draw.of([[3, 1, 1], [1, 3, 1], [1, 1, 3]]),)  # noqa: E731


def op(name, value, args, dtypes=WIDE):
    return Operation("guards", name, value, args, dtypes)


CASES = (
    op("‖x‖² by the root, at 0", norm_squared_by_root, lambda draw: (draw.of([0, 0, 0]),)).right(
        "2x", doubled
    ),
    op("where of a log", safe_log, lambda draw: (draw.of([-1, 1.5, -0.3, 2]),)).right(
        "guarded", lambda d, x: (d / jnp.where(x > 0, x, 1),)
    ),
    op(
        "where of a log, 0 among them",
        lambda x: jnp.where(x > 0.5, jnp.log(x), x),
        lambda draw: (draw.of([0, 1.5, -0.3, 2]),),
    ).right("guarded", lambda d, x: (d / jnp.where(x > 0.5, x, 1),)),
    op("sin x/x", ratio, HOLES).right("guarded", lambda d, x: (d * ratio_slope(x),)),
    op("(eˣ − 1)/x", expm1_ratio, HOLES).right("guarded", lambda d, x: (d * expm1_slope(x),)),
    op("softplus by where", late_softplus, lambda draw: (draw.of([1000, 0, -3, 2]),)).right(
        "sigmoid", lambda d, x: (d * jax.nn.sigmoid(x),)
    ),
    op("(√|x|)⁴", quartic, HOLES).right("2x", doubled),
    op(
        "masked roots",
        masked_mean,
        lambda draw: (draw.of([0, 1.2, 0.7, 0]), jnp.array([False, True, True, False])),
    ).right(
        "guarded", lambda d, x, m: (jnp.where(m, d / 4 / jnp.sqrt(jnp.where(m, x, 1)), 0), None)
    ),
    op(
        "roots of negatives, masked",
        lambda x: jnp.where(x > 0.5, jnp.sqrt(x), 0),
        lambda draw: (draw.of([-4, 1.2, 0.7, -1]),),
    ).right(
        "guarded", lambda d, x: (jnp.where(x > 0.5, d / 2 / jnp.sqrt(jnp.where(x > 0.5, x, 1)), 0),)
    ),
    op(
        "rows' norms squared, one zero", root_of_sum, lambda draw: (draw.of([[0, 0], [1, 2]]),)
    ).right("2x", lambda d, x: (2 * d[:, None] * x,)),
    op("cos arccos x, at ±1", cosine_of_arccos, lambda draw: (draw.of([0.5, -0.3, 0.9]),)).right(
        "d", lambda d, x: (d,)
    ),
    op("x² by exp log", power_of_zero, POSITIVE).right("2x", doubled),
    op(
        "1/x masked",
        lambda x: jnp.where(x == 0, 0, 1 / x),
        lambda draw: (draw.of([-4, 1.2, 0.7, 2]),),
    ).right("−1/x²", lambda d, x: (-d / x**2,)),
    op(
        "division by a masked zero",
        lambda x, y: jnp.where(y > 0, x / y, x),
        lambda draw: (draw(3), draw.of([0, 2, 0.5])),
    ).right(
        "guarded",
        lambda d, x, y: (
            d / jnp.where(y > 0, y, 1),
            jnp.where(y > 0, -d * x / jnp.where(y > 0, y, 1) ** 2, 0),
        ),
    ),
    *(
        op(f"A² by eigh, {name}", spectral(jnp.square), args).right("d A + A d", square_pull)
        for name, args in (("2 I", EYE), ("a double eigenvalue", TWICE), ("3 and 1", ONES))
    ),
    op("exp A by eigh, 2 I", spectral(jnp.exp), EYE).right(
        "divided differences", by_divided_differences(jnp.exp, jnp.exp)
    ),
    op("√A by eigh, a double eigenvalue", spectral(jnp.sqrt), TWICE).right(
        "divided differences", by_divided_differences(jnp.sqrt, lambda t: 0.5 / jnp.sqrt(t))
    ),
    op("log A by eigh, 3 and 1", spectral(jnp.log), ONES).right(
        "divided differences", by_divided_differences(jnp.log, lambda t: 1 / t)
    ),
    op("tr A³ by eigenvalues", spectral_trace, TWICE).right("3A²", trace_pull),
)
