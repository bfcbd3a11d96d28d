"""Right rules of vectors and matrices by another formula than autodiff's."""

import jax
import jax.numpy as jnp

from corpus.base import WIDE, Operation


def jacobian_softmax(d, z):
    """diag(p) − p pᵀ, built and multiplied."""
    p = jax.nn.softmax(z)
    return (
        jnp.einsum(
            "nij,nj->ni",
            jnp.eye(z.shape[1], dtype=z.dtype) * p[:, None] - p[:, :, None] * p[:, None],
            d,
        ),
    )


softmax = Operation("algebra", "softmax", jax.nn.softmax, lambda draw: (draw(4, 5),))
lse = Operation(
    "algebra",
    "logsumexp",
    lambda z: jax.nn.logsumexp(z, axis=-1),
    lambda draw: (draw(4, 5),),
    WIDE,
)
inverse = Operation(
    "algebra",
    "inverse",
    jnp.linalg.inv,
    lambda draw: (draw.of([[3, 1, 0], [0, 2, 1], [1, 0, 4]]),),
    WIDE,
)
solve = Operation(
    "algebra",
    "solve",
    jnp.linalg.solve,
    lambda draw: (draw.of([[3, 1, 0], [0, 2, 1], [1, 0, 4]]), draw(3)),
    WIDE,
)
logdet = Operation(
    "algebra",
    "log det",
    lambda A: jnp.linalg.slogdet(A)[1],
    lambda draw: (draw.of([[3, 1, 0], [0, 2, 1], [1, 0, 4]]),),
    WIDE,
)
product = Operation("algebra", "prod", jnp.prod, lambda draw: (draw.between(0.5, 2, 6),), WIDE)
variance = Operation("algebra", "variance", jnp.var, lambda draw: (draw(8),), WIDE)
cross = Operation("algebra", "cross", jnp.cross, lambda draw: (draw(3), draw(3)))
trace = Operation(
    "algebra",
    "trace of a product",
    lambda A, B: jnp.trace(A @ B),
    lambda draw: (draw(3, 4), draw(4, 3)),
)
distances = Operation(
    "algebra",
    "squared distances",
    lambda x, y: ((x[:, None] - y[None]) ** 2).sum(-1),
    lambda draw: (draw(4, 3), draw(5, 3)),
    WIDE,
)


def inverse_rule(d, A):
    B = jnp.linalg.inv(A)
    return (-B.T @ d @ B.T,)


def solve_rule(d, A, b):
    w = jnp.linalg.solve(A.T, d)
    return -jnp.outer(w, jnp.linalg.solve(A, b)), w


def distances_rule(d, x, y):
    by_x = 2 * (d.sum(1)[:, None] * x - d @ y)
    return by_x, 2 * (d.sum(0)[:, None] * y - d.T @ x)


CASES = (
    softmax.right("whole Jacobian", jacobian_softmax),
    softmax.right(
        "of exp(log softmax)",
        lambda d, z: (
            (lambda p: p * d - p * jnp.sum(p * d, -1, keepdims=True))(
                jnp.exp(jax.nn.log_softmax(z))
            ),
        ),
    ),
    lse.right(
        "exp(z − y)",
        lambda d, z: (d[:, None] * jnp.exp(z - jax.nn.logsumexp(z, axis=-1, keepdims=True)),),
    ),
    inverse.right("−Bᵀ d Bᵀ", inverse_rule),
    solve.right("adjoint system", solve_rule),
    logdet.right("A⁻ᵀ", lambda d, A: (d * jnp.linalg.inv(A).T,)),
    product.right("y/x", lambda d, x: (d * jnp.prod(x) / x,)),
    variance.right("2 (x − mean)/N", lambda d, x: (d * 2 * (x - x.mean()) / x.size,)),
    cross.right("cross products", lambda d, a, b: (jnp.cross(b, d), jnp.cross(d, a))),
    trace.right("transposes", lambda d, A, B: (d * B.T, d * A.T)),
    distances.right("sums and products", distances_rule),
)
