"""A product so small that the call of a routine for it takes longer than its sums.

`tiny_dot` is `jax.lax.dot_general` without batch axes. Compiled for a CPU it is Σ x y, multiply and
sum, which XLA makes part of the loops around it; for anything else it is the dot, and nothing
changes. So the choice has to wait until it is known what is compiled for, and how many products
`jax.vmap` makes of the one; both are known to a JAX primitive, and to nothing above one.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Axes = tuple[int, ...]
Contract = tuple[Axes, Axes]


def tiny_dot(x: jax.Array, y: jax.Array, contract: Contract, *, also_many: bool) -> jax.Array:
    """The product of x and y, of one dtype, summed over the axes `contract` = (of x, of y).

    Args:
      x, y: arrays of one floating dtype, both whole on every device.
      contract: as for `jax.lax.dot_general`, in ascending order.
      also_many: whether many of them under `jax.vmap` are multiply + sum as well.
    """
    return _tiny_dot_p.bind(x, y, contract=contract, also_many=also_many)


def _dot(x: jax.Array, y: jax.Array, *, contract: Contract, **_: Any) -> jax.Array:
    return jax.lax.dot_general(x, y, (contract, ((), ())), preferred_element_type=x.dtype)


def _multiply_and_sum(x: jax.Array, y: jax.Array, *, contract: Contract, **_: Any) -> jax.Array:
    """The free axes of y come after those of x; each is of length 1 in the other."""
    of_x, of_y = contract
    free_x = [axis for axis in range(x.ndim) if axis not in of_x]
    free_y = [axis for axis in range(y.ndim) if axis not in of_y]
    x = jnp.expand_dims(x, range(x.ndim, x.ndim + len(free_y)))
    y = jnp.expand_dims(jnp.transpose(y, (*of_y, *free_y)), free_x)
    return jnp.sum(x * y, axis=of_x)


def _type_of(x: Any, y: Any, *, contract: Contract, **_: Any) -> ShapedArray:
    of_x, of_y = contract
    free_x = (n for axis, n in enumerate(x.shape) if axis not in of_x)
    free_y = (n for axis, n in enumerate(y.shape) if axis not in of_y)
    return ShapedArray((*free_x, *free_y), x.dtype)


def _derivative(primals, tangents, **params):
    """∂(x y) = ∂x y + x ∂y, in dots: those JAX can transpose, and derive again."""
    (x, y), (dx, dy) = primals, tangents
    terms = []
    if not isinstance(dx, ad.Zero):
        terms.append(_dot(dx, y, **params))
    if not isinstance(dy, ad.Zero):
        terms.append(_dot(x, dy, **params))
    return _tiny_dot_p.bind(x, y, **params), sum(terms[1:], start=terms[0])


def _many(arrays, axes, *, contract, also_many):
    """Under `jax.vmap`: of many products the sums take longer than the call."""

    def mapped(fn):
        return jax.vmap(partial(fn, contract=contract), tuple(axes))

    many = _by_platform(mapped, *arrays) if also_many else mapped(_dot)(*arrays)
    return many, 0


@partial(jax.jit, static_argnames=("contract", "also_many"))
def _eagerly(x, y, *, contract, also_many):
    """Outside of any compiled function."""
    return _by_platform(lambda fn: partial(fn, contract=contract), x, y)


def _by_platform(form, x, y):
    """A form of the product, of the one for a CPU or of the other, where the choice is JAX's."""
    return jax.lax.platform_dependent(x, y, cpu=form(_multiply_and_sum), default=form(_dot))


_tiny_dot_p = Primitive("tiny_dot")
_tiny_dot_p.def_impl(_eagerly)
_tiny_dot_p.def_abstract_eval(_type_of)
ad.primitive_jvps[_tiny_dot_p] = _derivative
batching.primitive_batchers[_tiny_dot_p] = _many
mlir.register_lowering(_tiny_dot_p, mlir.lower_fun(_dot, multiple_results=False))
mlir.register_lowering(
    _tiny_dot_p, mlir.lower_fun(_multiply_and_sum, multiple_results=False), platform="cpu"
)
