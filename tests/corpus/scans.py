"""Recurrences and cumulative operations, with rules written by hand through time."""

import jax
import jax.numpy as jnp

from corpus.base import Operation


def states(W, U, b, x, h):
    """h_t = tanh(W h_{t−1} + U x_t + b), for all t, h_0 first."""
    out = [h]
    for t in range(len(x)):
        out.append(jnp.tanh(W @ out[-1] + U @ x[t] + b))
    return out


def recurrent(W, U, b, x, h):
    return jnp.stack(states(W, U, b, x, h)[1:])


def through_time(
    d,
    W,
    U,
    b,
    x,
    h,
    *,
    keep=lambda total, term, t: total + term,
    last=0,
    transposed=True,
    carried=True,
    derivative=lambda h: 1 - h * h,
    memory=0,
):
    """Backprop through time; the options are where the mistakes go."""
    hs = states(W, U, b, x, h)
    by_W, by_U, by_b, by_x = (
        jnp.zeros_like(W),
        jnp.zeros_like(U),
        jnp.zeros_like(b),
        [None] * len(x),
    )
    carry = jnp.zeros_like(h)
    for t in reversed(range(last, len(x))):
        a = (d[t] + carry) * derivative(hs[t + 1])
        by_W = keep(by_W, jnp.outer(a, hs[t + memory]), t)
        by_U, by_b = by_U + jnp.outer(a, x[t]), by_b + a
        by_x[t] = U.T @ a
        carry = ((W.T if transposed else W) @ a) if carried else carry
    by_x = [jnp.zeros_like(x[0]) if row is None else row for row in by_x]
    return by_W, by_U, by_b, jnp.stack(by_x), carry


def bptt(change=lambda *g: g, **options):
    return lambda d, *args: change(*through_time(d, *args, **options))


cell = Operation(
    "scans",
    "rnn",
    recurrent,
    lambda draw: (0.6 * draw(3, 3), draw(3, 2), 0.3 * draw(3), draw(5, 2), draw(3)),
)
first, last = lambda total, term, t: term, lambda total, term, t: total + term * (t == 4)

RNN = (
    cell.wrong("∇W overwritten each step", "missing-sum", "args[0]", bptt(keep=first)),
    cell.wrong("∇W of the last step", "missing-sum", "args[0]", bptt(keep=last)),
    cell.wrong("W for Wᵀ in the carry", "wrong", "args[0]", bptt(transposed=False)),
    cell.wrong("nothing carried back", "wrong", "args[0]", bptt(carried=False)),
    cell.wrong("first step left out", "wrong", "args[0]", bptt(last=1)),
    cell.wrong("derivative 1 − h", "wrong", "args[0]", bptt(derivative=lambda h: 1 - h)),
    cell.wrong("h_t for h_{t−1}", "wrong", "args[0]", bptt(memory=1)),
    cell.wrong(
        "∇x in reverse", "permuted", "args[3]", bptt(lambda W, U, b, x, h: (W, U, b, x[::-1], h))
    ),
    cell.wrong("∇b over T", "scaled", "args[2]", bptt(lambda W, U, b, x, h: (W, U, b / 5, x, h))),
    cell.wrong("∇h₀ zero", "zero", "args[4]", bptt(lambda W, U, b, x, h: (W, U, b, x, 0 * h))),
    cell.wrong(
        "∇W transposed", "transposed", "args[0]", bptt(lambda W, U, b, x, h: (W.T, U, b, x, h))
    ),
    cell.wrong(
        "∇b and ∇h₀ swapped", "swapped", "args[2]", bptt(lambda W, U, b, x, h: (W, U, h, x, b))
    ),
    cell.wrong(
        "∇x of the last step zero",
        "entries",
        "args[3]",
        bptt(lambda W, U, b, x, h: (W, U, b, x.at[-1].set(0), h)),
    ),
    cell.right("through time", bptt()),
)


