"""Streams: against a loop over steps in the same order, from any file, stopped and gone on with."""

import os
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close
from test_training import as_numbers, leaves_equal

import ffnn_jax as ffnn
from ffnn_jax import rows, streaming

NET = ffnn.Network((4, 5, 3), activation="tanh", output="softmax")
SGD = optax.sgd(0.1)
KEY = jax.random.key(0)
STATE = ffnn.init_state(NET, SGD, KEY)
N, SIZES = 50, {"batch_size": 8, "block": 2}  # blocks of 16, 16, 16 and 2 rows; 7 steps
SCALE, SHIFT = 2 / 255, -1.0
DRAW = np.random.default_rng(0)
X, Y = DRAW.integers(0, 256, (N, 4), dtype=np.uint8), DRAW.integers(0, 3, N, dtype=np.uint8)
STEP = jax.jit(ffnn.train_step, static_argnames="optimizer")


def as_floats(x):
    return (x * np.float64(SCALE) + SHIFT).astype(np.float32)


def mapped(path, array, *, offset=0, mode="r"):
    """The array as a memmap of a file that holds it after so many other bytes."""
    path.write_bytes(b"\1" * offset + array.tobytes())
    return np.memmap(path, array.dtype, mode, offset, array.shape)


@pytest.fixture
def stream(tmp_path):
    x, y = (mapped(tmp_path / name, t) for name, t in (("x", X), ("y", Y)))
    return ffnn.Stream(x, y, scale=SCALE, shift=SHIFT)


def epoch(stream, *, net=NET, state=STATE, **changes):
    return ffnn.stream_epoch(net, SGD, state, stream, **{**SIZES, **changes})


