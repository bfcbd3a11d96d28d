"""Attention, y = softmax(q kᵀ/√d) v, one head and many."""

import jax
import jax.numpy as jnp

from corpus.base import Operation


def weights(q, k):
    """P = softmax(q kᵀ/√d)."""
    return jax.nn.softmax(q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5), axis=-1)


def attend(q, k, v):
    return weights(q, k) @ v


def causal_weights(q, k):
    s = q @ k.T * (q.shape[-1] ** -0.5)
    seen = jnp.tril(jnp.ones(s.shape, bool))
    return jax.nn.softmax(jnp.where(seen, s, -jnp.inf), axis=-1)


def causal(q, k, v):
    return causal_weights(q, k) @ v


def through_softmax(P, t):
    """∇s = P ⊙ (∇P − Σ ∇P ⊙ P)."""
    return P * (t - jnp.sum(t * P, axis=-1, keepdims=True))


def pull(P, d, q, k, v, through=through_softmax):
    """∇q = ∇s k/√d, ∇k = ∇sᵀ q/√d, ∇v = Pᵀ d."""
    s = through(P, d @ v.swapaxes(-1, -2)) * (q.shape[-1] ** -0.5)
    return s @ k, s.swapaxes(-1, -2) @ q, P.swapaxes(-1, -2) @ d


def rule(change=lambda q, k, v: (q, k, v), **options):
    """The right gradients, put through change."""
    return lambda d, q, k, v: change(*pull(weights(q, k), d, q, k, v, **options))


def causal_rule(through=through_softmax, probabilities=causal_weights):
    return lambda d, q, k, v: pull(probabilities(q, k), d, q, k, v, through)


def shared(q, k, v):
    """Many queries' heads, one head of keys and values: q (h, n, d), k and v (n, d)."""
    return attend(q, k[None], v[None])


def shared_rule(of_k=lambda t: t.sum(0), of_v=lambda t: t.sum(0)):
    def backward(d, q, k, v):
        by_q, by_k, by_v = pull(weights(q, k[None]), d, q, k[None], v[None])
        return by_q, of_k(by_k), of_v(by_v)

    return backward


single = Operation(
    "attention", "one head", attend, lambda draw: (draw(4, 4), draw(4, 4), draw(4, 4))
)
heads = Operation(
    "attention", "heads", attend, lambda draw: (draw(3, 4, 2), draw(3, 5, 2), draw(3, 5, 2))
)
masked = Operation("attention", "causal", causal, lambda draw: (draw(5, 3), draw(5, 3), draw(5, 3)))
grouped = Operation(
    "attention", "shared keys", shared, lambda draw: (draw(3, 4, 2), draw(4, 2), draw(4, 2))
)

CASES = (
    single.wrong("1/√d lost in ∇q", "scaled", "args[0]", rule(lambda q, k, v: (2 * q, k, v))),
    single.wrong("1/√d twice in ∇k", "scaled", "args[1]", rule(lambda q, k, v: (q, k / 2, v))),
    single.wrong("∇q and ∇k swapped", "swapped", "args[0]", rule(lambda q, k, v: (k, q, v))),
    single.wrong("∇k and ∇v swapped", "swapped", "args[1]", rule(lambda q, k, v: (q, v, k))),
    single.wrong(
        "P for Pᵀ in ∇v",
        "wrong",
        "args[2]",
        lambda d, q, k, v: (*rule()(d, q, k, v)[:2], weights(q, k) @ d),
    ),
    single.wrong(
        "∇sᵀ for ∇s", "wrong", "args[0]", rule(through=lambda P, t: through_softmax(P, t).T)
    ),
    single.wrong(
        "softmax diagonal only", "wrong", "args[0]", rule(through=lambda P, t: P * (1 - P) * t)
    ),
    single.wrong("softmax not derived", "wrong", "args[0]", rule(through=lambda P, t: t)),
    single.wrong("∇k transposed", "transposed", "args[1]", rule(lambda q, k, v: (q, k.T, v))),
    single.wrong("∇v zero", "zero", "args[2]", rule(lambda q, k, v: (q, k, 0 * v))),
    single.wrong("∇k detached", "zero", "args[1]", rule(lambda q, k, v: (q, None, v))),
    single.wrong("∇q negative", "sign", "args[0]", rule(lambda q, k, v: (-q, k, v))),
    single.right("textbook", rule()),
    heads.wrong("heads in reverse", "permuted", "args[2]", rule(lambda q, k, v: (q, k, v[::-1]))),
    heads.wrong("keys in reverse", "permuted", "args[1]", rule(lambda q, k, v: (q, k[:, ::-1], v))),
    heads.wrong(
        "first head only", "entries", "args[0]", rule(lambda q, k, v: (q.at[1:].set(0), k, v))
    ),
    heads.wrong(
        "last key forgotten", "entries", "args[1]", rule(lambda q, k, v: (q, k.at[:, -1].set(0), v))
    ),
    heads.wrong("1/d for 1/√d", "scaled", "args[0]", rule(lambda q, k, v: (q * 2**-0.5, k, v))),
    heads.right("textbook", rule()),
    heads.right(
        "flash: Σ ∇P ⊙ P as Σ d ⊙ y",
        lambda d, q, k, v: pull(
            weights(q, k),
            d,
            q,
            k,
            v,
            lambda P, t: P * (t - jnp.sum(d * (P @ v), axis=-1, keepdims=True)),
        ),
    ),
    masked.wrong("mask forgotten", "wrong", "args[0]", causal_rule(probabilities=weights)),
    masked.wrong(
        "strict mask in the backward",
        "wrong",
        "args[0]",
        causal_rule(lambda P, t: jnp.tril(through_softmax(P, t), -1)),
    ),
    masked.right("masked weights are zero", causal_rule()),
    grouped.wrong(
        "∇k of the first head", "missing-sum", "args[1]", shared_rule(of_k=lambda t: t[0])
    ),
    grouped.wrong(
        "∇v a mean over heads", "scaled", "args[2]", shared_rule(of_v=lambda t: t.mean(0))
    ),
    grouped.wrong(
        "∇v of the last head", "missing-sum", "args[2]", shared_rule(of_v=lambda t: t[-1])
    ),
    grouped.wrong("∇k not summed", "wrong-shape", "args[1]", shared_rule(of_k=lambda t: t)),
    grouped.right("summed over heads", shared_rule()),
)
