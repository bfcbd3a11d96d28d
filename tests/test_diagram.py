"""The network as SVG and the backward pass as a page: every number of them, against `gradients`."""

import re
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import NETWORKS, examples, name_of
from pages import Page

import ffnn_jax as ffnn
from ffnn_jax.diagram import draw_network, names, write_backward_page
from ffnn_jax.diagram.marks import Mark, check_mark
from ffnn_jax.diagram.quantities import compute
from ffnn_jax.diagram.selection import columns
from ffnn_jax.diagram.steps import tell

SVG = "{http://www.w3.org/2000/svg}"
NET = ffnn.Network((2, 3, 2), activation="tanh", output="softmax")
PARAMS, X, Y, _ = examples(NET, batch=(), seed=1)
HOSTILE = '<script>alert(1)</script> & "it"'


def one(net, seed=0, **options):
    params, x, y, _ = examples(net, batch=(), seed=seed, **options)
    return params, x, y


def texts(svg):
    """The texts of a drawing, each in one line."""
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def paths(svg):
    """(name, class) of each edge."""
    edges = (edge for edge in ET.fromstring(svg).iter(f"{SVG}path") if len(edge))
    return [(edge[0].text.split(" = ")[0], edge.get("class")) for edge in edges]


# Numbers -----------------------------------------------------------------------------------------


def test_short_numbers():
    values = [-0.0, 0.0, -0.5, 1, 100, 1234.5, 1e5, -1e-7, 0.99999, np.inf, -np.inf, np.nan]
    expected = ["0", "0", "−0.5", "1", "100", "1.23e3", "1e5", "−1e−7", "1", "∞", "−∞", "NaN"]
    assert [names.short(value) for value in values] == expected
    assert names.short(1.23456, 4) == "1.235"
    assert names.factor(-2.0) == "(−2)"
    assert not re.search("−0(?![.\\d])", " ".join(map(names.short, [-1e-320, -0.0, -1e-300])))


def test_every_number_is_that_of_gradients():
    """Each card and each label, in order, from the float64 sweep."""
    with jax.enable_x64(True):
        params, x, y = jax.tree.map(
            lambda t: jnp.asarray(np.asarray(t, np.float64)), (PARAMS, X, Y)
        )
        tape = jax.jit(ffnn.forward)(NET, params, x)
        loss, grads = jax.jit(ffnn.gradients)(NET, params, x, y)
    found = texts(draw_network(NET, PARAMS, X, Y))
    assert found[0] == f"ℒ = {names.short(float(loss), 4)}"
    cards = [("x", [tape.h[0], grads.h[0]], ["x", "∇x"])]
    for k in (1, 2):
        b, grad_b = params[k - 1].b, grads.params[k - 1].b
        last = k == 2
        h, grad_h = (tape.yhat, grads.yhat) if last else (tape.h[1], grads.h[1])
        rows = [b, tape.a[k - 1], h, *([y] if last else []), grad_h, grads.a[k - 1], grad_b]
        letter = "ŷ" if last else "h"
        signs = ["b", "a", letter, *(["y"] if last else []), f"∇{letter}", "∇a", "∇b"]
        cards.append((letter if last else "h1", rows, signs))
    at = 0
    for letter, rows, signs in cards:
        for i in range(len(rows[0])):
            at = found.index(f"{letter}{i + 1}", at)
            values = [names.short(float(row[i])) for row in rows]
            expected = [part for pair in zip(signs, values, strict=True) for part in pair]
            assert found[at + 1 : at + 1 + len(expected)] == expected
    for k, layer in enumerate(params, start=1):
        for (i, j), W in np.ndenumerate(np.asarray(layer.W)):
            at = found.index(f"W{k}{i + 1}{j + 1}")
            gradient = names.short(float(grads.params[k - 1].W[i, j]))
            assert found[at + 1 : at + 3] == [names.short(float(W)), f"∇ {gradient}"]


def test_without_an_example_there_are_weights_and_with_x_alone_no_gradient():
    found = texts(draw_network(NET, PARAMS))
    assert not {"a", "h", "ŷ", "∇a"} & set(found)
    found = texts(draw_network(NET, PARAMS, X))
    assert {"a", "h", "ŷ"} <= set(found)
    assert not any("∇" in text for text in found)


