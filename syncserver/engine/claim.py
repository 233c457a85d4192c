"""A visitor signs in: everything that the anonymous session owned becomes the reader's, in one transaction.

Rows that only the visitor has move as they are. Where both have one, the ConflictResolver decides as it does between
two devices, and the version that lost is kept. The answers to the visitor's mutations move too, so that what a device
sends again under its new key is not done twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.actor import session_owner
from syncserver.core.errors import NotFound
from syncserver.core.resolver import Reason, Resolution, Version
from syncserver.engine import settle
from syncserver.engine.again import again
from syncserver.engine.decide import Current
from syncserver.storage import changes, claims, rows
from syncserver.storage.changes import Place
from syncserver.storage.conflicts import Conflict
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog, Resource

SESSIONS = "sessions"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim brought: rows that are the reader's now, and decisions between two versions."""

    rows: int = 0
    conflicts: int = 0


class Claim:
    """Claims over one database. `changed(owner)` is called for either owner before a claim is answered."""

    def __init__(
        self, database: Database, catalog: Catalog, *, changed: Callable[[str], None] = lambda _owner: None
    ) -> None:
        self._database = database
        self._changed = changed
        self._catalog = catalog
        # The session's own row goes last: with it, its trigger takes away what is left of the visitor.
        self._resources = sorted(catalog.values(), key=lambda resource: resource.name == SESSIONS)

    async def claim(self, user: str, session_id: UUID) -> Taken:
        """Make the session's rows those of the owner `user`; a second time, nothing is left to do.

        Raises NotFound for a session that is not there, or another's; Unavailable.
        """
        try:
            return await again(partial(self._transact, user, session_id))
        finally:
            for owner in (user, session_owner(session_id)):
                self._changed(owner)

    async def _transact(self, user: str, session_id: UUID) -> Taken:
        visitor = session_owner(session_id)
        async with self._database.transaction([user, visitor], queue=True) as connection:
            owner = await claims.begin(connection, session_id)
            if owner is None:
                raise NotFound("There is no such session.")
            if owner == user:
                return Taken()
            moved = conflicts = 0
            for resource in self._resources:
                if resource.name == SESSIONS:
                    await claims.move_records(connection, visitor, user)
                keys = await claims.clashes(connection, self._catalog, resource, visitor, user)
                found = await _settle(connection, resource, visitor, user, keys)
                moved += await claims.move(connection, self._catalog, resource, visitor, user, keys) + len(keys)
                conflicts += found
        return Taken(moved, conflicts)


async def _settle(connection: AsyncConnection, resource: Resource, visitor: str, user: str, keys: Sequence[str]) -> int:
    """Decide between the visitor's and the user's rows of these keys; how many of them differed."""
    lost: list[Conflict] = []
    for start in range(0, len(keys), _AT_ONCE):
        clashes = await _read(connection, resource, visitor, user, keys[start : start + _AT_ONCE])
        await _write(connection, resource, [clash for clash in clashes if clash.resolution.changed])
        lost += [clash.conflict() for clash in clashes if clash.resolution.reason is not Reason.SAME]
    await settle.keep_conflicts(connection, lost)
    return len(lost)


@dataclass(frozen=True, slots=True)
class _Clash:
    """One row in two houses. Neither knew of the other, whichever device wrote them: so one of them loses."""

    place: Place
    resource: Resource
    coming: rows.Stored
    current: Current
    resolution: Resolution

    def conflict(self) -> Conflict:
        """The decision, to be kept."""
        version, policy = self.resolution.version, self.resource.policy
        loser = self.current.version if self.resolution.accepted else _version(self.coming)
        return Conflict(str(uuid4()), *self.place, policy, self.resolution.reason, version, loser)

    def write(self) -> rows.Write:
        """The row as it is from now on."""
        version, stored = self.resolution.version, self.current.stored
        by = self.coming if self.resolution.accepted or stored is None else stored
        owner, _, key = self.place
        return rows.Write(
            owner, key, version.fields or {}, version.updated_at, version.device_id or None, by.device_name
        )


def _version(stored: rows.Stored) -> Version:
    stamp = stored.own.stamp if stored.own else stored.updated_at
    return Version(stored.fields, stamp, stored.device_id or "")


async def _read(
    connection: AsyncConnection, resource: Resource, visitor: str, user: str, keys: Sequence[str]
) -> list[_Clash]:
    theirs = await rows.locked(connection, resource, [(visitor, key) for key in keys])
    ours = await rows.locked(connection, resource, [(user, key) for key in keys])
    entries = await changes.entries(connection, [(user, resource.name, key) for key in keys])
    clashes: list[_Clash] = []
    for (_, key), coming in theirs.items():
        place = (user, resource.name, key)
        current = Current(entries[place], ours.get((user, key)))
        resolution = resource.resolver.resolve(current.version, _version(coming), resource.policy)
        clashes.append(_Clash(place, resource, coming, current, resolution))
    return clashes


async def _write(connection: AsyncConnection, resource: Resource, clashes: Sequence[_Clash]) -> None:
    new = [clash.write() for clash in clashes if clash.current.stored is None]
    changed = [clash.write() for clash in clashes if clash.current.stored is not None]
    await rows.write(connection, resource, new, changed)
