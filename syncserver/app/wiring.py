"""The parts put together: one application over one database. Nothing is decided here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from time import monotonic

from fastapi import APIRouter, FastAPI

from syncserver import __version__, resources
from syncserver.api import (
    bulk,
    changes,
    conflicts,
    conversations,
    document,
    errors,
    health,
    offline,
    pages,
    push,
    reading_sessions,
    session_conflicts,
    verify,
    workspace,
)
from syncserver.api import export as export_routes
from syncserver.api import imports as import_routes
from syncserver.api import resources as resource_routes
from syncserver.api import sessions as session_routes
from syncserver.api import stats as stats_routes
from syncserver.api import tickets as ticket_routes
from syncserver.api import tokens as token_routes
from syncserver.api.browsers import Application
from syncserver.app import signing
from syncserver.app.settings import Settings
from syncserver.core import frames, origin
from syncserver.engine import tokens
from syncserver.engine.claim import Claim
from syncserver.engine.ephemera import Ephemera
from syncserver.engine.expiry import Expiry
from syncserver.engine.exports import Exports
from syncserver.engine.heads import Heads
from syncserver.engine.house import Guest, House
from syncserver.engine.imports import Imports
from syncserver.engine.jwks import Jwks
from syncserver.engine.kept import Kept
from syncserver.engine.keys import Keys
from syncserver.engine.limits import Limits
from syncserver.engine.neighbours import Others, Seat
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from syncserver.engine.quota import Quota
from syncserver.engine.readiness import Readiness
from syncserver.engine.sessions import Sessions
from syncserver.engine.shown import Cookie
from syncserver.engine.statistics import Statistics
from syncserver.engine.tickets import Tickets
from syncserver.engine.verify import Verify
from syncserver.engine.whole import Whole
from syncserver.feed import listener, proof
from syncserver.feed.feed import Feed
from syncserver.feed.listener import Listener
from syncserver.feed.proof import Proof
from syncserver.feed.sweeper import Sweeper
from syncserver.hub.hub import Hub
from syncserver.storage import notes, revocations, schema
from syncserver.storage.database import Database
from syncserver.transports import sse

log = logging.getLogger(__name__)
_RESTART_S = 1
_FIRST_UPKEEP_S = 30
"""After a start, readers who come back have the database to themselves."""


def now() -> datetime:
    """The server's clock: the one place that reads it."""
    return datetime.now(UTC)


def limits(settings: Settings, seat: Seat | None = None) -> Limits:
    """What one guest may do here, in all workers together."""
    return Limits(
        board=seat.board if seat is not None else None,
        me=seat.me if seat is not None else 0,
        frame_bytes=settings.frame_bytes,
        json_depth=settings.json_depth,
        body_s=settings.body_s,
        sockets_per_owner=settings.sockets_per_owner,
        streams_per_owner=settings.streams_per_owner,
        connections_per_address=settings.connections_per_address,
        frames_per_s=settings.frames_per_s,
        mutations_per_s=settings.mutations_per_s,
        requests_per_s=settings.requests_per_s,
        tickets_per_minute=settings.tickets_per_minute,
        wrong_keys_per_minute=settings.wrong_keys_per_minute,
        sessions_per_minute=settings.sessions_per_minute,
    )