def test_a_negative_weight_is_dashed():
    kinds = dict(paths(draw_network(NET, PARAMS)))
    assert len(kinds) == 12
    for k, layer in enumerate(PARAMS, start=1):
        for (i, j), W in np.ndenumerate(np.asarray(layer.W)):
            assert ("minus" in kinds[f"W_{k}{i + 1}{j + 1}"]) == (W < 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_dtypes_and_plans_are_explained_in_float64(dtype):
    net = ffnn.Network((2, 3, 2), "tanh", "softmax", plan=ffnn.Plan(compute_dtype="bfloat16"))
    short = jax.tree.map(lambda t: t.astype(dtype), PARAMS)
    wide = jax.tree.map(lambda t: np.asarray(t).astype(np.float32), short)
    assert draw_network(net, short, X, Y) == draw_network(NET, wide, X, Y)


# What is drawn of large layers -------------------------------------------------------------------


def test_a_large_layer_is_folded_to_its_strongest():
    net = ffnn.Network((20, 30, 3), activation="tanh", output="softmax")
    params, x, y = one(net)
    known = compute(net, params, x, y)
    chosen = columns(net, known)
    assert [column.more for column in chosen] == [15, 25, 0]
    grad_a = np.abs(known.of("∇a", 1))
    assert set(chosen[1].units) == set(np.argsort(-grad_a)[:5] + 1)
    through = np.abs(known.of("h", 0) * known.of("∇h", 0))
    assert set(chosen[0].units) == set(np.argsort(-through)[:5] + 1)
    forward = columns(net, compute(net, params, x))
    assert set(forward[1].units) == set(np.argsort(-np.abs(known.of("h", 1)))[:5] + 1)
    svg = draw_network(net, params, x, y)
    assert {"⋮ 15 more", "⋮ 25 more"} <= set(texts(svg))
    assert "Of layer 1, 5 units are drawn and 25 not." in svg


def test_marked_units_are_drawn_though_weak():
    net = ffnn.Network((20, 30, 3), activation="tanh", output="softmax")
    params, x, y = one(net)
    known = compute(net, params, x, y)
    weak = int(np.argmin(np.abs(known.of("∇a", 1)))) + 1
    chosen = columns(net, known, {1: (weak,)})
    assert weak in chosen[1].units
    assert len(chosen[1].units) == 5
    assert weak not in columns(net, known)[1].units


@pytest.mark.parametrize("n", [1, 6, 7])
def test_six_units_are_not_folded(n):
    net = ffnn.Network((n, 2))
    assert columns(net, compute(net, one(net)[0]))[0].more == (2 if n == 7 else 0)


def test_784_512_512_10():
    net = ffnn.Network((784, 512, 512, 10), output="softmax")
    params, x, y = one(net, classes=True)
    svg = draw_network(net, params, x, y)
    assert [svg.count(f"⋮ {more} more") for more in (779, 507, 5)] == [1, 2, 1]
    assert len(svg) < 60_000
    assert len(paths(svg)) == 75


# Alternative text, hostile text ------------------------------------------------------------------


def test_who_cannot_see_it_is_told():
    root = ET.fromstring(draw_network(NET, PARAMS, X, Y, title="My network"))
    assert root.get("role") == "img"
    title, words = (root.find(f"{SVG}{tag}") for tag in ("title", "desc"))
    assert title.text == "My network"
    assert root.get("aria-labelledby") == f"{title.get('id')} {words.get('id')}"
    assert words.text.startswith("A feedforward network of 2-3-2 units")
    assert re.search(r"Outputs: ŷ_1 = .+ The loss ℒ is \d", words.text)


def test_two_pictures_in_one_page_have_ids_of_their_own():
    ids = [re.findall(r'id="([^"]+)"', draw_network(NET, PARAMS, x)) for x in (X, 2 * X)]
    assert not set(ids[0]) & set(ids[1])


def test_hostile_texts_are_escaped(tmp_path):
    assert texts(draw_network(NET, PARAMS, title=HOSTILE))[0] == HOSTILE

    def value(yhat, y):
        return jnp.sum((yhat - y) ** 2, axis=-1)

    net = ffnn.Network((2, 3, 2), "tanh", "softmax", loss=ffnn.Loss(HOSTILE, value))
    write_backward_page(tmp_path / "page.html", net, PARAMS, X, Y)
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    assert HOSTILE in page.text
    assert len(page.of("script")) == 1


def test_a_long_title_is_cut():
    first = texts(draw_network(NET, PARAMS, title="long " * 100))[0]
    assert re.fullmatch("long .{,90}…", first)


@pytest.mark.parametrize("title", ["a\x00b\x0bc", "a\ufffeb c", "a\ud800b c", "a\x1bb\nc"])
def test_letters_that_xml_has_not(title, tmp_path):
    svg = draw_network(NET, PARAMS, title=title)
    assert texts(svg.encode())[0] == "a b c"

    def value(yhat, y):
        return jnp.sum((yhat - y) ** 2, axis=-1)

    net = ffnn.Network((2, 3, 2), "tanh", "softmax", loss=ffnn.Loss(title, value))
    write_backward_page(tmp_path / "page.html", net, PARAMS, X, Y)
    content = (tmp_path / "page.html").read_text("utf-8")
    assert not any(letter in content for letter in "\x00\x0b\x1b\ufffe")


def test_the_longest_titles_are_cut_as_others():
    short, long = (texts(draw_network(NET, PARAMS, title="il. " * n))[0] for n in (100, 100_000))
    assert long == short


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"params": (ffnn.Layer(PARAMS[0].W.at[1, 0].set(np.nan), PARAMS[0].b), PARAMS[1])}, "W"),
        ({"params": (PARAMS[0], ffnn.Layer(PARAMS[1].W, PARAMS[1].b.at[1].set(np.inf)))}, "b"),
        ({"x": X.at[0].set(np.inf)}, "x"),
        ({"y": Y.at[1].set(np.nan)}, "y"),
    ],
)
def test_numbers_that_are_not_finite(change, match, tmp_path):
    given = {"params": PARAMS, "x": X, "y": Y, **change}
    with pytest.raises(ValueError, match=rf"{match}: expected finite numbers"):
        draw_network(NET, **given)
    with pytest.raises(ValueError, match=rf"{match}: expected finite numbers"):
        write_backward_page(tmp_path / "page.html", NET, **given)


