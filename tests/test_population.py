"""The kernel `population`, interpreted: the same epoch as XLA's, and each way to get it wrong."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import examples, relative_error
from test_training import _standard_promotion  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax.ensemble import many
from ffnn_jax.ensemble import population as seam
from ffnn_jax.gradcheck.primal import quick_jit
from ffnn_jax.kernels import population, population_limits
from ffnn_jax.kernels.updates import SGD, Adam
from ffnn_jax.recipe import Recipe, TrainState
from ffnn_jax.training import scan_epoch

M, N = 2, 21
PALLAS = ffnn.Plan(implementation="pallas")
MOMENTUM = functools.partial(optax.sgd, momentum=0.9)
NESTEROV = functools.partial(optax.sgd, momentum=0.8, nesterov=True)
RATES = jnp.asarray([0.03, 0.1], jnp.float32)


def network(sizes, activation="tanh", output="softmax", **options):
    return ffnn.Network(sizes, activation, output, plan=PALLAS, **options)


def data(net, *, own=False, classes=None, seed=0):
    """x, y and, drawn with zeros among them, weights; of M members where they are their own."""
    batch = (M, N) if own else (N,)
    classes = net.output == "softmax" if classes is None else classes
    point = examples(net, seed=seed, batch=batch, classes=classes)
    zero = np.random.default_rng(seed).random(batch) < 0.3
    return point.x, point.y, jnp.where(zero, 0, point.weights)


def states(net, optimizer, scale=1.0):
    """States of M members after three steps, as far as the optimizer's count goes."""
    params = [examples(net, seed=i).params for i in range(M)]
    params = jax.tree.map(lambda *t: scale * jnp.stack(t), *params)
    opt_state = jax.vmap(optimizer(0.1).init)(params)
    opt_state = jax.tree.map(lambda t: t + 3 if t.dtype == jnp.int32 else t, opt_state)
    keys = jax.random.split(jax.random.key(6), M)
    return TrainState(params, opt_state, keys, jnp.full((M,), 3, jnp.int32))


def epoch_of(net, optimizer: Any, batch_size, rate):
    return seam.epoch_of(net, Recipe(optimizer, batch_size), rate, jnp.float32, M)


def epochs(net, optimizer, batch_size, arrays, start, own=False):
    """An epoch of each member: (states, losses, weights)."""

    def one(state, rate, x, y, weights):
        return epoch_of(net, optimizer, batch_size, rate)(state, x, y, weights)

    axes = (0, 0, *[0 if own else None] * 3)
    return quick_jit(jax.vmap(one, axes))(start, RATES, *arrays)


def by_xla(net):
    return ffnn.Network(net.sizes, net.activation, net.output, net.loss)


