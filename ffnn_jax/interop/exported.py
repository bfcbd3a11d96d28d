"""A network as a StableHLO program (`jax.export`): JAX alone runs it, without this library.

Products and sums in it are XLA's, whatever `Plan(implementation=…)` says: a kernel is for CUDA
alone, and whether one is taken would hang on the machine that exports.

The batch stays a symbol, b, so one program takes any number of examples. Its derivative is in the
file too, and it is the hand-written sweep: `jax.grad` through the loaded program runs what
`jax.grad` runs here.

JAX reads the programs of earlier versions for half a year. A program for one number of examples
may be read by an earlier version as well; with a symbol in it jax 0.10 reads none of jax 0.12.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ffnn_jax import backprop, checks, network
from ffnn_jax.checkpoint.atomic import replace_file
from ffnn_jax.interop.packages import require
from ffnn_jax.network import Layer, Network, Params

EXTRA = "ffnn_jax[export]"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class ExportedError(ValueError):
    """A file that holds no exported program, or one that is torn."""


def export_apply(
    net: Network,
    params: Params,
    *,
    batch: int | None = None,
    platforms: Sequence[str] = ("cpu",),
) -> jax.export.Exported:
    """ŷ as a program of x, the parameters being part of it.

    Args:
      net: the network.
      params: its parameters.
      batch: b, where it is to be fixed; None: any.
      platforms: what the program may run on: cpu, cuda, rocm, tpu; none of them has to be here.

    Returns:
      The program; `.call(x)` gives ŷ (b, n_L) for x (b, n_0) of the dtype of the parameters, and
      can be jitted, and differentiated once, with respect to x.

    Raises:
      TypeError: params do not fit, batch is no int, or platforms is no sequence of names.
      ValueError: params do not fit, a batch below 1, or an unknown platform.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import ffnn_jax as ffnn
      >>> net = ffnn.Network((4, 8, 3), output="softmax")
      >>> program = export_apply(net, ffnn.init(net, jax.random.key(0)))
      >>> program.call(jnp.ones((5, 4))).shape
      (5, 3)
    """
    network.check_network(net)
    dtype = checks.check_params(net.sizes, params)

    net = _by_xla(net)

    def apply(x):
        return backprop.apply(net, params, x)

    b = _batch(batch)
    return _export(apply, platforms, jax.ShapeDtypeStruct((b, net.sizes[0]), dtype))


def export_loss(
    net: Network,
    *,
    classes: bool | None = None,
    dtype: DTypeLike = jnp.float32,
    batch: int | None = None,
    platforms: Sequence[str] = ("cpu",),
) -> jax.export.Exported:
    """ℒ as a program of (params, x, y), to be trained where this library is not.

    Args:
      net: the network.
      classes: whether y is integer classes, int32 (b,), or numbers (b, n_L). None: classes where
        the loss is cross_entropy.
      dtype: of the parameters, x and y, and of ℒ.
      batch, platforms: as for `export_apply`.

    Returns:
      The program; `.call(params, x, y)` gives ℒ, and `jax.grad` of it runs the sweep. Its params
      are plain tuples, ((W_1, b_1), …, (W_L, b_L)): `tuple(map(tuple, params))`.

    Raises:
      TypeError: net is no Network, classes is none of the three, the dtype is not floating, batch
        is no int, or platforms is no sequence of names.
      ValueError: a batch below 1, or an unknown platform.
    """
    network.check_network(net)
    checks.check_switch("classes", classes)
    dtype = checks.check_float_dtype("dtype", dtype)
    if classes is None:
        classes = net.loss == "cross_entropy"

    net = _by_xla(net)

    def loss(params, x, y):
        return backprop.loss(net, tuple(Layer(W, b) for W, b in params), x, y)

    b = _batch(batch)
    of = partial(jax.ShapeDtypeStruct, dtype=dtype)
    params = tuple((of((n, m)), of((n,))) for m, n in itertools.pairwise(net.sizes))
    y = jax.ShapeDtypeStruct((b,), jnp.int32) if classes else of((b, net.sizes[-1]))
    return _export(loss, platforms, params, of((b, net.sizes[0])), y)


def save_exported(path: str | os.PathLike, program: jax.export.Exported) -> None:
    """Writes a program with its derivative to one file, whole or not at all.

    Args:
      path: where to.
      program: as from `export_apply` or `export_loss`.

    Raises:
      TypeError: program is none.
      ModuleNotFoundError: flatbuffers is not installed.
      OSError: the file cannot be written.
    """
    if not isinstance(program, jax.export.Exported):
        raise TypeError(f"program: expected one of jax.export, got {type(program).__name__}")
    require("flatbuffers", EXTRA)
    content = bytes(program.serialize(vjp_order=1))
    replace_file(path, lambda file: file.write(content))


def load_exported(path: str | os.PathLike) -> jax.export.Exported:
    """Reads what `save_exported` wrote; `jax.export.deserialize` of the file's bytes does the same.

    Args:
      path: the file.

    Returns:
      The program, whose `.call` runs it.

    Raises:
      ExportedError: the file holds no such program.
      ModuleNotFoundError: flatbuffers is not installed.
      OSError: the file cannot be read.
    """
    require("flatbuffers", EXTRA)
    data = bytearray(pathlib.Path(path).read_bytes())
    try:
        return jax.export.deserialize(data)
    except Exception as error:  # flatbuffers has no error of its own for bytes that are none
        reason = str(error) or type(error).__name__
        raise ExportedError(f"{path}: no exported program, or a torn one: {reason}") from None


def _by_xla(net: Network) -> Network:
    """The network, computed by the reference of each kernel."""
    return dataclasses.replace(net, plan=dataclasses.replace(net.plan, implementation="xla"))


def _batch(batch: int | None) -> Any:
    """The number of examples, or the symbol b."""
    if batch is None:
        return jax.export.symbolic_shape("b")[0]
    return checks.check_positive_int("batch", batch)


def _export(function: Any, platforms: Sequence[str], *arguments: Any) -> jax.export.Exported:
    return jax.export.export(jax.jit(function), platforms=_check_platforms(platforms))(*arguments)


def _check_platforms(platforms: Any) -> tuple[str, ...]:
    if not isinstance(platforms, tuple | list) or not platforms:
        raise TypeError(f"platforms: expected a tuple of names, got {platforms!r}")
    return tuple(checks.check_name("platforms", name, PLATFORMS) for name in platforms)
