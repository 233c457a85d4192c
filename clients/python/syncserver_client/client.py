"""The client: what apps hold. It passes their words on to the parts; the thinking is there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType

from syncserver_client.clock import system_now
from syncserver_client.core import Core
from syncserver_client.editing import Editing
from syncserver_client.model import Change, Row, State
from syncserver_client.reading import Reading
from syncserver_client.reviewing import Reviewing
from syncserver_client.settings import TRANSPORTS, Settings
from syncserver_client.states import StateWatch
from syncserver_client.subscription import Subscription
from syncserver_client.talking import Talking
from syncserver_client.token import Token
from syncserver_client.writing import Writing


class Client(Writing, Talking, Reviewing, Reading, Editing):
    """One device's live copy of its owner's rows. Made by `connect`; runs between `open` and `close`."""

    def __init__(self, settings: Settings, token: Token) -> None:
        self._core = Core(settings, token)
        self._outbox = self._core.outbox
        self._rows = MappingProxyType(self._core.mirror.shown)

    # -- life ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start. Returns at once: being offline is no error, see `ready` and `states`."""
        self._core.open()

    async def close(self) -> None:
        """Stop within two seconds, whatever the server does. Writes that wait raise Closed, iterators end.

        With a store, writes that wait are in it, and go on with the next client that opens it.
        """
        await self._core.close()

    async def __aenter__(self) -> Client:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- where it stands ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """How the client hears of changes now."""
        return self._core.states.current

    def states(self) -> StateWatch:
        """An async iterator of the present state and each that follows; ends with the client."""
        return self._core.states.watch()

    @property
    def synced_at(self) -> datetime | None:
        """Server time at which `rows` was last known to be complete; None before the first time."""
        return self._core.mirror.synced_at

    @property
    def drift_s(self) -> float | None:
        """How far this device's clock is ahead of the server's, in seconds, where the server found it worth saying."""
        return self._core.drift_s

    @property
    def rows(self) -> Mapping[tuple[str, str], Row]:
        """All rows by (resource, key), as of the last complete point, with own writes on them. A live, read-only view.

        With a store it holds what the last run had from the beginning, before there is a network.
        """
        return self._rows

    async def ready(self) -> None:
        """Wait until everything was held once, in this run. Raises Fatal or Closed if that will not come."""
        await self._core.states.ready()

    def network_changed(self) -> None:
        """Tell the client that the device has another network.

        What it waits to try, it tries now; a socket must answer within 5 s; the other transports begin anew.
        """
        self._core.link.network_changed()

    # -- reading ------------------------------------------------------------------------------------------------

    def subscribe(self, resources: Iterable[str] | None = None, *, initial: bool = True) -> Subscription:
        """Changes of some resources (None: all that the client has), from this call on; see Change for their order.

        `initial`: first the rows held now, as puts. Iterate it, and close it: `async with`, or `aclose()`.
        """
        self._core.check()
        now = self._core.clock.now()
        rows = self._core.mirror.shown.values()
        present: Sequence[Row] = sorted(rows, key=lambda row: row.offset) if initial else ()
        subscription = Subscription(resources, (Change.of(row, now) for row in present))
        self._core.fanout.add(subscription)
        return subscription

    async def get(self, resource: str, key: str) -> Row | None:
        """The row as the server has it now; None if there is none. Offline, Rejected, Fatal."""
        return await self._tried(lambda: self._core.http.get(resource, key))


def connect(
    url: str,
    token: Token,
    device: str,
    *,
    device_name: str | None = None,
    app: str | None = None,
    resources: Iterable[str] | None = None,
    store: Path | str | None = None,
    optimistic: bool = True,
    transports: Iterable[str] = TRANSPORTS,
    timeout_s: float = 30.0,
    hello_timeout_s: float = 5.0,
    ack_timeout_s: float = 10.0,
    http_timeout_s: float = 10.0,
    poll_interval_s: float = 2.0,
    long_poll_s: int = 25,
    stream_silence_s: float = 40.0,
    retry_socket_s: float = 300.0,
    verify_after_s: float = 86_400.0,
    backoff_first_s: float = 0.2,
    backoff_most_s: float = 30.0,
    now: Callable[[], datetime] = system_now,
    ssl_context: ssl.SSLContext | None = None,
) -> Client:
    """A client of the server at `url` (http or https), to be used with `async with`.

    `token`: a bearer token, or a callable (async or not) that makes one; it is asked at each connect. `device`: a
    random id of this installation, `device_name` what its owner calls it. `resources`: what to follow, None for all.
    `store`: a file that keeps rows and queued writes beyond this run, one for each device, owner and server;
    StoreRefused if it is another's. `optimistic`: own writes show at once in `rows` and subscriptions, as pending.
    `transports`: which to use, the best first. `now`: the device's clock. `timeout_s`: how long a write or read is
    tried before Offline. `verify_after_s`: an absence after which all that is held is compared with the server.
    """
    settings = Settings(
        url=url,
        device=device,
        device_name=device_name,
        app=app,
        resources=None if resources is None else tuple(resources),
        store=store,
        optimistic=optimistic,
        transports=tuple(transports),
        timeout_s=timeout_s,
        hello_timeout_s=hello_timeout_s,
        ack_timeout_s=ack_timeout_s,
        http_timeout_s=http_timeout_s,
        poll_interval_s=poll_interval_s,
        long_poll_s=long_poll_s,
        stream_silence_s=stream_silence_s,
        retry_socket_s=retry_socket_s,
        verify_after_s=verify_after_s,
        backoff_first_s=backoff_first_s,
        backoff_most_s=backoff_most_s,
        now=now,
        ssl_context=ssl_context,
    )
    return Client(settings, token)
