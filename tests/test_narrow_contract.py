"""What narrow_forward and narrow_mlp refuse, when they are taken, and what goes through them."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest
from cases import assert_close, examples
from jax.sharding import AbstractDevice, AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn
from ffnn_jax import backprop, fitting, sweep, training
from ffnn_jax.kernels import measured
from ffnn_jax.per_example import per_example_gradient_norms
from ffnn_jax.saliency import input_gradients

NET = ffnn.Network((5, 9, 4), "tanh", "softmax", plan=ffnn.Plan(implementation="pallas"))


def planned(implementation, net=NET):
    plan = dataclasses.replace(net.plan, implementation=implementation)
    return dataclasses.replace(net, plan=plan)


def of_sizes(*sizes, dropout=0.0, **options):
    plan = ffnn.Plan(implementation="pallas", **options)
    return ffnn.Network(sizes, "relu", "softmax", dropout=dropout, plan=plan)


def lowered(fn, *args, platform="cuda"):
    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("d",), abstract_device=device)):
        return jax.jit(fn).trace(*args).lower(lowering_platforms=(platform,)).as_text()


# What is refused ---------------------------------------------------------------------------------

REFUSED = [
    (of_sizes(5, 200, 4), {}, "up to 128, not 200"),
    (of_sizes(129, 8, 4), {}, "up to 128, not 129"),
    (of_sizes(5, 8, 130), {}, "up to 128, not 130"),
    (of_sizes(5, *[8] * 9, 4), {}, "1 to 8 hidden layers, not 9"),
    (of_sizes(5, 4), {}, "1 to 8 hidden layers, not 0"),
    (of_sizes(5, 8, 4, keep_every=2), {}, "not one in 2"),
    (of_sizes(5, 8, 4, class_blocks=True), {}, "blocks of classes"),
    (of_sizes(5, 8, 4, dropout=0.5), {"dropout_key": 0}, "no dropout"),
]


@pytest.mark.parametrize(
    ("net", "options", "reason"), REFUSED, ids=lambda t: t if isinstance(t, str) else ""
)
def test_refused_with_the_reason(net, options, reason):
    options = {name: jax.random.key(seed) for name, seed in options.items()}
    point = examples(net, classes=True)
    args = (net, point.params, point.x, point.y)
    for call in (ffnn.loss, ffnn.gradients, jax.grad(ffnn.loss, 1)):
        with pytest.raises(NotImplementedError, match=reason) as error:
            call(*args, **options)
        assert "use implementation='xla'" in str(error.value)
    with pytest.raises(NotImplementedError, match=reason):
        jax.eval_shape(lambda params, x: ffnn.apply(net, params, x, **options), *args[1:3])


def test_float64_is_refused(x64):
    net = of_sizes(5, 8, 4, compute_dtype="float64")
    for refused, dtype in ((NET, "float64"), (net, "float32")):
        point = examples(refused, dtype=dtype, classes=True)
        with pytest.raises(NotImplementedError, match="not float64"):
            ffnn.loss(refused, point.params, point.x, point.y)


def test_precisions_that_are_refused():
    net = of_sizes(5, 65, 4)
    point = examples(net)
    for precision, reason in (("highest", "full float32"), ("TF32_TF32_F32", "'TF32_TF32_F32'")):
        with (
            jax.default_matmul_precision(precision),
            pytest.raises(NotImplementedError, match=reason),
        ):
            ffnn.apply(net, point.params, point.x)


def test_an_empty_batch_is_refused():
    point = examples(NET)
    with pytest.raises(ValueError, match="at least one example"):
        ffnn.apply(NET, point.params, point.x[:0])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_mesh_is_refused(kind):
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(kind,))
    point = examples(NET, classes=True)
    x = jax.device_put(point.x, jax.NamedSharding(mesh, P("data")))
    with pytest.raises(NotImplementedError, match="on one device"):
        jax.jit(ffnn.apply)(NET, point.params, x)
    with jax.set_mesh(mesh), pytest.raises(NotImplementedError, match="on one device"):
        jax.jit(ffnn.apply)(NET, point.params, point.x)
    split = jax.shard_map(
        lambda x: ffnn.apply(NET, point.params, x),
        mesh=mesh, in_specs=P("data"), out_specs=P("data"),
    )  # fmt: skip
    with pytest.raises(NotImplementedError, match="on one device"):
        jax.eval_shape(split, x)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("which", ["y", "weights"])
def test_a_mesh_that_only_the_loss_meets_is_refused(kind, which):
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(kind,))
    point = examples(NET, classes=True)
    given = {"y": point.y, "weights": point.weights}
    given[which] = jax.device_put(given[which], jax.NamedSharding(mesh, P("data")))
    with pytest.raises(NotImplementedError, match="on one device"):
        jax.eval_shape(lambda p, given: ffnn.gradients(NET, p, point.x, **given), *point[:1], given)


def test_training_is_refused_before_anything_is_compiled(monkeypatch):
    monkeypatch.setattr(fitting, "_programs", lambda options: (None, None))
    monkeypatch.setattr(training, "compiled_epoch", None)
    key, optimizer = jax.random.key(0), optax.sgd(0.1)
    for net, reason in (
        (of_sizes(5, 200, 4), "up to 128"),
        (of_sizes(5, 8, 4, dropout=0.1), "drop"),
    ):
        point = examples(net, classes=True)
        reason = f"the kernel narrow_mlp .*{reason}.*; use implementation='xla'"
        state = ffnn.init_state(net, optimizer, key, params=point.params)
        with pytest.raises(NotImplementedError, match=reason):
            ffnn.fit(net, point[1:3], state=state, optimizer=optimizer, batch_size=2, epochs=1)
        with pytest.raises(NotImplementedError, match=reason):
            ffnn.train_epoch(net, optimizer, state, *point[1:3], batch_size=2)


def test_training_on_a_mesh_is_refused():
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))
    point = examples(NET, classes=True)
    key, optimizer = jax.random.key(0), optax.sgd(0.1)
    with pytest.raises(NotImplementedError, match="on one device"):
        ffnn.fit(
            NET, (point.x, point.y), key=key, optimizer=optimizer, batch_size=2, epochs=1, mesh=mesh
        )
    state = ffnn.init_state(NET, optimizer, key, mesh=mesh)
    with pytest.raises(NotImplementedError, match="on one device"):
        ffnn.train_epoch(NET, optimizer, state, point.x, point.y, batch_size=2, mesh=mesh)


def test_a_batch_whose_size_is_a_symbol_is_refused():
    (n,) = jax.export.symbolic_shape("n")
    params = examples(NET).params
    shape = jax.ShapeDtypeStruct((n, 5), jnp.float32)
    with pytest.raises(NotImplementedError, match="known size"):
        jax.export.export(jax.jit(lambda x: ffnn.apply(NET, params, x)))(shape)


def test_a_second_derivative_says_what_it_needs():
    point = examples(NET, classes=True)

    def loss(params):
        return ffnn.loss(NET, params, point.x, point.y)

    def length(params):
        return sum(jnp.sum(t**2) for t in jax.tree.leaves(jax.grad(loss)(params)))

    def rule(params):
        return jax.jvp(jax.grad(loss), (params,), (params,))

    def shown(params):
        return ffnn.gradients(NET, params, point.x, point.y)[0]

    for fn in (jax.hessian(loss), jax.grad(length), rule, jax.grad(shown)):
        with pytest.raises(
            NotImplementedError, match="second derivative of the network needs implementation='xla'"
        ):
            jax.eval_shape(fn, point.params)


# When a kernel is taken --------------------------------------------------------------------------


WITHOUT_A_CHOICE = {
    "last_a": lambda net, params, x, key: sweep._layer_by_layer(net, key, params, x)[-1],
    "forward": lambda net, params, x, key: sweep._layer_by_layer(net, key, params, x),
    "sweep": lambda net, params, x, kept, grad_a, key: sweep._down(
        net, key, params, x, kept, grad_a
    ),
}


def value_and_grad(net):
    return lambda *args: (ffnn.apply(net, *args[:2]), jax.value_and_grad(ffnn.loss, 1)(net, *args))


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_without_a_measurement_nothing_changes(platform, monkeypatch):
    """None and "xla" lower to the letter to what passes without a choice lower to."""
    args = examples(NET, classes=True)[:3]
    texts = [
        lowered(value_and_grad(planned(wish)), *args, platform=platform) for wish in (None, "xla")
    ]
    for name in ("last_a", "forward", "sweep"):
        monkeypatch.setattr(backprop, name, WITHOUT_A_CHOICE[name])
    texts.append(lowered(value_and_grad(planned(None)), *args, platform=platform))
    assert texts[0] == texts[1] == texts[2]
    assert "triton" not in texts[0]


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
def test_with_a_measurement_cuda_has_the_kernels_and_a_cpu_none(monkeypatch):
    args = examples(NET, classes=True)[:3]
    xla, chosen, by_one = (value_and_grad(planned(wish)) for wish in ("xla", None, None))
    on_cpu = lowered(xla, *args, platform="cpu")
    asked = []

    def wins(kernel, net, dtype, rows):
        asked.append((kernel, rows))
        return True

    monkeypatch.setattr(measured, "wins", wins)
    assert "triton" not in lowered(chosen, *args)  # of several devices, which may be a mesh
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert lowered(by_one, *args).count("xla.gpu.triton") == 3
    text = lowered(by_one, *args, platform="cpu")
    assert {*asked} == {("narrow_forward", 6), ("narrow_mlp", 6)}
    assert text.count("dot_general") == on_cpu.count("dot_general")
    assert "while" not in text  # as an interpreted kernel has

    def hessian(net):
        fn = jax.hessian(lambda params: ffnn.loss(net, params, *args[1:]))
        return jax.jit(fn)(args[0])

    assert_close(hessian(planned(None)), hessian(planned("xla")), 1e-5)


@pytest.mark.parametrize("precision", [None, "highest"])
def test_the_precision_reaches_the_kernels(precision):
    args = examples(NET, classes=True)[:3]
    with jax.default_matmul_precision(precision):
        text = str(jax.make_jaxpr(value_and_grad(NET))(*args))
    full = text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)")
    assert full == (text.count("dot_general[") if precision else 0)


# What goes through them --------------------------------------------------------------------------


def test_transforms():
    """jit, vmap over networks and over examples, checkpoint, and the pullback of apply."""
    point = examples(NET, batch=(3,), classes=True)
    many = jax.tree.map(lambda t: jnp.stack([t, 2 * t]), point.params)
    ones = jnp.ones((3, 4)) * jnp.arange(4.0)[None, :]

    def of(net):
        grad = jax.grad(lambda params, x, y: ffnn.loss(net, params, x, y), (0, 1))
        again = jax.grad(jax.checkpoint(lambda params: ffnn.loss(net, params, *point[1:3])))
        apply = jax.vjp(lambda params, x: ffnn.apply(net, params, x), *point[:2])
        return (
            jax.vmap(grad, (0, None, None))(many, *point[1:3]),
            jax.vmap(grad, (None, 0, 0))(*point[:3]),
            again(point.params),
            (apply[0], apply[1](ones)),
        )

    found, expected = jax.jit(lambda: (of(NET), of(planned("xla"))))()
    assert_close(found, expected, 1e-6)


def test_what_else_uses_the_sweep():
    point = examples(NET, classes=True)

    def of(net):
        return (
            per_example_gradient_norms(net, *point[:3]),
            input_gradients(net, *point[:3]),
            ffnn.forward(net, *point[:2]),
        )

    assert_close(of(NET), of(planned("xla")), 1e-6)


def test_a_step_of_training():
    point = examples(NET, classes=True)
    found, expected = (
        ffnn.fit(
            net, point[1:3], key=jax.random.key(0), optimizer=optax.sgd(0.1), batch_size=4, epochs=1
        )
        for net in (NET, planned("xla"))
    )
    assert_close(found.params, expected.params, 1e-6)


def test_the_checker_needs_a_reference_and_says_so():
    point = examples(NET, classes=True)
    options = {"argnums": 1, "transforms": ()}
    report = ffnn.check_gradients(ffnn.loss, (NET, *point[:3]), **options)
    said = " ".join(str(report).split())
    assert report.ok is None
    assert "which has pallas_call; differences do not settle; pass reference=" in said
    against = ffnn.check_gradients(
        ffnn.loss, (NET, *point[:3]), reference=ffnn.loss_autodiff, **options
    )
    assert against.ok is True
