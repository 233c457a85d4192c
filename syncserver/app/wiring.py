"""The parts put together: one application over one database. Nothing is decided here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from fastapi import APIRouter, FastAPI
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from syncserver import __version__, resources
from syncserver.api import changes, conflicts, errors, health, push, verify
from syncserver.api import resources as resource_routes
from syncserver.api import tickets as ticket_routes
from syncserver.app.settings import Settings
from syncserver.core import frames
from syncserver.engine import tokens
from syncserver.engine.ephemera import Ephemera
from syncserver.engine.expiry import Expiry
from syncserver.engine.house import Guest, House
from syncserver.engine.keys import Keys
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.engine.tickets import Tickets
from syncserver.engine.verify import Verify
from syncserver.feed import listener
from syncserver.feed.feed import Feed
from syncserver.feed.listener import Listener
from syncserver.feed.sweeper import Sweeper
from syncserver.hub.hub import Hub
from syncserver.storage import notes
from syncserver.storage.database import Database
from syncserver.transports import sse, websocket

log = logging.getLogger(__name__)
_RESTART_S = 1


def now() -> datetime:
    """The server's clock: the one place that reads it."""
    return datetime.now(UTC)


class Parts:
    """Everything that runs in one process."""

    def __init__(self, settings: Settings, url: str, secret: bytes) -> None:
        catalog = resources.catalog()
        self.database = Database(url, connections=settings.database_connections)
        self.pull = Pull(self.database, catalog)
        self.push = Push(self.database, catalog, now)
        self.expiry = Expiry(
            self.database,
            now,
            tombstones=timedelta(days=settings.tombstone_days),
            ledger=timedelta(days=settings.ledger_days),
            conflicts=timedelta(days=settings.conflict_days),
        )
        self.hub = Hub()
        self.feed = Feed(
            watched=self.hub.watched,
            read=self.pull.pages,
            publish=self.hub.publish,
            refetch=self.hub.refetch,
            doubt=self._doubt,
        )
        self.hub.ring = self.feed.ring
        self.sweeper = Sweeper(
            every_s=settings.sweep_s,
            now=now,
            watched=self.hub.watched,
            read=self.pull.heads,
            ring=self.feed.ring,
            moved=self._moved,
        )
        self.ephemera = Ephemera(self.database, self._present, now, presence_s=settings.presence_s)
        self.listener = Listener(
            url,
            rings={listener.CHANNEL: self.feed.ring, notes.CHANNEL: self.ephemera.ring},
            listening=self._listening,
        )
        tickets = Tickets(self.database)
        self.keys = Keys(tokens.verifier(secret), tickets)
        verification = Verify(self.database, catalog)
        self.house = House(
            push=self.push,
            pull=self.pull,
            hub=self.hub,
            keys=self.keys,
            tickets=tickets,
            verification=verification,
            verified=self._verified,
            epoch=self._epoch,
            now=now,
            verbs={
                frames.Verify: verification.verb,
                frames.Presence: self.ephemera.here,
                frames.Broadcast: self.ephemera.broadcast,
            },
            gone=self.ephemera.left,
            heartbeat_s=settings.heartbeat_s,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Push, feed, sweeper and listener at work."""
        works: Mapping[str, Callable[[], Awaitable[None]]] = {
            "push": self.push.run,
            "feed": self.feed.run,
            "sweeper": self.sweeper.run,
            "listener": self.listener.run,
            "ephemera": self.ephemera.run,
            "expiry": self.expiry.run,
        }
        tasks = [asyncio.create_task(_kept_running(name, work), name=name) for name, work in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.ephemera.close()
            await self.database.close()

    def _present(self, owner: str) -> Collection[Guest]:
        return self.house.of(owner)

    def _listening(self) -> None:
        self.sweeper.soon()
        self.ephemera.listening()

    async def _epoch(self) -> str:
        """The epoch that the last sweep saw; asked for where there was none yet."""
        return self.feed.epoch or (await self.pull.heads([]))[0]

    def _doubt(self) -> None:
        self.sweeper.soon()

    def _moved(self, epoch: str) -> None:
        if self.feed.new_epoch(epoch):
            for owner in {subscription.owner for subscription in self.hub}:
                self.hub.refetch(owner, "epoch")

    def _verified(self, owner: str) -> datetime | None:
        return None if self.feed.pending(owner) else self.sweeper.swept_at


async def _kept_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """A fault in one part must not end it for good: it is logged whole, and the part begins again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s failed and begins again", name)
        await asyncio.sleep(_RESTART_S)


def application(parts: Parts) -> FastAPI:
    """The ASGI application over these parts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with parts.running():
            yield

    app = FastAPI(
        title="syncserver",
        version=__version__,
        description="One reader's story on every device.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.house = parts.house
    errors.install(app)
    api = APIRouter(prefix="/api/v1")
    api.include_router(changes.router)
    api.include_router(sse.router)
    api.include_router(push.router)
    api.include_router(conflicts.router)
    api.include_router(ticket_routes.router)
    api.include_router(verify.router)
    api.include_router(resource_routes.router(resources.catalog()))
    app.include_router(api)
    app.include_router(health.router)
    app.router.routes.append(WebSocketRoute("/api/v1/socket", partial(_socket, parts.house)))
    return app


async def _socket(house: House, socket: WebSocket) -> None:
    await websocket.serve(house, socket)
