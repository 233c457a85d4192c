"""The four ways to read the log, as raw as the protocol: each goes on from the replica's cursor, whoever left it there.

Each returns or raises (OSError, EOFError, TimeoutError, a WebSocketException) when its connection is over; Wrong when
the server broke a rule. A socket or a stream that is silent for longer than its heartbeat allows is given up.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.faults import rawhttp
from tests.faults.replica import Replica, Wrong

SILENCE_S = 2.5  # more than two heartbeats of the server under test
_BUSY = frozenset({503, 429})


@dataclass
class Link:
    """One device's way to the server: where it is, who it is, what it holds. `socket` is open while it reads by one."""

    port: int
    token: str
    device: str
    replica: Replica
    dice: random.Random
    acked: Callable[[Mapping[str, Any]], None]
    socket: ClientConnection | None = None
    patient: bool = False
    refetches: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def silence_s(self) -> float | None:
        """How long this device bears silence."""
        return None if self.patient else SILENCE_S


def changes_target(link: Link, path: str = "/api/v1/changes", **query: object) -> str:
    """The address of the log after the replica's cursor."""
    asked = {**query, **({"cursor": link.replica.cursor} if link.replica.cursor else {})}
    return f"{path}?" + "&".join(f"{name}={quote(str(value))}" for name, value in asked.items())


def refetch(link: Link, reason: str, expected: str | None = None) -> None:
    """Drop everything, as told; raises Wrong where there was no reason to be told so."""
    link.replica.tell(f"refetch {reason}")
    if reason != expected:
        raise Wrong(f"refetch: {reason}")
    link.refetches.append(reason)
    link.replica.forget()


# -- WebSocket ---------------------------------------------------------------


@asynccontextmanager
async def greeted(link: Link) -> AsyncIterator[ClientConnection]:
    """A socket whose hello was welcome."""
    async with websockets.connect(
        f"ws://127.0.0.1:{link.port}/api/v1/socket",
        subprotocols=[Subprotocol("syncserver.v1")],
        compression=None,
        ping_interval=None,
        open_timeout=SILENCE_S,
        close_timeout=0.2,
        max_size=None,
    ) as socket:
        try:
            await socket.send(json.dumps(_hello(link)))
            async with asyncio.timeout(SILENCE_S):
                said = json.loads(await socket.recv())
            if said["type"] != "welcome":
                raise EOFError(f"no welcome but {said}")
            yield socket
        finally:
            socket.transport.abort()


def _hello(link: Link) -> dict[str, object]:
    return {
        "type": "hello",
        "token": link.token,
        "device": {"id": link.device},
        "client_id": link.device,
        "sent_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "protocol": [1, 1],
    }


async def by_socket(link: Link) -> None:
    """Subscribe from the cursor and take what comes; the writer may push on the same socket."""
    async with greeted(link) as socket:
        link.replica.tell(f"socket from {link.replica.cursor}")
        expected = await _subscribed(link, socket)
        link.socket = socket
        try:
            while True:
                async with asyncio.timeout(link.silence_s()):
                    frame = json.loads(await socket.recv())
                if frame["type"] == "refetch":
                    refetch(link, frame["reason"], expected)
                    expected = await _subscribed(link, socket)
                elif not taken(link, frame["type"], frame):
                    return
        finally:
            link.socket = None


async def _subscribed(link: Link, socket: ClientConnection) -> str | None:
    """Subscribe; sometimes with a cursor that is none, which must be answered with the reason returned here."""
    cursor, expected = link.replica.cursor, None
    if link.dice.random() < 0.05 and not link.patient:
        cursor, expected = link.dice.choice([("nonsense", "unreadable"), (_of_another(link.replica.cursor), "owner")])
    await socket.send(json.dumps({"type": "subscribe", "resources": None, "cursor": cursor}))
    return expected


def _of_another(cursor: str | None) -> str:
    epoch, _, *rest = (cursor or "e.x.0").split(".")
    return ".".join([epoch, "00000000", *rest])


def taken(link: Link, kind: str, frame: Mapping[str, Any]) -> bool:
    """Take a frame of a socket or a stream; False when the server says goodbye."""
    match kind:
        case "changes":
            link.replica.changes(frame["from"], frame["to"], frame["rows"], more=frame["more"])
        case "ready":
            link.replica.ready(frame["cursor"])
        case "ack":
            for ack in frame["acks"]:
                link.acked(ack)
        case "goodbye" | "error":
            link.replica.tell(str(dict(frame)))
            return False
        case "conflict" | "presence" | "token_expiring":
            pass
        case _:
            raise Wrong(f"an unknown frame: {kind}")
    return True