def by_hand(x, y, *, net=NET, state=STATE, weights=None, batch_size, block):
    """The epoch as its docstring has it, one step after another."""
    key, order_key, rows_key = jax.random.split(state.key, 3)
    blocks, losses = -(-len(x) // (block * batch_size)), []
    for c in np.asarray(jax.random.permutation(order_key, blocks)):
        numbers = np.arange(len(x))[c * block * batch_size :][: block * batch_size]
        order = jax.random.permutation(jax.random.fold_in(rows_key, c), len(numbers))
        numbers = numbers[np.asarray(order)]
        for start in range(0, len(numbers), batch_size):
            here = numbers[start : start + batch_size]
            taken = jax.tree.map(lambda t, here=here: t[here], (x, y, weights))
            state, value = STEP(net, SGD, state, *taken[:2], weights=taken[2])
            losses.append(value)
    return state._replace(key=key), losses


def assert_same_epoch(found, expected):
    assert_close(found[0].params, expected[0].params, 1e-5)
    np.testing.assert_allclose(found[1], np.asarray(expected[1]), rtol=1e-5)
    leaves_equal((found[0].key, found[0].step), (expected[0].key, expected[0].step))


# The same epoch as by hand -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "batch_size", "block", "weighted"),
    [(50, 8, 2, False), (50, 8, 2, True), (48, 8, 3, False), (10, 4, 100, True), (3, 1, 1, False)],
)
def test_a_streamed_epoch_is_a_loop_over_steps(tmp_path, n, batch_size, block, weighted):
    """uint8 from a file and float32 in memory, each row once, ⌈N/B⌉ steps."""
    sizes = {"batch_size": batch_size, "block": block}
    weights = np.linspace(0.5, 2, n).astype(np.float32) if weighted else None
    stream = ffnn.Stream(mapped(tmp_path / "x", X[:n]), Y[:n], scale=SCALE, shift=SHIFT)
    found = epoch(stream, weights=weights, **sizes)
    assert found[1].shape == (-(-n // batch_size),)
    assert_same_epoch(found, by_hand(as_floats(X[:n]), Y[:n], weights=weights, **sizes))


def test_batches_in_parts(tmp_path):
    """The rows become numbers part by part."""
    stream = ffnn.Stream(mapped(tmp_path / "x", X[:22]), Y[:22], scale=SCALE, shift=SHIFT)
    assert_same_epoch(epoch(stream, accumulate=2), epoch(stream))


def test_distributions():
    y = DRAW.dirichlet(np.ones(3), 16).astype(np.float32)
    found = epoch(ffnn.Stream(as_floats(X[:16]), y))
    assert_same_epoch(found, by_hand(as_floats(X[:16]), y, **SIZES))


def test_a_loss_of_ones_own_with_a_tree_for_y(tmp_path):
    def between(yhat, y):
        return jnp.sum(jnp.maximum(0, jnp.abs(yhat - y["middle"]) - y["width"][:, None]), axis=-1)

    net = ffnn.Network((4, 5, 3), activation="tanh", loss=ffnn.Loss("between", between))
    middle, width = (DRAW.random(s).astype(np.float32) for s in ((16, 3), 16))
    y = {"middle": mapped(tmp_path / "m", middle), "width": width}
    found = epoch(ffnn.Stream(as_floats(X[:16]), y), net=net)
    assert_same_epoch(found, by_hand(as_floats(X[:16]), y, net=net, **SIZES))


def test_an_objective_sees_the_numbers():
    def mean_of_x(net, params, x, y, *, weights=None):
        return jnp.mean(x) + 0 * ffnn.loss(net, params, x, y, weights=weights)

    stream = ffnn.Stream(X[:16], Y[:16], scale=SCALE, shift=SHIFT)
    _, losses = epoch(stream, objective=mean_of_x)
    np.testing.assert_allclose(np.mean(losses), np.mean(as_floats(X[:16])), rtol=1e-5)


def test_scale_and_shift_for_each_input():
    scale, shift = np.linspace(0.01, 0.02, 4), np.linspace(-1, 1, 4)
    found = epoch(ffnn.Stream(X[:16], Y[:16], scale=scale, shift=shift))
    floats = (X[:16] * scale + shift).astype(np.float32)
    assert_same_epoch(found, epoch(ffnn.Stream(floats, Y[:16])))


def test_same_key_same_epoch_and_the_next_one_in_another_order(stream):
    first = epoch(stream)
    leaves_equal(epoch(stream), first)
    second = epoch(stream, state=STATE._replace(key=first[0].key))
    assert not np.allclose(first[1][0], second[1][0], rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "x_dtype"), [("float64", "uint8"), ("bfloat16", "uint8"), ("float16", "uint16")]
)
def test_other_dtypes_of_parameters(dtype, x_dtype):
    """65535 is no float16, but 65535/65535 is: x is scaled before it is rounded."""
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda t: np.asarray(t).astype(jnp.dtype(dtype)), STATE.params)
        state = ffnn.init_state(NET, SGD, KEY, params=params)
        largest, weights = np.iinfo(x_dtype).max, np.linspace(0.5, 2, N)
        x = X.astype(x_dtype) * (largest // 255)
        stream = ffnn.Stream(x, Y, scale=1 / largest)
        after, losses = epoch(stream, state=state, weights=weights, batch_size=N)
        exact = jax.jit(ffnn.loss)(NET, state.params, X / np.float64(255), Y, weights=weights)
        assert after.params[0].W.dtype == losses.dtype == dtype
        rtol = {"float64": 1e-13, "bfloat16": 2e-2, "float16": 2e-3}[dtype]
        np.testing.assert_allclose(losses.astype(float), [float(exact)], rtol=rtol)


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "sent"),
    [
        ("uint8", "uint8"),
        (">i2", "int16"),
        ("float16", "float16"),
        (">f4", "float32"),
        ("int64", "float32"),  # which JAX does not hold: it would be cut down to int32
        (">f8", "float32"),
    ],
)
def test_every_dtype_of_a_file(tmp_path, dtype, sent):
    x = mapped(tmp_path / "x", X.astype(dtype), offset=16)
    arrays = streaming._rows_of(ffnn.Stream(x, Y.astype(">u4")))
    on_device = streaming._read(NET, arrays, None, np.float32, 10, 30)
    assert on_device[0].dtype == sent
    np.testing.assert_array_equal(on_device[0], X[10:30])
    np.testing.assert_array_equal(on_device[1], Y[10:30])


