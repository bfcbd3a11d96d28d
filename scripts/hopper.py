"""Compiling for an H100 on a machine without one, and what ptxas says of each kernel.

Lowering asks JAX for an abstract H100 and no more. To compile, XLA takes a description of the GPU
in place of the GPU, and the CUDA plugin brings ptxas with it, the assembler that deals out the
registers. XLA is handed a folder of tools in which ptxas is a small script: it adds `-v`, keeps
the PTX and what the assembler says, and changes nothing else. How much shared memory a kernel asks
for is known to XLA alone, which says so when it writes out its plan.
"""

import functools
import pathlib
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, SingleDeviceSharding
from jaxlib.mlir import ir
from jaxlib.triton import dialect

KIND = "NVIDIA H100 80GB HBM3"
TARGET = "__gpu$xla.gpu.triton"
# The limits of compute capability 9.0 (CUDA C++ Programming Guide, "Compute Capabilities") and the
# size and speed of an H100 SXM5, in the words of XLA's GpuTargetConfigProto.
DESCRIPTION = f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
  cuda_compute_capability {{ major: 9 minor: 0 }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
device_description_str: "{KIND}"
"""
PTXAS = """#!/bin/sh
case $1 in
  -*) exec {ptxas} "$@" ;;
esac
cp "$1" {folder}/$$.ptx
exec timeout {limit} {ptxas} -v "$@" 2>{folder}/$$.log
"""
SPILLS = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
LAUNCH = r"\] (\w+) grid: \[.*?\] threads: \[(\d+), 1, 1\] +shared_memory: (\d+) bytes"
SLOWEST = 120  # seconds for ptxas: a kernel of many thousand spills takes minutes


class Kernel(NamedTuple):
    """What one kernel takes: registers and stack of a thread, shared memory of a block; bytes."""

    name: str
    threads: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int

    @property
    def spills(self) -> bool:
        """Whether something that belongs in registers lies in memory."""
        return self.stack + self.spill_stores + self.spill_loads > 0


# Lowering ----------------------------------------------------------------------------------------


def lower(fn: Callable[..., Any], *args: Any, device: Any = None) -> jax.stages.Lowered:
    """`fn`, jitted or not, of arrays or their shapes, for CUDA; to be compiled, for a device."""
    fn = fn if hasattr(fn, "trace") else jax.jit(fn)
    if device is not None:
        home = SingleDeviceSharding(device)
        args = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=home), args)
    abstract = AbstractDevice(device_kind=KIND, num_cores=None, platform="gpu")
    auto = (AxisType.Auto,)
    mesh = AbstractMesh((1,), ("d",), axis_types=auto, abstract_device=abstract)
    with jax.sharding.use_abstract_mesh(mesh):
        return fn.trace(*args).lower(lowering_platforms=("cuda",))


def kernels_in(lowered: jax.stages.Lowered) -> list[tuple[str, str]]:
    """(name, Triton IR) of each call of a kernel in a lowered program."""
    found = []
    for op in _operations(lowered.compiler_ir().operation):
        if op.name == "stablehlo.custom_call" and TARGET in str(op.attributes["call_target_name"]):
            config = op.attributes["mhlo.backend_config"]
            code = ir.StringAttr(config["ir"]).value_bytes
            context = ir.Context()
            dialect.register_dialect(context)
            with context:
                text = str(ir.Module.parse(code))
            found.append((ir.StringAttr(config["name"]).value, text))
    return found


def _operations(op: Any) -> Iterator[Any]:
    """Every operation inside of one."""
    for block in (block for region in op.regions for block in region):
        for inner in block:
            yield inner.operation
            yield from _operations(inner.operation)


# Compiling ---------------------------------------------------------------------------------------


def missing() -> str | None:
    """Why nothing can be compiled for an H100 here, or None where it can."""
    try:
        device()
        tools()
    except (RuntimeError, NotImplementedError, ImportError, FileNotFoundError) as error:
        return f"no CUDA plugin of jax with ptxas here ({error}): pip install 'jax[cuda13]'"
    return None


@functools.cache
def device() -> Any:
    """The H100 that is not there."""
    options = {"target_config": DESCRIPTION, "topology": "1x1x1"}
    return topologies.get_topology_desc(platform="cuda", **options).devices[0]


@functools.cache
def tools() -> pathlib.Path:
    """The folder of CUDA's tools that came with the plugin."""
    import nvidia  # what the packages of CUDA's parts share

    for place in map(pathlib.Path, nvidia.__path__):
        for found in sorted(place.glob("*/bin/ptxas")):
            return found.parent.parent
    raise FileNotFoundError("ptxas is in none of the packages of nvidia")


