"""`check_rules`: every rule that a function meets, wherever it meets it, at its real inputs."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ffnn_jax as ffnn

DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.standard_normal((5, 4)).astype(np.float32))


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@jax.custom_jvp
def cube(x):
    return x**3


cube.defjvp(lambda p, t: (p[0] ** 3, 2 * p[0] ** 2 * t[0]))  # ought to be 3x²


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def power(n, tree, name, scale=1.0):
    assert name == "static"
    return jax.tree.map(lambda x: scale * x**n, tree)


power.defvjp(
    lambda n, tree, name, scale: (power(n, tree, name, scale=scale), (tree, scale)),
    lambda n, name, saved, g: (
        jax.tree.map(lambda x, g: saved[1] * n * x ** (n - 1) * g, saved[0], g),
        sum(jax.tree.leaves(jax.tree.map(lambda x, g: jnp.sum(x**n * g), saved[0], g))),
    ),
)


def everything(x):
    y, _ = jax.lax.scan(lambda c, _: (sine(c), None), x, None, length=3)
    y = jax.vmap(lambda row: jax.jit(cube)(row))(y)
    y = jax.checkpoint(sine)(y)
    return jnp.sum(jax.lax.cond(x[0, 0] > 100, lambda y: never(y), lambda y: y, y))


@jax.custom_vjp
def never(x):
    return -x


never.defvjp(lambda x: (-x, None), lambda _, g: (g,))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: f,
        jax.jit,
        jax.grad,
        lambda f: jax.jit(jax.value_and_grad(f)),
    ],
    ids=["plain", "jit", "grad", "jit of grad"],
)
def test_wherever_they_are(wrap):
    report = ffnn.check_rules(wrap(everything), (X,))
    rules = {rule.name: rule for rule in report.rules}
    assert not report.ok
    assert list(rules) == ["sine", "cube", "never"]
    assert (rules["sine"].ok, rules["cube"].ok, rules["never"].ok) == (True, False, None)
    assert rules["sine"].calls >= 4
    assert rules["cube"].calls == 5  # one a row
    assert rules["cube"].reports[0].leaves[0].diagnosis.fault == "scaled"
    assert rules["never"].reason == "met while tracing, but never run"
    line = sine.fun.__code__.co_firstlineno
    assert rules["sine"].location.endswith(f"test_rules.py:{line}")
    text = str(report)
    assert "cube   WRONG" in text
    assert "args[0]: scaled: the rule gives 0.666667 times the gradient" in text
    with pytest.raises(AssertionError, match="WRONG"):
        report.raise_if_wrong()


def test_at_the_inputs_it_really_gets():
    """A rule that is wrong for negative numbers alone is right where none come."""
    sqrt = jax.custom_vjp(lambda x: jnp.abs(x))
    sqrt.defvjp(lambda x: (jnp.abs(x), x), lambda x, g: (g,))
    assert ffnn.check_rules(lambda x: sqrt(jnp.abs(x) + 1), (X,)).ok
    assert not ffnn.check_rules(lambda x: sqrt(-jnp.abs(x) - 1), (X,)).ok


def test_static_and_keyword_arguments_and_trees():
    def fn(x):
        return power(3, {"a": x, "b": x[0]}, "static", scale=2.0)["a"]

    report = ffnn.check_rules(fn, (X,))
    assert report.ok, str(report)
    assert [leaf.path for leaf in report.rules[0].reports[0].leaves] == [
        "args[1]['a']",
        "args[1]['b']",
    ]


def test_keys_are_arguments_too():
    @jax.custom_vjp
    def noisy(key, x):
        return x * jax.random.normal(key, x.shape)

    noisy.defvjp(
        lambda key, x: (noisy(key, x), (key, x.shape)),
        lambda saved, g: (None, g * jax.random.normal(saved[0], g.shape)),
    )
    assert ffnn.check_rules(jax.jit(noisy), (jax.random.key(1), X)).ok


@pytest.mark.parametrize("jit", [False, True])
def test_training_steps(jit):
    """Also where the function differentiates by itself, and was compiled before."""
    net, optimizer = ffnn.Network((4, 8, 3), output="softmax"), optax.adam(1e-2)
    y = np.array([0, 1, 2, 1, 0])
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        state = ffnn.init_state(net, optimizer, jax.random.key(0))

        def epoch(state):
            return ffnn.train_epoch(net, optimizer, state, X, y, batch_size=2)

        epoch = jax.jit(epoch) if jit else epoch
        epoch(state)
        report = ffnn.check_rules(epoch, (state,))
    assert report.ok
    rule, *others = report.rules
    assert all("JAX's own" in other.reason for other in others)
    assert rule.name == "_loss"
    assert rule.calls == 3
    assert "backprop.py:" in rule.location


def test_nothing_is_left_behind():
    kinds = jax.custom_vjp, jax.custom_jvp
    before = [kind.__call__ for kind in kinds]

    def broken(x):
        raise RuntimeError(f"no {sine(x)}")

    with pytest.raises(RuntimeError):
        ffnn.check_rules(broken, (X,))
    assert [kind.__call__ for kind in kinds] == before


def test_other_threads_are_not_heard():
    def fn(x):
        other = threading.Thread(target=lambda: cube(X))
        other.start()
        other.join()
        return sine(x)

    assert [rule.name for rule in ffnn.check_rules(fn, (X,)).rules] == ["sine"]


def test_a_rule_that_cannot_stand_alone():
    def fn(x):
        inner = jax.custom_vjp(lambda y: y * x)  # x is traced
        inner.defvjp(lambda y: (y * x, None), lambda _, g: (g,))
        return inner(jnp.ones(()))

    report = ffnn.check_rules(jax.jit(fn), (jnp.float32(2),))
    assert report.rules[0].ok is None
    assert report.rules[0].reason


def test_bad_input():
    with pytest.raises(TypeError, match="fn: expected a function"):
        ffnn.check_rules(3, (X,))
    with pytest.raises(TypeError, match="args: expected a tuple"):
        ffnn.check_rules(sine, X)
    with pytest.raises(ValueError, match="it met none"):
        ffnn.check_rules(lambda x: jnp.sin(x), (X,))


def test_rules_of_jax_are_listed_and_not_judged():
    report = ffnn.check_rules(jax.jit(lambda x: jax.nn.relu(cube(x))), (X,))
    assert [rule.name for rule in report.rules] == ["cube", "relu"]
    relu = report.rules[1]
    assert (relu.ok, relu.calls, relu.reports) == (None, 1, ())
    assert "functions.py:" in relu.location
    assert "relu  JAX's own" in str(report)


def test_a_rule_that_says_it_has_no_derivative_is_not_wrong():
    @jax.custom_jvp
    def rounded(x):
        return jnp.round(x)

    @rounded.defjvp
    def _(primals, tangents):
        raise NotImplementedError("rounded has none; use x")

    report = ffnn.check_rules(jax.jit(rounded), (X,))
    (rule,) = report.rules
    assert (report.ok, rule.ok) == (True, None)
    assert str(report).count("NotImplementedError: rounded has none; use x") == 1
