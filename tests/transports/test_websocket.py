"""The socket as a client sees it: raw frames against a real server, good ones and every kind of bad one."""

import asyncio
import gc
import weakref

import orjson
import pytest

from syncserver.core import clock, frames
from syncserver.engine.connection import Connection
from tests.harness import Live, Serving, token
from tests.transports.sockets import HELLO, greeted, pushed, put, raw


async def test_hello_is_answered_with_the_time_and_the_limits(live: Live):
    async with raw(live) as socket:
        await socket.say({**HELLO, "token": token("ada"), "unknown": "ignored"})
        welcome = await socket.hear()

    assert socket.raw.subprotocol == "syncserver.v1"
    assert welcome["echo"] == HELLO["sent_at"]
    assert welcome["limits"] == {"frame_bytes": 1_048_576, "mutations": 500}
    assert (
        abs(clock.read(welcome["server_time"]).timestamp() - clock.read(welcome["token_expires_at"]).timestamp()) < 3700
    )


async def test_from_nothing_comes_everything_then_ready_then_what_happens(live: Live):
    async with greeted(live) as writer, greeted(live) as reader:
        await pushed(writer, put("a"), put("b"))
        await reader.say({"type": "subscribe", "resources": None, "cursor": None})
        first, ready = await reader.hear(), await reader.hear()
        [ack] = await pushed(writer, put("c"))
        live_frame = await reader.hear()

    assert [row["key"] for row in first["rows"]] == ["a", "b"]
    assert (ready["type"], ready["cursor"]) == ("ready", first["to"])
    assert live_frame["from"] == ready["cursor"]
    assert [(row["key"], row["offset"], row["mutation_id"]) for row in live_frame["rows"]] == [
        ("c", ack["offset"], ack["mutation_id"])
    ]


async def test_a_device_that_was_away_gets_what_it_missed_from_its_cursor(live: Live):
    async with greeted(live) as writer:
        await pushed(writer, put("a"), put("b"))
        async with greeted(live) as reader:
            await reader.say({"type": "subscribe", "cursor": None})
            cursor = (await reader.hear_until("ready"))["cursor"]
        await pushed(writer, put("b", data={"percentage": 0.9}))
        async with greeted(live) as reader:
            await reader.say({"type": "subscribe", "cursor": cursor})
            missed = await reader.hear()

    assert missed["from"] == cursor
    assert [(row["key"], row["data"]["percentage"]) for row in missed["rows"]] == [("b", 0.9)]


async def test_another_reader_sees_nothing(live: Live):
    async with greeted(live, "ada") as ada, greeted(live, "ben") as ben:
        await ben.say({"type": "subscribe", "cursor": None})
        await ben.hear_until("ready")
        await pushed(ada, put("secret"))
        await pushed(ben, put("own"))
        frame = await ben.hear_until("changes")

    assert [row["key"] for row in frame["rows"]] == ["own"]


async def test_a_filter_passes_on_only_its_resources_but_every_cursor(live: Live):
    async with greeted(live) as writer, greeted(live) as reader:
        await reader.say({"type": "subscribe", "resources": [], "cursor": None})
        ready = await reader.hear_until("ready")
        await pushed(writer, put())
        frame = await reader.hear()

    assert (frame["rows"], frame["from"]) == ([], ready["cursor"])


async def test_unsubscribed_is_unsubscribed(live: Live):
    async with greeted(live) as socket:
        await socket.say({"type": "subscribe", "cursor": None})
        await socket.hear_until("ready")
        await socket.say({"type": "unsubscribe"})
        await pushed(socket, put())
        await socket.say({"type": "ping", "sent_at": HELLO["sent_at"]})
        pong = await socket.hear()

    assert (pong["type"], pong["sent_at"]) == ("pong", HELLO["sent_at"])


async def test_ready_is_said_again_at_each_heartbeat(serving: Serving):
    async with serving(heartbeat_s=0.1) as live, greeted(live) as socket:
        await socket.say({"type": "subscribe", "cursor": None})
        first = await socket.hear_until("ready")
        second = await socket.hear_until("ready")
    assert first["cursor"] == second["cursor"]


