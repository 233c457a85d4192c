"""What goes out: in order, in one piece a turn, bounded, with a last word, and cut where that cannot be said."""

import asyncio
import json

import pytest

from syncserver.engine import outgoing
from syncserver.engine.outgoing import Flusher, Outgoing
from syncserver.hub.writer import BUFFER_BYTES


class Peer:
    """A wire that takes what is written when it likes to, and whoever speaks over it."""

    def __init__(self, flusher: Flusher | None = None) -> None:
        self.written: list[list[bytes]] = []
        self.blocked = False
        self.cut = asyncio.Event()
        self.drains = 0
        self.end: tuple[int, str] | None = None
        self.out = Outgoing(self, flusher or Flusher(), self)

    @staticmethod
    def form(frame: bytes) -> bytes:
        return b"<" + frame + b">"

    def write(self, pieces: list[bytes]) -> None:
        assert not self.blocked
        self.written.append(pieces)

    def close(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.cut.set()

    def drained(self) -> None:
        self.drains += 1

    def ended(self, code: int, reason: str) -> None:
        self.end = (code, reason)


async def turn() -> None:
    """The turns of the loop after which everything that was due before is done."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_became_due_in_one_turn_is_written_in_one_piece_in_order():
    peer = Peer()
    assert all(peer.out.say(frame) for frame in (b"1", b"2"))
    assert peer.out.offer(b"(3)")
    assert peer.written == []
    await turn()
    assert peer.written == [[b"<1>", b"<2>", b"(3)"]]
    assert peer.drains == 0  # nobody waits to hear of it


async def test_the_form_of_one_wire_is_that_of_all_of_its_kind():
    assert Peer().out.form is Peer().out.form  # or what is for many would be made anew for each


async def test_nothing_is_written_while_the_peer_takes_nothing_and_all_of_it_when_it_does():
    peer = Peer()
    peer.blocked = True
    peer.out.say(b"1")
    await turn()
    assert (peer.written, peer.drains, peer.out.idle) == ([], 0, False)
    peer.blocked = False
    peer.out.resumed()
    peer.out.say(b"2")
    await turn()
    assert (peer.written, peer.drains, peer.out.idle) == ([[b"<1>", b"<2>"]], 1, True)


async def test_an_offer_is_refused_where_there_is_no_room_and_an_answer_never_is():
    peer = Peer()
    peer.blocked = True
    full = b"x" * BUFFER_BYTES
    assert peer.out.offer(full)
    assert not peer.out.offer(b"news")
    assert not peer.out.answer(b"answer")
    peer.blocked = False
    peer.out.resumed()
    await turn()
    assert peer.written == [[full, b"<answer>"]]
    assert peer.out.answer(b"another")


async def test_many_peers_have_their_turn_in_order_and_others_in_between(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "_AT_ONCE", 2)
    flusher = Flusher()
    peers = [Peer(flusher) for _ in range(5)]
    for peer in peers:
        peer.out.say(b"1")
    await turn()
    assert [len(peer.written) for peer in peers] == [1, 1, 0, 0, 0]
    peers[4].out.say(b"2")  # goes along with what was due already
    await turn()
    await turn()
    assert [peer.written for peer in peers[3:]] == [[[b"<1>"]], [[b"<1>", b"<2>"]]]


async def test_goodbye_comes_after_what_is_due_and_ends_it():
    peer = Peer()
    peer.out.say(b"1")
    peer.out.goodbye(1012, "the server restarts", 2.5)
    peer.out.goodbye(4004, "replaced")  # the first reason stays
    await turn()
    assert peer.end == (1012, "the server restarts")
    [[first, last]] = peer.written
    assert first == b"<1>"
    assert json.loads(last[1:-1]) == {"type": "goodbye", "code": 1012, "retry_after_s": 2.5}


async def test_without_a_time_to_come_back_it_ends_without_a_word():
    peer = Peer()
    peer.out.goodbye(4004, "replaced")
    await turn()
    assert (peer.end, peer.written) == ((4004, "replaced"), [])


async def test_who_does_not_take_the_last_word_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "_LAST_WORDS_S", 0.01)
    peer = Peer()
    peer.blocked = True
    peer.out.goodbye(1012, "the server restarts", 1)
    async with asyncio.timeout(20):
        await peer.cut.wait()
    assert peer.end is None


async def test_who_has_gone_is_not_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "_LAST_WORDS_S", 0)
    peer = Peer()
    peer.blocked = True
    peer.out.goodbye(1012, "the server restarts", 1)
    peer.out.closed()
    await asyncio.sleep(0.01)
    assert not peer.cut.is_set()
