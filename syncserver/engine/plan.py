"""What an import is going to write: mutations in the order in which they can be written, in files, not in memory.

Nodes come first, then their components, then what relates them. Each knows the record that it is of.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any
from uuid import UUID, uuid4, uuid5

import orjson

from syncserver.core import within
from syncserver.core.resolver import Policy

_IN_MEMORY_BYTES = 1 << 20
_ORDER = ("nodes", "node_components", "session_relationships")
_YET = "#"
Of = tuple[str, int]
"""The file and line of a record."""


@dataclass(frozen=True, slots=True)
class Step:
    """One write. `own`: the row's own id; `base`: at which offset it, or what is left of it, stands; None: nowhere."""

    resource: str
    own: str
    op: str
    data: Mapping[str, Any] | None
    base: int | None


def yet(number: int) -> str:
    """Stands for the own id of a node that is to be numbered, the how many-th of them, from 0."""
    return f"{_YET}{number}"


class Plan:
    """`chunk`: how many of them are in memory at once. `first`: the number of the first node that is to be numbered."""

    def __init__(self, session_id: str, chunk: int) -> None:
        self._session_id = session_id
        self._chunk = chunk
        self._files: Mapping[str, IO[bytes]] = {
            name: tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - `close` does
            for name in _ORDER
        }
        self._names = uuid4()
        self.first = 1
        self.steps = 0

    def close(self) -> None:
        """Forget all of it."""
        for file in self._files.values():
            file.close()

    def add(self, of: Of, step: Step) -> None:
        """One more write, behind all of its kind."""
        self.steps += 1
        self._files[step.resource].write(orjson.dumps([of, step.own, step.op, step.data, step.base]) + b"\n")

    def records(self, places: Collection[int]) -> dict[int, Of]:
        """Of which records these writes are, by their places among all that `chunks` gives."""
        lines = (line for resource in _ORDER for line in self._lines(resource))
        found = ((place, orjson.loads(line)[0]) for place, line in enumerate(lines) if place in places)
        return {place: (of[0], of[1]) for place, of in found}

    async def chunks(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """All of it as mutations, some at a time, from the beginning; each time the same ones."""
        place, chunk = 0, list[Mapping[str, Any]]()
        for resource in _ORDER:
            for line in self._lines(resource):
                _, *rest = orjson.loads(line)
                chunk.append(self._mutation(place, resource, *rest))
                place += 1
                if len(chunk) == self._chunk:
                    yield chunk
                    chunk = []
                    await asyncio.sleep(0)
        if chunk:
            yield chunk

    def _lines(self, resource: str) -> Iterator[bytes]:
        self._files[resource].seek(0)
        return iter(self._files[resource])

    def _mutation(
        self, place: int, resource: str, own: str, op: str, data: dict[str, Any] | None, base: int | None
    ) -> Mapping[str, Any]:
        """As a client would send it. Whatever has been written since its row was looked at wins: then all is undone."""
        if data is not None and "node_id" in data:
            data["node_id"] = self._known(data["node_id"])
        return {
            "mutation_id": str(uuid5(self._names, str(place))),
            "resource": resource,
            "key": f"{self._session_id}:{self._known(own)}",
            "op": op,
            "base": base,
            "policy": Policy.SERVER_WINS,
            **({"data": data} if data is not None else {}),
        }

    def _known(self, own: str) -> str:
        return within.numbered(self.first + int(own[1:])) if own.startswith(_YET) else own


def made(session_id: str, *parts: object) -> str:
    """An own id that is the same for the same parts."""
    return str(uuid5(UUID(session_id), " ".join(map(str, parts))))
