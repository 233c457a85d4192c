"""Two transactions of the write door at once: one that is slow, or fails, is nothing to the other."""

import asyncio
import random
from collections import Counter
from typing import Any

import psycopg

from syncserver.core.actor import Device
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from tests.engine.test_a_busy_owner import ADA, BEN, door, put, sending, statuses, until, written

PHONE, BENS = Sender(ADA, Device("phone", None), "p"), Sender(BEN, Device("tablet", None), "t")
SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_advisory_xact_lock(7);
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER zz_slow AFTER INSERT ON reading_progress DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (new.owner = 'user:ada') EXECUTE FUNCTION slow();
"""


async def test_a_commit_that_takes_long_does_not_stop_the_other_writer(database, catalog, sql: psycopg.Connection):
    sql.execute(SLOW_COMMIT)
    async with door(database, catalog) as push:
        with psycopg.connect(database.owner) as other:
            other.execute("SELECT pg_advisory_xact_lock(7)")
            slow = sending(push, PHONE, "a")
            await until(lambda: ADA in push._queue._out)
            assert statuses(await push.push(BENS, [put("x")])) == ["applied"]
            behind = sending(push, PHONE, "b")
            assert statuses(await push.push(BENS, [put("y")])) == ["applied"]
            assert not slow.done()
            assert not behind.done(), "an owner is never in two batches at once"
            other.rollback()
            assert statuses([*await slow, *await behind]) == ["applied"] * 2
    assert written(sql) == ["a", "b"]


async def test_the_order_of_each_client_holds_over_both_writers(database, catalog, sql: psycopg.Connection):
    async with door(database, catalog, batch=7) as push:
        senders = [Sender(f"user:{n % 5}", Device(f"d{n}", None), f"c{n}") for n in range(10)]

        async def writes(who: Sender) -> None:
            for step in range(6):
                size = random.randint(1, 4)
                acks = await push.push(who, [put(f"{who.client_id} {step} {n}") for n in range(size)])
                assert statuses(acks) == ["applied"] * size
                offsets = [ack["offset"] for ack in acks]
                assert offsets == sorted(offsets)

        await asyncio.gather(*(writes(who) for who in senders))
    for owner in {who.owner for who in senders}:
        for client in {who.client_id for who in senders if who.owner == owner}:
            steps = [key.split()[1] for key in written(sql, owner) if key.startswith(f"{client} ")]
            assert steps == sorted(steps)


async def test_of_one_owner_no_two_batches_are_ever_under_way(database, catalog, monkeypatch):
    real, under_way, most = Push._transact, Counter[str](), 0

    async def watched(push: Push, items: Any, wait_s: float) -> Any:
        nonlocal most
        owners = {item.sender.owner for item in items}
        under_way.update(owners)
        most = max(most, *under_way.values())
        try:
            return await real(push, items, wait_s)
        finally:
            under_way.subtract(owners)

    monkeypatch.setattr(Push, "_transact", watched)
    async with door(database, catalog, batch=3) as push:
        await asyncio.gather(*(sending(push, PHONE, f"a{n}", f"b{n}") for n in range(20)), sending(push, BENS, "x"))
    assert most == 1


async def test_a_batch_that_fails_is_nothing_to_the_other(database, catalog, sql, monkeypatch):
    real = Push._transact

    async def faulty(push: Push, items: Any, wait_s: float) -> Any:
        if items[0].sender.owner == ADA:
            await until(lambda: BEN in push._queue._out)
            raise ZeroDivisionError
        return await real(push, items, wait_s)

    monkeypatch.setattr(Push, "_transact", faulty)
    async with door(database, catalog) as push:
        bad = sending(push, PHONE, "a")
        await until(lambda: ADA in push._queue._out)
        good = sending(push, BENS, "x")
        assert [statuses(await bad), statuses(await good)] == [["deferred"], ["applied"]]
    assert (written(sql), written(sql, BEN)) == ([], ["x"])
