"""Every faster or smaller way to compute equals the plain one to rounding, and is what it says."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sweep_checks
from cases import (
    ACTIVATIONS,
    BATCHES,
    DTYPES,
    NETWORKS,
    ROUNDING,
    assert_close,
    examples,
    name_of,
)

import ffnn_jax as ffnn
from ffnn_jax import batches, classes, dense, sweep
from ffnn_jax.tiny import tiny_dot

DEEP = (5, 6, 6, 4, 6, 6, 6, 3)
MANY_CLASSES = ffnn.Network((5, 6, 11), output="softmax", plan=ffnn.Plan(class_blocks=True))


@pytest.fixture(autouse=True)
def _double(request):
    """64-bit types where a test's dtype asks for them."""
    params = getattr(request.node, "callspec", None)
    with jax.enable_x64(params is not None and params.params.get("dtype") == "float64"):
        yield


@pytest.fixture
def blocks_of_4(monkeypatch):
    """Blocks of four classes, so that a few classes are many."""
    monkeypatch.setattr(classes, "BLOCK", 4)


def with_plan(net, **options):
    return ffnn.Network(net.sizes, net.activation, net.output, net.loss, ffnn.Plan(**options))


# h computed again, or kept beside a -------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_where_h_is_computed_again(activation, dtype, monkeypatch):
    """The networks of the other tests are small; here none is."""
    monkeypatch.setattr(sweep, "LARGE", -1)
    net = ffnn.Network((5, 7, 9, 3), activation, "softmax")  # that no other test has
    point = examples(net, dtype=dtype, classes=True)
    tolerance = 1e-13 if dtype == "float64" else ROUNDING[dtype]
    sweep_checks.check_loss_gradients(ffnn, net, point, tolerance, weighted=True)


# Tiny products -----------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETWORKS[::3], ids=name_of)
def test_products_that_are_not_tiny(net, monkeypatch):
    """The networks of the other tests are tiny; here all their products are dots."""
    monkeypatch.setattr(dense, "TINY", 0)
    monkeypatch.setattr(dense, "TINY_W", 0)
    sweep_checks.check_loss_gradients(ffnn, net, examples(net), ROUNDING["float32"], weighted=True)


def lowered(fn, *args, platform="cpu"):
    return jax.jit(fn).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def test_what_a_tiny_product_is_compiled_to():
    net = ffnn.Network((4, 16, 3), activation="tanh", output="softmax")
    point = examples(net, batch=(16,), classes=True)
    args = (net, point.params, point.x, point.y)
    ours, theirs = (jax.grad(loss, 1) for loss in (ffnn.loss, ffnn.loss_autodiff))
    assert "dot_general" not in lowered(ours, *args)
    for platform in ("cpu", "cuda"):
        assert lowered(theirs, *args, platform=platform).count("dot_general") == 5
    assert lowered(ours, *args, platform="cuda").count("dot_general") == 5
    many = jax.tree.map(lambda t: jnp.stack([t, t]), point.params)
    under_vmap = lowered(jax.vmap(ours, (None, 0, None, None)), net, many, point.x, point.y)
    assert under_vmap.count("dot_general") == 3  # a_1, a_2 and ∇h_1; ∇W_1 and ∇W_2 are sums


@pytest.mark.parametrize(("batch", "tiny"), [(2, True), (3, False)])
def test_the_bound_of_a_tiny_product(batch, tiny):
    W, h = jnp.ones((32, 32)), jnp.ones((batch, 32))
    text = lowered(lambda W, h: dense.dense(W, W[0], h, None), W, h)
    assert ("dot_general" not in text) == tiny


