"""Sharded checkpoints: restored on any layout, verified, whole or not at all."""

import hashlib
import json
import logging
import os
import pathlib
import resource
import shutil
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ffnn_jax.checkpoint import CheckpointError, Checkpoints, ShardedCheckpoints, sharded, sums
from ffnn_jax.checkpoint.atomic import PREFIX, SUFFIX
from ffnn_jax.checkpoint.leaves import encode, named_leaves

pytest.importorskip("orbax.checkpoint")

P = jax.P
MESH = jax.make_mesh((2, 2), ("data", "model"))
AUTO = jax.make_mesh((2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
LINE = jax.make_mesh((4,), ("data",))
W = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


def on(mesh, *spec):
    return jax.NamedSharding(mesh, P(*spec))


def tree():
    """Every dtype, and every kind of leaf."""
    numbers = np.arange(6).reshape(2, 3)
    names = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
    return {
        "split": jax.device_put(W, on(MESH, "model", "data")),
        "rows": jax.device_put(jnp.asarray(W, jnp.bfloat16), on(MESH, ("data", "model"))),
        "whole": jax.device_put(jnp.float16(0.1), on(MESH)),
        "one device": jax.device_put(W, jax.devices()[2]),
        "not committed": jnp.arange(5),
        "weak": jnp.asarray(0.5),
        "key": jax.device_put(jax.random.key(7), on(MESH)),
        "keys": jax.random.split(jax.random.key(7, impl="rbg"), 3),
        "old key": jax.random.PRNGKey(1),
        "none": np.zeros((0, 3), np.float32),
        "no keys": jax.random.split(jax.random.key(1), 0),
        "none of jax": jax.device_put(jnp.zeros((0, 3)), on(MESH)),
        "numbers": [1, 2.5, True, np.float64(3.5)],
        **{name: numbers.astype(name) for name in names.split()},
        "complex64": numbers * np.complex64(1j),
    }


def digest(values):
    rows = [encode(name, leaf).row for name, leaf in named_leaves(values)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def saved(folder, **options):
    checkpoints = ShardedCheckpoints(folder, **options)
    path = checkpoints.save(3, {"w": jax.device_put(W, on(MESH, "model"))}, metadata={"a": [1]})
    return checkpoints, path


LIKE = {"w": jax.ShapeDtypeStruct(W.shape, W.dtype)}

# Round trips -------------------------------------------------------------------------------------


def test_every_kind_of_leaf_comes_back_as_it_was(tmp_path):
    checkpoints, values = ShardedCheckpoints(tmp_path), tree()
    path = checkpoints.save(12, values, metadata={"loss": 0.5})
    assert path == tmp_path / "step-0000000012"
    step, found, metadata, skipped = checkpoints.latest(values)
    assert (step, metadata, skipped) == (12, {"loss": 0.5}, ())
    assert digest(found) == digest(values)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(values), strict=True):
        assert type(one) is type(other)
        if isinstance(other, jax.Array):
            assert (one.sharding, one.committed) == (other.sharding, other.committed)
            assert jax.typeof(one) == jax.typeof(other)


@pytest.mark.parametrize(
    "home",
    [
        on(MESH, "data"),
        on(MESH),
        on(AUTO, "model", "data"),
        on(LINE, "data"),
        on(LINE, None, "data"),
    ],
    ids=str,
)
def test_restored_in_another_place(home, tmp_path):
    checkpoints, _ = saved(tmp_path)
    found = checkpoints.latest({"w": jax.ShapeDtypeStruct(W.shape, W.dtype, sharding=home)})
    w = found.tree["w"]
    assert w.sharding == home
    np.testing.assert_array_equal(w, W)
    shard = w.addressable_shards[-1]
    np.testing.assert_array_equal(shard.data, W[shard.index])


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints, path = saved("runs/ck")
    assert path == pathlib.Path("runs/ck/step-0000000003")
    np.testing.assert_array_equal(checkpoints.latest(LIKE).tree["w"], W)
    assert ShardedCheckpoints(tmp_path / "runs" / "ck").latest(LIKE).step == 3


def test_a_weak_type_in_its_place(tmp_path):
    checkpoints, like = ShardedCheckpoints(tmp_path), jax.device_put(0.5, on(MESH))
    checkpoints.save(0, jax.device_put(2.5, on(MESH)))
    found = checkpoints.latest(like).tree
    assert (jax.typeof(found), found.sharding) == (jax.typeof(like), like.sharding)
    assert found.weak_type
    assert found == 2.5


def test_restored_on_one_device_and_in_numpy(tmp_path):
    checkpoints, _ = saved(tmp_path)
    assert checkpoints.latest(LIKE).tree["w"].devices() == {jax.devices()[0]}
    found = checkpoints.latest({"w": np.zeros_like(W)}).tree["w"]
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, W)


# Another tree ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"w": jax.ShapeDtypeStruct((4, 8), np.float32)}, r"w: expected float32\[4, 8\], it holds"),
        ({"w": jax.ShapeDtypeStruct((8, 4), np.int32)}, r"it holds float32\[8, 4\]"),
        ({"w": jax.random.split(jax.random.key(0), (8, 4))}, r"expected key<fry>\[8, 4\]"),
        ({"v": LIKE["w"]}, r"v \(of 1\) is missing and w \(of 1\) is not expected"),
        ({**LIKE, "v": 1}, "another tree: v"),
    ],
)
def test_another_tree_is_refused_before_orbax_is_asked(like, words, tmp_path, monkeypatch):
    checkpoints, _ = saved(tmp_path)
    monkeypatch.setattr("ffnn_jax.checkpoint.sharded.load", None)
    with pytest.raises(CheckpointError, match=f"step 3: .*{words}"):
        checkpoints.latest(like)


