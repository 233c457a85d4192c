"""What somebody at psql does to synced rows: each act by name, drawn from a seeded chance.

Nothing here knows the change index: these are plain statements on plain tables, in whatever order they come.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

OWNERS = [
    f"user:{name}" for name in ("ada", "ben", "cyd", "dot", "eve", "fay", "gil", "hal", "ida", "jay", "kit", "lea")
]
Statement = tuple[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Act:
    """Statements that belong together; it happened when each of them met a row."""

    name: str
    statements: Sequence[Statement]


@dataclass(frozen=True, slots=True)
class Kind:
    """A synced table: its key column and the keys in use, and the column that writers change."""

    resource: str
    table: str
    key: str
    keys: Sequence[Any]
    column: str
    types: tuple[str, str]

    @property
    def one(self) -> str:
        """SQL: the row of an owner with a key."""
        return f"owner = %s AND {self.key} = %s"

    @property
    def several(self) -> str:
        """SQL: the rows of an owner with any of these keys."""
        return f"owner = %s AND {self.key} = ANY (%s)"

    @property
    def free(self) -> str:
        """SQL: nobody stands where the row would go, as far as one can see."""
        return f"NOT EXISTS (SELECT FROM {self.table} r WHERE r.owner = %s AND r.{self.key} = %s)"

    def value(self, chance: Random) -> Any:
        """Something new for `column`."""
        return round(chance.random(), 4) if self.column == "percentage" else f"note {chance.randrange(10**6)}"


_BOOKS, _NUMBERS = [f"book {i}" for i in range(20)], list(range(1, 11))
KINDS = [
    Kind("progress", "reading_progress", "publication_id", _BOOKS, "percentage", ("text", "float8")),
    Kind("notes", "oracle_notes", "number", _NUMBERS, "body", ("bigint", "text")),
]


def _insert(kind: Kind) -> str:
    return f"INSERT INTO {kind.table} (owner, {kind.key}, {kind.column})"


def _otherwise(kind: Kind) -> str:
    return f"ON CONFLICT (owner, {kind.key}) DO UPDATE SET {kind.column} = excluded.{kind.column}"


def _upsert(kind: Kind, chance: Random) -> Act:
    row = [chance.choice(OWNERS), chance.choice(kind.keys), kind.value(chance)]
    return Act("upsert", [(f"{_insert(kind)} VALUES (%s, %s, %s) {_otherwise(kind)}", row)])


def _insert_or_nothing(kind: Kind, chance: Random) -> Act:
    row = [chance.choice(OWNERS), chance.choice(kind.keys), kind.value(chance)]
    return Act("insert or nothing", [(f"{_insert(kind)} VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", row)])


def _upsert_many(kind: Kind, chance: Random) -> Act:
    """Several rows of several owners in one statement, in no order."""
    places = chance.sample([(owner, key) for owner in OWNERS for key in kind.keys], chance.randint(2, 6))
    columns = [[owner for owner, _ in places], [key for _, key in places], [kind.value(chance) for _ in places]]
    source = f"SELECT * FROM unnest(%s::text[], %s::{kind.types[0]}[], %s::{kind.types[1]}[])"
    return Act("upsert many", [(f"{_insert(kind)} {source} {_otherwise(kind)}", columns)])


def _update(kind: Kind, chance: Random) -> Act:
    arguments = [kind.value(chance), chance.choice(OWNERS), chance.choice(kind.keys)]
    return Act("update", [(f"UPDATE {kind.table} SET {kind.column} = %s WHERE {kind.one}", arguments)])


def _update_many(kind: Kind, chance: Random) -> Act:
    arguments = [kind.value(chance), chance.choice(OWNERS), chance.sample(kind.keys, 4)]
    return Act("update many", [(f"UPDATE {kind.table} SET {kind.column} = %s WHERE {kind.several}", arguments)])


def _update_everyones(kind: Kind, chance: Random) -> Act:
    """One key of every owner: all channels in the order of the heap."""
    arguments = [kind.value(chance), chance.choice(kind.keys)]
    return Act("update everyone's", [(f"UPDATE {kind.table} SET {kind.column} = %s WHERE {kind.key} = %s", arguments)])


def _stamp(kind: Kind, chance: Random) -> Act:
    """A writer with a stamp and a device of its own; stamps may go back."""
    arguments = [kind.value(chance), chance.randint(0, 600), chance.choice(OWNERS), chance.sample(kind.keys, 3)]
    sets = f"{kind.column} = %s, updated_at = now() - %s * interval '1 second', device_id = 'psql'"
    return Act("stamp", [(f"UPDATE {kind.table} SET {sets} WHERE {kind.several}", arguments)])


def _change_nothing(kind: Kind, chance: Random) -> Act:
    sets = "seen_at = clock_timestamp()" if kind.resource == "notes" else f"{kind.column} = {kind.column}"
    arguments = [chance.choice(OWNERS), chance.sample(kind.keys, 5)]
    return Act("change nothing", [(f"UPDATE {kind.table} SET {sets} WHERE {kind.several}", arguments)])


def _moved(kind: Kind, key: Any, old: str, new: str) -> Statement:
    return f"UPDATE {kind.table} SET owner = %s WHERE {kind.one} AND {kind.free}", [new, old, key, new, key]


def _move(kind: Kind, chance: Random) -> Act:
    old, new = chance.sample(OWNERS, 2)
    return Act("move", [_moved(kind, chance.choice(kind.keys), old, new)])


def _move_and_back(kind: Kind, chance: Random) -> Act:
    (old, new), key = chance.sample(OWNERS, 2), chance.choice(kind.keys)
    return Act("move and back", [_moved(kind, key, old, new), _moved(kind, key, new, old)])


def _change_key(kind: Kind, chance: Random) -> Act:
    owner, (old, new) = chance.choice(OWNERS), chance.sample(kind.keys, 2)
    statement = f"UPDATE {kind.table} SET {kind.key} = %s WHERE {kind.one} AND {kind.free}"
    return Act("change key", [(statement, [new, owner, old, owner, new])])


def _remove(kind: Kind, chance: Random) -> Act:
    arguments = [chance.choice(OWNERS), chance.choice(kind.keys)]
    return Act("remove", [(f"DELETE FROM {kind.table} WHERE {kind.one}", arguments)])


def _remove_many(kind: Kind, chance: Random) -> Act:
    """Rows of two owners in one statement."""
    arguments = [chance.sample(OWNERS, 2), chance.sample(kind.keys, 4)]
    statement = f"DELETE FROM {kind.table} WHERE owner = ANY (%s) AND {kind.key} = ANY (%s)"
    return Act("remove many", [(statement, arguments)])


def _insert_again(kind: Kind, chance: Random) -> Act:
    owner, key = chance.choice(OWNERS), chance.choice(kind.keys)
    removal = f"DELETE FROM {kind.table} WHERE {kind.one}", [owner, key]
    return Act("insert again", [removal, (f"{_insert(kind)} VALUES (%s, %s, %s)", [owner, key, kind.value(chance)])])


_ACTS: dict[Callable[[Kind, Random], Act], int] = {
    _upsert: 6,
    _insert_or_nothing: 3,
    _upsert_many: 3,
    _update: 5,
    _update_many: 2,
    _update_everyones: 1,
    _stamp: 2,
    _change_nothing: 2,
    _move: 4,
    _move_and_back: 3,
    _change_key: 3,
    _remove: 3,
    _remove_many: 1,
    _insert_again: 3,
}
"""Each act and how often it is drawn."""

NAMES = frozenset(draw(KINDS[0], Random(0)).name for draw in _ACTS)
"""What every act is called."""


def drawn(chance: Random) -> Act:
    """The next act."""
    (draw,) = chance.choices(list(_ACTS), list(_ACTS.values()))
    return draw(chance.choice(KINDS), chance)


def expiry(chance: Random) -> Act:
    """Tombstones of an owner that are older than some milliseconds, away, and the floor risen over them."""
    statement = "SELECT 1 WHERE sync_expire_v1(%s, clock_timestamp() - %s * interval '1 millisecond') > 0"
    return Act("expire", [(statement, [chance.choice(OWNERS), chance.choice([0, 50, 500])])])
