"""An owner whose lock somebody else holds: its mutations wait aside in their order, and everybody else's go on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from syncserver.core.actor import Device, session_owner
from syncserver.engine.claim import Claim
from syncserver.engine.decide import Ack, Sender
from syncserver.engine.push import Push
from syncserver.engine.quota import Quota
from syncserver.storage import rows
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.harness import Urls

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADA, BEN = "user:ada", "user:ben"
Raw = dict[str, Any]
LONG_S = 3_600
ASKS, TURNS = 2, 10
"""Pools: of two connections none can wait for a lock, so that every owner asks again; of ten, two can."""


def sender(device: str = "phone", owner: str = ADA) -> Sender:
    return Sender(owner, Device(device, f"the {device}"), f"client of {device}")


PHONE, TABLET, BENS = sender("phone"), sender("tablet"), sender(owner=BEN)


def put(key: str, at: float = -60, **more: Any) -> Raw:
    return {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": key,
        "op": "put",
        "data": {"percentage": 0.5},
        "updated_at": (NOW + timedelta(minutes=at)).isoformat(),
        **more,
    }


@contextmanager
def held(urls: Urls, *owners: str) -> Iterator[Callable[[], None]]:
    """Another writer of these owners, until the end or until what this gives is called."""
    with psycopg.connect(urls.owner) as other:
        for owner in owners:
            other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [owner])
        yield other.rollback


@asynccontextmanager
async def door(urls: Urls, catalog: Catalog, connections: int = TURNS, **options: Any) -> AsyncIterator[Push]:
    """A write door at work over a pool of its own."""
    pool = Database(urls.server, connections=connections)
    found = Push(pool, catalog, lambda: NOW, **options)
    working = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await pool.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what other transactions do, no event of this loop tells
            await asyncio.sleep(0.001)


async def aside(push: Push, owner: str = ADA) -> None:
    """Wait until the owner was found busy."""
    await until(lambda: owner in push._aside._lanes)


def asked(push: Push, owner: str = ADA) -> int:
    """How often it made a pause so far."""
    busy = push._aside._busy.get(owner)
    return busy.pauses if busy else 0


def waits(sql: psycopg.Connection) -> int:
    """How many transactions wait for the lock of an owner."""
    found = sql.execute(
        "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    return found.rowcount


def written(sql: psycopg.Connection, owner: str = ADA) -> list[str]:
    """The keys of the owner's rows in the order of the log."""
    found = sql.execute('SELECT key FROM changes WHERE owner = %s ORDER BY "offset"', [owner])
    return [key for (key,) in found.fetchall()]


def statuses(acks: list[Ack]) -> list[str]:
    return [ack["status"] for ack in acks]


def sending(push: Push, who: Sender, *keys: str) -> asyncio.Task[list[Ack]]:
    return asyncio.create_task(push.push(who, [put(key) for key in keys]))


pools = pytest.mark.parametrize("connections", [ASKS, TURNS])


@pools
async def test_others_are_written_while_one_waits_and_then_it_is_written_too(database, catalog, sql, connections: int):
    async with door(database, catalog, connections) as push:
        with held(database, ADA) as release:
            waiting = sending(push, PHONE, "a")
            for i in range(20):
                assert statuses(await push.push(BENS, [put(f"{i}")])) == ["applied"]
            assert (waiting.done(), written(sql)) == (False, [])
            release()
            assert statuses(await waiting) == ["applied"]
    assert written(sql) == ["a"]


async def test_of_a_batch_with_busy_and_free_owners_the_free_ones_are_written(server, catalog, database, sql):
    push = Push(server, catalog, lambda: NOW)
    names = [ADA, BEN, "user:cleo", "user:dora"]
    with held(database, ADA, "user:cleo") as release:
        sent = {name: sending(push, sender(owner=name), "a", "b") for name in names}
        await until(lambda: len(push._queue) == 8)
        working = asyncio.create_task(push.run())
        free = [await sent[name] for name in (BEN, "user:dora")]
        assert [statuses(acks) for acks in free] == [["applied"] * 2] * 2
        assert sql.execute("SELECT count(DISTINCT xmin::text) FROM mutations").fetchone() == (1,)
        assert not sent[ADA].done()
        assert not sent["user:cleo"].done()
        release()
        assert statuses([*await sent[ADA], *await sent["user:cleo"]]) == ["applied"] * 4
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


