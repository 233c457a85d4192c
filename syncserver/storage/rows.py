"""A resource's own table: read rows, lock them for a decision, and write many from one JSON parameter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import clock
from syncserver.storage import trip
from syncserver.storage.changes import as_key, row_as_json, type_of
from syncserver.storage.resource import Fields, Resource
from syncserver.storage.trip import Ask


@dataclass(frozen=True, slots=True)
class Write:
    """A version of a row on its way to its table. `device_name` is kept where the table has a column for it."""

    owner: str
    key: str
    fields: Mapping[str, Any]
    updated_at: datetime
    device_id: str | None
    device_name: str | None


@dataclass(frozen=True, slots=True)
class Own:
    """A row's own last write, where something else may raise the row: its stamp, and its offset if that was so."""

    stamp: datetime
    since: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it is: the wire's JSON of it, and the values that decide conflicts."""

    json: str
    fields: Fields
    updated_at: datetime
    device_id: str | None
    device_name: str | None
    own: Own | None = None


_PLACE = attrgetter("owner", "key")


@lru_cache
def _locked(resource: Resource) -> sa.TextClause:
    key, kind = resource.key, type_of(resource.table.c[resource.key])
    return sa.text(f"""
        SELECT t.* FROM unnest(CAST(:owners AS text[]), CAST(:keys AS text[])) AS k (owner, key)
        CROSS JOIN LATERAL (
          SELECT t.owner, t.{key}::text, {row_as_json(resource, "t")}, t.updated_at, t.device_id
          FROM {resource.table.name} t WHERE t.owner = k.owner AND t.{key} = CAST(k.key AS {kind}) FOR UPDATE
        ) t
    """)


def locking(resource: Resource, places: Sequence[tuple[str, str]]) -> Ask[dict[tuple[str, str], Stored]]:
    """The rows (owner, key) that exist, locked in order to the end of the transaction."""
    ordered = sorted(places)
    owners, keys = trip.array([owner for owner, _ in ordered]), trip.array([key for _, key in ordered])
    read = partial(_all_stored, resource)
    return Ask(_locked(resource), {"owners": owners, "keys": keys}, read)


def _all_stored(resource: Resource, found: Sequence[Any]) -> dict[tuple[str, str], Stored]:
    return {(row[0], row[1]): _stored(resource, *row[2:]) for row in found}


async def locked(
    connection: AsyncConnection, resource: Resource, places: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Stored]:
    """The same, at once."""
    return await trip.one(connection, locking(resource, places))


def _stored(resource: Resource, json: str, updated_at: datetime, device_id: str | None) -> Stored:
    row = orjson.loads(json)
    fields = {name: row[name] for name in resource.fields}
    return Stored(json, fields, updated_at, device_id, row.get("device_name"), _own(resource, row))


def _own(resource: Resource, row: Mapping[str, Any]) -> Own | None:
    raised = resource.raised
    return Own(clock.read(row[raised.stamp]), row[raised.since]) if raised else None


def written(resource: Resource, new: Sequence[Write], changed: Sequence[Write]) -> list[Ask[None]]:
    """Insert `new` rows and update `changed` ones, in order of owner and key so that no two writers deadlock."""
    return [
        Ask(statement, {"rows": orjson.dumps([_record(resource, w) for w in sorted(rows, key=_PLACE)]).decode()})
        for rows, statement in ((new, _insert(resource)), (changed, _update(resource)))
        if rows
    ]


async def write(
    connection: AsyncConnection, resource: Resource, new: Sequence[Write], changed: Sequence[Write]
) -> None:
    """The same, at once."""
    await trip.go(connection, *written(resource, new, changed))


def _record(resource: Resource, write: Write) -> dict[str, Any]:
    return {
        "owner": write.owner,
        resource.key: write.key,
        **{name: write.fields.get(name) for name in resource.fields},
        **({resource.raised.stamp: write.updated_at} if resource.raised else {}),
        "updated_at": write.updated_at,
        "device_id": write.device_id,
        "device_name": write.device_name,
    }


@lru_cache
def _columns(resource: Resource) -> Sequence[str]:
    own = [resource.raised.stamp] if resource.raised else []
    names = ["owner", resource.key, *resource.fields, *own, "updated_at", "device_id", "device_name"]
    return [name for name in names if name in resource.table.columns]


