"""What empties the outbox: over which way, when, and again."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from syncserver_client.backoff import Backoff
from syncserver_client.errors import Rejected, SocketLost, Transient
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.outbox import Outbox
from syncserver_client.pace import Pace
from syncserver_client.problems import Problems
from syncserver_client.sender import Sender
from syncserver_client.settings import Settings
from syncserver_client.socket import Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Way:
    """A socket and an HTTP side in one: what is sent over either, and what becomes of it."""

    def __init__(self):
        self.limits = Limits()
        self.sent = []
        self.fails = []

    async def send(self, frame):
        self.sent.append(json.loads(frame))
        if self.fails:
            raise self.fails.pop(0)

    async def push(self, body):
        await self.send(body)
        return [Ack(m["mutation_id"], "applied", 1) for m in self.sent[-1]["mutations"]]


@pytest.fixture
async def started(clock):
    tasks = []

    def start(*, socket=None, http=None, up=True, pace=None):
        clock.synchronise(NOW, NOW, NOW)
        outbox = Outbox(clock, Backoff(0.001, 0.002))
        sender = Sender(
            settings=Settings(url="http://x", device="d"),
            clock=clock,
            outbox=outbox,
            http=http,
            problems=Problems(),
            may_send=lambda: state["up"],
            live=lambda: socket,
            answered=lambda acks: outbox.answer(acks, 0.0),
            pace=pace,
        )
        state = {"up": up}
        tasks.append(asyncio.create_task(sender.run()))
        return outbox, state

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def add(outbox, key="k"):
    return outbox.add(Mutation("put", "progress", key, {}), None)


async def until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - turns, not time
            await asyncio.sleep(0)


async def test_over_the_socket_when_it_is_live(started):
    way = Way()
    outbox, _ = started(socket=way)
    entry = add(outbox)
    await until(lambda: way.sent)
    assert way.sent[0]["type"] == "push"
    assert [m["mutation_id"] for m in way.sent[0]["mutations"]] == [entry.mutation.mutation_id]


async def test_by_post_otherwise_with_device_and_client(started):
    way = Way()
    outbox, _ = started(http=way)
    entry = add(outbox)
    assert (await entry.answer).status == "applied"
    assert (way.sent[0]["device"], way.sent[0]["client_id"] != "") == ({"id": "d"}, True)


async def test_not_before_all_is_caught_up(started):
    way = Way()
    outbox, state = started(http=way, up=False)
    entry = add(outbox)
    for _ in range(20):
        await asyncio.sleep(0)
    assert way.sent == []
    state["up"] = True
    outbox.cut()
    await entry.answer


async def test_what_fails_is_sent_again_unchanged(started):
    way = Way()
    way.fails = [Transient("unreachable"), Transient("http_503")]
    outbox, _ = started(http=way)
    await add(outbox).answer
    assert [frame["mutations"] for frame in way.sent] == [way.sent[0]["mutations"]] * 3


async def test_a_refused_body_goes_piece_by_piece(started):
    way = Way()
    way.fails = [Rejected("invalid"), Rejected("invalid", "no")]
    outbox, state = started(http=way, up=False)
    bad, good = add(outbox, "bad"), add(outbox, "good")
    state["up"] = True
    outbox.cut()
    assert (await bad.answer).status == "rejected"
    assert (await good.answer).status == "applied"
    assert [len(frame["mutations"]) for frame in way.sent] == [2, 1, 1]


async def test_a_socket_that_is_lost_while_it_sends_leaves_the_write_for_the_next(started):
    way = Way()
    way.fails = [SocketLost("cut")]
    outbox, _ = started(socket=way)
    add(outbox)
    await until(lambda: way.sent)
    outbox.cut()
    await until(lambda: len(way.sent) == 2)
    assert way.sent[0] == way.sent[1]


async def test_frames_are_paced_and_what_is_written_meanwhile_goes_together(started):
    way = Way()
    outbox, _ = started(socket=way, pace=Pace(at_once=1, per_s=20))
    add(outbox, "first")
    await until(lambda: way.sent)
    outbox.answer([Ack(m["mutation_id"], "applied", 1) for m in way.sent[0]["mutations"]], 0.0)
    for key in "abc":
        add(outbox, key)
        await asyncio.sleep(0)
    await until(lambda: len(way.sent) == 2)
    assert [m["key"] for m in way.sent[1]["mutations"]] == ["a", "b", "c"]
