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

# The triggers' names make them the last of their table, and rows are noted once their statement is done, so that the
# change index knows each row's offset already. What a sequence counts outlives its transaction: who is sent again is
# not killed again at the same place.
_INSTALL: LiteralString = """
CREATE SCHEMA witness;
CREATE TABLE witness.writes (seq bigint GENERATED ALWAYS AS IDENTITY, xid text, owner text, name text, key text,
  was jsonb, now jsonb, "offset" bigint);
CREATE INDEX ON witness.writes (owner, seq);
CREATE TABLE witness.doom (every int);
INSERT INTO witness.doom VALUES (0);
CREATE SEQUENCE witness.blows;
CREATE FUNCTION witness.doom() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF (SELECT every > 0 AND nextval('witness.blows') % every = 0 FROM witness.doom) THEN
    PERFORM pg_terminate_backend(pg_backend_pid());
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION witness.note(p_name text, p_key text, p_was jsonb, p_now jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO witness.writes (xid, owner, name, key, was, now, "offset")
  SELECT pg_current_xact_id()::text, w.owner, p_name, w.key, p_was, p_now,
    (SELECT c."offset" FROM changes c WHERE c.owner = w.owner AND c.resource = p_name AND c.key = w.key)
  FROM (SELECT coalesce(p_now, p_was)->>'owner' AS owner, coalesce(p_now, p_was)->>p_key AS key) w;
$$;
CREATE FUNCTION witness.made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM witness.note(tg_argv[0], tg_argv[1], NULL, to_jsonb(n)) FROM fresh n;
  RETURN NULL;
END $$;
CREATE FUNCTION witness.changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM witness.note(tg_argv[0], tg_argv[1], to_jsonb(o), to_jsonb(n)) FROM fresh n
  JOIN stale o ON o.owner = n.owner AND to_jsonb(o)->>tg_argv[1] = to_jsonb(n)->>tg_argv[1];
  RETURN NULL;
END $$;
CREATE FUNCTION witness.each() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM witness.note(tg_argv[0], tg_argv[1],
    CASE WHEN tg_op <> 'INSERT' THEN to_jsonb(old) END, CASE WHEN tg_op <> 'DELETE' THEN to_jsonb(new) END);
  RETURN NULL;
END $$;
CREATE FUNCTION witness.watch(p_table regclass, p_name text, p_key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER zz_doom AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW'
    ' EXECUTE FUNCTION witness.doom()', p_table);
  EXECUTE format('CREATE TRIGGER zz_witness_made AFTER INSERT ON %s REFERENCING NEW TABLE AS fresh'
    ' FOR EACH STATEMENT EXECUTE FUNCTION witness.made(%L, %L)', p_table, p_name, p_key);
  EXECUTE format('CREATE TRIGGER zz_witness_changed AFTER UPDATE ON %s REFERENCING NEW TABLE AS fresh'
    ' OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION witness.changed(%L, %L)', p_table, p_name, p_key);
  EXECUTE format('CREATE TRIGGER zz_witness_gone AFTER DELETE ON %s FOR EACH ROW'
    ' EXECUTE FUNCTION witness.each(%L, %L)', p_table, p_name, p_key);
END $$;
CREATE FUNCTION witness.removed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO witness.writes (xid, owner, name, key, "offset")
  VALUES (pg_current_xact_id()::text, new.owner, 'a tombstone', new.key, new."offset");
  RETURN NULL;
END $$;
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE ON changes FOR EACH ROW
  WHEN (new.op = 'remove' AND new.resource = 'reading_sessions') EXECUTE FUNCTION witness.removed();
SELECT witness.watch('reading_sessions', 'reading_sessions', 'id');
SELECT witness.watch('session_events', 'session_events', 'id');
SELECT witness.watch('readings', 'readings', 'session_id');
SELECT witness.watch('reading_progress', 'progress', 'publication_id');
CREATE TRIGGER zz_doom AFTER INSERT OR UPDATE OR DELETE ON reading_times FOR EACH ROW EXECUTE FUNCTION witness.doom();
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON reading_times FOR EACH ROW
  EXECUTE FUNCTION witness.each('times', 'session_id');
GRANT USAGE ON SCHEMA witness TO PUBLIC;
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
