"""The client: what apps hold. It wires the parts and passes their words on; the thinking is in the parts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType, TracebackType

from syncserver_client.clock import Clock, system_now
from syncserver_client.errors import Closed, Fatal, Offline, Rejected, SyncError, Transient
from syncserver_client.http import Http
from syncserver_client.link import Link
from syncserver_client.mirror import Mirror
from syncserver_client.model import MIRRORED, Ack, Change, Mirrored, Mutation, Row, RowId, State
from syncserver_client.outbox import Entry, Outbox
from syncserver_client.poll import Poller
from syncserver_client.problems import Problems, log
from syncserver_client.sender import Sender
from syncserver_client.settings import Settings
from syncserver_client.states import States, StateWatch
from syncserver_client.subscription import Fanout, Subscription
from syncserver_client.token import Token, TokenSource
from syncserver_client.wire import JsonObject

CLOSE_S = 1.2


class Client:
    """One device's live copy of its owner's rows. Made by `connect`; runs between `open` and `close`."""

    def __init__(self, settings: Settings, token: Token) -> None:
        self._settings = settings
        self._clock = Clock(settings.now)
        self._mirror = Mirror()
        self._rows = MappingProxyType(self._mirror.rows)
        self._states = States()
        self._fanout = Fanout()
        self._outbox = Outbox(self._clock, settings.backoff())
        self._tasks: list[asyncio.Task[None]] = []
        source = TokenSource(token)
        self._http = Http(settings, source, self._clock)
        problems = Problems()
        self._link = Link(
            settings=settings,
            token=source,
            clock=self._clock,
            mirror=self._mirror,
            outbox=self._outbox,
            states=self._states,
            poller=Poller(self._http, self._mirror, self._clock),
            problems=problems,
            publish=self._fanout.publish,
            answered=self._answered,
        )
        self._sender = Sender(
            settings=settings,
            clock=self._clock,
            outbox=self._outbox,
            http=self._http,
            problems=problems,
            live=lambda: self._link.socket,
            answered=self._answered,
        )

    # -- life ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start. Returns at once: being offline is no error, see `ready` and `states`."""
        self._check()
        if not self._tasks:
            for work in (self._link.run(), self._sender.run()):
                task = asyncio.create_task(work)
                task.add_done_callback(self._ended)
                self._tasks.append(task)

    async def close(self) -> None:
        """Stop within two seconds, whatever the server does. Writes that wait raise Closed, iterators end."""
        self._stop(Closed())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            # Bounded, because a token callable of the app may not let itself be cancelled.
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S / 2):
                await self._http.close()

    async def __aenter__(self) -> Client:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task runs until it is cancelled or something is final; then nothing may go on without it."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, SyncError):
            log.error("the client stopped over a fault of its own", exc_info=error)
            error = Fatal("internal", type(error).__name__)
        elif self._states.error is None:
            log.error("the client stopped (%s)", error.code)
        self._stop(error)
        for other in self._tasks:
            other.cancel()

    def _stop(self, error: SyncError) -> None:
        self._states.end(error)
        self._outbox.fail(error)
        self._fanout.end(None if isinstance(error, Closed) else error)

    def _check(self) -> None:
        if self._states.error is not None:
            raise self._states.error

    # -- where it stands ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """How the client hears of changes now."""
        return self._states.current

    def states(self) -> StateWatch:
        """An async iterator of the present state and each that follows; ends with the client."""
        return self._states.watch()

    @property
    def synced_at(self) -> datetime | None:
        """Server time at which `rows` was last known to be complete; None before the first time."""
        return self._mirror.synced_at

    @property
    def rows(self) -> Mapping[tuple[str, str], Row]:
        """All rows by (resource, key), as of the last complete point. A live, read-only view."""
        return self._rows

    async def ready(self) -> None:
        """Wait until everything was held once. Raises Fatal or Closed if that will not come."""
        await self._states.ready()

    def network_changed(self) -> None:
        """Tell the client that the device has another network: what it waits to try, it tries now."""
        self._link.network_changed()

    # -- reading ------------------------------------------------------------------------------------------------

    def subscribe(self, resources: Iterable[str] | None = None, *, initial: bool = True) -> Subscription:
        """Changes of some resources (None: all that the client has), by offset, from this call on.

        `initial`: first the rows held now, as puts. Iterate it, and close it: `async with`, or `aclose()`.
        """
        self._check()
        now = self._clock.now()
        present = sorted(self._mirror.rows.values(), key=lambda row: row.offset) if initial else ()
        subscription = Subscription(resources, (Change.of(row, now) for row in present))
        self._fanout.add(subscription)
        return subscription

    async def get(self, resource: str, key: str) -> Row | None:
        """The row as the server has it now; None if there is none. Offline, Rejected, Fatal."""
        backoff = self._settings.backoff()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                while True:
                    self._check()
                    try:
                        return await self._http.get(resource, key)
                    except Transient as failure:
                        await asyncio.sleep(backoff.next_s(failure.retry_after_s))
        except TimeoutError as error:
            raise Offline("the row could not be read") from error

    # -- writing ------------------------------------------------------------------------------------------------

    async def put(
        self,
        resource: str,
        key: str,
        value: JsonObject,
        *,
        base: int | Mirrored | None = MIRRORED,
        updated_at: datetime | None = None,
        policy: str | None = None,
    ) -> Ack:
        """Write a whole row. See `push`; raises Rejected instead of returning such an ack."""
        return await self._one(Mutation("put", resource, key, value, base, updated_at, policy))

    async def patch(
        self,
        resource: str,
        key: str,
        value: JsonObject,
        *,
        base: int | Mirrored | None = MIRRORED,
        updated_at: datetime | None = None,
        policy: str | None = None,
    ) -> Ack:
        """Write some fields of a row. See `push`; raises Rejected instead of returning such an ack."""
        return await self._one(Mutation("patch", resource, key, value, base, updated_at, policy))

    async def remove(
        self,
        resource: str,
        key: str,
        *,
        base: int | Mirrored | None = MIRRORED,
        updated_at: datetime | None = None,
        policy: str | None = None,
    ) -> Ack:
        """Remove a row. See `push`; raises Rejected instead of returning such an ack."""
        return await self._one(Mutation("remove", resource, key, None, base, updated_at, policy))

    async def push(self, mutations: Sequence[Mutation]) -> list[Ack]:
        """Write several at once; their acks in the same order, rejected ones among them.

        Sent again, unchanged, until the server has answered all. Offline after `timeout_s`: the server may have
        them or not, and sending the same Mutations again is safe. TypeError or ValueError if a value is no JSON.
        """
        self._check()
        entries: list[Entry] = []
        try:
            for mutation in mutations:
                entries.append(self._outbox.add(mutation, self._base(mutation)))  # noqa: PERF401 - a failing one must leave the others known to `finally`
            return await self._acks(entries)
        finally:
            self._outbox.drop(entries)

    async def _one(self, mutation: Mutation) -> Ack:
        (ack,) = await self.push([mutation])
        if ack.status == "rejected":
            raise Rejected(ack.code or "rejected", ack.detail or "")
        return ack

    async def _acks(self, entries: Sequence[Entry]) -> list[Ack]:
        answers = [entry.answer for entry in entries]
        pending = (await asyncio.wait(answers, timeout=self._settings.timeout_s))[1] if answers else ()
        if pending:
            raise Offline(f"{len(pending)} of {len(answers)} writes had no answer")
        return [answer.result() for answer in answers]

    def _base(self, mutation: Mutation) -> int | None:
        if not isinstance(mutation.base, Mirrored):
            return mutation.base
        return self._mirror.base(RowId(mutation.resource, mutation.key)) if isinstance(mutation.key, str) else None

    def _answered(self, acks: Iterable[Ack]) -> None:
        """Remember what an ack told of its row, as the base of the next write."""
        for mutation, ack in self._outbox.answer(acks, asyncio.get_running_loop().time()):
            offset = ack.row.offset if ack.row is not None else ack.offset
            if offset is not None and isinstance(mutation.key, str) and ack.status != "rejected":
                self._mirror.saw(RowId(mutation.resource, mutation.key), offset)


