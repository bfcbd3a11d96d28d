"""`check_gradients`: right rules pass, wrong ones are found, in the right leaf, and named."""

import gc
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, examples
from jax.experimental import pallas as pl

import ffnn_jax as ffnn
from ffnn_jax.gradcheck.diagnosis import diagnose
from ffnn_jax.gradcheck.primal import Traced, count_rules

check = partial(ffnn.check_gradients, transforms=())  # the rows have tests of their own
DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.standard_normal((5, 4)).astype(np.float32))
W = jnp.asarray(DRAW.standard_normal((4, 4)).astype(np.float32))


def without_rules(fn):
    """fn of one array, its custom rules taken away."""
    return lambda x: Traced.of(lambda leaves: [fn(*leaves)], [x])([x])[0]


def rules_in(fn):
    return count_rules(jax.make_jaxpr(fn)(X))


def rule(backward, forward=lambda W, x: x @ W.T):
    """A dense layer with the backward rule given, of (W, x, cotangent)."""
    layer = jax.custom_vjp(forward)
    layer.defvjp(lambda W, x: (forward(W, x), (W, x)), lambda saved, ct: backward(*saved, ct))
    return layer


def right(W, x, ct):
    return ct.T @ x, ct @ W


WRONG = {
    "zero": lambda W, x, ct: (jnp.zeros_like(W), ct @ W),
    "sign": lambda W, x, ct: (-(ct.T @ x), ct @ W),
    "scaled": lambda W, x, ct: (ct.T @ x / 5, ct @ W),
    "transposed": lambda W, x, ct: (x.T @ ct, ct @ W),
    "non-finite": lambda W, x, ct: ((ct.T @ x).at[1, 2].set(jnp.nan), ct @ W),
    "nonlinear-cotangent": lambda W, x, ct: (ct.T @ x + W, ct @ W),
    "wrong": lambda W, x, ct: (ct.T @ x + ct[:4] * W, ct @ W),
}


def test_a_right_rule():
    report = check(rule(right), (W, X))
    assert report.ok
    assert [leaf.path for leaf in report.leaves] == ["args[0]", "args[1]"]
    assert "(1 met)" in report.reference
    assert str(report).endswith("all right")
    report.raise_if_wrong()


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_rule_is_named_in_its_leaf(fault):
    report = check(rule(WRONG[fault]), (W, X))
    assert not report.ok
    assert [leaf.ok for leaf in report.leaves] == [False, True]
    assert report.leaves[0].diagnosis.fault == fault
    assert fault in str(report)
    assert str(report).endswith("1 of 2 wrong")
    with pytest.raises(AssertionError, match="WRONG"):
        report.raise_if_wrong()


def test_the_factor_is_told():
    report = check(rule(WRONG["scaled"]), (W, X))
    assert "0.2 times" in report.leaves[0].diagnosis.message


def test_a_rule_that_raises_is_a_verdict():
    def broken(W, x, ct):
        raise RuntimeError("no such thing\nas this")

    report = check(rule(broken), (W, X))
    assert {leaf.diagnosis for leaf in report.leaves} == {
        ffnn.Diagnosis("raises", "RuntimeError: no such thing")
    }


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
@pytest.mark.parametrize("fault", ["right", "zero", "scaled"])
def test_no_scale_dependence(fault, scale):
    """A tiny loss or a huge one: the same verdict."""
    layer = rule(WRONG.get(fault, right))
    report = check(lambda W, x: scale * layer(W, x), (W, X))
    assert report.ok == (fault == "right")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        args = (W.astype(dtype), X.astype(dtype))
        assert check(rule(right), args).ok
        assert not check(rule(WRONG["scaled"]), args).ok


def test_given_reference_and_argnums():
    layer = rule(lambda W, x, ct: (ct.T @ x, 0 * x))
    report = check(layer, (W, X), argnums=0, reference=lambda W, x: x @ W.T)
    assert report.ok
    assert len(report.leaves) == 1
    assert "reference given" in report.reference
    assert not check(layer, (W, X), argnums=[-1]).ok
    other = check(layer, (W, X), argnums=0, reference=lambda W, x: x @ (2 * W).T)
    assert "0.5 times" in other.leaves[0].diagnosis.message


