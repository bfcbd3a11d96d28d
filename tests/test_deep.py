"""Equal layers as one: the same numbers, only where the optimizer provably allows it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import ACTIVATIONS, assert_close, examples

import ffnn_jax as ffnn
from ffnn_jax.checkpoint import Checkpoints
from ffnn_jax.deep.block import Block, Stacked, block_of, stacked, unstacked
from ffnn_jax.deep.choice import chosen
from ffnn_jax.deep.optimizer import update_for
from ffnn_jax.deep.passes import forward, loss_and_gradients
from ffnn_jax.gradcheck.primal import quick_jit
from ffnn_jax.recipe import recipe_on
from ffnn_jax.training import compiled_epoch
from ffnn_jax.update import updated

SIZES = (3, 5, 4, 4, 4, 4, 4, 4, 6, 2)  # layers 3 to 7 are the block
BLOCK = Block(below=2, size=5, depth=9)
QUICK = {"xla_backend_optimization_level": 0}
OUTPUTS = ("softmax", "linear", "logistic")


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        yield


def net_of(scan_layers, activation="tanh", output="softmax", sizes=SIZES, **options):
    return ffnn.Network(
        sizes, activation, output, plan=ffnn.Plan(scan_layers=scan_layers), **options
    )


def state_of(net, optimizer):
    return ffnn.init_state(net, optimizer, jax.random.key(0), params=examples(net).params)


def choice(net, optimizer, **options):
    given = {"objective": ffnn.loss, "accumulate": 1, "on_mesh": False} | options
    return chosen(net, optimizer, lambda: state_of(net, optimizer)[:2], **given)


# Which layers


def test_block():
    assert block_of(net_of(None)) == BLOCK
    names = ("tanh",) * 4 + ("relu",) * 4
    assert block_of(net_of(None, names, sizes=(4,) * 9 + (2,))) == Block(1, 3, 9)
    for sizes in ((3, 2), (3, 4, 2), (3, 4, 4, 2), (4, 4, 4, 4)):
        assert block_of(net_of(None, sizes=sizes)) is None


def test_stacked_and_back():
    params = examples(net_of(None), batch=(1,)).params
    of_fewer = params[:5]  # as many layers as there are in a stacked tuple
    tree = {"params": params, "other": (jnp.ones(2), (params[0],), of_fewer)}
    deep = stacked(BLOCK, tree)
    assert deep["params"].block.W.shape == (5, 4, 4)
    assert isinstance(deep["params"], Stacked)
    chex.assert_trees_all_equal(unstacked(BLOCK, deep), tree)


# The same numbers


@pytest.mark.parametrize("i", range(len(ACTIVATIONS)), ids=ACTIVATIONS)
def test_gradients(x64, i):
    del x64
    net = net_of(True, ACTIVATIONS[i], OUTPUTS[i % 3])
    at = examples(net, dtype="float64", classes=i % 3 == 0)
    weights = at.weights if i % 2 else None

    @quick_jit
    def both(params, x, y, weights):
        deep = stacked(BLOCK, params, lambda layers: jax.tree.map(lambda *t: jnp.stack(t), *layers))
        plain = jax.value_and_grad(ffnn.loss, argnums=1)(net, params, x, y, weights=weights)
        a_L = forward(net, deep, x).above[-1]
        found = loss_and_gradients(net, deep, x, y, weights)
        return found, plain, a_L, ffnn.forward(net, params, x).a[-1]

    (value, grads), plain, *a_L = both(at.params, at.x, at.y, weights)
    assert_close((value, unstacked(BLOCK, grads)), plain, 1e-13)
    assert_close(*a_L, 1e-13)


def only_matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


ALIKE = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(optax.cosine_decay_schedule(0.1, 10), momentum=0.9, nesterov=True),
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01, weight_decay=0.1, mask=only_matrices),
    "lamb": optax.lamb(0.01),
    "adafactor": optax.adafactor(0.01, min_dim_size_to_factor=2),
    "clipped": optax.chain(optax.clip_by_block_rms(0.1), optax.rmsprop(0.01)),
    "masked": optax.masked(optax.adam(0.01), only_matrices),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.01),
    "plateau": optax.chain(optax.adam(0.01), optax.contrib.reduce_on_plateau(patience=1)),
}


@pytest.mark.parametrize("name", ALIKE)
def test_updates(x64, name):
    del x64
    optimizer, net = ALIKE[name], net_of(True)
    first, second = (examples(net, seed=seed, dtype="float64").params for seed in (0, 1))
    assert choice(net, optimizer) == BLOCK
    opt_state, value = optimizer.init(first), jnp.asarray(0.5)

    def deep(params, opt_state, grads):
        update = update_for(optimizer, BLOCK, params, opt_state, value)
        return update(*update(params, opt_state, grads, value), grads, value)

    def plain(params, opt_state, grads):
        after = updated(optimizer, params, opt_state, grads, value, lambda params: value)
        return updated(optimizer, *after, grads, value, lambda params: value)

    given = first, opt_state, second
    found = unstacked(BLOCK, quick_jit(deep)(*stacked(BLOCK, given)))
    assert_close(found, quick_jit(plain)(*given), 1e-13)


def test_fit(x64):
    """Stops early, keeps the best, looks at validation data: all as without a block."""
    del x64
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((50, 3)), draw.integers(0, 2, 50)
    state = ffnn.init_state(
        net_of(True), ALIKE["adamw"], jax.random.key(0), params=examples(net_of(True)).params
    )
    state = jax.tree.map(lambda t: t.astype("float64") if t.dtype == "float32" else t, state)
    seen = []
    deep, plain = (
        ffnn.fit(
            net_of(scan_layers),
            (x[:40], y[:40]),
            state=state,
            optimizer=ALIKE["adamw"],
            batch_size=16,
            epochs=9,
            validation=(x[40:], y[40:]),
            patience=3,
            compiler_options=QUICK,
            on_epochs=lambda _, params: seen.append(jax.tree.map(jnp.shape, params)),
        )
        for scan_layers in (True, False)
    )
    assert int(deep.state.step) > 6
    assert deep.best_epoch == plain.best_epoch
    assert seen
    assert all(shapes == jax.tree.map(jnp.shape, state.params) for shapes in seen)
    assert_close(deep.params, plain.params, 1e-12)
    assert_close(deep.state[:2], plain.state[:2], 1e-12)
    for one, other in zip(deep.history[:3], plain.history[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_states_of_other_kinds():
    """Arrays of NumPy, a number of Python, and as many layers as a stacked tuple has entries."""
    sizes = (3, 4, 4, 4, 4, 2)  # layers 2, 3 and 4 are the block
    sgd = optax.sgd(0.1, momentum=0.5)
    x, y = np.ones((6, 3), np.float32), np.zeros(6, np.int32)

    def init(params):
        return sgd.init(params), 0, (params[0], params[1], params[-1])

    def update(updates, state, params=None):
        updates, inner = sgd.update(updates, state[0], params)
        return updates, (inner, state[1] + 1, state[2])

    optimizer = optax.GradientTransformation(init, update)
    state = state_of(net_of(True, sizes=sizes), optimizer)
    state = state._replace(
        params=jax.tree.map(np.asarray, state.params),
        opt_state=jax.tree.map(lambda t: np.asarray(t) if jnp.ndim(t) else t, state.opt_state),
    )
    deep, plain = (
        ffnn.train_epoch(net_of(scan_layers, sizes=sizes), optimizer, state, x, y, batch_size=3)
        for scan_layers in (True, False)
    )
    assert_close(deep[0][:2], plain[0][:2], 1e-5)
    assert_close(deep[1], plain[1], 1e-5)


# Only where the optimizer allows it


def each_layer(change):
    """A stateless optimizer: change(k, path, leaf, all leaves) of each gradient."""

    def update(updates, state, params=None):
        del params
        leaves, tree = jax.tree_util.tree_flatten_with_path(updates)
        every = [leaf for _, leaf in leaves]
        changed = [
            change(path[0].idx, jax.tree_util.keystr(path), leaf, every) for path, leaf in leaves
        ]
        return tree.unflatten(changed), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def counting_layers():
    """Keeps one number for all layers, the mean of what one layer is like."""

    def update(updates, state, params=None):
        del params
        return updates, jnp.mean(updates[4].W) + state

    return optax.GradientTransformation(lambda params: jnp.zeros(()), update)


def of_one_state():
    """Keeps something for one layer only."""

    def update(updates, state, params=None):
        del params
        return updates, state

    return optax.GradientTransformation(
        lambda params: tuple(
            ffnn.Layer(layer.W, layer.b[:1] if k == 4 else layer.b)
            for k, layer in enumerate(params)
        ),
        update,
    )


def with_names(tree):
    return jax.tree_util.tree_map_with_path(lambda path, _: "[4]" not in path[0].__str__(), tree)


def keeping(init):
    """Keeps what it is given."""
    return optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))


@jax.custom_batching.custom_vmap
def doubled(t):
    return t * 2


@doubled.def_vmap
def _(_, batched, t):
    return t * 3, batched[0]


CONSTANTS = [np.full((4, 4), 1.0 + (k == 5)) for k in range(len(SIZES))]
NOT_ALIKE = {
    "global norm": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)),
    "lbfgs": optax.lbfgs(),
    "line search": optax.chain(optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5)),
    "layer 7": each_layer(lambda k, path, t, _: t * (0.1 if k == 6 else 0.2)),
    "sign of layer 7": each_layer(lambda k, path, t, _: -t if k == 6 else t * -1),
    "biases of layer 4": each_layer(lambda k, path, t, _: 0 * t if path == "[3].b" else t),
    "by constants": each_layer(
        lambda k, path, t, _: t * CONSTANTS[k].astype(t.dtype) if t.shape == (4, 4) else t
    ),
    "the layer above": each_layer(lambda k, path, t, every: t + jnp.sum(every[-1 - k]) * 0),
    "mean of all": each_layer(lambda k, path, t, every: t - jnp.mean(every[9])),
    "mask by path": optax.masked(optax.scale(-0.1), with_names),
    "decay by path": optax.add_decayed_weights(0.1, mask=with_names),
    "state of none": counting_layers(),
    "state of one": of_one_state(),
    "noise": optax.add_noise(0.1, 0.5, 0),
    "printing": each_layer(lambda k, path, t, _: (jax.debug.print("{}", t.sum()), t)[1]),
    "callback": each_layer(lambda k, path, t, _: jax.pure_callback(np.negative, t, t)),
    "two kinds": optax.partition(
        {"a": optax.sgd(0.1), "b": optax.adam(0.1)},
        lambda params: tuple("b" if k == 5 else "a" for k in range(len(params))),
    ),
    "flat": optax.flatten(optax.adam(0.1)),
    "another function under vmap": each_layer(lambda k, path, t, _: jax.jit(doubled)(t)),
    "gamma": each_layer(lambda k, path, t, _: jax.random.gamma(jax.random.key(0), 1 + t * t)),
    "keys": keeping(lambda params: tuple(ffnn.Layer(jax.random.key(0), None) for _ in params)),
    "weak types": keeping(lambda params: jax.tree.map(lambda t: jnp.asarray(0.0), params)),
}


@pytest.mark.parametrize("name", NOT_ALIKE)
def test_optimizers_that_are_not_alike(name):
    assert choice(net_of(False), NOT_ALIKE[name]) is None
    with pytest.raises(NotImplementedError, match=r"scan_layers=True.*(optimizer|state)"):
        choice(net_of(True), NOT_ALIKE[name])


def test_layers_within_a_jit_are_apart():
    inner = optax.adam(0.01)
    jitted = optax.GradientTransformation(inner.init, jax.jit(lambda *args: inner.update(*args)))
    assert choice(net_of(True), jitted) == BLOCK
    norm = optax.clip_by_global_norm(1.0)
    jitted = optax.GradientTransformation(norm.init, jax.jit(lambda *args: norm.update(*args)))
    with pytest.raises(NotImplementedError, match="each layer by itself"):
        choice(net_of(True), jitted)


# Asked for, refused


def test_only_where_it_is_asked_for():
    sgd = optax.sgd(0.1)
    for scan_layers in (None, False):
        assert choice(net_of(scan_layers), sgd) is None
    assert choice(net_of(True, sizes=(3, 4, 4, 4, 2)), sgd) == Block(1, 2, 4)


def mixed(net, params, x, y, *, weights=None):
    return ffnn.loss(net, params, x, y, weights=weights)


REFUSED = {
    "no three": (net_of(True, sizes=(3, 4, 4, 2)), {}),
    "on a mesh": (net_of(True), {"on_mesh": True}),
    "objective": (net_of(True), {"objective": mixed}),
    "accumulate": (net_of(True), {"accumulate": 2}),
    "dropout": (net_of(True, dropout=0.5), {}),
    **{
        name: (dataclasses.replace(net_of(True), plan=ffnn.Plan(scan_layers=True, **options)), {})
        for name, options in {
            "keep_every": {"keep_every": 2},
            "blocks of classes": {"class_blocks": True},
            "pallas": {"implementation": "pallas"},
        }.items()
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals(reason):
    net, options = REFUSED[reason]
    with pytest.raises(NotImplementedError, match=f"scan_layers=True.*{reason}"):
        choice(net, optax.sgd(0.1), **options)


def test_arrays_on_several_devices_are_refused():
    net, sgd = net_of(True), optax.sgd(0.1)
    everywhere = jax.NamedSharding(jax.make_mesh((4,), ("data",)), jax.P())
    state = jax.device_put(state_of(net, sgd)[:2], everywhere)
    options = {"objective": ffnn.loss, "accumulate": 1, "on_mesh": False}
    with pytest.raises(NotImplementedError, match=r"scan_layers=True.*several devices"):
        chosen(net, sgd, lambda: state, **options)


def test_refusals_reach_the_caller():
    net, sgd = net_of(True), optax.sgd(0.1)
    x, y = np.ones((6, 3), np.float32), np.zeros(6, np.int32)
    state = state_of(net, sgd)
    with pytest.raises(NotImplementedError, match="jit, vmap or grad of yours"):
        jax.jit(lambda state: ffnn.train_epoch(net, sgd, state, x, y, batch_size=3))(state)
    with pytest.raises(NotImplementedError, match=r"jit, vmap or grad of yours.*scan_layers=False"):
        jax.jit(lambda: ffnn.train_epoch(net, sgd, state, x, y, batch_size=3))()
    with pytest.raises(NotImplementedError, match="objective"):
        ffnn.fit(net, (x, y), state=state, optimizer=sgd, batch_size=3, epochs=1, objective=mixed)
    with pytest.raises(NotImplementedError, match="fit_many"):
        ffnn.fit_many(
            net, (x, y), keys=jax.random.split(state.key), optimizer=sgd, batch_size=3, epochs=1
        )
    with pytest.raises(NotImplementedError, match="stream"):
        ffnn.stream_epoch(net, sgd, state, ffnn.Stream(x, y), batch_size=3)
    with pytest.raises(TypeError, match="scan_layers"):
        ffnn.Plan(scan_layers=1)


# What is compiled


def lowered(net, optimizer):
    """The text of an epoch's program, and of which recipe."""
    state = state_of(net, optimizer)
    x, y = jnp.ones((8, 3)), jnp.zeros(8, jnp.int32)
    recipe = recipe_on(None, net, optimizer, 4, ffnn.loss, 1, x)
    block = recipe.block(net, lambda: state)
    if block is not None:
        state = stacked(block, state)
    return compiled_epoch.lower(net, recipe, state, x, y, None).as_text()


