"""The devices of the week: three with the client, each behind a network of its own, and one that speaks plain HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import syncserver_client
from syncserver_client import Client, Mutation, State

from tests.e2e.week_story import PAGES, Write, key
from tests.faults.proxy import Proxy
from tests.harness import Live, token

_PATIENCE_S = 30
_SESSIONS = "reading_sessions"
STATES = {
    "socket": State.LIVE,
    "stream": State.STREAMING,
    "long-poll": State.LONG_POLLING,
    "poll": State.POLLING,
}

Rows = dict[tuple[str, str], dict[str, Any]]
"""What a device holds: values by resource and key."""


def place(page: int, publication: str) -> dict[str, Any]:
    """The fields of a session that say where its reader is."""
    locator = {"href": f"{publication}.xhtml", "type": "application/xhtml+xml", "locations": {"position": page}}
    return {"locator": locator, "percentage": page / PAGES[publication]}


def fields(write: Write, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a write says of a session, as the device knows that so far."""
    said = place(write.pages[1], write.publication) if write.pages else {}
    if write.verb == "begin":
        former = {"resumed_from": key(write.former)} if write.former else {}
        return {"publication_id": write.publication, **said, **former}
    if write.verb == "note":
        return {"state": {"font": write.device}}
    return {**said, "active_seconds": before.get("active_seconds", 0) + write.seconds} if write.seconds else said


class Gadget:
    """A device with the client, which it runs with a store, over one transport at a time."""

    def __init__(self, name: str, proxy: Proxy, store: Path) -> None:
        self.name = name
        self.away = False
        self._proxy = proxy
        self._store = store
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The one that runs."""
        assert self._client
        return self._client

    async def start(self, over: str) -> None:
        """Run the client, until it stands by this transport."""
        self._proxy.down = self.away = False
        self._client = syncserver_client.connect(
            self._proxy.url,
            token("ada"),
            self.name,
            device_name=f"Ada's {self.name}",
            store=self._store,
            transports=[over],
            poll_interval_s=0.05,
            backoff_first_s=0.05,
            backoff_most_s=0.2,
        )
        self._client.open()
        async with asyncio.timeout(_PATIENCE_S):
            async for state in self._client.states():
                if state is STATES[over]:
                    break

    async def stop(self) -> None:
        """End the program."""
        if self._client:
            await self._client.close()

    def lose(self) -> None:
        """No network from now on."""
        self.away = self._proxy.down = True
        self._proxy.cut()

    async def back(self, over: str) -> None:
        """Start the program again where there is a network, and have everything answered that waited."""
        await self.stop()
        await self.start(over)
        acks = self.client.acks()
        async with asyncio.timeout(_PATIENCE_S):
            while self.client.pending:
                await anext(acks)

    async def write(self, write: Write) -> None:
        """Write, and wait for the answer where there can be one."""
        row = self.client.rows.get((_SESSIONS, key(write.session)))
        said = fields(write, row.value or {} if row else {})
        op = {"begin": "put", "read": "patch", "note": "patch"}.get(write.verb, write.verb)
        mutation = Mutation(op, _SESSIONS, key(write.session), said or None, updated_at=write.at)
        if self.away:
            self.client.enqueue(mutation)
            return
        [ack] = await self.client.push([mutation])
        assert ack.status == "applied", ack

    async def holds(self, rows: Rows) -> None:
        """Wait until this device has these rows, and none besides."""

        def same() -> bool:
            shown = self.client.rows
            return not any(row.pending for row in shown.values()) and rows == {
                tuple(name): row.value for name, row in shown.items()
            }

        async with asyncio.timeout(_PATIENCE_S), self.client.subscribe(initial=False) as changes:
            while not same():
                await anext(changes)


class Kiosk:
    """A device without a client: each write is a request, and it follows the log by asking for pages of it."""

    name = "kiosk"

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._cursor = ""
        self.rows: Rows = {}

    async def write(self, write: Write) -> None:
        """Write over REST. Of a session that is over, that is said: 409. What can be said twice, is."""
        if write.verb == "tell":
            told = [await self._tell(write) for _ in range(2)]
            assert told[0]["totals"] == told[1]["totals"]
            return
        known = self.rows.get((_SESSIONS, key(write.session)), {})
        about = {"updated_at": write.at.isoformat(), "device_id": self.name, "device_name": "The kiosk"}
        body = {**fields(write, known), **about}
        answer = await self._asked(write)(body)
        over = known.get("status") == "completed"
        assert answer.status_code == (409 if over else 201 if write.verb == "begin" else 200), answer.text
        if write.verb == "complete":
            assert (await self._asked(write)(about)).json() == answer.json()

    def _asked(self, write: Write) -> Callable[[dict[str, Any]], Any]:
        path = f"/api/v1/reading-sessions/{key(write.session)}"
        if write.verb == "read":
            return lambda body: self._http.patch(path, json=body)
        if write.verb != "begin":
            return lambda body: self._http.post(f"{path}/{write.verb}", json=body)
        if write.former:
            former = f"/api/v1/reading-sessions/{key(write.former)}/resume"
            return lambda body: self._http.post(former, json={**body, "id": key(write.session)})
        return lambda body: self._http.post("/api/v1/reading-sessions", json={**body, "id": key(write.session)})

    async def _tell(self, write: Write) -> Any:
        """A session that nobody heard of while it was read."""
        start, page = write.pages or (0, 0)
        begun = {f"start_{name}": value for name, value in place(start, write.publication).items()}
        times = [[since.isoformat(), until.isoformat()] for since, until in write.times]
        told = {"id": key(write.session), "publication_id": write.publication, "status": "paused", "intervals": times}
        session = {**told, **begun, **place(page, write.publication), "updated_at": write.at.isoformat()}
        body = {"device": {"id": self.name}, "client_id": self.name, "sessions": [session]}
        answer = await self._http.post("/api/v1/reading-sessions/sync", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def follow(self) -> Rows:
        """All rows as they are now, by the log alone."""
        more = True
        while more:
            params = {"cursor": self._cursor} if self._cursor else {}
            answer = await self._http.get("/api/v1/changes", params={**params, "limit": "50"})
            if answer.status_code == 204:
                return self.rows
            page = answer.json()
            self._cursor, more = page["cursor"], page["more"]
            for change in page["rows"]:
                name = (change["resource"], change["key"])
                self.rows.pop(name, None)
                if change["op"] == "put":
                    self.rows[name] = change["data"]
        return self.rows

    async def statistics(self, **params: str) -> dict[str, Any]:
        """GET /stats."""
        answer = await self._http.get("/api/v1/stats", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def devices(
    live: Live, folder: Path, beginning: Mapping[str, str]
) -> AsyncIterator[tuple[dict[str, Gadget], Kiosk]]:
    """All of them, at work."""
    async with AsyncExitStack() as stack:
        http = httpx.AsyncClient(base_url=live.url, headers=live.headers(), timeout=_PATIENCE_S)
        kiosk = Kiosk(await stack.enter_async_context(http))
        gadgets: dict[str, Gadget] = {}
        for name, over in beginning.items():
            proxy = await stack.enter_async_context(Proxy(live.port).running())
            gadgets[name] = Gadget(name, proxy, folder / f"{name}.db")
            stack.push_async_callback(gadgets[name].stop)
            await gadgets[name].start(over)
        yield gadgets, kiosk
