"""Peers that do not run on JAX: scikit-learn, PyTorch and NumPy."""

import jax
import numpy as np

from peer_loops.task import RATES, Peer, is_rounded


class ScikitLearn(Peer):
    """MLPClassifier.partial_fit on all rows: one epoch, its own loop over the batches."""

    module = "sklearn.neural_network"

    def __init__(self, task):
        from sklearn.neural_network import MLPClassifier

        self.task = task
        self.model = MLPClassifier(
            task.net.sizes[1:-1],
            solver=task.optimizer,
            alpha=0,
            batch_size=task.batch,
            learning_rate_init=RATES[task.optimizer],
            momentum=0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        x, y = task.batches()[0]  # only so that there are parameters to be set
        self.model.partial_fit(x, y, classes=np.arange(task.net.sizes[-1]))
        self.reset()

    def reset(self):
        self.model.coefs_ = [W.T.copy() for W, _ in self.task.start]
        self.model.intercepts_ = [b.copy() for _, b in self.task.start]
        vars(self.model).pop("_optimizer", None)  # the next partial_fit makes a new one

    def epoch(self, steps):
        rows = steps * self.task.batch
        self.model.partial_fit(self.task.x[:rows], self.task.y[:rows])

    def parameters(self):
        return [(W.T, b) for W, b in zip(self.model.coefs_, self.model.intercepts_, strict=True)]


class Torch(Peer):
    """PyTorch: a loop over tensors, zero_grad, backward, optimizer.step; on a GPU where JAX is."""

    module = "torch"

    def __init__(self, task):
        import torch

        layers = []
        for W, _ in task.start:
            layers += [torch.nn.Linear(W.shape[1], W.shape[0]), torch.nn.ReLU()]
        self.linears = layers[::2]
        self.on_gpu = jax.default_backend() == "gpu"
        device = "cuda" if self.on_gpu else "cpu"  # an error where PyTorch has no GPU
        if self.on_gpu:
            torch.set_float32_matmul_precision("high" if is_rounded() else "highest")
        self.model = torch.nn.Sequential(*layers[:-1]).to(device)
        self.batches = [
            (torch.from_numpy(x).to(device), torch.from_numpy(y).long().to(device))
            for x, y in task.batches()
        ]
        self.task = task
        self.reset()

    def reset(self):
        import torch

        with torch.no_grad():
            for linear, (W, b) in zip(self.linears, self.task.start, strict=True):
                linear.weight.copy_(torch.tensor(W))
                linear.bias.copy_(torch.tensor(b))
        make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.task.optimizer]
        self.optimizer = make(self.model.parameters(), lr=RATES[self.task.optimizer])

    def epoch(self, steps):
        import torch
        from torch.nn import functional

        losses = []
        for x, y in self.batches[:steps]:
            loss = functional.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        if self.on_gpu:
            torch.cuda.synchronize()

    def parameters(self):
        return [(p.weight.numpy(force=True), p.bias.numpy(force=True)) for p in self.linears]


class TorchCompiled(Torch):
    """The same loop around torch.compile of the model."""

    def __init__(self, task):
        import torch

        super().__init__(task)
        torch.compiler.reset()  # the networks before would count against its limit of versions
        self.model = torch.compile(self.model)


class NumPy(Peer):
    """The lecture's formulas in NumPy, float32, updated in place."""

    module = "numpy"

    def __init__(self, task):
        self.task, self.batches = task, task.batches()
        self.reset()

    def reset(self):
        self.theta = [(W.copy(), b.copy()) for W, b in self.task.start]
        self.averages = [[(np.zeros_like(t), np.zeros_like(t)) for t in p] for p in self.theta]

    def epoch(self, steps):
        losses = []
        for t, (x, y) in enumerate(self.batches[:steps], start=1):
            h, rows = [x], np.arange(len(x))
            for W, b in self.theta[:-1]:
                h.append(np.maximum(h[-1] @ W.T + b, 0))
            W, b = self.theta[-1]
            a = h[-1] @ W.T + b
            a -= a.max(axis=1, keepdims=True)
            e = np.exp(a)
            total = e.sum(axis=1, keepdims=True)
            losses.append(np.mean(np.log(total[:, 0]) - a[rows, y]))
            grad_a = e / total
            grad_a[rows, y] -= 1
            grad_a /= len(x)
            for k in range(len(self.theta), 0, -1):
                grads = grad_a.T @ h[k - 1], grad_a.sum(axis=0)
                if k > 1:
                    grad_a = (grad_a @ self.theta[k - 1][0]) * (h[k - 1] > 0)
                self.update(k - 1, grads, t)

    def update(self, k, grads, t):
        rate = np.float32(RATES[self.task.optimizer])
        for theta, g, (m, v) in zip(self.theta[k], grads, self.averages[k], strict=True):
            if self.task.optimizer == "sgd":
                theta -= rate * g
                continue
            m += np.float32(0.1) * (g - m)
            v += np.float32(0.001) * (g * g - v)
            theta -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    def parameters(self):
        return self.theta
