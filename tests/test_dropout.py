"""Dropout: the law of its masks, its gradient under every plan and transform, and training."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sweep_checks
from cases import ROUNDING, assert_close, examples
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn

KEY = jax.random.key(5)
NET = ffnn.Network((4, 8, 6, 2), ("relu", "tanh"), "softmax", dropout=(0.5, 0.1))
LOSSES = {"ours": ffnn.loss, "autodiff": ffnn.loss_autodiff}


def eye(n):
    return ffnn.Layer(jnp.eye(n), jnp.zeros(n))


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.1, 0.9])
def test_the_law_of_the_masks(rate):
    """The share of zeros is p, each kept entry is h / (1 − p), and the mean over masks is h."""
    net = ffnn.Network((64, 64, 64), "identity", dropout=rate)
    params, x = (eye(64), eye(64)), jnp.ones((50, 64))

    @jax.jit
    @jax.vmap
    def hidden(key):
        return ffnn.forward(net, params, x, dropout_key=key).h[1]

    masks = np.asarray(hidden(jax.random.split(KEY, 100)))
    zeros = np.mean(masks == 0, dtype=np.float64)
    size = masks.size
    assert abs(zeros - rate) < 4 * (rate * (1 - rate) / size) ** 0.5
    np.testing.assert_allclose(masks[masks != 0], 1 / (1 - rate), rtol=1e-6)
    each = 4.8 * (rate / (1 - rate) / 100) ** 0.5  # of 3,200 means of 100
    assert np.max(np.abs(np.mean(masks, axis=0, dtype=np.float64) - 1)) < each
    assert np.std(np.mean(masks, axis=(0, 1))) < 2 * (rate / (1 - rate) / 5000) ** 0.5


def test_layers_and_keys_have_masks_of_their_own():
    net = ffnn.Network((64, 64, 64, 64), "identity", dropout=0.5)
    first = ffnn.forward(net, (eye(64),) * 3, jnp.ones((50, 64)), dropout_key=KEY)
    again = ffnn.forward(net, (eye(64),) * 3, jnp.ones((50, 64)), dropout_key=KEY)
    other = ffnn.forward(net, (eye(64),) * 3, jnp.ones((50, 64)), dropout_key=jax.random.key(6))
    np.testing.assert_array_equal(first.h[1], again.h[1])
    one, two = np.asarray(first.h[1]) != 0, np.asarray(first.h[2])[np.asarray(first.h[1]) != 0] != 0
    assert abs(np.mean(two) - 0.5) < 0.06
    assert abs(np.mean(one == (np.asarray(other.h[1]) != 0)) - 0.5) < 0.04


@pytest.mark.parametrize("g", ["relu", "tanh", "gelu", "selu"])
def test_activations_by_what_they_keep(g):
    net = ffnn.Network((5, 7, 6, 4), g, "softmax", dropout=(0.5, 0.1))
    point = examples(net)
    sweep_checks.check_loss_gradients(ffnn, net, point, ROUNDING["float32"], weighted=True)


@pytest.mark.parametrize(
    ("output", "dtype", "batch", "plan"),
    [
        ("linear", "float64", (), {}),
        ("logistic", "float64", (2, 3), {"keep_every": 2}),
        ("softmax", "bfloat16", (6,), {}),
        ("linear", "float16", (6,), {}),
        ("softmax", "float32", (6,), {"keep_every": 3}),
        ("softmax", "float32", (1,), {"compute_dtype": "bfloat16"}),
    ],
)
def test_output_dtype_batch_and_plan(output, dtype, batch, plan):
    with jax.enable_x64(dtype == "float64"):
        net = ffnn.Network(
            (5, 33, 6, 9, 4), ("tanh", "gelu", "elu"), output, dropout=0.3, plan=ffnn.Plan(**plan)
        )
        tolerance = ROUNDING[plan.get("compute_dtype", dtype)]
        point = examples(net, dtype=dtype, batch=batch)
        sweep_checks.check_loss_gradients(ffnn, net, point, tolerance, weighted=False)


@pytest.mark.parametrize("g", ["relu", "tanh"])
def test_apply_and_classes_in_blocks(g):
    blocks = ffnn.Plan(class_blocks=True)
    net = ffnn.Network((5, 7, 4), g, "softmax", dropout=0.5, plan=blocks)
    sweep_checks.check_apply_gradients(ffnn, net, examples(net), 2e-6)
    sweep_checks.check_loss_gradients(ffnn, net, examples(net, classes=True), 2e-6, weighted=True)


def test_gradients_show_the_mask():
    """∇a = ∇h ⊙ m / (1 − p) ⊙ g′, with the m that `forward` shows, and loss has the same rule."""
    point = examples(NET)
    tape = ffnn.forward(NET, point.params, point.x, dropout_key=KEY)
    value, grads = ffnn.gradients(NET, point.params, point.x, point.y, dropout_key=KEY)
    m = np.asarray(tape.h[2]) != 0
    expected = grads.h[2] * (m / 0.9) * (1 - np.tanh(tape.a[1]) ** 2)
    np.testing.assert_allclose(grads.a[1], expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(tape.h[2], np.where(m, np.tanh(tape.a[1]) / 0.9, 0), rtol=1e-6)
    found = jax.value_and_grad(ffnn.loss, 1)(NET, point.params, point.x, point.y, dropout_key=KEY)
    assert_close(found, (value, grads.params), 1e-6)


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
def test_vmap_over_keys_and_parameters(raw):
    """A mask for each key; the key has no gradient; many parameters have one mask."""
    point = examples(NET)
    keys = (jax.random.PRNGKey if raw else jax.random.key)(1)
    keys = jax.random.split(keys, 3)
    many = jax.tree.map(lambda t: jnp.stack([t, 1.1 * t, -t]), point.params)

    def of(loss, params, key):
        return jax.value_and_grad(lambda p: loss(NET, p, point.x, point.y, dropout_key=key))(params)

    ours, theirs = partial(of, ffnn.loss), partial(of, ffnn.loss_autodiff)
    found, over, expected, alone = jax.jit(
        lambda: (
            jax.vmap(ours, (None, 0))(point.params, keys),
            jax.vmap(ours, (0, None))(many, keys[1]),
            [theirs(point.params, keys[i]) for i in range(3)],
            [theirs(jax.tree.map(lambda t, i=i: t[i], many), keys[1]) for i in range(3)],
        )
    )()
    for i in range(3):
        assert_close(jax.tree.map(lambda t, i=i: t[i], found), expected[i], 2e-6)
        assert_close(jax.tree.map(lambda t, i=i: t[i], over), alone[i], 2e-6)
    assert len(set(np.asarray(found[0]).tolist())) == 3


@pytest.mark.usefixtures("x64")
def test_second_order_and_checkpoint():
    point = examples(NET, dtype="float64", batch=(3,))

    def transforms(loss):
        def f(p):
            return loss(NET, p, point.x, point.y, dropout_key=KEY)

        def norm(p):
            return sum(jnp.vdot(g, g) for g in jax.tree.leaves(jax.grad(f)(p)))

        reverse = jax.grad(norm)(point.params)
        forward = jax.jvp(jax.grad(f), (point.params,), (point.params,))
        return reverse, forward, jax.grad(jax.checkpoint(f))(point.params)

    assert_close(*jax.jit(lambda: [transforms(loss) for loss in LOSSES.values()])(), 1e-11)


def test_forward_mode_has_the_same_primal():
    point = examples(NET)

    def of(loss):
        return partial(loss, NET, x=point.x, y=point.y, dropout_key=KEY)

    primal, _ = jax.jvp(of(ffnn.loss_autodiff), (point.params,), (point.params,))
    np.testing.assert_allclose(primal, of(ffnn.loss)(point.params), rtol=1e-6)


def test_the_checker_finds_nothing():
    net = ffnn.Network((3, 4, 2), "tanh", "softmax", dropout=0.5)
    point = examples(net, batch=(3,))
    report = ffnn.check_gradients(
        lambda p: ffnn.loss(net, p, point.x, point.y, dropout_key=KEY), (point.params,)
    )
    assert report.ok, str(report)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_mesh(axis_type):
    """Batch split over `data`, the first layer by rows over `model`: the masks of one device."""
    point = examples(NET, batch=(8,))
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(axis_type,) * 2)

    def gradients(loss, point):
        grad = jax.grad(lambda p, x: loss(NET, p, x, point.y, dropout_key=KEY), (0, 1))
        return jax.tree.map(np.asarray, jax.jit(grad)(point.params, point.x))

    expected = gradients(ffnn.loss_autodiff, point)
    rows = ffnn.Layer(NamedSharding(mesh, P("model", None)), NamedSharding(mesh, P("model")))
    whole = NamedSharding(mesh, P())
    with jax.set_mesh(mesh):
        params = (
            jax.device_put(point.params[0], rows),
            *jax.device_put(point.params[1:], whole),
        )
        x, y = (jax.device_put(t, NamedSharding(mesh, P("data"))) for t in (point.x, point.y))
        placed = point._replace(params=params, x=x, y=y)
        assert_close(gradients(ffnn.loss, placed), expected, 5e-6)
        assert_close(gradients(ffnn.loss_autodiff, placed), expected, 5e-6)


def test_shard_map():
    """Each device with a key of its own."""
    point = examples(NET, batch=(8,))
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))

    def split(loss):
        def local(params, x, y):
            key = jax.random.fold_in(KEY, jax.lax.axis_index("data"))
            return jax.lax.psum(loss(NET, params, x, y, dropout_key=key), "data") / 2

        specs = (P(), P("data"), P("data"))
        value = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())
        return jax.value_and_grad(value)(point.params, point.x, point.y)

    def whole(params):
        halves = (slice(0, 4), slice(4, 8))
        losses = [
            ffnn.loss_autodiff(
                NET, params, point.x[half], point.y[half], dropout_key=jax.random.fold_in(KEY, i)
            )
            for i, half in enumerate(halves)
        ]
        return sum(losses) / 2

    found, theirs, expected = jax.jit(
        lambda: (
            split(ffnn.loss),
            split(ffnn.loss_autodiff),
            jax.value_and_grad(whole)(point.params),
        )
    )()
    assert_close(found, expected, 5e-6)
    assert_close(theirs, expected, 5e-6)


def test_one_array_a_layer():
    """Compiled temporary memory: no mask, and nothing it is made of, stays for the sweep."""
    layers, width, batch = 24, 64, 1024

    def temporary_bytes(loss):
        net = ffnn.Network((width,) * (layers + 1), "relu", "softmax", dropout=0.1)
        params = jax.eval_shape(lambda: ffnn.init(net, jax.random.key(0)))
        x = jax.ShapeDtypeStruct((batch, width), jnp.float32)
        y = jax.ShapeDtypeStruct((batch,), jnp.int32)

        def value(params, x, y):
            return loss(net, params, x, y, dropout_key=KEY)

        lowered = jax.jit(jax.value_and_grad(value)).lower(params, x, y)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    one = layers * width * batch * 4
    assert temporary_bytes(ffnn.loss) <= 1.15 * one
    assert temporary_bytes(ffnn.loss_autodiff) > 1.5 * one  # the measurement can tell


# Training ----------------------------------------------------------------------------------------

SGD = optax.sgd(0.1)
TINY = ffnn.Network((4, 16, 3), output="softmax", dropout=0.5)


def data(n=24):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((n, 4)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(draw.integers(0, 3, n), jnp.int32)


def fit(net=TINY, **options):
    given = {"optimizer": SGD, "batch_size": 8, "epochs": 4} | options
    return ffnn.fit(net, data(), **given)


def test_training_is_reproducible_and_goes_on_from_a_state():
    whole, again = fit(key=KEY), fit(key=KEY)
    half = fit(key=KEY, epochs=2)
    rest = fit(state=half.state, epochs=2)
    jax.tree.map(np.testing.assert_array_equal, whole.params, again.params)
    jax.tree.map(np.testing.assert_array_equal, whole.params, rest.params)
    without = fit(dataclasses.replace(TINY, dropout=0.0), key=KEY)
    assert np.any(whole.params[0].W != without.params[0].W)


def test_rate_0_is_no_dropout():
    plain, zero = (ffnn.Network((4, 16, 3), output="softmax", dropout=d) for d in (0.0, (0,)))
    assert plain == ffnn.Network((4, 16, 3), output="softmax")
    found, expected = fit(zero, key=KEY), fit(plain, key=KEY)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    half = dataclasses.replace(TINY, sizes=(4, 16, 8, 3), dropout=(0.5, 0))
    point = examples(half)
    tape = ffnn.forward(half, point.params, point.x, dropout_key=KEY)
    np.testing.assert_array_equal(tape.h[2], jax.nn.relu(tape.a[1]))


def test_validation_and_use_leave_nothing_out():
    result = fit(key=KEY, epochs=1, validation=data())
    last = ffnn.loss(TINY, result.params, *data())
    np.testing.assert_allclose(result.history.validation_loss[-1], last, rtol=1e-6)
    plain = dataclasses.replace(TINY, dropout=0.0)
    for fn in (ffnn.apply, ffnn.apply_autodiff):
        shown = fn(TINY, result.params, data()[0])
        np.testing.assert_array_equal(shown, fn(plain, result.params, data()[0]))


def keys_of(epochs, **options):
    """What an objective is given as dropout_key, call by call."""
    seen = []

    def note(key):
        seen.append(tuple(np.asarray(key).tolist()))

    def objective(net, params, x, y, *, weights=None, dropout_key):
        jax.debug.callback(note, jax.random.key_data(dropout_key), ordered=True)
        return ffnn.loss(net, params, x, y, weights=weights, dropout_key=dropout_key)

    state = ffnn.init_state(TINY, SGD, KEY)
    for _ in range(epochs):
        state, _ = ffnn.train_epoch(
            TINY, SGD, state, *data(), batch_size=8, objective=objective, **options
        )
    jax.effects_barrier()
    return seen


def test_every_step_and_every_part_has_masks_of_its_own():
    assert len(set(keys_of(2))) == len(keys_of(2)) == 6
    assert len(set(keys_of(1, accumulate=2))) == 6


def test_one_mask_within_a_step():
    """An optimizer that calls the objective again sees the function that was differentiated."""
    values = []

    def update(grads, state, params, *, value, value_fn):
        values.append((value, value_fn(params)))
        return jax.tree.map(jnp.zeros_like, grads), state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    state = ffnn.init_state(TINY, optimizer, KEY)
    for k in (1, 2):
        state, _ = ffnn.train_step(TINY, optimizer, state, *data(), accumulate=k)
    for value, again in values:
        np.testing.assert_allclose(value, again, rtol=1e-6)
    assert values[0][0] != values[1][0]


def test_many_streams_and_gradient_descent():
    many = ffnn.fit_many(
        TINY, data(), keys=jax.random.split(KEY, 2), optimizer=SGD, batch_size=8, epochs=2
    )
    alone = fit(key=jax.random.split(KEY, 2)[1], epochs=2)
    assert_close(many.member(1).params, alone.params, 1e-5)
    state = ffnn.init_state(TINY, SGD, KEY)
    stream = ffnn.Stream(*map(np.asarray, data()))
    streamed, _ = ffnn.stream_epoch(TINY, SGD, state, stream, batch_size=8)
    assert int(streamed.step) == 3
    options = {"learning_rate": 0.1, "max_iterations": 3}
    params = state.params
    one, two = (ffnn.gradient_descent(TINY, params, *data(), dropout_key=k, **options)
                for k in (KEY, jax.random.key(6)))  # fmt: skip
    first = ffnn.loss(TINY, params, *data(), dropout_key=jax.random.split(KEY, 3)[0])
    np.testing.assert_allclose(one.losses[0], first, rtol=1e-6)
    assert np.all(one.losses != two.losses)
    with pytest.raises(ValueError, match="dropout_key: expected a key for a network with dropout"):
        ffnn.gradient_descent(TINY, params, *data(), **options)


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "error", "words"),
    [
        (1.0, ValueError, r"dropout: expected a rate in \[0, 1\), got 1.0"),
        (-0.1, ValueError, "dropout: expected a rate"),
        (float("nan"), ValueError, "dropout: expected a rate"),
        ("0.5", TypeError, "dropout: expected a rate"),
        (True, TypeError, "dropout: expected a rate"),
        ((0.5,), ValueError, "dropout: expected one rate, or 2"),
        ((0.5, 2), ValueError, r"dropout\[1\]: expected a rate"),
    ],
)
def test_bad_rates(rate, error, words):
    with pytest.raises(error, match=words):
        ffnn.Network((4, 5, 5, 2), dropout=rate)


def test_other_bad_input():
    with pytest.raises(ValueError, match="dropout: expected 0 without hidden layers"):
        ffnn.Network((4, 2), dropout=0.5)
    point, plain = examples(TINY), dataclasses.replace(TINY, dropout=0.0)
    for fn in (ffnn.loss, ffnn.loss_autodiff, ffnn.gradients):
        with pytest.raises(ValueError, match="dropout_key: expected None"):
            fn(plain, point.params, point.x, point.y, dropout_key=KEY)
        with pytest.raises(TypeError, match="dropout_key: expected one key"):
            fn(TINY, point.params, point.x, point.y, dropout_key=5)
    for fn in (ffnn.apply, ffnn.apply_autodiff, ffnn.forward):
        with pytest.raises(ValueError, match="dropout_key: expected None"):
            fn(plain, point.params, point.x, dropout_key=KEY)
    with pytest.raises(ValueError, match="net: expected a network without dropout"):
        ffnn.per_example_gradient_norms(TINY, point.params, *data())


def test_an_objective_that_takes_no_dropout_key():
    def objective(net, params, x, y, *, weights=None):
        return ffnn.loss(net, params, x, y, weights=weights)

    with pytest.raises(TypeError, match=r"objective: expected a function .* dropout_key"):
        fit(key=KEY, objective=objective)
    fit(dataclasses.replace(TINY, dropout=0.0), key=KEY, epochs=1, objective=objective)
