"""The lecture, executed: its formulas and claims in its order, with its numbers.

  Output functions and loss functions
    real values     squared error, linear output, why not logistic, affine output, expected value
    probabilities   softmax, cross-entropy, log-likelihood, ŷ_ℓ as a function of θ
    the table       which output goes with which loss
  Back propagation
    one weight      W_112, gradient descent, the deep but thin network, compressed chain rules
    responsibility  the output layer, the hidden layers, all weights and biases
    the roadmap     gradients w.r.t. output units, hidden units, weights and biases

One side of every comparison is the library, the other is arithmetic in plain Python or NumPy (or
`jax.grad` of a formula written out here). All of it is in float64: ε is 2e-16, TIGHT is 1e-12.
"""

import itertools
import math
import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ffnn_jax as ffnn

TIGHT = {"rtol": 1e-12, "atol": 1e-15}
close = partial(np.testing.assert_allclose, **TIGHT)


def compiled(function, **options):
    """The function compiled, once for each network and shape; its results are NumPy arrays."""
    compiled_function = jax.jit(function, **options)
    return lambda *args, **kwargs: jax.device_get(compiled_function(*args, **kwargs))


apply = compiled(ffnn.apply)
forward = compiled(ffnn.forward)
loss = compiled(ffnn.loss)
gradients = compiled(ffnn.gradients)
grad_of_loss = compiled(jax.grad(ffnn.loss, argnums=1))
grad_by_jax = compiled(jax.grad(ffnn.loss_autodiff, argnums=1))

Y = [0.35, 0.25, 0.4]  # the notes' y
YHAT = [0.25, 0.45, 0.3]  # and ŷ

CLASSIFIER = ffnn.Network((2, 3, 2, 3), activation="tanh", output="softmax")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


# By hand: what the library is compared with ------------------------------------------------------


def draw(sizes, seed=0, scale=1.0):
    """θ = (W_1, b_1, …, W_L, b_L), every entry drawn from N(0, scale²), as NumPy arrays."""
    rng = np.random.default_rng(seed)
    return tuple(
        ffnn.Layer(rng.normal(0, scale, (n, m)), rng.normal(0, scale, n))
        for m, n in itertools.pairwise(sizes)
    )


