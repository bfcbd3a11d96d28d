"""The collectives in the text of a compiled program: XLA's optimized HLO.

A program is a list of computations, each a list of instructions such as

  %all-reduce.16 = f32[4,24]{1,0} all-reduce(%dot), replica_groups={{0,1},{2,3}}, to_apply=%add

A loop names its body, and XLA writes down how often it runs where it knows. Device numbers are
places in the mesh, in the order of `mesh.devices.flat`. Three ways to write down the groups:

  {{0,1},{2,3}}                         each device by its number; {} is all in one group
  [2,2]<=[2,2]T(1,0)                    0, 1, 2, … in the shape [2,2], axes swapped, cut into rows
  mesh['data'=2,'model'=2] {'model'}    those that differ in these axes of a mesh and in no other
"""

import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
OPCODE = re.compile(r"[\])}] ([a-z][a-z0-9-]*)\(")
HEADER = re.compile(r"(ENTRY )?%?([\w.$-]+) \(.*\{$")
SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,<=]*)\]")
CALLED = re.compile(
    r"\b(body|condition|to_apply|calls|true_computation|false_computation|branch_computations)="
    r"(\{[^}]*\}|%?[\w.$-]+)"
)
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
NAME = re.compile(r'op_name="([^"]*)"')

Groups = tuple[tuple[int, ...], ...]


class Instruction(NamedTuple):
    """One collective of a program.

    Attributes:
      kind: one of KINDS.
      bytes: of the array on one device while it is whole within the group: the operand of a
        reduce-scatter, the result of an all-gather, either of the others.
      groups: the numbers of the devices that take part together.
      times: how often it runs, or None inside a loop of unknown length. Of a conditional, each
        branch is taken as the one that runs.
      source: where in the traced program it comes from, XLA's op_name.
    """

    kind: str
    bytes: int
    groups: Groups
    times: int | None
    source: str


