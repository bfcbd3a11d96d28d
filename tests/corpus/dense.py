"""One affine layer, matrix products, lookups, bilinear forms: the rules everybody writes first."""

import jax
import jax.numpy as jnp

from corpus.base import Operation

# y = x Wᵀ + b       ∇x = d W       ∇W = dᵀ x       ∇b = Σ_batch d
affine = Operation(
    "dense", "affine", lambda x, W, b: x @ W.T + b, lambda draw: (draw(6, 4), draw(3, 4), draw(3))
)
square = Operation(
    "dense",
    "square affine",
    lambda x, W, b: x @ W.T + b,
    lambda draw: (draw(4, 4), draw(4, 4), draw(4)),
)


def last_row_forgotten(d, x, W, b):
    grad_W = jnp.stack([d[:, i] @ x for i in range(W.shape[0] - 1)] + [jnp.zeros_like(W[0])])
    return d @ W, grad_W, d.sum(0)


def first_unit_skipped(d, x, W, b):
    return d @ W, d.T @ x, d.sum(0).at[0].set(0)


AFFINE = (
    affine.wrong("∇x zero", "zero", "args[0]", lambda d, x, W, b: (0 * x, d.T @ x, d.sum(0))),
    affine.wrong(
        "∇W zeros_like", "zero", "args[1]", lambda d, x, W, b: (d @ W, jnp.zeros_like(W), d.sum(0))
    ),
    affine.wrong("∇b None", "zero", "args[2]", lambda d, x, W, b: (d @ W, d.T @ x, None)),
    affine.wrong("∇W negative", "sign", "args[1]", lambda d, x, W, b: (d @ W, -d.T @ x, d.sum(0))),
    affine.wrong("∇b negative", "sign", "args[2]", lambda d, x, W, b: (d @ W, d.T @ x, -d.sum(0))),
    affine.wrong("∇b a mean", "scaled", "args[2]", lambda d, x, W, b: (d @ W, d.T @ x, d.mean(0))),
    affine.wrong(
        "∇W over N", "scaled", "args[1]", lambda d, x, W, b: (d @ W, d.T @ x / len(x), d.sum(0))
    ),
    affine.wrong(
        "∇x twice", "scaled", "args[0]", lambda d, x, W, b: (2 * d @ W, d.T @ x, d.sum(0))
    ),
    affine.wrong(
        "∇b of the first example",
        "missing-sum",
        "args[2]",
        lambda d, x, W, b: (d @ W, d.T @ x, d[0]),
    ),
    affine.wrong(
        "∇W of the last example",
        "missing-sum",
        "args[1]",
        lambda d, x, W, b: (d @ W, jnp.outer(d[-1], x[-1]), d.sum(0)),
    ),
    affine.wrong("last unit forgotten", "entries", "args[1]", last_row_forgotten),
    affine.wrong("first bias skipped", "entries", "args[2]", first_unit_skipped),
    affine.wrong(
        "units in reverse",
        "permuted",
        "args[1]",
        lambda d, x, W, b: (d @ W, d.T[::-1] @ x, d.sum(0)),
    ),
    affine.wrong(
        "∇b rolled",
        "permuted",
        "args[2]",
        lambda d, x, W, b: (d @ W, d.T @ x, jnp.roll(d.sum(0), 1)),
    ),
    affine.wrong("∇b not summed", "wrong-shape", "args[2]", lambda d, x, W, b: (d @ W, d.T @ x, d)),
    affine.wrong(
        "∇W not transposed", "wrong-shape", "args[1]", lambda d, x, W, b: (d @ W, x.T @ d, d.sum(0))
    ),
    square.wrong(
        "∇W transposed", "transposed", "args[1]", lambda d, x, W, b: (d @ W, x.T @ d, d.sum(0))
    ),
    square.wrong(
        "∇x and ∇W swapped", "swapped", "args[0]", lambda d, x, W, b: (d.T @ x, d @ W, d.sum(0))
    ),
    square.wrong(
        "∇x through Wᵀ", "wrong", "args[0]", lambda d, x, W, b: (d @ W.T, d.T @ x, d.sum(0))
    ),
    square.wrong(
        "∇W with the wrong operand",
        "wrong",
        "args[1]",
        lambda d, x, W, b: (d @ W, d.T @ W, d.sum(0)),
    ),
    square.wrong("∇b by rows", "wrong", "args[2]", lambda d, x, W, b: (d @ W, d.T @ x, d.sum(1))),
    affine.right("textbook", lambda d, x, W, b: (d @ W, d.T @ x, d.sum(0))),
    affine.right(
        "ones times d", lambda d, x, W, b: (d @ W, d.T @ x, jnp.ones(len(x), d.dtype) @ d)
    ),
    affine.right(
        "vmapped outer products",
        lambda d, x, W, b: (d @ W, jax.vmap(jnp.outer)(d, x).sum(0), d.sum(0)),
    ),
    square.right("einsum", lambda d, x, W, b: (d @ W, jnp.einsum("ni,nj->ij", d, x), d.sum(0))),
)