def examples(n, seed=1):
    """n examples of two inputs, and a class out of three for each."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), np.arange(n) % 3


def pass_through(n, output, loss=None):
    """A network whose a_L is its input: W = I, b = 0."""
    theta = (ffnn.Layer(np.eye(n), np.zeros(n)),)
    return ffnn.Network((n, n), output=output, loss=loss), theta


def softmax(a):
    """e^{a_j} / Σ_i e^{a_i} of a list of numbers."""
    total = sum(math.exp(t) for t in a)
    return [math.exp(t) / total for t in a]


def tanh_network(theta, x):
    """(a_1, …, a_L), (h_0, …, h_{L−1}) of one example."""
    a, h = [], [x]
    for W, b in theta:
        a.append(W @ h[-1] + b)
        h.append(np.tanh(a[-1]))
    return a, h[:-1]


def classify(theta, x):
    """ŷ of one example: tanh layers, then softmax."""
    return np.array(softmax(tanh_network(theta, x)[0][-1]))


def mean_cross_entropy(theta, xs, classes):
    """(1/N) Σ_i −log ŷ_iℓ."""
    return sum(-math.log(classify(theta, x)[c]) for x, c in zip(xs, classes, strict=True)) / len(xs)


def each_parameter(theta):
    """(layer, “W” or “b”, index) of every single number in θ."""
    for k, layer in enumerate(theta):
        for name in ("W", "b"):
            for index in np.ndindex(getattr(layer, name).shape):
                yield k, name, index


def changed(theta, where, by):
    """θ with one number of it changed."""
    k, name, index = where
    array = getattr(theta[k], name).copy()
    array[index] += by
    return (*theta[:k], theta[k]._replace(**{name: array}), *theta[k + 1 :])


def entry(theta, where):
    k, name, index = where
    return getattr(theta[k], name)[index]


def descend(net, theta, x, y, rate, steps):
    """θ ← θ − η ∇θ, `steps` times."""
    for _ in range(steps):
        grads = grad_of_loss(net, theta, x, y)
        theta = jax.tree.map(lambda t, g: t - rate * g, theta, grads)
    return theta


def close_trees(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        close(one, other, **tolerance)


# g and g′ as functions of a, in plain Python.
G = {
    "tanh": (math.tanh, lambda a: 1 / math.cosh(a) ** 2),
    "sigmoid": (
        lambda a: 1 / (1 + math.exp(-a)),
        lambda a: math.exp(-a) / (1 + math.exp(-a)) ** 2,
    ),
    "softplus": (lambda a: math.log(1 + math.exp(a)), lambda a: 1 / (1 + math.exp(-a))),
    "relu": (lambda a: max(a, 0.0), lambda a: 1.0 if a > 0 else 0.0),
}


# Output functions and loss functions: real values ------------------------------------------------


def test_squared_error_of_three_ratings():
    """ℒ(θ) = (1/N) Σ_i Σ_{j=1}^3 (ŷ_ij − y_ij)², “Here y_i ∈ R³”."""
    net = ffnn.Network((2, 4, 3), activation="tanh", output="linear")
    theta = draw(net.sizes)
    movies, _ = examples(5)
    ratings = np.array([[8.1, 7.7, 60.0], [5, 6, 40], [9, 8.5, 88], [3, 2, 10], [7, 7, 70]])
    N, total = 5, 0.0
    for i in range(N):
        yhat = tanh_network(theta, movies[i])[0][-1]
        for j in range(3):
            total += (yhat[j] - ratings[i, j]) ** 2
    close(loss(net, theta, movies, ratings), total / N)


def test_squared_error_captures_how_much_yhat_deviates_from_y():
    """“The loss function should capture how much ŷ_i deviates from y_i”."""
    net, theta = pass_through(3, "linear")
    y = np.array([[8.0, 7.0, 60.0]])
    by = [loss(net, theta, y + deviation, y) for deviation in (0.0, 0.5, -1.0, 2.0)]
    assert by == [0.0, 3 * 0.25, 3 * 1.0, 3 * 4.0]


def test_squared_error_of_the_notes_vectors():
    """y = [0.35 0.25 0.4], ŷ = [0.25 0.45 0.3]: 0.1² + 0.2² + 0.1²."""
    net, theta = pass_through(3, "linear")
    close(loss(net, theta, np.array([YHAT]), np.array([Y])), 0.06)


def test_logistic_output_stays_between_0_and_1():
    """“No, because it restricts ŷ_i to a value between 0 & 1”."""
    net, theta = pass_through(1, "logistic")
    a = np.linspace(-30, 30, 61)
    yhat = apply(net, theta, a[:, None])[:, 0]
    close(yhat, [1 / (1 + math.exp(-t)) for t in a])
    assert np.all((yhat > 0) & (yhat < 1))
    assert np.all(np.diff(yhat) > 0)


def test_logistic_output_keeps_a_loss_that_no_parameters_remove():
    """“But we want ŷ_i ∈ R”: a target of 2.5 is at least 1.5 away from any ŷ < 1."""
    net = ffnn.Network((2, 3, 1), activation="tanh", output="logistic", loss="squared_error")
    x, y = np.array([[1.0, -0.5]]), np.array([[2.5]])
    for seed in range(100):
        theta = draw(net.sizes, seed, scale=1 + seed / 10)
        assert loss(net, theta, x, y) >= 1.5**2
    learned = descend(net, draw(net.sizes), x, y, rate=0.5, steps=300)
    assert 1.5**2 < loss(net, learned, x, y) < 1.5**2 + 0.05


def test_linear_output_fits_any_real_number():
    """“So, in such cases it makes sense to have 'O' as linear function”."""
    net = ffnn.Network((2, 3, 1), activation="tanh", output="linear")
    x, y = np.array([[1.0, -0.5], [-1.0, 2.0]]), np.array([[2.5], [-40.0]])
    learned = descend(net, draw(net.sizes), x, y, rate=0.05, steps=600)
    assert loss(net, learned, x, y) < 1e-10
    np.testing.assert_allclose(apply(net, learned, x), y, atol=1e-4)


def test_affine_output_is_a_linear_layer_after_an_identity_one():
    """f(x) = h_L = O(a_L) = W_O a_L + b_O."""
    net = ffnn.Network((2, 4, 3, 2), activation=("tanh", "identity"), output="linear")
    theta = draw(net.sizes)
    (W_1, b_1), (W_L, b_L), (W_O, b_O) = theta
    x, y = np.array([[0.3, -1.2]]), np.array([[1.0, 2.0]])
    a_L = W_L @ np.tanh(W_1 @ x[0] + b_1) + b_L
    yhat = W_O @ a_L + b_O
    close(apply(net, theta, x)[0], yhat)
    _, grads = gradients(net, theta, x, y)
    close(grads.params[2].W, np.outer(2 * (yhat - y[0]), a_L))
    close(grads.params[2].b, 2 * (yhat - y[0]))
    close(grads.a[1][0], W_O.T @ (2 * (yhat - y[0])))


EXPECTED_VALUE = ffnn.Loss("expected_value", lambda q, V: jnp.sum(q * V, axis=-1))
V = [3.0, -1.0, 4.0, 1.5]


def test_expected_value_of_the_outputs():
    """Σ_{i=1}^4 q(i) V(i), q the network's own ŷ; ∂/∂a_j of it is q_j (V_j − Σ_i q_i V_i)."""
    net, theta = pass_through(4, "softmax", EXPECTED_VALUE)
    a = [0.5, -0.25, 1.0, -2.0]
    q = softmax(a)
    mean = sum(q[i] * V[i] for i in range(4))
    value, grads = gradients(net, theta, np.array([a]), np.array([V]))
    close(value, mean)
    close(grads.yhat[0], V)
    close(grads.a[0][0], [q[j] * (V[j] - mean) for j in range(4)])


def test_expected_value_of_the_loss():
    """Σ_{i=1}^4 q(i) V(i), V(i) the loss of example i and q(i) its weight."""
    net, theta = pass_through(1, "linear")
    q, yhat, y = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0], [0.0, 5.0, 3.5, -1.0]
    values = [(yhat[i] - y[i]) ** 2 for i in range(4)]
    assert values == [1.0, 9.0, 0.25, 25.0]
    got = loss(net, theta, np.array(yhat)[:, None], np.array(y), weights=np.array(q))
    close(got, 0.1 * 1 + 0.2 * 9 + 0.3 * 0.25 + 0.4 * 25)


# Output functions and loss functions: probabilities ----------------------------------------------


def test_squared_error_could_be_used_for_classes_too():
    """“Here again we could use the squared error loss”: ∇a_L = J_Oᵀ 2(ŷ − y)."""
    net, theta = pass_through(3, "softmax", "squared_error")
    a, y = [0.2, -0.4, 1.1], [0, 1, 0]
    yhat = softmax(a)
    value, grads = gradients(net, theta, np.array([a]), np.array([1]))
    close(value, sum((yhat[j] - y[j]) ** 2 for j in range(3)))
    expected = [
        sum(2 * (yhat[i] - y[i]) * yhat[i] * ((i == j) - yhat[j]) for i in range(3))
        for j in range(3)
    ]
    close(grads.a[0][0], expected)


