"""What tests share that is not a fixture: a test's database, its server, its tokens."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from syncserver.app import wiring
from syncserver.engine import tokens

SECRET = b"a secret for tests, long enough for any algorithm there is"


@dataclass(frozen=True)
class Urls:
    """One test's database: as its owner, and as the role of the server."""

    owner: str
    server: str


def token(user: str, ttl: timedelta = timedelta(hours=1)) -> str:
    """A bearer token that the test servers accept."""
    return tokens.mint(SECRET, user, wiring.now(), ttl)


@dataclass
class Live:
    """A server on a real socket, in the test's own loop."""

    parts: wiring.Parts
    url: str
    port: int

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/api/v1/socket"

    def headers(self, user: str = "ada") -> dict[str, str]:
        return {"Authorization": f"Bearer {token(user)}"}


Serving = Callable[..., AbstractAsyncContextManager[Live]]