@pytest.mark.parametrize(
    "part",
    [
        lambda x: x[7:57],
        lambda x: np.asarray(x)[7:57],
        lambda x: x[5:][2:52].view(np.ndarray)[:],
        lambda x: np.array(x[7:57]),
        lambda x: (x + 0)[7:57],
        lambda x: x.reshape(-1)[28:228].reshape(50, 4),
    ],
    ids=["slice", "as an array", "slices", "copy", "result", "reshaped"],
)
@pytest.mark.parametrize("offset", [0, 3, 5000])
def test_parts_of_a_memmap(tmp_path, part, offset):
    around = np.concatenate([X[:7] + 1, X, X[:3] + 1])
    stream = ffnn.Stream(part(mapped(tmp_path / "x", around, offset=offset)), Y)
    assert_first_block(stream, ffnn.Stream(X, Y))


def test_npy(tmp_path):
    np.save(tmp_path / "x.npy", X)
    stream = ffnn.Stream(np.load(tmp_path / "x.npy", mmap_mode="r"), Y)
    assert_first_block(stream, ffnn.Stream(X, Y))


def test_what_was_written_to_a_memmap_is_read(tmp_path):
    x = mapped(tmp_path / "x", np.zeros_like(X), mode="r+")
    x[:] = X
    assert_first_block(ffnn.Stream(x, Y), ffnn.Stream(X, Y))


def assert_first_block(stream, expected):
    one, other = (next(ffnn.stream_blocks(NET, SGD, STATE, s, **SIZES)) for s in (stream, expected))
    leaves_equal(one, other)


# Blocks, and going on ----------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_stopped_after_a_block_and_gone_on_bit_for_bit(stream, stop):
    """Of the first run only what was saved is left, as bytes."""
    whole = epoch(stream)
    losses = []
    for block in ffnn.stream_blocks(NET, SGD, STATE, stream, **SIZES):
        losses.append(block.losses)
        if block.next_block == stop:
            break
    saved = pickle.dumps((jax.tree.map(as_numbers, block.state), block.next_block))
    state, start = pickle.loads(saved)
    state = state._replace(key=jax.random.wrap_key_data(state.key))
    after, rest = epoch(stream, state=state, start_block=start)
    leaves_equal((after, np.concatenate([*losses, rest])), whole)


@pytest.mark.optimized
def test_two_epochs_by_blocks(stream):
    """After the last block comes block 0 of the next epoch."""
    state, position, positions = STATE, 0, []
    for _ in range(8):
        block = next(ffnn.stream_blocks(NET, SGD, state, stream, start_block=position, **SIZES))
        state, position = block.state, block.next_block
        positions.append(position)
    assert positions == [1, 2, 3, 0] * 2
    leaves_equal(state, epoch(stream, state=epoch(stream)[0])[0])


def test_one_block_is_read_ahead_and_no_more(monkeypatch):
    """While a block is trained on the next is read, once the block before is done with."""
    events = []

    def read(number):
        events.append("read")

    def train(state, rows_key, number, data):
        events.append("train")
        return state, jnp.zeros(2)

    monkeypatch.setattr(jax, "block_until_ready", lambda done: events.extend("wait" for _ in done))
    for _ in streaming._blocks(read, train, STATE, 4, 0):
        events.append("yield")
    first, middle, last = "read train read yield", "train wait read yield", "train wait yield"
    assert events == f"{first} {middle} {middle} {last}".split()


def test_compiled_once_and_once_more_for_the_short_block(stream):
    optimizer, before = optax.sgd(0.05), streaming._train_block._cache_size()
    state = STATE
    for _ in range(3):
        state, _ = ffnn.stream_epoch(NET, optimizer, state, stream, **SIZES)
    assert streaming._train_block._cache_size() == before + 2


# Files that fail ---------------------------------------------------------------------------------


