"""The store: what was committed is there again, what was not is not, and nobody else's file is taken."""

import json
import sqlite3
from datetime import UTC, datetime

import pytest
from syncserver_client.errors import Fatal, StoreRefused
from syncserver_client.memory import Memory
from syncserver_client.model import Row, RowId
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.outbox import Outbox
from syncserver_client.settings import Settings
from syncserver_client.socket import Limits
from syncserver_client.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A = RowId("progress", "a")


@pytest.fixture
def settings(tmp_path):
    return Settings(url="http://here", device="phone", store=tmp_path / "store.db")


@pytest.fixture
def reopened(settings):
    """Another run of the program; the one before ended without a word."""
    open_now = []

    def reopen():
        for memory in open_now:
            memory.close()
        open_now.append(Memory(settings))
        return open_now[-1]

    yield reopen
    for memory in open_now:
        memory.close()


def row(key, offset, op="put"):
    return Row("progress", key, op, {"n": offset} if op == "put" else None, offset, NOW, "d", claimed_at=NOW)


def test_the_client_id_is_the_same_for_ever(reopened, settings):
    assert reopened().client_id == reopened().client_id != settings.client_id


@pytest.mark.parametrize(("url", "device"), [("http://there", "phone"), ("http://here", "tablet")])
def test_another_servers_or_devices_store_is_refused(reopened, settings, url, device):
    reopened().close()
    with pytest.raises(StoreRefused, match="another"):
        Store.open(settings.store, url, device)


def test_a_store_that_is_open_elsewhere_is_refused(reopened, settings, monkeypatch):
    monkeypatch.setattr("syncserver_client.store.WAIT_S", 0.01)
    reopened()
    with pytest.raises(StoreRefused, match="in_use"):
        Store.open(settings.store, "http://here", "phone")


def test_a_file_that_is_no_store_is_refused(settings):
    settings.store.write_bytes(b"a letter to my aunt, " * 100)
    with pytest.raises(StoreRefused, match="unreadable"):
        Store.open(settings.store, "http://here", "phone")


def test_the_file_flushes_each_commit(reopened):
    store = reopened()._store
    assert store.read("PRAGMA synchronous") == [(2,)]
    assert store.read("PRAGMA journal_mode") == [("wal",)]


def test_the_mirror_is_as_it_was(reopened):
    first = reopened()
    first.mirror.hold([row("a", 1), row("gone", 2), row("gone", 3, "remove")], "c3")
    first.mirror.show(NOW, NOW)
    first.mirror.hold([row("b", 4)], "c4")
    first.mirror.saw(A, 9)
    first.commit()
    first.mirror.hold([row("lost", 5)], "c5")
    second = reopened().mirror
    assert (second.rows, second.cursor, second.synced_at) == ({A: row("a", 1)}, "c4", NOW)
    assert (second.base(A), second.base(RowId("progress", "gone"))) == (9, 3)
    second.show(NOW)
    assert [key for _, key in second.rows] == ["a", "b"], "what was held back is still there, and shown when it is time"


def test_a_refetch_that_was_cut_goes_on(reopened):
    first = reopened()
    first.mirror.hold([row("a", 10), row("b", 11)], "c11")
    first.mirror.show(NOW, NOW)
    first.mirror.hold([row("old", 12)], "c12")
    first.mirror.refetch()
    first.mirror.hold([row("a", 1)], "n1")
    first.commit()
    second = reopened()
    assert (sorted(key for _, key in second.mirror.rows), second.mirror.cursor) == (["a", "b"], "n1")
    second.mirror.show(NOW, NOW)
    second.commit()
    third = reopened().mirror
    assert list(third.rows.values()) == [row("a", 1)]
    third.hold([row("c", 2)], "n2")
    third.show(NOW)
    assert [key for _, key in third.rows] == ["a", "c"], "only the first complete copy replaces"


async def test_the_queue_is_as_it_was(reopened, clock, settings):
    first = reopened()
    outbox = Outbox(clock, settings.backoff(), first.queue)
    mutations = [Mutation("put", "progress", key, {"k": key}, policy="client-wins", after=("x",)) for key in "abc"]
    outbox.add_all([(mutation, n) for n, mutation in enumerate(mutations)], awaited=False)
    first.commit()
    made = [entry.made_at for entry in outbox._entries.values()]
    again = Outbox(clock, settings.backoff(), reopened().queue)
    assert [m.mutation_id for m in again.waiting] == [m.mutation_id for m in mutations]
    assert [(e.base, e.made_at) for e in again._entries.values()] == list(zip(range(3), made, strict=True))
    assert (again.waiting[0].value, again.waiting[0].policy, again.waiting[0].after) == (
        {"k": "a"},
        "client-wins",
        ("x",),
    )


