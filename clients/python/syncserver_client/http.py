"""Plain HTTP: rows, changes, streams, pushes where no socket is live, and what else the API has. One attempt a call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from syncserver_client.clock import Clock
from syncserver_client.errors import CLAIMED, Claimed, Fatal, Rejected, Transient
from syncserver_client.model import Row
from syncserver_client.mutation import Ack
from syncserver_client.settings import Settings
from syncserver_client.token import TokenSource
from syncserver_client.wire import JsonObject, decode_object, encode, parse_stamp

TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}

# httpx logs each URL, and httpcore each response header: keys and cursors, which are nobody's business. The filter
# silences them for this client's requests only; other requests of the app are logged as before.
_ours: ContextVar[bool] = ContextVar("syncserver_client_request", default=False)
_TALKATIVE = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")


def _not_ours(_record: logging.LogRecord) -> bool:
    return not _ours.get()


class RefetchNeeded(Exception):
    """The cursor cannot be honoured: begin again from nothing."""


@dataclass(frozen=True, slots=True)
class Page:
    """Changes after a cursor. `server_time` is None where the answer was "nothing new"."""

    rows: Sequence[Row]
    cursor: str
    more: bool
    server_time: datetime | None


class Http:
    """Requests with the bearer token, if there is one.

    All raise Transient where trying again may help, Fatal where it cannot.
    """

    def __init__(self, settings: Settings, token: TokenSource, clock: Clock) -> None:
        self._settings = settings
        self._token = token
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    async def get(self, resource: str, key: str) -> Row | None:
        """The row as it is now, None if there is none; Rejected if the server refuses to say."""
        place = quote(resource.replace("_", "-"), safe="")  # as the server names its routes
        response = await self._request("GET", f"/{place}/{quote(key, safe='')}")
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        return Row.from_rest(resource, key, _body(response))

    async def changes(self, cursor: str | None, wait_s: int = 0) -> Page:
        """One page of changes after `cursor` (None: everything); RefetchNeeded if the server lost that place.

        `wait_s`: how long the server may wait for news before it says that there are none.
        """
        params = {"wait": str(wait_s), "limit": str(self._settings.poll_limit), **self._place(cursor)}
        headers: dict[str, str] = {}
        if cursor is not None and not wait_s:
            headers["If-None-Match"] = f'"{cursor}"'
        sent_at = self._clock.raw()
        timeout_s = wait_s + self._settings.hello_timeout_s if wait_s else self._settings.http_timeout_s
        response = await self._request("GET", "/changes", params=params, headers=headers, timeout=timeout_s)
        if response.status_code == HTTPStatus.GONE:
            raise RefetchNeeded
        if response.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            if not self._clock.known and not wait_s:
                self._clock.synchronise(sent_at, self._clock.raw(), _date(response) or self._clock.raw())
            return Page((), response.headers.get("Sync-Cursor") or cursor or "", more=False, server_time=None)
        page = _page(_body(response))
        if page.server_time is not None and not wait_s:
            self._clock.synchronise(sent_at, self._clock.raw(), page.server_time)
        return page

    async def push(self, body: bytes) -> list[Ack]:
        """Send a JSON body of mutations; an ack for each. Rejected if the body as a whole was refused."""
        response = await self._request("POST", "/push", content=body, headers={"Content-Type": "application/json"})
        acks = _body(response).get("acks")
        if not isinstance(acks, list):
            raise Transient("bad_frame", "the server answered a push without acks")
        return [Ack.from_wire(ack) for ack in acks]

    async def ask(self, method: str, path: str, params: dict[str, str], body: JsonObject | None = None) -> JsonObject:
        """Another question of the API: its answer, {} for none; RefetchNeeded for 410, Rejected for another refusal."""
        content = {} if body is None else {"content": encode(body), "headers": {"Content-Type": "application/json"}}
        response = await self._request(method, path, params=params, **content)
        if response.status_code == HTTPStatus.GONE:
            raise RefetchNeeded
        return _body(response) if response.status_code != HTTPStatus.NO_CONTENT else {}

    async def stream(self, cursor: str | None) -> httpx.Response:
        """The answer whose body is the stream of events after `cursor`, not read yet; the caller closes it."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        silent = httpx.Timeout(self._settings.http_timeout_s, read=None)  # the reader has its own idea of silence
        params = {**self._place(cursor), "device_id": self._settings.device}
        response = await self._request(
            "GET", "/changes/stream", params=params, headers=headers, timeout=silent, stream=True
        )
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if response.status_code == HTTPStatus.OK and kind == "text/event-stream":
            return response
        try:
            if response.status_code == HTTPStatus.GONE:
                raise RefetchNeeded
            raise Transient("refused", f"the stream was answered with {response.status_code}")
        finally:
            await response.aclose()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Around whatever makes httpx speak of this client's requests."""
        before = _ours.set(True)
        try:
            yield
        finally:
            _ours.reset(before)

    def _place(self, cursor: str | None) -> dict[str, str]:
        """Of which resources, from where on."""
        place = {} if cursor is None else {"cursor": cursor}
        if self._settings.resources is not None:
            place["resources"] = ",".join(self._settings.resources)
        return place

    async def close(self) -> None:
        """Let go of idle connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _request(self, method: str, path: str, **parts: Any) -> httpx.Response:
        response = await self._attempt(method, path, await self._token.current(), parts)
        if response.status_code == HTTPStatus.UNAUTHORIZED and self._token.renewable:
            await response.aclose()
            response = await self._attempt(method, path, await self._token.fresh(), parts)
        if response.status_code != HTTPStatus.OK:
            await _read(response)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise _turned_away(response)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code in TRY_AGAIN:
            raise Transient(f"http_{response.status_code}", retry_after_s=_retry_after_s(response))
        return response

    async def _attempt(self, method: str, path: str, token: str, parts: dict[str, Any]) -> httpx.Response:
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        headers = {**parts.get("headers", {}), **shown}
        asked = {name: value for name, value in parts.items() if name not in ("headers", "stream")}
        with self.quiet():
            try:
                client = self._opened()
                request = client.build_request(method, self._settings.http_url + path, headers=headers, **asked)
                return await client.send(request, stream=parts.get("stream", False))
            except httpx.ReadTimeout as error:
                raise Transient("silent", "no answer came in time") from error
            except httpx.HTTPError as error:
                # The exception's own text may hold the address, so only its kind is passed on.
                raise Transient("unreachable", type(error).__name__) from error

    def _opened(self) -> httpx.AsyncClient:
        """Made at first use: most clients live on their socket and never need the TLS set-up of this one."""
        if self._client is None:
            _silence()
            # Without TLS there is nothing to verify, and loading all certificates takes 20 ms of the loop.
            verify = self._settings.ssl_context or self._settings.url.startswith("https:")
            self._client = httpx.AsyncClient(timeout=self._settings.http_timeout_s, verify=verify)
        return self._client


async def _read(response: httpx.Response) -> None:
    """What a refusal says, where it came as a stream."""
    try:
        await response.aread()
    except httpx.HTTPError as error:
        raise Transient("unreachable", type(error).__name__) from error


def _silence() -> None:
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_not_ours)


def _body(response: httpx.Response) -> JsonObject:
    if response.is_success:
        return decode_object(response.content)
    raise _refusal(response)


def _refusal(response: httpx.Response) -> Rejected:
    """The problem document as an error; a proxy's page has none, then the status speaks."""
    code, detail = f"http_{response.status_code}", ""
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        code = "too_large"
    try:
        problem = decode_object(response.content)
    except Transient:
        return Rejected(code, detail)
    return Rejected(str(problem.get("code") or code), str(problem.get("detail") or ""))


def _turned_away(response: httpx.Response) -> Fatal:
    """The token is not accepted: because a reader has claimed the session, or for another reason."""
    if _refusal(response).code == CLAIMED:
        return Claimed()
    return Fatal("unauthorised", "the server does not accept the token")


def _page(body: JsonObject) -> Page:
    try:
        rows = [Row.from_wire(row) for row in body["rows"]]
        return Page(rows, str(body["cursor"]), bool(body["more"]), parse_stamp(body["server_time"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Transient("bad_frame", "the server sent changes that this client cannot read") from error


def _date(response: httpx.Response) -> datetime | None:
    """The server's time by the Date header, to half a second: better than none where an answer has no body."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC) + timedelta(seconds=0.5)
    except (KeyError, ValueError):
        return None


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None
