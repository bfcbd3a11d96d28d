"""Files that survive: what is written comes back equal, and what is damaged is never believed."""

import concurrent.futures
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import resource
import struct
import sys
import threading
import warnings
import zipfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import DTYPES, NETWORKS, examples, name_of

import ffnn_jax as ffnn
from ffnn_jax import checkpoint
from ffnn_jax.checkpoint import CheckpointError, Checkpoints, archive, atomic

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
NET = ffnn.Network((4, 6, 3), activation=("tanh",), output="softmax")
PARAMS = examples(NET).params
TREE = {
    "key": jax.random.key(3),
    "keys": jax.random.split(jax.random.key(4, impl="rbg"), 2),
    "old key": jax.random.PRNGKey(5),
    "layers": [ffnn.Layer(jnp.full((2, 3), 0.1, jnp.bfloat16), jnp.zeros(2, jnp.float16))],
    "numpy": (np.arange(6.0).reshape(2, 3).T, np.float32(0.1), np.zeros((0, 3), np.int8)),
    "numbers": [7, 0.1, True],
    "bools": jnp.array([True, False]),
    "weak": jnp.asarray(0.3),
    "nothing": None,
    "nan": np.array([np.nan, -0.0, np.inf]),
}


def same(one, other):
    """Equal bit for bit, in structure, kind, dtype and shape."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(a) is type(b)
        assert getattr(a, "weak_type", None) == getattr(b, "weak_type", None)
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(a) == jax.random.key_impl(b)
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


# One model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETWORKS[::3], ids=name_of)
def test_a_model_comes_back(net, tmp_path):
    params = examples(net).params
    checkpoint.save(tmp_path / "m.npz", net, params, metadata={"columns": ["ä", 1, None]})
    again, read = checkpoint.load(tmp_path / "m.npz")
    assert again == net
    same(read, params)
    assert checkpoint.load_metadata(tmp_path / "m.npz") == {"columns": ["ä", 1, None]}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_of_any_dtype_comes_back(dtype, tmp_path, x64):
    params = examples(NET, dtype=dtype).params
    checkpoint.save(tmp_path / "m.npz", NET, params)
    same(checkpoint.load(tmp_path / "m.npz")[1], params)


def test_float64_is_not_read_as_float32(tmp_path):
    params = jax.tree.map(lambda t: np.asarray(t, np.float64), PARAMS)
    checkpoint.save(tmp_path / "m.npz", NET, params)
    with pytest.raises(TypeError, match="params: float64 needs 64-bit types"):
        checkpoint.load(tmp_path / "m.npz")


def test_numpy_reads_it(tmp_path):
    checkpoint.save(tmp_path / "m.npz", NET, PARAMS)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert file.files == ["manifest.json", "W_1", "b_1", "W_2", "b_2"]
        np.testing.assert_array_equal(file["W_2"], PARAMS[1].W)
        assert json.loads(file["manifest.json"])["leaves"][0]["shape"] == [6, 4]


def test_the_same_model_is_the_same_file(tmp_path):
    for name in "ab":
        checkpoint.save(tmp_path / name, NET, PARAMS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_plan_is_not_part_of_it(tmp_path):
    checkpoint.save(tmp_path / "m", ffnn.Network((4, 3), plan=ffnn.Plan(keep_every=2)), PARAMS2)
    assert checkpoint.load(tmp_path / "m")[0].plan == ffnn.Plan()


PARAMS2 = examples(ffnn.Network((4, 3))).params


def cubed(yhat, y):
    return jnp.sum(jnp.abs(yhat - y) ** 3, axis=-1)


def test_a_loss_of_your_own(tmp_path):
    own = ffnn.Loss("cubed", cubed)
    net = ffnn.Network((4, 3), loss=own)
    checkpoint.save(tmp_path / "m", net, PARAMS2)
    with pytest.raises(ValueError, match="has the Loss 'cubed', pass it as loss=; got none"):
        checkpoint.load(tmp_path / "m")
    with pytest.raises(ValueError, match="has the Loss 'cubed', pass it as loss=; got 'other'"):
        checkpoint.load(tmp_path / "m", loss=ffnn.Loss("other", cubed))
    with pytest.raises(TypeError, match="loss: expected a Loss, got 'cubed'"):
        checkpoint.load(tmp_path / "m", loss="cubed")
    assert checkpoint.load(tmp_path / "m", loss=own)[0] == net


def test_a_loss_of_the_library_by_its_name(tmp_path):
    net = ffnn.Network((4, 3), loss=ffnn.losses.LOSSES["cross_entropy"])
    checkpoint.save(tmp_path / "m", net, PARAMS2)
    assert checkpoint.load(tmp_path / "m")[0] == ffnn.Network((4, 3), loss="cross_entropy")


@pytest.mark.parametrize(
    ("args", "metadata", "error", "match"),
    [
        ((NET, PARAMS[:1]), None, ValueError, "params: expected 2 layers"),
        ((PARAMS, NET), None, TypeError, "net: expected a Network"),
        ((NET, PARAMS), [1], TypeError, "metadata: expected a dict"),
        ((NET, PARAMS), {"a": {1, 2}}, TypeError, "JSON"),
        ((NET, PARAMS), {"a": "b" * 2**22}, ValueError, "at most 4194304 bytes"),
        (
            (NET, PARAMS),
            functools.reduce(lambda t, _: {"a": t}, range(10**5), {}),
            ValueError,
            "deep",
        ),
    ],
    ids=["a layer too few", "turned round", "a list", "a set", "too long", "too deep"],
)
def test_models_that_are_none_are_refused_before_anything_is_written(
    args, metadata, error, match, tmp_path
):
    with pytest.raises(error, match=match):
        checkpoint.save(tmp_path / "m", *args, metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_what_is_being_traced_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"W_1: .*being traced"):
        jax.jit(lambda params: checkpoint.save(tmp_path / "m", NET, params))(PARAMS)


# Fixtures: files of every version that was ever written ------------------------------------------


def fixture_tree():
    point = examples(NET)
    state = ffnn.TrainState(
        point.params, optax.adam(0.1).init(point.params), jax.random.key(7), jnp.int32(12)
    )
    return {"state": state, "bfloat16": jnp.arange(5, dtype=jnp.bfloat16), "weak": jnp.asarray(0.5)}


@pytest.mark.parametrize("version", range(1, archive.VERSION + 1))
def test_every_version_is_read_for_ever(version, tmp_path):
    """The files were written by that version, of the values here."""
    net, params = checkpoint.load(FIXTURES / f"model-v{version}.npz")
    assert net == NET
    same(params, PARAMS)
    assert checkpoint.load_metadata(FIXTURES / f"model-v{version}.npz") == {"note": "a fixture"}
    name = "step-0000000012.npz"
    (tmp_path / name).write_bytes((FIXTURES / f"checkpoint-v{version}.npz").read_bytes())
    restored = Checkpoints(tmp_path).latest(fixture_tree())
    same(restored.tree, fixture_tree())
    assert (restored.step, restored.metadata) == (12, {"note": "a fixture"})


# A tree ------------------------------------------------------------------------------------------


def test_a_tree_of_every_kind_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "folder")
    path = checkpoints.save(3, TREE, metadata={"loss": 0.1})
    restored = checkpoints.latest(TREE)
    same(restored.tree, TREE)
    assert restored[0::2] == (3, {"loss": 0.1})
    assert restored.skipped == ()
    assert checkpoint.load_metadata(path) == {"loss": 0.1}
    shapes = jax.tree.map(
        lambda t: jax.ShapeDtypeStruct(np.shape(t), jnp.result_type(t)), TREE["layers"]
    )
    checkpoints.save(4, TREE["layers"])
    same(checkpoints.latest(shapes).tree, TREE["layers"])


def test_a_tree_that_is_one_array(tmp_path):
    Checkpoints(tmp_path).save(0, np.arange(3))
    np.testing.assert_array_equal(Checkpoints(tmp_path).latest(np.arange(3)).tree, np.arange(3))


def test_it_comes_back_on_the_devices_where_it_was(tmp_path):
    mesh = jax.make_mesh((4,), ("data",))
    placed = jax.device_put(
        np.arange(8.0, dtype=np.float32), jax.NamedSharding(mesh, jax.P("data"))
    )
    Checkpoints(tmp_path).save(0, placed)
    assert Checkpoints(tmp_path).latest(placed).tree.sharding == placed.sharding
    assert not Checkpoints(tmp_path).latest(jnp.zeros(8)).tree.committed


@pytest.mark.parametrize(
    ("like", "match"),
    [
        ({"w": np.zeros(4, np.float32)}, r"w: expected float32\[4\], it holds float32\[3\]"),
        ({"w": np.zeros(3)}, r"w: expected float64\[3\], it holds float32\[3\]"),
        ({"v": np.zeros(3, np.float32)}, r"v \(of 1\) is missing and w \(of 1\) is not expected"),
        ({}, r"w \(of 1\) is not expected"),
        ({"w": jax.random.key(0)}, r"w: expected key<fry>\[\], it holds float32\[3\]"),
    ],
)
def test_another_tree_is_refused(like, match, tmp_path):
    Checkpoints(tmp_path).save(5, {"w": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=f"step 5: .*{match}"):
        Checkpoints(tmp_path).latest(like)


def test_float64_of_jax_is_not_restored_as_float32(tmp_path):
    with jax.enable_x64(True):
        like = jnp.zeros(3)
    Checkpoints(tmp_path).save(0, like)
    with pytest.raises(CheckpointError, match="float64 needs 64-bit types"):
        Checkpoints(tmp_path).latest(like)


@pytest.mark.parametrize(
    ("tree", "error", "match"),
    [
        ({"a": {"b": 1}, "a/b": 2}, ValueError, "two leaves have the name 'a/b'"),
        ({"a\n": 1}, ValueError, "expected names that can be printed"),
        ({"a": "text"}, TypeError, "a: expected an array, got"),
        ({"a": np.array(["text"])}, TypeError, "a: expected an array of numbers"),
        ({"a": np.array([None])}, TypeError, "a: expected an array of numbers"),
        ({"a": jnp.zeros(1, jnp.float8_e4m3fn)}, TypeError, "a: expected a key, .* float8"),
    ],
)
def test_what_cannot_be_saved(tree, error, match, tmp_path):
    with pytest.raises(error, match=match):
        Checkpoints(tmp_path).save(0, tree)


# The folder --------------------------------------------------------------------------------------


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    (tmp_path / "step-1.npz").write_bytes(b"not ours")
    for step in range(6):
        checkpoints.save(step, np.array(step), best=step in (0, 2))
    expected = ["step-0000000002-best.npz", "step-0000000004.npz", "step-0000000005.npz"]
    assert names(tmp_path) == [*expected, "step-1.npz"]
    assert checkpoints.latest(np.array(0)).tree == 5
    assert checkpoints.best(np.array(0))[:2] == (2, 2)
    checkpoints.save(5, np.array(7), best=True)  # the same step again
    assert names(tmp_path) == ["step-0000000004.npz", "step-0000000005-best.npz", "step-1.npz"]
    assert checkpoints.best(np.array(0)).tree == 7


def test_nothing_there(tmp_path):
    assert Checkpoints(tmp_path / "none").latest({}) is None
    assert Checkpoints(tmp_path).best({}) is None


def test_the_newest_that_verifies(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    paths = [checkpoints.save(step, np.array(step)) for step in range(3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    restored = checkpoints.latest(np.array(0))
    assert restored.tree == 1
    assert len(restored.skipped) == 1
    assert restored.skipped[0].startswith("step-0000000002.npz: cut off")
    checkpoints.save(1, np.array(11))  # the one that is damaged does not stand in the way
    assert checkpoints.latest(np.array(0)).tree == 11
    paths[1].write_bytes(paths[0].read_bytes())  # one under the name of another
    assert "another step than its name" in checkpoints.latest(np.array(0)).skipped[1]
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint verifies: step-0000000002\.npz: no"):
        checkpoints.latest(np.array(0))


def test_damaged_ones_do_not_push_out_what_was_just_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(9, np.array(9)).write_bytes(b"damaged")
    checkpoints.save(3, np.array(3))
    assert checkpoints.latest(np.array(0)).tree == 3


def test_a_step_before_the_newest_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(9, np.array(9))
    with pytest.raises(ValueError, match=r"step: .* holds step 9; expected at least that, got 3"):
        checkpoints.save(3, np.array(3))


def test_one_training_a_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with checkpoints.lock():
        with pytest.raises(CheckpointError, match="another training"), checkpoints.lock():
            pass
        checkpoints.save(0, np.array(0))
    with checkpoints.lock():
        pass


@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((3,), {}, TypeError, "folder: expected a str or os.PathLike, got 3"),
        (("a",), {"keep": 0}, ValueError, "keep: expected at least 1, got 0"),
        (("a",), {"every": 1.5}, TypeError, "every: expected an int"),
    ],
)
def test_bad_arguments(args, options, error, match):
    with pytest.raises(error, match=match):
        Checkpoints(*args, **options)


def test_a_bad_step(tmp_path):
    with pytest.raises(ValueError, match="step: expected at least 0, got -1"):
        Checkpoints(tmp_path).save(-1, TREE)


# Writing that fails ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_was_there_stays_where_writing_fails(step, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "full", "another file")

    path = tmp_path / "m.npz"
    checkpoint.save(path, NET, PARAMS)
    before = path.read_bytes()
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"full: .*m\.npz'") as caught:
        checkpoint.save(path, NET, PARAMS, metadata={"new": 1})
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["m.npz"]


def test_the_disk_has_the_bytes_before_the_name_and_the_name_at_the_end(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        of = os.readlink(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else ""
        calls.append(("fsync", pathlib.Path(of).suffix))
        fsync(descriptor)

    def replaced(*names):
        calls.append(("replace", ""))
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoint.save(tmp_path / "m", NET, PARAMS)
    suffix = ".tmp" if sys.platform == "linux" else ""
    assert calls == [("fsync", suffix), ("replace", ""), ("fsync", "")]


def test_a_file_that_may_not_grow(tmp_path):
    """The limit of the process on the size of a file, as a disk that is full in the middle."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, np.zeros(10))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"step-0000000001\.npz"):
            checkpoints.save(1, np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["step-0000000000.npz"]


def test_paths_that_are_none(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        checkpoint.save(tmp_path, NET, PARAMS)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        checkpoint.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none/m\.npz"):
        checkpoint.save(tmp_path / "none" / "m.npz", NET, PARAMS)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError, match="file"):
        Checkpoints(tmp_path / "file").save(0, PARAMS)


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "m.npz")
    checkpoint.save(tmp_path / "link", NET, PARAMS)
    assert (tmp_path / "link").is_symlink()
    same(checkpoint.load(tmp_path / "m.npz")[1], PARAMS)


