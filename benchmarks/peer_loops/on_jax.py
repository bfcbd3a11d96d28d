"""Peers on JAX: our own epoch, equinox, haiku and keras, each with its documentation's loop."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ffnn_jax as ffnn
from peer_loops.task import OPTIMIZERS, RATES, Peer

os.environ["KERAS_BACKEND"] = "jax"  # keras reads it when it is imported


def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def on_device(task):
    """The batches, on the device beforehand."""
    return [(jnp.asarray(x), jnp.asarray(y)) for x, y in task.batches()]


class Ours(Peer):
    """`train_epoch` jitted, its state donated; its time contains the shuffle of the data."""

    on_jax = whole = True
    objective = staticmethod(ffnn.loss)

    def __init__(self, task):
        self.task = task
        epoch = partial(
            ffnn.train_epoch,
            task.net,
            OPTIMIZERS[task.optimizer],
            batch_size=task.batch,
            objective=self.objective,
        )
        self.run = jax.jit(epoch, donate_argnums=0)
        self.reset()

    def reset(self):
        self.state = jax.block_until_ready(jax.tree.map(jnp.copy, self.task.state))

    def epoch(self, steps):
        self.state, _ = jax.block_until_ready(self.run(self.state, *self.task.stored))

    def parameters(self):
        return [(np.asarray(W), np.asarray(b)) for W, b in self.state.params]


class OursAutodiff(Ours):
    """The same epoch with the gradient left to JAX."""

    objective = staticmethod(ffnn.loss_autodiff)


class Equinox(Peer):
    """equinox: a model that is a pytree, and an eqx.filter_jit step with optax."""

    module, on_jax = "equinox", True

    def __init__(self, task):
        import equinox as eqx

        class MLP(eqx.Module):
            layers: list

            def __call__(self, x):
                for layer in self.layers[:-1]:
                    x = jax.nn.relu(layer(x))
                return self.layers[-1](x)

        def linear(W, b):
            layer = eqx.nn.Linear(W.shape[1], W.shape[0], key=jax.random.key(0))
            new = jnp.asarray(W), jnp.asarray(b)
            return eqx.tree_at(lambda m: (m.weight, m.bias), layer, new)

        optimizer = OPTIMIZERS[task.optimizer]

        @eqx.filter_jit
        def make_step(model, opt_state, x, y):
            def loss_fn(model, x, y):
                return cross_entropy(jax.vmap(model)(x), y)

            loss, grads = eqx.filter_value_and_grad(loss_fn)(model, x, y)
            updates, opt_state = optimizer.update(
                grads, opt_state, eqx.filter(model, eqx.is_inexact_array)
            )
            return eqx.apply_updates(model, updates), opt_state, loss

        model = MLP([linear(W, b) for W, b in task.start])
        self.start = model, optimizer.init(eqx.filter(model, eqx.is_inexact_array))
        self.step, self.batches = make_step, on_device(task)
        self.reset()

    def reset(self):
        self.model, self.opt_state = self.start

    def epoch(self, steps):
        losses = []
        for x, y in self.batches[:steps]:
            self.model, self.opt_state, loss = self.step(self.model, self.opt_state, x, y)
            losses.append(loss)
        jax.block_until_ready((jax.tree.leaves(self.model), losses))

    def parameters(self):
        return [(np.asarray(p.weight), np.asarray(p.bias)) for p in self.model.layers]


class Haiku(Peer):
    """haiku: hk.without_apply_rng(hk.transform(…)), and a jitted update with optax."""

    module, on_jax = "haiku", True

    def __init__(self, task):
        import haiku as hk

        def forward(x):
            return hk.nets.MLP(task.net.sizes[1:])(x)

        network = hk.without_apply_rng(hk.transform(forward))
        optimizer = OPTIMIZERS[task.optimizer]

        @jax.jit
        def update(params, opt_state, x, y):
            def loss_fn(params):
                return cross_entropy(network.apply(params, x), y)

            loss, grads = jax.value_and_grad(loss_fn)(params)
            updates, opt_state = optimizer.update(grads, opt_state)
            return optax.apply_updates(params, updates), opt_state, loss

        self.names = [f"mlp/~/linear_{k}" for k in range(task.net.depth)]
        params = {
            name: {"w": jnp.asarray(W.T), "b": jnp.asarray(b)}
            for name, (W, b) in zip(self.names, task.start, strict=True)
        }
        self.start = params, optimizer.init(params)
        self.step, self.batches = update, on_device(task)
        self.reset()

    def reset(self):
        self.params, self.opt_state = self.start

    def epoch(self, steps):
        losses = []
        for x, y in self.batches[:steps]:
            self.params, self.opt_state, loss = self.step(self.params, self.opt_state, x, y)
            losses.append(loss)
        jax.block_until_ready((self.params, losses))

    def parameters(self):
        layers = [self.params[name] for name in self.names]
        return [(np.asarray(p["w"]).T, np.asarray(p["b"])) for p in layers]


class Keras(Peer):
    """keras on the jax backend: compile, and fit without a shuffle."""

    module, on_jax = "keras", True

    def __init__(self, task):
        import keras

        hidden = [keras.layers.Dense(n, activation="relu") for n in task.net.sizes[1:-1]]
        inputs, outputs = keras.Input((task.net.sizes[0],)), keras.layers.Dense(task.net.sizes[-1])
        self.model = keras.Sequential([inputs, *hidden, outputs])
        rate = RATES[task.optimizer]
        optimizer = (
            keras.optimizers.SGD(rate)
            if task.optimizer == "sgd"
            else keras.optimizers.Adam(rate, epsilon=1e-8)
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer=optimizer, loss=loss)
        optimizer.build(self.model.trainable_variables)
        self.optimizer_start = [variable.numpy() for variable in optimizer.variables]
        self.task = task
        self.reset()

    def reset(self):
        self.model.set_weights([t for W, b in self.task.start for t in (W.T, b)])
        for variable, start in zip(
            self.model.optimizer.variables, self.optimizer_start, strict=True
        ):
            variable.assign(start)

    def epoch(self, steps):
        rows = steps * self.task.batch
        x, y = self.task.x[:rows], self.task.y[:rows]
        self.model.fit(x, y, batch_size=self.task.batch, shuffle=False, verbose=0)
        jax.block_until_ready([v.value for v in self.model.trainable_variables])

    def parameters(self):
        weights = self.model.get_weights()
        return [(W.T, b) for W, b in zip(weights[::2], weights[1::2], strict=True)]