async def test_a_stamp_is_fixed_with_the_first_encoding(reopened, clock, settings):
    clock.synchronise(NOW, NOW, NOW)
    first = reopened()
    outbox = Outbox(clock, settings.backoff(), first.queue)
    entry = outbox.add(Mutation("put", "progress", "a", {}), 1)
    first.commit()
    second = reopened()
    assert Outbox(clock, settings.backoff(), second.queue)._entries[entry.mutation.mutation_id].body == entry.body
    assert second.last_stamp == clock.last


async def test_a_write_made_after_the_clock_was_known_has_the_later_stamp(reopened, clock, settings):
    queue = reopened().queue
    outbox = Outbox(clock, settings.backoff(), queue)
    before = outbox.add(Mutation("put", "progress", "a", {}), 1)
    clock.synchronise(NOW, NOW, NOW)
    after = outbox.add(Mutation("put", "progress", "a", {}), 1)
    stamps = [json.loads(entry.body)["updated_at"] for entry in (before, after)]
    assert stamps == sorted(set(stamps))


async def test_an_answered_write_shows_on_until_its_echo_and_its_ack_waits_to_be_heard(reopened, clock, settings):
    first = reopened()
    outbox = Outbox(clock, settings.backoff(), first.queue)
    (entry,) = outbox.add_all([(Mutation("put", "progress", "a", {"n": 2}), None)], awaited=False)
    first.write(entry.mutation, NOW)
    first.answered(entry.mutation, Ack(entry.mutation.mutation_id, "applied", 7), NOW, unheard=True)
    first.commit()
    second = reopened()
    assert second.queue.waiting() == []
    assert second.mirror.shown[A].value == {"n": 2}
    assert second.mirror.base(A) == 7
    (ack,) = second.unheard()
    second.heard(ack.mutation_id)
    second.mirror.hold([row("a", 7)], "c7")
    second.mirror.show(NOW)
    second.commit()
    third = reopened()
    assert third.mirror.shown[A] == row("a", 7)
    assert (third.unheard(), third.queue.unshown()) == ([], [])


def test_a_store_that_cannot_be_written_is_the_end(reopened):
    memory = reopened()
    memory._store.write("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(Fatal, match="store"):
        memory.commit()
    memory._store.remember("still", "consistent")
    memory.commit()
    assert memory._store.facts()["still"] == "consistent"


def test_all_of_a_commit_or_nothing(reopened, settings):
    memory = reopened()
    memory._store.remember("half", "done")
    memory._store.write("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(Fatal):
        memory.commit()
    memory.close()
    with sqlite3.connect(settings.store) as file:
        assert file.execute("SELECT * FROM facts WHERE name = 'half'").fetchall() == []
    file.close()


async def test_a_base_that_was_given_up_stays_given_up(reopened, clock, settings):
    first = reopened()
    outbox = Outbox(clock, settings.backoff(), first.queue)
    sent, raw = (Mutation("put", "progress", key, {"k": key}) for key in "ab")
    outbox.add_all([(sent, 7)], awaited=False)
    outbox.batch(0.0, Limits())
    outbox.add_all([(raw, 8)], awaited=False)
    before = json.loads(outbox._entries[sent.mutation_id].body)
    outbox.rebase()
    first.commit()
    again = Outbox(clock, settings.backoff(), reopened().queue)
    assert [entry.base for entry in again._entries.values()] == [None, None]
    assert json.loads(again._entries[sent.mutation_id].body) == {**before, "base": None}
    assert [m.mutation_id for m in again.waiting] == [sent.mutation_id, raw.mutation_id]


def test_an_action_that_was_queued_shows_in_the_next_run_too(reopened, clock):
    first = reopened()
    first.mirror.hold([Row("reading_sessions", "s", "put", {"status": "active", "n": 1}, 1, NOW, "d")], "c1")
    first.mirror.show(NOW, NOW)
    outbox = Outbox(clock, Settings(url="http://here", device="d").backoff(), first.queue)
    outbox.add_all([(Mutation("pause", "reading_sessions", "s", base=1), 1)], awaited=False)
    first.commit()
    row = reopened().mirror.shown["reading_sessions", "s"]
    assert (row.value, row.pending) == ({"status": "paused", "n": 1}, True)
