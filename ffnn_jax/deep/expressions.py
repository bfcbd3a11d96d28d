"""What the outputs of a program are made of: as which expression, and from which members.

Some of the inputs belong to a member i of a family, each in a role, as W_k does to layer k in the
role of a weight. An expression names inputs by their roles, so two outputs have the same one if
and only if they are the same function of the inputs in these roles, as far as the text of the
program tells; of which members those inputs are is a set of its own.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ffnn_jax.gradcheck.primal import is_jaxpr, opened


class Source(NamedTuple):
    """What a value is made of.

    Attributes:
      expression: a number; equal for equal expressions of one `sources`.
      members: bit i is set where an input of member i is in it.
    """

    expression: int
    members: int


class Sources:
    """Reads programs; what it says of them can be compared.

    The programs have to live as long as it does.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._inner: dict[int, int] = {}  # of jaxprs met before, by id

    def of(self, jaxpr: Any, inputs: Sequence[tuple[Hashable, int]]) -> list[Source]:
        """The source of each output of a closed jaxpr.

        Args:
          jaxpr: the program.
          inputs: (role, members) of each of its inputs.
        """
        jaxpr, constants = opened(jaxpr)
        known = {
            variable: self._source(("constant", self._key(value)), 0)
            for variable, value in zip(jaxpr.constvars, constants, strict=True)
        }
        for variable, (role, members) in zip(jaxpr.invars, inputs, strict=True):
            known[variable] = self._source(("input", role), members)

        def read(atom: Any) -> Source:
            if isinstance(atom, core.Literal):
                return self._source(_literal(atom), 0)
            return known[atom]

        for eqn in jaxpr.eqns:
            sources = [read(atom) for atom in eqn.invars]
            members = 0
            for source in sources:
                members |= source.members
            what = eqn.primitive.name, self._key(eqn.params), *(s.expression for s in sources)
            for i, variable in enumerate(eqn.outvars):
                known[variable] = self._source((*what, i), members)
        return [read(atom) for atom in jaxpr.outvars]

    def _source(self, what: Hashable, members: int) -> Source:
        return Source(self._number(what), members)

    def _number(self, what: Hashable) -> int:
        return self._numbers.setdefault(what, len(self._numbers))

    def _key(self, value: Any) -> Hashable:
        """Equal for equal parameters of an operation; where unsure, for one object alone."""
        if is_jaxpr(value):
            if id(value) not in self._inner:
                self._inner[id(value)] = self._number(self._form(value))
            return "jaxpr", self._inner[id(value)]
        if isinstance(value, tuple | list):
            return type(value), tuple(map(self._key, value))
        if isinstance(value, dict):
            return tuple((name, self._key(part)) for name, part in sorted(value.items()))
        if isinstance(value, float | complex):
            return type(value), repr(value)  # 0 and −0 are equal
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return "key", str(value.dtype), self._key(jax.random.key_data(value))
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            array = np.asarray(value)
            return "array", str(array.dtype), array.shape, array.tobytes()
        return (type(value), value) if isinstance(value, Hashable) else (type(value), id(value))

    def _form(self, jaxpr: Any) -> Hashable:
        """A jaxpr with its variables numbered in the order in which they come."""
        jaxpr, constants = opened(jaxpr)
        numbers: dict[Any, int] = {}

        def names(atoms: Sequence[Any]) -> tuple[Hashable, ...]:
            return tuple(
                _literal(atom)
                if isinstance(atom, core.Literal)
                else (numbers.setdefault(atom, len(numbers)), str(atom.aval))
                for atom in atoms
            )

        ends = names(jaxpr.constvars), names(jaxpr.invars)
        equations = tuple(
            (eqn.primitive.name, self._key(eqn.params), names(eqn.invars), names(eqn.outvars))
            for eqn in jaxpr.eqns
        )
        return ends, equations, names(jaxpr.outvars), tuple(map(self._key, constants))


def _literal(atom: Any) -> Hashable:
    return "literal", str(atom.aval), np.asarray(atom.val).tobytes()
