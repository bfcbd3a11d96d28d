"""`check_transforms`: right rules pass every row, and what breaks in one row is told there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, examples
from jax.custom_derivatives import SymbolicZero, linear_call

import ffnn_jax as ffnn
from ffnn_jax.gradcheck.primal import Traced
from ffnn_jax.gradcheck.rows import gaps, random_like
from ffnn_jax.gradcheck.transforms import TRANSFORMS, check_transforms

DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.standard_normal((6, 4)).astype(np.float32))
W = jnp.asarray(DRAW.standard_normal((3, 4)).astype(np.float32))
MESHES = ("shard_map", "Explicit mesh")


def rows_of(fn, args, **options):
    """{name: row} of a function of pytrees; what is not floating are its other arrays."""
    everything, tree = jax.tree.flatten(args)
    floating = [jnp.issubdtype(t.dtype, jnp.floating) for t in everything]

    def function(leaves, others):
        leaves, others = iter(leaves), iter(others)
        filled = [next(leaves) if f else next(others) for f in floating]
        return jax.tree.leaves(fn(*jax.tree.unflatten(tree, filled)))

    leaves, others = (
        [t for t, f in zip(everything, floating, strict=True) if f == kind]
        for kind in (True, False)
    )

    def rule(leaves):
        return function(leaves, others)

    cotangent = random_like(jax.eval_shape(rule, leaves), 7)
    whole = (function, others) if others else None
    plain = Traced.of(rule, leaves)
    reports = check_transforms(rule, plain, leaves, cotangent, whole=whole, **options)
    return {report.name: report for report in reports}


def assert_right(rows, unsupported=("jvp",)):
    for name, row in rows.items():
        assert row.verdict == ("not supported" if name in unsupported else "right"), row
        assert bool(row.reason) == (name in unsupported), row


def with_rule(value, backward, forward=None, **options):
    """A function of arrays with the backward rule given, of (arguments, cotangent)."""
    rule = jax.custom_vjp(value)
    rule.defvjp(forward or (lambda *args: (value(*args), args)), backward, **options)
    return rule


def cubes(backward):
    """Σ x³ row by row, ∇ = backward(x, cotangent)."""
    return with_rule(lambda x: jnp.sum(x**3, 1), lambda saved, ct: (backward(*saved, ct[:, None]),))


def product(W, x):
    return x @ W.T


dense = with_rule(product, lambda saved, ct: (ct.T @ saved[1], ct @ saved[0]))


# Right rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["loss", "apply"])
def test_this_library(of):
    g = ACTIVATIONS[:5] if of == "loss" else ACTIVATIONS[5:]
    net = ffnn.Network((5, *range(4, 9), 3), activation=g, output="softmax")
    point = examples(net, batch=(10,), classes=True)
    if of == "loss":
        rows = rows_of(lambda p, x, y: ffnn.loss(net, p, x, y), (point.params, point.x, point.y))
        assert set(rows) == set(TRANSFORMS) - {"one output at a time"}
    else:
        rows = rows_of(lambda p, x: ffnn.apply(net, p, x), (point.params, point.x))
        assert set(rows) == set(TRANSFORMS) - {"one output at a time", "integer arguments"}
    assert_right(rows)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes(dtype):
    net = ffnn.Network((5, 8, 4), activation="relu", output="softmax")
    names = TRANSFORMS if dtype == "bfloat16" else ("jit", "vmap", "grad of grad", "shard_map")
    with jax.enable_x64(dtype == "float64"):
        point = examples(net, dtype=dtype, batch=(10,))
        rows = rows_of(lambda *args: ffnn.loss(net, *args), point[:3], names=names)
    assert "float32 with x64 on" not in rows
    assert_right(rows)


def test_relu_at_ties():
    relu = with_rule(
        lambda x: jnp.maximum(x, 0), lambda saved, ct: (jnp.where(saved[0] > 0, ct, 0),)
    )
    x = jnp.array(X).at[:, 1].set(0.0).at[2].set(-0.0)

    def fn(W, x):
        return relu(relu(x) @ W.T)

    assert_right(rows_of(fn, (W.at[1].set(0.0), x)))


def test_a_custom_jvp_goes_forward_too():
    @jax.custom_jvp
    def fn(x, y):
        return jnp.sin(x) * y, jnp.sum(x)

    @fn.defjvp
    def _(primals, tangents):
        (x, y), (dx, dy) = primals, tangents
        return fn(x, y), (jnp.cos(x) * y * dx + jnp.sin(x) * dy, jnp.sum(dx))

    rows = rows_of(fn, (X, 2 * X))
    assert "one output at a time" in rows
    assert_right(rows, ())


def test_bias_that_cancels():
    """The gradient is 0 but for rounding, which is another under each transform."""

    def value(b, x):
        shifted = x + b[None]
        return shifted - jnp.mean(shifted, 0, keepdims=True)

    def backward(saved, ct):
        dx = ct - jnp.mean(ct, 0, keepdims=True)
        return jnp.sum(dx, 0), dx

    rows = rows_of(lambda b, x: with_rule(value, backward)(b, x) ** 3, (X[0] * 100, X * 100))
    assert not any(row.verdict == "wrong" for row in rows.values()), rows


def test_what_has_no_meaning_is_left_out():
    rows = rows_of(cubes(lambda x, ct: 3 * x**2 * ct), (X,))
    left_out = {"one argument at a time", "one output at a time", "integer arguments"}
    assert set(rows) == set(TRANSFORMS) - left_out
    assert_right({name: row for name, row in rows.items() if name not in MESHES})


def test_names():
    rows = rows_of(dense, (W, X), names=("scan", "jit"))
    assert list(rows) == ["scan", "jit"]
    with pytest.raises(ValueError, match="got 'pmap'"):
        rows_of(dense, (W, X), names=("pmap",))


# Rules that are right alone and break in one row --------------------------------------------------


def row_of(fn, args, names, **options):
    """The one row of a rule whose gradient alone is right."""
    leaves = [t for t in jax.tree.leaves(args) if jnp.issubdtype(t.dtype, jnp.floating)]
    others = [t for t in jax.tree.leaves(args) if not jnp.issubdtype(t.dtype, jnp.floating)]

    def rule(leaves):
        return jax.tree.leaves(fn(*leaves, *others))

    @jax.jit
    def both(leaves):
        pulls = [jax.vjp(f, leaves) for f in (rule, Traced.of(rule, leaves))]
        return [pullback([jnp.cos(t) for t in out]) for out, pullback in pulls]

    for gap in gaps(*both(leaves), [""] * len(leaves)):
        assert gap.error <= 1e-5 * gap.size
    (row,) = rows_of(fn, args, names=names, **options).values()
    return row


def test_jit():
    """What is asked of a tracer at trace time is another eagerly."""
    fn = cubes(lambda x, ct: (3 if isinstance(ct, jax.core.Tracer) else 2) * x**2 * ct)
    row = row_of(fn, (X,), ("jit",))
    assert row.verdict == "wrong"
    assert "leaf 0: off by 0.33 of its norm" in row.reason


def test_vmap():
    @jax.custom_batching.custom_vmap
    def slope(x, ct):
        return 3 * x**2 * ct

    @slope.def_vmap
    def _(size, batched, x, ct):
        return jnp.broadcast_to(jnp.sum(3 * x**2 * ct, 0), (size, *x.shape[1:])), True

    assert row_of(cubes(slope), (X,), ("vmap",)).verdict == "wrong"
    assert row_of(cubes(slope), (X,), ("scan",)).verdict == "right"


def test_vmap_of_one_leaf():
    """Right where both leaves are mapped, wrong where one is."""

    @jax.custom_batching.custom_vmap
    def slope(x, y, ct):
        return y * ct

    @slope.def_vmap
    def _(size, batched, x, y, ct):
        parts = (t if b else t[None] for t, b in zip((y, ct), batched[1:], strict=True))
        right = jnp.multiply(*parts) * (1 if batched[1] else 2)
        return jnp.broadcast_to(right, (size, *x.shape[-2:])), True

    fn = with_rule(lambda x, y: x * y, lambda saved, ct: (slope(*saved, ct), saved[0] * ct))
    row = row_of(fn, (X, 2 * X), ("vmap",), paths=["x", "y"])
    assert row.verdict == "wrong"
    assert row.reason.startswith("x, x alone mapped: off by 1 ")


def test_vmap_that_jax_refuses():
    def outside(x, ct):
        return jax.pure_callback(lambda x, ct: 3 * x**2 * ct, jax.typeof(x), x, ct)

    row = row_of(cubes(outside), (X,), ("vmap",))
    assert row.verdict == "not supported"
    assert row.reason.startswith(("NotImplementedError: ", "ValueError: "))
    assert row_of(cubes(outside), (X,), ("checkpoint",)).verdict == "right"
    assert row_of(cubes(outside), (X,), ("grad of grad",)).verdict == "not supported"


@pytest.mark.parametrize("name", ["scan", "checkpoint"])
def test_what_the_forward_rule_hides_leaks(name):
    """Residuals handed over by a Python variable."""
    hidden = []
    value = lambda x: jnp.sum(x**3, 1)  # noqa: E731

    def forward(x):
        hidden.append(x)
        return value(x), None

    fn = with_rule(value, lambda _, ct: (3 * hidden[-1] ** 2 * ct[:, None],), forward)
    row = row_of(fn, (X,), (name,))
    assert row.verdict == "not supported"
    assert "Tracer" in row.reason
    assert "\n" not in row.reason


@pytest.mark.parametrize("name", ["scan", "checkpoint"])
def test_state_that_the_function_leaves_behind(name):
    """Under these JAX traces the function itself, and then its rule."""
    traced = []

    def value(x):
        traced.append(x.shape)
        return jnp.sum(x**3, 1)

    def backward(saved, ct):
        return ((3 + len(traced)) * saved[0] ** 2 * ct[:, None],)

    fn = with_rule(value, backward, lambda x: (jnp.sum(x**3, 1), (x,)))
    plain = Traced.of(lambda leaves: [jnp.sum(leaves[0] ** 3, 1)], [X])

    def rule(leaves):
        return [fn(*leaves)]

    (row,) = check_transforms(rule, plain, [X], [jnp.ones(6)], names=(name,))
    assert row.verdict == "wrong"


def test_jvp():
    """A linear map whose transpose is right and which itself is not."""

    @jax.custom_jvp
    def fn(x):
        return x**3

    @fn.defjvp
    def _(primals, tangents):
        slope = 3 * primals[0] ** 2
        return fn(*primals), linear_call(
            lambda s, t: 2 * s * t, lambda s, t: s * t, slope, *tangents
        )

    row = row_of(fn, (X,), ("jvp",))
    assert row.verdict == "wrong"
    assert row.reason == "along leaf 0: off by 1 of what reverse mode gives"


def inner_slope(factor):
    """3 x², whose own rule is wrong by a factor."""
    return with_rule(lambda x: 3 * x**2, lambda saved, ct: (factor * 6 * saved[0] * ct,))


def test_grad_of_grad():
    wrong, right = inner_slope(2.0), inner_slope(1.0)
    row = row_of(cubes(lambda x, ct: wrong(x) * ct), (X,), ("grad of grad",))
    assert row.verdict == "wrong"
    assert "by the rule" in row.reason
    assert "by differences of its own gradient" in row.reason
    assert row_of(cubes(lambda x, ct: right(x) * ct), (X,), ("grad of grad",)).verdict == "right"


@pytest.mark.parametrize("name", ["grad of grad", "forward over reverse"])
def test_second_order_that_is_cut_off(name):
    fn = cubes(lambda x, ct: 3 * jax.lax.stop_gradient(x) ** 2 * ct)
    assert row_of(fn, (X,), (name,)).verdict == "wrong"


def test_forward_over_reverse():
    """The backward rule calls the function that has it."""
    value = lambda x: jnp.exp(x)  # noqa: E731
    fn = with_rule(value, lambda saved, ct: (fn(*saved) * ct,))
    row = row_of(fn, (X,), ("forward over reverse",))
    assert row.verdict == "not supported"
    assert row.reason.startswith("TypeError: can't apply forward-mode")
    assert row_of(fn, (X,), ("grad of grad",)).verdict == "right"


def test_second_order_at_a_jump_is_not_called_wrong():
    """|x|ʳ at ties: the rule and autodiff differ, and differences do not settle."""
    fn = with_rule(
        lambda x: jnp.maximum(x, 0) ** 2,
        lambda saved, ct: (jnp.where(saved[0] >= 0, 2 * saved[0], 0.0) * ct,),
    )
    row = row_of(fn, (X.at[0].set(0.0),), ("grad of grad",))
    assert row.verdict in ("right", "unsure")


def test_second_order_of_both_leaves():
    stop = jax.lax.stop_gradient
    fn = with_rule(lambda a, b: a * b, lambda saved, ct: (ct * stop(saved[1]), ct * stop(saved[0])))
    report = ffnn.check_gradients(fn, (X, X + 1), transforms=("grad of grad",))
    assert [leaf.diagnosis.fault for leaf in report.leaves] == ["second-order"] * 2


def test_second_order_at_knots():
    """H of what has a kink is not symmetric: one order gives the one half, another the other."""
    knots = jnp.arange(4.0)

    def value(x, y):
        return jnp.interp(x, knots, y)

    def backward(saved, ct):
        x, y = saved
        k = jnp.clip(jnp.floor(x).astype(int), 0, 2)
        t = x - k.astype(x.dtype)
        return ct * (y[k + 1] - y[k]), jnp.zeros(4).at[k].add(ct * (1 - t)).at[k + 1].add(ct * t)

    fn = with_rule(value, backward)
    at = (jnp.array([1.0, 2.0, 0.0, 3.0]), jax.random.normal(jax.random.key(1), (4,)))
    for name in ("grad of grad", "forward over reverse"):
        assert row_of(fn, at, (name,)).verdict == "right"


def test_one_argument_at_a_time():
    """With symbolic zeros a rule sees which argument varies."""

    def forward(W, x):
        return product(W.value, x.value), (W.value, x.value, W.perturbed and x.perturbed)

    def backward(saved, ct):
        W, x, both = saved
        return ct.T @ x if both else jnp.zeros_like(W), ct @ W

    value = with_rule(product, backward, forward, symbolic_zeros=True)
    row = row_of(value, (W, X), ("one argument at a time",), paths=["W", "x"])
    assert (row.verdict, row.reason) == ("wrong", "W: off by 1 of its norm")


def test_one_output_at_a_time():
    def backward(saved, cts):
        first, second = cts
        if isinstance(second, SymbolicZero):
            return (jnp.zeros_like(saved),)
        second = second + (0 if isinstance(first, SymbolicZero) else 2 * saved * first)
        return (second,)

    fn = with_rule(
        lambda x: (x**2, x),
        backward,
        lambda x: ((x.value**2, x.value), x.value),
        symbolic_zeros=True,
    )
    row = row_of(fn, (X,), ("one output at a time",))
    assert (row.verdict, row.reason) == ("wrong", "leaf 0, output 0 alone: off by 1 of its norm")


def test_x64_where_the_function_itself_is_another():
    """Random numbers are drawn in 64 bits there."""

    def dropout(backward):
        def value(x, key):
            return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)

        def cotangents(saved, ct):
            return backward(jax.random.bernoulli(saved[1], 0.5, ct.shape), ct), None

        rows = rows_of(with_rule(value, cotangents), (X, jax.random.key(0)))
        return {name: row for name, row in rows.items() if name not in MESHES}

    assert_right(dropout(lambda mask, ct: jnp.where(mask, 2 * ct, 0)))

    def wrong(mask, ct):
        return jnp.where(mask, (3 if jax.config.read("jax_enable_x64") else 2) * ct, 0)

    assert dropout(wrong)["float32 with x64 on"].verdict == "wrong"


def test_x64():
    """A NumPy float64 array in the rule is float32 as long as 64-bit types are off."""

    def backward(x, ct):
        three = jnp.asarray(np.full(X.shape, 3.0))
        return three * jnp.asarray(x**2 * ct, three.dtype)

    row = row_of(cubes(backward), (X,), ("float32 with x64 on",))
    assert row.verdict == "wrong"
    assert row.reason == "leaf 0: a gradient of float64, not float32"
    strict = cubes(lambda x, ct: jax.lax.mul(jnp.asarray(np.full(X.shape, 3.0)), x**2 * ct))
    row = row_of(strict, (X,), ("float32 with x64 on",))
    assert row.verdict == "wrong"
    assert row.reason.startswith("TypeError: lax.mul requires arguments to have the same dtypes")


def test_integer_arguments():
    """They are tracers, and their cotangents float0."""

    def take(x, i):
        return x[i]

    def backward(factor):
        def rows(saved, ct):
            x, i = saved
            return jnp.zeros_like(x).at[i].add(factor(i) * ct), None

        return with_rule(take, rows)

    args = (X, jnp.array([0, 2, 2]))
    options = {"names": ("integer arguments",)}
    row = row_of(backward(lambda i: 1), args, **options)
    assert row.verdict == "right"
    row = row_of(backward(lambda i: 2 if isinstance(i, jax.core.Tracer) else 1), args, **options)
    assert (row.verdict, row.reason) == ("wrong", "leaf 0: off by 1 of its norm")
    row = row_of(backward(lambda i: len(np.unique(i)) // 2), args, **options)
    assert row.verdict == "not supported"
    assert row.reason.startswith("TracerArrayConversionError")


# On two devices ----------------------------------------------------------------------------------


def test_textbook_rule_on_meshes():
    rows = rows_of(dense, (W, X))
    assert_right(rows, ("jvp", *MESHES))
    assert "ShardingTypeError" in rows["Explicit mesh"].reason


def varying(t):
    kind = jax.typeof(t)
    return getattr(getattr(kind, "manual_axis_type", kind), "varying", getattr(kind, "vma", ()))


def test_a_sum_over_devices_that_is_a_mean():
    def backward(saved, ct):
        W, x = saved
        dW, axes = ct.T @ x, tuple(varying(ct) | varying(x))
        return (jax.lax.pmean(dW, axes) if axes else dW), ct @ W

    row = row_of(with_rule(product, backward), (W, X), ("shard_map",), paths=["W", "x"])
    assert row.verdict == "wrong"
    assert row.reason == "W: off by 0.5 of its norm"


def test_a_wrong_gradient_on_explicit_axes():
    def backward(x, ct):
        split = any(jax.typeof(x).sharding.spec)
        return (2 if split else 3) * x**2 * ct

    row = row_of(cubes(backward), (X,), ("Explicit mesh",))
    assert row.verdict == "wrong"
    assert row.reason == "leaf 0: off by 0.33 of its norm"


def test_a_function_that_cannot_be_split():
    odd = with_rule(lambda x: x**2, lambda saved, ct: (2 * saved[0] * ct,))
    for name in MESHES:
        row = row_of(odd, (X[:3],), (name,))
        assert row.verdict == "not supported"
        assert "no array has a first axis that is even" in row.reason