def test_keys_of_another_implementation_are_refused(tmp_path):
    checkpoints = ShardedCheckpoints(tmp_path)
    checkpoints.save(0, jax.random.key(0, impl="rbg"))
    with pytest.raises(CheckpointError, match=r"value: expected key<fry>\[\], it holds key<rbg>"):
        checkpoints.latest(jax.random.key(0))


@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        ({"w": np.array([{}])}, {}, TypeError, "w: expected"),
        ({"w": "words"}, {}, TypeError, "w: expected"),
        ({"w": jnp.zeros(2, jnp.float8_e4m3fn)}, {}, TypeError, "w: expected a key, bfloat16"),
        ({"a/b": 1, "a": {"b": 2}}, {}, ValueError, "two leaves have the name"),
        ({}, {"metadata": [1]}, TypeError, "metadata: expected a dict"),
        ({}, {"metadata": {"a": {1}}}, TypeError, "not JSON serializable"),
    ],
)
def test_what_cannot_be_saved(values, options, error, words, tmp_path):
    checkpoints = ShardedCheckpoints(tmp_path / "new")
    with pytest.raises(error, match=words):
        checkpoints.save(0, values, **options)
    assert checkpoints.files() == []


def test_what_is_traced_cannot_be_saved(tmp_path):
    checkpoints = ShardedCheckpoints(tmp_path)
    with pytest.raises(TypeError, match="w: expected an array with values"):
        jax.jit(lambda w: checkpoints.save(0, {"w": w}))(W)


def test_a_tree_without_arrays(tmp_path):
    checkpoints = ShardedCheckpoints(tmp_path)
    checkpoints.save(0, {"none": np.zeros(0)}, metadata={"a": 1})
    assert checkpoints.latest({"none": np.ones(0)}).metadata == {"a": 1}


# Damage ------------------------------------------------------------------------------------------


def files_of(path):
    return [p for p in sorted(path.rglob("*")) if p.is_file()]


