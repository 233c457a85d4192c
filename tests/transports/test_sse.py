"""The stream as an EventSource sees it: events with ids, resumed by the last one, ended with a reason."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import psycopg
import pytest

from syncserver.core import encode, frames
from syncserver.core.change import Change, Page
from syncserver.core.cursor import Cursor
from syncserver.core.errors import Unavailable
from syncserver.transports import sse
from tests.harness import Live, Serving, Urls, token

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Event(NamedTuple):
    name: str
    id: str | None
    value: Any


class Events:
    """A parser of the HTML standard's event streams, as far as this server uses them."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.comments = 0
        self.retry_ms: int | None = None
        self.last_id = ""
        self._blocks = self._split()

    async def next(self) -> Event:
        async with asyncio.timeout(20):
            async for block in self._blocks:
                event = self._read(block)
                if event is not None:
                    return event
        raise EOFError

    async def until(self, name: str) -> Event:
        while (event := await self.next()).name != name:
            pass
        return event

    async def _split(self) -> AsyncIterator[str]:
        text = ""
        async for chunk in self.answer.aiter_text():
            text += chunk
            *blocks, text = text.split("\n\n")
            for block in blocks:
                yield block

    def _read(self, block: str) -> Event | None:
        name, id_, data = "message", None, list[str]()
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "":
                self.comments += 1
            elif field == "retry":
                self.retry_ms = int(value)
            elif field == "event":
                name = value
            elif field == "id":
                self.last_id = id_ = value
            elif field == "data":
                data.append(value)
        return Event(name, id_, json.loads("\n".join(data))) if data else None


@contextlib.asynccontextmanager
async def client(live: Live, user: str = "ada", **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token(user)}", **headers}
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=headers, timeout=30) as http:
        yield http


@contextlib.asynccontextmanager
async def streamed(live: Live, headers: dict[str, str] | None = None, **query: str) -> AsyncIterator[Events]:
    async with (
        client(live, **(headers or {})) as http,
        http.stream("GET", "/changes/stream", params=query) as answer,
    ):
        assert answer.status_code == 200
        yield Events(answer)


async def write(live: Live, *keys: str, data: dict[str, Any] | None = None, user: str = "ada") -> None:
    mutations = [
        {"mutation_id": str(uuid4()), "resource": "progress", "key": key, "op": "put", "data": data or {}}
        for key in keys
    ]
    body = {"device": {"id": "d"}, "client_id": str(uuid4()), "mutations": mutations}
    async with client(live, user) as http:
        acks = (await http.post("/push", json=body)).json()["acks"]
    assert {ack["status"] for ack in acks} == {"applied"}


async def nobody_is_here(live: Live) -> None:
    async with asyncio.timeout(20):
        while len(live.parts.hub) or len(live.parts.house):  # noqa: ASYNC110 - turns of the loop, until it is so
            await asyncio.sleep(0)


async def test_from_nothing_comes_everything_then_ready_then_what_happens(live: Live):
    await write(live, "a", "b")
    async with streamed(live) as events:
        first, ready = await events.next(), await events.next()
        await write(live, "c")
        news = await events.next()

    assert events.answer.headers["content-type"] == "text/event-stream"
    assert events.answer.headers["cache-control"] == "private, no-store"
    assert events.answer.headers["x-accel-buffering"] == "no"
    assert events.retry_ms is not None
    assert 1000 <= events.retry_ms <= 3000
    assert [row["key"] for row in first.value["rows"]] == ["a", "b"]
    assert (first.name, first.id) == ("changes", first.value["to"])
    assert (ready.name, ready.id, ready.value["cursor"]) == ("ready", first.id, first.id)
    assert (news.value["from"], news.id) == (ready.id, news.value["to"])
    assert [row["key"] for row in news.value["rows"]] == ["c"]


async def test_the_last_event_id_resumes_and_wins_over_the_cursor(live: Live):
    await write(live, "a")
    async with streamed(live) as events:
        await events.until("ready")
    await write(live, "b")
    async with streamed(live, {"Last-Event-ID": events.last_id}, cursor="nonsense") as events:
        missed = await events.next()
        cursor = missed.value["to"]
    assert [row["key"] for row in missed.value["rows"]] == ["b"]
    async with streamed(live, cursor=cursor) as events:
        assert (await events.next()).name == "ready"


async def test_only_the_resources_asked_for_come(live: Live):
    async with streamed(live, resources="progress") as events:
        await events.until("ready")
        await write(live, "a")
        assert len((await events.next()).value["rows"]) == 1
    async with client(live) as http:
        answer = await http.get("/changes/stream", params={"resources": "nothing"})
    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == ["/query/resources"]


async def test_a_write_typed_into_sql_comes_and_another_reader_s_does_not(live: Live, database: Urls):
    await write(live, "a")
    async with streamed(live) as events:
        await events.until("ready")
        await write(live, "secret", user="eve")
        with psycopg.connect(database.owner) as connection:
            connection.execute("UPDATE reading_progress SET percentage = 0.75 WHERE publication_id = 'a'")
        news = await events.next()
    assert [(row["key"], row["data"]["percentage"]) for row in news.value["rows"]] == [("a", 0.75)]


@pytest.mark.parametrize("cursor", ["nonsense", "a.b.1"])
async def test_a_cursor_that_cannot_be_honoured_is_told_to_refetch_and_loses_its_id(live: Live, cursor: str):
    async with streamed(live, {"Last-Event-ID": cursor}) as events:
        event = await events.next()
        assert event.name == "refetch"
        assert event.value["reason"] in {"unreadable", "owner"}
        assert event.id == ""  # what an EventSource sends then is no Last-Event-ID
        with pytest.raises(EOFError):
            await events.next()
    await nobody_is_here(live)


