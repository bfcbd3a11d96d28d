"""jax.numpy.linalg, and JAX's solvers."""

from wild_rules import Finding, Rule

FILE = "jax/_src/numpy/linalg.py"
A4 = (
    "jnp.array([[2.0, 0.3, 0.1, 0.0], [0.1, 1.5, 0.2, 0.4], [0.3, 0.0, 1.0, 0.2], [0.5, 0.1,"
    " 0.0, 3.0]])"
)
PINV = (
    "{}(lambda t: jnp.sum(jnp.arange(4.0).reshape(2, 2)"
    " * jnp.linalg.pinv(jnp.array([[1.0, 0.3 + t], [0.2, 0.1]]), rtol=0.5)){})"
)
SLOGDET = "lambda a: jnp.linalg.slogdet(a)[1]"


def _jax(where, call, ordinary, hard=(), plain="", setup=""):
    return Rule("jax", where, setup, call, ordinary, hard, plain)


def _found(severity, rule, where, line, got, expected, how, known="", check=None, plain=""):
    return Finding(severity, "jax", rule, where, "", line, got, expected, how, known, check, plain)


RULES = (
    _jax(f"{FILE}:488", SLOGDET, ("(jnp.array([[2.0, 0.3], [0.1, 1.5]]),)",)),
    _jax(f"{FILE}:526", SLOGDET, (f"({A4},)",), ("(1e-30 * jnp.eye(4),)",)),
    _jax(f"{FILE}:553", "lambda a: jnp.linalg.slogdet(a, method='qr')[1]", (f"({A4},)",)),
    _jax(
        f"{FILE}:747",
        "jnp.linalg.det",
        (f"({A4},)",),
        ("(jnp.diag(jnp.array([1.0, 1, 1, 0])),)", "(jnp.diag(jnp.array([0.0, 1, 1, 1])),)"),
        "lambda a: sum((-1.0) ** j * a[0, j]"
        " * jnp.linalg.det(jnp.delete(a[1:], j, axis=1, assume_unique_indices=True))"
        " for j in range(4))",
    ),
    _jax(
        f"{FILE}:1037",
        "jnp.linalg.pinv",
        (f"({A4}[:, :2],)", f"({A4}[:2],)"),
        ("(jnp.eye(3)[:, :2],)",),
        "lambda a: jnp.linalg.inv(a.T @ a) @ a.T if a.shape[0] > a.shape[1]"
        " else a.T @ jnp.linalg.inv(a @ a.T)",
    ),
    _jax(
        "jax/experimental/ode.py:193",
        "lambda y, k: odeint(lambda y, t, k: -k * y, y, jnp.array([0.0, 1.0]), k)[-1]",
        ("(1.0, 2.0)",),
        (),
        "lambda y, k: y * jnp.exp(-k)",
        "from jax.experimental.ode import odeint",
    ),
)

FINDINGS = (
    _found(
        "first",
        "jax.numpy.linalg.det, n ≥ 4, of a matrix with a zero or a repeated column",
        f"{FILE}:747",
        "jax.grad(jnp.linalg.det)(jnp.diag(jnp.array([0.0, 1, 1, 1])))[0, 0]",
        "0.0",
        "1.0",
        "the cofactor. The gradient of a matrix of rank n − 1 is all zeros unless the zero pivot is"
        " the last; with the zero at [3, 3], or two equal rows, it is right",
        "related: jax#2380, jax#2852",
        ("jnp.linalg.det", "(jnp.diag(jnp.array([0.0, 1, 1, 1])),)"),
        "lambda a: sum((-1.0) ** j * a[0, j]"
        " * jnp.linalg.det(jnp.delete(a[1:], j, axis=1, assume_unique_indices=True))"
        " for j in range(4))",
    ),
    _found(
        "first",
        "jax.numpy.linalg.pinv with an rtol that cuts singular values off",
        f"{FILE}:1037",
        PINV.format("jax.grad", ")(0.0"),
        "1.64076318",
        PINV.format("slope", ", 0.0"),
        "differences: 1.687031; the formula needs the matrix that was inverted, and takes the"
        " one that came",
        check=(
            "lambda a: jnp.linalg.pinv(a, rtol=0.5)",
            "(jnp.array([[1.0, 0.3], [0.2, 0.1]]),)",
        ),
    ),
    _found(
        "order2",
        "jax.numpy.linalg.det, Hessian at a singular matrix, n ≥ 4",
        f"{FILE}:747",
        "jax.hessian(jnp.linalg.det)(jnp.diag(jnp.array([1.0, 1, 1, 0])))[0, 0, 3, 3]",
        "np.nan",
        "1.0",
        "a minor of the identity",
        check=("jnp.linalg.det", "(jnp.diag(jnp.array([1.0, 1, 1, 0])),)"),
    ),
)
