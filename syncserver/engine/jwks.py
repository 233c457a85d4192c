"""The public keys of an identity provider, from the address where it publishes them (a JWK set, RFC 7517).

They are fetched in the background, and at once for a key that is not known yet. While the provider is away, those that
are known stay; a key that has left the set stops holding with the next fetch.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from syncserver.core.errors import Unavailable
from syncserver.engine import trust
from syncserver.engine.trust import TrustedKey

log = logging.getLogger(__name__)
_BYTES = 262_144
_KEYS = 100
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Unusable(Exception):
    """The answer is not a JWK set that we take."""


def is_safe(url: str) -> bool:
    """Whether what comes from there can be believed: over TLS, or from this machine."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        )
    except ValueError:
        return False


class Jwks:
    """`run` fetches every `every_s`. No two fetches begin within `apart_s`; each ends within `within_s`."""

    def __init__(self, url: str, *, every_s: float = 600, apart_s: float = 10, within_s: float = 5) -> None:
        self._url = url
        self._every_s = every_s
        self._apart_s = apart_s
        self._within_s = within_s
        self._known: Sequence[TrustedKey] = ()
        self._body_known = b""
        self.edition = 0
        self._away = True
        self._warned = False
        self._began_at: float | None = None
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Fetch again and again, until cancelled."""
        while True:
            await self._fetched()
            await asyncio.sleep(min(self._apart_s, self._every_s) if self._away else self._every_s)

    async def keys(self, algorithm: str, kid: str | None) -> Sequence[TrustedKey]:
        """Those with this name (None: all); raises Unavailable where it may be a new one and nobody can say."""
        if algorithm not in trust.PUBLIC:
            return ()
        found = self._among(algorithm, kid)
        if not found:
            await self._fetched()
            found = self._among(algorithm, kid)
        if not found and self._away:
            raise Unavailable("The identity provider does not answer, so the token cannot be verified; try again.")
        return found

    def _among(self, algorithm: str, kid: str | None) -> Sequence[TrustedKey]:
        return [key for key in self._known if key.algorithm == algorithm and kid in {None, key.kid}]

    async def _fetched(self) -> None:
        """What the provider says now, unless it was asked a moment ago; whoever comes meanwhile waits for that."""
        now = asyncio.get_running_loop().time
        async with self._one:
            if self._began_at is not None and now() - self._began_at < self._apart_s:
                return
            self._began_at = now()
            self._away = True
            try:
                self._publish(await self._body())
            except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, Unusable) as error:
                self._missed(error)
            else:
                self._away = self._warned = False

    def _publish(self, body: bytes) -> None:
        self._known = parsed(body)
        if body != self._body_known:
            self._body_known = body
            self.edition += 1

    async def _body(self) -> bytes:
        own = urlsplit(self._url).scheme == "http"  # of this machine: no proxy leads there
        body = bytearray()
        async with (
            asyncio.timeout(self._within_s),
            httpx.AsyncClient(trust_env=not own, follow_redirects=False, timeout=self._within_s) as http,
            http.stream("GET", self._url, headers=_HEADERS) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise Unusable(f"status {answer.status_code}")
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > _BYTES:
                    raise Unusable("too large")
        return bytes(body)

    def _missed(self, error: Exception) -> None:
        if not self._warned:
            why = str(error) if isinstance(error, Unusable) else type(error).__name__
            log.warning("the identity provider's keys cannot be fetched (%s); those that are known stay", why)
        self._warned = True


def parsed(body: bytes) -> list[TrustedKey]:
    """The keys of a JWK set that we can use; raises Unusable for what is no such set."""
    try:
        entries: Any = orjson.loads(body)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        raise Unusable("not a JWK set") from None
    if not isinstance(entries, list) or len(entries) > _KEYS:
        raise Unusable("not a JWK set")
    keys = [key for entry in entries if isinstance(entry, dict) and (key := trust.of_jwk(entry)) is not None]
    if not keys:
        log.warning("the identity provider publishes no key that can be used")
    return keys
