"""What goes out: in order, bounded, with a last word, and cut where the last word cannot be said."""

import asyncio
import json

import pytest

from syncserver.engine import outgoing
from syncserver.engine.outgoing import Outgoing
from syncserver.engine.wire import Ended
from syncserver.hub.writer import BUFFER_BYTES


class Peer:
    """A wire that takes frames when it likes to."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.cut = asyncio.Event()
        self.out = Outgoing(self.send, self.cut.set)

    async def send(self, frame: bytes) -> None:
        await self.reads.wait()
        self.taken.append(frame)


async def test_what_is_due_is_written_in_order():
    peer = Peer()
    assert all(peer.out.offer(frame) for frame in (b"1", b"2"))
    await peer.out.answer(b"3")
    await peer.out.flush()
    assert peer.taken == [b"1", b"2", b"3"]


async def test_an_answer_waits_for_room_and_an_offer_does_not():
    peer = Peer()
    full = b"x" * BUFFER_BYTES
    assert peer.out.offer(full)
    assert not peer.out.offer(b"news")
    answering = asyncio.create_task(peer.out.answer(b"answer"))
    await asyncio.sleep(0)
    assert not answering.done()
    await peer.out.flush()
    await answering
    await peer.out.flush()
    assert peer.taken == [full, b"answer"]


async def test_an_offer_wakes_the_task_that_writes():
    peer = Peer()
    loop = asyncio.get_running_loop()
    await peer.out.woken(loop.time())  # nothing to do: it returns at the time given
    woken = asyncio.create_task(peer.out.woken(loop.time() + 1000))
    await asyncio.sleep(0)
    peer.out.offer(b"1")
    async with asyncio.timeout(20):
        await woken


async def test_goodbye_comes_after_what_is_due_and_ends_it():
    peer = Peer()
    peer.out.offer(b"1")
    peer.out.goodbye(1012, "the server restarts", 2.5)
    peer.out.goodbye(4004, "replaced")  # the first reason stays
    with pytest.raises(Ended) as end:
        await peer.out.flush()
    peer.out.closed()
    assert (end.value.code, end.value.reason) == (1012, "the server restarts")
    assert peer.taken[0] == b"1"
    assert json.loads(peer.taken[1]) == {"type": "goodbye", "code": 1012, "retry_after_s": 2.5}
    assert len(peer.taken) == 2


async def test_without_a_time_to_come_back_it_ends_without_a_word():
    peer = Peer()
    peer.out.goodbye(4004, "replaced")
    with pytest.raises(Ended):
        await peer.out.flush()
    peer.out.closed()
    assert peer.taken == []


async def test_who_does_not_take_the_last_word_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "_LAST_WORDS_S", 0.01)
    peer = Peer()
    peer.reads.clear()
    peer.out.goodbye(1012, "the server restarts", 1)
    flushing = asyncio.create_task(peer.out.flush())
    async with asyncio.timeout(20):
        await peer.cut.wait()
    flushing.cancel()


async def test_who_has_gone_is_not_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "_LAST_WORDS_S", 0)
    peer = Peer()
    peer.out.goodbye(1012, "the server restarts", 1)
    peer.out.closed()
    await asyncio.sleep(0.01)
    assert not peer.cut.is_set()