class Parts:
    """Everything that runs in one process. `seat`: which of several workers it is; None: the only one."""

    def __init__(self, settings: Settings, url: str, secret: bytes, seat: Seat | None = None) -> None:
        catalog = resources.catalog()
        self.database = Database(url, connections=settings.database_connections)
        self.kept = Kept(
            lambda: self.listener.connected, monotonic, keep_s=settings.kept_s, most_bytes=settings.kept_bytes
        )
        self.heads = Heads(lambda: self.listener.connected, monotonic)
        self.pull = Pull(self.database, catalog, self.kept, self.heads)
        self.limits = limits(settings, seat)
        self._others = Others(seat) if seat is not None else None
        quota = Quota(settings.rows_per_owner, monotonic)
        allow, changed = self.limits.mutations, self._changed
        self.push = Push(self.database, catalog, now, allow=allow, quota=quota, changed=changed)
        self.whole = Whole(self.database, catalog, now, allow=allow, quota=quota, changed=changed)
        self.imports = Imports(self.database, catalog, self.whole, quota=quota, import_bytes=settings.import_bytes)
        self.expiry = Expiry(
            self.database,
            now,
            tombstones=timedelta(days=settings.tombstone_days),
            ledger=timedelta(days=settings.ledger_days),
            conflicts=timedelta(days=settings.conflict_days),
            first_s=_FIRST_UPKEEP_S,
        )
        self.hub = Hub(soon=lambda work: asyncio.get_running_loop().call_soon(work))
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
            ring=self._rang,
            moved=self._moved,
        )
        self.ephemera = Ephemera(self.database, self._present, now, presence_s=settings.presence_s)
        tickets = Tickets(self.database)
        self._trusted = signing.trusted(settings, secret)
        verify_token = tokens.verifier(secret, self._trusted, signing.rules(settings))
        self.keys = Keys(verify_token, tickets, self.database, self._guests)
        self.sessions = Sessions(self.database, secret, now, ended=self._key_rang)
        bell = Proof()
        self.listener = Listener(
            url,
            rings={
                proof.CHANNEL: bell.ring,
                listener.CHANNEL: self._rang,
                notes.CHANNEL: self.ephemera.ring,
                revocations.CHANNEL: self._key_rang,
            },
            listening=self._listening,
        )
        self.readiness = Readiness(
            self.database, bell, migration=schema.newest(), connected=lambda: self.listener.connected
        )
        verification = Verify(self.database, catalog)
        self.house = House(
            push=self.push,
            whole=self.whole,
            imports=self.imports,
            exports=Exports(self.database),
            pull=self.pull,
            hub=self.hub,
            keys=self.keys,
            tickets=tickets,
            sessions=self.sessions,
            claim=Claim(self.database, catalog, changed=self._changed),
            verification=verification,
            statistics=Statistics(self.database, now),
            verified=self._verified,
            epoch=self._epoch,
            epoch_now=lambda: self.feed.epoch,
            now=now,
            verbs={
                frames.Verify: verification.verb,
                frames.Presence: self.ephemera.here,
                frames.Broadcast: self.ephemera.broadcast,
            },
            gone=self.ephemera.left,
            heartbeat_s=settings.heartbeat_s,
            hello_timeout_s=settings.handshake_s,
            limits=self.limits,
            neighbours=self._others,
            origins=origin.listed(settings.origins),
            cookie=Cookie(settings.cookie, origin.listed(settings.origins)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Push, feed, sweeper and listener at work."""
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "push": self.push.run,
            "feed": self.feed.run,
            "sweeper": self.sweeper.run,
            "listener": self.listener.run,
            "ephemera": self.ephemera.run,
            "expiry": self.expiry.run,
            "keys": self.keys.run,
        }
        if isinstance(self._trusted, Jwks):
            works["published keys"] = self._trusted.run
        if self._others is not None:
            works["neighbours"] = partial(self._others.run, self.house.replaced)
        tasks = [asyncio.create_task(_kept_running(name, work), name=name) for name, work in works.items()]
        try:
            yield
        finally:
            await self.imports.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.ephemera.close()
            await self.database.close()

    def _present(self, owner: str) -> Collection[Guest]:
        return self.house.of(owner)

    def _changed(self, owner: str) -> None:
        self.kept.drop(owner)
        self.heads.drop(owner)

    def _rang(self, owner: str) -> None:
        self._changed(owner)
        self.feed.ring(owner)

    def _key_rang(self, owner: str) -> None:
        self.keys.ring(owner)
        self.sessions.forget(owner)
        self._changed(owner)

    def _guests(self, owner: str | None) -> Collection[Guest]:
        return list(self.house) if owner is None else self.house.of(owner)

    def _listening(self) -> None:
        self.kept.drop_all()
        self.heads.drop_all()
        self.sweeper.soon()
        self.keys.listening()
        self.sessions.forget_all()
        self.ephemera.listening()

    async def _epoch(self) -> str:
        """The epoch that the last sweep saw; asked for where there was none yet."""
        return self.feed.epoch or (await self.pull.heads([]))[0]

    def _doubt(self) -> None:
        self.sweeper.soon()

    def _moved(self, epoch: str) -> None:
        if self.feed.new_epoch(epoch):
            self.heads.drop_all()
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

    app = Application(
        origins=parts.house.origins,
        cookies=parts.house.cookie.name is not None,
        title="syncserver",
        version=__version__,
        description="One reader's story on every device. The socket has a [page of its own](asyncapi).",
        generate_unique_id_function=document.named,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.house = parts.house
    app.state.readiness = parts.readiness
    errors.install(app)
    document.install(app, parts.house.cookie.name)
    app.include_router(_api())
    app.include_router(pages.router)
    app.include_router(health.router)
    return app


@cache
def _api() -> APIRouter:
    """All that is under /api/v1 but the socket: the same for every application."""
    catalog = resources.catalog()
    api = APIRouter(prefix="/api/v1")
    api.include_router(changes.router)
    api.include_router(sse.router)
    api.include_router(push.router)
    api.include_router(conflicts.router)
    api.include_router(ticket_routes.router)
    api.include_router(token_routes.router)
    api.include_router(verify.router)
    api.include_router(stats_routes.router)
    api.include_router(session_routes.router)
    api.include_router(offline.router(catalog))
    api.include_router(reading_sessions.router(catalog))
    api.include_router(session_conflicts.router(catalog))
    api.include_router(conversations.router(catalog))
    api.include_router(workspace.router(catalog))
    api.include_router(import_routes.router)
    api.include_router(export_routes.router)
    api.include_router(bulk.router(catalog))
    api.include_router(resource_routes.router(catalog))
    return api
