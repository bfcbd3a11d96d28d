"""narrow_forward and narrow_mlp, interpreted, against XLA and a truth in float64."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, assert_close, examples, relative_error

import ffnn_jax as ffnn
from ffnn_jax import sweep
from ffnn_jax.kernels import narrow, tiles, triton

# Widths that fill their blocks and that do not, of one block and of two; every activation; one to
# eight hidden layers; batches of one example, of less than a tile, of one, and of several.
CASES = [
    ((1, 1, 1), "softplus", ()),
    ((70, 100, 66), "gelu", (3, 7)),
    ((16, 32, 128), "sigmoid", (64,)),
    ((4, 20, 9, 33, 16, 5, 8, 40, 3, 10), ACTIVATIONS[2:], (70,)),
]
LOW = [("bfloat16", None), ("float16", None), ("float32", "bfloat16"), ("bfloat16", "float32")]
SMALL = ((5, 9, 13, 4), ("softplus", "relu"))
WIDE = ((5, 70, 13, 4), "relu")


def network(sizes, activation, **options):
    plan = ffnn.Plan(**{"implementation": "pallas", **options})
    return ffnn.Network(sizes, activation, "softmax", plan=plan)


def by_xla(net, **options):
    return dataclasses.replace(
        net, plan=dataclasses.replace(net.plan, implementation="xla", **options)
    )


@functools.partial(jax.jit, static_argnums=0)
def everything(net, params, x, y):
    """ℒ, from narrow_forward; ℒ again and every ∇, from narrow_mlp."""
    return ffnn.loss(net, params, x, y), ffnn.gradients(net, params, x, y)


def wide(tree):
    """The same numbers in float64."""

    def cast(t):
        return np.asarray(t, np.float64) if jnp.issubdtype(t.dtype, jnp.floating) else t

    return jax.tree.map(cast, tree)


def truth(fn, net, point):
    with jax.enable_x64(True):
        net = by_xla(net, compute_dtype=None)
        return jax.tree.map(np.asarray, fn(net, *wide(point[:3])))


# Against XLA and the truth -----------------------------------------------------------------------


@pytest.mark.parametrize(("sizes", "activation", "batch"), CASES, ids=str)
def test_float32(sizes, activation, batch):
    net = network(sizes, activation)
    point = examples(net, batch=batch, classes=True)
    if batch:
        point = point._replace(x=point.x.at[-1].set(0))  # rows of zeros, as padding has
    expected = truth(everything, net, point)
    found, by_layers = (
        jax.tree.map(relative_error, everything(n, *point[:3]), expected)
        for n in (net, by_xla(net))
    )
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(by_layers), strict=True):
        assert ours <= max(1e-6, 1.1 * theirs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def gradient(loss, net, params, x, y):
    return jax.value_and_grad(loss, (1, 2))(net, params, x, y)


@pytest.mark.parametrize(("dtype", "compute_dtype"), LOW, ids=str)
def test_low_precision_is_as_good_as_autodiff(dtype, compute_dtype):
    """Against the float64 truth of the same numbers; all leaves together, for one is luck."""
    net = network((5, 70, 20, 4), ("tanh", "gelu"), compute_dtype=compute_dtype)
    point = examples(net, batch=(70,), dtype=dtype, classes=True)
    expected = truth(functools.partial(gradient, ffnn.loss), net, point)

    def error(loss, net):
        off = jax.tree.map(relative_error, gradient(loss, net, *point[:3]), expected)
        return np.linalg.norm(jax.tree.leaves(off))

    assert 0 < error(ffnn.loss, net) <= 1.1 * error(ffnn.loss_autodiff, by_xla(net))


@pytest.mark.parametrize("level", [1e4, 1e30])
def test_extreme_logits_and_few_classes(level):
    """Three classes in a block of 16: the other 13 are nowhere."""
    net = network((5, 9, 3), "relu")
    point = examples(net, batch=(4,), classes=True)
    last = point.params[-1]
    params = (point.params[0], last._replace(b=jnp.asarray([level, -level, 0.0])))
    found, expected = (gradient(ffnn.loss, n, params, *point[1:3]) for n in (net, by_xla(net)))
    assert_close(found, expected, 1e-6)


# What a kernel may get wrong ---------------------------------------------------------------------


def by_kernels(net, params, x, grad_a):
    """a_L, what is kept, and all of the sweep."""
    kept = narrow.forward(net, params, x)
    return narrow.last_a(net, params, x), kept, sweep._by_kernel(net, params, x, kept, grad_a)


def layer_by_layer(net, params, x, grad_a):
    kept = sweep._layer_by_layer(net, None, params, x)
    return kept[-1], kept, sweep._down(net, None, params, x, kept, grad_a)


def dropped_bias(W, b, h, compute_dtype):
    return tiles.affine_part(W, h, compute_dtype)


def transposed_W(W, h, compute_dtype):
    return tiles.product(h, W, ((1,), (0,)), compute_dtype)


def transposed_W_on_the_way_back(W, grad_a, compute_dtype):
    return tiles.product(grad_a, W, ((1,), (1,)), compute_dtype)


def derivative_of_the_wrong_array(g, kept, grad_h):
    return grad_h * g.derivative(g.value(kept))


def wrong_array_kept(g, a, dtype):
    return (g.value(a) if g.keep == "a" else a).astype(dtype), g.value(a).astype(dtype)


def no_derivative(g, kept, grad_h):
    return grad_h


def sums_in_bfloat16(x, y, contract, compute_dtype):
    low = jax.lax.dot_general(x, y, (contract, ((), ())), preferred_element_type=jnp.bfloat16)
    return low.astype(jnp.float32)


def one_block_only(n):
    return tiles_cuts(n)[:1]


def no_mask(ref, block, start):
    return triton_place(ref, block, start)[0], None


def first_tile_again(axis=0):
    return 0


tiles_cuts, triton_place = tiles.cuts, triton._place
FAULTS = [
    (tiles, "affine", dropped_bias),
    (tiles, "affine_part", transposed_W),
    (tiles, "grad_h", transposed_W_on_the_way_back),
    (tiles, "grad_a", derivative_of_the_wrong_array),
    (tiles, "grad_a", no_derivative),
    (tiles, "activated", wrong_array_kept),
    (tiles, "product", sums_in_bfloat16),
    (tiles, "cuts", one_block_only),
    (triton, "_place", no_mask),  # what lies beyond the edge leaks into the sums
    (triton, "program", first_tile_again),
]


@functools.cache
def faulty_case(sizes, activation):
    net = network(sizes, activation)
    point = examples(net, batch=(17,), classes=True)
    draw = np.random.default_rng(3)
    grad_a = jnp.asarray(draw.standard_normal((17, sizes[-1])), jnp.float32)
    args = (net, point.params, point.x, grad_a)
    return args, jax.jit(layer_by_layer)(*args)


def worst(args, expected):
    found = jax.jit(lambda *args: by_kernels(*args))(*args)  # traced anew
    off = jax.tree.map(relative_error, found, expected)
    return max(np.nan_to_num(jax.tree.leaves(off), nan=np.inf))


def two_tiles(net, rows, dtype):
    return 16, 4


@pytest.mark.parametrize("case", [SMALL, WIDE], ids=str)
def test_without_a_fault_there_is_nothing_to_catch(case, monkeypatch):
    monkeypatch.setattr(narrow, "tiling", two_tiles)
    assert worst(*faulty_case(*case)) <= 1e-6


@pytest.mark.parametrize(
    ("module", "name", "fault"), FAULTS, ids=lambda t: getattr(t, "__name__", t)
)
def test_planted_faults_are_caught(module, name, fault, monkeypatch):
    args, expected = faulty_case(*(WIDE if fault is one_block_only else SMALL))
    monkeypatch.setattr(narrow, "tiling", two_tiles)
    monkeypatch.setattr(module, name, fault)
    assert worst(args, expected) > 1e-5


def accesses(jaxpr):
    """(shape of the array, shape of the block, whether it is masked) of all in the kernels."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("masked_load", "masked_swap"):
            ref, _, *rest = eqn.params["args_tree"].unflatten(eqn.invars)
            mask = rest[0] if eqn.primitive.name == "masked_load" else rest[1]
            yield ref.aval.shape, eqn.outvars[0].aval.shape, mask is not None
        for inner in jax.tree.leaves(
            [*eqn.params.values()], is_leaf=lambda t: hasattr(t, "eqns") or hasattr(t, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from accesses(inner)


def unmasked(rows):
    """How many accesses may reach over an edge without a mask, and how many have a mask."""
    (net, params, *_), _ = faulty_case(*SMALL)
    x = jnp.ones((rows, 5))
    jaxpr = jax.make_jaxpr(lambda params, x: ffnn.gradients(net, params, x, x[:, :4]))(params, x)
    found = list(accesses(jaxpr.jaxpr))
    over = [any(n % side for n, side in zip(ref, block, strict=True)) for ref, block, _ in found]
    bad = sum(o and not masked for o, (*_, masked) in zip(over, found, strict=True))
    return bad, sum(masked for *_, masked in found)


def test_the_last_tile_is_masked(monkeypatch):
    """The interpreter forgives an access beyond the end, a GPU does not: so the program is read."""
    bad, masked = unmasked(70)
    assert bad == 0
    assert masked > 10
    monkeypatch.setattr(triton, "_place", no_mask)
    assert unmasked(70)[0] > 10