async def test_a_log_that_is_another_ends_the_stream_with_refetch(live: Live):
    async with streamed(live) as events:
        await events.until("ready")
        live.parts.hub.refetch("user:ada", "epoch")
        assert await events.next() == Event("refetch", "", {"type": "refetch", "reason": "epoch"})
        with pytest.raises(EOFError):
            await events.next()


async def test_ready_and_a_comment_are_signs_of_life(serving: Serving):
    async with serving(heartbeat_s=0.1) as live, streamed(live) as events:
        first = await events.until("ready")
        again = await events.until("ready")
        await events.until("ready")
    assert again.id == first.id
    assert events.comments >= 2


async def test_a_client_that_leaves_leaves_nothing_behind(live: Live):
    async with streamed(live) as events:
        await events.until("ready")
        assert (len(live.parts.hub), len(live.parts.house)) == (1, 1)
    await nobody_is_here(live)


async def test_a_draining_server_says_goodbye_and_when_to_come_back(live: Live):
    async with streamed(live) as events:
        await events.until("ready")
        await live.parts.house.drain(0, 10)
        goodbye = await events.until("goodbye")
        with pytest.raises(EOFError):
            await events.next()
    assert goodbye.value["code"] == 1012
    assert 0.2 <= goodbye.value["retry_after_s"] <= 1.2


async def test_the_stream_ends_with_the_token(live: Live):
    short = token("ada", timedelta(seconds=2))
    async with streamed(live, {"Authorization": f"Bearer {short}"}) as events:
        await events.until("ready")
        assert (await events.until("goodbye")).value["code"] == 4001
        with pytest.raises(EOFError):
            await events.next()


async def test_a_ticket_stands_in_for_the_header_once(live: Live):
    async with client(live) as http:
        ticket = (await http.post("/tickets")).json()["ticket"]
        del http.headers["Authorization"]
        async with http.stream("GET", "/changes/stream", params={"ticket": ticket}) as answer:
            assert (await Events(answer).next()).name == "ready"
        for query in ({"ticket": ticket}, {"ticket": "none"}, {}):
            assert (await http.get("/changes/stream", params=query)).status_code == 401
        bad = await http.get("/changes/stream", headers={"Authorization": "Bearer none"})
        assert (bad.status_code, bad.json()["code"]) == (401, "unauthorised")


async def test_an_outage_at_the_beginning_is_a_goodbye_with_a_time(live: Live, monkeypatch: pytest.MonkeyPatch):
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(live.parts.house.catchup, "_pages", away)
    async with streamed(live) as events:
        goodbye = await events.next()
        assert goodbye.value == {"type": "goodbye", "code": 1013, "retry_after_s": 1.0}
        with pytest.raises(EOFError):
            await events.next()


async def test_a_reader_that_dawdles_is_read_again_from_the_log_and_misses_nothing(live: Live):
    async with streamed(live) as events:
        await events.until("ready")
        for turn in range(12):
            await write(live, *(f"{turn}-{n}" for n in range(50)), data={"position": "p" * 4000})
        offsets, cursor = list[int](), ""
        while len(offsets) < 600:
            changes = await events.until("changes")
            assert cursor in {"", changes.value["from"]}
            cursor = changes.value["to"]
            offsets += [row["offset"] for row in changes.value["rows"]]
    assert offsets == list(range(1, 601))


def test_every_frame_becomes_one_event_whose_id_is_its_cursor():
    change = Change("progress", "a\n\nid: 7", 3, "put", NOON, None, '{"x": "id: 7"}')
    page = Page("user:ada", "e", 2, 3, 0, 3, [change], more=False)
    until = str(Cursor.at("e", "user:ada", 3))
    ready = encode.ready(until, NOON)
    assert sse.event(ready) == f"id: {until}\nevent: ready\ndata: ".encode() + ready + b"\n\n"
    changes = encode.changes(page, [change])
    assert sse.event(changes) == f"id: {until}\nevent: changes\ndata: ".encode() + changes + b"\n\n"
    assert b"\n" not in changes
    goodbye = encode.frame(frames.Goodbye(code=1012, retry_after_s=1))
    assert sse.event(goodbye) == b"event: goodbye\ndata: " + goodbye + b"\n\n"


def test_each_frame_of_the_server_is_named():
    for model in frames.SERVER_FRAMES:
        kind = model.model_fields["type"].default
        assert f"\nevent: {kind}\n" in "\n" + sse.event(b'{"type":"%s","x":"y"}' % kind.encode()).decode()


async def test_a_stream_for_a_device_hears_when_its_version_lost_and_no_other_does(live: Live):
    def put(device: str, at: str) -> dict[str, Any]:
        mutation: dict[str, Any] = {"mutation_id": str(uuid4()), "resource": "progress", "key": "moby", "op": "put"}
        mutation |= {"data": {"position": device}, "updated_at": f"2026-03-01T{at}:00Z"}
        return {"device": {"id": device}, "client_id": device, "mutations": [mutation]}

    async with (
        client(live) as http,
        streamed(live, device_id="phone") as phones,
        streamed(live, device_id="laptop") as laptops,
        streamed(live) as anybodys,
    ):
        await http.post("/push", json=put("tablet", "09:00"))
        [ack] = (await http.post("/push", json=put("phone", "08:00"))).json()["acks"]
        note = (await phones.until("conflict")).value
        assert (note["conflict_id"], note["key"]) == (ack["conflict_id"], "moby")
        await write(live, "after")
        for events in (laptops, anybodys):
            heard: list[Event] = []
            while not heard or "after" not in str(heard[-1].value):
                heard.append(await events.next())
            assert {event.name for event in heard} <= {"changes", "ready"}
