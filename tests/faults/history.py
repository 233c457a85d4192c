"""The whole truth of a run, written by the database itself: every entry that the log ever held, beside the log.

A trigger on `changes`, in the test's database only, keeps what the log (one entry a row) forgets. It is read
once the run is quiet, past the server and its rules.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from syncserver.core import clock

_INSTALL: LiteralString = """
CREATE TABLE test_history (
  owner text, key text, "offset" bigint, op text, updated_at timestamptz, device_id text, position text,
  transaction xid8
);
CREATE INDEX ON test_history (owner);
CREATE FUNCTION test_remember() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  IF tg_op = 'INSERT' OR new."offset" <> old."offset" THEN
    INSERT INTO test_history VALUES (new.owner, new.key, new."offset", new.op, new.updated_at, new.device_id,
      (SELECT p.position FROM reading_progress p WHERE p.owner = new.owner AND p.publication_id = new.key),
      pg_current_xact_id());
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER test_remember AFTER INSERT OR UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION test_remember();
"""

_ENTRIES: LiteralString = """
SELECT key, "offset", op, updated_at, device_id, position, transaction::text::bigint AS transaction
FROM test_history WHERE owner = %s ORDER BY "offset"
"""
_LIVE: LiteralString = """
SELECT c.key, c."offset", c.op, c.updated_at, c.device_id, p.position
FROM changes c JOIN reading_progress p ON p.owner = c.owner AND p.publication_id = c.key WHERE c.owner = %s
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """The row `key` as it was from this offset on."""

    key: str
    offset: int
    op: str
    updated_at: datetime
    device_id: str | None
    position: str | None
    transaction: int = 0

    def shown(self) -> tuple[object, ...]:
        """As `replica.shown` of its delivery."""
        return self.key, self.op, clock.write(self.updated_at), self.device_id, self.position


@dataclass(frozen=True, slots=True)
class Truth:
    """All that the database says of one owner."""

    entries: Sequence[Entry]
    head: int
    ledger: Mapping[tuple[str, str], tuple[int | None, Mapping[str, Any]]]

    def by_key(self) -> dict[str, list[Entry]]:
        """The story of each row. A removal that its own transaction then gave its mutation's stamp counts once."""
        named = {offset for offset, _ in self.ledger.values()}
        stories: dict[str, list[Entry]] = {}
        for entry in self.entries:
            story = stories.setdefault(entry.key, [])
            if story and story[-1].offset not in named and _stamps(entry, story[-1]):
                story.pop()
            story.append(entry)
        return stories

    def states(self, offsets: Sequence[int]) -> Iterator[tuple[int, dict[str, int]]]:
        """For each of these offsets, in order, which rows the log held and where they stood."""
        state: dict[str, int] = {}
        entries = iter(self.entries)
        ahead = next(entries, None)
        for offset in sorted(offsets):
            while ahead and ahead.offset <= offset:
                state[ahead.key] = ahead.offset
                ahead = next(entries, None)
            yield offset, state


def _stamps(entry: Entry, before: Entry) -> bool:
    """Whether both are one removal: the deletion's own entry, and the one that gives it the mutation's stamp."""
    next_to_it = (before.transaction, before.offset + 1)
    return entry.op == before.op == "remove" and (entry.transaction, entry.offset) == next_to_it


def install(sql: psycopg.Connection) -> None:
    """Have the database remember from now on."""
    sql.execute(_INSTALL)


def read(sql: psycopg.Connection, owner: str) -> Truth:
    """The truth of one owner."""
    with sql.cursor(row_factory=class_row(Entry)) as cursor:
        entries = cursor.execute(_ENTRIES, [owner]).fetchall()
    head = sql.execute("SELECT head FROM channels WHERE owner = %s", [owner]).fetchone()
    ledger = sql.execute(
        'SELECT client_id, mutation_id::text, "offset", ack FROM mutations WHERE owner = %s', [owner]
    ).fetchall()
    return Truth(entries, head[0] if head else 0, {(c, m): (offset, ack) for c, m, offset, ack in ledger})


def live(sql: psycopg.Connection, owner: str) -> dict[str, tuple[object, ...]]:
    """The owner's rows as they are, as `Replica.live` shows them."""
    with sql.cursor(row_factory=class_row(Entry)) as cursor:
        found = cursor.execute(_LIVE, [owner]).fetchall()
    return {entry.key: (entry.offset, *entry.shown()) for entry in found}
