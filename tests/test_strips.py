"""The charts of layers over the training and of the loss along the gradient, and update_ratios."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import examples
from matplotlib.backends.backend_agg import FigureCanvasAgg

import ffnn_jax as ffnn
from ffnn_jax import plots
from ffnn_jax.units import update_ratios

NET = ffnn.Network((3, 4, 2), "tanh", "softmax")
PARAMS, X, Y, WEIGHTS = examples(NET, seed=4)


def record(epoch, layers=2, scale=1.0):
    rows = [
        {"layer": k, "mean_abs_a": scale * k, "mean_abs_grad_a": 10.0**-k * scale}
        for k in range(1, layers + 1)
    ]
    return {
        "epoch": epoch,
        "layers": rows,
        "update_ratio": [1e-3 * k for k in range(1, layers + 2)],
    }


def texts(figure):
    return {text.get_text() for text in figure.legends[0].get_texts()}


def check_apart(figure):
    """Legends, labels and axes lie inside the figure and do not overlap."""
    canvas = FigureCanvasAgg(figure)
    with plots.style():
        canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [each.get_window_extent(renderer) for each in (*figure.legends, *figure.axes)]
    labels = [axes.yaxis.label.get_window_extent(renderer) for axes in figure.axes]
    for box in (*boxes, *labels):
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.width + 1
        assert box.y1 <= figure.bbox.height + 1
    for group in (boxes, labels):
        for i, box in enumerate(group):
            assert not any(box.overlaps(other) for other in group[i + 1 :])


# Update ratios -----------------------------------------------------------------------------------


def test_ratios_are_of_each_weight_matrix():
    after = tuple(
        ffnn.Layer(layer.W + 0.01 * k * jnp.ones_like(layer.W), layer.b + 7)
        for k, layer in enumerate(PARAMS, start=1)
    )
    expected = [
        np.linalg.norm(np.asarray(new.W) - old.W) / np.linalg.norm(old.W)
        for old, new in zip(PARAMS, after, strict=True)
    ]
    assert update_ratios(PARAMS, after) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_ratios_of_tiny_and_huge_weights(size):
    before = jax.tree.map(lambda t: size * t, PARAMS)
    after = jax.tree.map(lambda t: 2 * t, before)
    assert update_ratios(before, after) == pytest.approx([1, 1], rel=1e-5)


def test_ratios_of_no_numbers_and_inside_jit():
    broken = jax.tree.map(lambda t: t.at[0].set(jnp.nan), PARAMS)
    assert np.isnan(update_ratios(PARAMS, broken)).all()
    with pytest.raises(TypeError, match="update_ratios looks at values; call it outside jit"):
        jax.jit(lambda params: update_ratios(params, params))(PARAMS)


def test_ratios_of_nothing():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    assert update_ratios(zero, zero) == [0.0, 0.0]
    assert update_ratios(PARAMS, PARAMS) == [0.0, 0.0]
    assert update_ratios(zero, PARAMS) == [np.inf, np.inf]


def test_bad_parameters():
    with pytest.raises(TypeError, match=r"before: expected a tuple of Layer\(W, b\)"):
        update_ratios({"W": 1}, PARAMS)
    with pytest.raises(TypeError, match="after: expected a tuple"):
        update_ratios(PARAMS, ())
    with pytest.raises(
        ValueError, match=r"after: expected the shapes of before, sizes \(3, 4, 2\)"
    ):
        update_ratios(PARAMS, PARAMS[:1])


# Strips ------------------------------------------------------------------------------------------


def test_three_strips_with_the_numbers_of_the_records():
    figure = plots.layer_strips([record(1), record(2, scale=0.5)])
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["mean |a|", "mean |∇a|", "‖ΔW‖ / ‖W‖"]
    a, grad_a, ratio = (axes.get_lines() for axes in figure.axes)
    np.testing.assert_allclose(a[1].get_data(), [[1, 2], [2, 1]])
    np.testing.assert_allclose(grad_a[0].get_ydata(), [0.1, 0.05])
    np.testing.assert_allclose(ratio[2].get_ydata(), [3e-3, 3e-3])
    assert set(ratio[3].get_ydata()) == {1e-3}
    assert texts(figure) == {"layer 1", "layer 2", "layer 3", "1e−3: healthy"}
    check_apart(figure)


def test_what_is_missing_or_not_above_0_leaves_a_gap():
    bare = {"epoch": 2}
    dead = record(3)
    dead["layers"][0]["mean_abs_grad_a"] = 0.0
    figure = plots.layer_strips([record(1), bare, dead, record(4, scale=np.nan)])
    grad_a = figure.axes[1].get_lines()[0].get_ydata()
    assert list(np.isnan(grad_a)) == [False, True, True, True]


def test_without_ratios_there_are_two_strips():
    records = [{key: value for key, value in record(1).items() if key != "update_ratio"}]
    assert len(plots.layer_strips(records).axes) == 2


@pytest.mark.parametrize("layers", [1, 6, 20])
def test_few_layers_and_many(layers):
    figure = plots.layer_strips([record(epoch, layers) for epoch in range(40)])
    assert len(figure.axes[0].get_lines()) == layers
    assert len(texts(figure)) <= 7
    assert {"layer 1", f"layer {layers + 1}"} <= texts(figure)
    check_apart(figure)


def test_bad_records():
    with pytest.raises(TypeError, match="records: expected a list of dicts"):
        plots.layer_strips([3])
    with pytest.raises(ValueError, match="records: expected at least one"):
        plots.layer_strips([])
    with pytest.raises(ValueError, match=r'records\[1\]: expected an "epoch"'):
        plots.layer_strips([record(1), {"loss": 1}])
    with pytest.raises(ValueError, match="got neither"):
        plots.layer_strips([{"epoch": 1}])


# The loss along the gradient ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"epoch": "a"}, TypeError, r'records\[1\]\["epoch"\]: expected a number, got \'a\''),
        ({"epoch": np.nan}, ValueError, r'records\[1\]\["epoch"\]: expected a finite number'),
        ({"epoch": 0}, ValueError, r"records: expected epochs that grow, got \[1, 0\]"),
        ({"layers": 5}, TypeError, r'records\[1\]\["layers"\]: expected a list'),
        ({"layers": [{}]}, ValueError, r'records\[1\]\["layers"\]\[0\]: expected "layer", got'),
        ({"layers": [3]}, TypeError, r'records\[1\]\["layers"\]\[0\]: expected a dict'),
        (
            {"layers": [{"layer": 1, "mean_abs_a": "x", "mean_abs_grad_a": 1.0}]},
            TypeError,
            r'\["mean_abs_a"\]: expected a number',
        ),
        ({"update_ratio": 0.5}, TypeError, r'records\[1\]\["update_ratio"\]: expected a list'),
        ({"update_ratio": [-1.0, "a"]}, TypeError, r'\["update_ratio"\]\[1\]: expected a number'),
    ],
)
def test_records_of_another_shape(change, error, match):
    with pytest.raises(error, match=match):
        plots.layer_strips([record(1), {**record(2), **change}])


def test_the_line_goes_against_the_gradient():
    distances = np.array([-0.1, 0.0, 0.01, 0.5], np.float32)
    line = plots.gradient_line(NET, PARAMS, X, Y, distances=distances, weights=WEIGHTS)
    value, grads = jax.jit(jax.value_and_grad(ffnn.loss_autodiff, argnums=1))(
        NET, PARAMS, X, Y, weights=WEIGHTS
    )
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grads)))
    assert (line.loss, line.norm) == pytest.approx((float(value), float(norm)), rel=1e-5)
    loss = jax.jit(ffnn.loss_autodiff)
    for t, found in zip(distances, line.losses, strict=True):
        moved = jax.tree.map(lambda p, g, t=t: p - (t / norm).astype(p.dtype) * g, PARAMS, grads)
        assert found == pytest.approx(float(loss(NET, moved, X, Y, weights=WEIGHTS)), rel=1e-5)
    assert line.losses[2] < line.loss < line.losses[0]


def test_its_slope_at_0_is_minus_the_norm(x64):
    params, x, y = jax.tree.map(lambda t: jnp.asarray(np.asarray(t, np.float64)), (PARAMS, X, Y))
    line = plots.gradient_line(NET, params, x, y, distances=np.array([-1e-5, 1e-5]))
    assert (line.losses[1] - line.losses[0]) / 2e-5 == pytest.approx(-line.norm, rel=1e-7)


def test_parameters_that_are_all_zero_have_distances_too():
    net = ffnn.Network((2, 1))
    zero = (ffnn.Layer(jnp.zeros((1, 2)), jnp.zeros(1)),)
    line = plots.gradient_line(net, zero, jnp.ones(2), jnp.ones(1))
    assert (line.distances[0], line.distances[-1]) == (-0.125, 0.5)
    # ℒ(t) = (3 t/√3 − 1)²
    np.testing.assert_allclose(line.losses, (np.sqrt(3) * line.distances - 1) ** 2, rtol=1e-5)


def test_distances_by_themselves_and_short_dtypes():
    short = jax.tree.map(lambda t: t.astype(jnp.bfloat16), PARAMS)
    line = plots.gradient_line(NET, short, X, Y)
    assert line.distances.shape == line.losses.shape == (61,)
    size = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(PARAMS)))
    assert (line.distances[0], line.distances[-1]) == pytest.approx((-size / 8, size / 2), rel=0.01)


LINE = plots.GradientLine(np.linspace(-1, 2, 31), np.linspace(-1, 2, 31) ** 2 - 1, -1.0, 0.5)


def test_drawing_of_the_line():
    figure = plots.loss_along_gradient(LINE, learning_rate=2.0)
    loss, tangent, _, _, step = figure.axes[0].get_lines()
    np.testing.assert_allclose(loss.get_data(), LINE[:2])
    np.testing.assert_allclose(tangent.get_ydata(), -1 - 0.5 * LINE.distances)
    assert (step.get_xdata()[0], step.get_ydata()[0]) == pytest.approx((1.0, 0.0))
    assert texts(figure) == {"loss", "tangent", "here", "step of η = 2"}
    check_apart(figure)
    assert len(plots.loss_along_gradient(LINE).axes[0].get_lines()) == 4


def test_bad_lines():
    with pytest.raises(ValueError, match="learning_rate: its step goes to t = 5"):
        plots.loss_along_gradient(LINE, learning_rate=10.0)
    with pytest.raises(ValueError, match="learning_rate: expected a finite number above 0"):
        plots.loss_along_gradient(LINE, learning_rate=-1.0)
    with pytest.raises(TypeError, match="line: expected a GradientLine, got list"):
        plots.loss_along_gradient([1.0])
    with pytest.raises(ValueError, match=r"distances: expected shape \(T,\)"):
        plots.gradient_line(NET, PARAMS, X, Y, distances=np.ones((2, 2)))
    with pytest.raises(TypeError, match="distances: expected a floating dtype"):
        plots.gradient_line(NET, PARAMS, X, Y, distances=np.arange(3))
    with pytest.raises(ValueError, match=r"distances: expected finite .* in float32"):
        plots.gradient_line(NET, PARAMS, X, Y, distances=np.array([1e300]))
    with pytest.raises(TypeError, match="gradient_line looks at values; call it outside jit"):
        jax.jit(lambda x: plots.gradient_line(NET, PARAMS, x, Y).loss)(X)
    with pytest.raises(ValueError, match="distances: expected finite"):
        plots.gradient_line(NET, PARAMS, X, Y, distances=np.array([np.nan]))