CONTRACTS = {
    "W h": ((4, 3, 5), (7, 5), ((2,), (1,))),
    "Wᵀ∇a": ((4, 3, 7), (7, 5), ((2,), (0,))),
    "∇a hᵀ": ((4, 3, 7), (4, 3, 5), ((0, 1), (0, 1))),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("also_many", [False, True])
@pytest.mark.parametrize("product", CONTRACTS)
def test_tiny_dot_and_its_derivatives_are_those_of_a_dot(product, also_many, dtype):
    x_shape, y_shape, contract = CONTRACTS[product]
    draw = np.random.default_rng(0)
    x, y = (jnp.asarray(draw.standard_normal(s).astype(dtype)) for s in (x_shape, y_shape))
    many = jnp.stack([x, 2 * x, -x])

    def tiny(x, y):
        return tiny_dot(x, y, contract, also_many=also_many)

    def dot(x, y):
        return jax.lax.dot_general(x, y, (contract, ((), ())))

    def everything(product):
        def value(x, y):
            return jnp.sum(jnp.sin(product(x, y)))

        grad = jax.grad(value, (0, 1))
        return (
            product(x, y),
            grad(x, y),
            jax.jvp(product, (x, y), (x, y)),
            jax.jvp(grad, (x, y), (x, y)),  # forward over reverse
            jax.grad(lambda x: sum(jnp.sum(t**2) for t in grad(x, y)))(x),
            jax.vmap(grad, (0, None))(many, y),
            jax.grad(lambda y: jnp.sum(jax.vmap(product, (0, None))(many, y) ** 2))(y),
            jax.vmap(jax.vmap(product, (None, 0)), (0, None))(many, jnp.stack([y, y])),
        )

    found, expected = jax.jit(lambda: (everything(tiny), everything(dot)))()
    assert_close(found, expected, 1e-6 if dtype == "float32" else 1e-14)
    np.testing.assert_allclose(tiny(x, y), dot(x, y), rtol=1e-5, atol=1e-6)  # eagerly
    with jax.disable_jit():
        np.testing.assert_allclose(tiny(x, y), dot(x, y), rtol=1e-5, atol=1e-6)


def test_a_batch_whose_size_is_a_symbol():
    """`jax.export` of the gradient for any batch: a size that is not known is not tiny."""
    net = ffnn.Network((4, 16, 8, 3), activation="gelu", output="softmax")
    point = examples(net, classes=True)
    grad = jax.jit(lambda params, x, y: jax.value_and_grad(ffnn.loss, 1)(net, params, x, y))
    (n,) = jax.export.symbolic_shape("n")
    shapes = (
        jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype), point.params),
        jax.ShapeDtypeStruct((n, 4), jnp.float32),
        jax.ShapeDtypeStruct((n,), jnp.int32),
    )
    found = jax.export.export(grad)(*shapes).call(point.params, point.x, point.y)
    assert_close(found, grad(point.params, point.x, point.y), 1e-6)


# keep_every --------------------------------------------------------------------------------------


@functools.cache
def gradients_and_plain():
    def both(net, *args):
        plain = with_plan(net)
        grad = jax.value_and_grad(ffnn.loss, (1, 2))
        return (ffnn.gradients(net, *args), grad(net, *args)), (
            ffnn.gradients(plain, *args),
            grad(plain, *args),
        )

    return jax.jit(both)


