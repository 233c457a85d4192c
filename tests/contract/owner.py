"""Somebody who has rows, over the wire: what the tests of the battery ask for, by the names of resource and row."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

from syncserver import resources
from syncserver.core import clock
from syncserver.core.actor import session_owner
from tests.harness import Live, token
from tests.resources import samples
from tests.transports.sockets import Socket, greeted

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Fields = dict[str, Any]


def at(minutes: int) -> str:
    """A stamp."""
    return clock.write(_NOON + timedelta(minutes=minutes))


LONG_AGO = at(-10_000)


def place(resource: str, key: str) -> str:
    """The route of a row."""
    return f"/{resources.catalog()[resource].path}/{quote(key, safe='')}"


def listing(resource: str) -> str:
    """The route of the list."""
    return f"/{resources.catalog()[resource].path}"


@dataclass
class Owner:
    """An owner by one of its tokens. `session`: the one that is its own, where rows stand in sessions."""

    live: Live
    name: str
    token: str
    session: str
    http: httpx.AsyncClient

    def key(self, resource: str, name: str) -> str:
        """The key of the row that the tests call so."""
        return samples.key_of(resource, name, self.session)

    def fields(self, resource: str, mark: str) -> Fields:
        """The row's fields, with a text of the test's own."""
        return samples.fields_of(resource, mark, self.session)

    def route(self, resource: str, name: str) -> str:
        """The route of the row that the tests call so."""
        return place(resource, self.key(resource, name))

    async def put(self, resource: str, name: str, mark: str, **beside: Any) -> httpx.Response:
        """The answer to a PUT; `beside`: stamp, device and so on."""
        return await self.http.put(self.route(resource, name), json={**self.fields(resource, mark), **beside})

    async def rows(self, resource: str, **query: Any) -> list[Fields]:
        """The first page of its list."""
        answer = await self.http.get(listing(resource), params=query)
        assert answer.status_code == 200, answer.text
        items: list[Fields] = answer.json()["items"]
        return items

    def mutation(self, resource: str, op: str, name: str, mark: str | None = None, **more: Any) -> Fields:
        """A mutation as a client makes it: with a mark, the whole row or that one field."""
        made: Fields = {"mutation_id": str(uuid4()), "resource": resource, "key": self.key(resource, name), "op": op}
        if mark is not None:
            field = {samples.marked(resource, mark): mark}
            made["data"] = field if op == "patch" else self.fields(resource, mark)
        return {**made, **more}

    async def push(self, device: str, *mutations: Fields) -> list[Fields]:
        """The answers to a push over HTTP."""
        sent = {"device": {"id": device, "name": device}, "client_id": device, "mutations": mutations}
        answer = await self.http.post("/push", json=sent)
        assert answer.status_code == 200, answer.text
        acks: list[Fields] = answer.json()["acks"]
        return acks

    async def log(self, *wanted: str) -> list[Fields]:
        """Every entry of the log, of these resources."""
        answer = await self.http.get("/changes", params={"resources": ",".join(wanted)} if wanted else {})
        rows: list[Fields] = answer.json()["rows"] if answer.status_code == 200 else []
        return rows

    async def settle(self, resource: str) -> None:
        """Write what rows of this resource belong to, a long time ago."""
        for home, key in samples.homes_of(resource, self.session):
            body = {**self.fields(home, "home"), "updated_at": LONG_AGO, "device_id": "settler"}
            answer = await self.http.put(place(home, key), json=body)
            assert answer.status_code == 200, answer.text

    def device(self, name: str) -> AbstractAsyncContextManager[Socket]:
        """A device of this owner's on a socket, with the client id that it has over HTTP."""
        return greeted(self.live, token=self.token, device={"id": name, "name": name}, client_id=name)


@asynccontextmanager
async def _owner(live: Live, name: str, key: str, session: str) -> AsyncIterator[Owner]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=headers, timeout=30, verify=False) as http:  # noqa: S501 - no TLS here at all
        yield Owner(live, name, key, session, http)


@asynccontextmanager
async def arrived(live: Live) -> AsyncIterator[Owner]:
    """A visitor."""
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", verify=False) as http:  # noqa: S501 - no TLS here at all
        made = (await http.post("/sessions")).json()
    owner = session_owner(UUID(made["session_id"]))
    async with _owner(live, owner, made["token"], made["session_id"]) as found:
        yield found


@asynccontextmanager
async def claimed(live: Live) -> AsyncIterator[Owner]:
    """A reader whom nobody knew before, and whose one session is claimed."""
    async with arrived(live) as visitor:
        user = str(uuid4())
        async with _owner(live, f"user:{user}", token(user), visitor.session) as reader:
            await claim(reader, visitor)
            yield reader


async def claim(reader: Owner, visitor: Owner) -> Fields:
    """What a claim answers."""
    answer = await reader.http.post(f"/sessions/{visitor.session}/claim", json={"token": visitor.token})
    assert answer.status_code == 200, answer.text
    found: Fields = answer.json()
    return found


@dataclass
class Listening:
    """A device that hears everything from its cursor on. Each frame has to go on where the last one ended."""

    socket: Socket
    cursor: str | None = None

    async def begin(self, *wanted: str) -> None:
        """Hear what there is, up to `ready`."""
        await self.socket.say({"type": "subscribe", "resources": list(wanted) or None, "cursor": self.cursor})
        while (frame := await self.socket.hear())["type"] != "ready":
            self._follows(frame)
        self.cursor = frame["cursor"]

    async def next(self, resource: str) -> Fields:
        """The next news of this resource, which has to be of one row; other resources' may come with it."""
        while not (found := [row for row in await self._news() if row["resource"] == resource]):
            pass
        [row] = found
        return row

    async def until(self, resource: str, key: str) -> Fields:
        """The next news of this row."""
        while not (found := [row for row in await self._news() if (row["resource"], row["key"]) == (resource, key)]):
            pass
        return found[0]

    async def heard_no_more(self) -> bool:
        """Whether no rows came for it so far that it has not heard."""
        await self.socket.say({"type": "ping"})
        while (frame := await self.socket.hear())["type"] != "pong":
            if frame["type"] == "changes":
                return False
        return True

    async def _news(self) -> list[Fields]:
        frame = await self.socket.hear_until("changes")
        self._follows(frame)
        rows: list[Fields] = frame["rows"]
        return rows

    def _follows(self, frame: Fields) -> None:
        if frame["type"] == "changes":
            assert self.cursor in {None, frame["from"]}, "a gap"
            self.cursor = frame["to"]


@asynccontextmanager
async def listening(owner: Owner, *wanted: str) -> AsyncIterator[Listening]:
    """A tablet of this owner's that is up to date."""
    async with owner.device("tablet") as socket:
        found = Listening(socket)
        await found.begin(*wanted)
        yield found