def test_cross_entropy_is_better_where_the_network_is_sure_and_wrong():
    """“But can you think of a better function?” One that still says what to do at ŷ_ℓ ≈ 0."""
    sure_and_wrong, true_class = np.array([[20.0, 0.0, 0.0]]), np.array([1])
    squared, theta = pass_through(3, "softmax", "squared_error")
    entropy, _ = pass_through(3, "softmax", "cross_entropy")
    of_squared, grads_of_squared = gradients(squared, theta, sure_and_wrong, true_class)
    of_entropy, grads_of_entropy = gradients(entropy, theta, sure_and_wrong, true_class)
    assert of_squared < 2
    assert np.abs(grads_of_squared.a[0]).max() < 1e-7
    np.testing.assert_allclose(of_entropy, 20, rtol=1e-9)
    np.testing.assert_allclose(grads_of_entropy.a[0], [[1, -1, 0]], atol=1e-8)


def test_y_and_yhat_of_the_notes_are_distributions():
    """“Notice that y is a probability distribution”; ŷ = softmax(a) for a_j = log ŷ_j."""
    assert math.isclose(sum(Y), 1)
    assert math.isclose(sum(YHAT), 1)
    net, theta = pass_through(3, "softmax")
    close(apply(net, theta, np.log([YHAT])), [YHAT])


def test_yhat_is_a_distribution():
    """“We should also ensure that ŷ is a probability distribution”: softmax does, linear not."""
    x, _ = examples(6)
    for seed in range(20):
        yhat = apply(CLASSIFIER, draw(CLASSIFIER.sizes, seed, scale=3.0), x)
        close(yhat.sum(axis=1), np.ones(6))
        assert np.all((yhat >= 0) & (yhat <= 1))
    for other in ("linear", "logistic"):
        net = ffnn.Network(CLASSIFIER.sizes, activation="tanh", output=other)
        yhat = apply(net, draw(net.sizes), x)
        assert np.abs(yhat.sum(axis=1) - 1).min() > 1e-3


def test_softmax_formula():
    """ŷ_j = O(a_L)_j = e^{a_L,j} / Σ_i e^{a_L,i}."""
    net, theta = pass_through(4, "softmax")
    a_L = [[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0], [-3.0, 0.5, 0.5, 7.0]]
    yhat = apply(net, theta, np.array(a_L))
    assert yhat[0].tolist() == [0.25, 0.25, 0.25, 0.25]
    for row, a in zip(yhat, a_L, strict=True):
        for j in range(4):
            close(row[j], math.exp(a[j]) / sum(math.exp(a[i]) for i in range(4)))


def test_softmax_of_10_minus_20_30():
    """a_1 = [10 −20 30], ŷ_1 = e^10 / (e^10 + e^20 + e^30): the middle term has to be e^{−20}.

    The notes print e^20 where the entry is −20. The two differ by 4.5e-5 of the value.
    """
    net, theta = pass_through(3, "softmax")
    yhat = apply(net, theta, np.array([[10.0, -20.0, 30.0]]))[0]
    e = math.exp
    total = e(10) + e(-20) + e(30)
    close(yhat, [e(10) / total, e(-20) / total, e(30) / total], atol=0)
    close(yhat[0], 2.06115361819020e-9, atol=0)
    as_printed = e(10) / (e(10) + e(20) + e(30))
    assert abs(yhat[0] - as_printed) > 4e-5 * yhat[0]
    # The printed sum belongs to (10, +20, 30).
    close(apply(net, theta, np.array([[10.0, 20.0, 30.0]]))[0, 0], as_printed, atol=0)


def test_cross_entropy_of_the_notes_vectors():
    """ℒ(θ) = −Σ_c y_c log ŷ_c, y = [0.35 0.25 0.4], ŷ = [0.25 0.45 0.3]; ∂ℒ/∂ŷ_c = −y_c / ŷ_c."""
    net, theta = pass_through(3, "softmax")
    value, grads = gradients(net, theta, np.log([YHAT]), np.array([Y]))
    by_hand = -(0.35 * math.log(0.25) + 0.25 * math.log(0.45) + 0.4 * math.log(0.3))
    close(value, by_hand)
    np.testing.assert_allclose(value, 1.166419, atol=5e-7)
    close(grads.yhat[0], [-0.35 / 0.25, -0.25 / 0.45, -0.4 / 0.3])
    close(grads.a[0][0], [-0.1, 0.2, -0.1])


def test_cross_entropy_captures_the_difference_between_two_distributions():
    """“A function which captures the difference between them”: least where ŷ = y."""
    net, theta = pass_through(3, "softmax")

    def of(yhat):
        return loss(net, theta, np.log([yhat]), np.array([Y]))

    least = of(Y)
    close(least, -sum(p * math.log(p) for p in Y))
    _, grads = gradients(net, theta, np.log([Y]), np.array([Y]))
    np.testing.assert_allclose(grads.a[0], np.zeros((1, 3)), atol=1e-15)
    for yhat in np.random.default_rng(0).dirichlet(np.ones(3), 20):
        assert of(yhat) > least
        by_hand = sum(p * math.log(p / q) for p, q in zip(Y, yhat, strict=True))
        np.testing.assert_allclose(of(yhat) - least, by_hand, atol=1e-14)


