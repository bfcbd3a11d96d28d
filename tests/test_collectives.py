"""What a step moves between devices, read from the compiled program, is what arithmetic says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

import ffnn_jax as ffnn
from ffnn_jax.sharding import hlo
from ffnn_jax.sharding.arithmetic import expected_collectives
from ffnn_jax.sharding.collectives import (
    Collective,
    collective_totals,
    collectives,
    collectives_table,
)

# The reader, on text -----------------------------------------------------------------------------

MODULE = """HloModule jit_f, num_partitions=8

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%asked (p: (s32[], f32[4])) -> pred[] {
  %flag = pred[] all-reduce(%p), replica_groups={}, to_apply=%sum
  ROOT %result = pred[] compare(%flag, %flag), direction=LT
}

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  ROOT %x = f32[4]{0} all-reduce(%p), replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%sum
}

%outer (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  ROOT %y = (s32[], f32[4]{0}) while(%p), condition=%asked, body=%inner, TRIPS
}

%wrapped (p: f32[8]) -> f32[1] {
  ROOT %rs = f32[1]{0} reduce-scatter(%p), replica_groups=[1,8]<=[8], dimensions={0}, to_apply=%sum
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0), metadata={op_name="an all-reduce(of nothing), calls=%inner"}
  %w = (s32[], f32[4]{0}) while(%p), condition=%none, body=%outer, \
backend_config={"known_trip_count":{"n":"5"}}
  %s = ((f32[8]{0}), f32[1]{0}) async-start(%p), calls=%wrapped
  %d = f32[1]{0} async-done(%s), calls=%wrapped
  %g = (bf16[2]{0}, bf16[16]{0:T(256)}) all-gather-start(%p), replica_groups=[1,8]<=[8]
  %h = bf16[16]{0} all-gather-done(%g)
  %c = (s8[6], s8[6], u32[], u32[]) collective-permute-start(%p), source_target_pairs={{0,4}}
  ROOT %r = (f32[4]{0}, /*index=1*/f32[]) all-reduce(%p, %p), replica_groups={}, to_apply=%sum, \
metadata={op_name="jit(f)/psum"}
}
"""


@pytest.mark.parametrize(
    ("trips", "times"),
    [('backend_config={"known_trip_count":{"n":"3"}}', (20, 15)), ("sharding={}", (None, None))],
    ids=["known", "unknown"],
)
def test_loops_calls_and_asynchronous_pairs(trips, times):
    found = list(hlo.instructions(MODULE.replace("TRIPS", trips)))
    assert [(each.kind, each.bytes, each.times) for each in found] == [
        ("all-reduce", 1, times[0]),  # the condition is asked once more than the body runs
        ("all-reduce", 16, times[1]),
        ("reduce-scatter", 32, 1),
        ("all-gather", 32, 1),
        ("collective-permute", 6, 1),
        ("all-reduce", 20, 1),
    ]
    assert found[-1].source == "jit(f)/psum"
    assert found[-1].groups == (tuple(range(8)),)


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("{}", ((0, 1, 2, 3),)),
        ("{{0,2},{1,3}}", ((0, 2), (1, 3))),
        ("[2,2]<=[4]", ((0, 1), (2, 3))),
        ("[2,2]<=[2,2]T(1,0)", ((0, 2), (1, 3))),
        ("mesh['data'=2,'model'=2] {'model'}", ((0, 1), (2, 3))),
        ("mesh['data'=2,'model'=2] {'data'}", ((0, 2), (1, 3))),
        ("mesh['data'=2,'model'=2] {'data','model'}", ((0, 1, 2, 3),)),
        ("mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}", ((0, 1), (2, 3))),
        ("mesh['a'=2,'b'=2], device_ids=(3,1,2,0) {'b'}", ((3, 1), (2, 0))),
        ("mesh['a'=4] {'a':(1)2}", ((0, 2), (1, 3))),
        ("mesh['a'=4] {'a':(2)2}", ((0, 1), (2, 3))),
    ],
)
def test_groups(written, groups):
    text = f"""HloModule m, num_partitions=4