def test_any_pytree_and_what_is_no_float_passes_through():
    layer = rule(right)

    def fn(tree, static, key, rows):
        noise = jax.random.normal(key, (), tree["x"].dtype)
        assert static == "name"
        return {"out": layer(tree["w"], tree["x"])[rows], "count": rows}, noise * tree["x"][0, 0]

    args = ({"w": W, "x": X}, "name", jax.random.key(1), jnp.array([0, 2]))
    report = check(fn, args)
    assert report.ok
    assert [leaf.path for leaf in report.leaves] == ["args[0]['w']", "args[0]['x']"]


def negate(x):
    return jnp.sin(x)


sine = jax.custom_vjp(negate)
sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (-ct * jnp.cos(x),))
sine_jvp = jax.custom_jvp(negate)
sine_jvp.defjvp(lambda p, t: (jnp.sin(*p), -t[0] * jnp.cos(*p)))


@pytest.mark.parametrize("bad", [sine, sine_jvp], ids=["vjp", "jvp"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda f, x: jax.jit(f)(x),
        lambda f, x: jax.lax.scan(lambda c, _: (f(c), c), x, None, length=3)[0],
        lambda f, x: jax.lax.cond(x[0, 0] > -100, f, lambda x: x, x),
        lambda f, x: jax.lax.fori_loop(0, 3, lambda _, c: f(c), x),
        lambda f, x: jax.checkpoint(f)(x),
        lambda f, x: jax.vmap(f)(x),
        lambda f, x: jax.lax.scan(lambda c, _: (jax.jit(jax.vmap(f))(c), c), x, None, length=1)[0],
    ],
    ids=["jit", "scan", "cond", "fori", "checkpoint", "vmap", "nested"],
)
def test_rules_are_found_wherever_they_are(bad, wrap):
    """The primal without its rules is right, and the wrong rule is found out, inside anything."""
    plain = jax.grad(lambda x: jnp.sum(without_rules(lambda x: wrap(bad, x))(x) * X))(X)
    expected = jax.grad(lambda x: jnp.sum(wrap(negate, x) * X))(X)
    np.testing.assert_allclose(plain, expected, rtol=1e-5, atol=1e-6)
    assert rules_in(lambda x: wrap(bad, x)) >= 1
    assert not check(lambda x: wrap(bad, x), (X,)).ok


def test_while_loops_keep_their_rules_out_of_the_primal():
    def fn(x):
        return jax.lax.while_loop(lambda c: c[1] < 2, lambda c: (sine(c[0]), c[1] + 1), (x, 0))[0]

    np.testing.assert_allclose(without_rules(fn)(X), jnp.sin(jnp.sin(X)), rtol=1e-6)


def test_rules_of_jax_itself_stay():
    """relu′(0) = 0 is JAX's convention, made by a rule of JAX's own."""
    assert rules_in(lambda x: jax.nn.relu(x)) == 0
    assert jax.grad(without_rules(lambda x: jax.nn.relu(x)))(0.0) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_the_library_s_own_rules(dtype):
    """Alone; under transforms in test_gradcheck_transforms."""
    with jax.enable_x64(dtype == "float64"):
        net = ffnn.Network(
            (4, 16, 16, 16, 3), activation=("relu", "gelu", "tanh"), output="softmax"
        )
        point = examples(net, dtype=dtype, batch=(8,))
        report = check(
            lambda net, p, x, y, w: ffnn.loss(net, p, x, y, weights=w), (net, *point), transforms=()
        )
        assert report.ok, str(report)
        assert len(report.leaves) == 11
        assert check(ffnn.apply, (net, point.params, point.x), transforms=()).ok


