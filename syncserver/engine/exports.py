"""The workspace of a session as a file: read in one statement, so of one moment, and laid down before it is sent.

So it is sent as slowly as its reader wants, without a transaction that waits for that; and what fails, fails before
the first byte. Nothing is in memory but some rows.
"""

import asyncio
import csv
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any, Literal, cast

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.csv_rows import NODES, RELATIONSHIPS, Kind
from syncserver.core.errors import Unavailable
from syncserver.storage import graphs
from syncserver.storage.database import Contention, Database

_IN_MEMORY_BYTES = 1 << 20
_READ_S = 60.0

Edges = Literal["edges", "links"]
"""What readers of node-link JSON call its edges."""
Rows = Callable[[AsyncConnection, str, str], graphs.Rows]
_ROWS: Mapping[str, Rows] = {NODES.name: graphs.nodes, RELATIONSHIPS.name: graphs.relationships}


class _Text:
    """What a CSV writer writes to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


class Exports:
    """Of one process, which reads `at_once` at most. Every method raises Unavailable while the database is away.

    `read_s`: how long one may take to be read.
    """

    def __init__(self, database: Database, *, at_once: int = 2, read_s: float = _READ_S) -> None:
        self._database = database
        self._reading = asyncio.Semaphore(at_once)
        self._read_s = read_s

    async def csv(self, owner: str, session_id: str, kind: Kind) -> IO[bytes]:
        """A file of nodes or of relationships that imports to the same rows; the caller closes it."""

        async def lay(file: IO[bytes], connection: AsyncConnection) -> None:
            writer = csv.writer(_Text(file))
            writer.writerow(kind.columns)
            async for row in _in_turns(_ROWS[kind.name](connection, owner, session_id)):
                writer.writerow(row)

        return await self._laid(owner, lay)

    async def graph(self, owner: str, session_id: str, edges: Edges) -> IO[bytes]:
        """Node-link JSON of both; the caller closes it."""

        async def lay(file: IO[bytes], connection: AsyncConnection) -> None:
            begun = {"directed": True, "multigraph": True, "graph": {"session_id": session_id}}
            file.write(orjson.dumps(begun)[:-1] + b',"nodes":[')
            nodes, between = True, "\n"
            async for node, text in _in_turns(graphs.graph(connection, owner, session_id)):
                if nodes and not node:
                    file.write(f'\n],"{edges}":['.encode())
                    nodes, between = False, "\n"
                file.write(f"{between}{text}".encode())
                between = ",\n"
            file.write(b"\n]}\n" if not nodes else f'\n],"{edges}":[]}}\n'.encode())

        return await self._laid(owner, lay)

    async def _laid(self, owner: str, lay: Callable[[IO[bytes], AsyncConnection], Any]) -> IO[bytes]:
        file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - its reader closes it
        try:
            async with self._reading, asyncio.timeout(self._read_s), self._database.transaction([owner]) as connection:
                await lay(file, connection)
        except BaseException as error:
            file.close()
            if isinstance(error, TimeoutError | Contention):
                raise Unavailable("It took too long to read; try again.") from None
            raise
        file.seek(0)
        return file


async def _in_turns(rows: graphs.Rows) -> AsyncIterator[Any]:
    """The same rows; others have their turn between some of them."""
    number = 0
    async for row in rows:
        yield row
        number += 1
        if number % 20 == 0:
            await asyncio.sleep(0)