@pytest.mark.parametrize("true_class", [0, 1, 2])
def test_cross_entropy_of_a_class_is_minus_log_yhat_of_it(true_class):
    """“y_c = 1 if c = ℓ (the true class label), 0 otherwise ∴ ℒ(θ) = −log ŷ_ℓ”."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(1)
    yhat = classify(theta, x[0])
    one_hot = [1.0 if c == true_class else 0.0 for c in range(3)]
    by_hand = -math.log(yhat[true_class])
    close(-sum(one_hot[c] * math.log(yhat[c]) for c in range(3)), by_hand)
    close(loss(CLASSIFIER, theta, x, np.array([true_class])), by_hand)
    close(loss(CLASSIFIER, theta, x, np.array([one_hot])), by_hand)


def test_a_class_and_its_one_hot_y_have_the_same_gradients():
    """The same line, for a batch: class y and one-hot y are two ways to write one thing."""
    theta = draw(CLASSIFIER.sizes)
    x, classes = examples(6)
    of_classes = gradients(CLASSIFIER, theta, x, classes)
    of_one_hot = gradients(CLASSIFIER, theta, x, np.eye(3)[classes])
    close(of_classes[0], mean_cross_entropy(theta, x, classes))
    close_trees(of_classes, of_one_hot)


def test_h_L_is_yhat_is_f_of_x():
    """h_L = ŷ = f(x)."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(6)
    by_hand = [classify(theta, one) for one in x]
    close(apply(CLASSIFIER, theta, x), by_hand)
    close(forward(CLASSIFIER, theta, x).yhat, by_hand)


def test_minimising_the_loss_is_maximising_the_log_likelihood():
    """“minimize ℒ(θ) = −log ŷ_ℓ or maximize −ℒ(θ) = log ŷ_ℓ”."""
    x, true_class = examples(1)[0], np.array([2])
    thetas = [draw(CLASSIFIER.sizes, seed) for seed in range(20)]
    losses = [loss(CLASSIFIER, theta, x, true_class) for theta in thetas]
    likelihoods = [math.log(classify(theta, x[0])[2]) for theta in thetas]
    close(losses, [-t for t in likelihoods])
    assert np.argmin(losses) == np.argmax(likelihoods)

    def log_likelihood(theta):
        return jnp.log(ffnn.apply(CLASSIFIER, theta, x)[0, 2])

    uphill = compiled(jax.grad(log_likelihood))(thetas[0])
    downhill = grad_of_loss(CLASSIFIER, thetas[0], x, true_class)
    close_trees(uphill, jax.tree.map(operator.neg, downhill))


def test_yhat_of_the_true_class_is_a_function_of_every_parameter():
    """“Is ŷ_ℓ a function of θ = [W_1, …, b_L]? Yes, it is indeed a function of θ”."""
    theta = draw(CLASSIFIER.sizes)
    x, true_class = examples(1)[0], 2
    before = apply(CLASSIFIER, theta, x)[0, true_class]
    for where in each_parameter(theta):
        other = changed(theta, where, 0.1)
        after = apply(CLASSIFIER, other, x)[0, true_class]
        assert abs(after - before) > 1e-5, where
        close(after, classify(other, x[0])[true_class])


def test_learning_brings_yhat_of_the_true_class_close_to_1():
    """ŷ_ℓ is “the probability that x belongs to the ℓ-th class (bring it as close to 1)”."""
    theta = draw(CLASSIFIER.sizes)
    x, true_class = examples(1)[0], np.array([2])
    assert classify(theta, x[0])[2] < 0.9
    learned = descend(CLASSIFIER, theta, x, true_class, rate=0.5, steps=300)
    assert 0.99 < classify(learned, x[0])[2] < 1


def test_log_likelihood_of_the_data():
    """“log ŷ_ℓ is called the log-likelihood of the data”: e^{−Nℒ} is the product of all ŷ_iℓ."""
    theta = draw(CLASSIFIER.sizes)
    x, classes = examples(6)
    likelihood = math.prod(classify(theta, x[i])[classes[i]] for i in range(6))
    close(math.exp(-6 * loss(CLASSIFIER, theta, x, classes)), likelihood)


# The table of outputs and losses -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "own_loss", "by_hand"),
    [
        ("linear", "squared_error", lambda a: (a[0] - 1) ** 2 + a[1] ** 2),
        ("softmax", "cross_entropy", lambda a: -math.log(softmax(a)[0])),
    ],
)
def test_table_of_outputs_and_losses(output, own_loss, by_hand):
    """Real values: linear, squared error. Probabilities: softmax, cross-entropy."""
    net, theta = pass_through(2, output)
    assert net.loss == own_loss
    a = [0.7, -1.3]
    close(loss(net, theta, np.array([a]), np.array([[1.0, 0.0]])), by_hand(a))


@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_with_its_own_loss_the_output_passes_on_a_plain_difference(output):
    """The same table, at a_L: ∂ℒ/∂a_L is 2(ŷ − y)/N for real values, (ŷ − y)/N for classes."""
    net, theta = pass_through(3, output)
    a = np.array([[0.1, 0.2, -0.5], [1.0, -2.0, 0.0]])
    y = np.eye(3)[[2, 0]]
    if output == "linear":
        expected = 2 * (a - y) / 2
    else:
        expected = (np.array([softmax(row) for row in a]) - y) / 2
    close(gradients(net, theta, a, y)[1].a[0], expected)


def test_there_could_be_other_loss_functions():
    """“Of course, there could be other loss functions depending on the problem at hand”."""
    absolute = ffnn.Loss("absolute_error", lambda yhat, y: jnp.sum(jnp.abs(yhat - y), axis=-1))
    net, theta = pass_through(3, "linear", absolute)
    value, grads = gradients(net, theta, np.array([YHAT]), np.array([Y]))
    close(value, 0.1 + 0.2 + 0.1)
    close(grads.yhat[0], [-1.0, 1.0, -1.0])


# Back propagation: one weight --------------------------------------------------------------------