async def test_a_newer_connection_of_the_same_client_replaces_the_older(live: Live):
    async with greeted(live, client_id="same") as older, greeted(live, client_id="same") as newer:
        assert await older.closed() == 4004
        await newer.say({"type": "ping"})
        assert (await newer.hear())["type"] == "pong"


async def test_a_stopping_server_says_goodbye_with_a_time_to_come_back(serving: Serving):
    async with serving() as live, greeted(live) as socket:
        live.parts.house.draining = False
        await live.parts.house.drain(0, 5)
        goodbye = await socket.hear_until("goodbye")
        assert goodbye["code"] == 1012
        assert 0 < goodbye["retry_after_s"] <= 2
        assert await socket.closed() == 1012


FIRST_FRAMES: dict[str, tuple[str | bytes, int]] = {
    "not JSON": ("{", 4500),
    "JSON with NaN": ('{"type": "hello", "token": NaN}', 4500),
    "not an object": ("[1]", 4500),
    "no type": ("{}", 4500),
    "a type of the wrong type": ('{"type": 7}', 4500),
    "an unknown type": ('{"type": "helo"}', 4500),
    "something before hello": ('{"type": "ping"}', 4500),
    "hello with wrong types": (orjson.dumps({**HELLO, "token": 7}).decode(), 4500),
    "hello without a device": ('{"type": "hello", "token": "x", "client_id": "c", "protocol": [1, 1]}', 4500),
    "a token that is none": (orjson.dumps({**HELLO, "token": "x"}).decode(), 4501),
    "another protocol": (orjson.dumps({**HELLO, "token": "x", "protocol": [2, 3]}).decode(), 4502),
    "bytes that are no text": (b"\xff\xfe", 4500),
}


@pytest.mark.parametrize("name", FIRST_FRAMES)
async def test_a_bad_first_frame_gets_its_error_and_its_close_code(live: Live, name: str):
    message, code = FIRST_FRAMES[name]
    async with raw(live) as socket:
        await socket.raw.send(message)
        assert (await socket.hear())["type"] == "error"
        assert await socket.closed() == code
    async with greeted(live):
        pass  # and the server lives on


@pytest.mark.parametrize(
    "message", ["", "{", "null", '{"type": "hello"}', '{"type": "push"}', '{"type": "push", "mutations": [1]}']
)
async def test_a_bad_later_frame_closes_with_4500(live: Live, message: str):
    async with greeted(live) as socket:
        await socket.raw.send(message)
        assert (await socket.hear())["code"] == "malformed"
        assert await socket.closed() == 4500


async def test_no_hello_in_time_closes_with_4000(live: Live):
    live.parts.house.hello_timeout_s = 0.05
    async with raw(live) as socket:
        assert await socket.closed() == 4000


async def test_a_frame_over_one_mebibyte_closes_with_1009(live: Live):
    async with greeted(live) as socket:
        await socket.raw.send(b"x" * 1_048_577)
        assert await socket.closed() == 1009
    async with greeted(live):
        pass


async def test_more_mutations_than_allowed_close_with_4500(live: Live):
    async with greeted(live) as socket:
        await socket.say({"type": "push", "mutations": [{}] * 501})
        assert await socket.closed() == 4500


BAD_MUTATIONS = {
    "percentage over 1": (put(data={"percentage": 1.2}), "invalid"),
    "percentage as text": (put(data={"percentage": "0.5"}), "invalid"),
    "percentage as truth": (put(data={"percentage": True}), "invalid"),
    "a NUL in the position": (put(data={"position": "a\0b"}), "invalid"),
    "a NUL in the key": (put("a\0b"), "invalid"),
    "a NUL deep in the locator": (
        put(data={"locator": {"href": "a", "type": "b", "text": {"before": "\0"}}}),
        "invalid",
    ),
    "a key of 10 kB": (put("k" * 10_000), "too_large"),
    "a position of 5,000 characters": (put(data={"position": "p" * 5_000}), "too_large"),
    "an unknown status": (put(data={"status": "lost"}), "invalid"),
    "an unknown operation": (put(op="increment"), "invalid"),
    "an unknown resource": (put(resource="nothing"), "not_found"),
    "no data": (put(data=None), "invalid"),
    "an id that is none": (put(mutation_id="7"), "invalid"),
    "a stamp without a zone": (put(updated_at="2026-11-22T08:15:00"), "invalid"),
    "a stamp of the year 0": (put(updated_at="0000-01-01T00:00:00Z"), "invalid"),
    "a negative base": (put(base=-1), "invalid"),
    "an unknown policy": (put(policy="mine"), "invalid"),
    "a patch of no row": (put("none", op="patch"), "not_found"),
    "a removal of no row": (put("none", op="remove"), "not_found"),
}


