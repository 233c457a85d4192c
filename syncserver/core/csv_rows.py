"""What a file of nodes or of relationships says: its header, and each record as values by the names of its columns.

The values are what JSON would hold; whether a row may have them is for the resource's model to say.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from syncserver.core import depth, within
from syncserver.core.errors import TooLarge
from syncserver.core.records import Record

_JSON_DEPTH = 64
_COMPONENT = frozenset({"component_id", "type", "config"})
_NODE_SUCH = "not a number such as N001"
_NAME_SUCH = "not 1 to 64 letters, digits and . _ ~ -"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file, and where: the line, and the column by its name (None: the record as a whole)."""

    file: str
    line: int
    column: str | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """As a report has it."""
        return {"file": self.file, "line": self.line, "column": self.column, "reason": self.reason}


@dataclass(frozen=True)
class Kind:
    """A kind of file. `columns`: what reads a cell of each, raising ValueError; those of `needed` have to be there.

    What an empty cell of `absent` says is nothing: the same as without the column.
    """

    name: str
    columns: Mapping[str, Callable[[str], Any]]
    needed: Sequence[str] = ()
    absent: frozenset[str] = frozenset()


def _json(text: str) -> Any:
    try:
        return depth.loads(text, _JSON_DEPTH)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}, character {error.pos + 1}") from None
    except TooLarge as error:
        raise ValueError(error.detail) from None


def _object(text: str) -> Any:
    value = _json(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - of a cell, not of an argument
    return value


def _components(text: str) -> Any:
    if not text:
        return []
    value = _json(text)
    if not isinstance(value, list):
        raise ValueError("not a JSON array")  # noqa: TRY004 - of a cell, not of an argument
    for number, component in enumerate(value, 1):
        if not isinstance(component, dict):
            raise ValueError(f"component {number} is not a JSON object")  # noqa: TRY004 - as above
        if unknown := sorted(component.keys() - _COMPONENT):
            raise ValueError(f"component {number} has {unknown[0]!r}, which no component has")
        named = component.get("component_id", "a")
        if not isinstance(named, str) or not within.NAMED.fullmatch(named):
            raise ValueError(f"component {number}, component_id: {_NAME_SUCH}")
    return value


def _node(text: str) -> str:
    if not within.NUMBERED.fullmatch(text) or text == within.numbered(0):
        raise ValueError(_NODE_SUCH)
    return text


def _named(text: str) -> str:
    if not within.NAMED.fullmatch(text):
        raise ValueError(_NAME_SUCH)
    return text


def _number(text: str) -> float:
    if not text.isascii() or "_" in text or text != text.strip():
        raise ValueError("not a number")
    try:
        return float(text)
    except ValueError:
        raise ValueError("not a number") from None


NODES = Kind(
    "nodes",
    {"node_id": _node, "title": str, "content": str, "metadata": _object, "components": _components},
    absent=frozenset({"node_id", "metadata"}),
)
RELATIONSHIPS = Kind(
    "relationships",
    {
        "relationship_id": _named,
        "from_node": _node,
        "to_node": _node,
        "type": str,
        "weight": _number,
        "metadata": _object,
    },
    needed=("from_node", "to_node", "type"),
    absent=frozenset({"relationship_id", "weight", "metadata"}),
)
KINDS = {kind.name: kind for kind in (NODES, RELATIONSHIPS)}


def kind_of(header: Record) -> Kind:
    """Which kind of file begins with this record: only relationships have ends."""
    return RELATIONSHIPS if {"from_node", "to_node", "relationship_id"} & set(header.fields) else NODES


class Columns:
    """The columns of one file, as its header has them. `problems`: what is wrong with that; then no row can be read."""

    def __init__(self, kind: Kind, header: Record) -> None:
        self.kind = kind
        self.names = list(header.fields)
        self.problems = list(self._wrong(header))

    def _wrong(self, header: Record) -> Iterator[Problem]:
        if header.fault:
            yield Problem(self.kind.name, header.line, None, header.fault.reason)
            return
        for number, name in enumerate(self.names):
            if name not in self.kind.columns:
                known = ", ".join(self.kind.columns)
                yield self.problem(header, number, f"there is no such column; there are {known}")
            elif name in self.names[:number]:
                yield self.problem(header, number, "the same column is there already")
        for name in self.kind.needed:
            if name not in self.names:
                yield Problem(self.kind.name, header.line, name, "this column has to be there")

    def problem(self, record: Record, column: int | str | None, reason: str) -> Problem:
        """Something wrong in a record, in a column by its number or name."""
        number = self.names.index(column) if isinstance(column, str) and column in self.names else column
        if not isinstance(number, int):
            return Problem(self.kind.name, record.line, column if isinstance(column, str) else None, reason)
        name = self.names[number] if number < len(self.names) else None
        return Problem(self.kind.name, record.line_of(number), name, reason)

    def values(self, record: Record) -> tuple[dict[str, Any], list[Problem]]:
        """What the record says, by column, and all that is wrong with it."""
        if record.fault:
            return {}, [self.problem(record, record.fault.field, record.fault.reason)]
        if len(record.fields) != len(self.names):
            reason = f"{len(record.fields)} fields, where the header has {len(self.names)}"
            return {}, [self.problem(record, None, reason)]
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for number, (name, cell) in enumerate(zip(self.names, record.fields, strict=True)):
            if cell or name not in self.kind.absent:
                try:
                    values[name] = self.kind.columns[name](cell)
                except ValueError as error:
                    problems.append(self.problem(record, number, str(error)))
        return values, problems