def averages(decay, x):
    """m_t = r m_{t−1} + x_t with m_0 = 0, by a scan."""

    def step(m, row):
        m = decay * m + row
        return m, m

    return jax.lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def averages_rule(combine=lambda carry, term: carry + term, decay_of=lambda r: r, shift=1):
    def backward(d, decay, x):
        m = averages(decay, x)

        def step(carry, row):
            carry = row + decay_of(decay) * carry
            return carry, carry

        by_x = jax.lax.scan(step, jnp.zeros_like(d[0]), d, reverse=True)[1]
        before = jnp.concatenate([jnp.zeros_like(m[:1]), m[:-1]]) if shift else m
        return combine(0, jnp.sum(by_x * before)), by_x

    return backward


def flipped(x):
    return jnp.flip(jnp.cumsum(jnp.flip(x, 0), axis=0), 0)


ema = Operation("scans", "decaying sum", averages, lambda draw: (draw.of(0.7), draw(6, 2)))
cumsum = Operation("scans", "cumsum", lambda x: jnp.cumsum(x, axis=0), lambda draw: (draw(6, 2),))
cumprod = Operation("scans", "cumprod", jnp.cumprod, lambda draw: (draw.between(0.6, 1.6, 5),))
diff = Operation("scans", "differences", lambda x: x[1:] - x[:-1], lambda draw: (draw(7),))
order = Operation("scans", "sort", jnp.sort, lambda draw: (draw(6),))
roll = Operation("scans", "roll", lambda x: jnp.roll(x, 2), lambda draw: (draw(7),))
flip = Operation("scans", "flip", jnp.flip, lambda draw: (draw(7),))


def cumprod_rule(d, x):
    return (flipped(d * jnp.cumprod(x)) / x,)


OTHERS = (
    ema.wrong("decay of m_t", "wrong", "args[0]", averages_rule(shift=0)),
    ema.wrong("1 − r carried", "wrong", "args[1]", averages_rule(decay_of=lambda r: 1 - r)),
    ema.wrong("r not carried", "wrong", "args[1]", averages_rule(decay_of=lambda r: 1)),
    ema.wrong("r negative", "sign", "args[0]", averages_rule(lambda a, b: a - b)),
    ema.right("scan in reverse", averages_rule()),
    cumsum.wrong("cumsum forwards", "wrong", "args[0]", lambda d, x: (jnp.cumsum(d, axis=0),)),
    cumsum.wrong(
        "not flipped back",
        "permuted",
        "args[0]",
        lambda d, x: (jnp.cumsum(jnp.flip(d, 0), axis=0),),
    ),
    cumsum.wrong("d alone", "wrong", "args[0]", lambda d, x: (d,)),
    cumsum.wrong("exclusive", "wrong", "args[0]", lambda d, x: (flipped(d) - d,)),
    cumsum.right("total minus before", lambda d, x: (d.sum(0) - jnp.cumsum(d, axis=0) + d,)),
    cumprod.wrong(
        "not divided by x", "wrong", "args[0]", lambda d, x: (flipped(d * jnp.cumprod(x)),)
    ),
    cumprod.wrong(
        "sum forwards", "wrong", "args[0]", lambda d, x: (jnp.cumsum(d * jnp.cumprod(x)) / x,)
    ),
    cumprod.right("textbook", cumprod_rule),
    diff.wrong(
        "ends forgotten",
        "entries",
        "args[0]",
        lambda d, x: (jnp.concatenate([0 * d[:1], d[:-1] - d[1:], 0 * d[:1]]),),
    ),
    diff.wrong("the other way", "sign", "args[0]", lambda d, x: (jnp.diff(jnp.pad(d, 1)),)),
    diff.right("padded", lambda d, x: (-jnp.diff(jnp.pad(d, 1)),)),
    order.wrong("order for rank", "permuted", "args[0]", lambda d, x: (d[jnp.argsort(x)],)),
    order.wrong("d as it comes", "permuted", "args[0]", lambda d, x: (d,)),
    order.right("ranks", lambda d, x: (d[jnp.argsort(jnp.argsort(x))],)),
    roll.wrong("same way", "permuted", "args[0]", lambda d, x: (jnp.roll(d, 2),)),
    roll.right("back", lambda d, x: (jnp.roll(d, -2),)),
    flip.wrong("not flipped", "permuted", "args[0]", lambda d, x: (d,)),
    flip.right("flipped", lambda d, x: (jnp.flip(d),)),
)

CASES = RNN + OTHERS