def test_one_flipped_bit_of_any_file_is_noticed(tmp_path):
    checkpoints, path = saved(tmp_path)
    draw = np.random.default_rng(0)
    for file in files_of(path):
        whole = file.read_bytes()
        for bit in draw.integers(0, 8 * len(whole), 5):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            with pytest.raises(CheckpointError, match=r"no checkpoint verifies: step-0000000003: "):
                checkpoints.latest(LIKE)
        file.write_bytes(whole)
    assert checkpoints.latest(LIKE).skipped == ()


@pytest.mark.parametrize("harm", ["gone", "cut", "empty"])
def test_a_file_that_is_not_whole_is_noticed_and_the_one_before_taken(harm, tmp_path):
    checkpoints, _ = saved(tmp_path)
    path = checkpoints.save(4, {"w": W + 1})
    aside = tmp_path / "aside"
    for file in files_of(path):
        shutil.copytree(path, aside)
        content = file.read_bytes()
        file.write_bytes({"cut": content[:-1]}.get(harm, b""))
        if harm == "gone":
            file.unlink()
        if content or harm == "gone":
            found = checkpoints.latest(LIKE)
            assert found.step == 3
            assert found.skipped[0].startswith("step-0000000004: ")
        shutil.rmtree(path)
        aside.rename(path)
    assert checkpoints.latest(LIKE).step == 4