def test_W_112_joins_input_2_to_unit_1_of_layer_1():
    """“Let us focus on this one weight (W_112)”: it stands at params[0].W[0, 1]."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(6)
    before = forward(CLASSIFIER, theta, x).a[0]
    after = forward(CLASSIFIER, changed(theta, (0, "W", (0, 1)), 0.5), x).a[0]
    close((after - before)[:, 0], 0.5 * x[:, 1])
    assert np.array_equal(after[:, 1:], before[:, 1:])


def test_gradient_of_W_112_is_a_sum_over_all_paths_to_the_loss():
    """“To learn this weight using SGD we need a formula for ∂ℒ(θ)/∂W_112”.

    W_112 → a_11 → h_11 → a_2m → h_2m → a_3j → ŷ_i → ℒ, for every m, j and i.
    """
    theta = draw(CLASSIFIER.sizes)
    x, true_class = [0.8, -0.6], 1
    (a_1, a_2, a_3), _ = tanh_network(theta, np.array(x))
    yhat = softmax(a_3)
    W_2, W_3 = theta[1].W, theta[2].W
    g_prime = G["tanh"][1]

    total = 0.0
    for m, j, i in itertools.product(range(2), range(3), range(3)):
        dL_dyhat = -1 / yhat[i] if i == true_class else 0.0
        dyhat_da3 = yhat[i] * ((1 if i == j else 0) - yhat[j])
        da3_dh2, dh2_da2 = W_3[j, m], g_prime(a_2[m])
        da2_dh1, dh1_da1 = W_2[m, 0], g_prime(a_1[0])
        da1_dW = x[1]
        total += dL_dyhat * dyhat_da3 * da3_dh2 * dh2_da2 * da2_dh1 * dh1_da1 * da1_dW

    assert abs(total) > 1e-3
    one_example = (CLASSIFIER, theta, np.array([x]), np.array([true_class]))
    close(gradients(*one_example)[1].params[0].W[0, 1], total)
    close(grad_of_loss(*one_example)[0].W[0, 1], total)
    close(grad_by_jax(*one_example)[0].W[0, 1], total)


DESCENT = ffnn.Network((2, 3, 3), activation="tanh", output="softmax")
ETA = 0.5


def descent_by_hand(theta, x, classes, eta, max_iterations):
    """The notes' algorithm in NumPy, ∇θ written out: (θ_T, the losses at θ_0, …, θ_{T−1})."""
    (W_1, b_1), (W_2, b_2) = theta
    N, losses = len(x), []
    y = np.eye(3)[classes]
    t = 0
    while t < max_iterations:
        h = np.tanh(x @ W_1.T + b_1)
        e = np.exp(h @ W_2.T + b_2)
        yhat = e / e.sum(axis=1, keepdims=True)
        losses.append(-np.log(yhat[np.arange(N), classes]).mean())
        grad_a2 = (yhat - y) / N
        grad_a1 = (grad_a2 @ W_2) * (1 - h**2)
        W_2, b_2 = W_2 - eta * grad_a2.T @ h, b_2 - eta * grad_a2.sum(axis=0)
        W_1, b_1 = W_1 - eta * grad_a1.T @ x, b_1 - eta * grad_a1.sum(axis=0)
        t += 1
    return (ffnn.Layer(W_1, b_1), ffnn.Layer(W_2, b_2)), losses


@pytest.fixture(scope="module")
def descent():
    """θ_0, x, classes, and what the library's gradient_descent() makes of them."""
    theta = draw(DESCENT.sizes)
    x, classes = examples(12)
    with jax.enable_x64(True):
        result = ffnn.gradient_descent(
            DESCENT, theta, x, classes, learning_rate=ETA, max_iterations=1000
        )
    return theta, x, classes, jax.device_get(result)


def test_gradient_descent(descent):
    """“Initialize θ_0; while t++ < max_iterations do θ_{t+1} ← θ_t − η∇θ_t”."""
    theta, x, classes, result = descent
    theta_1000, losses = descent_by_hand(theta, x, classes, ETA, 1000)
    assert result.losses.shape == (1000,)
    close(result.losses, losses, rtol=1e-10)
    for (W, b), (W_by_hand, b_by_hand) in zip(result.params, theta_1000, strict=True):
        close(W, W_by_hand, rtol=1e-10)
        close(b, b_by_hand, rtol=1e-10)


def test_gradient_descent_starts_at_theta_0_and_goes_down(descent):
    """The same lines: losses[t] is ℒ(θ_t), and a step against the gradient makes it smaller."""
    theta, x, classes, result = descent
    losses = result.losses
    close(losses[0], mean_cross_entropy(theta, x, classes))
    assert np.all(np.diff(losses) < 0)
    assert mean_cross_entropy(result.params, x, classes) < losses[-1]
    assert losses[-1] < losses[0] / 2


def test_gradient_descent_stops_after_1000_iterations_by_itself(descent):
    """“max_iterations ← 1000”."""
    theta, x, classes, result = descent
    by_default = ffnn.gradient_descent(DESCENT, theta, x, classes, learning_rate=ETA)
    assert by_default.losses.shape == (1000,)
    close_trees(by_default.params, result.params)


def test_gradient_descent_of_one_iteration(descent):
    """θ_1 ← θ_0 − η∇θ_0, every weight and bias by its own formula."""
    theta, x, classes, _ = descent
    result = ffnn.gradient_descent(DESCENT, theta, x, classes, learning_rate=ETA, max_iterations=1)
    theta_1, losses = descent_by_hand(theta, x, classes, ETA, 1)
    close(result.losses, losses)
    close_trees(tuple(result.params), theta_1)


# The deep but thin network: 1-1-1-1 --------------------------------------------------------------


def thin_forward(theta, x, names):
    """a_1, h_1, a_2, h_2 of a network with one unit in each hidden layer, in plain Python."""
    W_111, b_1 = float(theta[0].W[0, 0]), float(theta[0].b[0])
    W_211, b_2 = float(theta[1].W[0, 0]), float(theta[1].b[0])
    a_1 = W_111 * x + b_1
    h_1 = G[names[0]][0](a_1)
    a_2 = W_211 * h_1 + b_2
    h_2 = G[names[1]][0](a_2)
    return a_1, h_1, a_2, h_2