def test_temporary_files_of_the_dead_are_removed_and_no_others(tmp_path):
    for name in (".ffnn-dead.tmp", ".ffnn-alive.tmp", "mine.tmp", ".ffnn-mine"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".ffnn-new.tmp").write_bytes(b"")  # its writer has not got to holding it
    with open(tmp_path / ".ffnn-alive.tmp", "rb") as file:
        atomic.hold(file)
        checkpoint.save(tmp_path / "m", NET, PARAMS)
        assert names(tmp_path) == [
            ".ffnn-alive.tmp",
            ".ffnn-mine",
            ".ffnn-new.tmp",
            "m",
            "mine.tmp",
        ]


# Damage ------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_seen(tmp_path):
    """One bit of each byte, wherever it lies: headers, manifest, values, digests."""
    path = tmp_path / "m"
    net = ffnn.Network((1, 1))
    checkpoint.save(path, net, ffnn.init(net, jax.random.key(0)))
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(path)


def test_every_cut_is_seen(tmp_path):
    path = tmp_path / "m"
    checkpoint.save(path, NET, PARAMS)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 7), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="no checkpoint"):
            checkpoint.load(path)
    for more in (whole + b"\n", whole + whole, b"\0" * len(whole)):
        path.write_bytes(more)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(path)


# Files made to do harm: the digest fits ----------------------------------------------------------