def test_a_drawing_looks_at_values(tmp_path):
    for function in (
        lambda x: draw_network(NET, PARAMS, x),
        lambda x: draw_network(NET, PARAMS),
        lambda x: write_backward_page(tmp_path / "page.html", NET, PARAMS, x, Y),
    ):
        with pytest.raises(TypeError, match="looks at values; call it outside jit and grad"):
            jax.jit(function)(X)


# The page ----------------------------------------------------------------------------------------


def steps_of(net, weight=None, seed=0):
    params, x, y = one(net, seed)
    known = compute(net, params, x, y)
    return tell(net, known, columns(net, known), weight and check_mark(net, weight))


def test_targets_that_do_not_add_to_1():
    params, x, _ = one(NET)
    for y in ([0.5, 0.7], [0.0, 0.0]):
        known = compute(NET, params, x, np.array(y, np.float32))
        step = tell(NET, known, columns(NET, known), None)[5]
        assert step.title == "∇a_{2}"
        assert step.formula.endswith("= ŷ Σ_{c} y_{c} − y")
        _, put_in, result = step.example.split(" = ")
        assert arithmetic(put_in)[0] == pytest.approx(arithmetic(result)[0], abs=2e-4)
    assert steps_of(NET)[5].formula.endswith("= ŷ − y")


def test_the_last_step_tells_the_chain_rule():
    """The factors of the strongest path, and the sum over all, are those of explain_weight."""
    net = ffnn.Network((2, 3, 3, 2), "tanh", "softmax")
    params, x, y = one(net)
    last = steps_of(net, (1, 2, 1))[-1]
    assert names.as_plain(last.formula) == (
        "∂ℒ/∂W_121 = [∂ℒ/∂ŷ · ∂ŷ/∂a_3] · [∂a_3/∂h_2 · ∂h_2/∂a_2] · [∂a_2/∂h_1 · ∂h_1/∂a_1] · "
        "[∂a_1/∂W_121]"
    )
    path, total = names.as_plain(last.example).split(",   all together: ∇W_121 = ")
    symbols, numbers, product = path.removeprefix("The strongest: ").split(" = ")
    found = compute(net, params, x, y)
    ways = {
        (m, n): found.of("∇a", 3)[n]
        * found.of("W", 3)[n, m]
        * found.of("g′", 2)[m]
        * found.of("W", 2)[m, 1]
        * found.of("g′", 1)[1]
        * found.of("h", 0)[0]
        for m in range(3)
        for n in range(2)
    }
    m, n = max(ways, key=lambda way: abs(ways[way]))
    assert symbols == (
        f"∇a_3{n + 1} · W_3{n + 1}{m + 1} · g′(a_2{m + 1}) · W_2{m + 1}2 · g′(a_12) · x_1"
    )
    assert arithmetic(numbers)[0] == pytest.approx(ways[m, n], rel=3e-4)
    assert arithmetic(product)[0] == pytest.approx(ways[m, n], rel=1e-4)
    assert arithmetic(total)[0] == pytest.approx(sum(ways.values()), rel=1e-4)
    assert "So many marked ways lead from it to the loss: 6." in last.words