def test_what_was_added_is_noticed(tmp_path):
    checkpoints, path = saved(tmp_path)
    (path / "arrays" / "more").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged: arrays/more has no line in SHA256SUMS"):
        checkpoints.latest(LIKE)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_link_without_end(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def a_link_to_what_was_there(path):
    path.symlink_to(path.rename(path.parents[2] / f"elsewhere-{path.name}"))


@pytest.mark.skipif(os.name != "posix", reason="pipes and links")
@pytest.mark.parametrize("harm", [a_pipe, a_link_without_end, a_link_to_what_was_there])
@pytest.mark.parametrize("name", ["SHA256SUMS", "manifest.json", "arrays/_METADATA"])
def test_only_files_are_read(harm, name, tmp_path):
    """A pipe would be waited for without end, and a link may lead anywhere."""
    checkpoints, _ = saved(tmp_path)
    path = checkpoints.save(4, {"w": W + 1})
    harm(path / name)
    found = checkpoints.latest(LIKE)
    assert (found.step, found.skipped) == (3, (f"step-0000000004: damaged: {name} is no file",))


@pytest.mark.parametrize("where", ["more", "arrays/more", "arrays/d/more"])
@pytest.mark.parametrize("what", ["a link", "a folder"])
def test_folders_and_links_that_were_added_are_noticed(what, where, tmp_path):
    checkpoints, path = saved(tmp_path)
    if what == "a link":
        (path / where).symlink_to(tmp_path)
    else:
        (path / where).mkdir()
    with pytest.raises(CheckpointError, match=f"damaged: {where} is "):
        checkpoints.latest(LIKE)


def sum_up(path):
    """Digests that fit what lies there."""
    (path / sums.NAME).unlink()
    sums.write_sums(path, sums.digests(path, sums.listed(path)))


def test_arrays_that_orbax_cannot_read_though_their_sums_fit_are_skipped(tmp_path):
    checkpoints, _ = saved(tmp_path)
    path = checkpoints.save(4, {"w": W + 1})
    for file in files_of(path / "arrays"):
        file.write_bytes(b"\x80 none of ours")
    sum_up(path)
    found = checkpoints.latest(LIKE)
    assert found.step == 3
    assert "step-0000000004" in found.skipped[0]
    assert "it cannot be read" in found.skipped[0]
    shutil.rmtree(tmp_path / "step-0000000003")
    with pytest.raises(CheckpointError, match=r"no checkpoint verifies: .* it cannot be read"):
        checkpoints.latest(LIKE)


def test_a_manifest_that_is_none_of_ours_is_refused(tmp_path):
    checkpoints, path = saved(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    for change, words in (
        ({"version": 2}, "is of version 2"),
        ({"version": "2"}, "not supported"),
        ({"format": ""}, "not of the format"),
        ({"leaves": [{}]}, "name"),
        ({"leaves": [{"name": "w", "shape": 1}]}, "a leaf has no name or no shape"),
        ({"leaves": [{"name": "w", "shape": [4]}]}, "w: unknown dtype 'None'"),
        ({"leaves": [{"name": "w", "shape": ["4"], "dtype": "float32"}]}, "w: expected sizes"),
        ({"leaves": [{"name": "w", "shape": [-1], "dtype": "float32"}]}, "w: expected sizes"),
        ({"leaves": [{"name": "k", "shape": [], "dtype": "key<fry>", "impl": "no"}]}, "no"),
        ({"leaves": [{"name": "k", "shape": [], "dtype": "key<fry>", "impl": "rbg"}]}, "key<fry>"),
        ({"leaves": [{"name": "k", "shape": [], "dtype": "key<fry>"}]}, "unknown dtype"),
        ({"leaves": ["w"]}, "a leaf has no row"),
        ({"step": 3.0}, "another step than its name"),
    ):
        (path / "manifest.json").write_text(json.dumps({**manifest, **change}))
        sum_up(path)
        with pytest.raises(CheckpointError, match=words):
            checkpoints.latest(LIKE)


def test_sha256sum_reads_the_sums(tmp_path):
    _, path = saved(tmp_path)
    for line in (path / "SHA256SUMS").read_text().splitlines():
        digest_of, name = line.split("  ")
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest_of


# A folder ----------------------------------------------------------------------------------------


def test_what_is_kept(tmp_path):
    checkpoints = ShardedCheckpoints(tmp_path, keep=2)
    for step in range(6):
        checkpoints.save(step, {"w": np.float32(step)}, best=step in (1, 2))
    assert [(file.step, file.best) for file in checkpoints.files()] == [
        (5, False),
        (4, False),
        (2, True),
    ]
    like = {"w": np.float32(0)}
    assert checkpoints.latest(like).tree == {"w": 5}
    assert checkpoints.best(like).tree == {"w": 2}
    assert {p.name for p in tmp_path.iterdir()} == {file.path.name for file in checkpoints.files()}


def test_the_same_step_again(tmp_path):
    checkpoints, first = saved(tmp_path, keep=1)
    second = checkpoints.save(3, {"w": W + 1}, best=True)
    assert second.name == "step-0000000003-best.1"
    third = checkpoints.save(3, {"w": W + 2})
    assert [file.path for file in checkpoints.files()] == [third]
    assert not first.exists()
    np.testing.assert_array_equal(checkpoints.latest(LIKE).tree["w"], W + 2)


def test_an_earlier_step_is_refused(tmp_path):
    checkpoints, path = saved(tmp_path)
    with pytest.raises(ValueError, match="holds step 3; expected at least that, got 2"):
        checkpoints.save(2, {"w": W})
    (path / "manifest.json").unlink()  # it does not verify, and is in nobody's way
    checkpoints.save(2, {"w": W})
    assert checkpoints.latest(LIKE).step == 2


def test_nothing_there(tmp_path):
    checkpoints = ShardedCheckpoints(tmp_path / "none")
    assert checkpoints.latest(LIKE) is None
    assert checkpoints.best(LIKE) is None
    assert checkpoints.files() == []


def test_the_other_kind_is_not_taken_for_nothing(tmp_path):
    saved(tmp_path / "a")
    Checkpoints(tmp_path / "b").save(1, {"w": W})
    with pytest.raises(CheckpointError, match="it holds ShardedCheckpoints; read them as such"):
        Checkpoints(tmp_path / "a").latest(LIKE)
    with pytest.raises(CheckpointError, match="it holds Checkpoints; read them as such"):
        ShardedCheckpoints(tmp_path / "b").files()


def test_only_one_training_in_a_folder(tmp_path):
    with (
        ShardedCheckpoints(tmp_path).lock(),
        pytest.raises(CheckpointError, match="another training saves into this folder"),
        ShardedCheckpoints(tmp_path).lock(),
    ):
        pass
    with ShardedCheckpoints(tmp_path).lock():
        pass


def test_what_a_dead_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    dead, living = (tmp_path / f"{PREFIX}{name}{SUFFIX}" for name in ("dead", "living"))
    for folder in (dead, living):
        (folder / "arrays").mkdir(parents=True)
    descriptor = os.open(living, os.O_RDONLY)
    try:
        from ffnn_jax.checkpoint.atomic import hold

        hold(descriptor)
        saved(tmp_path)
        assert not dead.exists()
        assert living.exists()
    finally:
        os.close(descriptor)
    saved(tmp_path)
    assert not living.exists()


# Whole or not at all -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "count"), [("mkdir", 0), ("mkdir", 1), ("fsync", 0), ("fsync", 9), ("rename", 0)]
)
def test_what_was_there_stays_where_writing_fails(step, count, tmp_path, monkeypatch):
    checkpoints, _ = saved(tmp_path)
    before = sorted(tmp_path.iterdir())
    module, calls, real = (pathlib.Path if step == "mkdir" else os), [], None
    real = getattr(module, step)

    def full(*args, **options):
        calls.append(args)
        if len(calls) > count:
            raise OSError(28, "No space left on device")
        return real(*args, **options)

    monkeypatch.setattr(module, step, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(4, {"w": W})
    monkeypatch.undo()
    assert sorted(tmp_path.iterdir()) == before
    assert checkpoints.latest(LIKE).step == 3


def test_what_is_written_late_by_a_failed_save_goes_too(tmp_path, monkeypatch):
    checkpoints, _ = saved(tmp_path)
    before, late = sorted(tmp_path.iterdir()), []

    def writes_on(folder, leaves):
        def write():
            (folder / "late").mkdir(parents=True, exist_ok=True)
            (folder / "late" / "file").write_text("of another thread")

        late.append(threading.Timer(0.2, write))
        late[0].start()
        raise OSError("the first error")

    monkeypatch.setattr(sharded, "store", writes_on)
    with pytest.raises(OSError, match="the first error"):
        checkpoints.save(4, {"w": W})
    late[0].join()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="a limit that TensorStore runs into")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's coroutines
def test_a_disk_that_is_full(tmp_path, caplog):
    checkpoints, _ = saved(tmp_path)
    large = jax.device_put(np.random.default_rng(0).standard_normal((1000, 500)), on(LINE, "data"))
    before, limits = sorted(tmp_path.iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=str(tmp_path)):
            checkpoints.save(4, {"w": large})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Traceback" not in caplog.text
    assert logging.getLogger("absl").filters == []
    assert sorted(tmp_path.iterdir()) == before
    assert checkpoints.latest(LIKE).step == 3


def test_all_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    events, real_sync, real_rename = [], os.fsync, os.rename

    def synced(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def renamed(one, other):
        events.append("renamed")
        real_rename(one, other)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    _, path = saved(tmp_path)
    at = events.index("renamed")
    before = {e.partition(SUFFIX)[2].strip("/") for e in events[:at]}
    assert before >= {p.relative_to(path).as_posix() for p in path.rglob("*")}
    assert events[at + 1 :] == [str(tmp_path)]


def test_a_folder_that_not_every_process_sees(tmp_path, monkeypatch):
    checkpoints, _ = saved(tmp_path)
    monkeypatch.setattr(ShardedCheckpoints, "_begin", lambda *given: "elsewhere")
    with pytest.raises(CheckpointError, match="not every process sees it"):
        checkpoints.save(4, {"w": W})


def test_without_orbax(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ffnn_jax\[orbax\]'"):
        ShardedCheckpoints(tmp_path)
