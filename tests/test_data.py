"""data.py: the bundled sets, the IDX reader against files that lie, scaling and splits."""

import builtins
import gzip
import pathlib
import struct
import tempfile
import tracemalloc

import hypothesis
import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from ffnn_jax import data, idx
from ffnn_jax.data import split, standardize
from ffnn_jax.idx import read_idx
from ffnn_jax.tabular.sources import read_source
from ffnn_jax.tabular.tables import TableError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
PACKINGS = {"plain": bytes, "gzip": lambda raw: gzip.compress(raw, compresslevel=1)}
PATIENT = hypothesis.settings(max_examples=150, deadline=None, derandomize=True)


def header(*sizes, code=0x08, zeros=(0, 0), ndim=None):
    count = len(sizes) if ndim is None else ndim
    return bytes([*zeros, code, count]) + struct.pack(f">{len(sizes)}I", *sizes)


def idx_bytes(values):
    """The format written down once more, independently of the reader."""
    kind = values.dtype.newbyteorder("=").str[1:]
    return header(*values.shape, code=CODES[kind]) + values.astype(">" + kind).tobytes()


@pytest.fixture(params=list(PACKINGS))
def write(request, tmp_path):
    """Writes bytes, plain or compressed, to a file whose name says nothing of it."""

    def write_file(raw):
        path = tmp_path / "some-file"
        path.write_bytes(PACKINGS[request.param](raw))
        return path

    return write_file


def read_bytes(raw, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file")
        path.write_bytes(raw)
        return read_idx(path, **options)


def array_or_refusal(raw, **options):
    """What came of it, where a ValueError is an answer and any other error a failed test."""
    try:
        return read_bytes(raw, **options)
    except ValueError as error:
        return error


# The bundled sets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "x_shape", "y_shape", "y_dtype"),
    [
        ("digits", (1797, 64), (1797,), np.int32),
        ("iris", (150, 4), (150,), np.int32),
        ("wine", (178, 13), (178,), np.int32),
        ("breast_cancer", (569, 30), (569,), np.int32),
        ("diabetes", (442, 10), (442, 1), np.float32),
        ("linnerud", (20, 3), (20, 3), np.float32),
    ],
)
def test_bundled_shape_and_dtype(name, x_shape, y_shape, y_dtype):
    x, y = getattr(data, f"load_{name}")()
    assert type(x) is np.ndarray
    assert type(y) is np.ndarray
    assert (x.shape, x.dtype) == (x_shape, np.float32)
    assert (y.shape, y.dtype) == (y_shape, y_dtype)
    assert np.isfinite(x).all()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("digits", [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
        ("iris", [50, 50, 50]),
        ("wine", [59, 71, 48]),
        ("breast_cancer", [212, 357]),
    ],
)
def test_bundled_classes(name, counts):
    assert np.bincount(getattr(data, f"load_{name}")()[1]).tolist() == counts


def test_digits_lie_between_0_and_1():
    x, _ = data.load_digits()
    assert np.array_equal(np.unique(x), np.arange(17, dtype=np.float32) / 16)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("iris", [5.1, 3.5, 1.4, 0.2]),
        ("wine", [14.23, 1.71, 2.43]),
        ("breast_cancer", [17.99, 10.38, 122.8]),
        ("diabetes", [59, 2, 32.1, 101]),
        ("linnerud", [5, 162, 60]),
    ],
)
def test_the_others_are_raw(name, first):
    x, _ = getattr(data, f"load_{name}")()
    np.testing.assert_array_equal(x[0, : len(first)], np.float32(first))


def test_quantities_are_raw():
    assert data.load_diabetes()[1][:2].tolist() == [[151.0], [75.0]]
    assert data.load_linnerud()[1][0].tolist() == [191.0, 36.0, 50.0]


def test_bundled_sets_are_fresh_copies():
    x, y = data.load_iris()
    x[:], y[:] = -1, -1
    assert data.load_iris()[0].min() > 0
    assert data.load_iris()[1].min() == 0


