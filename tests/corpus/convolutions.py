"""Convolutions and pooling in one and two dimensions."""

import jax.numpy as jnp
from jax import lax

from corpus.base import Operation


def conv(x, w):
    """y_t = Σ_s x_{t+s} w_s."""
    return sum(x[s : s + len(x) - len(w) + 1] * w[s] for s in range(len(w)))


def to_input(d, w, n):
    """∇x: each tap's cotangent added where it came from."""
    return sum(jnp.pad(d * w[s], (s, n - len(d) - s)) for s in range(len(w)))


def to_kernel(d, x, size):
    return jnp.stack([jnp.sum(d * x[s : s + len(d)]) for s in range(size)])


def channels(x, w, b):
    """x (n, c, h, w), w (o, c, 3, 3), b (o,): same size, zeros around."""
    return lax.conv_general_dilated(x, w, (1, 1), "SAME") + b[:, None, None]


def channels_rule(change=lambda x, w, b: (x, w, b), of_b=lambda d: d.sum((0, 2, 3)), flip=True):
    """∇x is the convolution with the flipped kernel, channels swapped."""

    def backward(d, x, w, b):
        turned = (w[:, :, ::-1, ::-1] if flip else w).swapaxes(0, 1)
        by_x = lax.conv_general_dilated(d, turned, (1, 1), "SAME")
        padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        h, v = x.shape[2:]
        taps = [
            jnp.einsum("nohv,nchv->oc", d, padded[:, :, i : i + h, j : j + v])
            for i in range(3)
            for j in range(3)
        ]
        return change(by_x, jnp.stack(taps, -1).reshape(w.shape), of_b(d))

    return backward


def pool_mean(x):
    """Means of 2 × 2 blocks of (n, 2h, 2w)."""
    n, h, w = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4))


def pool_max(x):
    n, h, w = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2).max((2, 4))


def spread(d):
    return jnp.repeat(jnp.repeat(d, 2, 1), 2, 2)


def is_max(x):
    return (x == spread(pool_max(x))).astype(x.dtype)


line = Operation("convolutions", "one dimension", conv, lambda draw: (draw(8), draw(3)))
image = Operation(
    "convolutions", "channels", channels, lambda draw: (draw(2, 2, 4, 4), draw(2, 2, 3, 3), draw(2))
)
averages = Operation("convolutions", "mean pool", pool_mean, lambda draw: (draw(2, 4, 4),))
maxima = Operation("convolutions", "max pool", pool_max, lambda draw: (draw(2, 4, 4),))
upsample = Operation("convolutions", "upsample", spread, lambda draw: (draw(2, 3, 3),))
pad = Operation("convolutions", "pad", lambda x: jnp.pad(x, (1, 2)), lambda draw: (draw(5),))
global_mean = Operation(
    "convolutions", "global mean", lambda x: x.mean((1, 2)), lambda draw: (draw(3, 4, 4),)
)
diagonal = Operation(
    "convolutions",
    "depthwise scale",
    lambda x, s: x * s[:, None, None],
    lambda draw: (draw(3, 3, 3), draw(3)),
)

LINE = (
    line.wrong(
        "∇x with the kernel flipped",
        "wrong",
        "args[0]",
        lambda d, x, w: (to_input(d, w[::-1], 8), to_kernel(d, x, 3)),
    ),
    line.wrong(
        "∇w flipped",
        "permuted",
        "args[1]",
        lambda d, x, w: (to_input(d, w, 8), to_kernel(d, x, 3)[::-1]),
    ),
    line.wrong(
        "first tap only",
        "wrong",
        "args[0]",
        lambda d, x, w: (jnp.pad(d * w[0], (0, 2)), to_kernel(d, x, 3)),
    ),
    line.wrong(
        "borders zero",
        "entries",
        "args[0]",
        lambda d, x, w: (to_input(d, w, 8).at[0].set(0).at[-1].set(0), to_kernel(d, x, 3)),
    ),
    line.wrong(
        "∇w a mean",
        "scaled",
        "args[1]",
        lambda d, x, w: (to_input(d, w, 8), to_kernel(d, x, 3) / 6),
    ),
    line.wrong(
        "∇x shifted",
        "permuted",
        "args[0]",
        lambda d, x, w: (jnp.roll(to_input(d, w, 8), 1), to_kernel(d, x, 3)),
    ),
    line.wrong(
        "∇w of the first window",
        "missing-sum",
        "args[1]",
        lambda d, x, w: (to_input(d, w, 8), d[0] * x[:3]),
    ),
    line.wrong(
        "∇x of valid size",
        "wrong-shape",
        "args[0]",
        lambda d, x, w: (conv(jnp.pad(d, 1), w), to_kernel(d, x, 3)),
    ),
    line.right("tap by tap", lambda d, x, w: (to_input(d, w, 8), to_kernel(d, x, 3))),
    line.right(
        "full convolution", lambda d, x, w: (jnp.convolve(d, w), jnp.correlate(x, d, mode="valid"))
    ),
)

