"""Which implementation is taken: the kernel or its reference.

An implementation that is asked for is taken or refused with the reason; a wish for none leaves the
choice to what was measured.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax


def chosen(
    implementation: str | None,
    name: str,
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    *,
    reason: str | None,
    wins: bool,
) -> Callable[..., Any]:
    """The kernel, the reference, or on CUDA the one and anywhere else the other.

    No kernel can be differentiated. One that is asked for says so; one that is taken because it is
    faster has the derivatives of its reference.

    Args:
      implementation: as of `Plan`.
      name: that of the kernel.
      kernel: takes arrays.
      reference: takes and returns the same.
      reason: why the kernel does not take these arguments, or None where it does.
      wins: whether a measurement on record says that the kernel is faster here.

    Raises:
      NotImplementedError: the kernel is asked for, and there is a reason; or, later, what is
        returned is differentiated.
    """
    if implementation == "pallas":
        check_taken(name, reason)
        return _with_derivative(kernel, partial(_none, name))
    if implementation == "xla" or reason is not None or not wins:
        return reference
    kernel = _with_derivative(kernel, partial(jax.jvp, reference))

    def by_platform(*arrays: Any) -> Any:
        return jax.lax.platform_dependent(*arrays, cuda=kernel, default=reference)

    return by_platform


def check_taken(name: str, reason: str | None) -> None:
    """Refuses what the kernel of this name, which was asked for, does not take.

    Raises:
      NotImplementedError: there is a reason.
    """
    if reason is not None:
        raise NotImplementedError(
            f"implementation='pallas': the kernel {name} {reason}; use implementation='xla'"
        )


def _with_derivative(kernel: Callable[..., Any], jvp: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, differentiated by `jvp`, a function of (primals, tangents) as `jax.jvp` is."""
    rule = jax.custom_jvp(kernel)
    rule.defjvp(jvp)
    return rule


def _none(name: str, primals: Any, tangents: Any) -> Any:
    """The derivative of a kernel that was asked for: there is none."""
    raise NotImplementedError(
        f"implementation='pallas': the kernel {name} has no derivative; a second derivative of the "
        "network needs implementation='xla'"
    )