def sealed(content):
    """A zip file with the comment that `archive` looks for, its digest right."""
    comment = content.rfind(b"PK\5\6") + 20
    content = content[:comment] + struct.pack("<H", 71) + b"sha256:"
    return content + hashlib.sha256(content).hexdigest().encode()


def zipped(manifest, entries, method=zipfile.ZIP_STORED, text=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        file.writestr("manifest.json", json.dumps(manifest) if text is None else text)
        for name, data in entries:
            file.writestr(name, data)
    return sealed(buffer.getvalue())


def row(values, **changes):
    return {"name": "value", "kind": "array", "dtype": values.dtype.name,
            "shape": list(values.shape), "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
            **changes}  # fmt: skip


ONES = np.ones(3, np.float32)
HEAD = {"format": archive.FORMAT, "version": 1, "kind": "tree", "step": 0, "metadata": {}}
ENTRY = ("value.npy", archive.npy_header(row(ONES)) + ONES.tobytes())
RIGHT = {**HEAD, "leaves": [row(ONES)]}


def changed(**changes):
    return {**HEAD, "leaves": [row(ONES, **changes)]}


def header(**changes):
    return [("value.npy", archive.npy_header(row(ONES, **changes)) + ONES.tobytes())]


HARMFUL = {
    "no manifest first": (
        "its first entry is no",
        None,
        zipped({}, [ENTRY]).replace(b"manifest.json", b"manifesto.jso"),
    ),
    "no json": ("JSONDecodeError", b"{", [ENTRY]),
    "deep json": ("Recursion", b"[" * 100_000, [ENTRY]),
    "a huge number": ("4300 digits", b"9" * 100_000, [ENTRY]),
    "a list": ("not of the format", [], []),
    "another format": ("not of the format", {**RIGHT, "format": "zip"}, [ENTRY]),
    "no version": ("declares None", {**RIGHT, "version": None}, [ENTRY]),
    "a bool as version": ("declares True", {**RIGHT, "version": True}, [ENTRY]),
    "a later version": (
        "of version 2, and this ffnn_jax reads up to 1",
        {**RIGHT, "version": archive.VERSION + 1},
        [ENTRY],
    ),
    "another kind": ("holds a tree, it holds a model", {**RIGHT, "kind": "model"}, [ENTRY]),
    "another step": ("another step", {**RIGHT, "step": 1}, [ENTRY]),
    "no leaves": ("no list of leaves", HEAD, []),
    "leaves of another kind": ("TypeError", {**HEAD, "leaves": [1]}, []),
    "no metadata": ("no metadata", {**RIGHT, "metadata": []}, [ENTRY]),
    "a leaf without an entry": ("not those of its manifest", RIGHT, []),
    "an entry without a leaf": ("not those of its manifest", {**HEAD, "leaves": []}, [ENTRY]),
    "an entry twice": ("the same name", {**HEAD, "leaves": [row(ONES)] * 2}, [ENTRY] * 2),
    "a path": ("not those of its manifest", changed(name="../value"), [ENTRY]),
    "an object": ("unknown dtype 'object'", changed(dtype="object"), [ENTRY]),
    "a dtype that is none": ("unknown dtype", changed(dtype=["float32"]), [ENTRY]),
    "another dtype": ("npy header", changed(dtype="int32"), [ENTRY]),
    "another shape": ("npy header", changed(shape=[3, 1]), [ENTRY]),
    "a negative size": ("expected sizes from 0", changed(shape=[-3]), [ENTRY]),
    "a float as size": ("expected sizes from 0", changed(shape=[3.0]), [ENTRY]),
    "a huge size": ("expected sizes from 0", changed(shape=[2**62]), [ENTRY]),
    "huge and empty": (
        "declares 128 bytes, its entry has 140",
        changed(shape=[2**31 - 1] * 3 + [0]),
        [ENTRY],
    ),
    "many sizes": ("at most 32 sizes", changed(shape=[1] * 33), [ENTRY]),
    "another digest": ("not those of its SHA-256", changed(sha256="0" * 64), [ENTRY]),
    "no digest": ("not those of its SHA-256", changed(sha256=None), [ENTRY]),
    "another header": ("npy header", RIGHT, header(shape=[3, 1])),
    "a header too short": ("its entry has 12", RIGHT, [("value.npy", ONES.tobytes())]),
    "a key of no kind": ("unrecognized PRNG", changed(kind="key", impl="none"), [ENTRY]),
    "a key of floats": ("invalid PRNG key data", changed(kind="key", impl="threefry2x32"), [ENTRY]),
    "a kind that is none": ("'pickle' of float32", changed(kind="pickle"), [ENTRY]),
    "bfloat16 of floats": ("'bfloat16' of float32", changed(kind="bfloat16"), [ENTRY]),
}


def read(tmp_path, content):
    path = tmp_path / "step-0000000000.npz"
    path.write_bytes(content)
    return Checkpoints(tmp_path).latest(ONES)


def test_the_files_below_are_right_but_for_what_is_changed(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, zipped(RIGHT, [ENTRY])).tree, ONES)