def instructions(text: str) -> Iterator[Instruction]:
    """Every collective of a program, loops and calls followed from its entry.

    Args:
      text: optimized HLO, as from `jax.stages.Compiled.as_text()`.

    Yields:
      An `Instruction` for each, in the order of the text of each computation.

    Raises:
      ValueError: the text is no HLO module, or groups are written in a way that is not known.
    """
    computations, entry = _computations(text)
    count = re.search(r"num_partitions=(\d+)", text)
    yield from _walk(computations, entry, 1, int(count[1]) if count else 1)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation by its name, and the name of the first to run."""
    found: dict[str, list[str]] = {}
    entry, lines = None, []
    for line in text.splitlines():
        header = HEADER.match(line)
        if header:
            lines = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif " = " in line:
            lines.append(line)
    if entry is None:
        raise ValueError("text: expected an HLO module with an ENTRY computation, found none")
    return found, entry


def _walk(
    computations: dict[str, list[str]], name: str, times: int | None, devices: int
) -> Iterator[Instruction]:
    """The collectives of a computation that runs so often, and of those that it calls."""
    for line in computations.get(name, ()):
        opcode = OPCODE.search(line)
        if opcode is None:
            continue
        kind = opcode[1].removesuffix("-start")
        if kind in KINDS:
            yield _instruction(line, opcode, times, devices)
        if opcode[1] in ("async-update", "async-done"):  # the computation ran once, at its start
            continue
        plain = re.sub(r'"[^"]*"', "", line)
        for role, called in CALLED.findall(plain):
            runs = _runs(line, opcode[1], role, times)
            for each in re.findall(r"[\w.$-]+", called):
                yield from _walk(computations, each, runs, devices)


def _runs(line: str, opcode: str, role: str, times: int | None) -> int | None:
    """How often a computation runs that an instruction calls."""
    if opcode != "while":
        return times
    trips = TRIPS.search(line)
    if trips is None or times is None:
        return None
    return times * (int(trips[1]) + (role == "condition"))  # asked once more, to end


def _instruction(line: str, opcode: re.Match, times: int | None, devices: int) -> Instruction:
    kind = opcode[1].removesuffix("-start")
    groups = _groups(line, devices)
    shapes = line[: opcode.start() + 1].split(" = ", 1)[1]
    size = sum(_bytes(*shape) for shape in SHAPE.findall(shapes))
    if kind == "reduce-scatter":
        size *= len(groups[0])
    if opcode[1] == "all-gather-start":  # its result is (what goes in, what comes out)
        size = size * len(groups[0]) // (len(groups[0]) + 1)
    if opcode[1] == "collective-permute-start":  # the same, and on some backends two counters
        counters = len(re.findall(r"\bu32\[\]", shapes)) * 4
        size = (size - counters) // 2
    source = NAME.search(line)
    return Instruction(kind, size, groups, times, source[1] if source else "")


def _bytes(dtype: str, shape: str) -> int:
    """Of an array; numbers of less than a byte are packed."""
    bits = re.search(r"\d+", dtype)
    count = math.prod(int(n.removeprefix("<=")) for n in shape.split(",") if n)
    return -(-count * (int(bits[0]) if bits else 8) // 8)  # pred is a byte


# Groups ------------------------------------------------------------------------------------------


def _groups(line: str, devices: int) -> Groups:
    """Which devices take part together, in whichever way it is written down."""
    written = re.search(r"(?:replica_groups|source_target_pairs)=(.*)", line)
    if written is None:
        raise ValueError(f"text: expected replica_groups or source_target_pairs in {line!r}")
    rest = written[1]
    if rest.startswith("mesh["):
        return _groups_of_mesh(rest)
    if rest.startswith("["):
        shape, tiles = re.findall(r"\[([\d,]+)\]", rest)[0], rest.split("<=", 1)[1]
        return _rows(_numbers(tiles).reshape(_ints(shape)))
    if rest.startswith("{}"):
        return (tuple(range(devices)),)
    explicit = re.match(r"\{(\{[\d,]*\}(?:,\{[\d,]*\})*)\}", rest)
    if explicit is None:
        raise ValueError(f"text: expected groups of devices, found {rest[:80]!r}")
    return tuple(_ints(group) for group in re.findall(r"\{([\d,]*)\}", explicit[1]))


def _groups_of_mesh(written: str) -> Groups:
    """Groups as axes of a mesh; `'data':(2)4` is the part of size 4 of an axis, after one of 2."""
    parts = re.match(
        r"mesh\[([^\]]*)\](?:, device_ids=\(((?:[^()]|\([^()]*\))*)\))? \{([^}]*)\}", written
    )
    if parts is None:
        raise ValueError(f"text: expected the axes of a mesh, found {written[:80]!r}")
    sizes = {name: int(n) for name, n in re.findall(r"'?([^',=]+)'?=(\d+)", parts[1])}
    grouped = {
        name: (int(pre or 1), int(size or sizes[name]))
        for name, pre, size in re.findall(r"'?([^',:(){}]+)'?(?::\((\d+)\)(\d+))?", parts[3])
    }
    shape, together = [], []
    for name, n in sizes.items():
        pre, size = grouped.get(name, (1, 1))
        together.append(len(shape) + 1)
        shape += [pre, size, n // (pre * size)]
    numbers = _numbers(parts[2]) if parts[2] else np.arange(math.prod(shape))
    apart = [axis for axis in range(len(shape)) if axis not in together]
    size = math.prod(shape[axis] for axis in together)
    return _rows(numbers.reshape(shape).transpose(*apart, *together).reshape(-1, size))


def _numbers(written: str) -> np.ndarray:
    """Device numbers: `[2,4]T(1,0)`, or one after the other."""
    tiles = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", written)
    if tiles is None:
        return np.asarray(_ints(written))
    shape = _ints(tiles[1])
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return numbers.transpose(_ints(tiles[2])) if tiles[2] else numbers


def _ints(written: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", written))


def _rows(groups: np.ndarray) -> Groups:
    return tuple(tuple(int(device) for device in group) for group in groups)


def axes_between(groups: Groups, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a mesh of this shape along which the devices of a group differ."""
    places = [[np.unravel_index(device, shape) for device in group] for group in groups]
    return tuple(
        axis
        for axis in range(len(shape))
        if any(a[axis] != b[axis] for group in places for a, b in itertools.pairwise(group))
    )