@pools
async def test_all_of_an_owner_is_written_in_the_order_in_which_it_came(database, catalog, sql, connections: int):
    """From two clients, before and after it was found busy and more than go in a batch or along with a question."""
    async with door(database, catalog, connections, batch=4) as push:
        keys = [f"{i:03}" for i in range(60)]
        with held(database, ADA) as release:
            tasks = [sending(push, (PHONE, TABLET)[i % 2], *keys[i * 10 : i * 10 + 10]) for i in range(3)]
            await aside(push)
            tasks += [sending(push, (PHONE, TABLET)[i % 2], *keys[i * 10 : i * 10 + 10]) for i in range(3, 5)]
            before = asked(push)
            await until(lambda: asked(push) > before + 2 or (connections == TURNS and waits(sql)))
            tasks.append(sending(push, TABLET, *keys[50:]))
            await asyncio.sleep(0)
            release()
            acks = [ack for task in tasks for ack in await task]
    assert statuses(acks) == ["applied"] * 60
    assert [ack["offset"] for ack in acks] == list(range(1, 61))
    assert written(sql) == keys


async def test_what_comes_while_it_becomes_free_stands_behind_what_waited(database, catalog):
    """Keys are in order, for the writes of one batch get their offsets by key."""
    async with door(database, catalog, batch=3) as push:
        for lap in range(4):
            tasks: list[asyncio.Task[list[Ack]]] = []
            with held(database, ADA) as release:
                tasks += [sending(push, PHONE, f"{lap} {i:04}") for i in range(10)]
                await aside(push)
                release()
            while not all(task.done() for task in tasks[:10]):
                tasks.append(sending(push, (PHONE, TABLET)[len(tasks) % 2], f"{lap} {len(tasks):04}"))
                await asyncio.sleep(0.001)
            offsets = [ack["offset"] for task in tasks for ack in await task]
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


async def test_after_its_turn_an_owner_goes_with_everybody_again(database, catalog):
    async with door(database, catalog) as push:
        with held(database, ADA) as release:
            waiting = sending(push, PHONE, "a")
            await aside(push)
            release()
            await waiting
        assert statuses(await push.push(PHONE, [put("b")])) == ["applied"]
        assert (push._aside._lanes, push._aside._busy, push._aside._pauses) == ({}, {}, {})


# -- connections -------------------------------------------------------------


async def test_one_transaction_at_most_waits_for_an_owner_whatever_it_sends(database, catalog, sql):
    async with door(database, catalog, batch=2) as push:
        with held(database, ADA) as release:
            tasks = [sending(push, who, f"{i}", f"{i} more") for i in range(10) for who in (PHONE, TABLET)]
            await until(lambda: waits(sql))
            for i in range(20):
                await push.push(BENS, [put(f"{i}")])
                assert waits(sql) <= 1
            release()
            assert {status for task in tasks for status in statuses(await task)} <= {"applied", "superseded"}


async def test_many_busy_owners_leave_connections_of_a_small_pool_for_the_others(database, catalog, sql):
    names = [f"user:{i}" for i in range(30)]
    async with door(database, catalog, 3) as push:
        with held(database, *names) as release:
            tasks = [sending(push, sender(owner=name), "a", "b") for name in names]
            await until(lambda: len(push._aside._busy) == len(names))
            await until(lambda: waits(sql))
            for i in range(20):
                assert statuses(await push.push(BENS, [put(f"{i}")])) == ["applied"]
                assert waits(sql) <= 1
            release()
            assert [statuses(await task) for task in tasks] == [["applied"] * 2] * 30


async def test_two_owners_that_are_free_at_different_times_do_not_wait_for_each_other(database, catalog):
    async with door(database, catalog, 3) as push:
        with ExitStack() as stack:
            stack.enter_context(held(database, ADA))
            release = stack.enter_context(held(database, BEN))
            longer = sending(push, PHONE, "a")
            await until(lambda: push._aside._turns)
            shorter = sending(push, BENS, "b")
            await aside(push, BEN)
            release()
            assert statuses(await shorter) == ["applied"]
            assert not longer.done()


# -- the end of waiting ------------------------------------------------------


@pools
async def test_who_is_busy_for_too_long_is_told_so_and_may_send_it_again(database, catalog, sql, connections: int):
    async with door(database, catalog, connections, busy_s=0.3) as push:
        writes = [put(f"{i}") for i in range(30)]
        with held(database, ADA):
            acks = await push.push(PHONE, writes)
            assert {(ack["status"], ack["code"]) for ack in acks} == {("deferred", "unavailable")}
            assert {ack["detail"] for ack in acks} == {
                "Another write of this reader takes long; nothing was changed, send it again."
            }
            assert (push._aside._lanes, push._aside._busy) == ({}, {})
            assert sql.execute("SELECT count(*) FROM mutations").fetchone() == (0,)
        assert statuses(await push.push(PHONE, writes)) == ["applied"] * 30
    assert len(written(sql)) == 30