# C = A B       ∇A = d Bᵀ       ∇B = Aᵀ d
matmul = Operation("dense", "matmul", jnp.matmul, lambda draw: (draw(4, 4), draw(4, 4)))
batched = Operation(
    "dense", "batched matmul", lambda A, B: A @ B, lambda draw: (draw(3, 2, 4), draw(4, 5))
)

MATMUL = (
    matmul.wrong("∇A transposed", "transposed", "args[0]", lambda d, A, B: (B @ d.T, A.T @ d)),
    matmul.wrong("∇B transposed", "transposed", "args[1]", lambda d, A, B: (d @ B.T, d.T @ A)),
    matmul.wrong("swapped", "swapped", "args[0]", lambda d, A, B: (A.T @ d, d @ B.T)),
    matmul.wrong("B for Bᵀ", "wrong", "args[0]", lambda d, A, B: (d @ B, A.T @ d)),
    matmul.wrong("order of product", "wrong", "args[1]", lambda d, A, B: (d @ B.T, d @ A.T)),
    matmul.wrong("half", "scaled", "args[1]", lambda d, A, B: (d @ B.T, 0.5 * (A.T @ d))),
    batched.wrong(
        "∇B of the first batch", "missing-sum", "args[1]", lambda d, A, B: (d @ B.T, A[0].T @ d[0])
    ),
    batched.wrong(
        "∇B a mean over batches",
        "scaled",
        "args[1]",
        lambda d, A, B: (d @ B.T, jnp.einsum("bij,bik->bjk", A, d).mean(0)),
    ),
    batched.wrong(
        "∇A batches in reverse",
        "permuted",
        "args[0]",
        lambda d, A, B: ((d @ B.T)[::-1], jnp.einsum("bij,bik->jk", A, d)),
    ),
    batched.right(
        "einsum", lambda d, A, B: (jnp.einsum("bik,jk->bij", d, B), jnp.einsum("bij,bik->jk", A, d))
    ),
    matmul.right("as two einsums", lambda d, A, B: (jnp.einsum("ik,jk->ij", d, B), A.T @ d)),
)

# s = xᵀ M y         the quadratic form has M + Mᵀ
quadratic = Operation(
    "dense", "quadratic form", lambda x, M: x @ M @ x, lambda draw: (draw(4), draw(4, 4))
)
table = Operation(
    "dense", "lookup", lambda E, i: E[i], lambda draw: (draw(5, 3), jnp.array([0, 2, 2, 4, 0]))
)

OTHERS = (
    quadratic.wrong(
        "as if M were symmetric",
        "wrong",
        "args[0]",
        lambda d, x, M: (2 * d * M @ x, d * jnp.outer(x, x)),
    ),
    quadratic.wrong(
        "one term only", "wrong", "args[0]", lambda d, x, M: (d * M @ x, d * jnp.outer(x, x))
    ),
    quadratic.wrong(
        "diagonal of ∇M doubled",
        "entries",
        "args[1]",
        lambda d, x, M: (d * (M + M.T) @ x, d * jnp.outer(x, x) * (1 + jnp.eye(4, dtype=x.dtype))),
    ),
    quadratic.wrong(
        "cotangent forgotten",
        "ignores-cotangent",
        "args[0]",
        lambda d, x, M: ((M + M.T) @ x, d * jnp.outer(x, x)),
    ),
    quadratic.right("textbook", lambda d, x, M: (d * (M + M.T) @ x, d * jnp.outer(x, x))),
    table.wrong(
        "set for add: repeated rows lose terms",
        "entries",
        "args[0]",
        lambda d, E, i: (jnp.zeros_like(E).at[i].set(d), None),
    ),
    table.wrong(
        "rows off by one",
        "permuted",
        "args[0]",
        lambda d, E, i: (jnp.zeros_like(E).at[(i + 1) % 5].add(d), None),
    ),
    table.right("segment sum", lambda d, E, i: (jax.ops.segment_sum(d, i, num_segments=5), None)),
    table.right(
        "one-hot product", lambda d, E, i: (jax.nn.one_hot(i, 5, dtype=d.dtype).T @ d, None)
    ),
)

CASES = AFFINE + MATMUL + OTHERS