def on_the_way_down(grads):
    """What the sweep knows after each factor of the chain, from ∂ℒ/∂ŷ to ∂ℒ/∂W_111."""
    return [
        grads.yhat,
        grads.a[2],
        grads.h[2],
        grads.a[1],
        grads.h[1],
        grads.a[0],
        grads.params[0].W,
    ]


THIN_X = 1.5
THIN = (  # W_111, b_11 and W_211, b_21; the output layer is each test's own
    ffnn.Layer(np.array([[0.9]]), np.array([0.2])),
    ffnn.Layer(np.array([[0.8]]), np.array([0.1])),
)
THIN_TO_ONE = (*THIN, ffnn.Layer(np.array([[-1.3]]), np.array([0.4])))
HIDDEN = [("tanh", "sigmoid"), ("softplus", "relu")]


@pytest.mark.parametrize("names", HIDDEN, ids="-".join)
@pytest.mark.parametrize(("output", "y"), [("linear", 2.5), ("logistic", 1.0)])
def test_chain_rule_of_the_thin_network(output, y, names):
    """∂ℒ/∂W_111 = ∂ℒ/∂ŷ · ∂ŷ/∂a_3 · ∂a_3/∂h_2 · ∂h_2/∂a_2 · ∂a_2/∂h_1 · ∂h_1/∂a_1 · ∂a_1/∂W_111."""
    net = ffnn.Network((1, 1, 1, 1), activation=names, output=output)
    theta = THIN_TO_ONE
    a_1, _, a_2, h_2 = thin_forward(theta, THIN_X, names)
    a_3 = -1.3 * h_2 + 0.4
    if output == "linear":  # ℒ = (ŷ − y)²,  ŷ = a_3
        dL_dyhat = 2 * (a_3 - y)
        dyhat_da3 = 1.0
    else:  # ℒ = −log ŷ at y = 1,  ŷ = 1 / (1 + e^{−a_3})
        dL_dyhat = -(1 + math.exp(-a_3))
        dyhat_da3 = math.exp(-a_3) / (1 + math.exp(-a_3)) ** 2
    factors = [
        dL_dyhat,
        dyhat_da3,
        -1.3,  # ∂a_3/∂h_2 = W_311
        G[names[1]][1](a_2),  # ∂h_2/∂a_2 = g′(a_2)
        0.8,  # ∂a_2/∂h_1 = W_211
        G[names[0]][1](a_1),  # ∂h_1/∂a_1 = g′(a_1)
        THIN_X,  # ∂a_1/∂W_111 = x
    ]
    assert abs(math.prod(factors)) > 1e-3

    one_example = (net, theta, np.array([[THIN_X]]), np.array([[y]]))
    _, grads = gradients(*one_example)
    for got, product in zip(
        on_the_way_down(grads), itertools.accumulate(factors, operator.mul), strict=True
    ):
        close(got, [[product]])
    close(grad_by_jax(*one_example)[0].W, [[math.prod(factors)]])


@pytest.mark.parametrize("names", HIDDEN, ids="-".join)
@pytest.mark.parametrize("true_class", [0, 2])
def test_chain_rule_of_the_thin_network_with_softmax(true_class, names):
    """The same product with three softmax outputs: ∂ŷ/∂a_3 is a matrix, ∂a_3/∂h_2 a column."""
    net = ffnn.Network((1, 1, 1, 3), activation=names, output="softmax")
    W_3, b_3 = [-1.3, 0.7, 0.5], [0.4, -0.2, 0.0]
    theta = (*THIN, ffnn.Layer(np.array(W_3)[:, None], np.array(b_3)))
    a_1, _, a_2, h_2 = thin_forward(theta, THIN_X, names)
    yhat = softmax([W_3[j] * h_2 + b_3[j] for j in range(3)])

    dL_dyhat = [-1 / yhat[i] if i == true_class else 0.0 for i in range(3)]
    dL_da3 = [sum(dL_dyhat[i] * yhat[i] * ((i == j) - yhat[j]) for i in range(3)) for j in range(3)]
    dL_dh2 = sum(dL_da3[j] * W_3[j] for j in range(3))
    factors = [dL_dh2, G[names[1]][1](a_2), 0.8, G[names[0]][1](a_1), THIN_X]
    assert abs(math.prod(factors)) > 1e-3

    one_example = (net, theta, np.array([[THIN_X]]), np.array([true_class]))
    _, grads = gradients(*one_example)
    close(grads.yhat, [dL_dyhat])
    close(grads.a[2], [dL_da3])
    for got, product in zip(
        on_the_way_down(grads)[2:], itertools.accumulate(factors, operator.mul), strict=True
    ):
        close(got, [[product]])
    close(grad_by_jax(*one_example)[0].W, [[math.prod(factors)]])


def test_softmax_of_a_single_output_has_nothing_to_learn():
    """Why three outputs there: e^a / e^a = 1 whatever a is, so the loss is −log 1 = 0."""
    net = ffnn.Network((1, 1, 1, 1), activation="tanh", output="softmax")
    theta = THIN_TO_ONE
    value, grads = gradients(net, theta, np.array([[THIN_X]]), np.array([0]))
    assert value == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(grads.params))