def test_the_last_step_tells_why_a_gradient_is_zero():
    net = ffnn.Network((2, 3, 2), "relu", "softmax")
    params, x, y = one(net)
    off = (ffnn.Layer(params[0].W, params[0].b.at[1].set(-50)), params[1])
    known = compute(net, off, x, y)
    last = tell(net, known, columns(net, known), Mark(1, 2, 1))[-1]
    assert re.search(
        r"^a_\{12\} = −\S+: this relu is off at this example, no way passes", last.words
    )
    assert names.as_plain(last.example) == "∇W_121 = 0"


def test_weights_without_room_in_the_picture_stand_in_the_box():
    net = ffnn.Network((3, 7, 2), "tanh", "softmax")
    params, x, y = one(net)
    grad_W = compute(net, params, x, y).of("∇W", 2)
    first = steps_of(net)
    box = next(step.example for step in first if step.title == "∇W_{2} and ∇b_{2}")
    i, j = np.unravel_index(np.argmax(np.abs(grad_W)), grad_W.shape)
    told = f"{names.symbol('∇W', 2, i + 1, j + 1)} = {names.short(float(grad_W[i, j]), 5)}"
    assert f"the strongest 3 of 14:   {told},   " in box
    box = next(step.example for step in first if step.title == "∇W_{1} and ∇b_{1}")
    assert "strongest" not in box


def arithmetic(text):
    """The value of numbers, products and sums, as a person reads them, and that without signs."""
    text = re.sub(r"(\d) \(", r"\1 * (", text).replace("·", "*")
    assert re.fullmatch(r"[-−+*/(). e\d]+", text), text
    unsigned = re.sub(r"(?<!e)−", "+", text)
    return tuple(eval(each.replace("−", "-")) for each in (text, unsigned))


@pytest.mark.parametrize("net", NETWORKS[10:], ids=name_of)
def test_examples_are_right_sums(net):
    """What stands left and right of each last equals sign is the same, up to the digits shown."""
    checked = 0
    for step in steps_of(net, (net.depth, 1, 1)):
        for equation in step.example.split(",   "):
            *_, put_in, result = equation.split(" = ")
            if "…" in put_in or re.search("[a-zŷℒ∇]", put_in):
                continue
            value, size = arithmetic(put_in)
            assert value == pytest.approx(arithmetic(result)[0], abs=0.02 * size + 1e-12)
            checked += 1
    assert checked >= net.depth