@pytest.mark.parametrize("width", [16, 256])
def test_no_alarm_on_right_relu_networks(width):
    """Differences alarm on wide ReLU networks, for some unit is always near its kink."""
    net = ffnn.Network((8, width, width, 4), output="softmax")
    for seed in range(3):
        params, x, y, _ = examples(net, seed=seed, batch=(16,))
        report = check(ffnn.loss, (net, params, x, y), argnums=(1, 2), transforms=())
        assert report.ok, str(report)


def test_diagnosis_of_a_gradient_that_ought_to_be_0():
    found = diagnose(np.ones(3), np.zeros(3), 1e-6)
    assert found.fault == "wrong"
    assert "1.73" in found.message


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fn": 3}, TypeError, "fn: expected a function"),
        ({"args": [W, X]}, TypeError, "args: expected a tuple"),
        ({"reference": "no"}, TypeError, "reference: expected a function"),
        ({"args": (jnp.arange(3), 2)}, TypeError, "args: expected a floating leaf"),
        ({"argnums": 2}, ValueError, "argnums: expected numbers of the 2 arguments"),
        ({"argnums": (0, -3)}, ValueError, "argnums: expected numbers of the 2 arguments"),
        ({"argnums": "0"}, TypeError, "argnums: expected an int or a tuple of ints"),
        ({"argnums": 1.0}, TypeError, "argnums: expected an int or a tuple of ints"),
        ({"fn": lambda W, x: jnp.argmax(W)}, TypeError, "fn: expected a floating output"),
        ({"reference": lambda W, x: W}, TypeError, "reference: expected the outputs of fn"),
        ({"args": (W * jnp.nan, X)}, ValueError, "args: expected a point where fn is finite"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"fn": lambda W, x: x @ W.T, "args": (W, X), **change}
    with pytest.raises(error, match=message):
        check(arguments.pop("fn"), arguments.pop("args"), **arguments)


@pytest.mark.parametrize("g", ACTIVATIONS)
def test_every_activation_s_rule_alone(g):
    row = ffnn.activations.ACTIVATIONS[g]

    def forward(a):
        h = row.value(a)
        return h, a if row.keep == "a" else h

    with_rule = jax.custom_vjp(lambda a: row.value(a))
    with_rule.defvjp(forward, lambda kept, ct: (ct * row.derivative(kept),))
    kink_and_more = jnp.asarray([-3.0, -1.0, 0.0, 1e-3, 1.0, 3.0])
    report = check(with_rule, (kink_and_more,))
    assert report.ok, str(report)


def test_where_autodiff_overflows_a_wrong_rule_is_still_wrong():
    """√(x²) at x = 1e-30: x² is 0 in float32, autodiff 1/0 · 0; the gradient is 1."""
    x = jnp.asarray([1e-30], jnp.float32)

    def root(x):
        return jnp.sqrt(x * x)

    wrong, right = jax.custom_vjp(root), jax.custom_vjp(root)
    wrong.defvjp(lambda x: (root(x), x), lambda x, g: (0 * g,))
    right.defvjp(lambda x: (root(x), x), lambda x, g: (g * jnp.sign(x),))
    assert not jnp.all(jnp.isfinite(jax.grad(lambda x: root(x)[0])(x)))
    assert not check(wrong, (x,)).ok
    assert check(right, (x,)).ok
    assert check(root, (x,)).ok  # no worse than autodiff


def test_a_wrong_rule_for_a_function_of_jax_is_a_user_s_rule():
    wrong = jax.custom_vjp(jnp.sin)
    wrong.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))
    tangent = jax.custom_jvp(jax.nn.softplus)
    tangent.defjvp(lambda p, t: (jax.nn.softplus(*p), -t[0]))
    for fn in (wrong, tangent):
        report = check(fn, (X,))
        assert not report.ok
        assert "(1 met)" in report.reference


