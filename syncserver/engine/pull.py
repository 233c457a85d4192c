"""Reading the log for somebody: from a cursor, checked, through the one read door."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Invalid
from syncserver.engine.heads import Heads
from syncserver.engine.kept import Kept
from syncserver.storage import changes, conflicts, related, rows, sequences, threads
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog


class Pull:
    """All reads of the engine. `kept`, `ends`: rows, and ends of logs, that need not be read again; None: all are."""

    def __init__(
        self, database: Database, catalog: Catalog, kept: Kept | None = None, ends: Heads | None = None
    ) -> None:
        self._database = database
        self.catalog = catalog
        self._kept = kept
        self._ends = ends if ends is not None else Heads(lambda: False, lambda: 0)

    def known(self, resources: Collection[str] | None) -> frozenset[str] | None:
        """The resources asked for, as a set; raises Invalid for one that this server does not sync."""
        if resources is None:
            return None
        unknown = [name for name in resources if name not in self.catalog]
        if unknown:
            raise Invalid(
                f"{len(unknown)} of these resources are not synced here; there are: {', '.join(self.catalog)}."
            )
        return frozenset(resources)

    async def page(
        self, owner: str, cursor: Cursor | None, resources: Collection[str] | None, limit: int = changes.PAGE_ROWS
    ) -> Page:
        """A page of the owner's log after the cursor (None: from the beginning); raises Refetch, Unavailable."""
        after = cursor.offset if cursor else 0
        with self._ends.reading(owner) as found:
            page = (await self.pages({owner: after}, resources, limit))[owner]
            found(page)
        if cursor is not None:
            cursor.check(page.epoch, owner, page.floor, page.head)
        return page._replace(began=cursor.began if cursor and cursor.offset else page.floor)

    def quiet(self, owner: str, cursor: str) -> Page | None:
        """The page after this cursor where it is known, without reading, that there is no news; else None.

        That is never staler than a doorbell, nor than what this process has acknowledged.
        """
        return self._ends.after(owner, cursor)

    async def pages(
        self, after: Mapping[str, int], resources: Collection[str] | None = None, limit: int = changes.PAGE_ROWS
    ) -> dict[str, Page]:
        """A page for each of many owners, past these offsets, from one snapshot."""
        wanted = sorted(resources) if resources is not None else None
        return await self._database.read(after, changes.since(self.catalog, after, wanted, limit))

    async def heads(self, owners: Sequence[str]) -> tuple[str, dict[str, int]]:
        """The log's epoch, and each owner's head."""
        async with self._database.transaction(owners) as connection:
            epoch = await changes.epoch(connection)
            return epoch, await changes.heads(connection, owners)

    async def cursor(self, owner: str) -> str:
        """The owner's cursor now."""
        epoch, heads = await self.heads([owner])
        return str(Cursor.at(epoch, owner, heads.get(owner, 0)))

    async def row(self, owner: str, resource: str, key: str) -> rows.Listed | None:
        """One row, or None; the one that is kept, which is never staler than a doorbell."""
        read = partial(self._row, owner, resource, key)
        if self._kept is None or self.catalog[resource].silent:
            return await read()
        return await self._kept.row((owner, resource, key), read)

    async def _row(self, owner: str, resource: str, key: str) -> rows.Listed | None:
        async with self._database.transaction([owner]) as connection:
            return await rows.one(connection, self.catalog[resource], owner, key)

    async def decided(self, owner: str, listing: conflicts.Listing) -> list[conflicts.Kept]:
        """A page of the owner's conflicts, newest first."""
        async with self._database.transaction([owner]) as connection:
            return await conflicts.listed(connection, owner, listing)

    async def conflict(self, owner: str, conflict_id: str) -> conflicts.Kept | None:
        """One of them, or None."""
        async with self._database.transaction([owner]) as connection:
            return await conflicts.one(connection, owner, conflict_id)

    async def entry(self, place: changes.Place) -> changes.Entry | None:
        """Where a row stands in the log, or None."""
        async with self._database.transaction([place[0]]) as connection:
            return (await changes.entries(connection, [place])).get(place)

    async def listed(self, owner: str, resource: str, listing: rows.Listing) -> list[rows.Listed]:
        """A page of a resource's rows, newest first."""
        async with self._database.transaction([owner]) as connection:
            return await rows.listed(connection, self.catalog[resource], owner, listing)

    async def thread(self, owner: str, resource: str, home: str, span: threads.Span) -> Sequence[rows.Listed] | None:
        """Rows of a resource that belong to the row `home`, in their order; None where that is not there."""
        found = self.catalog[resource]
        async with self._database.transaction([owner]) as connection:
            if await rows.one(connection, self.catalog[found.belongs[0].resource], owner, home) is None:
                return None
            return await threads.listed(connection, found, owner, home, span)

    async def related(self, owner: str, resource: str, home: str, asked: related.Asked) -> Sequence[rows.Listed] | None:
        """Rows of a resource that stand in the session `home`, by key; None where that is not there."""
        async with self._database.transaction([owner]) as connection:
            if await rows.one(connection, self.catalog["sessions"], owner, home) is None:
                return None
            return await related.listed(connection, self.catalog[resource], owner, home, asked)

    async def sequence(self, owner: str, resource: str, home: str) -> sequences.Known:
        """By what the sequence of rows that belong to the row `home` is known again."""
        async with self._database.transaction([owner]) as connection:
            return sequences.known(await sequences.places(connection, self.catalog[resource], owner, home))
