"""Conversations between devices, on a real server: live, after a cut, and an answer that grows in front of readers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import syncserver_client
import websockets
from syncserver_client import Client, Mutation, State
from syncserver_client.ids import uuid7

from tests.faults.proxy import Proxy
from tests.harness import Live, token
from tests.transports.sockets import HELLO, Socket, greeted

_PATIENCE_S = 30
_LETTER = "𝄞"
Raw = dict[str, Any]


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


def connect(url: str, device: str = "phone", **more: Any) -> Client:
    quick = {"backoff_first_s": 0.05, "backoff_most_s": 0.2}
    return syncserver_client.connect(url, token("ada"), device, **{**quick, **more})


async def until(client: Client, true: Callable[[Client], bool]) -> None:
    """Wait until this is so of what the client shows, looking at each change."""
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        async for _ in changes:
            if true(client):
                return


async def reached(client: Client, state: State) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        async for found in client.states():
            if found is state:
                return


def conversations(client: Client) -> list[Raw]:
    """As an app shows them: what was touched last comes first."""
    found = [row.value or {} for (name, _), row in client.rows.items() if name == "conversations"]
    return sorted(found, key=lambda row: row.get("updated_at", "~"), reverse=True)


def titles(client: Client) -> list[str]:
    return [row["title"] for row in conversations(client)]


def messages(client: Client, home: str) -> list[str]:
    """As an app shows them: by time, then id; what is not saved yet comes last."""
    found = [row.value or {} for (name, _), row in client.rows.items() if name == "messages"]
    here = [row for row in found if row["conversation_id"] == home]
    return [row["content"] for row in sorted(here, key=lambda row: (row.get("created_at", "~"), row.get("id", "~")))]


def said(home: str, content: str, role: str = "user") -> Raw:
    return {"conversation_id": home, "role": role, "content": content}


async def test_what_one_device_writes_shows_on_the_other(live: Live):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        await phone.ready()
        await tablet.ready()
        first, second = uuid7(), uuid7()
        await phone.put("conversations", first, {"title": "first"})
        await phone.put("conversations", second, {"title": "second"})
        await until(tablet, lambda c: titles(c) == ["second", "first"])
        await tablet.put("messages", uuid7(), said(first, "Who is Ishmael?"))
        await phone.put("messages", uuid7(), said(first, "The one who tells it.", "assistant"))
        told = ["Who is Ishmael?", "The one who tells it."]
        for client in (phone, tablet):
            await until(client, lambda c: messages(c, first) == told and titles(c) == ["first", "second"])
        await tablet.remove("conversations", first)
        for client in (phone, tablet):
            await until(client, lambda c: {name for name, _ in c.rows} == {"conversations"})
            assert titles(client) == ["second"]


@pytest.mark.parametrize("lost", [False, True], ids=["cut", "cut, and the answers were lost"])
async def test_messages_written_offline_arrive_once_and_in_their_order(
    live: Live, proxy: Proxy, folder: Path, sql: psycopg.Connection, lost: bool
):
    """The device's clock stands still, and its ids say nothing of the order: only the client's own stamps do."""
    still = datetime.now(UTC)
    async with connect(live.url, "tablet") as tablet:
        async with connect(proxy.url, store=str(folder / "ada.db"), now=lambda: still) as phone:
            await phone.ready()
            home, words = uuid7(), [f"message {number}" for number in range(150)]
            proxy.swallow_answers, proxy.down = lost, not lost
            if not lost:
                proxy.cut()
                await reached(phone, State.OFFLINE)
            phone.enqueue(Mutation("put", "conversations", home, {"title": "On the train"}))
            for word in words:
                phone.enqueue(Mutation("put", "messages", str(uuid4()), said(home, word)))
            if lost:
                await until(tablet, lambda c: len(messages(c, home)) > 0)
                proxy.cut()
            assert len(phone.pending) == 151
            proxy.swallow_answers = proxy.down = False
            phone.network_changed()
            async for _ in phone.acks():
                if not phone.pending:
                    break
        await until(tablet, lambda c: messages(c, home) == words)
    found = sql.execute("SELECT content FROM messages WHERE conversation_id = %s ORDER BY created_at", [home])
    assert [row[0] for row in found] == words
    assert sql.execute("SELECT count(DISTINCT created_at) FROM messages").fetchone() == (len(words),)


async def test_a_title_changed_offline_holds_against_messages_that_came_meanwhile(live: Live, proxy: Proxy):
    home = uuid7()
    async with connect(live.url, "tablet") as tablet, connect(proxy.url) as phone:
        await tablet.put("conversations", home, {"title": "untitled"})
        await until(phone, lambda c: len(conversations(c)) == 1)
        proxy.down = True
        proxy.cut()
        await reached(phone, State.OFFLINE)
        phone.enqueue(Mutation("patch", "conversations", home, {"title": "On Ahab"}))
        for number in range(3):
            await tablet.put("messages", uuid7(), said(home, str(number)))
        proxy.down = False
        phone.network_changed()
        for client in (phone, tablet):
            await until(client, lambda c: not c.pending and titles(c) == ["On Ahab"] and len(messages(c, home)) == 3)
        assert conversations(phone) == conversations(tablet)
        assert (await phone.list_conflicts()).items == []


# -- an answer that grows ----------------------------------------------------


@asynccontextmanager
async def follower(live: Live) -> AsyncIterator[Socket]:
    """A live socket whose client takes little from the network unless it is asked to."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    plain.connect(("127.0.0.1", live.port))
    spoken = [websockets.Subprotocol("syncserver.v1")]
    async with websockets.connect(live.socket_url, sock=plain, subprotocols=spoken, max_size=2**21, max_queue=1) as raw:
        found = Socket(raw)
        await found.say({**HELLO, "client_id": str(uuid4()), "token": token("ada")})
        await found.say({"type": "subscribe", "cursor": None})
        await found.hear_until("ready")
        yield found