def test_an_output_of_a_fixed_dtype():
    """Mixed precision: the output is float32 whatever the arguments are, also for the truth."""
    layer = rule(right)
    assert check(lambda W, x: layer(W, x).astype(jnp.float32), (W, X)).ok
    args = (W.astype(jnp.bfloat16), X.astype(jnp.bfloat16))
    assert check(lambda W, x: layer(W, x).astype(jnp.float32), args).ok


class Arguments(NamedTuple):
    W: jax.Array
    x: jax.Array


def test_args_may_be_a_named_tuple_and_argnums_a_numpy_integer():
    assert check(rule(right), Arguments(W, X), argnums=np.int64(0)).ok


def test_a_rule_inside_a_linear_solve():
    scaled = jax.custom_vjp(lambda x: 2 * x)
    scaled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
    report = check(lambda x: jax.scipy.sparse.linalg.cg(scaled, x)[0], (X[:, 0],))
    assert report.ok


def test_a_forward_pass_that_changes_the_value():
    """x² by itself, x³ under differentiation, and the gradient of x²."""
    changed = jax.custom_vjp(lambda x: x**2)
    changed.defvjp(lambda x: (x**3, x), lambda x, g: (2 * x * g,))
    report = check(changed, (X,))
    assert not report.ok
    assert report.leaves[0].ok
    assert report.values[0].diagnosis.fault == "value-changes"
    assert "0 of 1 wrong, 1 of 1 outputs changed" in str(report)


# The truth: every number in float64 ---------------------------------------------------------------


def double(x):
    return jnp.sin(x) + 2 * x


in_double = jax.custom_vjp(double)
in_double.defvjp(lambda x: (double(x), x), lambda x, g: (g * (jnp.cos(x) + 2),))
in_wrong = jax.custom_vjp(double)
in_wrong.defvjp(lambda x: (double(x), x), lambda x, g: (g * (jnp.cos(x) + 3),))

TABLE = jnp.asarray(DRAW.standard_normal((3, 5, 4)).astype(np.float32))
HOSTS = {
    "random numbers": lambda f, x: f(x) * jax.random.normal(jax.random.key(3), x.shape),
    "dropout": lambda f, x: jnp.where(
        jax.random.bernoulli(jax.random.key(1), 0.5, x.shape), f(x), 0
    ),
    "constants in a scan": lambda f, x: jax.lax.scan(lambda c, t: (f(c) * t, t.sum()), x, TABLE),
    "a counter in a scan": lambda f, x: jax.lax.scan(
        lambda c, _: ((f(c[0]), c[1] + 1), c[1]), (x, jnp.int32(0)), None, length=2
    )[0][0],
    "a cast": lambda f, x: f(x.astype(jnp.bfloat16)).astype(jnp.float32) @ x.T,
    "a product in bfloat16": lambda f, x: jnp.matmul(
        f(x).astype(jnp.bfloat16), x.T.astype(jnp.bfloat16), preferred_element_type=jnp.float32
    ),
    "relu at 0": lambda f, x: jax.nn.relu(f(x * (x > 0))),
    "logsumexp": lambda f, x: jax.nn.logsumexp(f(x), axis=-1),
    "cond": lambda f, x: jax.lax.cond(x[0, 0] > 9, lambda x: x, lambda x: f(x), x),
    "scatter": lambda f, x: jnp.zeros(9, x.dtype).at[jnp.array([1, 1, 4, 8])].add(f(x)[0]),
    "sort": lambda f, x: jnp.sort(f(x), axis=-1) * jnp.arange(4, dtype=x.dtype)[None],
    "convolution": lambda f, x: jax.lax.conv(
        f(x)[None, None], x[None, None, :2, :2], (1, 1), "VALID"
    ),
    "a solve": lambda f, x: jnp.linalg.solve(f(x)[:4] + 9 * jnp.eye(4, dtype=x.dtype), x[0]),
    "fft": lambda f, x: jnp.abs(jnp.fft.fft(f(x))),
    "reduce_precision": lambda f, x: jax.lax.reduce_precision(f(x), 8, 10),
    "bits": lambda f, x: f(x) * (jax.lax.bitcast_convert_type(x, jnp.int32) > 0),
    "gamma": lambda f, x: jax.random.gamma(jax.random.key(0), jnp.exp(f(x))),
    "a callback": lambda f, x: f(x) * jax.pure_callback(np.abs, x, jax.lax.stop_gradient(x)),
    "a loop": lambda f, x: jax.lax.fori_loop(0, 3, lambda i, c: f(c) / 2, x),
    "erf": lambda f, x: jax.scipy.special.erf(f(x)) + jnp.cumsum(x, 0),
}