def _recordset(resource: Resource) -> str:
    columns = ", ".join(f'"{name}" {type_of(resource.table.c[name])}' for name in _columns(resource))
    return f"jsonb_to_recordset(CAST(:rows AS jsonb)) AS r ({columns})"


@lru_cache
def _insert(resource: Resource) -> sa.TextClause:
    names = ", ".join(f'"{name}"' for name in _columns(resource))
    return sa.text(f"INSERT INTO {resource.table.name} ({names}) SELECT {names} FROM {_recordset(resource)}")


@lru_cache
def _update(resource: Resource) -> sa.TextClause:
    """Found by the primary key, whatever the planner thinks of an owner's number of rows: see decision 7."""
    names = [name for name in _columns(resource) if name not in {"owner", resource.key}]
    sets = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
    return sa.text(f"{_insert(resource).text} ON CONFLICT (owner, {resource.key}) DO UPDATE SET {sets}")


@lru_cache
def _delete(resource: Resource) -> sa.TextClause:
    kind = type_of(resource.table.c[resource.key])
    return sa.text(f"DELETE FROM {resource.table.name} WHERE owner = :owner AND {resource.key} = CAST(:key AS {kind})")


def deleted(resource: Resource, owner: str, key: str) -> Ask[None]:
    """Remove a row; its trigger leaves the tombstone."""
    return Ask(_delete(resource), {"owner": owner, "key": key})


@dataclass(frozen=True, slots=True)
class Listed:
    """A row in a list or alone: the wire's JSON of it and where it stands in the log."""

    key: str
    json: str
    offset: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """Which rows: equal in the columns of `where`, past the place `after` (stamp and key), at most `limit`.

    `conditions`: in these named lists of the resource, too. `whole`: with the columns that lists leave out.
    """

    where: Mapping[str, str]
    after: tuple[datetime, str] | None = None
    limit: int = 100
    conditions: tuple[str, ...] = ()
    whole: bool = False


async def one(connection: AsyncConnection, resource: Resource, owner: str, key: str) -> Listed | None:
    """The row, or None."""
    found = await listed(connection, resource, owner, Listing({resource.key: key}, limit=1, whole=True))
    return found[0] if found else None


async def listed(connection: AsyncConnection, resource: Resource, owner: str, listing: Listing) -> list[Listed]:
    """Rows of `owner`, newest first."""
    shape = (tuple(listing.where), listing.conditions)
    statement = _list(resource, *shape, resumed=listing.after is not None, whole=listing.whole)
    bounds = {"at": listing.after[0], "past": listing.after[1]} if listing.after else {}
    arguments = {"owner": owner, "count": listing.limit, "resource": resource.name, **bounds, **listing.where}
    return [Listed(*row) for row in await connection.execute(statement, arguments)]


@lru_cache
def _list(
    resource: Resource, where: tuple[str, ...], conditions: tuple[str, ...], *, resumed: bool, whole: bool
) -> sa.TextClause:
    key = resource.key
    row = row_as_json(resource, "t", but=frozenset() if whole else resource.heavy)
    equal = "".join(f' AND t."{name}" = CAST(:{name} AS {type_of(resource.table.c[name])})' for name in where)
    equal += "".join(f" AND ({resource.conditions[name]})" for name in conditions)
    keyset = f" AND t.updated_at <= :at AND (t.updated_at, t.{key}::text) < (:at, :past)" if resumed else ""
    return sa.text(f"""
        SELECT t.{key}::text, {row}, e."offset", t.updated_at
        FROM (
          SELECT * FROM {resource.table.name} t WHERE t.owner = :owner{equal}{keyset}
          ORDER BY t.updated_at DESC, t.{key}::text DESC LIMIT :count
        ) t
        CROSS JOIN LATERAL (
          SELECT c."offset" FROM changes c
          WHERE c.owner = t.owner AND c.resource = :resource AND c.key = {as_key(f"t.{key}")} OFFSET 0
        ) e
        ORDER BY t.updated_at DESC, t.{key}::text DESC
    """)