@pytest.mark.parametrize("case", HARMFUL)
def test_files_made_to_do_harm(case, tmp_path):
    match, manifest, entries = HARMFUL[case]
    if isinstance(entries, bytes):
        content = sealed(entries)
    else:
        text = manifest if isinstance(manifest, bytes) else None
        content = zipped(manifest, entries, text=text)
    with pytest.raises(CheckpointError, match=match):
        read(tmp_path, content)


def test_bools_are_0_or_1(tmp_path):
    twos = np.full(3, 2, np.uint8)
    leaf = {**row(twos), "dtype": "bool"}
    content = zipped(
        {**HEAD, "leaves": [leaf]}, [("value.npy", archive.npy_header(leaf) + twos.tobytes())]
    )
    with pytest.raises(CheckpointError, match="expected bools"):
        read(tmp_path, content)


def test_bombs(tmp_path):
    zeros = np.zeros(10**6, np.float32)
    entry = ("value.npy", archive.npy_header(row(zeros)) + zeros.tobytes())
    content = zipped({**HEAD, "leaves": [row(zeros)]}, [entry], zipfile.ZIP_DEFLATED)
    assert len(content) < 10**4
    with pytest.raises(CheckpointError, match="is compressed"):
        read(tmp_path, content)
    many = [row(zeros, name=f"v{i}") for i in range(50)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:  # fifty entries that are the same bytes
        file.writestr("manifest.json", json.dumps({**HEAD, "leaves": many}))
        file.writestr("v0.npy", entry[1])
        first = file.infolist()[1]
        for leaf in many[1:]:
            again = zipfile.ZipInfo(f"{leaf['name']}.npy")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(again, name, getattr(first, name))
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again
        file._didModify = True
    with pytest.raises(CheckpointError, match=r"declares .* bytes in a file of"):
        read(tmp_path, sealed(buffer.getvalue()))


def test_the_error_says_where_and_why(tmp_path):
    error = CheckpointError(tmp_path / "a", "torn")
    assert str(error) == f"{tmp_path}/a: torn"
    chex.assert_equal((error.path, error.reason), (tmp_path / "a", "torn"))


def test_writers_in_one_folder_do_not_hinder_each_other(tmp_path):
    def write(name):
        for k in range(40):
            atomic.replace_file(tmp_path / name, lambda file, k=k: file.write(b"%d" % k))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        "abcd", b"39"
    )