IMAGE = (
    image.wrong("kernel not flipped", "wrong", "args[0]", channels_rule(flip=False)),
    image.wrong(
        "∇w channels swapped",
        "transposed",
        "args[1]",
        channels_rule(lambda x, w, b: (x, w.swapaxes(0, 1), b)),
    ),
    image.wrong(
        "∇w flipped",
        "permuted",
        "args[1]",
        channels_rule(lambda x, w, b: (x, w[:, :, ::-1, ::-1], b)),
    ),
    image.wrong(
        "∇w rows and columns swapped",
        "transposed",
        "args[1]",
        channels_rule(lambda x, w, b: (x, w.swapaxes(2, 3), b)),
    ),
    image.wrong(
        "∇b of one image", "missing-sum", "args[2]", channels_rule(of_b=lambda d: d[0].sum((1, 2)))
    ),
    image.wrong(
        "∇b over pixels", "scaled", "args[2]", channels_rule(of_b=lambda d: d.mean((2, 3)).sum(0))
    ),
    image.wrong(
        "∇b of the first pixel",
        "missing-sum",
        "args[2]",
        channels_rule(of_b=lambda d: d[:, :, 0, 0].sum(0)),
    ),
    image.wrong(
        "∇w of second output zero",
        "entries",
        "args[1]",
        channels_rule(lambda x, w, b: (x, w.at[1].set(0), b)),
    ),
    image.wrong("∇x negative", "sign", "args[0]", channels_rule(lambda x, w, b: (-x, w, b))),
    image.right("taps and the flipped kernel", channels_rule()),
)

POOL = (
    averages.wrong("¼ forgotten", "scaled", "args[0]", lambda d, x: (spread(d),)),
    averages.wrong("½ for ¼", "scaled", "args[0]", lambda d, x: (spread(d) / 2,)),
    averages.wrong(
        "to the first of each block",
        "wrong",
        "args[0]",
        lambda d, x: (jnp.zeros_like(x).at[:, ::2, ::2].set(d),),
    ),
    averages.wrong(
        "tiled, not repeated", "permuted", "args[0]", lambda d, x: (jnp.tile(d, (1, 2, 2)) / 4,)
    ),
    averages.right("repeated", lambda d, x: (spread(d) / 4,)),
    maxima.wrong("to all of a block", "entries", "args[0]", lambda d, x: (spread(d),)),
    maxima.wrong("to all, as a mean", "wrong", "args[0]", lambda d, x: (spread(d) / 4,)),
    maxima.wrong("to the smallest", "permuted", "args[0]", lambda d, x: (is_max(-x) * spread(d),)),
    maxima.wrong(
        "multiplied by the maximum",
        "wrong",
        "args[0]",
        lambda d, x: (is_max(x) * spread(d * pool_max(x)),),
    ),
    maxima.right("where the maximum is", lambda d, x: (is_max(x) * spread(d),)),
    upsample.wrong("one of four", "missing-sum", "args[0]", lambda d, x: (d[:, ::2, ::2],)),
    upsample.wrong("mean of four", "scaled", "args[0]", lambda d, x: (pool_mean(d),)),
    upsample.right("sum of four", lambda d, x: (4 * pool_mean(d),)),
    pad.wrong("cut at the wrong end", "wrong", "args[0]", lambda d, x: (d[2:7],)),
    pad.wrong("not cut", "wrong-shape", "args[0]", lambda d, x: (d,)),
    pad.right("cut", lambda d, x: (d[1:-2],)),
    global_mean.wrong(
        "over one side",
        "scaled",
        "args[0]",
        lambda d, x: (jnp.broadcast_to(d[:, None, None] / 4, x.shape),),
    ),
    global_mean.wrong(
        "not divided",
        "scaled",
        "args[0]",
        lambda d, x: (jnp.broadcast_to(d[:, None, None], x.shape),),
    ),
    global_mean.right(
        "over both", lambda d, x: (jnp.broadcast_to(d[:, None, None] / 16, x.shape),)
    ),
    diagonal.wrong(
        "∇s of the first pixel",
        "missing-sum",
        "args[1]",
        lambda d, x, s: (d * s[:, None, None], (d * x)[:, 0, 0]),
    ),
    diagonal.wrong(
        "∇s of a row",
        "missing-sum",
        "args[1]",
        lambda d, x, s: (d * s[:, None, None], (d * x)[:, 0].sum(-1)),
    ),
    diagonal.wrong(
        "channels rolled",
        "permuted",
        "args[1]",
        lambda d, x, s: (d * s[:, None, None], jnp.roll((d * x).sum((1, 2)), 1)),
    ),
    diagonal.right("summed", lambda d, x, s: (d * s[:, None, None], (d * x).sum((1, 2)))),
)

CASES = LINE + IMAGE + POOL