def worst(found, expected):
    """The largest relative error of a leaf, the structures and types being equal."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    errors = []
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if jnp.issubdtype(one.dtype, jnp.floating):
            errors.append(relative_error(one, other))
        else:
            assert jnp.array_equal(one, other)
    return max(errors)


# The same epoch ----------------------------------------------------------------------------------

CASES = {  # sizes, activation, output, optimizer, batch size
    "no hidden layer, one tile whole": ((3, 4), "relu", "softmax", optax.sgd, 16),
    "ragged tile": ((3, 16, 5), "relu", "softmax", MOMENTUM, 10),
    "two tiles and adam": ((20, 20, 3), "tanh", "softmax", optax.adam, 18),
    "wide": ((64, 64, 2), "relu", "linear", NESTEROV, 21),
    "batches of one, one output": ((3, 5, 1), "tanh", "linear", optax.sgd, 1),
    "deep, mixed": ((3, 7, 16, 4), ("relu", "tanh"), "softmax", optax.sgd, 7),
}


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_is_that_of_xla(case):
    sizes, activation, output, optimizer, batch_size = CASES[case]
    net = network(sizes, activation, output)
    start = states(net, optimizer)
    x, y, weights = data(net)
    arrays = (x, y, weights if batch_size % 2 else None)
    found = epochs(net, optimizer, batch_size, arrays, start)
    expected = epochs(by_xla(net), optimizer, batch_size, arrays, start)
    assert worst(found, expected) < 1e-6


def test_extreme_logits_and_a_member_that_is_no_number():
    """Of one member x is NaN in a row: it alone shows NaN, from the batch of that row on."""
    net = network((5, 6, 3), "relu")
    start = states(net, MOMENTUM, scale=1e4)
    x, y, weights = data(net, own=True)
    arrays = (x, y, weights + 1), (x.at[0, 4].set(jnp.nan), y, weights + 1)
    calm, found = (epochs(net, MOMENTUM, 8, each, start, own=True) for each in arrays)
    expected = epochs(by_xla(net), MOMENTUM, 8, arrays[0], start, own=True)
    assert worst(calm, expected) < 1e-6
    assert float(jnp.max(calm[1])) > 1e3  # extreme they are
    assert jnp.any(jnp.isnan(found[1][0]))
    of_last = [
        jax.tree.map(lambda t: t[1], (s.params, s.opt_state, v)) for s, v, _ in (found, calm)
    ]
    assert worst(*of_last) == 0


# Ways to get it wrong ----------------------------------------------------------------------------


def _mask_ignored(monkeypatch):
    """What fills up the last batch counts."""
    right = population._rows

    def wrong(given, batch_size, *rest):
        rows, real = right(given, batch_size, *rest)
        return rows, jnp.ones_like(real)

    monkeypatch.setattr(population, "_rows", wrong)


def _padded_class_counted(monkeypatch):
    right = population.softmax_cross_entropy
    monkeypatch.setattr(
        population, "softmax_cross_entropy", lambda a, y, n, c: right(a, y, a.shape[1], c)
    )


def _mean_of_rows(monkeypatch):
    """Σ w_i ℓ_i over the number of rows, not over Σ w_i."""
    right = population._value_and_grad

    def wrong(net, batch_size, given, i, params, weight):
        del weight
        return right(net, batch_size, given, i, params, jnp.asarray(batch_size, jnp.float32))

    monkeypatch.setattr(population, "_value_and_grad", wrong)


def _one_tile_of_two(monkeypatch):
    right = population._value_and_grad
    monkeypatch.setattr(
        population, "_value_and_grad", lambda net, B, *rest: right(net, min(B, 16), *rest)
    )


def _momentum_reset(monkeypatch):
    right = SGD.step

    def wrong(self, rate, corrections, params, grads, moments):
        moments = jax.tree.map(jnp.zeros_like, moments)
        return right(self, rate, corrections, params, grads, moments)

    monkeypatch.setattr(SGD, "step", wrong)


def _rate_off(monkeypatch):
    right = SGD.step
    monkeypatch.setattr(SGD, "step", lambda self, rate, *rest: right(self, 1.001 * rate, *rest))


def _count_off_by_one(monkeypatch):
    right = Adam.corrections
    monkeypatch.setattr(Adam, "corrections", lambda self, count, n: right(self, count + 1, n))


FAULTS = {
    _mask_ignored: MOMENTUM,
    _padded_class_counted: MOMENTUM,
    _mean_of_rows: MOMENTUM,
    _one_tile_of_two: MOMENTUM,
    _momentum_reset: MOMENTUM,
    _rate_off: MOMENTUM,
    _count_off_by_one: optax.adam,
}


@functools.cache
def _expected(optimizer):
    net = network((4, 6, 3))
    start, arrays = states(net, optimizer), data(net)
    return net, start, arrays, epochs(by_xla(net), optimizer, 18, arrays, start)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__[1:])
def test_each_fault_is_caught(fault, monkeypatch):
    optimizer = FAULTS[fault]
    net, start, arrays, expected = _expected(optimizer)
    fault(monkeypatch)
    assert worst(epochs(net, optimizer, 18, arrays, start), expected) > 1e-5


# In fit_many -------------------------------------------------------------------------------------

KEYS = jax.random.split(jax.random.key(3), 4)


def fit_many(net, implementation, **changes):
    x, y, weights = map(np.asarray, data(net))
    plan = ffnn.Plan(implementation=implementation)
    net = ffnn.Network(net.sizes, net.activation, net.output, net.loss, plan=plan)
    options = {"keys": KEYS, "optimizer": MOMENTUM, "batch_size": 8, "epochs": 6}
    options |= {"learning_rates": np.array([0.1, 0.9, 0.3, 3e38]), "weights": weights + 1}
    return ffnn.fit_many(net, changes.pop("data", (x, y)), **options | changes)


def test_early_stop_and_validation_go_on_around_it():
    """Each stops by itself, one at a loss that is no number; and XLA goes on from the state."""
    net = network((4, 6, 3))
    options = {"validation": tuple(np.asarray(t) for t in data(net, seed=1)[:2]), "patience": 1}
    found, expected = (fit_many(net, name, **options) for name in ("pallas", "xla"))
    np.testing.assert_array_equal(found.epochs, expected.epochs)
    np.testing.assert_array_equal(found.best_epoch, expected.best_epoch)
    np.testing.assert_array_equal(found.bad_step, expected.bad_step)
    assert len(set(found.epochs.tolist())) > 1
    assert found.bad_step[3] >= 0
    assert worst(found.history.loss[:3, 0], expected.history.loss[:3, 0]) < 1e-6
    assert worst(found.state, expected.state) < 1e-5  # several epochs
    x, y, _ = data(net)
    states = (many.member(0).state for many in (found, expected))
    after = [ffnn.train_epoch(by_xla(net), MOMENTUM(0.1), s, x, y, batch_size=8) for s in states]
    assert worst(*after) < 1e-5


def test_members_over_devices():
    """On a mesh of members alone each place has a kernel for its own."""
    mesh = jax.make_mesh((2,), ("member",), devices=jax.devices()[:2])
    net = network((4, 6, 3))
    found = fit_many(net, "pallas", mesh=mesh, epochs=1, optimizer=optax.sgd)
    expected = fit_many(net, "pallas", epochs=1, optimizer=optax.sgd)
    assert worst(*(jax.tree.map(np.asarray, r.params) for r in (found, expected))) < 1e-6


def test_what_members_share_stays_one_array():
    """No array of the program has the rows of x once for each member."""
    net = network((5, 6, 3))
    start, arrays = states(net, optax.sgd), data(net)

    def one(state, rate):
        return epoch_of(net, optax.sgd, 8, rate)(state, *arrays)

    text = jax.jit(jax.vmap(one)).trace(start, RATES).lower().as_text()
    assert f"tensor<{N}x16xf32>" in text
    assert f"tensor<{M}x{N}x16xf32>" not in text
    assert f"tensor<{M}x{N}x5xf32>" not in text


def test_none_and_xla_are_the_program_without_a_kernel():
    net = network((5, 6, 3))
    start, arrays = states(net, optax.sgd), data(net)

    def by_hand(net, state, rate):
        return scan_epoch(net, Recipe(optax.sgd(rate), 8), state, *arrays)

    def by_choice(net, state, rate):
        return epoch_of(net, optax.sgd, 8, rate)(state, *arrays)

    def lowered(epoch, implementation):
        plan = ffnn.Plan(implementation=implementation)
        of = ffnn.Network(net.sizes, net.activation, net.output, plan=plan)

        def one(state, rate):
            return epoch(of, state, rate)

        return jax.jit(jax.vmap(one)).trace(start, RATES).lower().as_text()

    expected = lowered(by_hand, None)
    assert lowered(by_choice, None) == lowered(by_choice, "xla") == expected
    assert lowered(by_choice, "pallas") != expected


def test_with_64_bit_types_it_computes_in_float32(x64):
    net = network((4, 6, 3))
    smallest = functools.partial(optax.adam, eps=seam.SMALLEST)
    found, expected = (
        fit_many(net, name, optimizer=smallest, learning_rates=np.full(4, 0.1), epochs=1)
        for name in ("pallas", "xla")
    )
    assert worst(found.state, expected.state) < 1e-5


# What it does not take ---------------------------------------------------------------------------


def _times_two(net, params, x, y, *, weights=None):
    return 2 * ffnn.loss(net, params, x, y, weights=weights)


def of(sizes=(4, 6, 3), activation="relu", output="softmax", loss=None, dropout=0.0, **plan):
    plan = ffnn.Plan(implementation="pallas", **plan)
    return ffnn.Network(sizes, activation, output, loss, dropout=dropout, plan=plan)


def sgd(**keywords):
    return {"optimizer": functools.partial(optax.sgd, **keywords)}


def adam(**keywords):
    return {"optimizer": functools.partial(optax.adam, **keywords)}


REFUSED = [
    (of(), {"optimizer": optax.sgd(0.1), "learning_rates": None}, "got one without learning_rates"),
    (of(), {"optimizer": optax.adamw}, "optax.sgd or optax.adam itself .*got .*adamw"),
    (of(), {"optimizer": optax.inject_hyperparams(optax.sgd)}, "optax.sgd or optax.adam itself"),
    (of(), sgd(nesterov=None), "nesterov True or False, got nesterov=None"),
    (of(), sgd(accumulator_dtype=jnp.float32), "optax.sgd with accumulator_dtype its default"),
    (of(), sgd(momentum=np.float32(0.9)), "momentum a Python number"),
    (of(), adam(nesterov=True), "optax.adam with nesterov its default"),
    (of(), adam(eps=0.0), r"divides by √\(v"),
    (of(), adam(eps=1e-40), "of at least 1e-30"),
    (of(), adam(eps=0.0, eps_root=1e-39), "eps_root=1e-39"),
    (of(), adam(eps=-1.0, eps_root=1.0), "neither below 0"),
    (of(), {"objective": _times_two}, "minimises ffnn_jax.loss"),
    (of(), {"accumulate": 2}, "a batch at once, got accumulate=2"),
    (of(dropout=0.5), {}, "leaves no unit out"),
    (of(compute_dtype="bfloat16"), {}, r"computes in float32, got Plan\(compute_dtype"),
    (of(keep_every=2), {}, r"keep_every=2"),
    (of(class_blocks=True), {}, "class_blocks=True"),
    (of(), {"batch_size": 65}, "at most 64 examples a batch, got 65"),
    (of((4, 65, 3)), {}, r"at most 64 .*\(4, 65, 3\)"),
    (of(activation="gelu"), {}, "relu and tanh, got gelu"),
    (of(output="logistic"), {}, "got logistic with binary_cross_entropy"),
    (of(output="softmax", loss="squared_error"), {}, "got softmax with squared_error"),
    (of(loss="smoothed_cross_entropy(0.1)"), {}, "got softmax with smoothed"),
    (of((4, *[64] * 8, 3)), {}, "registers .*got 9 layers.* sgd without momentum"),
]


@pytest.mark.parametrize(("net", "changes", "reason"), REFUSED)
def test_what_is_not_taken_says_why(net, changes, reason, monkeypatch):
    """Before anything is compiled, and only where the kernel is asked for."""
    monkeypatch.setattr(many, "start_many", None)
    x = np.zeros((66, 4), np.float32)
    y = np.zeros((66, 3), np.float32) if net.output == "logistic" else np.zeros(66, np.int32)
    options = {"optimizer": optax.sgd, "learning_rates": [0.1] * 4, "batch_size": 8, **changes}
    with pytest.raises(NotImplementedError, match=reason) as caught:
        ffnn.fit_many(net, (x, y), keys=KEYS, epochs=1, **options)
    assert str(caught.value).startswith("implementation='pallas': the kernel population ")
    assert str(caught.value).endswith("; use implementation='xla'")


def test_rows_shared_between_devices_are_not_taken():
    mesh = jax.make_mesh((2, 2), ("member", "data"))
    with pytest.raises(NotImplementedError, match="mesh with an axis 'data'"):
        fit_many(of(), "pallas", mesh=mesh)


@pytest.mark.parametrize("precision", ["TF32_TF32_F32", "F32_F32_F32", "TF32_TF32_F32_X3"])
def test_other_precisions_are_not_taken(precision):
    reason = f"TF32 or of full float32, got .*'{precision}'"
    with jax.default_matmul_precision(precision), pytest.raises(NotImplementedError, match=reason):
        fit_many(of(), "pallas")


def test_parameters_of_another_dtype_are_not_taken():
    sgd: Any = optax.sgd
    recipe = Recipe(sgd, 8)
    for dtype in (jnp.float64, jnp.bfloat16):
        with pytest.raises(NotImplementedError, match="computes in float32, got parameters of"):
            seam.epoch_of(of(), recipe, RATES[0], dtype, M)


def test_what_optax_computes_by_itself_is_known_by_its_keywords():
    assert seam.rule_of(optax.sgd, True) == SGD()
    assert seam.rule_of(NESTEROV, True) == SGD(0.8, True)
    assert seam.rule_of(functools.partial(MOMENTUM, nesterov=True), True) == SGD(0.9, True)
    assert seam.rule_of(functools.partial(optax.adam, b2=0.99), True) == Adam(b2=0.99)
    assert seam.rule_of(functools.partial(optax.sgd, momentum=None), True) == SGD()


def test_more_columns_where_the_rest_does_not_fit():
    """A tile for which the layers and their moments do not fit is passed over for the next."""
    net = of((4, 10, 10, 3))
    assert population_limits.tile_of(net, SGD()) == (16, 1)
    assert population_limits.tile_of(net, SGD(0.9)) == (64, 8)
    with jax.default_matmul_precision("highest"):
        assert population_limits.tile_of(net, SGD(0.9)) == (16, 2)
        assert population_limits.tile_of(of((4, 20, 3)), Adam()) == (32, 8)
