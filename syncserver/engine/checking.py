"""The first reading of an import: every record looked at, all that is wrong told, and the rest laid down as a plan.

Nothing is written, and no transaction is open while files are read. Of what is in the session already only the rows
that the files name are asked for, some hundred at a time.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

from syncserver.core import csv_rows, within
from syncserver.core.csv_rows import NODES, RELATIONSHIPS, Columns, Kind, Problem
from syncserver.core.records import Record, Records
from syncserver.engine.drafts import Draft, Drafts
from syncserver.engine.faults import Enough, Faults
from syncserver.engine.placing import Placing, Seen
from syncserver.engine.plan import Plan
from syncserver.engine.quota import Quota
from syncserver.storage import numbers
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog

_READ_BYTES = 65_536
_SLICE = 200
_SLICE_BYTES = 1 << 20
_TURN_S = 0.002


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent. `kind`: None where its header is to tell it."""

    kind: Kind | None
    file: IO[bytes]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one import may be: records in all files, rows that come of them, bytes of a record, faults told."""

    rows: int = 100_000
    steps: int = 500_000
    record_bytes: int = 16 << 20
    problems: int = 1_000


class Checking:
    """One import's. `faults`: what was wrong; `records`: how many were read so far; `counts`: what comes of them.

    `replace`: rows that are there are written over, and not a fault. `chunk`: of the `plan`.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        quota: Quota,
        owner: str,
        session_id: str,
        *,
        replace: bool,
        chunk: int,
        bounds: Bounds,
    ) -> None:
        self._database = database
        self._nodes = catalog["nodes"]
        self._quota = quota
        self._owner = owner
        self._session_id = session_id
        self._bounds = bounds
        self._drafts = Drafts(catalog, session_id)
        self._seen = Seen()
        self._turn_at = 0.0
        self.plan = Plan(session_id, chunk)
        self.faults = Faults(bounds.problems)
        self._placing = Placing(
            database,
            owner,
            session_id,
            replace=replace,
            plan=self.plan,
            faults=self.faults,
            seen=self._seen,
            turn=self._turn,
        )
        self.counts = self._placing.counts
        self.records = 0

    async def run(self, uploads: Sequence[Upload]) -> None:
        """Read all of it; raises Unavailable. Nodes come first: relationships name them."""
        try:
            for upload in sorted(uploads, key=lambda one: one.kind is RELATIONSHIPS):
                await self._file(upload)
            if not self.faults.problems:
                await self._room()
        except Enough:
            pass

    # -- records -------------------------------------------------------------

    async def _file(self, upload: Upload) -> None:
        upload.file.seek(0)
        columns: Columns | None = None
        drafts: list[Draft] = []
        size = 0
        async for record in self._records(upload.file):
            if columns is None:
                columns = Columns(upload.kind or csv_rows.kind_of(record), record)
                self.faults.add(*columns.problems)
                if columns.problems:
                    raise Enough
                continue
            drafts += self._read(columns, record)
            size += len(record.text)
            if len(drafts) >= _SLICE or size > _SLICE_BYTES:
                await self._slice(columns, drafts)
                drafts, size = [], 0
        if columns is None:
            self.faults.add(Problem((upload.kind or NODES).name, 1, None, "the file is empty: it has no header"))
        else:
            await self._slice(columns, drafts)

    async def _records(self, file: IO[bytes]) -> AsyncIterator[Record]:
        """Its records, with turns for everybody else between them."""
        records = Records(self._bounds.record_bytes)
        while chunk := file.read(_READ_BYTES):
            for record in records.feed(chunk):
                await self._turn()
                yield record
        for record in records.end():
            yield record

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time
        if now() - self._turn_at > _TURN_S:
            await asyncio.sleep(0)
            self._turn_at = now()

    def _read(self, columns: Columns, record: Record) -> Iterator[Draft]:
        """The record as a draft; none where nothing of it can be read."""
        self.records += 1
        if self.records > self._bounds.rows:
            self.faults.stop(columns.problem(record, None, f"more than {self._bounds.rows} records in one import"))
        values, problems = columns.values(record)
        if "node_id" in values and (again := self._seen.node(values["node_id"], record.line)):
            problems.append(columns.problem(record, "node_id", again))
        if "relationship_id" in values and (again := self._seen.relationship(values["relationship_id"], record.line)):
            problems.append(columns.problem(record, "relationship_id", again))
        if values:
            draft = self._drafts.node if columns.kind is NODES else self._drafts.relationship
            drafted, wrong = draft(record, values)
            told = {problem.column for problem in problems}
            problems += [columns.problem(record, column, why) for column, why in wrong if column not in told]
            yield replace(drafted, sound=False) if problems else drafted
        self.faults.add(*problems)
        if record.last:
            raise Enough

    # -- drafts, against what is there ---------------------------------------

    async def _slice(self, columns: Columns, drafts: Sequence[Draft]) -> None:
        if columns.kind is NODES:
            await self._placing.nodes(columns, drafts)
        else:
            await self._placing.relationships(columns, drafts)
        if self.plan.steps > self._bounds.steps:
            self.faults.stop(
                Problem(columns.kind.name, 1, None, f"more than {self._bounds.steps} rows, components included")
            )

    async def _room(self) -> None:
        """Numbers for the nodes that come without, and room for all that is new."""
        place = (self._owner, self._nodes.name, self._session_id)
        more = self.counts["new"]
        async with self._database.transaction([self._owner]) as connection:
            last = await numbers.last(connection, self._nodes, [place])
            await self._quota.look(connection, Counter({self._owner: more}), Counter())
        self.plan.first = max(last[place], self._seen.greatest) + 1
        left = self._quota.left(self._owner)
        if left is not None and more - self.counts["removed"] > left:
            self.faults.stop(
                Problem("nodes", 1, None, f"{more} more rows, and this reader may have {max(0, left)} more")
            )
        if self.plan.first + self._placing.unnumbered - 1 > within.NUMBER_MAX:
            self.faults.stop(Problem("nodes", 1, "node_id", "there are not so many numbers left"))
