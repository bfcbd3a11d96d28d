"""Which implementation is taken: the kernel or its reference.

An implementation that is asked for is taken or refused with the reason; a wish for none leaves the
choice to what was measured.
"""

from collections.abc import Callable
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

    Args:
      implementation: as of `Plan`.
      name: that of the kernel.
      kernel: takes arrays.
      reference: takes and returns the same.
      reason: why the kernel does not take these arguments, or None where it does.
      wins: whether a measurement on record says that the kernel is faster here.

    Raises:
      NotImplementedError: the kernel is asked for, and there is a reason.
    """
    if implementation == "pallas":
        if reason is not None:
            raise NotImplementedError(
                f"implementation='pallas': the kernel {name} {reason}; use implementation='xla'"
            )
        return kernel
    if implementation == "xla" or reason is not None or not wins:
        return reference

    def by_platform(*arrays: Any) -> Any:
        return jax.lax.platform_dependent(*arrays, cuda=kernel, default=reference)

    return by_platform
