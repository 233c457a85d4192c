"""Reading without signing in: an anonymous session, and handing over what it holds once its reader does sign in."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from syncserver_client.clock import Clock
from syncserver_client.errors import Offline, Transient
from syncserver_client.http import Http
from syncserver_client.settings import Settings
from syncserver_client.token import TokenSource
from syncserver_client.wire import parse_stamp


@dataclass(frozen=True, slots=True)
class Visitor:
    """An anonymous session. `token` is its only key: whoever has it has the rows, and nobody can make another."""

    session_id: str
    token: str = field(repr=False)
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """What a reader took over: `rows` that are theirs now, and `conflicts`, where both had one and a version lost."""

    rows: int
    conflicts: int


async def create_session(url: str, *, timeout_s: float = 10.0, ssl_context: ssl.SSLContext | None = None) -> Visitor:
    """A new session at the server, to `connect` with its token. Offline; Rejected where too many were asked for."""
    async with _asking(url, "", timeout_s, ssl_context) as http:
        answer = await http.ask("POST", "/sessions", {})
    try:
        times = parse_stamp(answer["created_at"]), parse_stamp(answer["expires_at"])
        return Visitor(str(answer["session_id"]), str(answer["token"]), *times)
    except (KeyError, TypeError, ValueError) as error:
        raise Offline("the server gave a session that this client cannot read") from error


async def claim_session(
    url: str,
    token: str,
    session_id: str,
    visitor_token: str,
    *,
    timeout_s: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Claim:
    """Make all that the visitor has the rows of the reader whose `token` this is.

    Clients of the visitor stop with Claimed; connect anew with the reader's token and the same store. To claim again
    is safe, and brings nothing. Offline; Rejected: no such session, not its token, or another reader's (`not_found`).
    """
    async with _asking(url, token, timeout_s, ssl_context) as http:
        answer = await http.ask("POST", f"/sessions/{session_id}/claim", {}, {"token": visitor_token})
    return Claim(int(answer.get("rows", 0)), int(answer.get("conflicts", 0)))


@asynccontextmanager
async def _asking(url: str, token: str, timeout_s: float, ssl_context: ssl.SSLContext | None) -> AsyncIterator[Http]:
    """Questions of nobody's client."""
    settings = Settings(url=url, device="none", http_timeout_s=timeout_s, ssl_context=ssl_context)
    http = Http(settings, TokenSource(token), Clock(settings.now))
    try:
        yield http
    except Transient as failure:
        raise Offline(failure.code) from failure
    finally:
        await http.close()