def test_a_file_that_shrinks_while_it_is_read(stream):
    """The mapped pages are gone: to touch one of them would end this process."""
    whole, path = epoch(stream), stream.x.filename
    blocks = ffnn.stream_blocks(NET, SGD, STATE, stream, **SIZES)
    losses = [next(blocks).losses]
    os.truncate(path, 30)
    with pytest.raises(ffnn.StreamError) as caught:
        next(blocks)
    error = caught.value
    expected = r"x: expected 50 rows of 4 bytes in /.*/x, found 7: .* after 2 of 4 blocks is in"
    assert re.match(expected, str(error))
    assert error.next_block == 2
    np.testing.assert_array_equal(error.losses, whole[1][: len(error.losses)])
    with open(path, "wb") as file:
        file.write(X.tobytes())
    after, rest = epoch(stream, state=error.state, start_block=error.next_block)
    leaves_equal((after, np.concatenate([error.losses, rest])), whole)
    assert len(losses[0]) < len(error.losses)


def test_a_file_that_ends_in_the_middle_of_a_read(stream, monkeypatch):
    """Its length was still right when it was looked at."""
    monkeypatch.setattr(rows.os, "fstat", lambda _: os.stat_result([0] * 6 + [10**6] + [0] * 3))
    os.truncate(stream.x.filename, 103)
    with pytest.raises(ffnn.StreamError, match=r"x: expected 50 rows .* found 25: "):
        epoch(stream)


def test_a_file_that_is_gone(stream):
    os.remove(stream.y.filename)
    with pytest.raises(ffnn.StreamError, match=r"No such file .*after 0 of 4 blocks") as caught:
        epoch(stream)
    leaves_equal(caught.value.state, STATE)
    assert caught.value.losses.shape == (0,)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_class_that_is_none_in_a_file(tmp_path):
    y = Y.copy()
    y[20] = 3
    stream = ffnn.Stream(X, mapped(tmp_path / "y", y), scale=SCALE, shift=SHIFT)
    with pytest.raises(ffnn.StreamError, match="y: expected classes from 0 to 2, got") as caught:
        epoch(stream)
    good = epoch(ffnn.Stream(X, Y, scale=SCALE, shift=SHIFT))
    done = caught.value.losses
    np.testing.assert_array_equal(done, good[1][: len(done)])


def test_the_error_can_be_sent_to_another_process(stream):
    os.remove(stream.x.filename)
    state = STATE._replace(key=jax.random.PRNGKey(0))
    with pytest.raises(ffnn.StreamError) as caught:
        epoch(stream, state=state)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    leaves_equal(copy.args[1:], caught.value.args[1:])


# Bad input ---------------------------------------------------------------------------------------


def test_nan_is_seen_in_the_losses():
    x = as_floats(X)
    x[20] = np.nan
    assert not np.isfinite(epoch(ffnn.Stream(x, Y))[1][-1])


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        (X[0], Y, {}, ValueError, r"x: expected shape \(N, n_0\), .* got \(4,\)"),
        (X[:0], Y[:0], {}, ValueError, r"x: expected shape .* got \(0, 4\)"),
        (X.astype(object), Y, {}, TypeError, "x: expected an array of numbers, got dtype object"),
        (X > 9, Y, {}, TypeError, "x: expected integers or floats of at most 64 bits, got bool"),
        (X * 1j, Y, {}, TypeError, "x: expected integers or floats .* got complex"),
        (X.astype(np.longdouble), Y, {}, TypeError, "x: expected integers or floats .* got float"),
        (jnp.asarray(X), Y, {}, TypeError, "x: expected a NumPy array, got jax"),
        (X.tolist(), Y, {}, TypeError, "x: expected a NumPy array, got a list of 50"),
        (X, Y[:49], {}, ValueError, r"y: expected 50 examples to go with x, got shape \(49,\)"),
        (X, np.zeros((N, 0)), {}, ValueError, r"y: expected 50 examples .* \(50, 0\)"),
        (X, {"a": Y, "b": Y[:3]}, {}, ValueError, r"y: expected 50 examples .* \(3,\)"),
        (X, Y.tolist(), {}, TypeError, "y: expected a NumPy array, got builtins.int"),
        (X, Y.astype(object), {}, TypeError, "y: expected an array of numbers, got dtype object"),
        (X, Y, {"scale": "1"}, TypeError, "scale: expected an array, got builtins.str"),
        (X, Y, {"scale": 1j * X[0]}, TypeError, "scale: expected real numbers, got complex"),
        (X, Y, {"scale": X[0, :3]}, ValueError, r"scale: .* shape \(4,\), got \(3,\)"),
        (X, Y, {"shift": np.inf}, ValueError, "shift: expected finite numbers, got inf"),
    ],
)
def test_streams_that_are_refused(x, y, options, error, message):
    with pytest.raises(error, match=message):
        ffnn.Stream(x, y, **options)


