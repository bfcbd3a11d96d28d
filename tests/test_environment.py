"""What importing does and does not do, and the flags of JAX that must not break us."""

import subprocess
import sys

import pytest
from compiling import as_for_a_user

GRADIENTS = """
import jax, jax.numpy as jnp, numpy as np
import ffnn_jax as ffnn
net = ffnn.Network((3, 4, 4, 2), activation=("relu", "tanh"), output="softmax")
params = ffnn.init(net, jax.random.key(0))
x, y = jnp.ones((5, 3)), jnp.array([0, 1, 0, 1, 1])
def gradient(loss, transform):
    return jax.jit(jax.grad(transform(lambda p: loss(net, p, x, y))))(params)
for transform in (lambda f: f, jax.checkpoint, jax.jit):
    ours, plain = gradient(ffnn.loss, transform), gradient(ffnn.loss_autodiff, transform)
    for s, t in zip(jax.tree.leaves(ours), jax.tree.leaves(plain)):
        np.testing.assert_allclose(s, t, rtol=1e-4, atol=1e-6)
hessian = jax.jit(jax.hessian(lambda p: ffnn.loss(net, p, x, y)))(params)
assert all(np.all(np.isfinite(t)) for t in jax.tree.leaves(hessian))
print("right")
"""


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=as_for_a_user(**environment),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("flag", ["JAX_CUSTOM_VJP3", "JAX_REMAT3"])
def test_flags_of_jax(flag):
    assert run(GRADIENTS, JAX_DISABLE_MOST_OPTIMIZATIONS="1", **{flag: "1"}) == "right\n"


def test_import_starts_no_backend_and_leaves_the_configuration_alone():
    program = """
import jax
before = dict(jax.config.values)
import ffnn_jax
assert jax.config.values == before
print("untouched")
"""
    assert run(program, JAX_PLATFORMS="bogus") == "untouched\n"


def test_import_does_not_bring_what_is_optional():
    program = """
import sys, ffnn_jax
print({"sklearn", "rich", "matplotlib"} & set(sys.modules))
"""
    assert run(program) == "set()\n"