ENTRY %main (p: f32[4]) -> f32[4] {{
  ROOT %r = f32[4]{{0}} all-reduce(%p), channel_id=1, replica_groups={written}, to_apply=%sum
}}"""
    (found,) = hlo.instructions(text)
    assert found.groups == groups


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no module", "ENTRY"),
        (
            "ENTRY %m (p: f32[]) -> f32[] {\n  %r = f32[] all-reduce(%p), to_apply=%s",
            "replica_groups",
        ),
        (
            "ENTRY %m (p: f32[]) -> f32[] {\n  %r = f32[] all-reduce(%p), replica_groups=?",
            "groups of",
        ),
        (
            "ENTRY %m (p: f32[]) -> f32[] {\n  %r = f32[] all-reduce(%p), replica_groups=mesh[?",
            "axes",
        ),
    ],
)
def test_text_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        list(hlo.instructions(text))


# The reader, on compiled programs ----------------------------------------------------------------


def test_each_kind_of_a_shard_map():
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

    def local(x):  # (8, 4) float32 on each device: 128 bytes
        moved = (
            jax.lax.psum_scatter(x, "model", tiled=True),
            jax.lax.all_gather(x, "data", tiled=True),
            jax.lax.all_to_all(x, "data", 0, 1, tiled=True),
            jax.lax.ppermute(x, "model", [(0, 1), (1, 0)]),
            jax.lax.psum(x, ("data", "model")),
        )
        return sum(jnp.sum(t) for t in moved)[None]

    f = jax.shard_map(local, mesh=mesh, in_specs=P("data", "model"), out_specs=P(("data", "model")))
    x = jax.ShapeDtypeStruct((16, 8), jnp.float32)
    compiled = jax.jit(f).lower(x).compile()
    found = collectives(compiled, mesh=mesh)
    assert {(each.kind, each.axes, each.bytes) for each in found} == {
        ("reduce-scatter", ("model",), 128),
        ("all-gather", ("data",), 256),
        ("all-to-all", ("data",), 128),
        ("collective-permute", ("model",), 128),
        ("all-reduce", ("data", "model"), 128),
    }
    assert {each.kind: each.sent for each in found} == {
        "reduce-scatter": 64.0,
        "all-gather": 128.0,
        "all-to-all": 64.0,
        "collective-permute": 128.0,
        "all-reduce": 192.0,
    }


# A training step, and the arithmetic of its layout -----------------------------------------------

WHOLE = ffnn.Layer(P(), P())
ROWS = ffnn.Layer(P("model", None), P("model"))
COLUMNS = ffnn.Layer(P(None, "model"), P())
ZERO = ffnn.Layer(P("data", None), P())
ZERO_ROWS = ffnn.Layer(P("model", "data"), P("model"))
ZERO_COLUMNS = ffnn.Layer(P("data", "model"), P())
NET = ffnn.Network((32, 64, 48, 32), output="softmax")
LAYOUTS = {
    "data": ((4, 1), (WHOLE,) * 3),
    "model": ((1, 4), (WHOLE, ROWS, COLUMNS)),
    "data x model": ((2, 2), (ROWS, COLUMNS, WHOLE)),
    "ZeRO": ((4, 1), (ZERO,) * 3),
    "ZeRO x model": ((2, 2), (ZERO, ZERO_ROWS, ZERO_COLUMNS)),
}


def exchanges_of_an_epoch(mesh, placement, *, batch_size=64, objective=ffnn.loss, **options):
    """What a compiled `train_epoch` of two steps moves in this layout."""
    optimizer = optax.sgd(0.1)
    rows = 2 * batch_size
    x = np.ones((rows, NET.sizes[0]), np.float32)
    y = np.zeros(rows, np.int32)
    state = jax.eval_shape(lambda key: ffnn.init_state(NET, optimizer, key), jax.random.key(0))

    def epoch(state):
        layout = {"mesh": mesh, "placement": placement, "batch_size": batch_size}
        return ffnn.train_epoch(
            NET, optimizer, state, x, y, objective=objective, **layout, **options
        )

    return collectives(jax.jit(epoch).lower(state).compile(), mesh=mesh)


@pytest.fixture(autouse=True)
def _optax_promotes():
    with jax.numpy_dtype_promotion("standard"):
        yield


def mesh_of(shape, kind=AxisType.Auto):
    return jax.make_mesh(shape, ("data", "model"), axis_types=(kind,) * 2)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_epoch_moves_what_its_layout_must(name):
    shape, placement = LAYOUTS[name]
    mesh = mesh_of(shape)
    found = exchanges_of_an_epoch(mesh, placement)
    assert collective_totals(found) == collective_totals(
        expected_collectives(NET, mesh, placement, 64, steps=2)
    )
    if "x model" in name:
        autodiff = exchanges_of_an_epoch(mesh, placement, objective=ffnn.loss_autodiff)
        assert collective_totals(found) == collective_totals(autodiff)
        assert len(found) <= len(autodiff)


def test_explicit_axes_weights_and_a_batch_that_does_not_divide():
    """62 examples on 4 devices are 16 on each."""
    mesh, placement = mesh_of((4, 1), AxisType.Explicit), (WHOLE,) * 3
    weights = np.ones(124, np.float32)
    found = exchanges_of_an_epoch(mesh, placement, batch_size=62, weights=weights)
    expected = expected_collectives(NET, mesh, placement, 62, weighted=True, steps=2)
    assert collective_totals(found) == collective_totals(expected)
    assert ("all-to-all", 64 * 32 * 4) in {(each.kind, each.bytes) for each in found}


def test_rows_of_a_large_batch():
    """128 on each of 4 devices, 32 of a pair, 59 a round: not all in one, so there is a loop."""
    mesh, placement = mesh_of((4, 1)), (WHOLE,) * 3
    found = exchanges_of_an_epoch(mesh, placement, batch_size=512)
    expected = expected_collectives(NET, mesh, placement, 512, steps=2)
    for rounds in (0, 1):
        assert collective_totals(found, unknown=rounds) == collective_totals(
            expected, unknown=rounds
        )
    rows = [(each.bytes, each.times) for each in found if each.kind == "all-to-all"]
    assert sum(times is None for _, times in rows) == len(rows) // 2
    assert {n for n, _ in rows} == {4 * 59 * 32 * 4, 4 * 59 * 4}


def test_the_gradient_of_a_batch_in_parts_is_summed_once_a_step():
    """One all-reduce, of all ∇ and nothing else; the loss may be in it."""
    mesh, placement = mesh_of((4, 1)), (WHOLE,) * 3
    found = exchanges_of_an_epoch(mesh, placement, accumulate=2)
    numbers = sum(m * n + m for n, m in zip(NET.sizes, NET.sizes[1:], strict=False)) + 1
    assert collective_totals(found)["all-reduce", ("data",)] == 2 * 4 * numbers
    assert all(each.times == 2 for each in found)


# The arithmetic alone ----------------------------------------------------------------------------


def test_arithmetic_by_hand():
    """Two pairs, 4 × 2 devices, a batch of 10: three examples on a device."""
    net = ffnn.Network((6, 8, 4, 8, 2))
    mesh = AbstractMesh((4, 2), ("data", "model"))
    moved = expected_collectives(net, mesh, (ROWS, COLUMNS) * 2, 10, dtype="bfloat16", steps=3)
    over_model = {each.source: each.bytes for each in moved if each.axes == ("model",)}
    assert over_model == {"a_2": 3 * 4 * 2, "a_4": 3 * 2 * 2, "∇h_2": 3 * 4 * 2}
    here = (4 * 6 + 4) + (4 * 4 + 4) + (4 * 4 + 4) + (2 * 4 + 2) + 1
    assert collective_totals(moved)["all-to-all", ("data",)] == 3 * 2 * 12 * (
        6 + 2
    )  # rows of x and y
    assert collective_totals(moved)["all-reduce", ("data",)] == 3 * 2 * here
    assert {each.times for each in moved} == {3}
    assert {each.devices for each in moved} == {2, 4}


def test_one_device_moves_nothing():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    assert expected_collectives(NET, mesh, (WHOLE,) * 3, 8) == ()
    assert collectives(jax.jit(lambda x: x + 1.0).lower(jnp.ones(2)).compile()) == ()


def test_table():
    exchanges = (
        Collective("all-reduce", ("data", "model"), 12288, 4, 10, "∇W_1"),
        Collective("all-gather", ("data",), 5, 2, None, ""),
    )
    assert collectives_table(exchanges).splitlines() == [
        "kind        axes           bytes  devices  times  source",
        "all-reduce  data × model  12,288        4     10  ∇W_1",
        "all-gather  data               5        2      ?",
    ]
    assert collectives_table(()) == "none"


# Bad input ---------------------------------------------------------------------------------------


def test_bad_input():
    mesh = AbstractMesh((2, 2), ("data", "model"))
    whole = (WHOLE,) * 3
    with pytest.raises(TypeError, match=r"compiled: expected a jax.stages.Compiled"):
        collectives(jax.jit(jnp.sin).lower(jnp.ones(2)))
    compiled = jax.jit(jnp.sin).lower(jnp.ones(2)).compile()
    with pytest.raises(TypeError, match="mesh: expected a mesh or None"):
        collectives(compiled, mesh=(2, 2))
    with pytest.raises(TypeError, match="mesh: expected a mesh, got"):
        expected_collectives(NET, None, whole, 8)
    with pytest.raises(TypeError, match="placement: expected a tuple of 3 Layer"):
        expected_collectives(NET, mesh, whole[:2], 8)
    with pytest.raises(TypeError, match=r"placement\[1\]: expected a Layer of PartitionSpec"):
        expected_collectives(NET, mesh, (WHOLE, P(), WHOLE), 8)
    with pytest.raises(ValueError, match="batch_size"):
        expected_collectives(NET, mesh, whole, 0)
    with pytest.raises(TypeError, match="exchanges: expected each a Collective, got"):
        collective_totals([1])
    with pytest.raises(ValueError, match="unknown: expected"):
        collective_totals([], unknown=-1)
    with pytest.raises(ValueError, match="in a loop of unknown length"):
        collective_totals([Collective("all-reduce", ("data",), 4, 2, None, "sum")])
    assert collective_totals(
        [Collective("all-reduce", ("data",), 4, 2, None, "sum")], unknown=3
    ) == {("all-reduce", ("data",)): 12}


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ((ROWS, WHOLE, WHOLE), "layer 1 by rows and layer 2 whole of 3"),
        ((WHOLE, COLUMNS, WHOLE), "layer 1 whole and layer 2 by columns"),
        ((COLUMNS, WHOLE, WHOLE), "got layer 1 by columns of 3 layers"),
        ((ffnn.Layer(P("data", "model"), P()),) * 3, "got layer 1 by columns of 3 layers. What"),
        ((WHOLE, WHOLE, ROWS), "got layer 3 by rows of 3 layers"),
        (
            (WHOLE, ffnn.Layer(P("rows"), P()), WHOLE),
            r"placement\[1\].W: expected axes of the mesh",
        ),
        (
            (ffnn.Layer(P(), P("data", "data")), WHOLE, WHOLE),
            r"placement\[0\].b: expected at most 1",
        ),
        ((ffnn.Layer(P("model"), P()), COLUMNS, WHOLE), "b split over model as the rows"),
        ((ffnn.Layer(P(None, "model"), P("model")), *[WHOLE] * 2), "b split over model as"),
    ],
)
def test_placements_without_arithmetic(placement, message):
    with pytest.raises(ValueError, match=message):
        expected_collectives(NET, AbstractMesh((2, 2), ("data", "model")), placement, 8)


def test_a_program_that_does_not_say_on_which_mesh():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def total(x):
        f = jax.shard_map(
            lambda x: jax.lax.psum(x, "data"), mesh=mesh, in_specs=P("data"), out_specs=P()
        )
        return f(x)

    compiled = jax.jit(total).lower(jnp.asarray(np.ones(4, np.float32))).compile()
    small = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    with pytest.raises(ValueError, match="mesh: expected one of all the devices"):
        collectives(compiled, mesh=small)
    assert [each.axes for each in collectives(compiled, mesh=mesh)] == [("data",)]
