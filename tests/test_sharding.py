"""fit, train_epoch and init_state on a mesh: the training of one device, up to rounding."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close, examples
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn
from ffnn_jax.sharding.examples import Split, split_by_process
from ffnn_jax.sharding.placement import Layout, placement, shardings_of

TESTS = pathlib.Path(__file__).parent
NET = ffnn.Network((5, 8, 8, 4), activation="tanh", output="softmax")
OPTIMIZER = optax.adam(0.01)
ROWS, COLUMNS = ffnn.Layer(P("model", None), P("model")), ffnn.Layer(P(None, "model"), P())
WHOLE = ffnn.Layer(P(), P())
OVER_DATA = ffnn.Layer(P("data", None), P("data"))


def mesh_of(*, kind=AxisType.Auto, **axes):
    devices = jax.devices()[: int(np.prod(list(axes.values())))]
    kinds = (kind,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=kinds, devices=devices)


def data_of(net, rows=53, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, net.sizes[0])).astype(np.float32)
    return x, draw.integers(0, net.sizes[-1], rows).astype(np.int32)


def on_host(tree):
    return jax.tree.map(np.asarray, tree)


@pytest.fixture(autouse=True, scope="module")
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        yield


def epoch(net, optimizer, *, mesh=None, placement=None, data=None, weighted=False, **options):
    """(state, losses) of one epoch, from equal parameters, on 53 examples in batches of 10."""
    x, y = data or data_of(net)
    weights = np.linspace(0.5, 2, len(x)).astype(np.float32) if weighted else None
    on = {"mesh": mesh, "placement": placement}
    params = examples(net).params
    params = jax.tree.map(lambda t: np.asarray(t, np.float64), params) if mesh else params
    state = ffnn.init_state(net, optimizer, jax.random.key(3), params=params, **on)
    options = {"batch_size": 10, "weights": weights, **options}
    return ffnn.train_epoch(net, optimizer, state, x, y, **on, **options)


one_device = functools.cache(epoch)


def assert_same_epoch(net, optimizer, mesh, placement=None, *, tolerance=5e-6, **options):
    """An epoch on the mesh is that of one device; returns the state on the mesh."""
    expected, expected_losses = (epoch if "data" in options else one_device)(
        net,
        optimizer,
        **{k: v for k, v in options.items() if k != "accumulate" or any(net.dropouts)},
    )
    state, losses = epoch(net, optimizer, mesh=mesh, placement=placement, **options)
    found = on_host((state.params, losses, state.step))
    assert_close(found, on_host((expected.params, expected_losses, expected.step)), tolerance)
    assert np.array_equal(*(jax.random.key_data(s.key) for s in (state, expected)))
    return state


# The rule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "wide", "expected"),
    [
        ((5, 8, 8, 4), 1, (ROWS, COLUMNS, ROWS)),
        ((5, 8, 8, 4), 8, (ROWS, COLUMNS, WHOLE)),
        ((5, 8, 8, 8, 3), 1, (ROWS, COLUMNS, ROWS, COLUMNS)),
        ((5, 7, 8, 8, 3), 1, (WHOLE, ROWS, COLUMNS, WHOLE)),
        ((5, 8, 7, 8, 3), 1, (ROWS, COLUMNS, ROWS, COLUMNS)),
        ((5, 8, 8, 4), 9, (WHOLE, WHOLE, WHOLE)),
        ((5, 8), 1, (ROWS,)),
    ],
)
def test_layers_are_split_in_pairs(sizes, wide, expected):
    assert placement(ffnn.Network(sizes), mesh_of(data=2, model=2), wide=wide) == expected
    assert set(placement(ffnn.Network(sizes), mesh_of(data=4), wide=wide)) == {WHOLE}


# The same training -------------------------------------------------------------------------------


def test_a_hundred_steps_of_the_benchmarks_networks_on_up_to_eight_devices():
    """In a process of its own; and what one of eight devices holds of a network that they share."""
    folders = [TESTS.parent, TESTS, TESTS.parent / "benchmarks"]
    own = {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    run = subprocess.run(
        [sys.executable, TESTS / "sharded_steps.py"],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    for kind, share in found.pop("shares").items():
        assert 1 / 8 <= share <= 1.3 / 8, kind
    assert len(found) == 9
    for name, errors in found.items():
        assert max(errors) <= 1e-13, name


@functools.cache
def fit(mesh=None):
    """Six epochs with weights, a penalty, a look at other data, and an early stop."""
    x, y = data_of(NET)
    on = {} if mesh is None else {"mesh": mesh, "placement": placement(NET, mesh, wide=1)}
    return ffnn.fit(
        NET,
        (x, y),
        optimizer=OPTIMIZER,
        batch_size=10,
        epochs=6,
        key=jax.random.key(1),
        validation=data_of(NET, 13, seed=5),
        weights=np.linspace(0.5, 2, len(x)).astype(np.float32),
        patience=2,
        min_delta=0.02,
        objective=ffnn.penalized(l2=1e-3),
        **on,
    )


@pytest.mark.parametrize(
    "axes", [{"data": 4}, {"data": 2, "model": 2, "kind": AxisType.Explicit}], ids=["data", "both"]
)
def test_fit_is_that_of_one_device(axes):
    mesh = mesh_of(**axes)
    expected, found = fit(), fit(mesh)
    assert 0 < len(expected.history.loss) <= 6
    assert_close(on_host(found.params), on_host(expected.params), 5e-6)
    assert_close(on_host(found.state.opt_state), on_host(expected.state.opt_state), 2e-5)
    assert_close(found.history[:3], expected.history[:3], 5e-6)
    assert found.best_epoch == expected.best_epoch
    for tree in (found.params, found.state.params, found.state.opt_state[0].mu):
        for layer, specs in zip(tree, placement(NET, mesh, wide=1), strict=True):
            for leaf, spec in zip(layer, specs, strict=True):
                assert leaf.sharding.mesh == mesh
                home = jax.NamedSharding(mesh, spec)
                assert leaf.sharding.is_equivalent_to(home, leaf.ndim)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_batch_in_parts(dropout):
    """Each of 5 rows, filled up to 6; with the masks of one device."""
    net = ffnn.Network(NET.sizes, activation="tanh", output="softmax", dropout=dropout)
    mesh = mesh_of(data=2, model=2)
    own = placement(net, mesh, wide=1)
    assert_same_epoch(net, OPTIMIZER, mesh, own, accumulate=2, weighted=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parameters_split_over_data(accumulate):
    """The user's own placement: each device holds a quarter, of the optimizer's state as well."""
    mesh = mesh_of(data=4)
    own = (OVER_DATA, ffnn.Layer(P(None, "data"), P()), OVER_DATA)
    state = assert_same_epoch(NET, OPTIMIZER, mesh, own, accumulate=accumulate)
    for leaf in (state.params[1].W, state.opt_state[0].nu[1].W):
        assert {shard.data.shape for shard in leaf.addressable_shards} == {(8, 2)}


OPTIMIZERS = {
    "lbfgs": optax.lbfgs(memory_size=3),  # asks for the function
    "wrapped": optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.masked(optax.adafactor(0.01, min_dim_size_to_factor=4), (True, False, True)),
        optax.inject_hyperparams(optax.adamw)(0.01),
        optax.MultiSteps(optax.sgd(0.5, momentum=0.9), 2),
    ),
    "flat": optax.flatten(optax.adam(0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name):
    mesh = mesh_of(data=2, model=2)
    assert_same_epoch(NET, OPTIMIZERS[name], mesh, placement(NET, mesh, wide=1), tolerance=5e-5)


def test_the_optimizers_state_lives_where_its_parameters_do():
    layout = Layout(mesh_of(model=4), (ROWS, COLUMNS, ROWS))
    params = ffnn.init(NET, jax.random.key(0))

    def specs(optimizer):
        state = jax.eval_shape(optimizer.init, params)
        return jax.tree.map(lambda home: home.spec, shardings_of(layout, state))

    memory = specs(OPTIMIZERS["lbfgs"])[0].diff_params_memory
    assert memory[0] == ffnn.Layer(P(None, "model", None), P(None, "model"))
    assert specs(OPTIMIZERS["wrapped"])[3].acc_grads == (ROWS, COLUMNS, ROWS)
    assert specs(optax.sgd(optax.linear_schedule(0.1, 0.0, 9)))[1].count == P()


def test_a_loss_of_ones_own_whose_y_is_a_tree():
    """Integers, booleans and numbers of 16 bits come as they are from where they lie."""

    def value(yhat, y):
        off = (yhat - y["to"].astype(yhat.dtype)) ** 2
        return jnp.sum(jnp.where(y["counts"], off, 0.5 * off), axis=-1)

    net = ffnn.Network((5, 8, 4), loss=ffnn.Loss("own", value))
    draw = np.random.default_rng(0)
    to = draw.integers(-100, 100, (53, 4)).astype(np.int8)
    y = {"to": to, "counts": draw.random((53, 4)) < 0.5}
    x = data_of(net)[0].astype(np.float16)
    assert_same_epoch(net, optax.sgd(1e-4), mesh_of(data=4), data=(x, y))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_arrays_on_the_mesh_already_and_a_jit_of_ones_own(kind):
    mesh = mesh_of(data=2, model=2, kind=kind)
    x, y = data_of(NET)
    names = ("optimizer", "batch_size", "mesh")
    train = jax.jit(ffnn.train_epoch, static_argnames=names, donate_argnames="state")
    expected = on_host(one_device(NET, OPTIMIZER)[0].params)
    x, y = jax.device_put((x, y), jax.NamedSharding(mesh, P()))
    with jax.set_mesh(mesh):
        params, key = examples(NET).params, jax.random.key(3)
        state = ffnn.init_state(NET, OPTIMIZER, key, params=params, mesh=mesh)
        state, _ = train(NET, OPTIMIZER, state, x, y, batch_size=10, mesh=mesh)
    assert_close(on_host(state.params), expected, 5e-6)
    assert state.params[0].W.sharding.mesh == mesh


def test_the_state_is_drawn_as_on_one_device_and_goes_on_with_options_of_xla():
    mesh, key = mesh_of(data=2, model=2, kind=AxisType.Explicit), jax.random.key(0)
    own = placement(NET, mesh, wide=1)
    expected = ffnn.init_state(NET, OPTIMIZER, key)
    state = ffnn.init_state(NET, OPTIMIZER, key, mesh=mesh, placement=own)
    assert_close(on_host(state.params), on_host(expected.params), 1e-7)
    result = ffnn.fit(
        NET,
        jax.device_put(data_of(NET, 52), jax.NamedSharding(mesh, P("data"))),
        key=key,
        optimizer=OPTIMIZER,
        batch_size=12,
        epochs=1,
        mesh=mesh,
        placement=own,
        compiler_options={"xla_backend_optimization_level": 0},
    )
    assert int(result.state.step) == 5
    assert result.history.loss[0] > 0


def test_blocks_of_classes_where_the_last_layer_is_whole():
    plan = ffnn.Plan(class_blocks=True)
    net = ffnn.Network((5, 8, 64), output="softmax", plan=plan)
    assert_same_epoch(net, OPTIMIZER, mesh_of(data=4))
    mesh = mesh_of(model=2)
    assert_same_epoch(net, OPTIMIZER, mesh, placement(net, mesh, wide=1))


def test_a_fit_on_a_mesh_goes_on_from_its_checkpoints(tmp_path):
    mesh = mesh_of(data=2, model=2)
    x, y = data_of(NET)
    options = {
        "key": jax.random.key(1),
        "optimizer": OPTIMIZER,
        "batch_size": 10,
        "mesh": mesh,
        "placement": placement(NET, mesh, wide=1),
        "patience": 9,
    }
    expected = ffnn.fit(NET, (x, y), epochs=3, **options)
    checkpoints = ffnn.Checkpoints(tmp_path)
    ffnn.fit(NET, (x, y), epochs=2, checkpoints=checkpoints, **options)
    again = {"checkpoints": checkpoints, "resume": True, **options}
    found = ffnn.fit(NET, (x, y), epochs=3, **again)
    nothing_more = ffnn.fit(NET, (x, y), epochs=3, **again)
    for result in (found, nothing_more):
        chex.assert_trees_all_equal(on_host(result.params), on_host(expected.params))
        assert result.params[0].W.sharding.spec == P("model", None)
    with pytest.raises(ValueError, match="another fit"):
        ffnn.fit(NET, (x + 1, y), epochs=3, **again)


# Rows of several processes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "owners"),
    [
        ([7, 7], [0, 0, 1, 1]),
        ([5, 1], [0, 0, 1, 1]),
        ([3, 6], [0, 1, 1, 0]),
        ([4, 2, 9], [2, 0, 1]),
    ],
)
def test_every_row_of_every_process_has_a_place_on_a_device_of_its_own(counts, owners):
    split = split_by_process(counts, owners)
    each = split.length // len(owners)
    at = np.asarray(split.position(jnp.arange(split.rows)))
    assert len(set(at)) == split.rows == sum(counts)
    assert [owners[i // each] for i in at] == np.repeat(np.arange(len(counts)), counts).tolist()
    assert sorted(at) == np.flatnonzero(split.mask()).tolist()
    for process, n in enumerate(counts):  # in order, one device after the other
        mine = [i for i, owner in enumerate(owners) if owner == process]
        first = sum(counts[:process])
        places = [mine[r // each] * each + r % each for r in range(n)]
        assert at[first : first + n].tolist() == places


def test_rows_that_lie_in_order_are_not_looked_up():
    assert split_by_process([6, 6], [0, 0, 1, 1]) == Split(12, 12)


# What does not fit -------------------------------------------------------------------------------

BAD = {
    "an unknown axis": ({"mesh": mesh_of(data=2, tensor=2)}, ValueError, "'tensor'"),
    "networks": ({"mesh": mesh_of(member=2)}, ValueError, "fit_many"),
    "no mesh": ({"mesh": (4,)}, TypeError, "mesh: expected a mesh of devices"),
    "an abstract mesh": ({"mesh": mesh_of(data=2).abstract_mesh}, TypeError, "of devices"),
    "a small batch": ({"mesh": mesh_of(data=4), "batch_size": 3}, ValueError, "batch_size: .* 4"),
    "placement alone": ({"placement": (WHOLE,) * 3}, ValueError, "pass mesh="),
    "no placement": (
        {"mesh": mesh_of(data=2), "placement": "model"},
        TypeError,
        "placement: expected a tuple of Layer",
    ),
    "layers": ({"mesh": mesh_of(data=2), "placement": (WHOLE,)}, ValueError, "3 layers, got 1"),
    "an axis that is not there": (
        {"mesh": mesh_of(data=2), "placement": (ROWS, WHOLE, WHOLE)},
        ValueError,
        r"placement\[0\].W: expected axes of the mesh",
    ),
    **{
        f"an axis that is none: {spec}": (
            {"mesh": mesh_of(data=2), "placement": (ffnn.Layer(spec, P()), WHOLE, WHOLE)},
            ValueError,
            r"placement\[0\].W: expected axes of the mesh, data, each at most once; got P\(",
        )
        for spec in (P(1), P((1,)), P(P.UNCONSTRAINED), P(unreduced={"data"}), P(reduced={"data"}))
    },
    "an axis twice": (
        {
            "mesh": mesh_of(model=2),
            "placement": (ffnn.Layer(P("model", "model"), P()), *[WHOLE] * 2),
        },
        ValueError,
        "at most once",
    ),
    "parts": (
        {"mesh": mesh_of(model=4), "placement": (COLUMNS, WHOLE, WHOLE)},
        ValueError,
        r"placement\[0\].W: 5 does not divide into 4",
    ),
    "a spec of more axes": (
        {"mesh": mesh_of(model=2), "placement": (ffnn.Layer(P(), P(None, "model")), *[WHOLE] * 2)},
        ValueError,
        r"placement\[0\].b: expected at most 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit(case):
    options, error, message = BAD[case]
    x, y = data_of(NET)
    options = {"batch_size": 10, **options}
    given = {"optimizer": OPTIMIZER, "epochs": 1, "key": jax.random.key(0)}
    with pytest.raises(error, match=message):
        ffnn.fit(NET, (x, y), **given, **options)
    batch_size = options.pop("batch_size")
    if case != "a small batch":
        with pytest.raises(error, match=message):
            ffnn.init_state(NET, OPTIMIZER, jax.random.key(0), **options)
    state = ffnn.init_state(NET, OPTIMIZER, jax.random.key(0))
    with pytest.raises(error, match=message):
        ffnn.train_epoch(NET, OPTIMIZER, state, x, y, batch_size=batch_size, **options)


def test_wide_is_checked():
    with pytest.raises(ValueError, match="wide: expected at least 1"):
        placement(NET, mesh_of(model=2), wide=0)