class Told:
    """What a reader was told of an answer, up to its final content."""

    def __init__(self, reader: Socket, message: str, final: str) -> None:
        self._reader, self._message, self._final = reader, message, final
        self.frames = self.raises = 0
        self.contents: list[str] = []

    async def read(self) -> None:
        while self._final not in self.contents[-1:]:
            frame = await self._reader.hear_until("changes")
            self.frames += 1
            for row in frame["rows"]:
                self.raises += row["resource"] == "conversations"
                if row["key"] == self._message:
                    self.contents.append(row["data"]["content"])


async def grow(writer: Socket, home: str, message: str, contents: list[str]) -> float:
    """Write an answer, and twenty times a second more of it; the seconds between its first stamp and its last."""

    async def push(op: str, data: Raw) -> datetime:
        made = {"mutation_id": str(uuid4()), "resource": "messages", "key": message, "op": op, "data": data}
        stamp = datetime.now(UTC)
        await writer.say({"type": "push", "mutations": [{**made, "updated_at": stamp.isoformat()}]})
        ack = (await writer.hear_until("ack"))["acks"][0]
        assert ack["status"] == "applied", ack
        return stamp

    first = last = await push("put", said(home, contents[0], "assistant"))
    beats = asyncio.get_running_loop().time()
    for number, content in enumerate(contents[1:], 1):
        await asyncio.sleep(beats + number * 0.05 - asyncio.get_running_loop().time())
        last = await push("patch", {"content": content})
    return (last - first).total_seconds()


@pytest.mark.long
async def test_an_answer_grows_twenty_times_a_second_and_floods_nobody(live: Live, sql: psycopg.Connection):
    home, message = uuid7(), uuid7()
    contents = [_LETTER * (13_000 + 50 * number) for number in range(61)]
    async with connect(live.url) as client:
        await client.put("conversations", home, {"title": "On Ahab"})
    async with greeted(live) as writer, follower(live) as quick, follower(live) as slow:
        told, late = (Told(reader, message, contents[-1]) for reader in (quick, slow))
        reading = asyncio.create_task(told.read())
        lasted_s = await grow(writer, home, message, contents)
        async with asyncio.timeout(_PATIENCE_S):
            await reading
            await late.read()

    assert told.contents == sorted(told.contents)
    assert 1 <= told.raises <= lasted_s + 1
    assert len(told.contents) <= told.frames <= len(contents) + told.raises
    assert late.contents[-1] == contents[-1]
    assert late.frames <= len(contents) * 2 / 3, "who does not read is not sent what is no longer so"
    assert sql.execute("SELECT content, created_at < updated_at FROM messages").fetchall() == [(contents[-1], True)]
    head = sql.execute("SELECT head FROM channels").fetchone()
    assert head is not None
    assert head[0] <= 1 + len(contents) + lasted_s + 1
