"""Parameters of the other libraries, by the libraries themselves: the same outputs, both ways."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ACTIVATIONS, OUTPUTS, assert_close, examples

import ffnn_jax as ffnn
from ffnn_jax import interop

NET = ffnn.Network((5, 7, 6, 3), activation="relu")


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


# PyTorch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("g", ACTIVATIONS)
def test_a_module_of_pytorch_computes_the_same(g, output):
    torch = pytest.importorskip("torch")
    net = ffnn.Network((5, 7, 6, 3), activation=g, output=output, loss="squared_error")
    point = examples(net)
    module = interop.to_torch(net, point.params)
    x = torch.tensor(np.asarray(point.x))
    yhat = module(x)
    assert_close(yhat.detach().numpy(), np.asarray(ffnn.apply(net, point.params, point.x)), 1e-6)
    y = torch.tensor(np.asarray(point.y))
    ((yhat - y) ** 2).sum(-1).mean().backward()
    grads = {name: parameter.grad for name, parameter in module.named_parameters()}
    ours = ffnn.gradients(net, point.params, point.x, point.y)[1].params
    assert_close(interop.from_torch_state(net, grads), ours, 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_state_dicts_both_ways(dtype):
    pytest.importorskip("torch")
    with jax.enable_x64(dtype == "float64"):
        params = examples(NET, dtype=dtype).params
        state = interop.to_torch_state(NET, params)
        assert {str(t.dtype) for t in state.values()} == {f"torch.{dtype}"}
        assert_equal(interop.from_torch_state(NET, state), params)


def test_names_of_other_modules():
    torch = pytest.importorskip("torch")

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 6)
            )
            self.out = torch.nn.Linear(6, 3, bias=False)

        def forward(self, x):
            return self.out(torch.relu(self.layers(x)))

    module = Module()
    params = interop.from_torch_state(NET, module.state_dict())
    x = examples(NET).x
    expected = module(torch.tensor(np.asarray(x))).detach().numpy()
    assert_close(np.asarray(ffnn.apply(NET, params, x)), expected, 1e-6)
    two = ffnn.Network((5, 7, 6))
    module.layers.load_state_dict(interop.to_torch_state(two, params[:2]))
    state = interop.to_torch_state(two, params[:2], prefix="layers.")
    assert set(state) == {n for n in module.state_dict() if n.startswith("layers.")}


def test_a_safetensors_file_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from safetensors.torch import load_model, save_file

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3)
            )

    net = ffnn.Network((5, 7, 3))
    point = examples(net)
    interop.save_safetensors(tmp_path / "ours", net, point.params)
    module = Module()
    load_model(module, tmp_path / "ours")
    found = module.layers(torch.tensor(np.asarray(point.x))).detach().numpy()
    assert_close(found, np.asarray(ffnn.apply(net, point.params, point.x)), 1e-6)
    state = {name: t.to(torch.bfloat16) for name, t in module.state_dict().items()}
    save_file(state, tmp_path / "theirs")
    params = interop.load_safetensors(tmp_path / "theirs", net=net)[1]
    assert_equal(params, jax.tree.map(lambda t: t.astype(jnp.bfloat16), point.params))


def test_state_dicts_that_are_no_plain_network():
    W, b = np.ones((3, 5), np.float32), np.ones(3, np.float32)
    net = ffnn.Network((5, 3))
    with pytest.raises(TypeError, match=r"expected a state_dict\(\)"):
        interop.from_torch_state(net, [W, b])
    for strange in ("bn.running_mean", "1.bias", "lora_A"):
        with pytest.raises(ValueError, match=f"dense layers alone.*{strange}"):
            interop.from_torch_state(net, {"0.weight": W, "0.bias": b, strange: b})
    with pytest.raises(ValueError, match="got nothing"):
        interop.from_torch_state(net, {})
    with pytest.raises(ValueError, match=r"0.weight of shape \(3, 5\).*got \(5, 3\)"):
        interop.from_torch_state(net, {"0.weight": W.T, "0.bias": b})
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(5,\)"):
        interop.from_torch_state(net, {"0.weight": W, "0.bias": np.ones(5, np.float32)})
    with pytest.raises(ValueError, match=r"expected 1 layers.*got 2: 0, 1"):
        interop.from_torch_state(net, {"0.weight": W, "0.bias": b, "1.weight": b})
    with pytest.raises(TypeError, match="expected one of float64"):
        interop.from_torch_state(net, {"0.weight": W.astype(int), "0.bias": b})


# flax --------------------------------------------------------------------------------------------


def test_flax_linen():
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for n in (7, 6):
                x = nn.relu(nn.Dense(n)(x))
            return nn.Dense(3)(x)

    point = examples(NET)
    variables = Net().init(jax.random.key(0), point.x)
    params = interop.from_flax(NET, variables)
    expected = Net().apply(variables, point.x)
    assert_close(ffnn.apply(NET, params, point.x), expected, 1e-6)
    assert_equal(interop.from_flax(NET, variables["params"]), params)
    ours = interop.to_flax(NET, point.params)
    assert jax.tree.structure(ours) == jax.tree.structure(variables)
    expected = ffnn.apply(NET, point.params, point.x)
    assert_close(Net().apply(ours, point.x), expected, 1e-6)
    assert_equal(interop.to_flax(NET, point.params, like=variables), ours)


def test_flax_linen_with_names_of_its_own():
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        def setup(self):
            self.first, self.more, self.end = nn.Dense(5), nn.Dense(5), nn.Dense(5)

        def __call__(self, x):
            return self.end(nn.relu(self.more(nn.relu(self.first(x)))))

    net = ffnn.Network((5, 5, 5, 5))
    point = examples(net)
    variables = Net().init(jax.random.key(0), point.x)
    with pytest.raises(ValueError, match="do not say which layer comes first; pass order"):
        interop.from_flax(net, variables)
    order = ("first", "more", "end")
    params = interop.from_flax(net, variables, order=order)
    assert_close(ffnn.apply(net, params, point.x), Net().apply(variables, point.x), 1e-6)
    with pytest.raises(ValueError, match="order: expected the names of the layers"):
        interop.from_flax(net, variables, order=("first", "more", "last"))
    ours = interop.to_flax(net, point.params, like=variables, order=order)
    assert_close(Net().apply(ours, point.x), ffnn.apply(net, point.params, point.x), 1e-6)


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Sequential(
        nnx.Linear(5, 7, rngs=nnx.Rngs(0)),
        jax.nn.relu,
        nnx.Linear(7, 6, rngs=nnx.Rngs(1)),
        jax.nn.relu,
        nnx.Linear(6, 3, rngs=nnx.Rngs(2)),
    )
    point = examples(NET)
    state = nnx.state(model, nnx.Param)
    params = interop.from_flax(NET, state)
    assert_close(ffnn.apply(NET, params, point.x), model(point.x), 1e-6)
    assert_equal(interop.from_flax(NET, nnx.to_pure_dict(state)), params)
    nnx.update(model, interop.to_flax(NET, point.params, like=state))
    assert_close(model(point.x), ffnn.apply(NET, point.params, point.x), 1e-6)


# haiku, equinox, keras ---------------------------------------------------------------------------


def test_haiku():
    hk = pytest.importorskip("haiku")
    mlp = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([7, 6, 3])(x)))
    plain = hk.without_apply_rng(
        hk.transform(lambda x: hk.Sequential([hk.Linear(6), jax.nn.relu, hk.Linear(3)])(x))
    )
    point = examples(NET)
    tree = mlp.init(jax.random.key(0), point.x)
    params = interop.from_haiku(NET, tree)
    assert_close(ffnn.apply(NET, params, point.x), mlp.apply(tree, point.x), 1e-6)
    ours = interop.to_haiku(NET, point.params)
    expected = ffnn.apply(NET, point.params, point.x)
    assert_close(mlp.apply(ours, point.x), expected, 1e-6)
    assert_equal(interop.to_haiku(NET, point.params, like=tree), ours)
    tree, two = plain.init(jax.random.key(0), point.x), ffnn.Network((5, 6, 3))
    params = interop.from_haiku(two, tree)  # "linear" and "linear_1"
    assert_close(ffnn.apply(two, params, point.x), plain.apply(tree, point.x), 1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_equinox(bias):
    eqx = pytest.importorskip("equinox")
    net = ffnn.Network((5, 7, 7, 3), activation="tanh")
    mlp = eqx.nn.MLP(5, 3, 7, 2, activation=jnp.tanh, use_final_bias=bias, key=jax.random.key(0))
    point = examples(net)
    params = interop.from_equinox(net, mlp)
    expected = jax.vmap(mlp)(point.x)
    assert_close(ffnn.apply(net, params, point.x), expected, 1e-6)
    if bias:
        ours = interop.to_equinox(net, point.params, mlp)
        expected = ffnn.apply(net, point.params, point.x)
        assert_close(jax.vmap(ours)(point.x), expected, 1e-6)
    else:
        with pytest.raises(ValueError, match=r"like: expected a bias in layers\.2"):
            interop.to_equinox(net, point.params, mlp)
        assert_equal(interop.from_equinox(net, interop.to_equinox(net, params, mlp)), params)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras's own
def test_keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((5,)), dense(7, "relu"), dense(6, "relu"), dense(3)])
    point = examples(NET)
    params = interop.from_keras(NET, model.get_weights())
    x = np.asarray(point.x)
    with jax.numpy_rank_promotion("allow"):  # keras adds its biases so
        found = np.asarray(model(x))
        model.set_weights(interop.to_keras(NET, point.params))
        again = np.asarray(model(x))
    assert_close(np.asarray(ffnn.apply(NET, params, x)), found, 1e-6)
    assert_close(again, np.asarray(ffnn.apply(NET, point.params, x)), 1e-6)


def test_lists_that_are_no_weights_of_keras():
    weights = interop.to_keras(NET, examples(NET).params)
    with pytest.raises(ValueError, match="expected 6 arrays"):
        interop.from_keras(NET, weights[:-1])
    with pytest.raises(TypeError, match="weights: expected a list"):
        interop.from_keras(NET, weights[0])
    with pytest.raises(ValueError, match=r"layer 1.weight of shape \(5, 7\)"):
        interop.from_keras(NET, [weights[0].T, *weights[1:]])


# scikit-learn ------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("classes", [2, 3])
def test_sklearn_classifiers(activation, classes, x64):
    neural = pytest.importorskip("sklearn.neural_network")
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((30, 4)), np.arange(30) % classes
    model = neural.MLPClassifier((6, 5), activation=activation, solver="lbfgs", max_fun=9)
    with warnings.catch_warnings(action="ignore"):  # it has not converged, from most starts
        model.fit(x, y)
    net, params = interop.from_sklearn(model)
    assert net.output == ("logistic" if classes == 2 else "softmax")
    found = np.asarray(ffnn.apply(net, params, x))
    expected = model.predict_proba(x)
    assert_close(found, expected[:, 1:] if classes == 2 else expected, 1e-13)
    coefs, intercepts = interop.to_sklearn(net, params)
    assert_equal((coefs, intercepts), (model.coefs_, model.intercepts_))


def test_sklearn_regressors(x64):
    neural = pytest.importorskip("sklearn.neural_network")
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((30, 4)), draw.standard_normal((30, 2))
    model = neural.MLPRegressor(hidden_layer_sizes=(6,), solver="lbfgs", max_fun=9)
    with pytest.raises(ValueError, match="expected a fitted one"):
        interop.from_sklearn(model)
    with pytest.warns(UserWarning, match="lbfgs"):
        model.fit(x, y)
    net, params = interop.from_sklearn(model)
    assert net == ffnn.Network((4, 6, 2))
    assert_close(np.asarray(ffnn.apply(net, params, x)), model.predict(x), 1e-13)
    with pytest.raises(TypeError, match="expected an MLPClassifier"):
        interop.from_sklearn(net)
    model.out_activation_ = "exp"
    with pytest.raises(ValueError, match="the output 'exp' is none of"):
        interop.from_sklearn(model)