def compiled_kernels(fn: Callable[..., Any], *args: Any, folder: pathlib.Path) -> list[Kernel]:
    """What each Triton kernel in `fn` takes, compiled for sm_90a.

    Args:
      fn: jitted or not.
      args: arrays or ShapeDtypeStructs.
      folder: a new one, for what XLA and ptxas write. With a folder that it knows XLA has in its
        memory what it compiled before, and does not ask ptxas again.

    Raises:
      ValueError: there is no kernel in it, or ptxas and XLA do not say all of one.
      jax.errors.JaxRuntimeError: XLA or ptxas does not take it, such as too much shared memory.
    """
    lowered = lower(fn, *args, device=device())
    names = {name for name, _ in kernels_in(lowered)}
    if not names:
        raise ValueError("there is no kernel in what was lowered")
    folder.mkdir(parents=True)
    options = {"xla_gpu_cuda_data_dir": str(_telling(folder)), "xla_dump_to": str(folder)}
    lowered.compile(compiler_options={**options, "xla_gpu_autotune_level": 0})
    log = "\n".join(file.read_text() for file in sorted(folder.glob("*.log")))
    plan = "\n".join(file.read_text() for file in sorted(folder.glob("*thunk_sequence.txt")))
    return resources(log, plan, names)


def _telling(folder: pathlib.Path) -> pathlib.Path:
    """A folder of CUDA's tools in which ptxas says what it finds, into `folder`."""
    place = folder / "cuda"
    (place / "bin").mkdir(parents=True)
    (place / "nvvm").symlink_to(tools() / "nvvm")
    for tool in (tools() / "bin").iterdir():
        if tool.name != "ptxas":
            (place / "bin" / tool.name).symlink_to(tool)
    ptxas = shlex.quote(str(tools() / "bin" / "ptxas"))
    script = place / "bin" / "ptxas"
    script.write_text(
        PTXAS.format(ptxas=ptxas, folder=shlex.quote(str(folder.resolve())), limit=SLOWEST)
    )
    script.chmod(0o755)
    return place


def resources(log: str, plan: str, names: set[str]) -> list[Kernel]:
    """What ptxas says of each kernel, with the threads and shared memory of XLA's plan.

    Args:
      log: of `ptxas -v`; in it are kernels of XLA's own too, and some that XLA only tried.
      plan: a `thunk_sequence` as XLA writes it.
      names: of the kernels; XLA numbers those of one name, `name__1`.

    Raises:
      ValueError: one of the two does not say all of a kernel, or nothing of one of the names.
    """
    launches = {name: tuple(map(int, sizes)) for name, *sizes in re.findall(LAUNCH, plan)}
    parts = re.split(r"Compiling entry function '(\w+)' for 'sm_90a'", log)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    wanted = re.compile(rf"({'|'.join(sorted(names))})(_+\d+)?")
    found = {name: wanted.fullmatch(name) for name in {**launches, **texts}}
    absent = names - {match[1] for match in found.values() if match}
    if absent:
        raise ValueError(f"ptxas was not asked about {', '.join(sorted(absent))}")
    return [_kernel(name, texts, launches) for name, match in sorted(found.items()) if match]


def _kernel(name: str, texts: dict[str, str], launches: dict[str, Any]) -> Kernel:
    """One of them."""
    text = texts.get(name, "")
    properties = re.search(rf"Function properties for {name}\n *{SPILLS}", text)
    registers = re.search(r"Used (\d+) registers", text)
    if not (properties and registers and name in launches):
        raise ValueError(f"{name}: no whole account of it by ptxas and XLA")
    threads, shared = launches[name]
    return Kernel(name, threads, int(registers[1]), *map(int, properties.groups()), shared)