def test_memmaps_that_are_refused(tmp_path):
    x = mapped(tmp_path / "x", np.ones((2 * N, 8), np.uint8))
    for part in (x[::2, :4], x[:N, :4], x[:N].T[:N]):
        with pytest.raises(ValueError, match=r"x: expected a memmap whose rows lie one after"):
            ffnn.Stream(part, Y[: len(part)])
    with pytest.raises(ValueError, match=r"x: expected a memmap of mode 'r', .* got 'c'"):
        ffnn.Stream(mapped(tmp_path / "c", X, mode="c"), Y)
    with open(os.open(tmp_path / "x", os.O_RDONLY), "rb") as file:
        nameless = np.memmap(file, np.uint8, "r", 0, (N, 4))
    with pytest.raises(ValueError, match="x: expected a memmap of a file with a name"):
        ffnn.Stream(nameless, Y)


GOOD = ffnn.Stream(X, Y)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"stream": (X, Y)}, TypeError, "stream: expected a Stream, got a tuple of 2"),
        ({"stream": ffnn.Stream(X[:, :3], Y)}, ValueError, r"x: expected .* 4\), got \(50, 3\)"),
        ({"stream": ffnn.Stream(X, Y + 1)}, ValueError, "y: expected classes from 0 to 2, got"),
        ({"stream": ffnn.Stream(X, Y / 2)}, ValueError, r"y: expected shape \(50, 3\) or"),
        ({"stream": ffnn.Stream(X, None)}, TypeError, "y: expected an array, got"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 51}, ValueError, "batch_size: expected at most the number of examples, 50"),
        ({"block": 0}, ValueError, "block: expected at least 1, got 0"),
        ({"block": 2.0}, TypeError, "block: expected an int, got 2.0"),
        ({"start_block": -1}, ValueError, "start_block: expected at least 0, got -1"),
        ({"start_block": 4}, ValueError, "start_block: expected at most 3, got 4"),
        ({"start_block": True}, TypeError, "start_block: expected an int, got True"),
        ({"weights": np.ones(49)}, ValueError, r"weights: expected shape \(50,\)"),
        ({"weights": np.float32(1)}, ValueError, r"weights: expected shape \(50,\)"),
        ({"weights": -np.ones(N)}, ValueError, "weights: expected finite and none negative"),
        ({"state": STATE.params}, TypeError, "state: expected a TrainState, got tuple"),
        ({"objective": 3}, TypeError, "objective: expected a function"),
    ],
)
def test_arguments_that_are_refused(changes, error, message):
    """Before the first block is asked for."""
    arguments = {"stream": GOOD, "state": STATE, **SIZES, **changes}
    with pytest.raises(error, match=message):
        ffnn.stream_blocks(NET, SGD, arguments.pop("state"), arguments.pop("stream"), **arguments)


def test_a_stream_where_arrays_are_expected():
    with pytest.raises(TypeError, match=r"x: expected an array, got ffnn_jax.streaming.Stream"):
        ffnn.train_epoch(NET, SGD, STATE, GOOD, Y, batch_size=8)
    with pytest.raises(TypeError, match=r"data: expected \(x, y\), got ffnn_jax.streaming.Stream"):
        ffnn.fit(NET, GOOD, key=KEY, optimizer=SGD, batch_size=8, epochs=1)


def test_not_inside_a_transformation():
    with pytest.raises(TypeError, match="stream: expected a state with values"):
        jax.jit(lambda state: epoch(GOOD, state=state))(STATE)