@pytest.mark.parametrize(
    ("host", "x64"),
    [*((host, False) for host in HOSTS), ("random numbers", True), ("constants in a scan", True)],
)
def test_rules_inside_whatever_there_is(host, x64):
    """A right rule is right and a wrong one wrong, whatever dtypes and constants surround it."""
    with jax.enable_x64(x64), jax.numpy_dtype_promotion("standard"):
        right, wrong = (
            check(lambda x, f=f: HOSTS[host](f, x), (X,)) for f in (in_double, in_wrong)
        )
    assert right.ok, str(right)
    assert max(leaf.allowed for leaf in right.leaves) < 0.3, str(right)
    assert not wrong.ok, str(wrong)


def test_a_rule_inside_shard_map():
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=auto)

    def split(f):
        return jax.shard_map(
            f, mesh=mesh, in_specs=jax.P(None, "data"), out_specs=jax.P(None, "data")
        )

    for f, ok in ((in_double, True), (in_wrong, False)):
        assert check(split(f), (X,)).ok == ok


@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_mixed_precision_of_the_library(output):
    """Products in bfloat16 are a matter of rounding, not a wrong gradient."""
    plan = ffnn.Plan(compute_dtype="bfloat16")
    net = ffnn.Network((4, 16, 16, 3), activation="tanh", output=output, plan=plan)
    params, x, y, _ = examples(net, batch=(8,))
    report = check(ffnn.loss, (net, params, x, y), argnums=(1, 2))
    assert report.ok, str(report)


def test_with_jax_checking_its_own_work():
    with jax.enable_checks(True):
        assert check(lambda x: jax.lax.map(in_double, x), (X,)).ok


def test_nothing_that_was_heard_is_kept_for_the_rows(monkeypatch):
    """A large function leaves no room for its gradients in float64 then."""

    def held(*args, **options):
        gc.collect()
        there.append(sum(t.nbytes for t in jax.live_arrays()) - before)
        return ()

    there: list[int] = []
    leaf = jax.random.normal(jax.random.key(0), (128, 128))
    monkeypatch.setattr("ffnn_jax.gradcheck.check.check_transforms", held)
    gc.collect()
    before = sum(t.nbytes for t in jax.live_arrays())
    assert check(lambda x: jnp.sum(in_double(x)), (leaf,)).ok
    assert there[0] < leaf.nbytes


def swish_kernel(x, out):
    out[...] = x[...] * jax.nn.sigmoid(x[...])


def swish_slope_kernel(x, ct, out):
    s = jax.nn.sigmoid(x[...])
    out[...] = ct[...] * s * (1 + x[...] * (1 - s))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_pallas_kernel_in_a_dtype_of_its_own(dtype):
    """It cannot be run in float64, nor differenced with the digits of a short dtype."""

    def run(kernel, x, *more):
        out = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return pl.pallas_call(kernel, out_shape=out, interpret=True)(x, *more)

    fn = jax.custom_vjp(partial(run, swish_kernel))
    fn.defvjp(lambda x: (run(swish_kernel, x), x), lambda x, ct: (run(swish_slope_kernel, x, ct),))
    x = jax.random.normal(jax.random.key(1), (4, 8), jnp.float32).astype(dtype)
    assert check(fn, (x,)).ok == (True if dtype == "float32" else None)
    report = check(fn, (x,), reference=jax.nn.silu)
    assert report.ok, str(report)