@pytest.mark.parametrize("names", HIDDEN, ids="-".join)
def test_compressed_chain_rules_of_the_thin_network(names):
    """Each is “just compressing the chain rule”.

    ∂ℒ/∂W_111 = ∂ℒ/∂h_11 · ∂h_11/∂W_111    ∂ℒ/∂W_211 = ∂ℒ/∂h_21 · ∂h_21/∂W_211
    ∂ℒ/∂W_L11 = ∂ℒ/∂a_L1 · ∂a_L1/∂W_L11
    """
    net = ffnn.Network((1, 1, 1, 1), activation=names, output="linear")
    theta = THIN_TO_ONE
    a_1, h_1, a_2, h_2 = thin_forward(theta, THIN_X, names)
    one_example = (net, theta, np.array([[THIN_X]]), np.array([[2.5]]))
    _, grads = gradients(*one_example)
    by_jax = grad_by_jax(*one_example)
    dh11_dW111 = G[names[0]][1](a_1) * THIN_X
    dh21_dW211 = G[names[1]][1](a_2) * h_1
    daL1_dWL11 = h_2
    compressed = [
        grads.h[1][0, 0] * dh11_dW111,
        grads.h[2][0, 0] * dh21_dW211,
        grads.a[2][0, 0] * daL1_dWL11,
    ]
    for k in range(3):
        assert abs(compressed[k]) > 1e-3
        close(grads.params[k].W, [[compressed[k]]])
        close(by_jax[k].W, [[compressed[k]]])


def test_compressed_chain_rules_hold_for_every_weight():
    """∂ℒ/∂W_kij = ∂ℒ/∂h_ki · ∂h_ki/∂W_kij, and ∂ℒ/∂W_Lij = ∂ℒ/∂a_Li · ∂a_Li/∂W_Lij, any width."""
    theta = draw(CLASSIFIER.sizes)
    x = np.array([[0.8, -0.6]])
    a, h = tanh_network(theta, x[0])
    one_example = (CLASSIFIER, theta, x, np.array([1]))
    _, grads = gradients(*one_example)
    by_jax = grad_by_jax(*one_example)
    for k in (1, 2):
        for i, j in np.ndindex(theta[k - 1].W.shape):
            dh_dW = G["tanh"][1](a[k - 1][i]) * h[k - 1][j]
            close(by_jax[k - 1].W[i, j], grads.h[k][0, i] * dh_dW)
    for i, j in np.ndindex(theta[2].W.shape):
        close(by_jax[2].W[i, j], grads.a[2][0, i] * h[2][j])


# Responsibility ----------------------------------------------------------------------------------


def test_output_layer_is_only_as_good_as_what_is_below():
    """f(x) = ŷ = O(W_L h_{L−1} + b_L)."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(6)
    tape = forward(CLASSIFIER, theta, x)
    (W_L, b_L), h = theta[-1], tape.h[-1]
    close(tape.yhat, [softmax(W_L @ h[i] + b_L) for i in range(6)])
    close(h, [tanh_network(theta, x[i])[1][-1] for i in range(6)])


@pytest.mark.parametrize("true_class", [0, 1, 2])
def test_gradient_with_respect_to_the_outputs(true_class):
    """∂ℒ/∂ŷ_i = −1(i=ℓ)/ŷ_ℓ: “−1/ŷ_ℓ if i = ℓ, 0 otherwise”."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(1)
    _, grads = gradients(CLASSIFIER, theta, x, np.array([true_class]))
    yhat = classify(theta, x[0])
    for i in range(3):
        if i == true_class:
            close(grads.yhat[0, i], -1 / yhat[i])
        else:
            assert grads.yhat[0, i] == 0


def test_gradient_with_respect_to_the_outputs_of_a_batch():
    """The same for N examples, each with its 1/N: −1(i=ℓ)/(N ŷ_ℓ)."""
    theta = draw(CLASSIFIER.sizes)
    x, classes = examples(6)
    _, grads = gradients(CLASSIFIER, theta, x, classes)
    expected = [
        [-1 / (6 * classify(theta, x[n])[i]) if i == classes[n] else 0.0 for i in range(3)]
        for n in range(6)
    ]
    close(grads.yhat, expected)