def test_the_order_is_that_of_the_lecture():
    titles = [names.as_plain(step.title) for step in steps_of(NET, (1, 2, 1))]
    assert titles == [
        "The example x and the parameters θ", "a_1 and h_1", "a_2 and ŷ", "The loss ℒ", "∇ŷ",
        "∇a_2", "∇W_2 and ∇b_2", "∇h_1", "∇a_1", "∇W_1 and ∇b_1", "The chain rule of W_121",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_each_step_brings_what_it_names_and_all_is_there_in_the_end(tmp_path, name):
    net = ffnn.Network((2, 3, 2), name, "softmax")
    write_backward_page(tmp_path / "page.html", net, PARAMS, X, Y)
    page = (tmp_path / "page.html").read_text("utf-8")
    svgs = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(svgs) == 10
    for number, svg in enumerate(svgs[1:], start=2):
        before, now = set(texts(svgs[number - 2])), set(texts(svg))
        assert "fresh" in svg
        assert before <= now
    whole = {text for text in texts(draw_network(net, PARAMS, X, Y)) if not text.startswith("ℒ")}
    inputs = {names.short(float(v)) for v in compute(net, PARAMS, X, Y).of("∇h", 0)}
    assert whole - {"∇x"} - inputs <= set(texts(svgs[-1]))


def test_every_way_from_a_weight_to_the_loss_is_marked(tmp_path):
    net = ffnn.Network((2, 3, 3, 2), "tanh", "softmax")
    params, x, y = one(net)
    write_backward_page(tmp_path / "page.html", net, params, x, y, weight=(1, 2, 1))
    svg = re.findall(r"<svg.*?</svg>", (tmp_path / "page.html").read_text("utf-8"), re.S)[-1]
    marked = {name for name, kind in paths(svg) if "faint" not in kind}
    expected = {"W_121"} | {f"W_2{i}2" for i in (1, 2, 3)}
    expected |= {f"W_3{i}{j}" for i in (1, 2) for j in (1, 2, 3)}
    assert marked == expected
    assert svg.count('class="band"') == len(expected) + 1  # that of the legend
    assert "the ways to the loss from W121" in texts(svg)
    assert svg.count('"card marked"') == 1 + 3 + 2


def test_a_bias_can_be_marked_and_the_weight_of_a_folded_layer_has_its_number(tmp_path):
    assert check_mark(NET, np.array([2, 1, 2])) == Mark(2, 1, 2)
    assert check_mark(NET, (2, 1)) == check_mark(NET, [2, 1, None]) == Mark(2, 1, None)
    net = ffnn.Network((20, 30, 3), "tanh", "softmax")
    params, x, y = one(net)
    write_backward_page(tmp_path / "page.html", net, params, x, y, weight=(1, 29, 17))
    svg = re.findall(r"<svg.*?</svg>", (tmp_path / "page.html").read_text("utf-8"), re.S)[-1]
    found = texts(svg)
    at = found.index("W1,29,17")
    assert found[at + 1] == names.short(float(params[0].W[28, 16]))


def test_the_page_is_whole_and_asks_for_nothing(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write_backward_page(path, NET, PARAMS, X, Y, weight=(2, 1, 1))
    content = path.read_text("utf-8")
    page = Page(content)
    ids = [tag.attributes["id"] for tag in page.tags if "id" in tag.attributes]
    assert len(ids) == len(set(ids)) == 3 * 11
    assert not page.of("link", "img", "iframe", "object")
    assert set(re.findall(r"https?://[^\"' ]+", content)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\(|@import|src=", content)
    assert len(page.of("button")) == 4
    assert page.of("p")[-1].attributes == {"role": "status", "aria-live": "polite"}
    assert all(f"@media {kind}" in content for kind in ("print", "screen and (prefers-reduced"))
    assert "Step 3 of 11" in page.text
    assert [child.name for child in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    "loss", ["huber(0.5)", "quantile(0.9)", "poisson", "smoothed_cross_entropy(0.1)"]
)
def test_losses_with_a_parameter(tmp_path, loss):
    net = ffnn.Network((2, 3, 2), "tanh", "softmax", loss=loss)
    write_backward_page(tmp_path / "page.html", net, PARAMS, X, Y)
    assert loss in Page((tmp_path / "page.html").read_text("utf-8")).text


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ((NET, PARAMS, X[None], Y[None]), ValueError, r"x: expected one example.*x\[0\]"),
        ((NET, PARAMS, X[:1], Y), ValueError, "x: expected shape"),
        ((NET, PARAMS, None, Y), ValueError, "y: expected None without x"),
        ((NET, PARAMS, X, np.int32(2)), ValueError, "y: expected classes from 0 to 1"),
        ((NET, PARAMS[:1], X, Y), ValueError, "params: expected 2 layers"),
        (("net", PARAMS, X, Y), TypeError, "net: expected a Network"),
    ],
)  # fmt: skip
def test_bad_examples(arguments, kind, match):
    with pytest.raises(kind, match=match):
        draw_network(*arguments)


def test_a_network_too_deep_to_draw():
    deep = ffnn.Network((2,) * 14)
    with pytest.raises(ValueError, match="net: expected at most 12 layers in a drawing, got 13"):
        draw_network(deep, ())
    with pytest.raises(ValueError, match="at most 12 layers"):
        write_backward_page("nowhere", deep, (), X, Y)


def test_bad_title():
    with pytest.raises(TypeError, match="title: expected a string"):
        draw_network(NET, PARAMS, title=3)


@pytest.mark.parametrize(
    ("weight", "kind", "match"),
    [
        ((0, 1, 1), ValueError, r"layer: expected 1 to 2 \(counted from 1, as in the lecture\)"),
        ((3, 1, 1), ValueError, "layer: expected 1 to 2"),
        ((1, 4, 1), ValueError, "i: expected 1 to 3"),
        ((1, 3, 3), ValueError, "j: expected 1 to 2"),
        ((1, 1.0, 1), TypeError, "i: expected an int"),
        ((1,), TypeError, r"weight: expected \(layer, i, j\)"),
        ("111", TypeError, r"weight: expected \(layer, i, j\)"),
    ],
)  # fmt: skip
def test_bad_weights(tmp_path, weight, kind, match):
    with pytest.raises(kind, match=match):
        write_backward_page(tmp_path / "page.html", NET, PARAMS, X, Y, weight=weight)
    assert not list(tmp_path.iterdir())


def test_a_page_needs_an_example_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match="y: expected one example, got None"):
        write_backward_page(tmp_path / "page.html", NET, PARAMS, X, None)
    with pytest.raises(OSError, match="missing"):
        write_backward_page(tmp_path / "missing" / "page.html", NET, PARAMS, X, Y)
