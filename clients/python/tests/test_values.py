"""Digests, presences, broadcasts, conflicts, watches: what comes of frames, and what is refused."""

import asyncio
import hashlib
from datetime import UTC, datetime

import pytest
from syncserver_client.company import BROADCAST_BYTES, Broadcast, Presence, broadcast_frame, presence_frame
from syncserver_client.conflict import Conflict, ConflictNote
from syncserver_client.digest import digests
from syncserver_client.errors import Closed, Fatal, Transient
from syncserver_client.model import Row
from syncserver_client.settings import Settings
from syncserver_client.watch import Watches

STAMP = "2026-01-01T00:00:00.000000Z"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_digest_is_the_xor_of_what_the_protocol_names():
    rows = [Row("progress", key, "put", {}, n, NOW, "d") for key, n in (("a", 1), ("ä", 2))]
    texts = [f"progress\n{key}\n{n}\n{STAMP}".encode() for key, n in (("a", 1), ("ä", 2))]
    first, second = (int.from_bytes(hashlib.sha256(text).digest()[:8]) for text in texts)
    assert digests(rows, None) == {"progress": {"rows": 2, "xor": f"{first ^ second:016x}"}}
    assert digests([], ["empty"]) == {"empty": {"rows": 0, "xor": "0" * 16}}
    assert digests(rows[:1], None) != digests(rows[1:], None)


def test_presences_and_broadcasts_keep_their_limits():
    assert presence_frame(None) == b'{"type":"presence","state":null}'
    with pytest.raises(ValueError, match="4096"):
        presence_frame({"x": "y" * 4096})
    with pytest.raises(TypeError):
        presence_frame([])
    assert broadcast_frame("t", "x" * (BROADCAST_BYTES - 2))
    with pytest.raises(ValueError, match="16384"):
        broadcast_frame("t", "x" * (BROADCAST_BYTES - 1))
    for topic in ("", "t" * 129):
        with pytest.raises(ValueError, match="topic"):
            broadcast_frame(topic, 1)
    with pytest.raises(ValueError, match="NaN"):
        broadcast_frame("t", float("nan"))


@pytest.mark.parametrize("kind", [Presence, Broadcast, Conflict, ConflictNote])
def test_what_cannot_be_read_is_a_failed_attempt(kind):
    with pytest.raises(Transient):
        kind.from_wire({"id": "x", "winner": None, "since": 3})


async def test_a_watch_hears_from_its_beginning_to_the_end():
    watches = Watches(most=2)
    watch = watches.watch(["first"])
    watches.offer("second")
    assert [await anext(watch), await anext(watch)] == ["first", "second"]
    reading = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    watches.offer("third")
    assert await reading == "third"
    for thing in "abc":
        watches.offer(thing)
    watches.end()
    assert [thing async for thing in watch] == ["b", "c"], "the oldest made room"
    assert [thing async for thing in watches.watch()] == []


async def test_a_watch_raises_what_stopped_the_client():
    watches = Watches()
    watch = watches.watch()
    watches.end(Fatal("unauthorised"))
    with pytest.raises(Fatal):
        await anext(watch)
    assert Closed().code == "closed"


@pytest.mark.parametrize("transports", [(), ("socket", "socket"), ("pigeon",)])
def test_transports_are_some_of_those_that_there_are(transports):
    with pytest.raises(ValueError, match="transports"):
        Settings(url="http://x", device="d", transports=transports)
