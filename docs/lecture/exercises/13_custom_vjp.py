"""Exercise 13. A custom_vjp of your own for the whole network.

`loss` is a function of JAX, and `jax.grad(loss)` runs your backward pass in place of JAX's own. JAX
calls `forward` on the way up, hands what it saved to `backward`, and with it g = ∂(what comes
after)/∂ℒ, the gradient of whatever was made of the loss: ∇W_k is g · ∂ℒ/∂W_k.

The network is that of exercises 11 and 12: tanh, softmax, cross-entropy, the mean over N examples.
"""

import jax
import jax.numpy as jnp


def plain(params: tuple, x: jax.Array, labels: jax.Array) -> jax.Array:
    """ℒ, given; and what there is on the way.

    Args:
      params: ((W_1, b_1), …, (W_L, b_L)).
      x: (N, n_0).
      labels: (N,).
    """
    h = x
    for W, b in params[:-1]:
        h = jnp.tanh(h @ W.T + b)
    W, b = params[-1]
    logits = h @ W.T + b
    rows = jnp.arange(len(labels))
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[rows, labels])


def forward(params: tuple, x: jax.Array, labels: jax.Array) -> tuple:
    """The forward pass: ℒ, and whatever `backward` needs.

    Returns:
      (ℒ, saved): saved is a tuple of arrays, of your choice.
    """
    raise NotImplementedError("fill in here")


def backward(saved: tuple, g: jax.Array) -> tuple:
    """The backward pass.

    Args:
      saved: what `forward` saved.
      g: one number.

    Returns:
      A gradient for each argument of `loss`: (((∇W_1, ∇b_1), …, (∇W_L, ∇b_L)), ∇x, None). The
      labels are whole numbers and have none.
    """
    raise NotImplementedError("fill in here")


loss = jax.custom_vjp(plain)
loss.defvjp(forward, backward)


if __name__ == "__main__":
    import judge

    judge.main(globals())