@pytest.mark.parametrize("name", list(data.BUNDLED))
def test_without_scikit_learn_the_error_says_what_to_install(name, monkeypatch):
    real_import = builtins.__import__

    def without_sklearn(module, *args, **options):
        if module.split(".")[0] == "sklearn":
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
        return real_import(module, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_sklearn)
    with pytest.raises(ModuleNotFoundError, match=rf"load_{name}: .*scikit-learn") as caught:
        getattr(data, f"load_{name}")()
    assert caught.value.name == "sklearn"


# IDX: what is right -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(1,), (6,), (2, 3), (2, 3, 4), (1, 2, 1, 2, 1, 2, 1, 2)])
def test_idx_round_trip(write, kind, shape):
    rng = np.random.default_rng(0)
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    values = np.frombuffer(rng.bytes(size), kind).reshape(shape)
    result = read_idx(write(idx_bytes(values)))
    assert (result.shape, result.dtype) == (shape, np.dtype(kind))
    assert result.dtype.isnative
    assert result.tobytes() == values.tobytes()


def test_idx_known_bytes(write):
    """Big-endian by hand, not by the writer above: 258 = 0x0102, −2 = 0xFFFE, 1.5 = 0x3FC00000."""
    assert read_idx(write(bytes.fromhex("00000B01 00000002 0102 FFFE"))).tolist() == [258, -2]
    assert read_idx(write(bytes.fromhex("00000D01 00000001 3FC00000"))).tolist() == [1.5]
    matrix = read_idx(write(bytes.fromhex("00000802 00000002 00000003 010203040506")))
    assert matrix.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("kind", CODES)
def test_idx_result_is_the_callers_own(write, kind):
    result = read_idx(write(idx_bytes(np.ones((2, 3), kind))))
    assert result.flags.owndata
    assert result.flags.writeable
    assert result.flags.c_contiguous
    result[0, 0] = 7
    assert result.tolist() == [[7, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0), (0, 0)])
def test_idx_size_0_is_an_empty_array(write, shape):
    result = read_idx(write(header(*shape, code=0x0D)))
    assert (result.shape, result.dtype) == (shape, np.float32)


def test_idx_longer_than_a_chunk(write):
    values = np.arange(idx.CHUNK + 5, dtype=np.int32)
    np.testing.assert_array_equal(read_idx(write(idx_bytes(values))), values)


def test_idx_gzip_of_several_members(tmp_path):
    raw = idx_bytes(np.arange(100, dtype=np.uint8))
    path = tmp_path / "members"
    path.write_bytes(gzip.compress(raw[:6]) + gzip.compress(raw[6:50]) + gzip.compress(raw[50:]))
    assert read_idx(path).tolist() == list(range(100))


@pytest.mark.parametrize("convert", [str, pathlib.Path, lambda path: str(path).encode()])
def test_idx_path_types(write, convert):
    assert read_idx(convert(write(header(1) + b"\x05"))).tolist() == [5]


def test_idx_max_bytes_is_the_last_length_allowed(write):
    path = write(idx_bytes(np.ones((5, 2), np.int16)))
    assert read_idx(path, max_bytes=20).shape == (5, 2)
    with pytest.raises(ValueError, match="20 bytes; max_bytes allows 19"):
        read_idx(path, max_bytes=19)


# IDX: what is wrong -------------------------------------------------------------------------------


def test_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


def test_idx_folder(tmp_path):
    with pytest.raises(OSError, match=tmp_path.name):
        read_idx(tmp_path)


@pytest.mark.parametrize("path", [0, None, 1.5, [b"x"]])
def test_idx_path_is_no_path(path):
    with pytest.raises(TypeError, match=r"path: expected a str or os\.PathLike, got"):
        read_idx(path)


