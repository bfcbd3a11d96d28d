"""A random order of the examples without sorting.

`jax.random.permutation` sorts random numbers twice, and on a CPU that takes longer than the
training steps of a small network. Here the order is a bijection that is cheap to compute row by
row: a Feistel network (Luby and Rackoff 1988) on the pairs (l, r) with 0 ≤ l, r < a = ⌈√n⌉, each
of which stands for the number l a + r:

  (l, r) ← (r, (l + f_k(r)) mod a),   k = 1 … ROUNDS,

the round functions f_k tables of random numbers. A number that comes out as n or more goes round
again until it does not ("cycle walking", Black and Rogaway 2002), which a bijection always ends.
"""

import math

import jax
import jax.numpy as jnp

ROUNDS = 8  # from 6 on no statistic of tests/test_shuffle.py tells the order from a uniform one
SMALLEST = 1024  # under this the tables have too few entries, and sorting is quick


def permutation(key: jax.Array, n: int) -> jax.Array:
    """0 … n−1 in random order, (n,) int32; the same key gives the same order."""
    if n < SMALLEST:
        return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
    a = math.isqrt(n - 1) + 1
    tables = jax.random.randint(key, (ROUNDS, a), 0, a, dtype=jnp.uint32)
    # In the type of the tables, which differ between devices inside a `shard_map` over keys.
    rows = jnp.arange(n, dtype=jnp.uint32) + 0 * tables[0, 0]

    def walk(state):
        left, right, outside = state
        new_left, new_right = _feistel(tables, left, right)
        left, right = jnp.where(outside, new_left, left), jnp.where(outside, new_right, right)
        return left, right, left * a + right >= n

    start = rows // a, rows % a, rows >= 0  # each goes round once
    left, right, _ = jax.lax.while_loop(lambda state: jnp.any(state[2]), walk, start)
    return (left * a + right).astype(jnp.int32)


def _feistel(tables: jax.Array, left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """All rounds, in a loop: each by itself they take longer to compile than to run."""
    a = tables.shape[1]

    def a_round(pair, table):
        left, right = pair
        total = left + table.at[right].get(mode="promise_in_bounds")
        return (right, jnp.where(total >= a, total - a, total)), None

    return jax.lax.scan(a_round, (left, right), tables)[0]