def test_layers_are_compiled_once():
    adam = optax.adam(0.01)
    width = 40  # above the bound under which a product is no dot
    deep, deeper = (lowered(net_of(True, sizes=(3, *(width,) * n, 2)), adam) for n in (32, 64))
    assert deep.count("dot_general") == deeper.count("dot_general")
    assert abs(len(deep) - len(deeper)) < 0.02 * len(deep)
    each = lowered(net_of(False, sizes=(3, *(width,) * 32, 2)), adam)
    assert each.count("dot_general") > deep.count("dot_general") + 50


# Checkpoints, Ctrl-C, NaN


def test_resume_and_interruption(tmp_path):
    net, adam = net_of(True), ALIKE["adam"]
    at = examples(net, batch=(12,), classes=True)
    options = {"key": jax.random.key(1), "optimizer": adam, "batch_size": 4}
    options["compiler_options"] = QUICK

    def fit(epochs, folder, **more):
        kept = Checkpoints(tmp_path / folder, every=2)
        return ffnn.fit(net, (at.x, at.y), epochs=epochs, checkpoints=kept, **options, **more)

    whole = fit(5, "whole")
    fit(3, "parts")
    resumed = fit(5, "parts", resume=True)
    chex.assert_trees_all_equal(resumed.state, whole.state)
    np.testing.assert_array_equal(resumed.history.loss, whole.history.loss)

    def interrupt(records, _):
        if records[-1]["epoch"] >= 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        result = fit(5, "stopped", on_epochs=interrupt)
    chex.assert_trees_all_equal_shapes(result.state, whole.state)
    assert 0 < int(result.state.step) < int(whole.state.step)
    chex.assert_trees_all_equal(fit(5, "stopped", resume=True).state, whole.state)


def test_nan():
    net = net_of(True)
    at = examples(net, batch=(12,), classes=True)
    with pytest.raises(ffnn.NonFiniteLossError) as error:
        ffnn.fit(
            net,
            (at.x, at.y),
            key=jax.random.key(0),
            optimizer=optax.sgd(jnp.inf),
            batch_size=4,
            epochs=2,
            compiler_options=QUICK,
        )
    assert error.value.step == 1
    chex.assert_trees_all_equal_shapes(error.value.fit.params, at.params)