@pools
async def test_at_the_end_all_that_waits_is_deferred_and_nobody_waits_in_the_database(
    database, catalog, sql, connections: int
):
    pool = Database(database.server, connections=connections)
    push = Push(pool, catalog, lambda: NOW, batch=2)
    working = asyncio.create_task(push.run())
    with held(database, ADA):
        tasks = [sending(push, who, "a", "b", "c") for who in (PHONE, TABLET)]
        await aside(push)
        await until(lambda: waits(sql) or connections == ASKS)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        async with asyncio.timeout(10):
            assert [statuses(await task) for task in tasks] == [["deferred"] * 3] * 2
        assert waits(sql) == 0
    assert (push._aside._turns, push._aside._pauses, push._aside._lanes) == (set(), {}, {})
    assert written(sql) == []
    await pool.close()


async def test_a_turn_that_had_not_begun_at_the_end_is_deferred(database, catalog):
    pool = Database(database.server)
    push = Push(pool, catalog, lambda: NOW)
    working = asyncio.create_task(push.run())
    with held(database, ADA):
        waiting = sending(push, PHONE, "a")
        turn = push._aside._turn
        begun = asyncio.Event()

        def noted(owners: Any, wait_s: float) -> Any:
            working.cancel()  # in the very moment in which the turn is given
            begun.set()
            return turn(owners, wait_s)

        push._aside._turn = noted  # type: ignore[method-assign] # to know the moment
        await begun.wait()
        await asyncio.gather(working, return_exceptions=True)
        assert statuses(await waiting) == ["deferred"]
    await pool.close()


async def test_an_outage_defers_what_was_under_way_and_what_its_client_sent_behind(database, catalog, sql):
    async with door(database, catalog, batch=2) as push:
        phones = [put(f"phone {i}") for i in range(6)]
        with held(database, ADA) as release:
            waiting = asyncio.create_task(push.push(PHONE, phones))
            await until(lambda: waits(sql))
            tablets = sending(push, TABLET, "tablet")
            await asyncio.sleep(0)
            sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event = 'advisory' AND datname = current_database()"
            )
            assert statuses(await waiting) == ["deferred"] * 6
            assert not tablets.done()
            release()
            assert statuses(await tablets) == ["applied"]
        assert statuses(await push.push(PHONE, phones)) == ["applied"] * 6
    assert written(sql) == ["tablet", *(f"phone {i}" for i in range(6))]


async def test_a_fault_while_it_has_its_turn_defers_that_and_ends_nothing(database, catalog, sql, monkeypatch):
    def fault(*_: Any) -> None:
        raise ZeroDivisionError

    async with door(database, catalog) as push:
        with held(database, ADA) as release:
            waiting = sending(push, PHONE, "a")
            await until(lambda: waits(sql))
            with monkeypatch.context() as patched:
                patched.setattr(rows, "written", fault)
                release()
                assert statuses(await waiting) == ["deferred"]
        assert statuses(await push.push(PHONE, [put("b")])) == ["applied"]


async def test_a_push_is_deferred_at_once_where_too_many_wait_and_before_that_none_is(database, catalog):
    async with door(database, catalog, most_aside=3, busy_s=LONG_S) as push:
        with held(database, ADA) as release:
            first = sending(push, PHONE, "a")
            await until(lambda: ADA in push._aside._lanes and not push._aside._lanes[ADA])
            more = sending(push, PHONE, "b", "c", "d", "e")
            await asyncio.sleep(0)
            assert statuses(await push.push(TABLET, [put("f")])) == ["deferred"]
            assert not more.done()
            release()
            assert statuses([*await first, *await more]) == ["applied"] * 5


# -- what holds as ever ------------------------------------------------------


@pools
async def test_what_is_sent_twice_while_it_waits_is_written_once(database, catalog, sql, connections: int):
    async with door(database, catalog, connections) as push, door(database, catalog, connections) as other:
        raw = put("a")
        with held(database, ADA) as release:
            tasks = [asyncio.create_task(one.push(PHONE, [raw])) for one in (push, other, push)]
            await aside(push)
            release()
            acks = [ack for task in tasks for ack in await task]
        assert statuses(await push.push(PHONE, [raw])) == ["duplicate"]
    assert sorted(statuses(acks)) == ["applied", "duplicate", "duplicate"]
    assert {ack["offset"] for ack in acks} == {1}
    assert sql.execute("SELECT count(*) FROM mutations").fetchone() == (1,)