@pytest.mark.parametrize(
    ("max_bytes", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_idx_max_bytes_is_a_positive_int(write, max_bytes, error):
    with pytest.raises(error, match="max_bytes: expected"):
        read_idx(write(header(1) + b"\x05"), max_bytes=max_bytes)


@pytest.mark.parametrize("zeros", [(1, 0), (0, 1), (255, 255), (0x1F, 0x8C)])
def test_idx_magic(write, zeros):
    with pytest.raises(ValueError, match=f"to begin with 0 0, got {zeros[0]} {zeros[1]}"):
        read_idx(write(header(1, zeros=zeros) + b"\x05"))


@pytest.mark.parametrize("code", [0x00, 0x07, 0x0A, 0x0F, 0x80, 0xFF])
def test_idx_dtype_unknown(tmp_path, code):
    path = tmp_path / "file"
    path.write_bytes(header(1, code=code) + bytes(8))
    with pytest.raises(ValueError, match=rf"dtype 0x{code:02X} is not one of 0x08 \(uint8\), "):
        read_idx(path)


@pytest.mark.parametrize("ndim", [0, 9, 255])
def test_idx_number_of_sizes(write, ndim):
    with pytest.raises(ValueError, match=f"1 to 8 sizes, the header declares {ndim}"):
        read_idx(write(header(*[1] * ndim) + b"\x05"))


@pytest.mark.parametrize("length", range(16))
def test_idx_truncated_header(write, length):
    path = write(header(2, 2, 2)[:length])
    held, wanted = (length, 4) if length < 4 else (length - 4, 12)
    with pytest.raises(
        ValueError, match=f"truncated: {held} bytes where the header takes {wanted}"
    ):
        read_idx(path)


@pytest.mark.parametrize("held", range(12))
def test_idx_truncated_values(write, held):
    raw = idx_bytes(np.ones((2, 3), np.int16))
    with pytest.raises(ValueError, match=f"some-file: truncated: declares 12 bytes, holds {held}$"):
        read_idx(write(raw[: 12 + held]))


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 100, b"\x1f\x8b"])
def test_idx_trailing_bytes(write, extra):
    with pytest.raises(ValueError, match="trailing bytes after the 12 that it declares"):
        read_idx(write(idx_bytes(np.ones((2, 3), np.int16)) + extra))


def test_idx_trailing_bytes_after_an_empty_array(write):
    with pytest.raises(ValueError, match="trailing bytes after the 0"):
        read_idx(write(header(0, 4) + b"\0"))


