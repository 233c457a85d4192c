"""Every way in which the index can be wrong against the tables is found at its place, and nothing else is."""

import threading

import psycopg
import pytest

from syncserver.storage import diagnosis
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Diagnosis, Fault
from syncserver.storage.resource import Catalog
from tests.harness import Urls
from tests.storage.broken import ADA, BEN, past_the_triggers, put, triggers_disabled


async def diagnosed(server: Database, catalog: Catalog, owner: str = ADA) -> Diagnosis:
    async with server.transaction([owner]) as connection:
        return await diagnosis.of(connection, catalog, owner)


async def faults(server: Database, catalog: Catalog, owner: str = ADA) -> list[tuple[Fault, str | None]]:
    return [(finding.fault, finding.key) for finding in (await diagnosed(server, catalog, owner)).findings]


@pytest.fixture
def written(sql: psycopg.Connection) -> psycopg.Connection:
    """Ada has a and c, b was removed; ben has a."""
    put(sql, "a", "b", "c")
    put(sql, "a", owner=BEN)
    sql.execute("DELETE FROM reading_progress WHERE publication_id = 'b'")
    return sql


@pytest.mark.usefixtures("written")
async def test_a_sound_log_has_nothing_wrong_and_all_its_pairs(server, catalog):
    found = await diagnosed(server, catalog)
    assert (found.findings, found.head, found.floor) == ([], 4, 0)
    assert [(p.key, p.entry and p.entry.offset, p.row is not None) for p in found.pairs] == [
        ("a", 1, True),
        ("c", 3, True),
        ("b", 4, False),
    ]


async def test_an_owner_that_never_wrote_has_nothing_wrong(server, catalog):
    found = await diagnosed(server, catalog)
    assert (found.findings, found.pairs, found.head, found.floor) == ([], [], 0, 0)


async def test_a_row_that_came_past_the_triggers_has_no_entry(server, catalog, written):
    with past_the_triggers(written):
        put(written, "d")
    assert await faults(server, catalog) == [(Fault.NO_ENTRY, "d")]


async def test_a_row_whose_entry_was_deleted_has_no_entry(server, catalog, written):
    written.execute("DELETE FROM changes WHERE key = 'a'")
    assert await faults(server, catalog) == [(Fault.NO_ENTRY, "a")]


async def test_a_row_that_went_past_the_triggers_is_still_put(server, catalog, written):
    with triggers_disabled(written):
        written.execute("DELETE FROM reading_progress WHERE publication_id = 'a'")
    assert await faults(server, catalog) == [(Fault.NO_ROW, "a")]


async def test_a_removed_row_that_came_back_past_the_triggers_is_still_removed(server, catalog, written):
    with triggers_disabled(written):
        put(written, "b")
    assert await faults(server, catalog) == [(Fault.NOT_REMOVED, "b")]


async def test_a_row_changed_past_the_triggers_has_another_stamp_or_device(server, catalog, written):
    with past_the_triggers(written):
        written.execute("UPDATE reading_progress SET updated_at = now() WHERE publication_id = 'a'")
        written.execute("UPDATE reading_progress SET device_id = 'tablet' WHERE publication_id = 'c'")
    assert await faults(server, catalog) == [(Fault.STAMP, "a"), (Fault.DEVICE, "c")]


async def test_a_row_that_changed_its_owner_past_the_triggers_is_wrong_for_both(server, catalog, written):
    with past_the_triggers(written):
        written.execute("UPDATE reading_progress SET owner = %s WHERE owner = %s AND publication_id = 'c'", [BEN, ADA])
    assert await faults(server, catalog) == [(Fault.NO_ROW, "c")]
    assert await faults(server, catalog, BEN) == [(Fault.NO_ENTRY, "c")]


async def test_a_head_that_was_set_back_leaves_entries_above_it(server, catalog, written):
    written.execute("UPDATE channels SET head = 2 WHERE owner = %s", [ADA])
    assert await faults(server, catalog) == [(Fault.HEAD, None), (Fault.ABOVE_HEAD, "c"), (Fault.ABOVE_HEAD, "b")]


async def test_a_channel_that_is_gone_leaves_all_entries_above_the_head(server, catalog, written):
    written.execute("DELETE FROM channels")
    assert [fault for fault, _ in await faults(server, catalog)] == [Fault.HEAD, *[Fault.ABOVE_HEAD] * 3]


async def test_an_offset_that_was_given_twice_is_wrong_at_both_places(server, catalog, written):
    written.execute("ALTER TABLE changes DROP CONSTRAINT changes_owner_offset_key")
    written.execute("UPDATE changes SET \"offset\" = 1 WHERE owner = %s AND key = 'c'", [ADA])
    assert await faults(server, catalog) == [(Fault.OFFSET_TWICE, "a"), (Fault.OFFSET_TWICE, "c")]


@pytest.mark.parametrize(("floor", "found"), [(3, []), (4, [(Fault.BELOW_FLOOR, "b")])])
async def test_a_tombstone_at_the_floor_should_have_been_forgotten(server, catalog, written, floor, found):
    written.execute("UPDATE channels SET floor = %s WHERE owner = %s", [floor, ADA])
    assert await faults(server, catalog) == found


@pytest.mark.parametrize("name", ["sync_stamp", "sync_capture", "sync_no_truncate"])
@pytest.mark.parametrize("how", ["DISABLE TRIGGER {} ", "ENABLE REPLICA TRIGGER {}"])
async def test_a_trigger_that_does_not_fire_is_missing(server, catalog, written, name, how):
    written.execute(f"ALTER TABLE reading_progress {how.format(name)}")
    [finding] = (await diagnosed(server, catalog)).findings
    assert (finding.fault, finding.resource, finding.key) == (Fault.TRIGGER, "progress", None)
    assert finding.detail == f"{name} on reading_progress"
    written.execute(f"DROP TRIGGER {name} ON reading_progress")
    assert await faults(server, catalog) == [(Fault.TRIGGER, None)]


async def test_entries_of_a_resource_that_is_not_synced_here_are_not_held_against_rows(server, catalog, written):
    written.execute("UPDATE changes SET resource = 'another' WHERE owner = %s AND key = 'b'", [ADA])
    written.execute(
        'INSERT INTO changes (owner, resource, key, "offset", op, updated_at)'
        " VALUES (%s, 'another', 'x', 2, 'put', now())",
        [ADA],
    )
    assert await faults(server, catalog) == []


async def test_what_is_written_meanwhile_is_never_taken_for_a_fault(server, catalog, database: Urls):
    ended = threading.Event()

    def write() -> None:
        with psycopg.connect(database.owner, autocommit=True) as sql:
            for n in range(400):
                put(sql, f"book-{n % 7}-{n}")
                sql.execute(
                    "UPDATE reading_progress SET percentage = random() WHERE publication_id = %s", [f"book-1-{n}"]
                )
                sql.execute("DELETE FROM reading_progress WHERE publication_id = %s", [f"book-2-{n}"])
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not ended.is_set():
        assert await faults(server, catalog) == []
        looks += 1
    writer.join()
    assert looks > 1