@pytest.mark.parametrize("true_class", [0, 1, 2])
def test_talking_to_W_L_b_L_and_h_L(true_class):
    """“W_L and b_L take full responsibility but h_L says …”: ∇a_L = J_Oᵀ∇ŷ = ŷ − e_ℓ."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(1)
    _, h = tanh_network(theta, x[0])
    yhat = classify(theta, x[0])
    e_l = np.eye(3)[true_class]
    _, grads = gradients(CLASSIFIER, theta, x, np.array([true_class]))

    close(grads.a[2][0], yhat - e_l)
    jacobian = [[yhat[i] * ((i == j) - yhat[j]) for j in range(3)] for i in range(3)]
    by_chain = [sum(grads.yhat[0, i] * jacobian[i][j] for i in range(3)) for j in range(3)]
    close(grads.a[2][0], by_chain)
    close(grads.params[2].b, yhat - e_l)
    close(grads.params[2].W, np.outer(yhat - e_l, h[2]))


def test_each_layer_passes_the_question_on():
    """“I am only as good as the hidden layer and weights below me. We continue in this manner”."""
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(1)
    a, h = tanh_network(theta, x[0])
    _, grads = gradients(CLASSIFIER, theta, x, np.array([1]))
    grad_a = classify(theta, x[0]) - np.eye(3)[1]
    for k in (3, 2, 1):
        W = theta[k - 1].W
        rows, columns = W.shape
        close(grads.a[k - 1][0], grad_a)
        close(
            grads.params[k - 1].W,
            [[grad_a[i] * h[k - 1][j] for j in range(columns)] for i in range(rows)],
        )
        close(grads.params[k - 1].b, grad_a)
        grad_h = [sum(W[i, j] * grad_a[i] for i in range(rows)) for j in range(columns)]
        close(grads.h[k - 1][0], grad_h)
        if k > 1:
            grad_a = np.array([grad_h[j] * G["tanh"][1](a[k - 2][j]) for j in range(columns)])


def test_the_whole_conversation():
    """∂ℒ/∂W_111 (“talk to the weight directly”) = the product with the four braces under it.

    “Talk to the output layer” ∂ℒ/∂ŷ ∂ŷ/∂a_3, twice “talk to the previous hidden layer”
    ∂a_3/∂h_2 ∂h_2/∂a_2 and ∂a_2/∂h_1 ∂h_1/∂a_1, “and now talk to the weights” ∂a_1/∂W_111: each
    factor a Jacobian, and the product after each brace what the sweep knows by then.
    """
    theta = draw(CLASSIFIER.sizes)
    x, _ = examples(1)
    a, _ = tanh_network(theta, x[0])
    yhat = classify(theta, x[0])
    _, grads = gradients(CLASSIFIER, theta, x, np.array([2]))

    dL_dyhat = np.array([0, 0, -1 / yhat[2]])
    dyhat_da3 = np.array([[yhat[i] * ((i == j) - yhat[j]) for j in range(3)] for i in range(3)])
    output_layer = dL_dyhat @ dyhat_da3
    close(grads.a[2][0], output_layer)
    hidden_2 = output_layer @ theta[2].W @ np.diag(1 - np.tanh(a[1]) ** 2)
    close(grads.a[1][0], hidden_2)
    hidden_1 = hidden_2 @ theta[1].W @ np.diag(1 - np.tanh(a[0]) ** 2)
    close(grads.a[0][0], hidden_1)
    da1_dW111 = np.zeros(len(a[0]))
    da1_dW111[0] = x[0, 0]
    close(grads.params[0].W[0, 0], hidden_1 @ da1_dW111)


def test_responsibility_lies_with_all_the_weights_and_biases():
    """“The responsibility lies with all the weights and biases”, asked directly and through layers.

    Directly: change one number of θ by ±10⁻⁶ and see what the loss does. Through the layers: the
    sweep. Both say the same of every single number, and none of them is innocent.
    """
    theta = draw(CLASSIFIER.sizes)
    x, classes = examples(6)
    value, grads = gradients(CLASSIFIER, theta, x, classes)
    by_jax = grad_by_jax(CLASSIFIER, theta, x, classes)
    close(value, mean_cross_entropy(theta, x, classes))
    step = 1e-6
    for where in each_parameter(theta):
        up = mean_cross_entropy(changed(theta, where, step), x, classes)
        down = mean_cross_entropy(changed(theta, where, -step), x, classes)
        through_layers = entry(grads.params, where)
        assert abs((up - down) / (2 * step) - through_layers) < 1e-9, where
        assert abs(through_layers) > 1e-4, where
        close(entry(by_jax, where), through_layers)


# Quantities of interest: the roadmap -------------------------------------------------------------


def loss_of_yhat(yhat, classes):
    """ℒ from ŷ on: −(1/N) Σ_i log ŷ_iℓ."""
    return -jnp.mean(jnp.log(yhat[np.arange(len(classes)), classes]))


def loss_from_a(theta, k, a, classes):
    """ℒ from a_k on: the forward pass started again in the middle."""
    if k == len(theta):
        e = jnp.exp(a)
        return loss_of_yhat(e / e.sum(axis=1, keepdims=True), classes)
    return loss_from_h(theta, k, jnp.tanh(a), classes)


def loss_from_h(theta, k, h, classes):
    """ℒ from h_k on."""
    W, b = theta[k]
    return loss_from_a(theta, k + 1, h @ W.T + b[None, :], classes)


jax_grad_of_yhat = compiled(jax.grad(loss_of_yhat))
jax_grad_of_a = compiled(jax.grad(loss_from_a, argnums=2), static_argnums=1)
jax_grad_of_h = compiled(jax.grad(loss_from_h, argnums=2), static_argnums=1)
jax_grad_of_theta = compiled(jax.grad(loss_from_h), static_argnums=1)


@pytest.fixture
def roadmap():
    theta = draw(CLASSIFIER.sizes)
    x, classes = examples(6)
    tape = forward(CLASSIFIER, theta, x)
    _, grads = gradients(CLASSIFIER, theta, x, classes)
    return theta, classes, tape, grads


def test_gradient_with_respect_to_output_units(roadmap):
    """“Gradient w.r.t. output units”: ŷ, and a_L just below."""
    theta, classes, tape, grads = roadmap
    assert grads.yhat.shape == (6, 3)
    assert grads.a[2].shape == (6, 3)
    close(grads.yhat, jax_grad_of_yhat(tape.yhat, classes))
    close(grads.a[2], jax_grad_of_a(theta, 3, tape.a[2], classes))


@pytest.mark.parametrize("k", [0, 1, 2])
def test_gradient_with_respect_to_hidden_units(roadmap, k):
    """“Gradient w.r.t. hidden units”: every h_k, h_0 = x among them, and every a_k."""
    theta, classes, tape, grads = roadmap
    n = CLASSIFIER.sizes[k]
    assert len(grads.h) == 3
    assert grads.h[k].shape == (6, n)
    close(grads.h[k], jax_grad_of_h(theta, k, tape.h[k], classes))
    if k > 0:
        assert grads.a[k - 1].shape == (6, n)
        of_a = jax_grad_of_a(theta, k, tape.a[k - 1], classes)
        close(grads.a[k - 1], of_a)


def test_gradient_with_respect_to_weights_and_biases(roadmap):
    """“Gradient w.r.t. weights and biases”: one for each, of its shape."""
    theta, classes, tape, grads = roadmap
    assert [(W.shape, b.shape) for W, b in grads.params] == [
        ((3, 2), (3,)),
        ((2, 3), (2,)),
        ((3, 2), (3,)),
    ]
    close_trees(grads.params, jax_grad_of_theta(theta, 0, tape.h[0], classes))


def test_our_focus_is_on_cross_entropy_loss_and_softmax_output(roadmap):
    """“Our focus is on Cross entropy loss and Softmax output”: ∇a_L = (ŷ − y)/N starts it all."""
    _, classes, tape, grads = roadmap
    assert (CLASSIFIER.output, CLASSIFIER.loss) == ("softmax", "cross_entropy")
    close(grads.a[2], (tape.yhat - np.eye(3)[classes]) / 6)