@pytest.mark.parametrize(
    "sizes",
    [
        (2**31, 2**31),
        (2**32 - 1,) * 8,
        (2**16, 2**16, 2**16, 2**16),  # the product is 0 in 64 bits
        (2**31, 2, 0, 2**31),  # 0 in all, and still nothing NumPy could make
        (2**30 + 1,),
    ],
)
def test_idx_huge_declaration_costs_nothing(write, sizes):
    path = write(header(*sizes) + bytes(64))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"max_bytes allows 1073741824$"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_idx_itemsize_counts_for_the_cap(write):
    with pytest.raises(ValueError, match="max_bytes allows"):
        read_idx(write(header(2**30 // 8 + 1, code=0x0E) + bytes(64)))


def test_idx_gzip_bomb_is_not_inflated(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(header(10) + bytes(1 << 26), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="trailing bytes after the 10 that it declares"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 22  # of the 64 MiB in it


def packed():
    """A compressed file; incompressible, so every byte of it counts."""
    values = np.frombuffer(np.random.default_rng(0).bytes(300), np.uint8)
    return gzip.compress(idx_bytes(values), mtime=0)


@pytest.mark.parametrize("length", [2, 3, 9, 10, 11, 100, -9, -8, -5, -4, -1])
def test_idx_gzip_cut_off(tmp_path, length):
    path = tmp_path / "cut-off"
    path.write_bytes(packed()[:length])
    with pytest.raises(ValueError, match="cut-off: corrupt gzip"):
        read_idx(path)


@pytest.mark.parametrize("position", [2, 10, -8, -5, -4, -1])
def test_idx_gzip_damaged(tmp_path, position):
    """Method, first block, checksum and length."""
    raw = bytearray(packed())
    raw[position] ^= 0xFF
    path = tmp_path / "damaged"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged: corrupt gzip"):
        read_idx(path)


def test_idx_gzip_with_something_after_it(tmp_path):
    path = tmp_path / "tail"
    path.write_bytes(packed() + b"more")
    with pytest.raises(ValueError, match="tail: corrupt gzip"):
        read_idx(path)


@PATIENT
@hypothesis.given(
    values=st.sampled_from(sorted(CODES)).flatmap(
        lambda kind: arrays_of.arrays(
            kind, arrays_of.array_shapes(min_dims=1, max_dims=8, min_side=0)
        )
    ),
    packing=st.sampled_from(sorted(PACKINGS)),
)
def test_idx_round_trip_of_anything(values, packing):
    result = read_bytes(PACKINGS[packing](idx_bytes(values)))
    assert (result.shape, result.dtype) == (values.shape, values.dtype)
    assert result.tobytes() == values.tobytes()


NEARLY_A_FILE = st.builds(
    lambda code, sizes, body: header(*sizes, code=code) + body,
    st.sampled_from(sorted(CODES.values())),
    st.lists(st.integers(0, 5) | st.integers(0, 2**32 - 1), max_size=9),
    st.binary(max_size=64),
)
GARBAGE = st.binary(max_size=200) | NEARLY_A_FILE


@PATIENT
@hypothesis.given(raw=GARBAGE | GARBAGE.map(gzip.compress) | GARBAGE.map(b"\x1f\x8b\x08".__add__))
def test_idx_garbage_raises_value_error_or_is_right(raw):
    result = array_or_refusal(raw, max_bytes=1 << 20)
    if isinstance(result, ValueError):
        assert str(result).startswith("path: ")  # ours, not one from inside NumPy
    else:
        inflated = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        assert idx_bytes(result) == inflated


@PATIENT
@hypothesis.given(position=st.integers(0, len(packed()) - 1), flip=st.integers(1, 255))
def test_idx_damaged_byte_is_noticed_or_harmless(position, flip):
    raw = bytearray(packed())
    raw[position] ^= flip
    result = array_or_refusal(bytes(raw))
    if isinstance(result, ValueError):
        assert str(result).startswith("path: ")
    else:
        assert idx_bytes(result) == gzip.decompress(packed())  # time stamp, system, flags


# standardize --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6), (np.float16, 1e-3)]
)
def test_standardize_mean_and_deviation(dtype, tolerance):
    train = np.random.default_rng(0).normal(3, [1, 5, 0.1], (200, 3)).astype(dtype)
    (scaled,) = standardize(train)
    assert (scaled.shape, scaled.dtype) == (train.shape, dtype)
    wide = scaled.astype(np.float64)
    np.testing.assert_allclose(wide.mean(axis=0), 0, atol=tolerance)
    np.testing.assert_allclose(wide.std(axis=0), 1, atol=tolerance)


def test_standardize_formula_by_hand():
    train, other = standardize(np.array([[0.0], [0.0], [3.0]]), np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(train[:, 0], np.array([-1, -1, 2]) / np.sqrt(2), rtol=1e-15)
    np.testing.assert_allclose(other[:, 0], np.array([0, 1]) / np.sqrt(2), rtol=1e-15)


def test_standardize_others_by_the_figures_of_train():
    rng = np.random.default_rng(0)
    train, near, far = (
        rng.normal(2, 3, (50, 2)),
        rng.normal(2, 3, (7, 2)),
        rng.normal(90, 1, (5, 2)),
    )
    scaled = standardize(train, near, far)
    assert len(scaled) == 3
    for x, result in zip((train, near, far), scaled, strict=True):
        np.testing.assert_allclose(result, (x - train.mean(0)) / train.std(0), rtol=1e-12)


def test_standardize_keeps_each_dtype_and_the_arguments():
    train, other = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float64)
    before = train.copy(), other.copy()
    scaled = standardize(train, other, np.zeros((0, 3), np.float16))
    assert [x.dtype for x in scaled] == [np.float32, np.float64, np.float16]
    assert scaled[2].shape == (0, 3)
    np.testing.assert_array_equal(train, before[0])
    np.testing.assert_array_equal(other, before[1])


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 1e-40])
@pytest.mark.parametrize("rows", [1, 3, 10])
def test_standardize_constant_column_is_only_centred(value, rows):
    """The mean of ten times 0.1 need not be 0.1: rounding is no deviation."""
    train, other = standardize(np.full((rows, 1), value), np.array([[value], [value + 2]]))
    assert (train == 0).all()
    assert other[:, 0].tolist() == [0, value + 2 - value]


def test_standardize_deviation_too_small_for_a_float():
    (scaled,) = standardize(np.array([[0.0], [1e-200]]))
    assert np.isfinite(scaled).all()


def test_standardize_far_from_zero():
    """In float32 the mean itself would be off by up to 4."""
    train = (1e8 + 8 * np.arange(64)).astype(np.float32)[:, None]
    (scaled,) = standardize(train)
    expected = (np.arange(64) - 31.5) / np.arange(64).std()
    np.testing.assert_allclose(scaled[:, 0], expected, rtol=1e-6)


def test_standardize_what_is_not_finite_in_others_stays_so():
    _, other = standardize(np.eye(3), np.array([[np.nan, np.inf, -np.inf]]))
    np.testing.assert_array_equal(other, [[np.nan, np.inf, -np.inf]])


def test_standardize_takes_jax_arrays():
    (scaled,) = standardize(jnp.eye(3))
    assert type(scaled) is np.ndarray


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_standardize_train_not_finite(bad):
    train = np.eye(3)
    train[1, 2] = bad
    with pytest.raises(ValueError, match=r"train: expected finite numbers, got .* at \[1, 2\]"):
        standardize(train)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_standardize_axes(shape):
    with pytest.raises(ValueError, match=r"train: expected shape \(N, "):
        standardize(np.ones(shape))


def test_standardize_no_rows():
    with pytest.raises(ValueError, match=r"train: expected at least one row, got shape \(0, 3\)"):
        standardize(np.ones((0, 3)))


def test_standardize_columns_of_others():
    with pytest.raises(ValueError, match=r"others\[1\]: expected shape \(N, 3\), got \(3, 4\)"):
        standardize(np.eye(3), np.eye(3), np.ones((3, 4)))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.complex64, object, jnp.bfloat16])