async def test_the_quota_counts_what_was_written_aside_once(database, catalog):
    async with door(database, catalog, ASKS, quota=Quota(3)) as push:
        with held(database, ADA) as release:
            waiting = sending(push, PHONE, *"abcde")
            await until(lambda: asked(push) > 2)
            release()
            assert statuses(await waiting) == ["applied"] * 3 + ["rejected"] * 2


async def test_a_changed_owner_is_told_before_the_answer_and_not_while_it_waits(database, catalog):
    changed: list[str] = []
    async with door(database, catalog, changed=changed.append) as push:
        with held(database, ADA) as release:
            waiting = sending(push, PHONE, "a")
            await aside(push)
            await push.push(BENS, [put("b")])
            assert changed == [BEN]
            release()
            await waiting
            assert changed == [BEN, ADA]


async def test_what_waits_for_another_of_its_client_finds_it(database, catalog, sql):
    async with door(database, catalog, ASKS, batch=1) as push:
        first = put("a")
        with held(database, ADA) as release:
            waiting = asyncio.create_task(push.push(PHONE, [first]))
            await until(lambda: asked(push) > 1)
            behind = asyncio.create_task(push.push(PHONE, [put("b", after=[first["mutation_id"]])]))
            await asyncio.sleep(0)
            release()
            assert statuses([*await waiting, *await behind]) == ["applied"] * 2
    assert written(sql) == ["a", "b"]


async def test_one_that_the_database_refuses_is_the_only_one_rejected(database, catalog, sql):
    sql.execute("ALTER TABLE reading_progress ADD CONSTRAINT no_thirteen CHECK (publication_id <> '13')")
    async with door(database, catalog) as push:
        with held(database, ADA) as release:
            waiting = sending(push, PHONE, *(f"{i}" for i in range(11, 16)))
            await until(lambda: waits(sql))
            release()
            assert statuses(await waiting) == ["applied", "applied", "rejected", "applied", "applied"]


async def test_who_becomes_busy_between_two_of_a_refused_batch_keeps_its_order(database, catalog, sql, monkeypatch):
    """The batch is replayed one by one; after the first of them somebody takes the owner's lock."""
    sql.execute("ALTER TABLE reading_progress ADD CONSTRAINT no_thirteen CHECK (publication_id <> '13')")
    real, release = Push._transact, list[Callable[[], None]]()

    with ExitStack() as stack:

        async def raced(push: Push, items: Any, wait_s: float) -> Any:
            acks = await real(push, items, wait_s)
            if not release:
                release.append(stack.enter_context(held(database, ADA)))
            elif len(items) == 1 and items[0].sender.owner == BEN:
                release[0]()  # so that a later one of the busy owner would be let in
            return acks

        monkeypatch.setattr(Push, "_transact", raced)
        async with door(database, catalog, ASKS) as push:
            sent = [sending(push, PHONE, "a", "b"), sending(push, BENS, "13", "c"), sending(push, PHONE, "d", "e")]
            acks = [ack for task in sent for ack in await task]
    assert statuses(acks) == ["applied", "applied", "rejected", *["applied"] * 3]
    assert written(sql) == ["a", "b", "d", "e"]


# -- a claim -----------------------------------------------------------------

ROWS = 5_000
SESSION = uuid4()


async def test_others_are_written_while_a_large_session_is_claimed(database, server, catalog, sql):
    """The claim has its locks and moves its rows; it cannot end before the test lets it, for one row is held."""
    visitor = session_owner(SESSION)
    sql.execute("INSERT INTO sessions (owner, id) VALUES (%s, %s)", [visitor, SESSION])
    sql.execute(
        "INSERT INTO reading_progress (owner, publication_id, percentage, updated_at)"
        " SELECT %s, 'book ' || i, 0.5, %s FROM generate_series(1, %s) i",
        [visitor, NOW, ROWS],
    )
    async with door(database, catalog) as push:
        with psycopg.connect(database.owner) as other:
            other.execute("SELECT FROM reading_progress WHERE publication_id = %s FOR UPDATE", [f"book {ROWS}"])
            claiming = asyncio.create_task(Claim(server, catalog).claim(ADA, SESSION))
            stuck = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE reading_prog%'"
            await until(lambda: sql.execute(stuck).rowcount)
            adas = sending(push, PHONE, "of her own")
            for i in range(20):
                assert statuses(await push.push(BENS, [put(f"{i}")])) == ["applied"]
            assert sql.execute(stuck).rowcount == 1
            assert not adas.done()
            other.rollback()
            taken = await claiming
        assert statuses(await adas) == ["applied"]
    assert taken.rows >= ROWS
    assert len(written(sql)) == ROWS + 2