@pytest.mark.parametrize(
    ("activation", "every", "dtype"),
    [
        *((activation, 3, "float64") for activation in ACTIVATIONS),
        *(("gelu", every, "float64") for every in (2, 7, 100)),
        ("tanh", 2, "bfloat16"),
        ("relu", 3, "float32"),
    ],
)
def test_keep_every(activation, every, dtype):
    plan = ffnn.Plan(keep_every=every)
    net = ffnn.Network(DEEP, activation=activation, output="softmax", plan=plan)
    point = examples(net, dtype=dtype)
    found, expected = gradients_and_plain()(net, point.params, point.x, point.y)
    assert_close(found, expected, 1e-14 if dtype == "float64" else ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("batch", BATCHES[::3], ids=str)
def test_keep_every_with_mixed_activations_and_apply(batch, dtype):
    names = ("relu", "tanh", "gelu", "elu", "silu", "selu")
    net = ffnn.Network(DEEP, names, "softmax", plan=ffnn.Plan(keep_every=3))
    point = examples(net, dtype=dtype, batch=batch)
    sweep_checks.check_loss_gradients(ffnn, net, point, 1e-13, weighted=True)
    sweep_checks.check_apply_gradients(ffnn, net, point, 1e-13)


@pytest.mark.parametrize(("activation", "most"), [("tanh", 0.3), ("relu", 0.3), ("gelu", 0.33)])
def test_keep_every_needs_less_memory(activation, most):
    layers, width, batch = 64, 64, 4096
    one_array_a_layer = layers * width * batch * 4
    plan = ffnn.Plan(keep_every=8)
    net = ffnn.Network((width,) * (layers + 1), activation=activation, output="softmax", plan=plan)
    layer = ffnn.Layer(
        jax.ShapeDtypeStruct((width, width), jnp.float32),
        jax.ShapeDtypeStruct((width,), jnp.float32),
    )
    x = jax.ShapeDtypeStruct((batch, width), jnp.float32)
    y = jax.ShapeDtypeStruct((batch,), jnp.int32)
    grad = jax.jit(jax.value_and_grad(ffnn.loss, argnums=1))
    compiled = grad.lower(net, (layer,) * layers, x, y).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= most * one_array_a_layer


# Blocks of classes -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", [(5, 6, 11), (5, 8), (5, 6, 7, 12), (5, 3)], ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
def test_class_blocks(sizes, weighted, dtype, blocks_of_4):
    plan = ffnn.Plan(class_blocks=True, keep_every=2)
    net = ffnn.Network(sizes, activation="gelu", output="softmax", plan=plan)
    point = examples(net, dtype=dtype, classes=True)
    tolerance = 1e-13 if dtype == "float64" else ROUNDING[dtype]
    sweep_checks.check_loss_gradients(ffnn, net, point, tolerance, weighted)


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_class_blocks_under_every_activation(activation, dtype, blocks_of_4):
    net = ffnn.Network((5, 6, 11), activation, "softmax", plan=ffnn.Plan(class_blocks=True))
    point = examples(net, dtype=dtype, classes=True)
    sweep_checks.check_loss_gradients(ffnn, net, point, 1e-13, weighted=True)


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_class_blocks_of_any_batch(batch, dtype, blocks_of_4):
    point = examples(MANY_CLASSES, dtype=dtype, batch=batch, classes=True)
    sweep_checks.check_loss_gradients(ffnn, MANY_CLASSES, point, 1e-13, weighted=True)


def test_class_blocks_in_a_lower_precision(blocks_of_4):
    net = with_plan(MANY_CLASSES, class_blocks=True, compute_dtype="bfloat16")
    plain = with_plan(MANY_CLASSES, class_blocks=False, compute_dtype="bfloat16")
    point = examples(net, classes=True)
    value_and_grad = jax.jit(jax.value_and_grad(ffnn.loss, (1, 2)))
    found, expected = (value_and_grad(n, point.params, point.x, point.y) for n in (net, plain))
    assert_close(found, expected, 1e-2)


def test_class_blocks_with_huge_and_equal_logits(blocks_of_4):
    layer = ffnn.Layer(jnp.eye(11, 5), jnp.zeros(11))
    net = ffnn.Network((5, 11), output="softmax", plan=ffnn.Plan(class_blocks=True))
    x = jnp.asarray([[1e30, 0, 0, 0, 0], [0, -1e30, 0, 0, 0], [0, 0, 0, 0, 0]], jnp.float32)
    y = jnp.asarray([0, 10, 3])
    value_and_grad = jax.jit(jax.value_and_grad(ffnn.loss, (1, 2)))
    found = value_and_grad(net, (layer,), x, y)
    assert_close(found, value_and_grad(with_plan(net, class_blocks=False), (layer,), x, y), 1e-6)


@pytest.mark.parametrize("blocks", [True, False])
def test_a_class_outside_has_no_loss_and_no_gradient(blocks, blocks_of_4):
    net = with_plan(MANY_CLASSES, class_blocks=blocks)
    point = examples(net, classes=True)
    y = jnp.asarray([11, -1, 0, 1, 2, 3])
    ours, theirs = (jax.jit(jax.value_and_grad(f, 1)) for f in (ffnn.loss, ffnn.loss_autodiff))
    assert_close(ours(net, point.params, point.x, y), theirs(net, point.params, point.x, y), 2e-6)


@pytest.mark.parametrize("level", [1e4, 1e6, -1e8, 1e30])
def test_class_blocks_where_all_logits_are_far_from_0(level, blocks_of_4):
    """log Σ e^{a_c} as one number would lose its second part in the first."""
    point = examples(MANY_CLASSES, classes=True)
    last = point.params[-1]
    params = (*point.params[:-1], last._replace(b=last.b + level))
    plain = with_plan(MANY_CLASSES, class_blocks=False)
    value_and_grad = jax.jit(jax.value_and_grad(ffnn.loss, (1, 2)))
    found, expected = (
        value_and_grad(net, params, point.x, point.y) for net in (MANY_CLASSES, plain)
    )
    assert_close(found, expected, 1e-5)


def test_class_blocks_where_a_whole_block_is_impossible(blocks_of_4):
    point = examples(MANY_CLASSES)
    last = point.params[-1]
    params = (*point.params[:-1], last._replace(b=last.b.at[:4].set(-jnp.inf)))
    y = jnp.asarray([4, 5, 6, 7, 8, 10])
    plain = with_plan(MANY_CLASSES, class_blocks=False)
    value_and_grad = jax.jit(jax.value_and_grad(ffnn.loss, (1, 2)))
    found, expected = (value_and_grad(net, params, point.x, y) for net in (MANY_CLASSES, plain))
    assert np.isfinite(found[0])
    assert_close(found[0], expected[0], 1e-6)
    assert_close(found[1][0], expected[1][0], 2e-6)


def test_class_blocks_where_only_the_weights_are_split():
    """On a mesh the last layer stays whole, whatever it is that is placed there."""
    net = with_plan(MANY_CLASSES, class_blocks=True)
    point = examples(net, batch=(8,), classes=True)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        weights = jax.device_put(point.weights, jax.P("data"))
        grad = jax.jit(jax.grad(ffnn.loss, 1))
        found = grad(net, point.params, point.x, point.y, weights=weights)
        found = jax.tree.map(np.asarray, found)
    expected = grad(net, point.params, point.x, point.y, weights=point.weights)
    assert_close(found, jax.tree.map(np.asarray, expected), 2e-6)


def compiled_loss(net, batch, width, classes, y_dtype=jnp.int32):
    sizes = (width, classes)
    layer = ffnn.Layer(
        jax.ShapeDtypeStruct((classes, width), jnp.float32),
        jax.ShapeDtypeStruct((classes,), jnp.float32),
    )
    x = jax.ShapeDtypeStruct((batch, width), jnp.float32)
    y = jax.ShapeDtypeStruct((batch,), y_dtype)
    net = ffnn.Network(sizes, output="softmax", plan=net.plan)
    grad = jax.jit(jax.value_and_grad(ffnn.loss, (1, 2)))
    return grad.lower(net, (layer,), x, y)


@pytest.mark.parametrize(
    ("batch", "classes", "wanted", "in_blocks"),
    [
        (512, 8192, None, True),
        (511, 8192, None, False),
        (1024, 8191, None, False),
        (1024, 8192, False, False),
        (4, 5000, True, True),
    ],
)
def test_when_classes_go_in_blocks(batch, classes, wanted, in_blocks):
    net = ffnn.Network((1, 1), plan=ffnn.Plan(class_blocks=wanted))
    text = compiled_loss(net, batch, 8, classes).as_text()
    assert ("stablehlo.while" in text) == in_blocks


def test_class_blocks_need_less_memory():
    used = [
        compiled_loss(ffnn.Network((1, 1), plan=ffnn.Plan(class_blocks=b)), 512, 64, 50_000)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for b in (None, False)
    ]
    assert used[0] <= 0.1 * used[1]


# All of them under the checker, and as arguments -------------------------------------------------


def test_right_under_every_transform(blocks_of_4):
    plan = ffnn.Plan(class_blocks=True, keep_every=2)
    net = ffnn.Network((5, 6, 6, 11), activation="gelu", output="softmax", plan=plan)
    point = examples(net, classes=True)
    report = ffnn.check_gradients(ffnn.loss, (net, point.params, point.x, point.y), argnums=(1, 2))
    assert report.ok, str(report)
    assert {row.verdict for row in report.transforms if row.name != "jvp"} == {"right"}


def test_an_epoch_is_the_same_with_rows_gathered_ahead_or_not(monkeypatch):
    net = ffnn.Network((5, 6, 3), output="softmax")
    point = examples(net, batch=(50,), classes=True)
    sgd = optax.sgd(0.1)
    state = ffnn.init_state(net, sgd, jax.random.key(0))

    def epoch():
        return ffnn.train_epoch(net, sgd, state, point.x, point.y, batch_size=8)

    ahead = epoch()
    monkeypatch.setattr(batches, "AHEAD", 0)
    jax.clear_caches()
    assert_close(
        jax.tree.leaves((ahead[0].params, ahead[1])),
        jax.tree.leaves((epoch()[0].params, epoch()[1])),
        1e-6,
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keep_every": 0}, ValueError, "keep_every: expected at least 1, got 0"),
        ({"keep_every": -3}, ValueError, "keep_every: expected at least 1, got -3"),
        ({"keep_every": 2.0}, TypeError, "keep_every: expected an int, got 2.0"),
        ({"keep_every": True}, TypeError, "keep_every: expected an int, got True"),
        ({"class_blocks": 1}, TypeError, "class_blocks: expected True, False or None, got 1"),
        (
            {"class_blocks": "yes"},
            TypeError,
            "class_blocks: expected True, False or None, got 'yes'",
        ),
    ],
)
def test_bad_plans(options, error, message):
    with pytest.raises(error, match=message):
        ffnn.Plan(**options)