# -- server-sent events ------------------------------------------------------


async def by_stream(link: Link) -> None:
    """Take what comes, from the cursor in the address or in Last-Event-ID."""
    replica = link.replica
    replica.tell(f"stream from {replica.cursor}")
    target, headers = changes_target(link, "/api/v1/changes/stream"), {**link.headers, "Accept": "text/event-stream"}
    if replica.cursor and link.dice.random() < 0.5:
        target, headers = "/api/v1/changes/stream?cursor=nonsense", {**headers, "Last-Event-ID": replica.cursor}
    async with rawhttp.opened(link.port, "GET", target, headers) as answer:
        await _usable(answer, {200})
        async for kind, event_id, frame in _events(link, answer):
            if kind == "refetch":
                refetch(link, frame["reason"])
                return
            if not taken(link, kind, frame):
                return
            if kind in {"changes", "ready"} and event_id != replica.cursor:
                raise Wrong(f"the event's id is {event_id}, the cursor {replica.cursor}")


async def _events(link: Link, answer: rawhttp.Opened) -> AsyncIterator[tuple[str, str | None, Mapping[str, Any]]]:
    kind, event_id, text = "message", None, list[str]()
    lines = answer.lines()
    while True:
        async with asyncio.timeout(link.silence_s()):
            line = await anext(lines, None)
        if line is None:
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line and text:
            yield kind, event_id, json.loads("\n".join(text))
            kind, event_id, text = "message", None, []
        elif name == "event":
            kind = value
        elif name == "id":
            event_id = value
        elif name == "data":
            text.append(value)


async def _usable(answer: rawhttp.Opened | rawhttp.Answer, good: set[int]) -> None:
    """EOFError for a server that is busy or going, Wrong for an answer that should not be."""
    if answer.status in _BUSY:
        await asyncio.sleep(0.05)
        raise EOFError(f"status {answer.status}")
    if answer.status not in good:
        raise Wrong(f"status {answer.status}")


# -- long-poll and polling ---------------------------------------------------


async def by_long_poll(link: Link) -> None:
    """Ask, and be answered when there is news."""
    while True:
        link.replica.tell(f"long-poll from {link.replica.cursor}")
        await _polled(link, {}, wait=link.dice.randint(1, 4))


async def by_poll(link: Link) -> None:
    """Ask now and then; sometimes only whether there is news."""
    while True:
        asked = {"If-None-Match": f'"{link.replica.cursor}"'} if link.dice.random() < 0.3 else {}
        await _polled(link, asked, wait=0)
        if not link.replica.fetching:
            await asyncio.sleep(link.dice.uniform(0.3, 1.0))


async def _polled(link: Link, asked: Mapping[str, str], wait: int) -> None:
    replica = link.replica
    limit = link.dice.choice([5, 50, 500])
    async with asyncio.timeout(wait + SILENCE_S):
        target = changes_target(link, wait=wait, limit=limit)
        answer = await rawhttp.ask(link.port, "GET", target, {**link.headers, **asked})
    if answer.status == 410:
        refetch(link, json.loads(answer.body)["reason"])
        return
    await _usable(answer, {200, 204, 304})
    before = replica.cursor
    if answer.status == 200:
        said = json.loads(answer.body)
        replica.changes(
            before or said["cursor"].rsplit(".", 1)[0] + ".0", said["cursor"], said["rows"], more=said["more"]
        )
        if said["more"]:
            return
    elif answer.headers["sync-cursor"] != before:
        replica.changes(before or "..0", answer.headers["sync-cursor"], [], more=False)
    replica.fetching = False
    replica.ready(answer.headers["sync-cursor"])


async def verified(link: Link) -> None:
    """Ask the server whether it agrees with what this device holds; raises Wrong if it does not."""
    question = {"cursor": link.replica.cursor, "digests": {"progress": link.replica.digest()}}
    headers = {**link.headers, "Content-Type": "application/json"}
    answer = await rawhttp.ask(link.port, "POST", "/api/v1/verify", headers, json.dumps(question).encode())
    if answer.status != 200 or json.loads(answer.body)["outcome"] != "same":
        raise Wrong(f"the server does not agree with {question}: {answer.status} {answer.body[:300]!r}")


READERS: Mapping[str, Callable[[Link], Awaitable[None]]] = {
    "socket": by_socket,
    "stream": by_stream,
    "long-poll": by_long_poll,
    "poll": by_poll,
}