@pytest.mark.parametrize("argument", ["train", r"others\[0\]"])
def test_standardize_dtype(dtype, argument):
    bad = np.eye(3).astype(dtype)
    arguments = (bad,) if argument == "train" else (np.eye(3), bad)
    with pytest.raises(TypeError, match=f"{argument}: expected float16, float32 or float64, got"):
        standardize(*arguments)


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], 1.0, None, "x"])
def test_standardize_is_for_arrays(bad):
    with pytest.raises(TypeError, match="train: expected an array, got"):
        standardize(bad)


FLOATS = st.floats(-1e6, 1e6, width=32)


@PATIENT
@hypothesis.given(
    train=arrays_of.arrays(
        np.float64, st.tuples(st.integers(1, 9), st.integers(0, 4)), elements=FLOATS
    )
)
def test_standardize_is_finite_and_undone(train):
    (scaled,) = standardize(train)
    assert np.isfinite(scaled).all()
    constant = (train == train[:1]).all(axis=0)
    assert (scaled[:, constant] == 0).all()
    spread = np.where(train.std(axis=0) == 0, 1, train.std(axis=0))
    scale = np.abs(train).max(initial=1)
    np.testing.assert_allclose(scaled * spread + train.mean(axis=0), train, atol=1e-12 * scale)


# split --------------------------------------------------------------------------------------------


def numbered(rows):
    return np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), np.arange(rows, dtype=np.int32)


@PATIENT
@hypothesis.given(
    rows=st.integers(2, 60),
    fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
    seed=st.integers(0, 2**70),
)
def test_split_every_row_once_and_still_paired(rows, fraction, seed):
    x, y = numbered(rows)
    (x_train, y_train), (x_held_out, y_held_out) = split(x, y, fraction=fraction, seed=seed)
    assert sorted([*y_train, *y_held_out]) == list(range(rows))
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_held_out, x[y_held_out])
    assert len(y_held_out) == min(max(round(fraction * rows), 1), rows - 1)
    assert len(y_train) >= 1


