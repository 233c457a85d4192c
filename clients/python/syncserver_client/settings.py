"""Every number and address that a client needs, with the defaults."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from syncserver_client.backoff import Backoff
from syncserver_client.clock import system_now
from syncserver_client.wire import JsonObject

TRANSPORTS = (SOCKET, STREAM, LONG_POLL, POLL) = ("socket", "stream", "long-poll", "poll")  # the best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `connect` was given. Fields ending in `_s` are seconds."""

    url: str
    device: str
    device_name: str | None = None
    app: str | None = None
    resources: tuple[str, ...] | None = None
    timeout_s: float = 30.0
    hello_timeout_s: float = 5.0
    ack_timeout_s: float = 10.0
    http_timeout_s: float = 10.0
    poll_interval_s: float = 2.0
    poll_limit: int = 500
    long_poll_s: int = 25
    retry_socket_s: float = 300.0
    stream_silence_s: float = 40.0
    verify_after_s: float = 86_400.0
    transports: tuple[str, ...] = TRANSPORTS
    optimistic: bool = True
    store: Path | str | None = None
    backoff_first_s: float = 0.2
    backoff_most_s: float = 30.0
    now: Callable[[], datetime] = system_now
    ssl_context: ssl.SSLContext | None = None
    client_id: str = field(default_factory=lambda: str(uuid4()))

    def __post_init__(self) -> None:
        """ValueError for an address that is neither http nor https, and for transports that are none."""
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError("url must begin with http:// or https://")
        unknown = set(self.transports) - set(TRANSPORTS)
        if unknown or not self.transports or len(set(self.transports)) < len(self.transports):
            raise ValueError(f"transports are some of {', '.join(TRANSPORTS)}, each once")

    @property
    def http_url(self) -> str:
        """The root of the REST interface, without a slash at the end."""
        return f"{self.url.rstrip('/')}/api/v1"

    @property
    def socket_url(self) -> str:
        """The address of the socket: ws for http, wss for https."""
        return f"ws{self.http_url.removeprefix('http')}/socket"

    @property
    def device_frame(self) -> JsonObject:
        """The device as hello and push name it."""
        named = {"id": self.device, "name": self.device_name, "app": self.app}
        return {name: value for name, value in named.items() if value is not None}

    def follows(self, resource: str) -> bool:
        """Whether changes of this resource reach this client."""
        return self.resources is None or resource in self.resources

    def backoff(self) -> Backoff:
        """A fresh row of pauses."""
        return Backoff(self.backoff_first_s, self.backoff_most_s)
