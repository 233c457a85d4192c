"""The write door over a real database: every answer it gives, and that what it answers is so."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver.core.actor import Device
from syncserver.core.errors import Unavailable
from syncserver.core.resolver import ConflictResolver, Version
from syncserver.engine.decide import Sender
from syncserver.engine.push import Push
from syncserver.storage import rows
from syncserver.storage.database import Database
from syncserver.storage.resource import Catalog
from tests.harness import Urls

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ADA, BEN = "user:ada", "user:ben"
Raw = dict[str, Any]
Ack = dict[str, Any]


def sender(device: str = "phone", owner: str = ADA, client: str | None = None) -> Sender:
    return Sender(owner, Device(device, f"Ada's {device}"), client or f"client of {device}")


PHONE, TABLET, READER = sender("phone"), sender("tablet"), sender("reader")


def stamp(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


def mutation(op: str, key: str = "moby", at: float = -60, **more: Any) -> Raw:
    return {
        "mutation_id": str(uuid4()),
        "resource": "progress",
        "key": key,
        "op": op,
        "updated_at": stamp(at),
        **more,
    }


def put(percentage: float = 0.5, key: str = "moby", at: float = -60, **more: Any) -> Raw:
    return mutation("put", key, at, **{"data": {"percentage": percentage}, **more})


def patch(data: Raw, key: str = "moby", at: float = -60, **more: Any) -> Raw:
    return mutation("patch", key, at, data=data, **more)


def remove(key: str = "moby", at: float = -60, **more: Any) -> Raw:
    return mutation("remove", key, at, **more)


async def one(door: Push, who: Sender, raw: Raw) -> Ack:
    (ack,) = await door.push(who, [raw])
    assert ack["mutation_id"] == raw["mutation_id"]
    return orjson.loads(orjson.dumps(ack))  # type: ignore[no-any-return]


def stored(sql: psycopg.Connection, columns: str = "percentage", key: str = "moby") -> tuple[Any, ...] | None:
    return sql.execute(f"SELECT {columns} FROM reading_progress WHERE publication_id = %s".encode(), [key]).fetchone()


def entry(sql: psycopg.Connection, key: str = "moby", owner: str = ADA) -> tuple[Any, ...] | None:
    return sql.execute(
        'SELECT "offset", op, updated_at, device_id FROM changes WHERE owner = %s AND key = %s', [owner, key]
    ).fetchone()


def count(sql: psycopg.Connection, table: str) -> int:
    row = sql.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def running(database: Database, catalog: Catalog, **options: Any) -> AsyncIterator[Push]:
    """Another write door over the same database, as of another process or after a restart."""
    door = Push(database, catalog, lambda: NOW, **options)
    task = asyncio.create_task(door.run())
    yield door
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- applied -----------------------------------------------------------------


async def test_a_first_put_is_applied_with_the_devices_stamp(push: Push, sql):
    ack = await one(push, PHONE, put(0.25))
    assert (ack["status"], ack["offset"]) == ("applied", 1)
    assert stored(sql, "percentage, furthest, device_id, device_name") == (0.25, 0.25, "phone", "Ada's phone")
    assert entry(sql) == (1, "put", NOW - timedelta(hours=1), "phone")
    assert count(sql, "conflicts") == 0


async def test_a_write_that_knew_the_row_is_applied_with_its_stamp_raised_past_the_last(push: Push, sql):
    await one(push, PHONE, put(0.5, at=-10))
    ack = await one(push, TABLET, put(0.25, at=-60, base=1))
    assert (ack["status"], ack["offset"], count(sql, "conflicts")) == ("applied", 2, 0)
    assert entry(sql) == (2, "put", NOW - timedelta(minutes=10) + TICK, "tablet")


async def test_a_write_without_a_stamp_is_of_now(push: Push, sql):
    await one(push, PHONE, put(updated_at=None))
    assert entry(sql) == (1, "put", NOW, "phone")


async def test_a_stamp_that_was_changed_is_told_and_the_claimed_one_is_kept(push: Push, sql):
    ahead = await one(push, PHONE, put(at=60))
    raised = await one(push, TABLET, put(0.75, at=-60, base=1))
    right = await one(push, PHONE, put(0.8, key="other", at=-5))
    assert (ahead["updated_at"], "updated_at" in right) == ("2026-03-01T12:00:02.000000Z", False)
    assert raised["updated_at"] == "2026-03-01T12:00:02.000001Z"
    claimed = sql.execute('SELECT claimed_at FROM mutations ORDER BY "offset"').fetchall()
    assert claimed == [(NOW + timedelta(hours=1),), (NOW - timedelta(hours=1),), (None,)]


async def test_a_stamp_from_the_future_counts_as_two_seconds_ahead(push: Push, sql):
    await one(push, PHONE, put(at=60 * 24 * 365))
    assert entry(sql) == (1, "put", NOW + timedelta(seconds=2), "phone")


async def test_a_put_is_the_whole_row_and_a_patch_a_part_of_it(push: Push, sql):
    await one(push, PHONE, put(0.5, data={"percentage": 0.5, "series_id": "novels", "position": "12"}))
    await one(push, PHONE, patch({"percentage": 0.75, "series_id": None}, at=-50))
    assert stored(sql, "percentage, series_id, position") == (0.75, None, "12")
    await one(push, PHONE, put(0.8, at=-40))
    assert stored(sql, "percentage, series_id, position") == (0.8, None, None)


async def test_a_patch_merges_objects_as_rfc_7396_says(push: Push, sql):
    locator = {"href": "/1", "type": "text/html", "locations": {"position": 3, "progression": 0.5}, "text": {"a": "b"}}
    await one(push, PHONE, put(data={"locator": locator}))
    change = {"locations": {"progression": None, "position": 4}, "text": None, "title": "Loomings"}
    ack = await one(push, PHONE, patch({"locator": change}, at=-50))
    assert ack["status"] == "applied"
    assert stored(sql, "locator") == (
        {"href": "/1", "type": "text/html", "locations": {"position": 4}, "title": "Loomings"},
    )


async def test_two_writes_of_one_device_are_never_a_conflict(push: Push, sql):
    await one(push, PHONE, put(0.5, at=-10))
    newer, older = await push.push(PHONE, [put(0.75, at=-5), put(0.25, at=-60)])
    assert (newer["status"], older["status"]) == ("applied", "superseded")
    assert (stored(sql), count(sql, "conflicts")) == ((0.75,), 0)


async def test_a_device_that_says_nothing_new_writes_nothing_new(push: Push, sql):
    await one(push, PHONE, put(0.5))
    ack = await one(push, PHONE, put(0.5))
    assert ack["status"] in {"applied", "superseded"}
    assert (entry(sql), count(sql, "conflicts")) == ((1, "put", NOW - timedelta(hours=1), "phone"), 0)


# -- superseded and merged ---------------------------------------------------


async def test_an_older_write_loses_and_is_shown_the_winner(push: Push, sql):
    await one(push, PHONE, put(0.5, at=-10))
    ack = await one(push, TABLET, put(0.25, at=-60))
    assert (ack["status"], "offset" in ack) == ("superseded", False)
    row = ack["row"]
    assert (row["key"], row["offset"], row["op"], row["device_id"]) == ("moby", 1, "put", "phone")
    assert (row["updated_at"], row["data"]["percentage"]) == ("2026-03-01T11:50:00.000000Z", 0.5)
    assert stored(sql) == (0.5,)


async def test_a_decision_between_two_devices_is_kept_with_both_versions(push: Push, sql):
    await one(push, PHONE, put(0.5, at=-10))
    ack = await one(push, TABLET, put(0.25, at=-60))
    kept = sql.execute(
        "SELECT owner, resource, key, policy, reason, winner, loser FROM conflicts WHERE id = %s", [ack["conflict_id"]]
    ).fetchone()
    assert kept is not None
    winner, loser = kept[5:]
    assert kept[:5] == (ADA, "progress", "moby", "last-write-wins", "updated_at")
    assert (winner["device_id"], winner["fields"]["percentage"], winner["offset"]) == ("phone", 0.5, 1)
    assert (loser["device_id"], loser["fields"]["percentage"], loser["offset"]) == ("tablet", 0.25, None)


async def test_a_newer_write_wins_and_the_loser_is_kept(push: Push, sql):
    await one(push, PHONE, put(0.25, at=-60))
    ack = await one(push, TABLET, put(0.5, at=-10))
    assert (ack["status"], ack["offset"], stored(sql)) == ("applied", 2, (0.5,))
    kept = sql.execute("SELECT winner ->> 'device_id', loser ->> 'device_id' FROM conflicts").fetchone()
    assert kept == ("tablet", "phone")


async def test_equal_stamps_are_decided_by_the_device(push: Push, sql):
    await one(push, PHONE, put(0.25))
    assert (await one(push, READER, put(0.5)))["status"] == "applied"
    assert (await one(push, PHONE, put(0.75)))["status"] == "superseded"
    reasons = sql.execute("SELECT DISTINCT reason FROM conflicts").fetchall()
    assert (stored(sql), reasons) == ((0.5,), [("device_id",)])


async def test_a_winner_takes_the_furthest_position_along(push: Push, sql):
    await one(push, PHONE, put(0.9, at=-60))
    ack = await one(push, TABLET, put(0.25, at=-10))
    assert (ack["status"], ack["offset"]) == ("merged", 2)
    assert stored(sql, "percentage, furthest, device_id") == (0.25, 0.9, "tablet")


async def test_a_loser_leaves_its_furthest_position_in_the_winner(push: Push, sql):
    await one(push, TABLET, put(0.25, at=-10))
    ack = await one(push, PHONE, put(0.9, at=-60))
    assert (ack["status"], ack["row"]["offset"], ack["row"]["data"]["furthest"]) == ("superseded", 2, 0.9)
    assert stored(sql, "percentage, furthest, device_id, device_name") == (0.25, 0.9, "tablet", "Ada's tablet")
    assert entry(sql) == (2, "put", NOW - timedelta(minutes=10), "tablet")


async def test_who_knew_the_row_may_set_the_furthest_position_back(push: Push, sql):
    await one(push, PHONE, put(0.9))
    await one(push, TABLET, put(data={"percentage": 0.1, "furthest": 0.1}, base=1))
    assert stored(sql, "percentage, furthest") == (0.1, 0.1)


# -- policies ----------------------------------------------------------------


async def test_server_wins_keeps_what_is_stored(push: Push, sql):
    await one(push, PHONE, put(0.5, at=-60))
    ack = await one(push, TABLET, put(0.25, at=-10, policy="server-wins"))
    assert (ack["status"], ack["row"]["device_id"], stored(sql)) == ("superseded", "phone", (0.5,))
    assert sql.execute("SELECT policy, reason FROM conflicts").fetchall() == [("server-wins", "server-wins")]


async def test_client_wins_takes_what_comes_with_its_stamp_raised(push: Push, sql):
    await one(push, PHONE, put(0.25, at=-10))
    ack = await one(push, TABLET, put(0.5, at=-60, policy="client-wins"))
    assert (ack["status"], stored(sql)) == ("applied", (0.5,))
    assert entry(sql) == (2, "put", NOW - timedelta(minutes=10) + TICK, "tablet")


async def test_an_unknown_policy_is_rejected(push: Push, sql):
    assert (await one(push, PHONE, put(policy="mine-wins")))["code"] == "invalid"
    assert stored(sql) is None


# -- removals ----------------------------------------------------------------


async def test_a_removal_leaves_a_tombstone_with_the_mutations_stamp_and_device(push: Push, sql):
    await one(push, PHONE, put(at=-60))
    ack = await one(push, TABLET, remove(at=-10, base=1))
    at = entry(sql)
    assert at is not None
    assert (ack["status"], ack["offset"], stored(sql)) == ("applied", at[0], None)
    assert at[1:] == ("remove", NOW - timedelta(minutes=10), "tablet")


async def test_an_older_put_does_not_bring_a_removed_row_back(push: Push, sql):
    await one(push, PHONE, put(at=-60))
    await one(push, PHONE, remove(at=-10))
    ack = await one(push, TABLET, put(at=-30))
    assert (ack["status"], stored(sql)) == ("superseded", None)
    assert (ack["row"]["op"], ack["row"]["data"], ack["row"]["device_id"]) == ("remove", None, "phone")


@pytest.mark.parametrize("known", [False, True])
async def test_a_newer_put_or_one_that_knew_of_the_removal_brings_the_row_back(push: Push, sql, *, known: bool):
    await one(push, PHONE, put(at=-60))
    gone = await one(push, PHONE, remove(at=-10))
    raw = put(0.75, at=-60, base=gone["offset"]) if known else put(0.75, at=-5)
    ack = await one(push, TABLET, raw)
    assert (ack["status"], stored(sql)) == ("applied", (0.75,))
    assert ack["offset"] > gone["offset"]


async def test_an_older_removal_loses_to_a_newer_put(push: Push, sql):
    await one(push, PHONE, put(0.5, at=-10))
    ack = await one(push, TABLET, remove(at=-60))
    assert (ack["status"], ack["row"]["data"]["percentage"], stored(sql)) == ("superseded", 0.5, (0.5,))


async def test_of_two_removals_the_newer_one_stays(push: Push, sql):
    await one(push, PHONE, put(at=-60))
    first = await one(push, PHONE, remove(at=-30))
    assert (await one(push, TABLET, remove(at=-40)))["status"] == "superseded"
    newer = await one(push, TABLET, remove(at=-20))
    assert (newer["status"], newer["offset"] > first["offset"]) == ("applied", True)
    at = entry(sql)
    assert at is not None
    assert at[1:] == ("remove", NOW - timedelta(minutes=20), "tablet")


async def test_removing_what_never_was_is_not_found(push: Push, sql):
    ack = await one(push, PHONE, remove())
    assert (ack["status"], ack["code"], entry(sql)) == ("rejected", "not_found", None)


async def test_patching_what_never_was_is_not_found_and_what_was_removed_is_removed(push: Push, sql):
    assert (await one(push, PHONE, patch({"percentage": 0.5})))["code"] == "not_found"
    await push.push(PHONE, [put(), remove(at=-50)])
    ack = await one(push, PHONE, patch({"percentage": 0.5}, at=-10))
    assert (ack["status"], ack["code"], stored(sql)) == ("rejected", "removed", None)


async def test_a_row_removed_by_sql_can_be_brought_back_by_who_knows_it(push: Push, sql):
    await one(push, PHONE, put())
    sql.execute("DELETE FROM reading_progress")
    assert (await one(push, PHONE, put(0.75, at=-10)))["status"] == "superseded"
    assert (await one(push, PHONE, put(0.75, at=-10, base=2)))["status"] == "applied"
    assert stored(sql) == (0.75,)


# -- rejected ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"data": {"percentage": 2}}, "invalid"),
        ({"data": {"percentage": "half"}}, "invalid"),
        ({"data": {"status": "lost"}}, "invalid"),
        ({"data": {"position": "\0"}}, "invalid"),
        ({"data": {"position": "x" * 5000}}, "too_large"),
        ({"data": None}, "invalid"),
        ({"op": "patch", "data": None}, "invalid"),
        ({"op": "forget"}, "invalid"),
        ({"key": ""}, "invalid"),
        ({"key": "k" * 513}, "too_large"),
        ({"key": "a\0b"}, "invalid"),
        ({"base": -1}, "invalid"),
        ({"base": 2**63}, "invalid"),
        ({"updated_at": "yesterday"}, "invalid"),
        ({"updated_at": "2026-03-01T12:00:00"}, "invalid"),
        ({"resource": "gooseberries"}, "not_found"),
        ({"resource": None}, "invalid"),
    ],
)
async def test_a_wrong_mutation_is_rejected_and_stands_in_no_others_way(push: Push, sql, changed: Raw, code: str):
    acks = await push.push(PHONE, [put(key="before"), {**put(), **changed}, put(key="behind")])
    assert [ack["status"] for ack in acks] == ["applied", "rejected", "applied"]
    assert acks[1]["code"] == code
    assert acks[1]["detail"]
    assert [stored(sql, key=key) for key in ("before", "moby", "behind")] == [(0.5,), None, (0.5,)]


@pytest.mark.parametrize("name", [None, "", "no id", 7, "x" * 9000, ["a"]])
async def test_a_mutation_without_a_good_id_is_rejected_under_the_name_it_gave(push: Push, sql, name: Any):
    (ack,) = await push.push(PHONE, [{**put(), "mutation_id": name}])
    assert (ack["status"], ack["code"]) == ("rejected", "invalid")
    assert ack["mutation_id"] in {None, "", "no id"}
    assert (count(sql, "mutations"), stored(sql)) == (0, None)


async def test_a_patch_that_makes_the_whole_row_wrong_is_rejected(push: Push, sql):
    await one(push, PHONE, put(data={"locator": {"href": "/1", "type": "text/html"}}))
    assert (await one(push, PHONE, patch({"locator": {"href": None}}, at=-10)))["code"] == "invalid"
    assert stored(sql, "locator ->> 'href'") == ("/1",)


async def test_a_put_that_the_database_alone_refuses_is_the_only_one_rejected(push: Push, sql):
    sql.execute("ALTER TABLE reading_progress ADD CONSTRAINT no_thirteen CHECK (position <> '13')")
    acks = await push.push(PHONE, [put(key=f"book {i}", data={"position": str(i)}) for i in range(10, 16)])
    assert [ack["status"] for ack in acks] == ["applied"] * 3 + ["rejected"] + ["applied"] * 2
    assert (acks[3]["code"], count(sql, "reading_progress"), count(sql, "mutations")) == ("invalid", 5, 6)
    assert "13" not in acks[3]["detail"]


async def test_a_key_too_large_for_an_index_is_rejected_and_not_deferred_for_ever(push: Push, sql):
    chance = random.Random(1)
    owner, key = ("".join(chr(0x20000 + chance.randrange(40000)) for _ in range(n)) for n in (250, 512))
    acks = await push.push(sender(owner=owner), [put(key="before"), put(key=key), put(key="behind")])
    assert [ack["status"] for ack in acks] == ["applied", "rejected", "applied"]
    assert count(sql, "reading_progress") == 2


# -- many in one push --------------------------------------------------------


async def test_many_mutations_of_one_row_each_get_an_own_growing_offset(push: Push, sql):
    acks = await push.push(PHONE, [put(i / 100, at=i - 60, base=None) for i in range(30)])
    assert [ack["status"] for ack in acks] == ["applied"] * 30
    assert [ack["offset"] for ack in acks] == list(range(1, 31))
    assert stored(sql) == (0.29,)


async def test_mutations_sent_again_in_the_same_push_keep_the_order_in_which_they_first_came(push: Push, sql):
    first, second, third = (put(i / 10, at=i - 60) for i in range(3))
    acks = await push.push(PHONE, [first, second, third, first, second])
    assert [ack["status"] for ack in acks] == ["applied"] * 3 + ["duplicate"] * 2
    assert [ack["offset"] for ack in acks] == [1, 2, 3, 1, 2]
    assert stored(sql) == (0.2,)


async def test_a_row_may_be_made_patched_removed_and_made_again_in_one_push(push: Push, sql):
    writes = [put(0.1, at=-9), patch({"series_id": "x"}, at=-8), remove(at=-7), patch({}, at=-6), put(0.2, at=-5)]
    acks = await push.push(PHONE, writes)
    assert [ack["status"] for ack in acks] == ["applied", "applied", "applied", "rejected", "applied"]
    offsets = [ack["offset"] for ack in acks if "offset" in ack]
    assert offsets == sorted(set(offsets))
    assert stored(sql, "percentage, series_id") == (0.2, None)


async def test_pushes_of_many_owners_wait_together_and_stay_apart(push: Push, sql):
    owners = [f"user:{i}" for i in range(20)]
    answers = await asyncio.gather(*(push.push(sender(owner=owner), [put(key="a"), put(key="b")]) for owner in owners))
    assert [[ack["offset"] for ack in acks] for acks in answers] == [[1, 2]] * 20
    assert sql.execute("SELECT count(DISTINCT owner), count(*) FROM reading_progress").fetchone() == (20, 40)


async def test_more_than_a_batch_goes_in_several_transactions_in_order(server: Database, catalog: Catalog, sql):
    async with running(server, catalog, batch=7) as door:
        acks = await door.push(PHONE, [put(i / 100, key=f"book {i:02}", at=-60 + i) for i in range(40)])
    assert [ack["offset"] for ack in acks] == list(range(1, 41))
    transactions = sql.execute("SELECT count(DISTINCT xmin::text) FROM mutations").fetchone()
    assert transactions == (6,)


async def test_a_push_of_nothing_is_answered_with_nothing(push: Push):
    assert await push.push(PHONE, []) == []


# -- the ledger --------------------------------------------------------------


def first_answer(ack: Ack) -> Ack:
    return {**orjson.loads(orjson.dumps(ack)), "status": "duplicate"}


async def test_the_same_mutation_again_gets_the_first_answer_again(push: Push, sql):
    raw = put(0.25)
    first = await one(push, PHONE, raw)
    await one(push, PHONE, put(0.75, at=-5))
    assert await one(push, PHONE, raw) == first_answer(first)
    assert await one(push, PHONE, {**raw, "data": {"percentage": 0.9}}) == first_answer(first)
    assert await one(push, PHONE, {**raw, "mutation_id": raw["mutation_id"].upper()} | raw) == first_answer(first)
    assert (stored(sql), count(sql, "mutations")) == ((0.75,), 2)


async def test_the_same_mutation_twice_in_one_push_is_applied_once(push: Push, sql):
    raw = put(0.25)
    acks = await push.push(PHONE, [raw, put(key="other"), raw])
    assert [ack["status"] for ack in acks] == ["applied", "applied", "duplicate"]
    assert (acks[2], count(sql, "mutations")) == ({**acks[0], "status": "duplicate"}, 2)


async def test_an_id_in_capitals_is_the_same_id(push: Push, sql):
    raw = put(0.25)
    await push.push(PHONE, [raw])
    (ack,) = await push.push(PHONE, [{**raw, "mutation_id": raw["mutation_id"].upper()}])
    assert (ack["status"], count(sql, "mutations")) == ("duplicate", 1)


async def test_the_same_mutation_after_a_restart_gets_the_first_answer(server, catalog, push: Push, sql):
    raw = put(0.25)
    first = await one(push, PHONE, raw)
    async with running(server, catalog) as again:
        assert await one(again, PHONE, raw) == first_answer(first)
    assert entry(sql) == (1, "put", NOW - timedelta(hours=1), "phone")


async def test_the_same_mutation_over_many_doors_at_once_is_applied_once(server: Database, catalog: Catalog, sql):
    raw = put(0.25)
    async with running(server, catalog) as a, running(server, catalog) as b, running(server, catalog) as c:
        answers = await asyncio.gather(*(door.push(PHONE, [raw]) for door in (a, b, c) * 4))
    statuses = [ack["status"] for (ack,) in answers]
    assert sorted(statuses) == ["applied"] + ["duplicate"] * 11
    assert {ack["offset"] for (ack,) in answers} == {1}
    assert count(sql, "mutations") == 1


async def test_a_superseded_answer_is_kept_with_the_winner_of_that_time(push: Push):
    await one(push, PHONE, put(0.5, at=-10))
    raw = put(0.25, at=-60)
    first = await one(push, TABLET, raw)
    await one(push, PHONE, put(0.75, at=-5))
    assert await one(push, TABLET, raw) == first_answer(first)


async def test_what_was_rejected_for_the_rows_state_stays_rejected_under_its_id(push: Push, sql):
    raw = patch({"percentage": 0.5})
    first = await one(push, PHONE, raw)
    await one(push, PHONE, put(0.25))
    assert await one(push, PHONE, raw) == first_answer(first)
    assert stored(sql) == (0.25,)


async def test_one_id_of_two_clients_or_two_owners_is_two_mutations(push: Push, sql):
    raw = put(0.25)
    acks = [await one(push, who, raw) for who in (PHONE, sender(client="another"), sender(owner=BEN))]
    assert "duplicate" not in {ack["status"] for ack in acks}
    assert count(sql, "mutations") == 3


# -- all or nothing ----------------------------------------------------------


async def test_row_conflict_and_ledger_commit_together_or_not_at_all(push: Push, sql):
    await one(push, PHONE, put(0.25, at=-60))
    sql.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'full'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON mutations FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    raw = put(0.5, at=-10)
    assert (await one(push, TABLET, raw))["status"] == "deferred"
    assert (stored(sql), count(sql, "conflicts"), count(sql, "mutations")) == ((0.25,), 0, 1)
    assert entry(sql) == (1, "put", NOW - timedelta(hours=1), "phone")
    sql.execute("DROP TRIGGER refuse ON mutations")
    assert (await one(push, TABLET, raw))["status"] == "applied"
    assert (stored(sql), count(sql, "conflicts"), count(sql, "mutations")) == ((0.5,), 1, 2)


async def test_a_fault_in_the_door_defers_what_was_in_its_hands_and_ends_nothing(
    server: Database, catalog: Catalog, monkeypatch, sql
):
    def fault(*_: Any) -> None:
        raise ZeroDivisionError

    raw = put()
    async with running(server, catalog) as door:
        with monkeypatch.context() as patched:
            patched.setattr(rows, "written", fault)
            assert (await one(door, PHONE, raw))["status"] == "deferred"
        assert (stored(sql), count(sql, "mutations")) == (None, 0)
        assert (await one(door, PHONE, raw))["status"] == "applied"


async def test_who_asked_and_left_is_written_all_the_same(server: Database, catalog: Catalog, sql):
    door = Push(server, catalog, lambda: NOW)
    asked = asyncio.create_task(door.push(PHONE, [put(0.25)]))
    while not door._queue:  # noqa: ASYNC110 - one turn of the loop
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    task = asyncio.create_task(door.run())
    assert (await one(door, PHONE, put(0.75, at=-10)))["offset"] == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stored(sql) == (0.75,)


# -- away and in the way -----------------------------------------------------


async def test_what_a_client_sent_behind_something_deferred_is_deferred_too(server, catalog, monkeypatch):
    tried = 0
    real = Push._transact

    async def away_at_first(door: Push, items: Any, wait_s: float) -> Any:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise Unavailable("away")
        return await real(door, items, wait_s)

    monkeypatch.setattr(Push, "_transact", away_at_first)
    writes = [put(i / 10, at=i - 60) for i in range(6)]
    async with running(server, catalog, batch=2) as door:
        phones, tablets = await asyncio.gather(door.push(PHONE, writes), door.push(TABLET, [put(key="other")]))
        assert [ack["status"] for ack in (*phones, *tablets)] == ["deferred"] * 6 + ["applied"]
        assert [ack["status"] for ack in await door.push(PHONE, writes)] == ["applied"] * 6


async def test_one_of_a_refused_batch_that_is_deferred_holds_back_what_its_client_sent_behind(
    server, catalog, sql, monkeypatch
):
    sql.execute("ALTER TABLE reading_progress ADD CONSTRAINT no_thirteen CHECK (position <> '13')")
    real = Push._transact
    alone = 0

    async def away_once(door: Push, items: Any, wait_s: float) -> Any:
        nonlocal alone
        alone += len(items) == 1
        if len(items) == 1 and alone == 2:
            raise Unavailable("away")
        return await real(door, items, wait_s)

    monkeypatch.setattr(Push, "_transact", away_once)
    async with running(server, catalog) as door:
        acks = await door.push(PHONE, [put(key=key, data={"position": key}) for key in ("11", "12", "13", "14")])
    assert [ack["status"] for ack in acks] == ["applied"] + ["deferred"] * 3


async def test_while_the_database_is_away_everything_is_deferred(tmp_path, catalog: Catalog):
    away = Database(f"postgresql:///any?host={tmp_path}")
    async with running(away, catalog) as door:
        acks = await door.push(PHONE, [put(), put(key="other"), {**put(), "op": "forget"}])
    await away.close()
    assert [ack["status"] for ack in acks] == ["deferred", "deferred", "deferred"]


async def test_a_database_that_only_reads_defers_and_applies_later(database: Urls, catalog: Catalog, sql):
    sql.execute(f"ALTER DATABASE {sql.info.dbname} SET default_transaction_read_only = on".encode())
    raw = put(0.25)
    standby = Database(database.server)
    async with running(standby, catalog) as door:
        assert (await one(door, PHONE, raw))["status"] == "deferred"
    await standby.close()
    sql.execute(f"ALTER DATABASE {sql.info.dbname} RESET default_transaction_read_only".encode())
    promoted = Database(database.server)
    async with running(promoted, catalog) as door:
        assert (await one(door, PHONE, raw))["status"] == "applied"
    await promoted.close()


async def test_a_row_that_somebody_locks_for_too_long_defers_and_changes_nothing(
    database: Urls, catalog: Catalog, push: Push, sql
):
    await one(push, PHONE, put(0.25))
    impatient = Database(database.server, lock_timeout_s=0.02)
    with psycopg.connect(database.owner) as other:
        other.execute("SELECT FROM reading_progress FOR UPDATE")
        async with running(impatient, catalog) as door:
            raw = put(0.5, at=-10)
            assert (await one(door, PHONE, raw))["status"] == "deferred"
            assert stored(sql) == (0.25,)
            other.rollback()
            assert (await one(door, PHONE, raw))["status"] == "applied"
    await impatient.close()


@pytest.mark.parametrize(("at", "status", "kept"), [(-60, "superseded", 0.9), (60, "applied", 0.5)])
async def test_a_row_that_comes_between_two_statements_is_judged_as_the_row_it_is(
    push: Push, sql, monkeypatch, at: float, status: str, kept: float
):
    """Direct SQL inserts just after the door saw that there is no such row."""
    locking, came = rows.locking, list[object]()

    def raced(*arguments: Any) -> Any:
        ask = locking(*arguments)
        if came:
            return ask
        came.append(
            sql.execute(
                "INSERT INTO reading_progress (owner, publication_id, percentage, updated_at)"
                " VALUES (%s, 'moby', 0.9, %s)",
                [ADA, NOW - timedelta(minutes=30)],
            )
        )
        return replace(ask, read=lambda _: {})  # as it would have been a moment before

    monkeypatch.setattr(rows, "locking", raced)
    ack = await one(push, PHONE, put(0.5, at=at))
    assert (ack["status"].replace("merged", "applied"), stored(sql)) == (status, (kept,))
    if status == "superseded":
        assert ack["row"]["data"]["percentage"] == kept


def _direct(url: str, seed: int, end: threading.Event, failures: list[BaseException]) -> None:
    """Somebody at psql who takes rows in any order, and tries again when a deadlock is decided against them."""
    chance = random.Random(seed)
    try:
        with psycopg.connect(url, autocommit=True, options="-c deadlock_timeout=20ms") as sql:
            while not end.is_set():
                keys = chance.sample("abcdef", 3)
                try:
                    with sql.transaction():
                        for key in keys:
                            sql.execute(
                                "UPDATE reading_progress SET percentage = %s WHERE publication_id = %s",
                                [chance.random(), key],
                            )
                except psycopg.errors.DeadlockDetected:
                    continue
    except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
        failures.append(error)


async def test_deadlocks_with_direct_sql_are_tried_again_until_all_is_applied(
    server: Database, catalog: Catalog, database: Urls, sql
):
    end, failures = threading.Event(), list[BaseException]()
    threads = [threading.Thread(target=_direct, args=(database.owner, seed, end, failures)) for seed in range(2)]
    async with running(server, catalog) as door:
        await door.push(PHONE, [put(key=key) for key in "abcdef"])
        for thread in threads:
            thread.start()
        chance = random.Random(3)
        acks: list[Ack] = []
        for _ in range(40):
            writes = [put(chance.random(), key=key, policy="client-wins") for key in chance.sample("abcdef", 4)]
            acks += await door.push(PHONE, writes)
        end.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {ack["status"] for ack in acks} <= {"applied", "merged"}
    assert sql.execute("SELECT count(*) FROM mutations").fetchone() == (166,)
    offsets = [ack["offset"] for ack in acks]
    assert len(set(offsets)) == len(offsets)


# -- the law -----------------------------------------------------------------

writes = st.lists(
    st.tuples(
        st.sampled_from(["phone", "tablet", "reader"]),
        st.sampled_from(["put", "put", "remove"]),
        st.integers(0, 4),
        st.integers(-5, 5),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


class Fold:
    """What the pure resolver makes of the same writes, with the offsets that the database gave."""

    def __init__(self, resolver: ConflictResolver) -> None:
        self.version: Version | None = None
        self._resolver = resolver

    def write(self, incoming: Version, offset: Callable[[], int]) -> bool:
        resolution = self._resolver.resolve(self.version, incoming)
        if resolution.changed:
            version = resolution.version
            self.version = Version(version.fields, version.updated_at, version.device_id, offset())
        return resolution.accepted


def _fields(percentage: float) -> Raw:
    return {
        "series_id": None,
        "locator": None,
        "position": None,
        "position_kind": None,
        "percentage": percentage,
        "furthest": percentage,
        "status": "reading",
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=writes)
async def test_the_stored_row_is_what_the_resolver_makes_of_all_writes(
    push: Push, catalog: Catalog, sql, sequence: list[tuple[str, str, int, int, bool]]
):
    key, fold, last = str(uuid4()), Fold(catalog["progress"].resolver), 0

    def head() -> int:
        at = entry(sql, key)
        assert at is not None
        return int(at[0])

    for device, op, quarter, at, knows in sequence:
        base = fold.version.offset if knows and fold.version else None
        if op == "remove" and fold.version is None:
            continue
        raw = mutation(op, key, at - 60, base=base, data={"percentage": quarter / 4} if op == "put" else None)
        ack = await one(push, sender(device), raw)
        fields = _fields(quarter / 4) if op == "put" else None
        incoming = Version(fields, NOW + timedelta(minutes=at - 60), device, base)
        before = fold.version
        accepted = fold.write(incoming, head)
        assert accepted is (ack["status"] in {"applied", "merged"}) or before == fold.version
        if accepted:
            assert ack["offset"] == head() > last
        last = head()
    _equal(sql, key, fold.version)


def _equal(sql: psycopg.Connection, key: str, version: Version | None) -> None:
    at = entry(sql, key)
    if version is None:
        assert at is None
        return
    assert at == (version.offset, "remove" if version.fields is None else "put", version.updated_at, version.device_id)
    row = stored(sql, "percentage, furthest, device_id, updated_at", key)
    fields = version.fields
    assert row == (fields and (fields["percentage"], fields["furthest"], version.device_id, version.updated_at))


async def test_a_unique_constraint_that_we_do_not_know_rejects_only_the_second(push: Push, sql: psycopg.Connection):
    sql.execute("ALTER TABLE reading_progress ADD UNIQUE (owner, series_id)")
    series = {"series_id": "s"}
    acks = await push.push(PHONE, [put(key="one", data=series), put(key="two", data=series), put(key="three")])
    assert [ack["status"] for ack in acks] == ["applied", "rejected", "applied"]


async def test_a_fault_of_the_database_itself_defers_and_rejects_nothing(push: Push, sql: psycopg.Connection):
    sql.execute("ALTER TABLE mutations RENAME TO elsewhere")
    assert (await one(push, PHONE, put()))["status"] == "deferred"
