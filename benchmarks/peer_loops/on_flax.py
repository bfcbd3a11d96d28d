"""Peers on JAX: flax, its old interface (linen) and its new one (nnx)."""

import jax
import jax.numpy as jnp
import numpy as np

from peer_loops.on_jax import cross_entropy, on_device
from peer_loops.task import OPTIMIZERS, Peer


class Linen(Peer):
    """flax.linen: a TrainState, and a jitted step for each batch."""

    module, on_jax = "flax.linen", True

    def __init__(self, task):
        from flax import linen as nn
        from flax.training.train_state import TrainState

        class MLP(nn.Module):
            @nn.compact
            def __call__(self, x):
                for n in task.net.sizes[1:-1]:
                    x = nn.relu(nn.Dense(n)(x))
                return nn.Dense(task.net.sizes[-1])(x)

        @jax.jit
        def train_step(state, x, y):
            def loss_fn(params):
                return cross_entropy(state.apply_fn({"params": params}, x), y)

            loss, grads = jax.value_and_grad(loss_fn)(state.params)
            return state.apply_gradients(grads=grads), loss

        params = {
            f"Dense_{k}": {"kernel": jnp.asarray(W.T), "bias": jnp.asarray(b)}
            for k, (W, b) in enumerate(task.start)
        }
        self.start = TrainState.create(
            apply_fn=MLP().apply, params=params, tx=OPTIMIZERS[task.optimizer]
        )
        self.step, self.batches = train_step, on_device(task)
        self.reset()

    def reset(self):
        self.state = self.start

    def epoch(self, steps):
        losses = []
        for x, y in self.batches[:steps]:
            self.state, loss = self.step(self.state, x, y)
            losses.append(loss)
        jax.block_until_ready((self.state, losses))

    def parameters(self):
        layers = [self.state.params[f"Dense_{k}"] for k in range(len(self.state.params))]
        return [(np.asarray(p["kernel"]).T, np.asarray(p["bias"])) for p in layers]


class NNX(Peer):
    """flax.nnx: a model and an nnx.Optimizer, changed in place by an nnx.jit step."""

    module, on_jax = "flax.nnx", True

    def __init__(self, task):
        from flax import nnx

        layers, rngs = [], nnx.Rngs(0)
        for W, _ in task.start:
            layers += [nnx.Linear(W.shape[1], W.shape[0], rngs=rngs), nnx.relu]
        self.model = nnx.Sequential(*layers[:-1])
        self.linears = layers[::2]

        @nnx.jit
        def train_step(model, optimizer, x, y):
            def loss_fn(model):
                return cross_entropy(model(x), y)

            loss, grads = nnx.value_and_grad(loss_fn)(model)
            optimizer.update(model, grads)
            return loss

        self.task, self.step, self.batches = task, train_step, on_device(task)
        self.reset()

    def reset(self):
        from flax import nnx

        for linear, (W, b) in zip(self.linears, self.task.start, strict=True):
            linear.kernel.set_value(jnp.asarray(W.T))
            linear.bias.set_value(jnp.asarray(b))
        self.optimizer = nnx.Optimizer(self.model, OPTIMIZERS[self.task.optimizer], wrt=nnx.Param)

    def epoch(self, steps):
        losses = []
        for x, y in self.batches[:steps]:
            losses.append(self.step(self.model, self.optimizer, x, y))
        jax.block_until_ready((losses, self.linears[-1].kernel[...]))

    def parameters(self):
        return [(np.asarray(p.kernel[...]).T, np.asarray(p.bias[...])) for p in self.linears]