def connect(
    url: str,
    token: Token,
    device: str,
    *,
    device_name: str | None = None,
    app: str | None = None,
    resources: Iterable[str] | None = None,
    timeout_s: float = 30.0,
    hello_timeout_s: float = 5.0,
    ack_timeout_s: float = 10.0,
    http_timeout_s: float = 10.0,
    poll_interval_s: float = 2.0,
    retry_socket_s: float = 300.0,
    backoff_first_s: float = 0.2,
    backoff_most_s: float = 30.0,
    now: Callable[[], datetime] = system_now,
    ssl_context: ssl.SSLContext | None = None,
) -> Client:
    """A client of the server at `url` (http or https), to be used with `async with`.

    `token`: a bearer token, or a callable (async or not) that makes one; it is asked at each connect. `device`: a
    random id of this installation, `device_name` what its owner calls it. `resources`: what to follow, None for all.
    `now`: the device's clock. `timeout_s`: how long a write or read is tried before Offline.
    """
    settings = Settings(
        url=url,
        device=device,
        device_name=device_name,
        app=app,
        resources=None if resources is None else tuple(resources),
        timeout_s=timeout_s,
        hello_timeout_s=hello_timeout_s,
        ack_timeout_s=ack_timeout_s,
        http_timeout_s=http_timeout_s,
        poll_interval_s=poll_interval_s,
        retry_socket_s=retry_socket_s,
        backoff_first_s=backoff_first_s,
        backoff_most_s=backoff_most_s,
        now=now,
        ssl_context=ssl_context,
    )
    return Client(settings, token)