def test_a_reader_beside_a_writer_finds_a_whole_one(tmp_path):
    """Each save removes the one before: what was listed may be gone when it is opened."""
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save(0, {"w": np.zeros(1)})
    stop = threading.Event()

    def write():
        for step in itertools.count(1):
            if stop.is_set():
                return
            checkpoints.save(step, {"w": np.full(1, float(step))})

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for _ in range(150):
                found = checkpoints.latest({"w": np.zeros(1)})
                assert found.tree["w"] == found.step
        finally:
            stop.set()
        writing.result()


def test_a_step_that_no_name_holds(tmp_path):
    with pytest.raises(ValueError, match="step: expected at most"):
        checkpoint.Checkpoints(tmp_path).save(10**18, {})


@pytest.mark.skipif(os.name != "posix", reason="modes and pipes are POSIX's")
def test_a_file_keeps_its_mode_and_a_pipe_is_no_file(tmp_path):
    path = tmp_path / "m.npz"
    checkpoint.save(path, NET, PARAMS)
    path.chmod(0o600)
    checkpoint.save(path, NET, PARAMS)
    assert path.stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no plain file"):
        checkpoint.save(tmp_path / "pipe", NET, PARAMS)
    assert not (tmp_path / "pipe").is_file()


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"w": np.zeros(2)})
    os.mkfifo(tmp_path / "step-0000000002.npz")
    found = checkpoints.latest({"w": np.zeros(2)})
    assert found.step == 1
    assert found.skipped == ("step-0000000002.npz: no checkpoint: it is no file",)
