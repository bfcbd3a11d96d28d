"""Where a kernel was measured to be faster than XLA: the record, and the question to it."""

from typing import Any

from jax.typing import DTypeLike

from ffnn_jax.network import Network

RECORD: tuple[Any, ...] = ()


def wins(kernel: str, net: Network, dtype: DTypeLike, rows: int) -> bool:
    """Whether the record says that the kernel is faster here."""
    del net, dtype, rows
    return any(m.kernel == kernel for m in RECORD)
