"""The verdicts: kinks, functions that autodiff gets wrong or cannot take, and what is `unsure`."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_diagnosis import check, with_rule

import ffnn_jax as ffnn
from ffnn_jax.gradcheck.differences import sizes, slope
from ffnn_jax.gradcheck.hard import hard_values

X = jnp.asarray(np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32))
TIES = jnp.array([-1.5, 0.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("slope_at_0", "ok"), [(0.0, True), (0.5, True), (1.0, True), (1.5, False)]
)
def test_a_kink_takes_any_value_between_its_slopes(slope_at_0, ok):
    """relu at 0: JAX has 0, and any number up to 1 is a subgradient."""

    def backward(x, g):
        return (g * jnp.where(x == 0, slope_at_0, (x > 0).astype(x.dtype)),)

    (leaf,) = check(with_rule(lambda x: jax.nn.relu(x), backward), TIES).leaves
    assert leaf.ok is ok, leaf
    assert leaf.kinks == (2 if slope_at_0 in (0.5, 1.0) else 0)


def test_a_kink_is_said_to_be_one():
    def backward(x, g):
        return (g * jnp.where(x == 0, 0.3, jnp.sign(x)),)

    report = check(with_rule(jnp.abs, backward), TIES)
    assert report.ok is True
    assert report.leaves[0].kinks == 2
    assert "kink at 2 entries" in str(report)


def safe_log(x):
    return jnp.where(x > 0, jnp.log(x), 0)


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (2.0, False)])
def test_where_autodiff_is_not_finite(factor, ok):
    """The gradient of where(x > 0, log x, 0) at 0 and below is 0; autodiff says NaN at 0."""
    x = jnp.array([-1.0, 3.0, 0.5, -2.0])
    guarded = with_rule(
        lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, -1.0) * jnp.sign(x)), 0),
        lambda x, g: (factor * g * jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.abs(x)), 0),),
    )
    assert not np.all(np.isfinite(jax.grad(lambda x: jnp.sum(safe_log(x * 0)))(x)))
    assert check(guarded, x).ok is ok


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (0.5, False)])
def test_where_autodiff_is_wrong(factor, ok):
    """x²  as √(x⁴): at 0 autodiff gives NaN, and the gradient is 0 there, 2x elsewhere."""
    x = jnp.array([0.0, 1.5, -2.0])
    square = with_rule(lambda x: jnp.sqrt(x**4), lambda x, g: (factor * g * 2 * x,))
    report = check(square, x)
    assert report.ok is ok, str(report)
    assert "autodiff of the function is not finite" in report.leaves[0].note


def newton(x):
    def body(_, y):
        return (y + x / y) / 2

    return jax.lax.while_loop(lambda s: s[0] < 30, lambda s: (s[0] + 1, body(*s)), (0, x))[1]


@pytest.mark.parametrize(("factor", "fault"), [(1.0, None), (2.0, "scaled"), (0.0, "zero")])
def test_where_autodiff_cannot_go(factor, fault):
    root = with_rule(newton, lambda x, g: (factor * g / (2 * newton(x)),))
    report = check(root, jnp.array([0.5, 2.0, 9.0]))
    assert report.faults == (() if fault is None else (fault,)), str(report)
    assert "by differences" in report.leaves[0].note


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (2.0, False)])
def test_a_large_leaf_where_autodiff_cannot_go(factor, ok):
    root = with_rule(newton, lambda x, g: (factor * g / (2 * newton(x)),))
    assert check(root, jnp.linspace(0.5, 9, 200)).ok is ok


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (1.5, False)])
def test_callbacks(factor, ok):
    def on_host(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    sine = with_rule(on_host, lambda x, g: (factor * g * jnp.cos(x),))
    assert check(sine, jnp.array([0.3, -1.2, 2.0])).ok is ok


def test_nothing_can_decide():
    """A function of the host that jumps about: neither autodiff nor differences say anything."""

    def rough(x):
        return np.sin(1e9 * np.asarray(x, np.float64)).astype(np.float32)

    def on_host(x):
        return jax.pure_callback(rough, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    report = check(with_rule(on_host, lambda x, g: (g,)), jnp.array([0.3, -1.2, 2.0]))
    assert report.ok is None
    assert report.leaves[0].verdict == "unsure"
    assert "1 unsure" in str(report)
    report.raise_if_wrong()


def test_a_stopped_gradient_is_meant():
    """round(x) with the gradient of x, written without a rule."""

    def through(x):
        return x + jax.lax.stop_gradient(jnp.round(x * 3) / 3 - x)

    assert check(lambda x: jnp.sin(through(x)), X).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("wrong", "ok"), [(0.0, True), (0.1, False)])
def test_a_gradient_that_cancels(dtype, wrong, ok):
    """A shift of all logits before a softmax: the gradient is 0 but for rounding."""

    def value(x, shift):
        return jax.nn.log_softmax(x + shift[None], axis=-1)

    def backward(x, shift, g):
        d = g - jax.nn.softmax(x + shift[None]) * jnp.sum(g, -1, keepdims=True)
        return d, jnp.sum(d, keepdims=True).reshape(1) + wrong * jnp.sum(g)

    with jax.enable_x64(dtype == "float64"):
        report = check(with_rule(value, backward), X.astype(dtype), jnp.ones(1, dtype))
    assert [leaf.ok for leaf in report.leaves] == [True, ok], str(report)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_inputs_of_any_size(scale, factor):
    cube = with_rule(lambda x: x**3, lambda x, g: (factor * g * 3 * x**2,))
    assert check(cube, scale * X).ok is (factor == 1.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_one_wrong_entry_among_thousands_in_a_short_dtype(dtype):
    x = jnp.asarray(np.random.default_rng(0).standard_normal(4000), dtype)
    fn = with_rule(jnp.sin, lambda x, g: ((g * jnp.cos(x)).at[17].multiply(1.5),))
    report = check(fn, x)
    assert report.faults == ("entries",)
    assert "at [17]" in report.leaves[0].diagnosis.message


def test_a_wrong_rule_is_not_tried_under_transforms():
    fn = with_rule(jnp.sin, lambda x, g: (g,))
    assert ffnn.check_gradients(fn, (X,)).transforms == ()
    assert [row.name for row in ffnn.check_gradients(jnp.sin, (X,), transforms=("jit",)).transforms]


# Gradients that are meant to differ --------------------------------------------------------------


def straight(x):
    return jnp.round(x)


clipped = with_rule(straight, lambda x, g: (g,))


def test_deliberate_as_a_function():
    assert not check(clipped, X).ok
    assert check(clipped, X, deliberate=lambda x: x).ok
    assert not check(clipped, X, deliberate=lambda x: 2 * x).ok


def test_deliberate_as_paths():
    both = with_rule(lambda x, y: jnp.round(x) * y, lambda x, y, g: (g, g * jnp.round(x)))
    report = check(both, X, X, deliberate=["args[0]"])
    assert report.ok
    assert report.leaves[0].note == "deliberate: not judged"
    assert report.leaves[0].diagnosis is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"deliberate": "args[0]"}, TypeError, "deliberate: expected a function or paths"),
        ({"deliberate": 3}, TypeError, "deliberate: expected a function or paths"),
        ({"deliberate": ["args[7]"]}, ValueError, r"deliberate: expected paths of args\[0\]"),
        ({"deliberate": jnp.sin, "reference": jnp.sin}, TypeError, "deliberate: expected one"),
        ({"transforms": "jit"}, TypeError, "transforms: expected a sequence"),
        ({"transforms": ["vmp"]}, ValueError, "transforms: .*did you mean 'vmap'"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        ffnn.check_gradients(jnp.sin, (X,), **options)


# Differences -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [1.0, 1e3, 1e6])
def test_slopes_of_what_oscillates(frequency):
    x = np.array([0.37])
    found = slope(lambda x: float(np.sin(frequency * x[0])), x, sizes(x), 1e-6)
    assert found.settled
    assert found.central == pytest.approx(0.37 * frequency * np.cos(0.37 * frequency), rel=1e-3)


def test_slopes_at_a_kink():
    found = slope(lambda x: abs(x[0]), np.zeros(1), np.ones(1), 1e-6)
    assert found.settled
    assert (found.below, found.above) == (-1, 1)


def test_slopes_that_are_not_there():
    assert not slope(lambda x: float(np.sign(x[0])), np.zeros(1), np.ones(1), 1e-6).settled
    assert not slope(lambda x: float("nan"), np.zeros(1), np.ones(1), 1e-6).settled


# Hard inputs -------------------------------------------------------------------------------------


def naive_lse(x):
    return jnp.max(x) + jnp.log(jnp.sum(jnp.exp(x - jnp.max(x))))


naive = with_rule(naive_lse, lambda x, g: (g * jnp.exp(x) / jnp.sum(jnp.exp(x)),))
careful = with_rule(naive_lse, lambda x, g: (g * jax.nn.softmax(x),))
cancels = with_rule(lambda x: jnp.log1p(x), lambda x, g: (g * x / ((1 + x) ** 2 - (1 + x)),))


def test_hard_inputs_find_what_ordinary_ones_do_not():
    report = ffnn.check_rules(naive, (X[0],), hard=True)
    assert report.ok is True
    kinds = {finding.kind for finding in report.rules[0].findings}
    assert "non-finite" in kinds
    text = str(report)
    assert "non-finite at args[0] = " in text
    assert json.dumps(report.to_dict())


def test_a_careful_rule_has_no_findings():
    assert ffnn.check_rules(careful, (X[0],), hard=True).rules[0].findings == ()
    assert ffnn.check_rules(naive, (X[0],)).rules[0].findings == ()


def test_digits_lost_at_hard_inputs():
    report = ffnn.check_rules(cancels, (jnp.array([0.5, 1.0, 2.0]),), hard=True)
    assert {finding.kind for finding in report.rules[0].findings} & {"imprecise", "non-finite"}


def test_hard_values_keep_shape_and_dtype():
    leaf = np.asarray(X, np.float16)
    for name, value in hard_values(leaf):
        assert value.shape == leaf.shape, name
        assert value.dtype == leaf.dtype, name


def test_rules_that_are_meant_to_differ():
    def rounded(x):
        return clipped(x) * careful(x[0])

    assert not ffnn.check_rules(rounded, (X,)).ok
    report = ffnn.check_rules(rounded, (X,), deliberate=["straight"])
    assert report.ok
    assert report.rules[0].reason == "deliberate: not judged"


@pytest.mark.parametrize(("slope", "ok"), [(1.7578125, True), (1.9, False)])
def test_constants_of_a_short_dtype(slope, ok):
    """λα as one number of bfloat16, and as the product of two: a rounding apart, and no more."""
    scale, alpha = jnp.bfloat16(1.0507), jnp.bfloat16(1.6733)
    fn = with_rule(lambda x: x * scale * alpha, lambda x, g: (g * jnp.bfloat16(slope),))
    assert check(fn, X.astype(jnp.bfloat16)).ok is ok


def test_float16_with_the_digits_of_bfloat16():
    """A long sum in bfloat16 is off by little in norm; its digits tell."""

    def coarse(x, g):
        return ((g.astype(jnp.bfloat16) @ jnp.ones((9, 300), jnp.bfloat16)).astype(x.dtype),)

    def fine(x, g):
        return (g @ jnp.ones((9, 300), x.dtype),)

    x = jnp.tile(X, (2, 100)).astype(jnp.float16)
    for backward, fault in ((coarse, "precision"), (fine, None)):
        fn = with_rule(lambda x: x @ jnp.ones((300, 9), x.dtype), backward)
        (leaf,) = check(fn, x).leaves
        assert (leaf.diagnosis.fault if leaf.diagnosis else None) == fault


def test_float64_has_no_truth_beyond_its_own_digits(x64):
    """exp(z − y) of logsumexp loses the digits of a large y, as much as float64 has."""

    def value(z):
        return jax.scipy.special.logsumexp(z, -1)

    fn = with_rule(value, lambda z, g: (g[..., None] * jnp.exp(z - value(z)[..., None]),))
    assert check(fn, 300 + jnp.asarray(X, jnp.float64)).ok


def test_a_callback_in_float32_settles():
    """One entry hardly moves a sum that is known to the digits of float32."""

    def host(x):
        return jax.pure_callback(lambda t: np.exp(t, dtype=np.float32), x, x)

    fn = with_rule(lambda x: host(x), lambda x, g: (g * jnp.exp(x),))
    x = jnp.linspace(-3, 3, 20)
    assert check(fn, x).ok is True
    half = with_rule(lambda x: host(x), lambda x, g: (g * jnp.exp(x / 2),))
    assert check(half, x).ok is False