@pytest.mark.parametrize("name", BAD_MUTATIONS)
async def test_a_bad_mutation_is_rejected_and_the_next_one_is_applied(live: Live, name: str):
    mutation, code = BAD_MUTATIONS[name]
    async with greeted(live) as socket:
        bad, good = await pushed(socket, mutation, put("good"))
    assert (bad["status"], bad["code"]) == ("rejected", code)
    assert bad["mutation_id"] == mutation["mutation_id"]
    assert good["status"] == "applied"


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("nonsense", "unreadable"),
        ("{epoch}.{channel}.99", "ahead"),
        ("aaaaaaaaaa.{channel}.0", "epoch"),
        ("{epoch}.00000000.0", "owner"),
    ],
)
async def test_a_cursor_that_cannot_be_honoured_is_answered_with_refetch(live: Live, cursor: str, reason: str):
    async with greeted(live) as socket:
        await socket.say({"type": "subscribe", "cursor": None})
        epoch, channel, _ = (await socket.hear_until("ready"))["cursor"].split(".")
        await socket.say({"type": "subscribe", "cursor": cursor.format(epoch=epoch, channel=channel)})
        assert await socket.hear() == {"type": "refetch", "reason": reason}
        await socket.say({"type": "subscribe", "cursor": None})
        assert (await socket.hear())["type"] == "ready"


async def test_an_unknown_resource_is_an_error_and_the_connection_stays(live: Live):
    async with greeted(live) as socket:
        await socket.say({"type": "subscribe", "resources": ["nothing"], "cursor": None})
        assert (await socket.hear())["code"] == "invalid"
        await socket.say({"type": "ping"})
        assert (await socket.hear())["type"] == "pong"


async def test_a_fault_of_the_server_is_said_and_closed_with_1011(live: Live, caplog: pytest.LogCaptureFixture):
    async def faulty(*_: object) -> None:
        raise RuntimeError

    live.parts.house.verbs = {frames.Presence: faulty}
    async with greeted(live) as socket, greeted(live) as other:
        await socket.say({"type": "presence", "state": None})
        assert (await socket.hear())["code"] == "error"
        assert await socket.closed() == 1011
        await other.say({"type": "ping"})
        assert (await other.hear())["type"] == "pong"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "a connection ended by a fault of the server"
    ]


async def test_a_slow_reader_is_read_again_from_the_log_and_misses_nothing(live: Live):
    """More than a writer's buffer is due to a client that does not read; then it reads."""
    async with greeted(live) as writer, greeted(live) as reader:
        await reader.say({"type": "subscribe", "cursor": None})
        await reader.hear_until("ready")
        for turn in range(12):
            await pushed(writer, *(put(f"{turn}-{n}", data={"position": "p" * 4000}) for n in range(50)))
        held: dict[str, int] = {}
        cursor = ""
        while len(held) < 600:
            frame = await reader.hear_until("changes")
            assert cursor in {"", frame["from"]}
            cursor = frame["to"]
            held |= {row["key"]: row["offset"] for row in frame["rows"]}

    assert sorted(held.values()) == list(range(1, 601))


async def test_a_socket_that_has_closed_leaves_nothing_for_the_collector(live: Live):
    """It comes by so seldom that what holds each other in a circle would stay for days."""
    gc.collect()
    gc.disable()
    try:
        async with greeted(live) as writer, greeted(live) as socket:
            await socket.say({"type": "subscribe", "cursor": None})
            await socket.hear_until("ready")
            await pushed(writer, put())
            here = [weakref.ref(one) for one in gc.get_objects() if isinstance(one, Connection)]
            assert len(here) == 2
        async with asyncio.timeout(20):
            while any(one() is not None for one in here):  # noqa: ASYNC110 - turns of the loop, until they are gone
                await asyncio.sleep(0)
    finally:
        gc.enable()
