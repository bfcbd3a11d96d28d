"""A fit on a mesh, cut and resumed: the same bits on the same layout, up to rounding on another."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_resume import QUICK, Cut, all_of, cut_after, digest
from test_training import _standard_promotion  # noqa: F401

import ffnn_jax as ffnn
from ffnn_jax import resuming
from ffnn_jax.checkpoint import Checkpoints, ShardedCheckpoints, sums
from ffnn_jax.sharding.placement import placement

pytest.importorskip("orbax.checkpoint")

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((51, 4)).astype(np.float32)
Y = DRAW.integers(0, 3, 51)
VALIDATION = (X[:10] + 1, Y[:10])
NET = ffnn.Network((4, 8, 3), activation="tanh", output="softmax")
KEY = jax.random.key(0)
ADAM = optax.adam(0.05)
EPOCHS = 6
WEIGHTS = np.linspace(0.5, 1, 51, dtype=np.float32)
SQUARE = jax.make_mesh((2, 2), ("data", "model"))
LINE = jax.make_mesh((4,), ("data",))
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # float32, some 24 steps of Adam


def fit(mesh, checkpoints=None, *, data=(X, Y), **options):
    where = {}
    if mesh is not None:
        where = {"mesh": mesh, "placement": placement(NET, mesh, wide=4)}
    options = {"key": KEY, "optimizer": ADAM, "batch_size": 14, "epochs": EPOCHS, **options}
    looked_at = {"weights": WEIGHTS, "validation": VALIDATION, "patience": 99}
    options = {"compiler_options": QUICK, **looked_at, **options}
    if checkpoints is not None:
        options |= {"checkpoints": checkpoints, "resume": True}
    return ffnn.fit(NET, data, **where, **options)


def cut(mesh, checkpoints, epoch=3, **options):
    with pytest.raises(Cut):
        fit(mesh, checkpoints, on_epochs=cut_after(epoch), **options)


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **ROUNDING), one, other)


def test_the_same_layout_gives_the_same_bits(tmp_path):
    expected = fit(SQUARE)
    checkpoints = ShardedCheckpoints(tmp_path, keep=2)
    cut(SQUARE, checkpoints, 2)
    cut(SQUARE, checkpoints, 4)
    result = fit(SQUARE, checkpoints)
    assert digest(all_of(result)) == digest(all_of(expected))
    again = fit(SQUARE, checkpoints)  # with nothing left to do
    assert digest(again) == digest(result)


def test_what_orbax_cannot_read_is_skipped(tmp_path):
    """The digests of the newest fit what lies there; the one before is gone on from."""
    checkpoints = ShardedCheckpoints(tmp_path)
    cut(LINE, checkpoints, 2)
    cut(LINE, checkpoints, 4)
    newest = checkpoints.files()[0].path
    (newest / "arrays" / "_METADATA").write_bytes(b"\x80")
    (newest / sums.NAME).unlink()
    sums.write_sums(newest, sums.digests(newest, sums.listed(newest)))
    with pytest.warns(UserWarning, match=rf"does not verify: {newest.name}: .*cannot be read"):
        result = fit(LINE, checkpoints)
    assert len(result.history.loss) == EPOCHS


@pytest.mark.parametrize("kind", [ShardedCheckpoints, Checkpoints])
def test_another_layout_goes_on_to_rounding(kind, tmp_path):
    """51 rows and 10 to look at, which four devices fill up, and two, and one does not."""
    expected, checkpoints = fit(None), kind(tmp_path)
    for epoch, mesh in ((1, SQUARE), (3, None), (4, LINE)):
        cut(mesh, checkpoints, epoch)
    result = fit(SQUARE, checkpoints)
    close(result.params, expected.params)
    close(result.state.opt_state, expected.state.opt_state)
    close(result.history.loss, expected.history.loss)
    assert result.params[0].W.sharding == jax.NamedSharding(SQUARE, jax.P("model", None))


def test_from_a_state_on_the_mesh(tmp_path):
    where = {"mesh": SQUARE, "placement": placement(NET, SQUARE, wide=4)}
    options = {"key": None, "state": ffnn.init_state(NET, ADAM, KEY, **where)}
    expected, checkpoints = fit(SQUARE, **options), ShardedCheckpoints(tmp_path)
    cut(SQUARE, checkpoints, **options)
    assert digest(all_of(fit(SQUARE, checkpoints, **options))) == digest(all_of(expected))
    other = {**options, "state": options["state"]._replace(step=jnp.asarray(1, jnp.int32))}
    with pytest.raises(ValueError, match="another fit: its key or state was"):
        fit(SQUARE, checkpoints, **other)


@pytest.mark.parametrize("kind", [ShardedCheckpoints, Checkpoints])
@pytest.mark.parametrize("mesh", [SQUARE, LINE], ids=["the same layout", "another"])
def test_another_fit_is_refused(kind, mesh, tmp_path):
    checkpoints = kind(tmp_path)
    cut(SQUARE, checkpoints)
    fewer = {"data": (X[:50], Y[:50]), "weights": WEIGHTS[:50]}
    for words, others in {
        "data": {"data": (X[::-1].copy(), Y)},
        "data ": {"weights": WEIGHTS[::-1].copy()},
        "validation": {"validation": (X[:10], Y[:10])},
        "validation ": {"validation": (VALIDATION[0][:9], Y[:9])},
        "key or state": {"key": jax.random.key(1)},
        "number of examples": fewer,
        "batch_size": {"batch_size": 15},
    }.items():
        with pytest.raises(ValueError, match=f"another fit: its {words.strip()} was"):
            fit(mesh, checkpoints, **others)


def test_checkpoints_of_one_process_are_refused_where_there_are_several():
    class Layout:
        def sharding(self):
            return type("Sharding", (), {"is_fully_addressable": False})

    with pytest.raises(TypeError, match=r"several processes.*expected ShardedCheckpoints\(folder"):
        resuming.check_keeping(Checkpoints("runs"), False, None, Layout())
    resuming.check_keeping(ShardedCheckpoints("runs"), False, None, Layout())


def test_no_checkpoints_at_all():
    with pytest.raises(TypeError, match=r"expected Checkpoints\(folder\), ShardedCheckpoints"):
        fit(None, checkpoints="runs")