@pytest.mark.parametrize(
    ("rows", "fraction", "count"),
    [(10, 0.3, 3), (150, 0.2, 30), (10, 1e-300, 1), (10, 0.999, 9), (2, 0.01, 1), (2, 0.99, 1)],
)
def test_split_count(rows, fraction, count):
    assert len(split(*numbered(rows), fraction=fraction, seed=0)[1][1]) == count


def test_split_same_seed_same_split():
    first, again, other = (
        split(*numbered(50), fraction=0.5, seed=seed)[1][1].tolist() for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
    assert first != sorted(first)  # shuffled


def test_split_keeps_shape_and_dtype_and_copies():
    x, y = np.zeros((6, 2, 3), np.uint8), np.zeros((6, 4), np.float64)
    train, held_out = split(x, y, fraction=0.5, seed=0)
    for part in (train, held_out):
        assert (part[0].shape, part[0].dtype) == ((3, 2, 3), np.uint8)
        assert (part[1].shape, part[1].dtype) == ((3, 4), np.float64)
        part[0][:] = 1
        part[1][:] = 1
    assert not x.any()
    assert not y.any()


def test_split_takes_jax_arrays_and_numpy_scalars():
    x, y = numbered(10)
    options = {"fraction": np.float32(0.5), "seed": np.int64(1)}
    (x_train, _), _ = split(jnp.asarray(x), jnp.asarray(y), **options)
    assert type(x_train) is np.ndarray
    assert len(x_train) == 5


@pytest.mark.parametrize(
    ("fraction", "error"),
    [
        (0, ValueError),
        (1, ValueError),
        (-0.1, ValueError),
        (1.5, ValueError),
        (np.nan, ValueError),
        (np.inf, ValueError),
        ("half", TypeError),
        (None, TypeError),
        (True, TypeError),
        ([0.5], TypeError),
        (0.5j, TypeError),
    ],
)
def test_split_fraction(fraction, error):
    with pytest.raises(error, match="fraction: expected a"):
        split(*numbered(10), fraction=fraction, seed=0)


@pytest.mark.parametrize(
    ("seed", "error"),
    [(-1, ValueError), (None, TypeError), (0.5, TypeError), ("0", TypeError), (True, TypeError)],
)
def test_split_seed(seed, error):
    with pytest.raises(error, match="seed: expected"):
        split(*numbered(10), fraction=0.5, seed=seed)


def test_split_lengths():
    with pytest.raises(ValueError, match="y: expected 10 rows to go with x, got 9"):
        split(numbered(10)[0], numbered(9)[1], fraction=0.5, seed=0)


@pytest.mark.parametrize("rows", [0, 1])
def test_split_too_few_rows(rows):
    with pytest.raises(ValueError, match=f"x: expected at least 2 rows to split, got {rows}"):
        split(*numbered(rows), fraction=0.5, seed=0)


@pytest.mark.parametrize(("x", "y", "argument"), [(1, 0, "x"), (0, 1, "y")])
def test_split_wants_rows(x, y, argument):
    pair = np.ones(4), np.float32(1)
    with pytest.raises(ValueError, match=rf"{argument}: expected shape \(N, ...\), got \(\)"):
        split(pair[x], pair[y], fraction=0.5, seed=0)


@pytest.mark.parametrize(
    ("x", "y", "argument"), [([1, 2], np.ones(2), "x"), (np.ones(2), (1, 2), "y")]
)
def test_split_is_for_arrays(x, y, argument):
    with pytest.raises(TypeError, match=f"{argument}: expected an array, got"):
        split(x, y, fraction=0.5, seed=0)


@PATIENT
@hypothesis.given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_split_by_class_keeps_shares(sizes, fraction, seed):
    hypothesis.assume(max(sizes) > 1)
    y = np.repeat(np.arange(len(sizes)) * 3 - 5, sizes)
    x = np.arange(len(y))
    parts = split(x, y, fraction=fraction, seed=seed, by="class")
    assert sorted(np.concatenate([rows for rows, _ in parts])) == list(range(len(y)))
    for rows, of_rows in parts:
        np.testing.assert_array_equal(of_rows, y[rows])
    held_out = np.array([np.sum(parts[1][1] == c) for c in np.unique(y)])
    sizes = np.array(sizes)
    assert np.all(held_out >= np.minimum(sizes - 1, 1))
    assert np.all(held_out <= sizes - 1)
    count = min(max(round(fraction * len(y)), 1), len(y) - 1)
    quota = sizes * count / len(y)
    if np.all((quota >= 1) & (quota <= sizes - 1)):
        assert held_out.sum() == count
        assert np.all(np.abs(held_out - quota) < 1)


def test_split_by_class_by_hand():
    """60 : 25 : 15, and 1 of one: 20 of 101 are 11.9, 4.95, 2.97, 0.2; the single one stays."""
    y = np.repeat([0, 1, 2, 7], [60, 25, 15, 1])
    (_, train), (_, held_out) = split(np.arange(101), y, fraction=0.2, seed=0, by="class")
    assert np.bincount(held_out).tolist() == [12, 5, 3]
    assert np.bincount(train).tolist() == [48, 20, 12, 0, 0, 0, 0, 1]
    assert train.tolist() != sorted(train)  # shuffled


def test_split_by_time_takes_the_last_in_order():
    x, y = numbered(10)
    (x_train, y_train), (x_held_out, y_held_out) = split(x, y, fraction=0.3, by="time")
    assert y_train.tolist() == list(range(7))
    assert y_held_out.tolist() == [7, 8, 9]
    np.testing.assert_array_equal(np.concatenate([x_train, x_held_out]), x)
    x_train[:] = 0
    assert x.any()


def test_split_by_row_is_what_it_was():
    (_, train), (_, held_out) = split(*numbered(10), fraction=0.3, seed=0)
    order = np.random.default_rng(0).permutation(10)
    assert [*held_out, *train] == order.tolist()
    again = split(*numbered(10), fraction=0.3, seed=0, by="row")
    np.testing.assert_array_equal(again[0][1], train)


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        (np.arange(4), {"by": "rows", "seed": 0}, ValueError, "by: 'rows' .*Did you mean 'row'"),
        (np.arange(4), {"by": "time", "seed": 0}, ValueError, "seed: expected None, for by='time'"),
        (np.ones(4), {"by": "class", "seed": 0}, TypeError, "y: expected integers, to split by"),
        (np.ones((4, 1), int), {"by": "class", "seed": 0}, ValueError, r"y: expected shape \(N,\)"),
        (np.arange(4), {"by": "class", "seed": 0}, ValueError, "a class with at least 2 examples"),
        (np.zeros(4, int), {"by": "class"}, TypeError, "seed: expected an int, got None"),
    ],
)
def test_split_by_bad_input(y, options, error, message):
    with pytest.raises(error, match=message):
        split(np.ones((4, 2)), y, fraction=0.5, **options)


def test_standardize_numbers_whose_squares_overflow():
    with pytest.raises(ValueError, match=r"train: expected numbers whose squares .* got 1e\+300"):
        standardize(np.array([[1e300], [-1e300], [0.0]]))


def test_masked_arrays_are_refused():
    masked = np.ma.masked_less(np.ones((4, 2)), 0)
    for call in (
        lambda: standardize(masked),
        lambda: split(masked, np.ones(4), fraction=0.5, seed=0),
    ):
        with pytest.raises(TypeError, match="expected an array, got MaskedArray"):
            call()


def test_a_folder_of_that_name_is_no_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").mkdir()
    assert len(read_source("iris").rows) == 150
    (tmp_path / "wine").write_text("no table")
    with pytest.raises(TableError, match=r"wine: expected \.csv"):
        read_source("wine")
