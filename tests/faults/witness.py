"""A witness in the database: it notes every write of a row in the order in which they were made, with its transaction.

It may also end the transaction that it sees: each so many writes it kills the backend that makes one, in the middle of
what that has to do. And an observer asks, from one snapshot after the other, whether anything half-made can be seen.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

Fields = dict[str, Any]

# The trigger's name makes it the last of its table, so that the change index knows the row's offset already. What a
# sequence counts outlives its transaction: who is sent again is not killed again at the same place.
_INSTALL: LiteralString = """
CREATE SCHEMA witness;
CREATE TABLE witness.writes (seq bigint GENERATED ALWAYS AS IDENTITY, xid text, owner text, name text, key text,
  was jsonb, now jsonb, "offset" bigint);
CREATE INDEX ON witness.writes (owner, seq);
CREATE TABLE witness.doom (every int);
INSERT INTO witness.doom VALUES (0);
CREATE SEQUENCE witness.blows;
CREATE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
  was jsonb := CASE WHEN tg_op <> 'INSERT' THEN to_jsonb(old) END;
  now jsonb := CASE WHEN tg_op <> 'DELETE' THEN to_jsonb(new) END;
  own text := coalesce(now, was)->>'owner';
  named text := coalesce(now, was)->>tg_argv[1];
BEGIN
  IF (SELECT every > 0 AND nextval('witness.blows') % every = 0 FROM witness.doom) THEN
    PERFORM pg_terminate_backend(pg_backend_pid());
  END IF;
  INSERT INTO witness.writes (xid, owner, name, key, was, now, "offset")
  SELECT pg_current_xact_id()::text, own, tg_argv[0], named, was, now,
    (SELECT c."offset" FROM changes c WHERE c.owner = own AND c.resource = tg_argv[0] AND c.key = named);
  RETURN NULL;
END $$;
CREATE FUNCTION witness.removed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO witness.writes (xid, owner, name, key, "offset")
  VALUES (pg_current_xact_id()::text, new.owner, 'a tombstone', new.key, new."offset");
  RETURN NULL;
END $$;
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE ON changes FOR EACH ROW
  WHEN (new.op = 'remove' AND new.resource = 'reading_sessions') EXECUTE FUNCTION witness.removed();
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON reading_sessions FOR EACH ROW
  EXECUTE FUNCTION witness.note('reading_sessions', 'id');
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON session_events FOR EACH ROW
  EXECUTE FUNCTION witness.note('session_events', 'id');
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON readings FOR EACH ROW
  EXECUTE FUNCTION witness.note('readings', 'session_id');
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON reading_progress FOR EACH ROW
  EXECUTE FUNCTION witness.note('progress', 'publication_id');
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON reading_times FOR EACH ROW
  EXECUTE FUNCTION witness.note('times', 'session_id');
"""
_WRITES: LiteralString = """
SELECT xid, name, key, was, now, "offset" FROM witness.writes WHERE owner = %s ORDER BY seq
"""
# Everything that a completion leaves behind, as one snapshot shows it.
_HALF: LiteralString = """
SELECT 'a completed session without its reading' FROM reading_sessions s
WHERE s.owner = ANY(%(owners)s) AND s.status = 'completed'
  AND NOT EXISTS (SELECT FROM readings r WHERE r.owner = s.owner AND r.session_id = s.id)
UNION ALL
SELECT 'a reading whose session is neither completed nor deleted' FROM readings r
WHERE r.owner = ANY(%(owners)s)
  AND NOT EXISTS (SELECT FROM reading_sessions s WHERE s.owner = r.owner AND s.id = r.session_id
                    AND s.status = 'completed')
  AND NOT EXISTS (SELECT FROM session_events e WHERE e.owner = r.owner AND e.session_id = r.session_id
                    AND e.type = 'deleted')
UNION ALL
SELECT 'a reading without the event of its completion' FROM readings r
WHERE r.owner = ANY(%(owners)s) AND NOT EXISTS (
  SELECT FROM session_events e WHERE e.owner = r.owner AND e.session_id = r.session_id AND e.type = 'completed')
UNION ALL
SELECT 'an event of a completion without a reading' FROM session_events e
WHERE e.owner = ANY(%(owners)s) AND e.type = 'completed' AND NOT EXISTS (
  SELECT FROM readings r WHERE r.owner = e.owner AND r.session_id = e.session_id)
UNION ALL
SELECT 'a reading of a publication that is not finished' FROM readings r
WHERE r.owner = ANY(%(owners)s) AND NOT EXISTS (
  SELECT FROM reading_progress p WHERE p.owner = r.owner AND p.publication_id = r.publication_id
    AND p.status = 'finished')
"""


@dataclass(frozen=True, slots=True)
class Wrote:
    """One write of a row (`name`: its resource) by a transaction; `offset`: where the row then stood in the log."""

    xid: str
    name: str
    key: str
    was: Fields | None
    now: Fields | None
    offset: int | None


def install(sql: psycopg.Connection) -> None:
    """Have everything noted from now on."""
    sql.execute(_INSTALL)


def kill(sql: psycopg.Connection, every: int) -> None:
    """End the transaction that makes each so many-th write, in the middle; 0: none."""
    sql.execute("UPDATE witness.doom SET every = %s", [every])


def writes(sql: psycopg.Connection, owner: str) -> list[Wrote]:
    """What was written of this owner's rows and committed, in order."""
    return [Wrote(*row) for row in sql.execute(_WRITES, [owner])]


class Observer:
    """Somebody who looks on. `looks`: how often so far; `seen`: the half-made things."""

    def __init__(self, url: str, owners: Callable[[], Collection[str]]) -> None:
        self._url = url
        self._owners = owners
        self.looks = 0
        self.seen: list[str] = []

    async def watch(self, pause_s: float = 0.05) -> None:
        """Look until cancelled, each time at one snapshot, with a pause for the others between two looks."""
        async with await psycopg.AsyncConnection.connect(self._url) as sql:
            await sql.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            while True:
                async with sql.transaction():
                    found = await sql.execute(_HALF, {"owners": list(self._owners())})
                    self.seen += [row[0] for row in await found.fetchall()]
                self.looks += 1
                await asyncio.sleep(pause_s)


def transactions(wrote: list[Wrote]) -> Iterator[list[Wrote]]:
    """The same in transactions: of one owner there is never more than one at work."""
    part: list[Wrote] = []
    for one in wrote:
        if part and part[-1].xid != one.xid:
            yield part
            part = []
        part.append(one)
    if part:
        yield part
